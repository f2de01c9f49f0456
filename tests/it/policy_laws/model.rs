//! Meaning of a policy, in the most naive form: no trees, no lattice, no finalizing. A case is allowed if
//! every layer by itself allows it and somebody who may grant has granted it. Written from the
//! documents, not from the evaluator; slow, and short enough to be read in one sitting.

use creel_policy::layer::{
    Ask, Case, Command, Layer, PROGRAM_DIRECTORIES, Rank, Security, Settings,
};
use creel_policy::net::{Mode, Rule};
use creel_policy::tools::{Pattern, Tool};
use creel_policy::{Grant, WorkspaceMode};

use super::given::{Given, roots};

/// Other names of tools, as docs/policy.md has them.
const ALIASES: &str = "bash=exec shell=exec code_execution=exec apply-patch=apply_patch \
    patch=apply_patch web_fetch=fetch web_search=fetch x_search=fetch api_calls=fetch http=fetch \
    web_browsing=browser multi_edit=edit send_message=message";

pub struct Model<'m>(pub &'m [Given]);

impl Model<'_> {
    pub fn allows(&self, case: &Case) -> bool {
        let Some(first) = case.words.first() else {
            return case.tool == Tool::Process && self.usable(case.tool);
        };
        self.usable(case.tool)
            && match case.tool {
                Tool::Read => path(first).is_some_and(|p| self.readable(&p)),
                Tool::Write | Tool::Edit | Tool::ApplyPatch => {
                    path(first).is_some_and(|p| self.writable(&p))
                }
                Tool::Exec => programs(first)
                    .iter()
                    .any(|p| self.executable(p, &case.words[1..])),
                Tool::Process => true,
                Tool::Browser | Tool::Message | Tool::Fetch => self.reachable(first),
            }
    }

    fn each(&self, judge: impl Fn(&Layer) -> bool) -> bool {
        self.0.iter().all(|(_, layer)| judge(layer))
    }

    /// A name by its labels, an address by its numbers, at one port: granted by somebody who may, on
    /// every list, and denied by nobody. Who would have to be asked says no.
    fn reachable(&self, text: &str) -> bool {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let rest = rest.split('/').next().unwrap_or_default();
        let usual = if scheme == "http" { "80" } else { "443" };
        let (host, port) = rest.split_once(':').unwrap_or((rest, usual));
        let host = host.trim_end_matches('.').to_lowercase();
        let port: u16 = port.parse().unwrap();
        let host = if host == "127.1" {
            "127.0.0.1".into()
        } else {
            host
        };
        let named = |l: &Layer| l.network.mode.as_ref().map(|m| m.value);
        let granted = self
            .0
            .iter()
            .any(|(rank, l)| *rank <= Rank::Operator && named(l).is_some());
        let speaks = |rule: &Rule| destination(&rule.to.to_string(), &host);
        let listed = |l: &Layer| {
            let rules = l.network.allow.iter().flatten();
            let any = rules.clone().any(|r| r.to.to_string() == "*");
            let open = named(l) == Some(Mode::Open) && !any && !numeric(&host);
            let has =
                |r: &Rule| r.ports.contains(&port) && speaks(r) && public(&r.to.to_string(), &host);
            let silent = named(l).is_none_or(|m| m == Mode::None) && l.network.allow.is_none();
            silent || open && [80, 443].contains(&port) || rules.clone().any(has)
        };
        let denied = |l: &Layer| {
            let mut rules = l.network.deny.iter();
            rules.any(|r| (r.ports.is_empty() || r.ports.contains(&port)) && speaks(r))
        };
        let spoken = match (text.contains("://"), scheme, port) {
            (true, "http", 443) | (true, "https", 80) => false,
            _ => !host.contains(' '),
        };
        granted && spoken && self.each(|l| named(l) != Some(Mode::None) && listed(l) && !denied(l))
    }

    /// The tool and those that it needs: denied by nobody, in every list, and nobody is asked.
    fn usable(&self, tool: Tool) -> bool {
        let needs: &[Tool] = match tool {
            Tool::Write => &[Tool::Read],
            Tool::Edit | Tool::ApplyPatch => &[Tool::Write, Tool::Read],
            Tool::Process => &[Tool::Exec],
            _ => &[],
        };
        needs.iter().chain([&tool]).all(|tool| {
            self.each(|layer| {
                let listed = |list: &[Pattern]| list.iter().any(|p| glob(p.text(), tool.name()));
                let profile = layer.tools.profile.as_ref().map(|p| {
                    let texts = p.value.allows().iter();
                    let all: Vec<Pattern> =
                        texts.flat_map(|t| Pattern::parse(t).unwrap()).collect();
                    listed(&all)
                });
                let own = settings(layer, *tool);
                !layer
                    .tools
                    .deny
                    .iter()
                    .any(|p| denies(p.value.text(), tool.name()))
                    && own.enabled.is_none_or(|on| on.value)
                    && own.ask.is_none_or(|ask| ask.value != Ask::Always)
                    && profile.unwrap_or(true)
                    && layer
                        .tools
                        .allow
                        .as_ref()
                        .is_none_or(|list| listed(&list.value))
            })
        })
    }

    /// A list grants what somebody with the right to grant named, and everybody who speaks of it.
    fn granted(&self, path: &str, list: impl Fn(&Layer) -> Option<Vec<Grant>>) -> bool {
        self.0
            .iter()
            .any(|(rank, layer)| *rank <= Rank::Operator && list(layer).is_some())
            && self.each(|layer| list(layer).is_none_or(|grants| inside_any(path, &grants)))
    }

    fn tool_paths(&self, tools: &[Tool], path: &str) -> bool {
        let allows = |grants: &Vec<Grant>| inside_any(path, grants);
        self.each(|layer| {
            tools
                .iter()
                .all(|t| settings(layer, *t).allowed_paths.iter().all(allows))
        })
    }

    fn mode(&self, least: WorkspaceMode, path: &str) -> bool {
        let enough = |l: &Layer| {
            l.filesystem
                .workspace
                .as_ref()
                .is_none_or(|m| m.value >= least)
        };
        inside(path, &roots().workspace) && self.each(enough)
    }

    fn denied(&self, path: &str) -> bool {
        !self.each(|layer| {
            let of = |tool| settings(layer, tool).denied_paths;
            let denied = [
                layer.filesystem.deny.clone(),
                of(Tool::Read),
                of(Tool::Exec),
            ];
            !denied.iter().any(|grants| inside_any(path, grants))
        })
    }

    fn readable(&self, path: &str) -> bool {
        let all = |l: &Layer| -> Option<Vec<Grant>> {
            let f = &l.filesystem;
            let lists = [&f.read, &f.write, &f.load, &f.exec];
            f.read
                .as_ref()
                .map(|_| lists.into_iter().flatten().flatten().cloned().collect())
        };
        // A layer that grants without `read` lets be read what it lets be written or executed.
        let grants = || self.0.iter().filter(|(rank, _)| *rank <= Rank::Operator);
        let silent = grants().all(|(_, l)| l.filesystem.read.is_none());
        let only: Vec<Given> = grants().cloned().collect();
        let by_others = silent && {
            let those = Model(&only);
            let wrote = those.granted(path, |l| l.filesystem.write.clone());
            (wrote || those.named_load(path) || those.named_exec(path))
                && self.each(|l| all(l).is_none_or(|g| inside_any(path, &g)))
        };
        let read = self.granted(path, all) || by_others || self.mode(WorkspaceMode::ReadOnly, path);
        !self.denied(path)
            && !self.hidden(path)
            && (read && self.tool_paths(&[Tool::Read], path)
                || self.written(path)
                || self.in_load(path)
                || self.in_exec(path))
    }

    fn written(&self, path: &str) -> bool {
        let tools = [Tool::Read, Tool::Write, Tool::Edit, Tool::ApplyPatch];
        let listed = self.granted(path, |l| l.filesystem.write.clone());
        self.usable(Tool::Write)
            && !self.hidden(path)
            && self.tool_paths(&tools, path)
            && (listed || self.mode(WorkspaceMode::Overlay, path))
    }

    fn writable(&self, path: &str) -> bool {
        let held = |layer: &Layer| {
            let of = |tool| settings(layer, tool).denied_paths;
            let tools = [of(Tool::Write), of(Tool::Edit), of(Tool::ApplyPatch)];
            inside_any(path, &layer.filesystem.protect)
                || tools.iter().any(|grants| inside_any(path, grants))
                || inner_words(layer).iter().any(|place| inside(path, place))
        };
        self.written(path) && !self.denied(path) && !self.0.iter().any(|(_, layer)| held(layer))
    }

    /// The host's workspace is not there at all.
    fn hidden(&self, path: &str) -> bool {
        inside(path, &roots().workspace)
            && !(self.mode(WorkspaceMode::ReadOnly, path) && self.usable(Tool::Read))
    }

    fn in_exec(&self, path: &str) -> bool {
        // By its trees, or by the paths that `exec` is bound to.
        let named = |l: &Layer| {
            of_workspace(path, l.filesystem.exec.as_deref())
                || of_workspace(path, settings(l, Tool::Exec).allowed_paths.as_deref())
        };
        // So is a program that nothing but its name grants.
        let by_name = |l: &Layer| {
            let all = commands(l).unwrap_or_default();
            let mut paths = all.iter().flat_map(|c| programs(&c.program));
            paths.any(|p| inside(path, &p) && inside(&p, &roots().workspace))
        };
        let own = self
            .0
            .iter()
            .any(|(_, l)| named(l) || self.by_command(path) && by_name(l));
        self.named_exec(path)
            && !self.hidden(path)
            && self.tool_paths(&[Tool::Exec], path)
            && (!own || self.tool_paths(&[Tool::Read], path))
    }

    /// Whether a process may map the path as code without being allowed to execute it.
    pub fn in_load(&self, path: &str) -> bool {
        let named = |l: &Layer| {
            let (load, exec) = (&l.filesystem.load, &l.filesystem.exec);
            let bound = exec
                .as_ref()
                .map(|exec| [load.clone().unwrap_or_default(), exec.clone()].concat());
            of_workspace(path, load.as_deref()) || of_workspace(path, bound.as_deref())
        };
        let own = self.0.iter().any(|(_, l)| named(l));
        self.named_load(path)
            && !self.hidden(path)
            && (!own || self.tool_paths(&[Tool::Read], path))
    }

    /// All who speak of loading, one who grants among them; who names executable trees bounds it.
    fn named_load(&self, path: &str) -> bool {
        let bound = |l: &Layer| {
            let loads = l.filesystem.load.as_deref().unwrap_or_default();
            let exec = l.filesystem.exec.as_ref();
            exec.is_none_or(|exec| inside_any(path, loads) || inside_any(path, exec))
        };
        self.granted(path, |l| l.filesystem.load.clone()) && self.each(bound)
    }

    /// Whether a process may map the path as code in any way.
    pub fn mapped(&self, path: &str) -> bool {
        let restricts = |l: &Layer| {
            let security = settings(l, Tool::Exec).security;
            commands(l).is_some() || security.is_some_and(|s| s.value != Security::Full)
        };
        let free = self.usable(Tool::Exec) && !self.0.iter().any(|(_, l)| restricts(l));
        !self.denied(path) && (self.in_load(path) || free && self.in_exec(path))
    }

    fn named_exec(&self, path: &str) -> bool {
        self.granted(path, |l| l.filesystem.exec.clone()) || self.by_command(path)
    }

    fn by_command(&self, path: &str) -> bool {
        let lists = |l: &Layer| l.filesystem.exec.clone();
        // A layer that names commands and no trees means these programs, wherever they lie.
        let nobody = !self
            .0
            .iter()
            .any(|(rank, l)| *rank <= Rank::Operator && lists(l).is_some());
        let named = self
            .0
            .iter()
            .any(|(rank, l)| *rank <= Rank::Operator && commands(l).is_some());
        let program = |l: &Layer| {
            let means = |c: &Command| programs(&c.program).iter().any(|p| inside(path, p));
            commands(l).is_none_or(|all| all.iter().any(means))
        };
        nobody
            && named
            && self
                .0
                .iter()
                .all(|(rank, l)| *rank > Rank::Operator || program(l))
            && self.each(|l| lists(l).is_none_or(|grants| inside_any(path, &grants)))
    }

    fn executable(&self, path: &str, args: &[String]) -> bool {
        let security = |l: &Layer| settings(l, Tool::Exec).security.map(|s| s.value);
        // Only who grants can fill the list that they call for.
        let grants = |says: &dyn Fn(&Layer) -> bool| {
            let mut those = self.0.iter().filter(|(rank, _)| *rank <= Rank::Operator);
            those.any(|(_, layer)| says(layer))
        };
        let allowlist = !self.each(|l| security(l) != Some(Security::Allowlist));
        let listed = |l: &Layer| {
            commands(l).is_none_or(|all| {
                all.iter().any(|c| {
                    programs(&c.program).iter().any(|p| p == path)
                        && (c.args.is_empty() || c.args.iter().any(|a| a.matches(args)))
                })
            })
        };
        self.each(|l| security(l) != Some(Security::Deny))
            && !self.denied(path)
            && self.in_exec(path)
            && self.each(listed)
            && (!allowlist || !self.each(|l| commands(l).is_none()))
            && (!grants(&|l| security(l) == Some(Security::Allowlist))
                || grants(&|l| commands(l).is_some()))
    }
}

