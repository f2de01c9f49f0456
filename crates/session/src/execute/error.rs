//! Errors that prevent a verdict on the command of a declared run.

use std::io;
use std::path::PathBuf;

use crate::SuperviseError;
use crate::workspace::WorkspaceError;
use creel_egress::relay::RelayError;
use creel_jail::JailError;
use creel_plan::ResolveError;
use creel_policy::Origin;
use creel_sys::Errno;

/// Errors that prevent a verdict on the command of a declared run.
///
/// In every variant, `variable` and `file` are the place of the secret as the policy writes it, and `host` is
/// the host of the credential. `path` is the path of the flag as written, and `fault` the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum ExecuteError {
    /// A stream of the caller is closed; `name` is `stdout` or `stderr`.
    #[error(
        "{name} is closed, and the command's output would be lost; redirect it, for example to /dev/null"
    )]
    ClosedStream { name: &'static str },
    /// stdin is a directory: fchdir(2) and the `at` calls would work through its descriptor.
    #[error(
        "stdin is a directory, through which the command could reach the host's files; redirect it, for example from /dev/null"
    )]
    DirectoryOnStdin,
    /// The pipes for the streams cannot be made, or the terminal on stdin cannot be relayed.
    #[error("a pipe could not be created: {0}")]
    Pipes(#[source] Errno),
    /// The policy or `--env` passes the variable with the secret of a credential to the jail.
    #[error(
        "{variable}: the jail would get the secret of {host} in this variable; remove it from `environment` and --env"
    )]
    SecretHandedOn { variable: String, host: String },
    /// The file with the secret of a credential lies in a granted tree and is not denied.
    #[error(
        "{file}: the jail could read the secret of {host} in this file; move it out of the granted trees, or deny it"
    )]
    SecretInReach { file: String, host: String },
    /// The log of decisions on the network cannot be opened, or the jail could change it.
    #[error("--log-net {}: {fault}", path.display())]
    Log { path: PathBuf, fault: OutletFault },
    /// The file of the verdict cannot be written, or the jail could change its place.
    #[error("--status-file {}: {fault}", path.display())]
    StatusFile { path: PathBuf, fault: OutletFault },
    /// A grant covers creel's own state, where its sessions are.
    #[error(
        "{}: the jail would have creel's own state in {}, where the sessions are; grant what lies beside it", path.display(), state.display()
    )]
    StateInReach { path: PathBuf, state: PathBuf },
    /// The layers of an overlay workspace cannot be used.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// No plan can be made of the policy on this host.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The host cannot be examined, or the jail cannot be made.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// The relay for the network cannot be started.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The jail cannot be supervised.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
}

/// Errors of a file that creel writes beside the jail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutletFault {
    /// The last component is a symbolic link (`ELOOP` with `O_NOFOLLOW`).
    #[error("it is a symbolic link; name the file itself")]
    Link,
    /// The file is a pipe without a reader or a socket (`ENXIO`).
    #[error("it is a pipe without a reader, or a socket; start the reader of a pipe first")]
    NoReader,
    /// The path has no last component, such as `/`.
    #[error("it is not a file; name one")]
    NoFile,
    /// This directory of the path is a symbolic link in a writable tree of the jail.
    #[error("{} is a symbolic link that the jail could change; name the directory that it leads to", .0.display())]
    Turned(PathBuf),
    /// The file lies in a writable tree of the jail.
    #[error("the jail could change it; name a file outside of its writable trees")]
    InReach,
    /// The file has further hard links.
    #[error(
        "it has another name (a hard link), through which the jail could change it; name a file with one name"
    )]
    TwoNames,
    /// The directory lies inside a writable tree of the jail and is not its root.
    #[error(
        "the jail could move the directory and put another file there; name a file directly in the workspace, or outside of the jail's writable trees"
    )]
    Movable,
    /// Its directory is no longer the one that was opened.
    #[error("its directory was exchanged meanwhile; name one that nobody else changes")]
    Exchanged,
    /// The path cannot be resolved, or the file cannot be opened.
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
    Self::StateInReach { .. } => "run-state-in-reach",
} else {
    Self::Resolve(error) => error.code(),
    Self::Jail(error) => error.code(),
    Self::Workspace(error) => error.code(),
    Self::Relay(error) => error.code(),
    Self::Supervise(error) => error.code(),
});

impl ExecuteError {
    /// The rule of a policy, or the flag, that the error is about; `None` if it is about none.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            Self::Resolve(error) => error.rule(),
            _ => None,
        }
    }

    /// The remedy, if the message does not give it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Jail(error) | Self::Supervise(SuperviseError::Jail(error)) => error.remedy(),
            _ => None,
        }
    }
}
