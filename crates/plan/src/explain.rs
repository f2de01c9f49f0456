//! From a policy's lines to the acts of a plan that they became.
//!
//! Owns the way back: which mount, rule, limit or namespace stands for which line. An act names the rule that
//! asked for it ([`Act::rule`]); a rule without an act of its own is in force through the act of a wider one,
//! which is found by the path. It decides nothing and asks nobody; what it does not find in the plan it says
//! is not in force.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::paths::{self, HostPaths};
use super::*;
use creel_policy::{Execution, Origin, PathRule, Policy, Sourced};

/// One line of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// As written in a policy: `filesystem.read`.
    pub key: &'static str,
    pub item: String,
    pub origin: Origin,
    /// The acts that it became, in the plan's order; or why there is none.
    pub kernel: Vec<String>,
}

/// Every line of `policy` with what it became in `plan`, which came of all three.
pub fn rows(policy: &Policy, request: &Request, host: &Host, plan: &Plan) -> Vec<Row> {
    let mut out = Rows {
        on_host: HostPaths::of(policy, request, host),
        workspace: paths::real_workspace(policy, request, host),
        host,
        plan,
        rows: vec![],
    };
    out.files(policy);
    out.execution(&policy.exec);
    out.network(policy);
    out.environment(policy);
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

    fn files(&mut self, policy: &Policy) {
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
        for (key, grants) in [
            ("filesystem.read", &files.read),
            ("filesystem.write", &files.write),
            ("filesystem.load", &files.load),
            ("filesystem.exec", &files.exec),
        ] {
            for grant in grants {
                let kernel = self.granted(grant);
                self.add(key, grant.shown(), &grant.origin, kernel);
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
                let kernel = "each name that it meets now; one that is created later under such a name is not covered";
                self.add(key, grant.shown(), &grant.origin, vec![kernel.into()]);
            }
        }
    }

    fn granted(&self, rule: &PathRule) -> Vec<String> {
        let Some(path) = self.on_host.at(&rule.path).map(Cow::into_owned) else {
            return vec!["left out: the caller has no home".into()];
        };
        let own = self.acts(|act| matches!(act, Act::Tmpfs { path: p, .. } if *p == path));
        if !own.is_empty() {
            return own.into_iter().chain(self.rule(&path)).collect();
        }
        match self.host.paths.get(&path).unwrap_or(&Fact::Absent) {
            Fact::Absent => vec!["left out: it does not exist here".into()],
            Fact::Denied => vec!["left out: the caller may not look".into()],
            Fact::Special => vec!["left out: it is no file or directory".into()],
            Fact::Present { real, .. } => {
                let link = self.acts(|act| matches!(act, Act::Link { path: p, .. } if *p == path));
                let bind = |act: &Act| matches!(act, Act::Bind { target, .. } if target == real);
                let kernel = match self.asked(rule, bind) {
                    // A wider grant gives as much.
                    none if none.is_empty() => self.of_path(real),
                    own => own.into_iter().chain(self.rule(real)).collect(),
                };
                link.into_iter().chain(kernel).collect()
            }
        }
    }

    /// Those of these acts that this rule asked for.
    fn asked(&self, rule: &PathRule, wanted: impl Fn(&Act) -> bool) -> Vec<String> {
        self.acts(|act| act.rule() == Some(&rule.origin) && wanted(act))
    }

    /// The mount on which a path is found, and the rule that holds for it.
    fn of_path(&self, path: &Path) -> Vec<String> {
        let mounted = |act: &&Act| {
            let target = match act {
                Act::Bind { target, .. } => target,
                Act::Tmpfs { path, .. } => path,
                _ => return None,
            };
            path.starts_with(target)
                .then(|| target.components().count())
        };
        let mount = self
            .plan
            .acts()
            .filter(|act| mounted(act).is_some())
            .max_by_key(|act| mounted(act));
        match mount {
            None => vec!["taken out by a deny".into()],
            Some(act) => std::iter::once(act.to_string())
                .chain(self.rule(path))
                .collect(),
        }
    }

    /// The innermost Landlock rule for a path.
    fn rule(&self, path: &Path) -> Option<String> {
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

    /// What a deny or protect became: acts at that very path, else what holds it from above, else why
    /// nothing does.
    fn taken(&self, rule: &PathRule, taken: Taken) -> Vec<String> {
        let Some(path) = self.on_host.at(&rule.path).map(Cow::into_owned) else {
            return vec!["nothing: the caller has no home".into()];
        };
        let (real, absent) = match self.host.paths.get(&path) {
            Some(Fact::Present { real, .. }) => (real.clone(), false),
            Some(Fact::Absent) => (path.clone(), true),
            _ => (path.clone(), false),
        };
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
        let own = self.asked(rule, covers).pop();
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
            (None | Some((_, None, _)), _) => "nothing is granted there".into(),
            (Some((_, Some(access), act)), Taken::Protected) if !access.write => act.to_string(),
            (Some((_, Some(access), _)), _) if absent && !access.write => {
                "not covered: it is absent, and the jail cannot create it".into()
            }
            // creel's own list holds some names everywhere, and others where they are.
            _ if absent && rule.origin == Origin::creel() => {
                "not held: it is absent, and the jail can create it; where it is there when a run starts, it is read-only".into()
            }
            _ if absent => "not held: it is absent, and the jail can create it".into(),
            _ => "not held: the receipt's notes say why".into(),
        };
        vec![text]
    }

    /// What may be reached is decided outside of the jail, on every list.
    fn network(&mut self, policy: &Policy) {
        let kernel = || vec!["decided outside of the jail, which has no other way out".into()];
        for rule in policy.network.lists.iter().flat_map(|list| &list.rules) {
            self.add("network.allow", rule.to_string(), &rule.origin, kernel());
        }
        for rule in &policy.network.deny {
            self.add("network.deny", rule.destination(), &rule.origin, kernel());
        }
        for credential in &policy.network.credentials {
            let kernel = vec![
                format!("{} holds a placeholder in the jail", credential.variable),
                "put into the header outside of the jail, where TLS is ended".into(),
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
                let item = "whatever lies in an executable grant";
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

    fn environment(&mut self, policy: &Policy) {
        let shown = |name: &str| {
            let value = self.plan.command.environment.get(name.as_bytes());
            match value {
                Some(value) => format!("{name}={}", String::from_utf8_lossy(value)),
                None => "not set: the caller has none".into(),
            }
        };
        let set = policy.environment.set.iter();
        let rows: Vec<_> = set
            .map(|(name, value)| ("environment.set", name, &value.origin, shown(name)))
            .chain(policy.environment.pass.iter().map(|name| {
                let text = shown(&name.value);
                ("environment.pass", &name.value, &name.origin, text)
            }))
            .collect();
        for (key, name, origin, kernel) in rows {
            self.add(key, name, origin, vec![kernel]);
        }
        let identity = &policy.environment.git_identity;
        if identity.value {
            let Identity { name, email, .. } = &self.host.found.identity;
            let shown = |key: &str, value: &Option<String>| match value {
                Some(value) => format!("git's {key} is {value}"),
                None => format!("git's {key}: your configuration of git has none"),
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
                _ => vec![],
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
