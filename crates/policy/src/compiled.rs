//! The presets as constants, so that starting a jail does not parse the default policy.
//!
//! `compiled_data.rs` is generated from `policies/*.toml`. A test below compares the two and says how to
//! regenerate it.

use std::sync::Arc;

use super::grant::{Absent, WorkspaceMode};
use super::limits::Limits;
use super::net::network::Network;
use super::origin::{Origin, Sourced};
use super::path_set::PathRule;
use super::policy::{Environment, Execution, Filesystem, Policy};
use super::roots::Roots;

include!("compiled_data.rs");

/// The preset that `creel run` uses without a policy.
pub const DEFAULT: &str = "default";

/// A preset that needs no parsing. Line numbers are those of the TOML file.
pub struct Compiled {
    pub name: &'static str,
    pub digest: &'static str,
    pub debug: (bool, u32),
    pub git_identity: (bool, u32),
    pub workspace: Option<(WorkspaceMode, u32)>,
    pub read: &'static [(&'static str, Absent, u32)],
    pub write: &'static [(&'static str, Absent, u32)],
    pub load: &'static [(&'static str, Absent, u32)],
    pub exec: &'static [(&'static str, Absent, u32)],
    pub deny: &'static [(&'static str, Absent, u32)],
    pub protect: &'static [(&'static str, Absent, u32)],
    pub set: &'static [(&'static str, &'static str, u32)],
    pub pass: &'static [(&'static str, u32)],
    /// In the order of the table of [`Limits`]; line 0 means that the preset does not set the limit.
    pub limits: &'static [(u64, u32)],
}

