//! The caller's request for one run, in addition to the policy.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use creel_policy::{AbsPath, Origin};

/// The request for one run. Paths are absolute or relative to the caller's working directory. Flags that
/// grant or limit are lines of the policy by then.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The arguments of the command, its name or path first. An empty list is an error, unless the jail stays.
    pub command: Vec<OsString>,
    /// Whether the jail is made without a command, and stays until it is ended: a session.
    pub stays: bool,
    /// The workspace; `None` for the caller's working directory.
    pub workspace: Option<PathBuf>,
    /// Trees that the jail has at other paths than the host, by flags.
    pub mapped: Vec<MappedPath>,
    /// Granted paths that no line of a policy can name.
    pub raw: Vec<RawGrant>,
    /// Name and value, already looked up in the caller's environment. They replace the policy's and are
    /// passed on byte for byte.
    pub env: Vec<(OsString, OsString)>,
    /// The caller's values of the variables that the policy passes on.
    pub caller_env: Vec<(OsString, OsString)>,
    /// The working directory in the jail; a relative path starts at the workspace. `None` for the workspace.
    pub workdir: Option<PathBuf>,
    /// The type of the command's stdin, stdout and stderr.
    pub terminal: Terminal,
    /// The zero point of the jail's clocks.
    pub clocks: Clocks,
    /// Paths that are not protected although git's configuration names them (`unprotect`).
    pub unprotected: BTreeSet<PathBuf>,
    /// Directories in which the caller's next run would look for policies that grant. The jail cannot write
    /// to them, whatever else is granted.
    pub search_dirs: Vec<PathBuf>,
    /// Flags that are lines of the policy, for the receipt.
    pub flags: Vec<String>,
    /// Keys of the policy that have no effect, or another effect than they seem to have, for the receipt.
    pub notes: Vec<String>,
    /// Published ports: servers in the jail that the host can connect to.
    pub publish: Vec<Publish>,
    /// The directory of the layers of an overlay workspace; `None` if the plan is only displayed.
    pub changes: Option<PathBuf>,
    /// The jail's id, for `CREEL_ID`.
    pub id: String,
}

/// A published port: a connection to `address` on the host reaches `port` on the jail's loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The address and port on the host.
    pub address: core::net::SocketAddr,
    /// The TCP port in the jail.
    pub port: u16,
}

/// The kind of access that a grant gives to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `filesystem.read`: files are data.
    Read,
    /// `filesystem.write`: files are data that the jail may change.
    Write,
    /// `filesystem.load`: programs may map files as code.
    Load,
    /// `filesystem.exec`: files may be executed.
    Exec,
}

impl Way {
    /// The lists of a policy that give this access: a file that may be written, loaded or executed may be read.
    pub fn lists(self) -> &'static [&'static str] {
        match self {
            Way::Read => &[
                "filesystem.read",
                "filesystem.write",
                "filesystem.load",
                "filesystem.exec",
            ],
            Way::Write => &["filesystem.write"],
            Way::Load => &["filesystem.load", "filesystem.exec"],
            Way::Exec => &["filesystem.exec"],
        }
    }
}

/// A granted path that is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawGrant {
    /// The access that the flag asks for.
    pub way: Way,
    /// Absolute.
    pub path: PathBuf,
    /// Directories that it must not lead out of, through any link.
    pub within: Vec<AbsPath>,
    /// The flag that grants it.
    pub origin: Origin,
}

/// A tree of the host and its path in the jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedPath {
    /// On the host, absolute. It must be granted by itself.
    pub path: PathBuf,
    /// In the jail, absolute.
    pub at: PathBuf,
    /// The flag that maps it.
    pub origin: Origin,
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
