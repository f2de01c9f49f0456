//! The record of an overlay workspace, and the journal of a commit, as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use super::tree::{self, Ident};
use creel_plan::lossless;

/// The workspace at the start of its first session since everything was committed, and what was committed since.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The real path of the workspace.
    #[serde(with = "lossless")]
    pub workspace: PathBuf,
    /// The device and the inode of that directory.
    pub identity: (u64, u64),
    /// The coarse real-time clock before the overlay was mounted: seconds, nanoseconds.
    pub started: (i64, i64),
    /// Denied names and protected names, absolute, and patterns of both.
    pub rules: Rules,
    /// The committed changes, by the path in the workspace.
    pub committed: Vec<Done>,
    /// The staging directory of the last commit that was carried out: of its journal only the end is left.
    #[serde(default)]
    pub carried: Option<String>,
}

/// The names that a commit holds back, absolute.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rules {
    /// Denied in the jail.
    #[serde(with = "lossless::list")]
    pub deny: Vec<PathBuf>,
    /// Protected by the policy.
    #[serde(with = "lossless::list")]
    pub protect: Vec<PathBuf>,
    /// Patterns of denied and of protected names.
    pub patterns: Vec<String>,
}

/// A committed change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Relative to the workspace.
    #[serde(with = "lossless")]
    pub path: PathBuf,
    /// The object of the upper layer; `None` after it was removed there.
    pub upper: Option<Ident>,
    /// When the status of that object changed last: a process of the jail sets size and times as it likes, and not this.
    #[serde(default)]
    pub changed: (i64, i64),
    /// The host's file after the commit; `None` if that removed it.
    pub host: Option<Ident>,
}

impl Done {
    /// Whether an object of the upper layer is the one that was committed, unchanged since. overlayfs links one whiteout
    /// to many names, which changes its status.
    pub fn is_of(&self, stat: &Stat) -> bool {
        let same = self.upper == Some(Ident::from(stat));
        same && (tree::is_whiteout(stat) || self.changed == tree::changed(stat))
    }
}

impl Record {
    /// The committed changes, by path.
    pub fn done(&self) -> BTreeMap<&Path, &Done> {
        let all = self.committed.iter();
        all.map(|done| (done.path.as_path(), done)).collect()
    }
}

/// A commit that has begun. Everything that it puts into place lies in the staging directory, on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journal {
    /// The name of the staging directory in the workspace.
    pub stage: String,
    /// The coarse real-time clock before the workspace was compared: seconds, nanoseconds.
    #[serde(default)]
    pub begun: (i64, i64),
    /// In the order in which they are done.
    pub steps: Vec<Step>,
}

/// One change of the host's tree. Each may be repeated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Relative to the workspace.
    #[serde(with = "lossless")]
    pub path: PathBuf,
    /// The host's file that it replaces; `None` if there is none.
    pub expected: Option<Ident>,
    /// The object of the upper layer.
    pub upper: Option<Ident>,
    /// When its status changed last.
    #[serde(default)]
    pub changed: (i64, i64),
    /// The change.
    pub act: Act,
}

/// A change of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The host's file or tree is moved into the staging directory.
    Remove,
    /// A directory is made.
    Make,
    /// The staged file or link takes its place.
    Put(Ident),
    /// Owner, mode and times of a directory, after everything in it is in place.
    Finish(Attributes),
}

/// The attributes of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// The user id on the host.
    pub uid: u32,
    /// The group id on the host.
    pub gid: u32,
    /// The time of the last modification: seconds, nanoseconds.
    pub modified: (i64, i64),
}
