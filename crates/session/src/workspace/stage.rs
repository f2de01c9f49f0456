//! Copies the changes beside the workspace's files, in a directory of the workspace, so that each can take its place
//! with one rename.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, Stat, fchmod, fstat, futimens, openat, symlinkat};

use super::copy::{self, Attributes};
use super::diff::{Entry, Kind};
use super::error::WorkspaceError;
use super::tree::{self, Ident};
use creel_sys::Errno;

/// How often a file is copied that is written meanwhile.
const TRIES: usize = 3;
/// The source and the destination of staged files.
pub(super) struct Staging<'a> {
    pub name: &'a str,
    pub upper: BorrowedFd<'a>,
    pub stage: BorrowedFd<'a>,
}

impl Staging<'_> {
    /// Copies a file or a link; returns the identity of the copy, which is called `f` and `slot`.
    pub(super) fn copy(&self, entry: &Entry, slot: usize) -> Result<Ident, WorkspaceError> {
        let place = slot_name('f', slot);
        let fault = |source| WorkspaceError::Stage {
            path: entry.path.clone(),
            source,
        };
        let unstable = || WorkspaceError::Unstable {
            name: self.name.into(),
            path: entry.path.clone(),
        };
        if entry.kind == Kind::Link {
            let target = entry.target.as_deref().unwrap_or(Path::new(""));
            let (dir, name) = tree::parent(self.upper, &entry.path).map_err(fault)?;
            let stat = tree::status(dir.as_fd(), name).map_err(fault)?;
            let stat = stat.filter(|stat| entry.upper == Some(Ident::from(stat)));
            let stat = stat.ok_or_else(unstable)?;
            symlinkat(target, self.stage, &place).map_err(fault)?;
            return self.dress_link(&place, &stat).map_err(fault);
        }
        for _ in 0..TRIES {
            let from = match tree::open(self.upper, &entry.path, OFlags::RDONLY) {
                Ok(from) => from,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(unstable()),
                Err(errno) => return Err(fault(errno)),
            };
            let before = fstat(&from).map_err(fault)?;
            if entry.upper.is_none_or(|upper| !upper.is_inode(&before)) {
                return Err(unstable());
            }
            let copy = self.contents(from, (&before, entry.mode), &place);
            let copy = copy.map_err(fault)?;
            if let Some(ident) = copy {
                return Ok(ident);
            }
        }
        Err(unstable())
    }

    /// `None` if the file was written while it was copied. `seen`: its mode when it was examined; a set-id bit that
    /// came later is not copied.
    fn contents(
        &self,
        from: OwnedFd,
        (before, seen): (&Stat, u32),
        place: &str,
    ) -> Result<Option<Ident>, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let flags = flags | OFlags::CLOEXEC;
        let to = openat(self.stage, place, flags, Mode::RUSR | Mode::WUSR)?;
        let both = (from.as_fd(), to.as_fd());
        copy::contents(both.0, both.1)?;
        copy::attributes(both.0, both.1, Attributes::OfUsers)?;
        copy::own(both.1, before)?;
        let mode = before.st_mode & (0o1777 | seen & 0o6000);
        fchmod(&to, Mode::from_raw_mode(mode))?;
        futimens(&to, &copy::times(before))?;
        let after = fstat(&from)?;
        let same = tree::changed(before) == tree::changed(&after)
            && Ident::from(before) == Ident::from(&after);
        Ok(same.then_some(Ident::from(&fstat(&to)?)))
    }

    fn dress_link(&self, place: &str, stat: &Stat) -> Result<Ident, Errno> {
        copy::dress(self.stage, place.as_ref(), stat)?;
        let stat = tree::status(self.stage, place.as_ref())?;
        stat.as_ref().map(Ident::from).ok_or(Errno::NOENT)
    }
}

/// The name of a staged file (`f`), or of what was removed (`d`).
pub(super) fn slot_name(kind: char, slot: usize) -> String {
    format!("{kind}{slot}")
}
