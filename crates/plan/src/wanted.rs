//! One path that a plan needs looked up on a machine.

use std::path::PathBuf;

/// A path that must be looked up before a plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub path: PathBuf,
    pub purpose: Purpose,
}

/// What must be known about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// What the file is and which libraries it loads.
    Program,
    /// Whether the tree contains programs.
    Load,
    /// Whether files in it have other hard links.
    Protect,
    Read,
    /// Whether the filesystem supports idmapped mounts.
    Write,
}
