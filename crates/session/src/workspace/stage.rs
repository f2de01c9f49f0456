//! Copies the changes beside the workspace's files, in a directory of the workspace, so that each can take its place
//! with one rename.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, ioctl_ficlone, openat, symlinkat,
    utimensat,
};

use super::diff::{Entry, Kind};
use super::error::WorkspaceError;
use super::tree::{self, Ident};
use creel_sys::Errno;

/// How often a file is copied that is written meanwhile.
const TRIES: usize = 3;
/// An access control list of the file.
const ACL: &str = "system.posix_acl_access";
/// Bytes of the names and of one value of a file's attributes, at most (xattr(7)).
const LONGEST: usize = 64 << 10;

/// Where staged files come from and go.
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
        let (mut from, mut to) = (File::from(from), File::from(to));
        if ioctl_ficlone(&to, &from).is_err() {
            let copied = std::io::copy(&mut from, &mut to);
            copied.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        }
        attributes(&from, &to)?;
        own(to.as_fd(), before)?;
        let mode = before.st_mode & (0o1777 | seen & 0o6000);
        fchmod(&to, Mode::from_raw_mode(mode))?;
        futimens(&to, &times(before))?;
        let after = fstat(&from)?;
        let same = tree::changed(before) == tree::changed(&after)
            && Ident::from(before) == Ident::from(&after);
        Ok(same.then_some(Ident::from(&fstat(&to)?)))
    }

    fn dress_link(&self, place: &str, stat: &Stat) -> Result<Ident, Errno> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        match chownat(self.stage, place, Some(uid), Some(gid), nofollow) {
            Err(Errno::PERM) => {}
            done => done?,
        }
        utimensat(self.stage, place, &times(stat), nofollow)?;
        let stat = tree::status(self.stage, place.as_ref())?;
        stat.as_ref().map(Ident::from).ok_or(Errno::NOENT)
    }
}

/// The name of a staged file (`f`), or of what was removed (`d`).
pub(super) fn slot_name(kind: char, slot: usize) -> String {
    format!("{kind}{slot}")
}

/// Gives a file the owner of another. An ordinary user's files are that user's.
pub(super) fn own(file: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match fchown(file, Some(uid), Some(gid)) {
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = |tv_sec, nanoseconds: u64| Timespec {
        tv_sec,
        tv_nsec: nanoseconds as _,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
    }
}

/// Copies attributes of users and the access control list, but none of overlayfs's own.
fn attributes(from: &File, to: &File) -> Result<(), Errno> {
    let mut names = vec![0u8; LONGEST];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    let mut room = vec![];
    for name in names.get(..length).unwrap_or_default().split(|b| *b == 0) {
        let Ok(name) = str::from_utf8(name) else {
            continue;
        };
        let wanted = name.starts_with("user.") && !name.starts_with("user.overlay.");
        if !wanted && name != ACL {
            continue;
        }
        room.resize(LONGEST, 0);
        let length = fgetxattr(from, name, room.as_mut_slice())?;
        match fsetxattr(
            to,
            name,
            room.get(..length).unwrap_or_default(),
            XattrFlags::empty(),
        ) {
            Err(Errno::NOTSUP) => {}
            done => done?,
        }
    }
    Ok(())
}
