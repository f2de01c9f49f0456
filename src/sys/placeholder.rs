//! What keeps a name from being created, since the kernel knows no entry that says "nothing".
//!
//! An empty directory does for most names: git takes up none, so that nobody commits it who commits all
//! there is, and to remove one can destroy nothing. Where a reader takes the name's being there for a
//! word, it is a file that says what is meant without it, made without a name (`O_TMPFILE`, open(2)) and
//! then linked.
//!
//! Several runs may need one name. Each holds a shared lock (flock(2)) on what is there; who can lock it
//! alone is the last, and removes it. A mark tells it from somebody else's: of a file its time, of a
//! directory a mode that nobody gives one (sticky, and nobody may write), which it has from its start.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as rx, AtFlags, FlockOperation, Mode, OFlags};

use super::fd::{Kind, Stat};
use super::{Errno, Result, fd, procfs};

/// A file's time of modification, in seconds: e, to nine digits.
const MARK: i64 = 271_828_182;
/// Bytes in a file.
const MOST: i64 = 2;
/// For everybody to read: whoever shares it opens it.
const MODE: u32 = 0o444;
const DIRECTORY_MODE: u32 = 0o1555;
/// Turns against another run that makes or removes it at the same time.
const MOST_TURNS: usize = 1000;

/// Whether a file or directory is a placeholder.
pub fn marked(stat: &rx::Stat) -> bool {
    match rx::FileType::from_raw_mode(stat.st_mode) {
        // Whatever the umask took, and with the group's bit that a directory inherits (inode(7)).
        rx::FileType::Directory => stat.st_mode & 0o5222 == 0o1000,
        rx::FileType::RegularFile => {
            stat.st_size <= MOST && stat.st_mtime == MARK && stat.st_mode & 0o7777 == MODE
        }
        _ => false,
    }
}

/// Whether what is marked is indeed nobody's: a directory with something in it is somebody's.
pub fn stands_for_nothing(place: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rx::openat(place, c".", flags, Mode::empty()) {
        Ok(directory) => is_empty(&directory),
        Err(errno) => errno == Errno::NOTDIR,
    }
}

fn is_empty(directory: &OwnedFd) -> bool {
    let named = |entry: rx::DirEntry| !matches!(entry.file_name().to_bytes(), b"." | b"..");
    rx::Dir::read_from(directory).is_ok_and(|entries| entries.flatten().all(|e| !named(e)))
}

/// Makes `name` in `directory`, or shares the one that is there; `says` stands in it, if it is a file.
/// `note` is told device and inode: of a file before the name exists, of a directory afterwards, for
/// which [`remove_nameless`] is. `EXIST` where something else has the name.
pub fn hold(
    directory: BorrowedFd<'_>,
    name: &CStr,
    says: Option<&str>,
    note: impl Fn(u64, u64),
) -> Result<(OwnedFd, Stat)> {
    for _ in 0..MOST_TURNS {
        if let Some(says) = says {
            let file = nameless(directory, says)?;
            rx::flock(&file, FlockOperation::LockShared)?;
            let stat = fd::stat(file.as_fd())?;
            note(stat.dev, stat.ino);
            match link(&file, directory, name) {
                Ok(()) => {
                    return Ok((file, fd::stat(directory_entry(directory, name)?.as_fd())?));
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        } else {
            match rx::mkdirat(directory, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                Ok(()) => settle(directory, name)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        if let Some(shared) = share(directory, name)? {
            note(shared.1.dev, shared.1.ino);
            return Ok(shared);
        }
    }
    Err(Errno::EXIST)
}

/// Removes `name` where it is still that inode and nobody else holds it. System calls only.
pub fn remove(directory: BorrowedFd<'_>, name: &CStr, inode: (u64, u64)) -> Result<()> {
    remove_if(directory, name, |stat| (stat.st_dev, stat.st_ino) == inode)
}

/// Removes `name` where it is a placeholder that nobody holds: its maker ended before it could say
/// which. System calls only.
pub fn remove_nameless(directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    remove_if(directory, name, marked)
}

fn remove_if(
    directory: BorrowedFd<'_>,
    name: &CStr,
    ours: impl Fn(&rx::Stat) -> bool,
) -> Result<()> {
    let place = directory_entry(directory, name)?;
    let stat = rx::fstat(&place)?;
    if !ours(&stat) {
        return Ok(());
    }
    rx::flock(&place, FlockOperation::NonBlockingLockExclusive)?;
    let flags = match rx::FileType::from_raw_mode(stat.st_mode) {
        rx::FileType::Directory => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    };
    rx::unlinkat(directory, name, flags)
}

/// Gives a new directory its whole mode, whatever the umask. Where a filesystem knows no such mode it
/// could not be told from others, and goes.
fn settle(directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let place = match directory_entry(directory, name) {
        Ok(place) => place,
        // Another run was done with it at once, or the umask took the right to open it.
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => {
            let _ = rx::unlinkat(directory, name, AtFlags::REMOVEDIR);
            return Err(errno);
        }
    };
    rx::fchmod(&place, Mode::from_raw_mode(DIRECTORY_MODE))?;
    if marked(&rx::fstat(&place)?) {
        return Ok(());
    }
    let _ = rx::unlinkat(directory, name, AtFlags::REMOVEDIR);
    Err(Errno::OPNOTSUPP)
}

fn nameless(directory: BorrowedFd<'_>, says: &str) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rx::openat(directory, c".", flags, Mode::from_raw_mode(MODE))?;
    if !says.is_empty() {
        rustix::io::write(&file, says.as_bytes())?;
    }
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
    if stat.kind != Kind::Placeholder || !stands_for_nothing(file.as_fd()) {
        return Err(Errno::EXIST);
    }
    rx::flock(&file, FlockOperation::LockShared)?;
    let now = directory_entry(directory, name).and_then(|entry| fd::stat(entry.as_fd()));
    Ok(match now {
        Ok(now) if (now.dev, now.ino) == (stat.dev, stat.ino) => Some((file, stat)),
        _ => None,
    })
}
