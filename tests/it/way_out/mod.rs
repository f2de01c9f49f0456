//! The way out, end to end: jails with a relay, unmodified programs, servers in a network of the test's
//! own. Each denial has its control.

mod asked;
mod clients;
mod denied;
mod published;

use std::time::Duration;

use crate::support::outside::Outside;
use crate::support::{Ran, Run, Who, Workspace, is_root};

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
    policy: String,
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
            policy: format!(
                "extends = [\"default\"]\n[network]\nresolvers = [\"127.0.0.53:53\"]\n{network}\n"
            ),
        })
    }

    pub fn flags(mut self, flags: &[&str]) -> Jail {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// With a log of its decisions.
    pub fn logged(self) -> Jail {
        let log = self.workspace.write("net.jsonl", "");
        self.flags(&["--log-net", &log.to_string_lossy()])
    }

    /// The lines of that log.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.workspace.path().join("net.jsonl")).expect("a log");
        let line = |line| serde_json::from_str(line).expect("a line of JSON");
        text.lines().map(line).collect()
    }

    pub fn run(&self) -> Run {
        Run::new(self.who, &self.workspace)
            .flags(&self.flags)
            // What the relay trusts outside, and, by name alone, what the programs do.
            .outer_env("SSL_CERT_FILE", &*self.outside.authority)
            .policy_text(&self.workspace, "network", &self.policy)
    }

    pub fn sh(&self, script: &str) -> Ran {
        // Programs inside trust the test's authority where it is forwarded.
        let ca = std::fs::read_to_string(&*self.outside.authority).expect("the authority");
        self.workspace.write("ca.pem", &ca);
        self.run().sh(script)
    }

    pub fn python(&self, script: &str) -> Ran {
        self.run().python(script)
    }
}

/// Programs without proxies' variables: what they do is transparent.
pub const PLAIN: &str = "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; ";

/// Waits for what another process does.
pub fn until(what: impl Fn() -> bool) -> bool {
    for _ in 0..200 {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    false
}
