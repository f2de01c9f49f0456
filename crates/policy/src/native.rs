//! A policy in force as text of the native form, each line with its place.
//!
//! Owns the way back from what layers mean together to what one file would say. Read again as the
//! operator's own layer, the text means the same: a test holds that. It refuses nothing, and leaves
//! out what only the tools count where it would have to guess at the words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::effective::Effective;
use super::glob::escape;
use super::layer::PROGRAM_DIRECTORIES;
use super::net::{List, Mode, OnMiss};
use super::rights::{Allowed, Constraints, Places, Rights, Roots};
use super::tools::Tool;
use super::trees::Trees;
use super::{Absent, Grant, Origin, Policy, Sourced, WorkspaceMode, write};

/// The text. `rights` are those of which `effective` came, `roots` those of both.
pub fn text(rights: &Rights, effective: &Effective, roots: &Roots) -> String {
    let policy = &effective.policy;
    let mut out = Lines(String::new());
    if !policy.allow_degraded.is_empty() {
        let words = policy.allow_degraded.iter().map(|d| quoted(d.name()));
        out.line(&format!("allow_degraded = [{}]", joined(words)), None);
    }
    out.section("tools");
    let allowed = Tool::ALL
        .into_iter()
        .filter(|tool| rights.tools.allows(*tool));
    let allowed = joined(allowed.map(|tool| quoted(tool.name())));
    let origin = rights.tools.allow.values().next();
    out.line(&format!("allow = [{allowed}]"), origin);
    out.list(
        "deny",
        rights.tools.deny.iter().map(|(p, o)| (quoted(p.text()), o)),
    );
    out.bound("elevated", &rights.elevated, |b| b.to_string());
    out.bound("max_iterations", &rights.max_iterations, |c| {
        c.0.to_string()
    });
    for (tool, constraints) in &rights.each {
        out.tool(*tool, constraints, roots);
    }
    let files = &policy.filesystem;
    out.section("filesystem");
    out.bound("workspace", &files.workspace, |mode| quoted(mode.name()));
    for (key, grants) in [
        ("read", &files.read),
        ("write", &files.write),
        ("load", &files.load),
        ("exec", &files.exec),
    ] {
        out.list(key, grants.iter().map(|g| (grant(g), &g.origin)));
    }
    let mode = files.workspace.as_ref().map(|mode| mode.value);
    let writes =
        mode.is_none_or(|mode| mode == WorkspaceMode::ReadWrite) || !files.write.is_empty();
    for (key, grants, patterns) in [
        ("deny", &files.deny, &files.deny_patterns),
        ("protect", &files.protect, &files.protect_patterns),
    ] {
        // Nothing is written, and creel's own word would only be repeated.
        let told = |grant: &&Grant| key == "deny" || writes || grant.origin != Origin::creel();
        let named = grants.iter().filter(told);
        let named = named.map(|g| (one_grant(&roots.shorten(&g.path), g.absent), &g.origin));
        let met = patterns.iter().map(|g| (pattern(g, roots), &g.origin));
        out.list(key, named.chain(met));
    }
    if let Some(names) = rights.unprotect.as_ref().filter(|names| !names.is_empty()) {
        let shown = names.iter().map(|(p, o)| (quoted(&roots.shorten(p)), o));
        out.list("unprotect", shown);
    }
    out.network(rights, policy);
    out.section("environment");
    let passed = policy.environment.pass.iter();
    out.list("pass", passed.map(|p| (quoted(&p.value), &p.origin)));
    if policy.environment.git_identity.value {
        let identity = &policy.environment.git_identity;
        out.sourced("git_identity", identity, ToString::to_string);
    }
    out.section("environment.set");
    for (name, value) in &policy.environment.set {
        let text = format!("{name} = {}", quoted(&value.value));
        out.line(&text, Some(&value.origin));
    }
    let limits = &policy.limits;
    out.section("limits");
    out.sourced("memory", &limits.memory, quoted_text);
    out.sourced("memory_high", &limits.memory_high, quoted_text);
    out.sourced("cpus", &limits.cpus, ToString::to_string);
    out.sourced("pids", &limits.pids, ToString::to_string);
    out.sourced("timeout", &limits.timeout, quoted_text);
    out.sourced("cpu_time", &limits.cpu_time, quoted_text);
    out.sourced("disk", &limits.disk, quoted_text);
    out.sourced("inodes", &limits.inodes, ToString::to_string);
    out.sourced("file_size", &limits.file_size, quoted_text);
    out.sourced("open_files", &limits.open_files, ToString::to_string);
    out.sourced("output", &limits.output, quoted_text);
    out.sourced("grace", &limits.grace, quoted_text);
    // Nobody needs to be told that a thing is not allowed.
    if let Some(debug) = rights.debug.as_ref().filter(|debug| debug.value) {
        out.section("process");
        out.sourced("debug", debug, ToString::to_string);
    }
    if rights.mode.is_some() || rights.scope.is_some() {
        out.section("session");
        out.bound("mode", &rights.mode, |m| quoted(m.name()));
        out.bound("scope", &rights.scope, |s| quoted(s.name()));
    }
    out.0
}

