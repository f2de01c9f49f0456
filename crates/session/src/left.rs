//! Files that a run left in writable trees and that the host obeys later: repositories with the jail's
//! configuration, hooks, settings of editors and agents, set-id files, links in a repository.
//!
//! This module looks before and after a run, and reports what it did not see. It changes two things that
//! the jail left: a state that would keep git from recognising the workspace's repository, and links in
//! that repository, through which git on the host would write elsewhere.

mod list;
pub(crate) mod names;
mod repository;
mod walk;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Timespec;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use creel_jail::{JailError, Pins};
use creel_plan::{Act, Host, Node, Plan};
use repository::Kept;

/// The time limit of the search after a run.
pub const BUDGET: Duration = Duration::from_millis(5);
/// The time limit for the removal of links.
const MENDING: Duration = Duration::from_millis(100);
/// The most findings in a verdict; the rest is counted.
const MOST: usize = 256;

/// How much is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As much as [`BUDGET`] allows.
    Budget,
    /// Everything, without a time limit.
    Whole,
}

/// The files that a run left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Files that are new or changed since the start.
    pub found: Vec<Remnant>,
    /// The number of further findings.
    pub more: u64,
    /// The number of directories that were not searched: no time was left, or they cannot be listed.
    pub unseen: u64,
    /// The first such directory.
    pub unseen_first: Option<String>,
    /// Whether one of them is new or changed, as far as their status was read.
    pub unseen_changed: bool,
    /// Whether each file that was seen was also checked for set-id bits.
    pub modes: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remnant {
    /// On the host, absolute. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The reason why programs of the host obey the file.
    pub what: What,
    /// The repair, if creel tried one.
    pub done: Done,
    /// For a repository, the keys of its configuration that name programs or more configuration.
    pub runs: Vec<String>,
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// git uses its configuration and hooks, which the jail made.
    Repository,
    /// The same without a worktree: git finds the repository in the directory itself.
    BareRepository,
    /// A program that git runs.
    Hook,
    /// A file or directory that an editor, a shell or an agent obeys.
    Settings,
    /// A file that runs as its owner.
    SetId,
    /// A link or pipe in the workspace's repository, through which git would write.
    Link,
    /// git no longer recognised the workspace's repository.
    Head,
}

/// The repair of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// The file was left in place.
    Nothing,
    /// creel removed the file.
    Removed,
    /// The state of the start is restored; the jail's file was renamed with the run's id at its end.
    Restored,
    /// The repair failed.
    Failed,
}

/// The writable trees before a run.
#[derive(Debug)]
pub struct Before {
    since: Timespec,
    id: String,
    trees: Vec<Tree>,
    repositories: Vec<Kept>,
}

/// A writable tree.
#[derive(Debug)]
struct Tree {
    place: PathBuf,
    fd: OwnedFd,
    /// Directories directly in it, by name and inode, sorted.
    top: Vec<(PathBuf, u64)>,
}

impl Before {
    /// Records the writable trees of the plan; `None` if the jail can write to no tree of the host.
    pub fn of(
        plan: &Plan,
        host: &Host,
        pins: &Pins,
        id: &str,
    ) -> Result<Option<Before>, JailError> {
        let held = |path: &Path| {
            let pin = pins
                .get(path)
                .ok_or_else(|| JailError::Changed(path.into()))?;
            pin.fd
                .try_clone()
                .map_err(|_| JailError::Changed(path.into()))
        };
        let writable = plan.acts().filter_map(|act| match act {
            Act::Bind {
                source,
                node: Node::Directory,
                access,
                overlay: None,
                ..
            } if access.write => Some(source),
            _ => None,
        });
        let mut trees: Vec<Tree> = vec![];
        for path in writable {
            // A tree inside another is searched with it.
            if !trees.iter().any(|tree| path.starts_with(&tree.place)) {
                let fd = held(path)?;
                trees.push(Tree {
                    place: path.clone(),
                    top: list::top(fd.as_fd()),
                    fd,
                });
            }
        }
        let repositories = host.found.pinned.iter();
        let repositories = repositories
            .filter(|path| path.ends_with("objects"))
            .filter_map(|path| Kept::of(path.parent()?));
        Ok((!trees.is_empty()).then(|| Before {
            // The clock of file timestamps, which lags behind the precise clock.
            since: clock_gettime(ClockId::RealtimeCoarse),
            id: id.to_owned(),
            repositories: repositories.collect(),
            trees,
        }))
    }

    /// Searches the trees after the jail has ended.
    pub fn look(&self, extent: Extent) -> Left {
        let until = |budget: Duration| match extent {
            Extent::Budget => Some(Instant::now() + budget),
            Extent::Whole => None,
        };
        let mut seen = Seen {
            since: self.since,
            until: until(MENDING),
            left: Left {
                modes: true,
                ..Left::default()
            },
        };
        for repository in &self.repositories {
            repository.mend(&self.id, &mut seen);
        }
        seen.until = until(BUDGET);
        let mut files = 0;
        for tree in &self.trees {
            files += walk::names(tree, &mut seen);
        }
        if files > 0 {
            for tree in &self.trees {
                walk::modes(tree, &mut seen);
            }
        }
        let mut left = seen.left;
        left.found.sort();
        left
    }
}

impl Tree {
    /// Whether a directory directly in it is the one from the start.
    fn is_known(&self, name: &Path, dir: &list::Dir) -> bool {
        let known = self
            .top
            .binary_search_by(|(known, _)| known.as_path().cmp(name));
        let inode = known
            .ok()
            .and_then(|at| self.top.get(at))
            .map(|(_, inode)| *inode);
        inode.is_some() && inode == rustix::fs::fstat(&dir.fd).ok().map(|stat| stat.st_ino)
    }
}

/// The state of a search.
struct Seen {
    since: Timespec,
    until: Option<Instant>,
    left: Left,
}

impl Seen {
    fn add(&mut self, path: &Path, what: What, done: Done) {
        self.add_running(path, what, done, vec![]);
    }

    /// Adds a finding unless it is known already.
    fn add_once(&mut self, path: &Path, what: What, done: Done) {
        let text = path.display().to_string();
        let mut found = self.left.found.iter();
        if !found.any(|one| one.what == what && one.path == text) {
            self.add(path, what, done);
        }
    }

    fn add_running(&mut self, path: &Path, what: What, done: Done, runs: Vec<String>) {
        let remnant = Remnant {
            path: path.display().to_string(),
            what,
            done,
            runs,
        };
        let found = &mut self.left.found;
        if found.len() < MOST {
            return found.push(remnant);
        }
        self.left.more += 1;
        // Removed links, of which there may be any number, must not displace findings that still exist.
        if done != Done::Removed
            && let Some(place) = found.iter_mut().rfind(|one| one.done == Done::Removed)
        {
            *place = remnant;
        }
    }

    fn unseen(&mut self, path: &Path) {
        self.left.unseen += 1;
        let first = &mut self.left.unseen_first;
        first.get_or_insert_with(|| path.display().to_string());
    }

    fn over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether a file's status time lies in this run.
    fn is_new(&self, seconds: i64, nanoseconds: u64) -> bool {
        let since = (self.since.tv_sec, self.since.tv_nsec as u64);
        (seconds, nanoseconds) >= since
    }
}
