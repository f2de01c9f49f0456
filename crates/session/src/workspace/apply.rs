//! Carries out a commit: each step may be repeated, so that a commit that was cut off is finished by whoever comes
//! next.
//!
//! A step looks at the host's file first, moves it aside, and looks again at what it has moved: a file that the host
//! has put there meanwhile goes back to its place, and the step is skipped.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    FileType, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens,
    mkdirat, renameat_with, syncfs,
};

use super::error::WorkspaceError;
use super::fault;
use super::record::{Act, Attributes, Done, Journal, Step};
use super::stage::slot_name;
use super::sweep;
use super::tree::{self, Ident};
use super::upper::Changes;
use creel_sys::Errno;

/// How a step ended.
enum Outcome {
    /// The host's tree is as the step wants it.
    Done,
    /// The host has changed the name meanwhile: it stays the host's, and the change stays uncommitted.
    Skipped,
}

/// Finishes a commit that was cut off after its journal was written, and removes what one before that has left.
pub(super) fn recover(changes: &mut Changes) -> Result<(), WorkspaceError> {
    if let Some(journal) = changes.journal()? {
        carry_out(changes, &journal)?;
    }
    let Some(stage) = changes.staging()? else {
        return Ok(());
    };
    // The workspace may have moved meanwhile, and the directory with it.
    if let Ok(workspace) = changes.workspace() {
        let path = Path::new(&stage);
        sweep::clear(workspace.as_fd(), path).map_err(|source| WorkspaceError::Apply {
            path: path.into(),
            source,
        })?;
    }
    changes.forget_staging()
}

/// Does all steps, and records them. Returns the paths that were skipped.
pub(super) fn carry_out(
    changes: &mut Changes,
    journal: &Journal,
) -> Result<Vec<PathBuf>, WorkspaceError> {
    let workspace = changes.workspace()?;
    if changes.record.carried.as_ref() == Some(&journal.stage) {
        return conclude(changes, journal, &workspace).map(|()| vec![]);
    }
    let mut skipped: Vec<PathBuf> = vec![];
    let mut done: Vec<Done> = vec![];
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WorkspaceError::Apply { path, source }
    };
    let stage = match tree::directory(workspace.as_fd(), Path::new(&journal.stage)) {
        Ok(stage) => Some(stage),
        // Somebody removed it. The changes in it stay uncommitted.
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(fault(Path::new(&journal.stage))(errno)),
    };
    for (slot, step) in journal.steps.iter().enumerate() {
        fault::point();
        let place = Place {
            workspace: &workspace,
            stage: stage.as_ref(),
            slot,
            begun: journal.begun,
        };
        // It lies in a directory that could not be made, or whose place was not free.
        let lost = skipped.iter().any(|above| step.path.starts_with(above));
        let outcome = match lost {
            true => Outcome::Skipped,
            false => place.take(step).map_err(fault(&step.path))?,
        };
        match outcome {
            Outcome::Skipped => skipped.push(step.path.clone()),
            Outcome::Done => {
                done.retain(|done| done.path != step.path);
                done.push(Done {
                    path: step.path.clone(),
                    upper: step.upper,
                    changed: step.changed,
                    host: tree::status_of(workspace.as_fd(), &step.path)
                        .map_err(fault(&step.path))?
                        .as_ref()
                        .map(Ident::from),
                });
            }
        }
    }
    fault::point();
    syncfs(&workspace).map_err(fault(Path::new("")))?;
    let record = &mut changes.record.committed;
    record.retain(|old| !done.iter().any(|new| new.path == old.path));
    record.extend(
        done.into_iter()
            .filter(|done| !skipped.contains(&done.path)),
    );
    changes.record.carried = Some(journal.stage.clone());
    changes.write_record()?;
    conclude(changes, journal, &workspace)?;
    skipped.sort();
    skipped.dedup();
    Ok(skipped)
}

/// Removes the staging directory and the journal of a commit that is carried out and recorded.
fn conclude(
    changes: &Changes,
    journal: &Journal,
    workspace: &OwnedFd,
) -> Result<(), WorkspaceError> {
    fault::point();
    let stage = Path::new(&journal.stage);
    sweep::clear(workspace.as_fd(), stage).map_err(|source| WorkspaceError::Apply {
        path: stage.into(),
        source,
    })?;
    fault::point();
    changes.forget_journal()?;
    fault::point();
    changes.forget_staging()
}

