//! The presets as constants: parsing the default policy would be on the way to every jail.
//!
//! `compiled_data.rs` is generated from `policies/*.toml`; a test below compares the two and says how
//! to write it anew.

use std::sync::Arc;

use super::{
    Absent, Bytes, Count, CpuShare, Environment, Execution, Filesystem, Grant, Limits, Network,
    Origin, Percent, Policy, Sourced, Span, WorkspaceMode,
};

include!("compiled_data.rs");

/// A preset with nothing to parse. Lines are those of the TOML file.
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
    /// In the order of the fields of [`Limits`].
    pub limits: [(u64, u32); 12],
}

impl Compiled {
    /// The preset of that name, where it was compiled.
    pub fn named(name: &str) -> Option<&'static Compiled> {
        COMPILED.iter().find(|preset| preset.name == name)
    }

    pub fn policy(&self) -> Policy {
        // Line 0 is no line of the file: what creel itself adds.
        let source: Arc<str> = format!("preset:{}", self.name).into();
        let origin = |line| match line {
            0 => Origin::creel(),
            line => Origin {
                source: source.clone(),
                line,
            },
        };
        let grants = |list: &[(&str, Absent, u32)]| -> Vec<Grant> {
            list.iter()
                .map(|(path, absent, line)| Grant {
                    path: (*path).to_owned(),
                    absent: *absent,
                    origin: origin(*line),
                })
                .collect()
        };
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
                // A preset has none; a test below holds that.
                deny_patterns: vec![],
                protect_patterns: vec![],
                confined: vec![],
                workspace: self.workspace.map(|(value, line)| Sourced {
                    value,
                    origin: origin(line),
                }),
            },
            exec: Sourced {
                value: Execution::Granted,
                origin: Origin::creel(),
            },
            network: Network::default(),
            environment: Environment {
                set: self
                    .set
                    .iter()
                    .map(|(name, value, line)| {
                        (
                            (*name).to_owned(),
                            Sourced {
                                value: (*value).to_owned(),
                                origin: origin(*line),
                            },
                        )
                    })
                    .collect(),
                pass: self
                    .pass
                    .iter()
                    .map(|(name, line)| Sourced {
                        value: (*name).to_owned(),
                        origin: origin(*line),
                    })
                    .collect(),
                git_identity: Sourced {
                    value: self.git_identity.0,
                    origin: origin(self.git_identity.1),
                },
            },
            limits: self.limits(),
            debug: Sourced {
                value: self.debug.0,
                origin: origin(self.debug.1),
            },
            allow_degraded: Default::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        let [
            memory,
            memory_high,
            cpus,
            pids,
            timeout,
            cpu_time,
            disk,
            inodes,
            file_size,
            open_files,
            output,
            grace,
        ] = self.limits;
        let source: Arc<str> = format!("preset:{}", self.name).into();
        let origin = |line| Origin {
            source: source.clone(),
            line,
        };
        let bytes = |(n, line)| Sourced {
            value: Bytes(n),
            origin: origin(line),
        };
        let count = |(n, line)| Sourced {
            value: Count(n),
            origin: origin(line),
        };
        let span = |(n, line)| Sourced {
            value: Span(n),
            origin: origin(line),
        };
        Limits {
            memory: bytes(memory),
            memory_high: Sourced {
                value: Percent(memory_high.0 as u8),
                origin: origin(memory_high.1),
            },
            cpus: Sourced {
                value: CpuShare(cpus.0 as u32),
                origin: origin(cpus.1),
            },
            pids: count(pids),
            timeout: span(timeout),
            cpu_time: span(cpu_time),
            disk: bytes(disk),
            inodes: count(inodes),
            file_size: bytes(file_size),
            open_files: count(open_files),
            output: bytes(output),
            grace: span(grace),
        }
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
        assert!(!silent, "{name}: {:?}", layer.limits);
        file::alone(layer, &preset::default().unwrap().limits)
    }

    fn generate() -> String {
        let mut out = String::from(
            "// Generated from policies/*.toml: CREEL_WRITE=1 cargo test --lib policy::compiled\n\n\
             /// The presets.\npub static COMPILED: &[Compiled] = &[\n",
        );
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
                writeln!(out, "        {key}: &[").unwrap();
                for g in grants {
                    writeln!(
                        out,
                        "            ({:?}, Absent::{:?}, {}),",
                        g.path, g.absent, g.origin.line
                    )
                    .unwrap();
                }
                writeln!(out, "        ],").unwrap();
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
            writeln!(out, "        ],\n        limits: [").unwrap();
            let l = &policy.limits;
            for (value, line) in [
                (l.memory.value.0, l.memory.origin.line),
                (u64::from(l.memory_high.value.0), l.memory_high.origin.line),
                (u64::from(l.cpus.value.0), l.cpus.origin.line),
                (l.pids.value.0, l.pids.origin.line),
                (l.timeout.value.0, l.timeout.origin.line),
                (l.cpu_time.value.0, l.cpu_time.origin.line),
                (l.disk.value.0, l.disk.origin.line),
                (l.inodes.value.0, l.inodes.origin.line),
                (l.file_size.value.0, l.file_size.origin.line),
                (l.open_files.value.0, l.open_files.origin.line),
                (l.output.value.0, l.output.origin.line),
                (l.grace.value.0, l.grace.origin.line),
            ] {
                writeln!(out, "            ({value}, {line}),").unwrap();
            }
            writeln!(out, "        ],\n    }},").unwrap();
        }
        out + "];\n"
    }

    #[test]
    fn what_was_compiled_is_what_the_files_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/compiled_data.rs");
        let generated = generate();
        if std::env::var_os("CREEL_WRITE").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(
            checked_in == generated,
            "policies/*.toml changed: CREEL_WRITE=1 cargo test --lib policy::compiled"
        );
        for name in preset::COMPILED {
            assert_eq!(Compiled::named(name).unwrap().policy(), parsed(name));
        }
    }
}
