//! One question of a plan to a machine.

use std::path::PathBuf;

/// A path that somebody has to look up before a plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub path: PathBuf,
    pub purpose: Purpose,
}

/// What has to be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// What it is and what it loads.
    Program,
    /// Whether programs lie in it.
    Load,
    /// Whether files in it have other names.
    Protect,
    Read,
    /// Whether idmapped mounts of it work.
    Write,
}