/// One step's place in the workspace.
struct Place<'a> {
    workspace: &'a OwnedFd,
    stage: Option<&'a OwnedFd>,
    slot: usize,
    /// When the commit began.
    begun: (i64, i64),
}

impl Place<'_> {
    fn take(&self, step: &Step) -> Result<Outcome, Errno> {
        let (dir, name) = match tree::parent(self.workspace.as_fd(), &step.path) {
            Ok(place) => place,
            // The host has moved the directory away, or put a link there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                return Ok(Outcome::Skipped);
            }
            Err(errno) => return Err(errno),
        };
        match step.act {
            Act::Remove => self.remove(&dir, name, step.expected),
            Act::Make => make(&dir, name),
            Act::Put(staged) => self.put(&dir, name, step.expected, staged),
            Act::Finish(attributes) => finish(&dir, name, attributes),
        }
    }

    fn staged(&self, kind: char) -> Result<Option<(Ident, String)>, Errno> {
        let place = slot_name(kind, self.slot);
        let Some(stage) = self.stage else {
            return Ok(None);
        };
        let stat = tree::status(stage.as_fd(), OsStr::new(&place))?;
        Ok(stat.map(|stat| (Ident::from(&stat), place)))
    }

    fn remove(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        expected: Option<Ident>,
    ) -> Result<Outcome, Errno> {
        if let (Some(stage), Some((moved, _))) = (self.stage, self.staged('d')?) {
            return self.look_again((dir, name), stage, (expected, moved));
        }
        let found = tree::status(dir.as_fd(), name)?;
        let Some(stage) = self.stage else {
            return Ok(match found {
                None => Outcome::Done,
                Some(_) => Outcome::Skipped,
            });
        };
        match found {
            None => return Ok(Outcome::Done),
            Some(stat) if !is_expected(expected, Ident::from(&stat)) => {
                return Ok(Outcome::Skipped);
            }
            Some(_) => {}
        }
        let aside = slot_name('d', self.slot);
        match renameat_with(dir, name, stage, &aside, RenameFlags::NOREPLACE) {
            Err(Errno::NOENT) => return Ok(Outcome::Done),
            done => done?,
        }
        fault::point();
        match self.staged('d')? {
            Some((moved, _)) => self.look_again((dir, name), stage, (expected, moved)),
            None => Ok(Outcome::Done),
        }
    }

    /// Gives back what was moved aside, if it is another file than was meant, or a directory in which the host has
    /// changed something since the commit began.
    fn look_again(
        &self,
        (dir, name): (&OwnedFd, &OsStr),
        stage: &OwnedFd,
        (expected, moved): (Option<Ident>, Ident),
    ) -> Result<Outcome, Errno> {
        let aside = slot_name('d', self.slot);
        if is_expected(expected, moved) && !is_touched(stage, Path::new(&aside), self.begun)? {
            return Ok(Outcome::Done);
        }
        match renameat_with(stage, &aside, dir, name, RenameFlags::NOREPLACE) {
            // The host has made another file of this name by now. What it had before lies beside it.
            Err(Errno::EXIST) => {
                let mut beside = name.to_os_string();
                beside.push(format!(".creel-kept-{}", creel_sys::host::random_id()));
                renameat_with(stage, &aside, dir, &beside, RenameFlags::NOREPLACE)?;
            }
            done => done?,
        }
        Ok(Outcome::Skipped)
    }

    fn put(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        expected: Option<Ident>,
        staged: Ident,
    ) -> Result<Outcome, Errno> {
        let (Some(stage), Some((found, place))) = (self.stage, self.staged('f')?) else {
            // It is in place, unless the host has changed it since.
            let now = tree::status(dir.as_fd(), name)?;
            return Ok(match now.is_some_and(|now| Ident::from(&now) == staged) {
                true => Outcome::Done,
                false => Outcome::Skipped,
            });
        };
        if found != staged {
            // The exchange was made. What lies here now was the host's.
            return self.settle(dir, name, (expected, found, staged));
        }
        let Some(expected) = expected else {
            return match renameat_with(stage, &place, dir, name, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(Outcome::Done),
                Err(Errno::EXIST) => Ok(Outcome::Skipped),
                Err(errno) => Err(errno),
            };
        };
        let stat = tree::status(dir.as_fd(), name)?;
        if stat.is_none_or(|stat| Ident::from(&stat) != expected) {
            return Ok(Outcome::Skipped);
        }
        match renameat_with(stage, &place, dir, name, RenameFlags::EXCHANGE) {
            Err(Errno::NOENT) => return Ok(Outcome::Skipped),
            // A filesystem that cannot exchange (overlayfs without whiteouts, NFS).
            Err(Errno::INVAL) => {
                renameat_with(stage, &place, dir, name, RenameFlags::empty())?;
                return Ok(Outcome::Done);
            }
            done => done?,
        }
        fault::point();
        match self.staged('f')? {
            Some((found, _)) => self.settle(dir, name, (Some(expected), found, staged)),
            None => Ok(Outcome::Done),
        }
    }

    /// After an exchange: a file that the host had put there last goes back.
    fn settle(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        (expected, found, staged): (Option<Ident>, Ident, Ident),
    ) -> Result<Outcome, Errno> {
        if is_expected(expected, found) {
            return Ok(Outcome::Done);
        }
        let now = tree::status(dir.as_fd(), name)?;
        if let (Some(stage), Some(now)) = (self.stage, now)
            && Ident::from(&now) == staged
        {
            let place = slot_name('f', self.slot);
            renameat_with(stage, &place, dir, name, RenameFlags::EXCHANGE)?;
        }
        Ok(Outcome::Skipped)
    }
}

