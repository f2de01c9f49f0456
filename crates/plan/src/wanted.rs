//! One path that a plan needs looked up on a machine.

use std::path::PathBuf;

/// A path that must be looked up before a plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Absolute, on the host.
    pub path: PathBuf,
    /// The use that the plan has for it.
    pub purpose: Purpose,
}

/// The facts that must be known about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The type of the file, and the libraries that it loads.
    Program,
    /// Whether the tree contains programs.
    Load,
    /// Whether files in it have other hard links.
    Protect,
    /// The fact of the path alone.
    Read,
    /// Whether the filesystem supports idmapped mounts.
    Write,
}