fn numeric(host: &str) -> bool {
    host.split('.').all(|part| part.parse::<u8>().is_ok())
}

/// `*`, `*.NAME`, NAME, `ADDRESS/BITS` with whole bytes, or an address.
fn destination(to: &str, host: &str) -> bool {
    let bytes = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
    match (to.split_once('/'), to.strip_prefix("*.")) {
        (Some((net, bits)), _) if numeric(host) => {
            let whole = bits.parse::<usize>().unwrap() / 8;
            bytes(net)[..whole] == bytes(host)[..whole]
        }
        (None, Some(suffix)) => host.ends_with(&format!(".{suffix}")),
        (None, None) => to == host || to == "*" && !numeric(host),
        _ => false,
    }
}

/// A private or loopback address needs a rule for what makes it so.
fn public(to: &str, host: &str) -> bool {
    let special = ["10.", "127."]
        .into_iter()
        .find(|s| numeric(host) && host.starts_with(s));
    special.is_none_or(|special| to.starts_with(special))
}

/// Paths that a layer itself shows read-only within its writable trees.
fn inner_words(layer: &Layer) -> Vec<String> {
    let (files, place) = (&layer.filesystem, roots().workspace);
    let writes: Option<Vec<String>> = files.write.as_ref().map(|all| outermost(all));
    let rw = files
        .workspace
        .as_ref()
        .is_none_or(|m| m.value == WorkspaceMode::ReadWrite);
    let inner = files
        .read
        .iter()
        .chain(&files.load)
        .chain(&files.exec)
        .flatten()
        .map(|g| expand(&g.path));
    let listed = commands(layer).unwrap_or_default();
    let inner = inner.chain(listed.iter().flat_map(|c| programs(&c.program)));
    let mut held: Vec<String> = inner
        .filter(|p| !writes.iter().flatten().any(|w| w == p))
        .filter(|p| {
            writes.iter().flatten().any(|w| inside(p, w)) || rw && *p != place && inside(p, &place)
        })
        .collect();
    let above = |all: Vec<String>| all.iter().any(|w| *w != place && inside(&place, w));
    if !rw && writes.is_none_or(above) {
        held.push(place);
    }
    held
}

