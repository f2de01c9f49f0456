//! Errors that prevent a verdict on the command of a declared run.

use std::io;
use std::path::PathBuf;

use crate::SuperviseError;
use creel_egress::relay::RelayError;
use creel_jail::JailError;
use creel_plan::ResolveError;
use creel_sys::Errno;

/// Errors that prevent a verdict on the command of a declared run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    #[error(
        "{name} is closed, and the command's output would be lost; redirect it, for example to /dev/null"
    )]
    ClosedStream { name: &'static str },
    #[error(
        "stdin is a directory, through which the command could reach the host's files; redirect it, for example from /dev/null"
    )]
    DirectoryOnStdin,
    #[error("a pipe could not be created: {0}")]
    Pipes(#[source] Errno),
    #[error(
        "{variable}: the jail would get the secret of {host} in this variable; remove it from `environment` and --env"
    )]
    SecretHandedOn { variable: String, host: String },
    #[error(
        "{file}: the jail could read the secret of {host} in this file; move it out of the granted trees, or deny it"
    )]
    SecretInReach { file: String, host: String },
    #[error("--log-net {}: {fault}", path.display())]
    Log { path: PathBuf, fault: OutletFault },
    #[error("--status-file {}: {fault}", path.display())]
    StatusFile { path: PathBuf, fault: OutletFault },
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Jail(#[from] JailError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
}

/// Errors of a file that creel writes beside the jail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutletFault {
    #[error("it is a symbolic link; name the file itself")]
    Link,
    #[error("it is a pipe without a reader, or a socket; start the reader of a pipe first")]
    NoReader,
    #[error("it is not a file; name one")]
    NoFile,
    #[error("{} is a symbolic link that the jail could change; name the directory that it leads to", .0.display())]
    Turned(PathBuf),
    #[error("the jail could change it; name a file outside of its writable trees")]
    InReach,
    #[error(
        "it has another name (a hard link), through which the jail could change it; name a file with one name"
    )]
    TwoNames,
    #[error(
        "the jail could move the directory and put another file there; name a file directly in the workspace, or outside of the jail's writable trees"
    )]
    Movable,
    #[error("{0}")]
    Io(#[from] io::Error),
}

creel_policy::codes!(ExecuteError {
    Self::ClosedStream { .. } => "run-closed-stream",
    Self::DirectoryOnStdin => "run-directory-on-stdin",
    Self::Pipes(_) => "run-pipes",
    Self::SecretHandedOn { .. } => "run-secret-handed-on",
    Self::SecretInReach { .. } => "run-secret-in-reach",
    Self::Log { .. } => "run-log",
    Self::StatusFile { .. } => "run-status-file",
} else {
    Self::Resolve(error) => error.code(),
    Self::Jail(error) => error.code(),
    Self::Relay(error) => error.code(),
    Self::Supervise(error) => error.code(),
});

impl ExecuteError {
    /// The remedy, if the message does not give it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Jail(error) | Self::Supervise(SuperviseError::Jail(error)) => error.remedy(),
            _ => None,
        }
    }
}
