//! What a run left in the writable trees that the host obeys later: repositories with configuration of
//! the jail's own, hooks, settings of editors and agents, set-id files, links in a repository.
//!
//! Owns the look before a run and the look after it, which says what it did not see. Of what the jail
//! left it changes two things: what would keep git from taking the workspace's repository for one, and
//! links in that repository, through which git on the host would write elsewhere.

mod list;
mod names;
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

/// How long the look after a run may take by itself.
pub const BUDGET: Duration = Duration::from_millis(5);
/// How long links may be taken away.
const MENDING: Duration = Duration::from_millis(100);
/// Findings that the verdict has; the rest is counted.
const MOST: usize = 256;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As much as [`BUDGET`] lets be seen.
    Budget,
    Whole,
}

/// What a run left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// New or changed since the start.
    pub found: Vec<Remnant>,
    /// How many more.
    pub more: u64,
    /// Directories that were not looked at: no time was left, or they cannot be listed.
    pub unseen: u64,
    /// The first of them.
    pub unseen_first: Option<String>,
    /// One of them is new or changed, as far as they were asked.
    pub unseen_changed: bool,
    /// Whether each file that was seen was also looked at for set-id bits.
    pub modes: bool,
}

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remnant {
    pub path: String,
    pub what: What,
    pub done: Done,
    /// Of a repository, the keys of its configuration that name programs or more configuration.
    pub runs: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// git takes its configuration and hooks, which are the jail's.
    Repository,
    /// The same without a worktree: git finds it in the directory itself.
    BareRepository,
    /// A program that git runs.
    Hook,
    /// A file or directory that an editor, a shell or an agent obeys.
    Settings,
    /// A file that runs as its owner.
    SetId,
    /// A link or pipe in the workspace's repository, through which git would write.
    Link,
    /// The workspace's repository was none to git any more.
    Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It is there.
    Nothing,
    Removed,
    /// What was there at the start is there again; what the jail had there has the run's id at its end.
    Restored,
    /// It was to be mended and could not be.
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
    /// Directories straight in it, by name and inode, sorted.
    top: Vec<(PathBuf, u64)>,
}

impl Before {
    /// Looks at what the plan lets be written; nothing where that is nothing of the host's.
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
                ..
            } if access.write => Some(source),
            _ => None,
        });
        let mut trees: Vec<Tree> = vec![];
        for path in writable {
            // A tree in another is seen with it.
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
            // The clock that stamps files, which is behind the other.
            since: clock_gettime(ClockId::RealtimeCoarse),
            id: id.to_owned(),
            repositories: repositories.collect(),
            trees,
        }))
    }

    /// Looks again, when the jail has ended.
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
    /// Whether a directory straight in it is the one that was there at the start.
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

/// What is known while looking.
struct Seen {
    since: Timespec,
    until: Option<Instant>,
    left: Left,
}

impl Seen {
    fn add(&mut self, path: &Path, what: What, done: Done) {
        self.add_running(path, what, done, vec![]);
    }

    /// Where it is not said yet.
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
        // Links that were taken away, of which there may be any number, hide nothing that is there.
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

    /// Whether a time of a file's status is one of this run's.
    fn is_new(&self, seconds: i64, nanoseconds: u64) -> bool {
        let since = (self.since.tv_sec, self.since.tv_nsec as u64);
        (seconds, nanoseconds) >= since
    }
}
