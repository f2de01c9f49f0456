//! Empty files by which a name is kept from being created, since the kernel knows no entry that says
//! "nothing": made without a name (`O_TMPFILE`, open(2)) and then linked, so that whoever has to
//! remove one knows its inode before it is there.
//!
//! Several runs may need one name. Each holds a shared lock (flock(2)) on the file; who can lock it
//! alone is the last, and removes it. A mark in its times tells it from a file of somebody else's.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as rx, AtFlags, FlockOperation, Mode, OFlags};

use super::fd::{Kind, Stat};
use super::{Errno, Result, fd, procfs};

/// Its time of modification, in seconds: e, to nine digits.
const MARK: i64 = 271_828_182;
/// For everybody to read: whoever shares it opens it.
const MODE: u32 = 0o444;
/// Turns against another run that makes or removes it at the same time.
const MOST_TURNS: usize = 1000;

/// Whether a regular file is a placeholder.
pub(super) fn marked(stat: &rx::Stat) -> bool {
    stat.st_size == 0 && stat.st_mtime == MARK && stat.st_mode & 0o7777 == MODE
}

/// Makes `name` in `directory`, or shares the one that is there. `note` is told device and inode
/// before the name exists. Answers the lock and what it is; `EXIST` where something else has the
/// name.
pub fn hold(
    directory: BorrowedFd<'_>,
    name: &CStr,
    note: impl Fn(u64, u64),
) -> Result<(OwnedFd, Stat)> {
    for _ in 0..MOST_TURNS {
        let file = nameless(directory)?;
        rx::flock(&file, FlockOperation::LockShared)?;
        let stat = fd::stat(file.as_fd())?;
        note(stat.dev, stat.ino);
        match link(&file, directory, name) {
            Ok(()) => return Ok((file, fd::stat(directory_entry(directory, name)?.as_fd())?)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        drop(file);
        if let Some(shared) = share(directory, name)? {
            note(shared.1.dev, shared.1.ino);
            return Ok(shared);
        }
    }
    Err(Errno::EXIST)
}

/// Removes `name` where it is still that inode and nobody else holds it. System calls only.
pub fn remove(directory: BorrowedFd<'_>, name: &CStr, inode: (u64, u64)) -> Result<()> {
    let file = directory_entry(directory, name)?;
    let stat = rx::fstat(&file)?;
    if (stat.st_dev, stat.st_ino) != inode {
        return Ok(());
    }
    rx::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    rx::unlinkat(directory, name, AtFlags::empty())
}

fn nameless(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rx::openat(directory, c".", flags, Mode::from_raw_mode(MODE))?;
    // Whatever the umask.
    rx::fchmod(&file, Mode::from_raw_mode(MODE))?;
    let time = rx::Timespec {
        tv_sec: MARK,
        tv_nsec: 0,
    };
    let times = rx::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rx::futimens(&file, &times)?;
    Ok(file)
}

fn link(file: &OwnedFd, directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let table = procfs::open("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
    let number = file.as_raw_fd().to_string();
    rx::linkat(table, number, directory, name, AtFlags::SYMLINK_FOLLOW)
}

fn directory_entry(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rx::openat(directory, name, flags, Mode::empty())
}

/// The placeholder that is there, locked; `None` where it went meanwhile.
fn share(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<(OwnedFd, Stat)>> {
    let file = match directory_entry(directory, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(_) => return Err(Errno::EXIST),
    };
    let stat = fd::stat(file.as_fd())?;
    if stat.kind != Kind::Placeholder {
        return Err(Errno::EXIST);
    }
    rx::flock(&file, FlockOperation::LockShared)?;
    let now = directory_entry(directory, name).and_then(|entry| fd::stat(entry.as_fd()));
    Ok(match now {
        Ok(now) if (now.dev, now.ino) == (stat.dev, stat.ino) => Some((file, stat)),
        _ => None,
    })
}
