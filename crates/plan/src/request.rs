//! What the caller asks of one run, beside the policy.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use creel_policy::net::Rule;
use creel_policy::{Bytes, Count, CpuShare, Degradable, Span, WorkspaceMode};

/// One run as asked for. Paths are absolute or relative to the caller's working directory.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub command: Vec<OsString>,
    pub workspace: Option<PathBuf>,
    pub workspace_mode: Option<WorkspaceMode>,
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    /// To read and execute.
    pub exec: Vec<PathBuf>,
    /// Destinations, beside those of the policy; in its network already where they are granted.
    pub allow_net: Vec<Rule>,
    /// Name and value; the caller's environment was asked already.
    pub env: Vec<(OsString, OsString)>,
    /// Variables of the caller, for the names that the policy passes on.
    pub caller_env: Vec<(OsString, OsString)>,
    pub workdir: Option<PathBuf>,
    pub limits: LimitRequest,
    pub allow_degraded: Vec<Degradable>,
    pub terminal: Terminal,
    pub clocks: Clocks,
    /// Paths that are not held though git's configuration names them (`unprotect`).
    pub unprotected: BTreeSet<PathBuf>,
    /// Directories in which the caller's next run would look for policies that grant: nothing may be
    /// written there, whatever else is granted.
    pub seats: Vec<PathBuf>,
    /// What of the policy's words has no effect or another one, for the receipt.
    pub notes: Vec<String>,
    /// Ways in, to servers in the jail.
    pub publish: Vec<Publish>,
    /// The jail's id, for `CREEL_ID`.
    pub id: String,
}

/// A way in: who connects to `address` on the host reaches `port` on the jail's loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub address: core::net::SocketAddr,
    pub port: u16,
}

/// Limits from the command line; each replaces the policy's.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitRequest {
    pub memory: Option<Bytes>,
    pub cpus: Option<CpuShare>,
    pub pids: Option<Count>,
    pub timeout: Option<Span>,
    pub cpu_time: Option<Span>,
    pub disk: Option<Bytes>,
    pub output: Option<Bytes>,
}

/// What the command's stdin, stdout and stderr are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terminal {
    /// The caller's stdin, by a pipe where that is a terminal; stdout and stderr through pipes that the
    /// supervisor counts.
    #[default]
    Pipes,
    /// A pseudoterminal of the jail's own.
    Pty,
}

/// Since when the jail's monotonic and boot clocks count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clocks {
    /// Since the host's boot, as the host's do.
    #[default]
    Host,
    /// Since the jail's start: a time namespace.
    Jail,
}
