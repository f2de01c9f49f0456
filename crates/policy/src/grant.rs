//! What a policy grants on the filesystem: a path, and the access to the workspace.

use super::origin::Origin;
use super::words::words;

/// A path as declared: absolute, or beginning with `~` (the caller's home) or `$WORKSPACE`.
/// Layers expand it to be combined; the resulting policy has it shortened again, and `plan::resolve` expands
/// that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// As written in the policy, or expanded.
    pub path: String,
    /// The behaviour if the path does not exist.
    pub absent: Absent,
    /// The place of the grant.
    pub origin: Origin,
}

impl Grant {
    /// A grant of `path`, written at `origin`.
    pub fn new(path: impl Into<String>, absent: Absent, origin: Origin) -> Grant {
        let path = path.into();
        Grant {
            path,
            absent,
            origin,
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

/// A path that is granted only if it does not lead out of a directory, through any link that exists when
/// it is opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contained {
    /// Absolute.
    pub path: String,
    /// Absolute; links in its own name are followed.
    pub base: String,
    /// The place of the grant.
    pub origin: Origin,
}

words! {
    /// The jail's access to the host's workspace directory.
    WorkspaceMode {
        /// Not present: a fresh directory of the jail's own takes its place.
        None = "none",
        ReadOnly = "ro",
        ReadWrite = "rw",
    }
}