/// Whether a layer names the path by a tree of the workspace: what is executed or loaded of it is read.
fn of_workspace(path: &str, grants: Option<&[Grant]>) -> bool {
    let place = roots().workspace;
    outermost(grants.unwrap_or_default())
        .iter()
        .any(|p| inside(path, p) && inside(p, &place))
}

fn outermost(grants: &[Grant]) -> Vec<String> {
    let all: Vec<String> = grants.iter().map(|g| expand(&g.path)).collect();
    let lies = |p: &&String| !all.iter().any(|o| o != *p && inside(p, o));
    all.iter().filter(lies).cloned().collect()
}

fn settings(layer: &Layer, tool: Tool) -> Settings {
    layer.tools.each.get(&tool).cloned().unwrap_or_default()
}

fn commands(layer: &Layer) -> Option<Vec<Command>> {
    let own = settings(layer, Tool::Exec);
    let spoken = own.languages.map(|all| {
        let names = all.into_iter().flat_map(|l| {
            l.value
                .programs()
                .iter()
                .map(move |p| (p, l.origin.clone()))
        });
        let any = |(program, origin): (&&str, _)| Command {
            program: (*program).into(),
            args: Default::default(),
            origin,
        };
        names.map(any).collect::<Vec<_>>()
    });
    match (own.commands, spoken) {
        (None, spoken) => spoken,
        (listed, spoken) => Some(listed.into_iter().chain(spoken).flatten().collect()),
    }
}

