//! From a policy's lines to the acts of a plan that they became.
//!
//! Owns the way back: which mount, rule, limit or namespace stands for which line. An act names the rule that
//! asked for it ([`Act::rule`]); a rule without an act of its own is in force through the act of a wider one,
//! which is found by the path. It decides nothing. If it finds no act for a line, it reports that the line is
//! not in force.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::paths::{self, HostPaths};
use super::request::Way;
use super::*;
use creel_policy::{Execution, Origin, PathRule, Policy, Sourced};

/// One line of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// As written in a policy: `filesystem.read`.
    pub key: &'static str,
    /// The value as a policy would have it; a path that is not UTF-8 has replacement characters.
    pub item: String,
    /// The line or flag that set it.
    pub origin: Origin,
    /// The acts that it became, in the plan's order; or why there is none.
    pub kernel: Vec<String>,
}

/// Every line of `policy`, and every path and variable of `request`, with what it became in `plan`, which
/// came of all three.
pub fn rows(policy: &Policy, request: &Request, host: &Host, plan: &Plan) -> Vec<Row> {
    let mut out = Rows {
        on_host: HostPaths::of(policy, request, host),
        workspace: paths::real_workspace(policy, request, host),
        host,
        plan,
        rows: vec![],
    };
    out.files(policy, request);
    out.execution(&policy.exec);
    out.network(policy);
    out.environment(policy, request);
    out.limits(policy);
    out.rows
}

/// The kind of rule that takes access away.
#[derive(Clone, Copy)]
enum Taken {
    Denied,
    Protected,
}

