//! The way out, end to end: jails with a relay, unmodified programs, servers in a network of the test's
//! own. Each denial has its control.

mod asked;
mod captured;
mod clients;
mod database;
mod denied;
mod ended;
mod git;
mod large;
mod limits;
mod live;
mod many;
mod own_host;
mod published;
mod reasons;
mod recorded;
mod relay_dies;
mod running;
mod secrets;
mod untold;
mod web;

use std::path::PathBuf;
use std::process::Command;

use crate::support::outside::{Outside, Peer};
use crate::support::{Ran, Run, Who, Workspace, children_of, is_root, need};

/// Names that exist outside.
pub const NAMES: [&str; 5] = [
    "web.test",
    "other.test",
    "a.wild.test",
    "evilweb.test",
    "web.test.evil.test",
];

/// One jail to be, in a network of the test's own.
pub struct Jail {
    pub outside: Outside,
    workspace: Workspace,
    who: Who,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    base: &'static str,
    network: String,
    kept: Vec<tempfile::NamedTempFile>,
    config: Option<PathBuf>,
}

impl Jail {
    /// With `[network]` of this text. `None`: this test needs root, for a network of its own.
    pub fn new(who: Who, network: &str) -> Option<Jail> {
        if !is_root() {
            eprintln!("skipped: a network of the test's own needs root");
            return None;
        }
        let workspace = Workspace::new(who);
        let outside = Outside::enter(&NAMES, workspace.outside());
        Some(Jail {
            outside,
            workspace,
            who,
            flags: vec![],
            env: vec![],
            base: "default",
            network: network.into(),
            kept: vec![],
            config: None,
        })
    }

    /// Begins with another of the shipped policies.
    pub fn extends(mut self, base: &'static str) -> Jail {
        self.base = base;
        self
    }

    /// A variable of creel's own.
    pub fn outer_env(mut self, name: &str, value: &str) -> Jail {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A file that is there as long as this.
    pub fn keep(mut self, file: tempfile::NamedTempFile) -> Jail {
        self.kept.push(file);
        self
    }

    /// A place on the disk that the jail does not see.
    pub fn elsewhere(&self, name: &str) -> PathBuf {
        self.workspace.outside().join(name)
    }

    /// A file in the workspace.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        self.workspace.write(name, contents)
    }

    pub fn flags(mut self, flags: &[&str]) -> Jail {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// With a log of its decisions.
    pub fn logged(self) -> Jail {
        let log = self.workspace.write("../net.jsonl", "");
        self.flags(&["--log-net", &log.to_string_lossy()])
    }

    /// The lines of that log.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.elsewhere("net.jsonl")).expect("a log");
        let line = |line| serde_json::from_str(line).expect("a line of JSON");
        text.lines().map(line).collect()
    }

    /// With this policy of an operator's above it.
    pub fn operator(mut self, policy: &str) -> Jail {
        let home = self.workspace.outside().join("config");
        std::fs::create_dir_all(home.join("creel")).expect("mkdir");
        std::fs::write(home.join("creel/policy.toml"), policy).expect("write");
        self.config = Some(home);
        self
    }

    /// A file in the workspace.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.workspace.path().join(name)
    }

    pub fn run(&self) -> Run {
        // Programs inside trust the test's authority where TLS is forwarded.
        let ca = std::fs::read_to_string(&*self.outside.authority).expect("the authority");
        self.write("ca.pem", &ca);
        let policy = format!(
            "extends = [\"{}\"]\n[network]\nresolvers = [\"127.0.0.53:53\"]\n{}\n",
            self.base, self.network
        );
        let run = Run::new(self.who, &self.workspace).flags(&self.flags);
        let run = match &self.config {
            Some(config) => run.outer_env("XDG_CONFIG_HOME", config),
            None => run,
        };
        self.env
            .iter()
            .fold(run, |run, (name, value)| run.outer_env(name, value))
            .policy_text(&self.workspace, "network", &policy)
    }

    pub fn sh(&self, script: &str) -> Ran {
        self.run().sh(script)
    }

    pub fn python(&self, script: &str) -> Ran {
        self.run().python(script)
    }

    pub fn argv(&self, argv: &[&str]) -> Ran {
        self.run().argv(argv)
    }

    /// A server of HTTP/1.1, HTTP/2, WebSocket and server-sent events, over TLS. The file has a line for
    /// each request.
    pub fn peer(&self, port: u16) -> (Peer, PathBuf) {
        let script = self.elsewhere("peer.mjs");
        std::fs::write(&script, include_str!("servers/peer.mjs")).expect("write");
        let log = self.elsewhere("peer.log");
        let outside = &self.outside;
        let mut node = Command::new(need("node"));
        node.args([&script, &*outside.certificate, &*outside.key]);
        node.arg(port.to_string()).arg(&log);
        (outside.start(&mut node, port), log)
    }
}

/// Programs without proxies' variables: what they do is transparent.
pub const PLAIN: &str = "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; ";

/// The proxy that no variable tells of, since many clients do not speak its protocol.
pub const SOCKS: &str = "socks5h://198.18.0.1:1080";

/// The first process of a creel's jail: the child that is in a pid namespace of its own.
pub fn first_of(creel: u32) -> Option<u32> {
    children_of(creel).into_iter().find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        pids.is_some_and(|pids| pids.split_whitespace().count() == 2)
    })
}

/// The relay of a creel: the child under a filter that is in no pid namespace of its own.
pub fn relay_of(creel: u32) -> Option<u32> {
    children_of(creel).into_iter().find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = |key| status.lines().find_map(|line| line.strip_prefix(key));
        let namespaces = value("NSpid:").map(|pids| pids.split_whitespace().count());
        value("Seccomp:").map(str::trim) == Some("2") && namespaces == Some(1)
    })
}
