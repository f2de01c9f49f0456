//! A caller's request as lines of a policy, for a display of the rules in force and their sources.

use std::path::PathBuf;

use super::Declared;
use creel_plan::{Host, paths};
use creel_policy::{Absent, Origin, Policy, Sourced};

impl Declared {
    /// The policy with the caller's request; the origin of each such line is its flag.
    pub fn with_flags(&self, host: &Host) -> Policy {
        let (mut policy, asked) = (self.policy.clone(), &self.request);
        let files = &mut policy.filesystem;
        for (flag, grants, paths) in [
            ("--read", &mut files.read, &asked.read),
            ("--write", &mut files.write, &asked.write),
            ("--exec", &mut files.exec, &asked.exec),
        ] {
            let rule = |path: &PathBuf| {
                let path = paths::absolute(path, host).to_string_lossy().into_owned();
                self.roots.rule(path, Absent::Refuse, origin(flag))
            };
            grants.extend(paths.iter().map(rule));
        }
        if let Some(value) = asked.workspace_mode {
            let origin = origin("--workspace");
            files.workspace = Some(Sourced { value, origin });
        }
        for (name, value) in &asked.env {
            let text = |word: &std::ffi::OsString| word.to_string_lossy().into_owned();
            let name = text(name);
            policy
                .environment
                .pass
                .retain(|passed| passed.value != name);
            let value = text(value);
            let origin = origin("--env");
            policy
                .environment
                .set
                .insert(name, Sourced { value, origin });
        }
        let (limits, asked) = (&mut policy.limits, &asked.limits);
        replace(&mut limits.memory, asked.memory, "--memory");
        replace(&mut limits.cpus, asked.cpus, "--cpus");
        replace(&mut limits.pids, asked.pids, "--pids");
        replace(&mut limits.timeout, asked.timeout, "--timeout");
        replace(&mut limits.cpu_time, asked.cpu_time, "--cpu-time");
        replace(&mut limits.disk, asked.disk, "--disk");
        replace(&mut limits.output, asked.output, "--output-limit");
        policy
    }
}

fn replace<T>(limit: &mut Sourced<T>, asked: Option<T>, flag: &str) {
    if let Some(value) = asked {
        let origin = origin(flag);
        *limit = Sourced { value, origin };
    }
}

fn origin(flag: &str) -> Origin {
    Origin {
        source: flag.into(),
        line: 0,
    }
}
