//! Grants on the filesystem: a path, and the access to the workspace.

use super::origin::Origin;
use super::words::words;

/// A path as a layer has it: absolute, or beginning with `~` (the caller's home) or `$WORKSPACE`. When the
/// layer's rights are made, it becomes a [`PathRule`](super::path_set::PathRule).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// As written in the policy.
    pub path: String,
    /// The behaviour if the path does not exist.
    pub absent: Absent,
    /// The place of the grant.
    pub origin: Origin,
    /// The path in the jail, absolute or below `~`; `None` for that of the host.
    pub at: Option<String>,
    /// If the pattern of a grant matched the path: the directory above the pattern's first wildcard,
    /// absolute. The path must not lead out of it.
    pub base: Option<String>,
}

impl Grant {
    /// A grant of `path`, written at `origin`.
    pub fn new(path: impl Into<String>, absent: Absent, origin: Origin) -> Grant {
        Grant {
            path: path.into(),
            absent,
            origin,
            at: None,
            base: None,
        }
    }
}

/// The behaviour if a granted path does not exist, the stricter first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absent {
    /// The run is refused.
    Refuse,
    /// `optional = true`: the grant is left out, and the plan says so.
    Skip,
}

impl Absent {
    /// The stricter of two values for the same path.
    pub fn stricter(self, other: Absent) -> Absent {
        self.min(other)
    }
}

words! {
    /// The jail's access to the host's workspace directory.
    WorkspaceMode {
        /// Not present: a fresh directory of the jail's own takes its place.
        None = "none",
        ReadOnly = "ro",
        /// Writable; the changes stay in a layer of the session's own until they are committed.
        Overlay = "overlay",
        ReadWrite = "rw",
    }
}

impl WorkspaceMode {
    /// Whether the jail may write in the workspace, to the host's files or to a layer over them.
    pub fn writes(self) -> bool {
        matches!(self, Self::Overlay | Self::ReadWrite)
    }
}
