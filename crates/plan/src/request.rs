//! The caller's request for one run, in addition to the policy.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use creel_policy::net::Rule;
use creel_policy::{Bytes, Count, CpuShare, Degradable, Span, WorkspaceMode};

/// The request for one run. Paths are absolute or relative to the caller's working directory.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub command: Vec<OsString>,
    pub workspace: Option<PathBuf>,
    pub workspace_mode: Option<WorkspaceMode>,
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    /// To read and execute.
    pub exec: Vec<PathBuf>,
    /// Destinations in addition to the policy's. Granted ones are already in the policy's network rules.
    pub allow_net: Vec<Rule>,
    /// Name and value, already looked up in the caller's environment.
    pub env: Vec<(OsString, OsString)>,
    /// The caller's values of the variables that the policy passes on.
    pub caller_env: Vec<(OsString, OsString)>,
    pub workdir: Option<PathBuf>,
    pub limits: LimitRequest,
    pub allow_degraded: Vec<Degradable>,
    pub terminal: Terminal,
    pub clocks: Clocks,
    /// Paths that are not protected although git's configuration names them (`unprotect`).
    pub unprotected: BTreeSet<PathBuf>,
    /// Directories in which the caller's next run would look for policies that grant. The jail cannot write
    /// to them, whatever else is granted.
    pub search_dirs: Vec<PathBuf>,
    /// Keys of the policy that have no effect, or another effect than they seem to have, for the receipt.
    pub notes: Vec<String>,
    /// Published ports: servers in the jail that the host can connect to.
    pub publish: Vec<Publish>,
    /// The jail's id, for `CREEL_ID`.
    pub id: String,
}

/// A published port: a connection to `address` on the host reaches `port` on the jail's loopback.
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

/// The type of the command's stdin, stdout and stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terminal {
    /// The caller's stdin (through a pipe if it is a terminal); stdout and stderr through pipes that the
    /// supervisor counts.
    #[default]
    Pipes,
    /// A pseudoterminal of the jail's own.
    Pty,
}

/// The zero point of the jail's monotonic and boot clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clocks {
    /// Since the host's boot, as the host's do.
    #[default]
    Host,
    /// Since the jail's start: a time namespace.
    Jail,
}
