//! Refuses opens of denied names through fanotify(7) permission events, if creel has the host's privileges.
//!
//! After a host process takes a cover off, the name shows its contents until the cover returns. So each first
//! open of an inode through the jail's mounts with such names waits here:
//!
//! ```text
//! open(2) in the jail ──▶ by a denied name, or an inode that ever had one? ──▶ refuse, and look at the covers
//!                              │ no
//!                              ▼
//!                         allow; not asked again, unless a denied name is beside it
//! ```
//!
//! Renames and links are not delayed. The guard still knows every inode that had a denied name: directories
//! report which inode gets or loses the name before another operation on it in the same directory can begin,
//! and the guard reads these reports before each answer. Host processes use other mounts and are never
//! delayed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use creel_sys::fanotify::{Answer, Changes, Handle, Opening, Openings};
use creel_sys::{Errno, Result, fd};

/// The kernel's suffix for a path whose name was removed (proc(5)).
const DELETED: &[u8] = b" (deleted)";

/// Watches opens and denied names.
pub struct Guard {
    openings: Openings,
    changes: Changes,
    denied: BTreeSet<PathBuf>,
    /// Mount points of the mounts whose opens are checked.
    mounts: BTreeSet<PathBuf>,
    /// By the directory's handle, its denied names.
    names: BTreeMap<Handle, BTreeSet<CString>>,
    /// Every inode that has a denied name, or had one since the start.
    known: BTreeSet<Handle>,
    /// Inodes whose cover is being put back: a process that opened one now would be frozen with it open.
    covering: BTreeSet<Handle>,
}

/// The result of [`Guard::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A denied name leads to another inode, or was opened: a cover may be gone.
    Change,
}

/// `None` if its filesystem has no handles; no open is checked there.
fn handle(place: BorrowedFd<'_>) -> Result<Option<Handle>> {
    match Handle::of(place) {
        Err(Errno::OPNOTSUPP) => Ok(None),
        other => other.map(Some),
    }
}

impl Guard {
    /// A guard that checks nothing yet.
    pub fn new(denied: impl Iterator<Item = PathBuf>) -> Result<Guard> {
        Ok(Guard {
            openings: Openings::new()?,
            changes: Changes::new()?,
            denied: denied.collect(),
            mounts: BTreeSet::new(),
            names: BTreeMap::new(),
            known: BTreeSet::new(),
            covering: BTreeSet::new(),
        })
    }

    /// Whether the name is denied.
    pub fn is_denied(&self, path: &Path) -> bool {
        self.denied.contains(path)
    }

    /// Watches `name` in `directory`. `OPNOTSUPP`, `NODEV`, `XDEV`, or a FUSE server's error of statfs(2), if
    /// handles cannot identify files there.
    pub fn watch(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
        let handle = Handle::of(directory)?;
        if !self.names.contains_key(&handle) {
            self.changes.watch(directory)?;
        }
        self.names.entry(handle).or_default().insert(name);
        Ok(())
    }

    /// Checks opens through the mount of `directory`, whose mount point is `at`.
    pub fn ask(&mut self, directory: BorrowedFd<'_>, at: &Path) -> Result<()> {
        self.mounts.insert(at.into());
        self.openings.ask(directory)
    }

    /// Both for poll(2): readable when [`answer`](Guard::answer) is needed.
    pub fn sources(&self) -> [BorrowedFd<'_>; 2] {
        [self.openings.as_fd(), self.changes.as_fd()]
    }

    /// Records the inode at a denied name.
    pub fn found(&mut self, place: BorrowedFd<'_>) -> Result<()> {
        if let Some(handle) = handle(place)? {
            self.known.insert(handle);
        }
        self.openings.ask_anew()
    }

    /// Refuses opens of the inode at `place`, until [`covered`](Guard::covered).
    pub fn covering(&mut self, place: BorrowedFd<'_>) -> Result<()> {
        if let Some(handle) = handle(place)? {
            self.covering.insert(handle);
        }
        self.openings.ask_anew()
    }

    pub fn covered(&mut self) {
        self.covering.clear();
    }

    /// Answers every open that waits.
    pub fn answer(&mut self) -> Result<Found> {
        let mut found = self.learn()?;
        loop {
            match self.openings.next() {
                Ok(None) => return Ok(found),
                Ok(Some(opening)) => {
                    if self.learn()? == Found::Change {
                        found = Found::Change;
                    }
                    if self.decide(opening)? == Answer::Deny {
                        found = Found::Change;
                    }
                }
                // The kernel has refused it, and refuses more while this process has no descriptor left.
                Err(Errno::BADF | Errno::INVAL | Errno::FAULT) => return Err(Errno::IO),
                Err(_) => {}
            }
        }
    }

    fn decide(&self, opening: Opening) -> Result<Answer> {
        // A path of more than 4096 bytes cannot be read, so its open is refused.
        let path = fd::path_of(opening.file.as_fd());
        let answer = match &path {
            // The path of a file that the host has moved out of the tree proves nothing.
            Ok(path)
                if path.ancestors().any(|above| self.mounts.contains(above))
                    && !self.is_beneath_denied(path)
                    && !self.is_known(&opening.file) =>
            {
                Answer::Allow
            }
            _ => Answer::Deny,
        };
        if let (Answer::Allow, Ok(path)) = (answer, &path)
            && !self.is_beside_denied(path)
        {
            // If the kernel has no room for the mark, it asks again.
            let _ = self.openings.pass(opening.file.as_fd());
        }
        match self.openings.answer(opening, answer) {
            // The process that opens it was killed.
            Err(Errno::NOENT) | Ok(()) => Ok(answer),
            Err(errno) => Err(errno),
        }
    }

    fn is_beneath_denied(&self, path: &Path) -> bool {
        let any = |path: &Path| path.ancestors().any(|above| self.denied.contains(above));
        let bytes = path.as_os_str().as_bytes();
        let removed = bytes.strip_suffix(DELETED);
        any(path) || removed.is_some_and(|bytes| any(Path::new(OsStr::from_bytes(bytes))))
    }

    fn is_beside_denied(&self, path: &Path) -> bool {
        let beside = |denied: &PathBuf| denied.parent() == path.parent();
        self.denied.iter().any(beside)
    }

    fn is_known(&self, file: &OwnedFd) -> bool {
        let known = |handle| self.known.contains(&handle) || self.covering.contains(&handle);
        let none = self.known.is_empty() && self.covering.is_empty();
        !none && Handle::of(file.as_fd()).map_or(true, known)
    }

    /// Reads the reports of the directories.
    fn learn(&mut self) -> Result<Found> {
        let (names, known) = (&self.names, &mut self.known);
        let mut found = Found::Nothing;
        self.changes.take(|change| {
            let of = names.get(&change.directory);
            if of.is_some_and(|names| names.contains(&change.name)) {
                known.insert(change.what);
                found = Found::Change;
            }
        })?;
        if found == Found::Change {
            // The inode may have been opened by another name before.
            self.openings.ask_anew()?;
        }
        Ok(found)
    }
}
