//! Removes from the layers what is committed or discarded, while no jail uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, fstat, renameat_with, unlinkat};

use super::error::WorkspaceError;
use super::record::Done;
use super::tree;
use super::upper::Changes;
use creel_sys::Errno;

/// Whether the upper layer has anything in it, or hides something.
pub(super) fn is_used(changes: &Changes) -> Result<bool, Errno> {
    let upper = match tree::directory(changes.top(), Path::new("upper")) {
        Ok(upper) => upper,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    Ok(!tree::names(&upper)?.is_empty())
}

/// Levels of directories that are removed by their paths.
const DEEP: usize = 32;

/// Removes a name beneath `root` with everything in it; links are removed, not followed. An absent name is no error.
pub(super) fn clear(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let (dir, name) = match tree::parent(root, path) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    if clear_file(&dir, name.as_ref())? {
        return Ok(());
    }
    let top = path;
    let mut moved = 0;
    let mut waiting = vec![(path.to_path_buf(), false)];
    while let Some((path, emptied)) = waiting.pop() {
        let (dir, name) = tree::parent(root, &path)?;
        if emptied {
            unlinkat(&dir, name, AtFlags::REMOVEDIR)?;
            continue;
        }
        if path.components().count() > top.components().count() + DEEP {
            // A path has an end, and a jail can make a tree that is deeper: what lies deep is brought up.
            let up = loop {
                let up = top.join(format!(".creel-deep-{moved}"));
                moved += 1;
                match renameat_with(&dir, name, root, &up, RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => {}
                    done => break done.map(|()| up)?,
                }
            };
            waiting.push((up, false));
            continue;
        }
        let Some(stat) = tree::status(dir.as_fd(), name)? else {
            continue;
        };
        open_up(dir.as_fd(), name.as_ref(), stat.st_mode);
        let directory = tree::directory(dir.as_fd(), Path::new(name))?;
        waiting.push((path.clone(), true));
        for name in tree::names(&directory)? {
            if !clear_file(&directory, &name)? {
                waiting.push((path.join(name), false));
            }
        }
    }
    Ok(())
}

/// Removes a name unless it is a directory: false then.
fn clear_file(dir: &OwnedFd, name: &Path) -> Result<bool, Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A directory whose mode keeps its owner out, such as overlayfs's own.
fn open_up(dir: BorrowedFd<'_>, name: &Path, mode: u32) {
    if mode & 0o700 == 0o700 {
        return;
    }
    // fchmod(2) needs more than a place: /proc leads to the inode without opening it.
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    if let Ok(place) = tree::open(dir, name, flags) {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let mode = Mode::from_raw_mode(mode & 0o777 | 0o700);
        let _ = rustix::fs::chmod(path, mode);
    }
}

/// Removes the objects of the upper layer whose change is committed. The caller keeps jails away.
///
/// A directory that took the place of the host's hides what the host has in it, also what was just committed there. So
/// it loses that mark first; if the host still has something in it that the session has removed, everything in it stays
/// and the record says what is committed.
pub(super) fn committed(changes: &mut Changes) -> Result<(), WorkspaceError> {
    if changes.record.committed.is_empty() {
        return Ok(());
    }
    let (upper, host) = (changes.upper()?, changes.workspace()?);
    let trees = Trees {
        upper: upper.as_fd(),
        host: host.as_fd(),
    };
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WorkspaceError::Apply { path, source }
    };
    let done = changes.record.done();
    let mut above: BTreeSet<&Path> = BTreeSet::new();
    for path in done.keys() {
        above.extend(path.ancestors());
    }
    let mut closed: Vec<PathBuf> = vec![];
    // Parents first.
    for directory in above {
        let inside = closed.iter().any(|closed| directory.starts_with(closed));
        if !inside && trees.hides(directory, &done).map_err(fault(directory))? {
            closed.push(directory.to_path_buf());
        }
    }
    let mut emptied: BTreeSet<PathBuf> = BTreeSet::new();
    let mut all: Vec<_> = changes.record.committed.iter_mut().collect();
    // Deeper names go first.
    all.sort_by(|a, b| b.path.cmp(&a.path));
    for done in all {
        let stays = closed.iter().any(|closed| done.path.starts_with(closed));
        if done.upper.is_none() || stays {
            continue;
        }
        remove(trees.upper, done).map_err(fault(&done.path))?;
        done.upper = None;
        emptied.insert(done.path.parent().unwrap_or(Path::new("")).to_path_buf());
    }
    // Deeper names come last in this order.
    for directory in emptied.iter().rev() {
        trees.empty(directory).map_err(fault(directory))?;
    }
    changes.write_record()
}

struct Trees<'a> {
    upper: BorrowedFd<'a>,
    host: BorrowedFd<'a>,
}

impl Trees<'_> {
    /// Whether a directory hides something of the host's that is not committed yet. One that does not loses its mark.
    fn hides(&self, path: &Path, done: &BTreeMap<&Path, &Done>) -> Result<bool, Errno> {
        let upper = match tree::directory(self.upper, path) {
            Ok(upper) => upper,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        if !tree::is_opaque(upper.as_fd()) {
            return Ok(false);
        }
        if let Ok(host) = tree::directory(self.host, path) {
            let names = tree::names(&upper)?;
            let made = done.get(path).is_some_and(|done| done.host.is_some());
            for name in tree::names(&host)? {
                let known = || done.contains_key(path.join(&name).as_path());
                if names.binary_search(&name).is_err() && (!made || known()) {
                    return Ok(true);
                }
            }
        }
        rustix::fs::fremovexattr(&upper, tree::OPAQUE)?;
        Ok(false)
    }

    /// Removes a directory, and those above it, that are empty and show nothing but the host's.
    fn empty(&self, path: &Path) -> Result<(), Errno> {
        let above = path.ancestors();
        for path in above.filter(|path| !path.as_os_str().is_empty()) {
            let (Ok(upper), Ok(host)) = (
                tree::directory(self.upper, path),
                tree::directory(self.host, path),
            ) else {
                return Ok(());
            };
            let mode = |dir: &OwnedFd| fstat(dir).map(|stat| stat.st_mode);
            if tree::is_opaque(upper.as_fd()) || mode(&upper)? != mode(&host)? {
                return Ok(());
            }
            let (dir, name) = tree::parent(self.upper, path)?;
            match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
                Ok(()) => {}
                Err(Errno::NOTEMPTY) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Removes a committed object, if it is still the one that was committed. A directory with something in it stays.
fn remove(upper: BorrowedFd<'_>, done: &Done) -> Result<(), Errno> {
    let (dir, name) = match tree::parent(upper, &done.path) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let Some(stat) = tree::status(dir.as_fd(), name)? else {
        return Ok(());
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => Ok(()),
            done => done,
        };
    }
    match done.is_of(&stat) {
        true => unlinkat(&dir, name, AtFlags::empty()),
        false => Ok(()),
    }
}

/// Removes a change of the upper layer, with everything in it.
pub(super) fn drop_change(
    upper: BorrowedFd<'_>,
    host: BorrowedFd<'_>,
    path: &Path,
) -> Result<(), Errno> {
    clear(upper, path)?;
    Trees { upper, host }.empty(path.parent().unwrap_or(Path::new("")))
}