struct Rows<'a> {
    on_host: HostPaths<'a>,
    workspace: PathBuf,
    host: &'a Host,
    plan: &'a Plan,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn add(
        &mut self,
        key: &'static str,
        item: impl Into<String>,
        origin: &Origin,
        kernel: Vec<String>,
    ) {
        self.rows.push(Row {
            key,
            item: item.into(),
            origin: origin.clone(),
            kernel,
        });
    }

    fn files(&mut self, policy: &Policy, request: &Request) {
        let files = &policy.filesystem;
        if let Some(mode) = &files.workspace {
            let kernel = self.of_path(&self.workspace.clone());
            self.add(
                "filesystem.workspace",
                mode.value.name(),
                &mode.origin,
                kernel,
            );
        }
        for (key, grants, way) in [
            ("filesystem.read", &files.read, Way::Read),
            ("filesystem.write", &files.write, Way::Write),
            ("filesystem.load", &files.load, Way::Load),
            ("filesystem.exec", &files.exec, Way::Exec),
        ] {
            for grant in grants {
                let kernel = self.granted(grant);
                self.add(key, grant.shown(), &grant.origin, kernel);
            }
            for raw in request.raw.iter().filter(|raw| raw.way == way) {
                let kernel = self.granted_path(&raw.path, &raw.origin);
                self.add(key, raw.path.to_string_lossy(), &raw.origin, kernel);
            }
        }
        for (key, grants, taken) in [
            ("filesystem.deny", &files.deny, Taken::Denied),
            ("filesystem.protect", &files.protect, Taken::Protected),
        ] {
            for grant in grants {
                let kernel = self.taken(grant, taken);
                self.add(key, grant.shown(), &grant.origin, kernel);
            }
        }
        for (key, grants) in [
            ("filesystem.deny", &files.deny_patterns),
            ("filesystem.protect", &files.protect_patterns),
        ] {
            for grant in grants {
                let kernel = "covers the matching names that exist now; matching names created later are not covered";
                self.add(key, grant.shown(), &grant.origin, vec![kernel.into()]);
            }
        }
    }

    fn granted(&self, rule: &PathRule) -> Vec<String> {
        let Some(path) = self.on_host.of_rule(rule).map(Cow::into_owned) else {
            return vec!["left out: the caller has no home".into()];
        };
        self.granted_path(&path, &rule.origin)
    }

    fn granted_path(&self, path: &Path, origin: &Origin) -> Vec<String> {
        let own = self.acts(|act| matches!(act, Act::Tmpfs { path: p, .. } if *p == path));
        if !own.is_empty() {
            return own.into_iter().chain(self.rule(path)).collect();
        }
        match self.host.paths.get(path).unwrap_or(&Fact::Absent) {
            Fact::Absent => vec!["left out: it does not exist here".into()],
            Fact::Denied => {
                vec!["left out: the caller may not look it up".into()]
            }
            Fact::Special => vec!["left out: it is neither a file nor a directory".into()],
            Fact::Present { real, .. } => {
                let link = self.acts(|act| matches!(act, Act::Link { path: p, .. } if *p == path));
                let bind = |act: &Act| matches!(act, Act::Bind { source, .. } if source == real);
                let kernel = match self.asked(origin, bind) {
                    // A wider grant gives as much.
                    none if none.is_empty() => self.of_path(real),
                    own => own.into_iter().chain(self.rule(real)).collect(),
                };
                link.into_iter().chain(kernel).collect()
            }
        }
    }

    /// Those of these acts that this rule asked for.
    fn asked(&self, rule: &Origin, wanted: impl Fn(&Act) -> bool) -> Vec<String> {
        self.acts(|act| act.rule() == Some(rule) && wanted(act))
    }

    /// The path in the jail of a path of the host.
    fn inside<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        match self.plan.jail.inside(path) {
            Some(inside) => Cow::Owned(inside),
            None => Cow::Borrowed(path),
        }
    }

    /// The mount on which a path of the host is found, and the rule that holds for it.
    fn of_path(&self, path: &Path) -> Vec<String> {
        let inside = self.inside(path);
        let mounted = |act: &&Act| {
            let target = match act {
                Act::Bind { target, .. } => target,
                Act::Tmpfs { path, .. } => path,
                _ => return None,
            };
            inside
                .starts_with(target)
                .then(|| target.components().count())
        };
        let mount = self
            .plan
            .acts()
            .filter(|act| mounted(act).is_some())
            .max_by_key(|act| mounted(act));
        match mount {
            None => vec!["removed by a deny".into()],
            Some(act) => std::iter::once(act.to_string())
                .chain(self.rule(path))
                .collect(),
        }
    }

    /// The innermost Landlock rule for a path of the host.
    fn rule(&self, path: &Path) -> Option<String> {
        let path = self.inside(path);
        let rules = self.plan.acts().find_map(|act| match act {
            Act::Landlock { rules, .. } => Some(rules),
            _ => None,
        })?;
        let rule = rules
            .iter()
            .filter(|rule| path.starts_with(&rule.path))
            .max_by_key(|rule| rule.path.components().count())?;
        let name = super::print::rights(rule.rights);
        Some(format!("landlock {name} {}", rule.path.display()))
    }

    /// The acts of a deny or protect at exactly its path; else the act above it that covers it; else the
    /// reason why nothing does.
    fn taken(&self, rule: &PathRule, taken: Taken) -> Vec<String> {
        let Some(path) = self.on_host.of_rule(rule).map(Cow::into_owned) else {
            return vec!["nothing: the caller has no home".into()];
        };
        let (real, absent) = match self.host.paths.get(&path) {
            Some(Fact::Present { real, .. }) => (real.clone(), false),
            Some(Fact::Absent) => (path.clone(), true),
            _ => (path.clone(), false),
        };
        let [path, real] = [path, real].map(|path| self.inside(&path).into_owned());
        let here = |p: &PathBuf| *p == path || *p == real;
        let acts = self.acts(|act| match act {
            Act::Mask { path, .. }
            | Act::ReadOnly { path }
            | Act::Hold { path, .. }
            | Act::Withhold { path, .. } => here(path),
            Act::Bind { target, access, .. } => here(target) && !access.write,
            _ => false,
        });
        if !acts.is_empty() {
            return acts;
        }
        let above = |p: &PathBuf| path.starts_with(p) || real.starts_with(p);
        let covers = |act: &Act| match act {
            Act::Mask { path, .. } | Act::Withhold { path, .. } => above(path),
            _ => false,
        };
        let own = self.asked(&rule.origin, covers).pop();
        if let Some(by) = own.or_else(|| self.acts(covers).pop()) {
            return vec![by];
        }
        let around = self.plan.acts().filter_map(|act| match act {
            Act::Bind { target, access, .. } if above(target) => Some((target, Some(access), act)),
            Act::Tmpfs { path, .. } if above(path) => Some((path, None, act)),
            _ => None,
        });
        let around = around.max_by_key(|(at, ..)| at.components().count());
        let text = match (around, taken) {
            (None | Some((_, None, _)), _) => "no grant covers it".into(),
            (Some((_, Some(access), act)), Taken::Protected) if !access.write => act.to_string(),
            (Some((_, Some(access), _)), _) if absent && !access.write => {
                "not covered: it is absent, and the jail cannot create it".into()
            }
            // creel's own list holds some names everywhere, and others where they are.
            _ if absent && rule.origin == Origin::creel() => {
                "not protected: it is absent, and the jail can create it; if it exists when a run starts, it is read-only".into()
            }
            _ if absent => "not protected: it is absent, and the jail can create it".into(),
            _ => "not protected: the receipt's notes say why".into(),
        };
        vec![text]
    }

    /// The rules of the network. No act enforces a single one: the relay decides, outside of the jail.
    fn network(&mut self, policy: &Policy) {
        let kernel = || {
            vec![
                "the relay decides, outside of the jail; the jail has no other network access"
                    .into(),
            ]
        };
        for rule in policy.network.lists.iter().flat_map(|list| &list.rules) {
            self.add("network.allow", rule.to_string(), &rule.origin, kernel());
        }
        for rule in &policy.network.deny {
            self.add("network.deny", rule.destination(), &rule.origin, kernel());
        }
        for credential in &policy.network.credentials {
            let kernel = vec![
                format!("{} holds a placeholder in the jail", credential.variable),
                "the relay puts the secret into the header, outside of the jail, where it terminates TLS".into(),
            ];
            let (item, origin) = (credential.to_string(), &credential.origin);
            self.add("network.credentials", item, origin, kernel);
        }
    }

    fn execution(&mut self, exec: &Sourced<Execution>) {
        let executable = self.plan.acts().find_map(|act| match act {
            Act::Landlock { rules, .. } => Some(rules),
            _ => None,
        });
        let executes = |rights: Rights| matches!(rights, Rights::Execute | Rights::WriteExecute);
        let count = executable.map_or(0, |rules| {
            rules.iter().filter(|rule| executes(rule.rights)).count()
        });
        let kernel = vec![format!("landlock grants execution under {count} paths")];
        match &exec.value {
            Execution::Granted => {
                let item = "every program in an executable grant";
                self.add("tools.exec", item, &exec.origin, kernel);
            }
            Execution::Worker => {
                let item = "the command that creel starts, and nothing else";
                self.add("tools.exec", item, &exec.origin, kernel);
            }
            Execution::Only(programs) => {
                self.add("tools.exec", "these programs", &exec.origin, kernel);
                for program in programs {
                    let kernel = self.granted(program);
                    let path = program.shown();
                    self.add("tools.exec.commands", path, &program.origin, kernel);
                }
            }
        }
    }

    fn environment(&mut self, policy: &Policy, request: &Request) {
        let shown = |name: &[u8]| match self.plan.command.environment.get(name) {
            Some(value) => {
                let text = String::from_utf8_lossy;
                format!("{}={}", text(name), text(value))
            }
            None => "not set: the caller has none".into(),
        };
        let flag = Origin::flag("--env");
        let given = request.env.iter().map(|(name, _)| name.as_bytes());
        let given: BTreeSet<&[u8]> = given.collect();
        let lines = policy.environment.set.iter();
        let lines = lines.map(|(name, value)| (name.as_bytes(), &value.origin));
        let mut set: BTreeMap<&[u8], &Origin> = lines.collect();
        set.extend(given.iter().map(|name| (*name, &flag)));
        let set = set.into_iter();
        let set = set.map(|(name, origin)| ("environment.set", name, origin));
        let pass = policy.environment.pass.iter();
        let pass = pass.map(|name| ("environment.pass", name.value.as_bytes(), &name.origin));
        let pass = pass.filter(|(_, name, _)| !given.contains(name));
        for (key, name, origin) in set.chain(pass) {
            let kernel = vec![shown(name)];
            self.add(key, String::from_utf8_lossy(name), origin, kernel);
        }
        let identity = &policy.environment.git_identity;
        if identity.value {
            let Identity { name, email, .. } = &self.host.found.identity;
            let shown = |key: &str, value: &Option<String>| match value {
                Some(value) => format!("git's {key} is {value}"),
                None => format!("git's {key}: your git configuration does not set it"),
            };
            let kernel = vec![shown("user.name", name), shown("user.email", email)];
            self.add("environment.git_identity", "true", &identity.origin, kernel);
        }
    }

    fn limits(&mut self, policy: &Policy) {
        let cgroup = |text: fn(&CgroupLimits) -> String| -> Vec<String> {
            let found = self.plan.acts().find_map(|act| match act {
                Act::Cgroup(limits) => Some(text(limits)),
                _ => None,
            });
            vec![found.unwrap_or_else(|| "no cgroup here: not in force".into())]
        };
        let rlimit = |wanted: Resource| {
            self.acts(|act| matches!(act, Act::ResourceLimit { limit, .. } if *limit == wanted))
        };
        let tmpfs = self.acts(|act| matches!(act, Act::Tmpfs { .. }));
        let (jail, command) = (&self.plan.jail.watch, &self.plan.command.watch);
        let watched = |what: String| vec![format!("the supervisor watches: {what}")];
        let mut rows = vec![];
        for (key, item, origin) in policy.limits.rows() {
            let kernel = match key {
                "limits.memory" => cgroup(|c| format!("cgroup memory {}, no swap", c.memory)),
                "limits.memory_high" => cgroup(|c| format!("cgroup memory high {}", c.memory_high)),
                "limits.cpus" => cgroup(|c| format!("cgroup cpu {} thousandths", c.cpu_milli)),
                "limits.pids" => match rlimit(Resource::Processes) {
                    none if none.is_empty() => cgroup(|c| format!("cgroup pids {}", c.pids)),
                    processes => processes,
                },
                "limits.timeout" => watched(format!("{} ms of wall time", command.timeout)),
                "limits.cpu_time" => {
                    let mut all = watched(format!("{} ms of processor time", jail.cpu_time));
                    all.extend(rlimit(Resource::Cpu));
                    all
                }
                "limits.disk" | "limits.inodes" => tmpfs.clone(),
                "limits.file_size" => rlimit(Resource::FileSize),
                "limits.open_files" => rlimit(Resource::OpenFiles),
                "limits.output" => watched(format!("{} bytes", command.output)),
                "limits.grace" => watched(format!("{} ms", command.grace)),
                _ => vec!["no act of the plan: not in force".into()],
            };
            rows.push((key, item, origin, kernel));
        }
        for (key, item, origin, kernel) in rows {
            self.add(key, item, origin, kernel);
        }
    }

    fn acts(&self, wanted: impl Fn(&Act) -> bool) -> Vec<String> {
        let acts = self.plan.acts().filter(|act| wanted(act));
        acts.map(ToString::to_string).collect()
    }
}
