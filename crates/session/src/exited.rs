//! The facts about a run that has ended, before they become a verdict.

use std::io;
use std::time::Duration;

use super::egress::Traffic;
use creel_jail::JailError;
use creel_jail::cgroup::Counters;
use creel_jail::janitor::{Leaving, Uncovered, Unguarded};
use creel_jail::protocol::DISKS;
use creel_sys::Errno;
use creel_sys::process::{Change, Usage};

/// Errors of the supervision of a running jail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// A system call of the supervisor failed.
    #[error("{what} failed")]
    Io {
        /// The action that failed, as the subject of the message.
        what: &'static str,
        /// The error of the call.
        #[source]
        source: io::Error,
    },
    /// The jail cannot be waited for.
    #[error(transparent)]
    Jail(#[from] JailError),
}

creel_policy::codes!(SuperviseError {
    Self::Io { .. } => "session-io",
} else {
    Self::Jail(error) => error.code(),
});

/// How a run ended, before it becomes a verdict.
#[derive(Debug)]
pub struct Exited {
    /// The end of the command, or the reason why it did not run.
    pub end: Ended,
    /// The limit or the caller's signal for which creel ended it, if it did.
    pub cause: Option<Cause>,
    /// The cgroup's counters; zero if no cgroup exists or [`Detail`] spares them.
    pub counters: Counters,
    /// Milliseconds of processor time of the command's own process, as RLIMIT_CPU counts them.
    pub cpu: u32,
    /// The resources of pid 1 and all processes that it reaped, wait4(2).
    pub usage: Usage,
    /// From the start of `creel run` to the jail's end.
    pub wall: Duration,
    /// Bytes that were passed on from stdout and stderr, within the limit.
    pub output: u64,
    /// For each writable tmpfs, in the order of the plan: per mille of its bytes and of its inodes in use at
    /// the end; 0 if pid 1 did not report them.
    pub disks: [[u32; 2]; DISKS],
    /// The error of a stream of the caller that failed.
    pub lost: Option<io::Error>,
    /// How long creel waits for a reader of its messages about the end; zero if the output was given up.
    pub patience: Duration,
    /// The destinations that were reached, if the jail had egress.
    pub traffic: Option<Traffic>,
    /// Names whose deny mounts the host removed, in order.
    pub uncovered: Vec<Uncovered>,
    /// Why no process watched the deny mounts, if none did.
    pub unwatched: Option<Errno>,
    /// Directories in which the opening of denied names is not blocked, though it should be.
    pub unguarded: Vec<Unguarded>,
    /// Ends while the verdict is made.
    pub janitor: Option<Leaving>,
}

/// The end of the jail as the jail itself reported it.
#[derive(Debug)]
pub enum Ended {
    /// The command ran and ended with this change.
    Command(Change),
    /// The command could not be executed.
    NotExecuted(Errno),
    /// A step failed; its act and errno.
    Setup(JailError),
    /// Pid 1 was killed before it could report.
    Silent,
}

/// Why creel ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The limit of wall time, `timeout`.
    Timeout,
    /// The limit of processor time of all processes together, `cpu_time`, counted by the cgroup.
    CpuTime,
    /// The limit of bytes on stdout and stderr, `output`.
    Output,
    /// The limit of memory, where creel kills and not the kernel: a v1 cgroup, or memory that no cgroup
    /// counts.
    Oom,
    /// The caller's SIGTERM: the command did not end in the grace, or a second one came.
    Asked,
    /// A deny mount could not be restored in time.
    Uncovered,
    /// The janitor ended before the jail.
    JanitorDied,
}

/// How much is collected about a run: the cgroup's counters cost a dozen system calls, and a receipt has
/// two digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The verdict will be read.
    Full,
    /// Only what explains a failure.
    OfFailures,
}