struct Lines(String);

impl Lines {
    fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{gap}[{name}]");
    }

    fn line(&mut self, text: &str, origin: Option<&Origin>) {
        let _ = match origin {
            Some(origin) => writeln!(self.0, "{text} # {}", shown(origin)),
            None => writeln!(self.0, "{text}"),
        };
    }

    fn list<'o>(&mut self, key: &str, items: impl Iterator<Item = (String, &'o Origin)>) {
        let mut items = items.peekable();
        if items.peek().is_none() {
            return self.line(&format!("{key} = []"), None);
        }
        self.line(&format!("{key} = ["), None);
        items.for_each(|(item, origin)| self.line(&format!("    {item},"), Some(origin)));
        self.line("]", None);
    }

    fn bound<T>(&mut self, key: &str, value: &Option<Sourced<T>>, show: impl Fn(&T) -> String) {
        if let Some(value) = value {
            self.sourced(key, value, show);
        }
    }

    fn sourced<T>(&mut self, key: &str, value: &Sourced<T>, show: impl Fn(&T) -> String) {
        let text = format!("{key} = {}", show(&value.value));
        self.line(&text, Some(&value.origin));
    }

    /// Of several layers' lists what they have together.
    fn network(&mut self, rights: &Rights, policy: &Policy) {
        let bounds = &rights.network;
        let origin = bounds.mode.as_ref().map(|mode| &mode.origin);
        let mode = policy.network.mode;
        self.section("network");
        // Without a mode, or with one that no tool may use.
        self.line(&format!("mode = {}", quoted(mode.name())), origin);
        if mode == Mode::None {
            return;
        }
        let asks = |list: &List| list.on_miss == OnMiss::Ask;
        if mode == Mode::Ask && !bounds.lists.iter().all(asks) {
            self.line(
                "# one layer asks, and another has a list: what is not on it is denied",
                None,
            );
        }
        let folded = bounds.folded();
        let items = folded.iter().map(|rule| match rule {
            Ok(rule) => (write::rule(rule), &rule.origin),
            // One file cannot say it, and with one layer's paths it would say more.
            Err(rule) => (
                format!("# {rule}: several layers bound its paths"),
                &rule.origin,
            ),
        });
        self.list("allow", items);
        let denied = bounds.deny.iter();
        self.list(
            "deny",
            denied.map(|r| (quoted(&r.destination()), &r.origin)),
        );
        if let Some(resolvers) = &bounds.resolvers {
            let items = resolvers.iter().map(|(r, o)| (quoted(&r.to_string()), o));
            self.list("resolvers", items);
        }
        let limits = &bounds.limits;
        self.section("network.limits");
        self.bound("connections", &limits.connections, ToString::to_string);
        self.bound("rate", &limits.rate, ToString::to_string);
        self.bound("bytes_in", &limits.bytes_in, quoted_text);
        self.bound("bytes_out", &limits.bytes_out, quoted_text);
        self.bound("bandwidth", &limits.bandwidth, quoted_text);
        self.bound("idle", &limits.idle, quoted_text);
        for one in &policy.network.credentials {
            self.section("[network.credentials]");
            self.line(
                &format!("host = {}", quoted(one.host.as_str())),
                Some(&one.origin),
            );
            self.line(&format!("header = {}", quoted(&one.header)), None);
            self.line(&format!("variable = {}", quoted(&one.variable)), None);
            self.line(&format!("secret = {}", write::secret(&one.secret)), None);
        }
    }

    fn tool(&mut self, tool: Tool, bounds: &Constraints, roots: &Roots) {
        self.section(&format!("tools.{}", tool.name()));
        self.bound("security", &bounds.security, |s| quoted(s.name()));
        self.bound("ask", &bounds.ask, |a| quoted(a.name()));
        self.bound("target", &bounds.target, |t| quoted(t.name()));
        self.bound("timeout", &bounds.timeout, quoted_text);
        self.bound("rate", &bounds.rate, ToString::to_string);
        self.bound("max_iterations", &bounds.max_iterations, |c| {
            c.0.to_string()
        });
        if let Trees::Of(trees) = &bounds.allowed {
            let items = trees.iter().map(|(path, leaf)| {
                let path = roots.shorten(path);
                (one_grant(&path, leaf.absent), &leaf.origin)
            });
            self.list("allowed_paths", items);
        }
        self.places("denied_paths", &bounds.denied, roots);
        if let Some(commands) = &bounds.commands {
            // Told once, in its first directory.
            let first = |path: &str| {
                let name = bare(path, commands);
                name.is_none_or(|name| path == format!("{}/{name}", PROGRAM_DIRECTORIES[0]))
            };
            let told = commands.iter().filter(|(path, _)| first(path));
            let items = told.map(|(path, allowed)| {
                let program = match bare(path, commands) {
                    Some(name) => quoted(name),
                    None => quoted(&roots.shorten(path)),
                };
                let mut args = allowed.args.iter();
                let item = match (args.next(), args.next()) {
                    (None, _) => program,
                    (Some(alternatives), None) => {
                        let args = joined(alternatives.iter().map(|a| quoted(&a.to_string())));
                        format!("{{ command = {program}, args = [{args}] }}")
                    }
                    // One file cannot say it, and without arguments it would say more.
                    _ => format!("# {program}: several layers bound its arguments"),
                };
                (item, &allowed.origin)
            });
            self.list("commands", items);
        }
        if let Some(channels) = &bounds.channels {
            self.list("channels", channels.iter().map(|(c, o)| (quoted(c), o)));
        }
    }

    fn places(&mut self, key: &str, places: &Places, roots: &Roots) {
        if !places.is_empty() {
            let items = places.iter().map(|(path, leaf)| {
                let path = roots.shorten(path);
                (one_grant(&path, leaf.absent), &leaf.origin)
            });
            self.list(key, items);
        }
    }
}