impl Compiled {
    /// The compiled preset of that name, if there is one.
    pub fn named(name: &str) -> Option<&'static Compiled> {
        COMPILED.iter().find(|preset| preset.name == name)
    }

    /// The policy, where `~` and `$WORKSPACE` stand for these `roots`.
    pub fn policy(&self, roots: &Roots) -> Policy {
        // Line 0 marks values that creel itself adds.
        let source: Arc<str> = format!("preset:{}", self.name).into();
        let origin = |line| match line {
            0 => Origin::creel(),
            line => Origin {
                source: source.clone(),
                line,
            },
        };
        fn of<T>((value, line): (T, u32), origin: impl Fn(u32) -> Origin) -> Sourced<T> {
            Sourced::new(value, origin(line))
        }
        let grants = |list: &[(&'static str, Absent, u32)]| -> Vec<PathRule> {
            let rules = list.iter();
            rules
                .map(|(path, absent, line)| roots.rule(*path, *absent, origin(*line)))
                .collect()
        };
        let text = |value: &str, line: u32| Sourced::new(value.to_owned(), origin(line));
        let set = self.set.iter();
        let set = set.map(|(name, value, line)| ((*name).to_owned(), text(value, *line)));
        let pass = self.pass.iter().map(|(name, line)| text(name, *line));
        Policy {
            name: self.name.to_owned(),
            digest: self.digest.to_owned(),
            filesystem: Filesystem {
                read: grants(self.read),
                write: grants(self.write),
                exec: grants(self.exec),
                deny: grants(self.deny),
                load: grants(self.load),
                protect: grants(self.protect),
                workspace: self.workspace.map(|mode| of(mode, origin)),
                // Presets have no patterns; a test below checks that.
                ..Filesystem::default()
            },
            exec: Sourced::creel(Execution::Granted),
            network: Network::default(),
            environment: Environment {
                set: set.collect(),
                pass: pass.collect(),
                git_identity: of(self.git_identity, origin),
            },
            limits: self.limits(),
            debug: of(self.debug, origin),
            allow_degraded: Default::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        let default = Compiled::named(DEFAULT).unwrap_or(self);
        let sources = [self, default].map(|of| format!("preset:{}", of.name).into());
        let [own, base]: [Arc<str>; 2] = sources;
        // A new limit has no row until the presets are regenerated.
        let row = |of: &Compiled, at: usize| of.limits.get(at).copied().unwrap_or_default();
        // A limit that the preset does not set is the default preset's.
        let rows = std::array::from_fn(|at| {
            let ((number, line), source) = match row(self, at) {
                (_, 0) => (row(default, at), base.clone()),
                row => (row, own.clone()),
            };
            (number, Origin { source, line })
        });
        Limits::compiled(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{file, preset};
    use std::fmt::Write;

    /// From its text, which names each limit.
    fn parsed(name: &str) -> Policy {
        let layer = preset::layer(name).unwrap();
        let silent = format!("{:?}", layer.limits).contains(": None");
        assert!(!silent || name != DEFAULT, "{name}: {:?}", layer.limits);
        file::alone(layer, &preset::limits().unwrap(), &Roots::symbolic())
    }

    fn generate() -> String {
        let mut out = String::from(
            "// Generated from policies/*.toml: CREEL_WRITE=1 cargo test -p creel-policy compiled\n\n\
             /// The presets.\npub static COMPILED: &[Compiled] = &[\n",
        );
        let mut shared = None;
        for name in preset::COMPILED {
            let policy = parsed(name);
            // Whatever a constant cannot say.
            assert_eq!(policy.exec.value, Execution::Granted);
            assert!(policy.allow_degraded.is_empty());
            let fs = &policy.filesystem;
            writeln!(
                out,
                "    Compiled {{\n        name: {name:?},\n        digest: {:?},",
                policy.digest
            )
            .unwrap();
            let debug = (policy.debug.value, policy.debug.origin.line);
            writeln!(out, "        debug: {debug:?},").unwrap();
            let identity = &policy.environment.git_identity;
            let identity = (identity.value, identity.origin.line);
            writeln!(out, "        git_identity: {identity:?},").unwrap();
            let workspace = fs.workspace.as_ref().map(|w| (w.value, w.origin.line));
            match workspace {
                Some((mode, line)) => writeln!(
                    out,
                    "        workspace: Some((WorkspaceMode::{mode:?}, {line})),"
                )
                .unwrap(),
                None => writeln!(out, "        workspace: None,").unwrap(),
            }
            for (key, grants) in [
                ("read", &fs.read),
                ("write", &fs.write),
                ("load", &fs.load),
                ("exec", &fs.exec),
                ("deny", &fs.deny),
                ("protect", &fs.protect),
            ] {
                let mut rows = String::new();
                for rule in grants {
                    let (path, absent) = (rule.shown(), rule.absent);
                    writeln!(
                        rows,
                        "            ({path:?}, Absent::{absent:?}, {}),",
                        rule.origin.line
                    )
                    .unwrap();
                }
                // creel's own, and the same in each.
                if key == "protect" && *shared.get_or_insert_with(|| rows.clone()) == rows {
                    writeln!(out, "        {key}: PROTECT,").unwrap();
                } else {
                    writeln!(out, "        {key}: &[\n{rows}        ],").unwrap();
                }
            }
            writeln!(out, "        set: &[").unwrap();
            for (name, value) in &policy.environment.set {
                writeln!(
                    out,
                    "            ({name:?}, {:?}, {}),",
                    value.value, value.origin.line
                )
                .unwrap();
            }
            writeln!(out, "        ],\n        pass: &[").unwrap();
            for name in &policy.environment.pass {
                writeln!(out, "            ({:?}, {}),", name.value, name.origin.line).unwrap();
            }
            writeln!(out, "        ],\n        limits: &[").unwrap();
            for (value, origin) in policy.limits.numbers() {
                let own = *origin.source == *format!("preset:{name}");
                let (value, line) = if own { (value, origin.line) } else { (0, 0) };
                writeln!(out, "            ({value}, {line}),").unwrap();
            }
            writeln!(out, "        ],\n    }},").unwrap();
        }
        let shared = shared.unwrap_or_default().replace("            ", "    ");
        out + "];\n\n/// Trust paths.\nconst PROTECT: &[(&str, Absent, u32)] = &[\n"
            + &shared
            + "];\n"
    }

    #[test]
    fn what_was_compiled_is_what_the_files_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/compiled_data.rs");
        let generated = generate();
        if std::env::var_os("CREEL_WRITE").is_some() {
            // The compiled data is still that of the old file: the next run compares.
            return std::fs::write(path, &generated).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(
            checked_in == generated,
            "policies/*.toml changed: CREEL_WRITE=1 cargo test -p creel-policy compiled"
        );
        for name in preset::COMPILED {
            let compiled = Compiled::named(name).unwrap();
            assert_eq!(compiled.policy(&Roots::symbolic()), parsed(name));
        }
    }
}