/// Whether something in a directory was made, removed or changed since. The directory's own status changes when it is
/// moved.
fn is_touched(root: &OwnedFd, path: &Path, since: (i64, i64)) -> Result<bool, Errno> {
    let mut waiting = vec![path.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let directory = match tree::directory(root.as_fd(), &path) {
            Ok(directory) => directory,
            // A file was removed.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
            Err(Errno::ACCESS) => return Ok(true),
            Err(errno) => return Err(errno),
        };
        let own = fstat(&directory)?;
        if (own.st_mtime, own.st_mtime_nsec as i64) >= since {
            return Ok(true);
        }
        for name in tree::names(&directory)? {
            let Some(stat) = tree::status(directory.as_fd(), name.as_os_str())? else {
                continue;
            };
            if tree::changed(&stat) >= since {
                return Ok(true);
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                waiting.push(path.join(name));
            }
        }
    }
    Ok(false)
}

/// `None`: whatever is there.
fn is_expected(expected: Option<Ident>, found: Ident) -> bool {
    expected.is_none_or(|expected| expected.is_same(found))
}

fn make(dir: &OwnedFd, name: &OsStr) -> Result<Outcome, Errno> {
    match mkdirat(dir, name, Mode::RWXU) {
        Ok(()) => Ok(Outcome::Done),
        Err(Errno::EXIST) => {
            let stat = tree::status(dir.as_fd(), name)?;
            let is_directory = stat
                .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            Ok(match is_directory {
                true => Outcome::Done,
                false => Outcome::Skipped,
            })
        }
        Err(errno) => Err(errno),
    }
}

fn finish(dir: &OwnedFd, name: &OsStr, wanted: Attributes) -> Result<Outcome, Errno> {
    let directory = match tree::directory(dir.as_fd(), Path::new(name)) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Outcome::Skipped),
        Err(errno) => return Err(errno),
    };
    let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    match fchown(&directory, Some(uid), Some(gid)) {
        Err(Errno::PERM) => {}
        done => done?,
    }
    // No set-id bit comes from a jail; one that the host's directory has stays.
    let kept = fstat(&directory)?.st_mode & 0o6000;
    fchmod(&directory, Mode::from_raw_mode(wanted.mode & 0o1777 | kept))?;
    let (tv_sec, nanoseconds) = wanted.modified;
    let time = Timespec {
        tv_sec,
        tv_nsec: nanoseconds as _,
    };
    futimens(
        &directory,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?;
    Ok(Outcome::Done)
}
