//! The attempts of the self-test, and how one can end.

use std::path::PathBuf;

use creel_sys::Errno;
use serde::{Deserialize, Serialize};

use super::layer::Layer;
use super::spend;

/// Something that must not work in a jail.
pub struct Attempt {
    pub group: &'static str,
    pub name: &'static str,
    /// The layers that stop it, in the order in which they answer.
    pub stops: &'static [Stop],
    /// The consequence if it got through.
    pub why: &'static str,
    /// A path of the host, or a route, without which there is nothing to attempt.
    pub needs: Option<&'static str>,
    pub run: fn(&Site) -> Tried,
}

/// A layer that stops an attempt.
pub struct Stop {
    pub layer: Layer,
    /// The first Landlock ABI with which it does; 0: on every kernel.
    pub since: u32,
    pub answers: &'static [Answer],
}

/// Ordinary work, which must succeed.
pub struct Work {
    pub group: &'static str,
    pub name: &'static str,
    pub run: fn(&Site) -> Tried,
}

/// How an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Errno(Errno),
    /// There is nothing: no variable, no bit, no line.
    Absent,
    Signal(i32),
}

/// The result of an attempt's process. `Ok`: it got through or, for [`Work`], it worked.
pub type Tried = Result<(), Stopped>;

/// Why it did not get through.
#[derive(Debug)]
pub enum Stopped {
    Errno(Errno),
    Absent,
    /// The attempt itself could not be made, which is a failure of the test.
    CouldNotRun(String),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Stopped {
        Stopped::Errno(errno)
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Stopped {
        match Errno::from_io_error(&error) {
            Some(errno) => Stopped::Errno(errno),
            None => Stopped::CouldNotRun(error.to_string()),
        }
    }
}

/// The outcome of one attempt: the line that the inner half writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub group: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    GotThrough,
    /// The errno.
    Denied(i32),
    /// The attempt found nothing.
    Absent,
    CouldNotRun(String),
    /// The signal that ended it; SIGALRM: it hung.
    Killed(i32),
}

/// The task of the inner half, passed as its one argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Rows(Box<Site>),
    Spend {
        spend: spend::Spend,
        shares_pids: bool,
    },
}

/// Places of the canaries: files that attempts look for in the jail and must not find.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Site {
    /// A file on the host that every user may read, outside of every grant.
    pub outside: PathBuf,
    /// A socket beside it on which the outer half listens.
    pub socket: PathBuf,
    /// The port of the host's loopback on which the outer half listens.
    pub port: u16,
    /// The abstract socket name on which the outer half listens.
    pub abstract_name: String,
    /// The key of a System V message queue; `None` if the kernel has none.
    pub queue: Option<i32>,
    /// Description of a key in the outer half's session keyring.
    pub key: String,
    /// A descriptor that the outer half left open.
    pub descriptor: i32,
    /// A process of the outer half, and that half's session.
    pub pid: i32,
    pub session: i32,
    /// The host's name.
    pub hostname: String,
    /// The host's root, as device and inode numbers.
    pub host_root: (u64, u64),
    /// The jail's user.
    pub uid: u32,
    pub home: PathBuf,
    pub workspace: PathBuf,
    pub creel: PathBuf,
    /// The plan has no pid namespace, so pid 1 is not creel's.
    pub shares_pids: bool,
}