fn programs(name: &str) -> Vec<String> {
    match name.contains('/') {
        true => path(name).into_iter().collect(),
        false => PROGRAM_DIRECTORIES
            .iter()
            .map(|d| format!("{d}/{name}"))
            .collect(),
    }
}

/// A case's path: relative to the workspace, and never with `..`.
fn path(text: &str) -> Option<String> {
    let rooted = text.starts_with('/')
        || text == "~"
        || text.starts_with("~/")
        || text == "$WORKSPACE"
        || text.starts_with("$WORKSPACE/");
    let text = if rooted {
        text.to_owned()
    } else {
        format!("$WORKSPACE/{text}")
    };
    (!text.split('/').any(|part| part == "..")).then(|| expand(&text))
}

fn expand(text: &str) -> String {
    let (home, place) = (roots().home, roots().workspace);
    let mut parts: Vec<&str> = text
        .split('/')
        .filter(|p| !matches!(*p, "" | "."))
        .collect();
    let root = match parts.first() {
        Some(&"~") => Some(home),
        Some(&"$WORKSPACE") => Some(place),
        _ => None,
    };
    if root.is_some() {
        parts.remove(0);
    }
    let rest: String = parts.iter().map(|part| format!("/{part}")).collect();
    match root.unwrap_or_default() + &rest {
        path if path.is_empty() => "/".into(),
        path => path,
    }
}

fn inside(path: &str, tree: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        text.split('/')
            .filter(|p| !p.is_empty())
            .map(str::to_owned)
            .collect()
    };
    parts(path).starts_with(&parts(tree))
}

fn inside_any(path: &str, grants: &[Grant]) -> bool {
    grants
        .iter()
        .any(|grant| inside(path, &expand(&grant.path)))
}

fn denies(pattern: &str, tool: &str) -> bool {
    let aliases = ALIASES
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='));
    glob(pattern, tool)
        || aliases
            .filter(|(_, t)| *t == tool)
            .any(|(alias, _)| glob(pattern, alias))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_at_checked(1) {
        None => text.is_empty(),
        Some(("*", rest)) => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        Some((c, rest)) => text.strip_prefix(c).is_some_and(|text| glob(rest, text)),
    }
}
