//! The facts about a run that has ended, before they are put in the form of a verdict.

use std::io;
use std::time::Duration;

use super::way_out::Traffic;
use creel_jail::JailError;
use creel_jail::cgroup::Counters;
use creel_jail::janitor::{Uncovered, Unguarded};
use creel_jail::wire::DISKS;
use creel_sys::Errno;
use creel_sys::process::{Change, Usage};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    #[error("{what} failed")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Jail(#[from] JailError),
}

creel_policy::codes!(SuperviseError {
    Self::Io { .. } => "session-io",
} else {
    Self::Jail(error) => error.code(),
});

/// How a run ended, before it is put in the form of a verdict.
#[derive(Debug)]
pub struct Exited {
    pub end: Ended,
    /// The limit or the caller's signal that ended it, if creel did.
    pub cause: Option<Cause>,
    pub counters: Counters,
    /// Milliseconds of processor time of the command's own process, as RLIMIT_CPU counts them.
    pub cpu: u32,
    pub usage: Usage,
    pub wall: Duration,
    pub output: u64,
    pub disks: [[u32; 2]; DISKS],
    /// A stream of the caller's that failed.
    pub lost: Option<io::Error>,
    /// How long creel waits for who reads what it says of the end; nothing where the output was given up.
    pub patience: Duration,
    /// What was reached, where there was a way out.
    pub traffic: Option<Traffic>,
    /// Names whose covers the host took off, in order.
    pub uncovered: Vec<Uncovered>,
    /// Why nobody looked after the covers, where nobody did.
    pub unwatched: Option<Errno>,
    /// Where the jail's opening of denied names is not held, though it should be.
    pub unguarded: Vec<Unguarded>,
}

/// What the jail itself said of its end.
#[derive(Debug)]
pub enum Ended {
    /// The command ran and ended so.
    Command(Change),
    /// It could not be executed.
    NotExecuted(Errno),
    /// A step failed; its act and errno.
    Setup(JailError),
    /// Pid 1 was killed before it could say anything.
    Silent,
}

/// Why creel ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Timeout,
    CpuTime,
    Output,
    Oom,
    Asked,
    /// A cover could not be put back in time.
    Uncovered,
    /// The janitor ended before the jail.
    JanitorDied,
}

/// How much is found out about a run: the cgroup's counters cost a dozen system calls, a receipt has
/// two digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Somebody reads the verdict.
    Full,
    /// Only what explains a failure.
    OfFailures,
}