/// The bare name that stands for `path` and its like in every directory of programs, if all of them
/// are listed alike.
fn bare<'p>(path: &'p str, commands: &BTreeMap<String, Allowed>) -> Option<&'p str> {
    let (directory, name) = path.rsplit_once('/')?;
    let own = commands.get(path)?;
    let alike = |directory: &str| {
        let other = commands.get(&format!("{directory}/{name}"));
        other.is_some_and(|other| (&other.args, other.absent) == (&own.args, own.absent))
    };
    let everywhere = PROGRAM_DIRECTORIES.contains(&directory)
        && own.absent == Absent::Skip
        && PROGRAM_DIRECTORIES.iter().all(|d| alike(d));
    everywhere.then_some(name)
}

fn grant(grant: &Grant) -> String {
    one_grant(&grant.path, grant.absent)
}

/// What was a pattern before. A root whose own name has wildcards in it is written out.
fn pattern(grant: &Grant, roots: &Roots) -> String {
    optional(quoted(&roots.shorten(&grant.path)), grant.absent)
}

fn one_grant(path: &str, absent: Absent) -> String {
    optional(quoted(&escape(path)), absent)
}

fn optional(path: String, absent: Absent) -> String {
    match absent {
        Absent::Refuse => path,
        Absent::Skip => format!("{{ path = {path}, optional = true }}"),
    }
}

