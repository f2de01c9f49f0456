//! Snapshots of a session's changes, their restoration, and forks: copies of the layer of changes beside it.
//!
//! A snapshot is `NAME/snapshots/SNAPSHOT`, with a layer and a record. It appears under its name when it is whole and on
//! disk. Nothing of the workspace itself is copied, and no process.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, RenameFlags, mkdirat, renameat_with, syncfs};

use super::error::WorkspaceError;
use super::record::Record;
use super::upper::{Changes, Live, Result, Store, own, refuse};
use super::{apply, copy, sweep, tree};
use crate::keep::store::check;
use creel_sys::Errno;

/// The directory of snapshots in that of the layers.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// A copy that is not whole yet, in the directory that gets it.
pub(super) const NEW: &str = ".new";

/// Why nobody writes to the layer while it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// The session has ended.
    Ended,
    /// Its processes are frozen. The caller sees to that.
    Frozen,
}

impl Changes {
    /// The names of the snapshots, sorted.
    pub fn snapshots(&self) -> Vec<String> {
        let names = tree::directory(self.top(), Path::new(SNAPSHOTS))
            .and_then(|directory| tree::names(&directory));
        let names = names.into_iter().flatten();
        let names = names.filter_map(|name| name.into_os_string().into_string().ok());
        names.filter(|name| check(name).is_ok()).collect()
    }

    /// Copies the changes under a name, which is free.
    pub fn snapshot(&mut self, name: &str, still: Still) -> Result<()> {
        let _quiet = self.settle(still)?;
        named(name)?;
        let place = self.path.join(SNAPSHOTS);
        match mkdirat(self.top(), SNAPSHOTS, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(refuse(&place)(errno)),
        }
        let all = tree::directory(self.top(), Path::new(SNAPSHOTS)).map_err(refuse(&place))?;
        if let Some(_taken) = tree::status(all.as_fd(), name.as_ref()).map_err(refuse(&place))? {
            return Err(WorkspaceError::Taken { name: name.into() });
        }
        self.copy_to(&all, &place)?;
        publish(&all, name).map_err(refuse(&place.join(name)))
    }

    /// Removes a snapshot.
    pub fn forget_snapshot(&mut self, name: &str) -> Result<()> {
        let _lock = self.lock()?;
        let path = self.place_of(name)?;
        sweep::clear(self.top(), &path).map_err(refuse(&self.path.join(&path)))
    }

    /// Puts the changes of a snapshot in the place of the present ones, which are lost. The session has ended.
    pub fn restore(&mut self, name: &str) -> Result<()> {
        let _quiet = self.settle(Still::Ended)?;
        let path = self.place_of(name)?;
        let place = self.path.join(&path);
        let saved = tree::directory(self.top(), &path).map_err(refuse(&place))?;
        let mut saved = Changes {
            name: self.name.clone(),
            record: self.record.clone(),
            path: place.clone(),
            dir: File::from(saved),
        };
        saved.refresh()?;
        let record = saved.record.clone();
        if record.identity != self.record.identity {
            return Err(WorkspaceError::Moved {
                name: self.name.clone(),
                workspace: record.workspace,
            });
        }
        let top = tree::directory(self.top(), Path::new("")).map_err(refuse(&place))?;
        saved.copy_to(&top, &self.path)?;
        // From the older start on, what the host has changed is a conflict. The objects of the layer are others.
        self.record = later(&self.record, record.started);
        self.write_record()?;
        let new = Path::new(NEW).join("upper");
        let swap = renameat_with(self.top(), &new, self.top(), "upper", RenameFlags::EXCHANGE);
        swap.map_err(refuse(&self.path))?;
        for name in [NEW, "work"] {
            sweep::clear(self.top(), Path::new(name)).map_err(refuse(&self.path))?;
        }
        Ok(())
    }

    /// Gives a session of another name a copy of the changes. It has none yet.
    pub fn fork(&mut self, store: &Store, name: &str, still: Still) -> Result<()> {
        let _quiet = self.settle(still)?;
        named(name)?;
        let place = store.place(name);
        if place.symlink_metadata().is_ok() {
            return Err(WorkspaceError::Taken { name: name.into() });
        }
        let all = OwnedFd::from(own(store.path())?);
        self.copy_to(&all, store.path())?;
        publish(&all, name).map_err(refuse(&place))
    }

    /// Waits for nobody: `Busy` or `Live` if the changes are in use. Finishes a commit that was cut off.
    fn settle(&mut self, still: Still) -> Result<(Option<Live>, File)> {
        let live = match still {
            Still::Ended => Some(self.claim_live()?),
            Still::Frozen => None,
        };
        let lock = self.lock()?;
        self.refresh()?;
        apply::recover(self)?;
        Ok((live, lock))
    }

    /// Copies the layer and the record to the directory [`NEW`] of `target`, and syncs them.
    fn copy_to(&self, target: &OwnedFd, place: &Path) -> Result<()> {
        let made = self.copied(target, place);
        if made.is_err() {
            // If this fails, the next copy does it.
            let _ = sweep::clear(target.as_fd(), Path::new(NEW));
        }
        made
    }

    fn copied(&self, target: &OwnedFd, place: &Path) -> Result<()> {
        let fault = |errno| refuse(&place.join(NEW))(errno);
        sweep::clear(target.as_fd(), Path::new(NEW)).map_err(fault)?;
        mkdirat(target, NEW, Mode::RWXU).map_err(fault)?;
        let new = tree::directory(target.as_fd(), Path::new(NEW)).map_err(fault)?;
        mkdirat(&new, "upper", Mode::RWXU).map_err(fault)?;
        let to = tree::directory(new.as_fd(), Path::new("upper")).map_err(fault)?;
        copy::layer(&self.upper()?, &to).map_err(|(path, source)| WorkspaceError::Copy {
            name: self.name.clone(),
            path,
            source,
        })?;
        let copy = Changes {
            name: self.name.clone(),
            record: later(&self.record, self.record.started),
            path: place.join(NEW),
            dir: File::from(new),
        };
        copy.write_record()?;
        syncfs(&to).map_err(fault)
    }

    fn place_of(&self, name: &str) -> Result<PathBuf> {
        match self.snapshots().iter().any(|found| found == name) {
            true => Ok(Path::new(SNAPSHOTS).join(name)),
            false => Err(WorkspaceError::NoSnapshot {
                name: self.name.clone(),
                snapshot: name.into(),
            }),
        }
    }
}

fn named(name: &str) -> Result<()> {
    check(name).map_err(|_| WorkspaceError::Name { name: name.into() })
}

/// A record for a copied layer: the objects that were committed have other inodes, and are compared again.
fn later(record: &Record, started: (i64, i64)) -> Record {
    let mut record = record.clone();
    record.started = record.started.min(started);
    for done in &mut record.committed {
        done.upper = None;
    }
    record
}

/// Gives a whole copy its name.
fn publish(directory: &OwnedFd, name: &str) -> std::result::Result<(), Errno> {
    renameat_with(directory, NEW, directory, name, RenameFlags::NOREPLACE)?;
    rustix::fs::fsync(directory)
}
