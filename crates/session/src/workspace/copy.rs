//! Copies of files and trees of the layers. Holes stay holes: a command may have made a file far larger than the disk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, ftruncate,
    futimens, ioctl_ficlone, linkat, makedev, mkdirat, mknodat, openat, readlinkat, seek,
    symlinkat, utimensat,
};
use rustix::io::{pread, pwrite};

use super::tree;
use creel_sys::Errno;

/// Bytes of one read, if the kernel cannot copy between the two files itself.
const PART: usize = 128 << 10;
/// Bytes of the names and of one value of a file's attributes, at most (xattr(7)).
const LONGEST: usize = 64 << 10;
/// The access control lists of a file.
const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
/// Prefix of overlayfs's own marks.
const MARKS: &str = "user.overlay.";

/// Which attributes are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    /// Those of users, and the access control lists.
    OfUsers,
    /// Overlayfs's own marks as well: the copy is a layer.
    OfLayers,
}

/// Copies the contents of a file to an empty one.
pub(super) fn contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = fstat(from)?.st_size.cast_unsigned();
    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let begin = match seek(from, SeekFrom::Data(at)) {
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            found => found?,
        };
        let end = seek(from, SeekFrom::Hole(begin))?.min(size);
        range((from, to), begin, end)?;
        at = end;
    }
    Ok(())
}

/// Copies the bytes from `at` to `end`. A file that becomes shorter meanwhile ends the copy.
fn range((from, to): (BorrowedFd<'_>, BorrowedFd<'_>), at: u64, end: u64) -> Result<(), Errno> {
    let (mut read, mut written) = (at, at);
    let mut room = vec![];
    while written < end {
        let left = usize::try_from(end - written).unwrap_or(usize::MAX);
        if room.is_empty() {
            match copy_file_range(from, Some(&mut read), to, Some(&mut written), left) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    room.resize(PART, 0);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let length = pread(
            from,
            room.get_mut(..left.min(PART)).unwrap_or_default(),
            read,
        )?;
        if length == 0 {
            return Ok(());
        }
        read += length as u64;
        while written < read {
            let begin = length - usize::try_from(read - written).unwrap_or(0);
            written += pwrite(to, room.get(begin..length).unwrap_or_default(), written)? as u64;
        }
    }
    Ok(())
}

/// Gives a file the owner of another. An ordinary user's files are that user's.
pub(super) fn own(file: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match fchown(file, Some(uid), Some(gid)) {
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

/// The same for a name, which may be a link, with its times.
pub(super) fn dress(dir: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    match chownat(dir, name, Some(uid), Some(gid), nofollow) {
        Err(Errno::PERM) => {}
        done => done?,
    }
    utimensat(dir, name, &times(stat), nofollow)
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

/// Copies the attributes of a file or a directory.
pub(super) fn attributes(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    which: Attributes,
) -> Result<(), Errno> {
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
        let is_mark = name.starts_with(MARKS);
        let wanted = name.starts_with("user.") && (!is_mark || which == Attributes::OfLayers);
        if !wanted && !LISTS.contains(&name) {
            continue;
        }
        room.resize(LONGEST, 0);
        let length = fgetxattr(from, name, room.as_mut_slice())?;
        let value = room.get(..length).unwrap_or_default();
        match fsetxattr(to, name, value, XattrFlags::empty()) {
            Err(Errno::NOTSUP) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Copies a layer with all its marks into an empty directory: whiteouts, pipes and hard links, too. Nobody writes to it
/// meanwhile. An error has the path of what could not be copied.
pub(super) fn layer(from: &OwnedFd, to: &OwnedFd) -> Result<(), (PathBuf, Errno)> {
    let mut seen = HashMap::new();
    let mut made: Vec<(PathBuf, Stat)> = vec![];
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let fault = |errno| (path.clone(), errno);
        let (source, target) = (
            tree::directory(from.as_fd(), &path).map_err(fault)?,
            tree::directory(to.as_fd(), &path).map_err(fault)?,
        );
        let both = (source.as_fd(), target.as_fd());
        made.push((path.clone(), fstat(&source).map_err(fault)?));
        attributes(both.0, both.1, Attributes::OfLayers).map_err(fault)?;
        for name in tree::names(&source).map_err(fault)? {
            let inner = path.join(&name);
            let fault = |errno| (inner.clone(), errno);
            let stat = tree::status(both.0, name.as_os_str()).map_err(fault)?;
            let Some(stat) = stat else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mkdirat(&target, &name, Mode::RWXU).map_err(fault)?;
                waiting.push(inner);
                continue;
            }
            if stat.st_nlink > 1
                && let Some(first) = seen.get(&stat.st_ino)
            {
                linkat(to, first, &target, &name, AtFlags::empty()).map_err(fault)?;
                continue;
            }
            one(both, name.as_os_str(), &stat).map_err(fault)?;
            seen.insert(stat.st_ino, inner);
        }
    }
    // At last: a mode may keep its owner out, and a new name changes the time.
    for (path, stat) in made.iter().rev() {
        let dress = || {
            let directory = tree::directory(to.as_fd(), path)?;
            own(directory.as_fd(), stat)?;
            fchmod(&directory, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            futimens(&directory, &times(stat))
        };
        dress().map_err(|errno| (path.clone(), errno))?;
    }
    Ok(())
}

/// Copies one name that is no directory.
fn one(
    (source, target): (BorrowedFd<'_>, BorrowedFd<'_>),
    name: &OsStr,
    stat: &Stat,
) -> Result<(), Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let from = tree::open(source, Path::new(name), OFlags::RDONLY)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let to = openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
            contents(from.as_fd(), to.as_fd())?;
            attributes(from.as_fd(), to.as_fd(), Attributes::OfLayers)?;
            own(to.as_fd(), stat)?;
            fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            futimens(&to, &times(stat))
        }
        FileType::Symlink => {
            let link = readlinkat(source, name, vec![])?;
            symlinkat(link, target, name)?;
            dress(target, name, stat)
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
            // A jail makes no devices but whiteouts: by removals.
            mknodat(target, name, kind, mode, makedev(0, 0))?;
            dress(target, name, stat)
        }
    }
}