fn quoted_text<T: ToString>(value: &T) -> String {
    quoted(&value.to_string())
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A place in a comment: no line of the comment's author ends it.
fn shown(origin: &Origin) -> String {
    super::error::shown(&origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Rank;
    use crate::stack::{Outcome, Stack};
    use crate::{Limits, file, preset};

    fn base() -> Limits {
        preset::default().unwrap().limits
    }

    fn resolved(source: &str) -> (Outcome, Roots) {
        let roots = Roots::symbolic();
        let layer = file::read("p.toml", source).unwrap_or_else(|e| panic!("{source}\n{e}"));
        let layers = vec![(Rank::Operator, layer)];
        (Stack { layers }.resolve(&base(), &roots), roots)
    }

    /// Without places: values alone.
    fn meaning(outcome: &Outcome) -> String {
        let text = format!("{:?}", outcome.effective.policy);
        let origins = text.split("origin: Origin {").map(|piece| {
            let end = piece.find('}').map_or(0, |at| at + 1);
            match piece.starts_with(" source:") {
                true => &piece[end..],
                false => piece,
            }
        });
        let text: String = origins.collect();
        text.split_once("filesystem").unwrap().1.to_owned()
    }

    #[test]
    fn read_again_it_means_the_same() {
        let presets = preset::names().map(|name| preset::text(name).unwrap().to_owned());
        let more = [
            "",
            "tools.allow = []",
            "tools.deny = ['write', 'group:web']\nfilesystem.workspace = 'rw'\n",
            "[filesystem]\nexec = ['/usr', '~/a\\b\"c', { path = '$WORKSPACE/x', optional = true }]\n\
             write = ['/data', '/tmp']\nload = ['/opt']\ndeny = ['/usr/x']\nprotect = ['$WORKSPACE/.git']\n\
             [tools.exec]\nsecurity = 'allowlist'\ncommands = ['git', { command = '/usr/bin/make', args = ['all', 'test ...'] }]\n\
             timeout = '5m'\nrate = 3\n[tools.write]\ndenied_paths = ['$WORKSPACE/secret']\n\
             [environment]\ngit_identity = true\n[environment.set]\nA = \"tab\\t\\u0001\\u007f\\\"\"\n[limits]\npids = 7\ncpus = 0.125\n[process]\ndebug = true\n[session]\nmode = 'all'\n",
            "[network]\nmode = 'allowlist'\nallow = ['a.example', '*.b.example:8443', { host = 'c.example', tls = 'terminate', \
             methods = ['GET'] }, { host = 'd.example', ports = [53], protocol = 'udp' }]\ndeny = ['x.b.example']\n\
             resolvers = ['9.9.9.9:53']\n[network.limits]\nconnections = 5\nidle = '1m'\n\
             [[network.credentials]]\nhost = 'c.example'\nheader = 'x-key'\nvariable = 'K'\nsecret = { file = '/run/k' }\n",
            "network = { mode = 'open', allow = ['a.example:22'] }",
            "network = { mode = 'ask' }",
            "network = { mode = 'allowlist', allow = ['a.example'] }\ntools.allow = ['exec']\n",
            "allow_degraded = ['cgroup']\ntools.exec.ask = 'always'",
        ];
        for source in presets.chain(more.map(str::to_owned)) {
            let (first, roots) = resolved(&source);
            let shown = text(&first.rights, &first.effective, &roots);
            let (second, _) = resolved(&shown);
            assert_eq!(meaning(&first), meaning(&second), "{source}\n---\n{shown}");
        }
    }

    #[test]
    fn a_pattern_of_a_denial_is_written_as_it_was() {
        let text_ = "[filesystem]\ndeny = ['$WORKSPACE/*.pem']\nprotect = [{ path = '/a/?', optional = true }]\n";
        let roots = Roots {
            home: "/home/u".into(),
            workspace: "/home/u/w".into(),
        };
        let mut stack = Stack {
            layers: vec![(Rank::Operator, file::read("p.toml", text_).unwrap())],
        };
        let met = stack.expand(&roots, |_| Ok::<_, std::convert::Infallible>(vec![]));
        assert!(met.is_ok());
        let outcome = stack.resolve(&base(), &roots);
        let shown = text(&outcome.rights, &outcome.effective, &roots);
        for line in [
            "    \"$WORKSPACE/*.pem\", # p.toml:2\n",
            "    { path = \"/a/?\", optional = true }, # p.toml:3\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
    }

    #[test]
    fn each_line_names_its_place() {
        let (outcome, roots) = resolved("[filesystem]\nread = [\n'/a']\nworkspace = 'ro'\n");
        let shown = text(&outcome.rights, &outcome.effective, &roots);
        assert!(shown.contains("    \"/a\", # p.toml:3\n"), "{shown}");
        assert!(shown.contains("workspace = \"ro\" # p.toml:4\n"), "{shown}");
    }
}
