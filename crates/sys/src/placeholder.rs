//! Placeholders keep a name from being created, since the kernel has no entry that means "nothing".
//!
//! A socket inode (mknod(2)) does for most names: git takes up none, status, add, clean and stash pass
//! over it, and to remove it costs a tenth of a directory. A directory stands for what programs look
//! into: below a socket the kernel answers ENOTDIR, and they expect ENOENT. So it does where a reader would
//! complain about what it cannot open, and where the filesystem makes no sockets. Where a reader takes the
//! name's being there for a word, it is a file that says what is meant without it, made without a name
//! (`O_TMPFILE`, open(2)) and then linked. A mark tells each from somebody else's: of a socket and of a
//! directory a mode that nobody gives one, which they have from their start, of a file its time and every
//! byte of it: what says anything else is read by git, hence by creel.
//!
//! Any process that may rename in the directory can put another object under the name at any moment, and this process
//! may be root. So nothing that was opened by its name is given a mode, an owner or a time before it is known
//! for what was made here; what has the name is looked at, and what does not compare is somebody else's.
//!
//! The host's programs may use a directory meanwhile, such as an editor that writes its settings: what is
//! not empty is theirs, and stays.
//!
//! Several runs may need one name. Each holds a read lock (an open file description lock, fcntl(2)) on
//! the directory, at an offset that is the name's hash; the run that finds nobody else's lock there
//! removes the name. While a run removes names it holds the directory's flock(2) alone, and while it
//! makes some it shares that one. A jail may take these locks on a directory of its workspace, too. It
//! thus gains that a run waits [`PATIENCE`] and that a name stays on the host.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as rx, AtFlags, FlockOperation, Mode, OFlags};

use super::{Errno, Result, fd, procfs};

/// A file's time of modification, in seconds: e, to nine digits.
const MARK: i64 = 271_828_182;
/// Bytes in a file.
const MOST: usize = 2;
/// For everybody to read: whoever shares it opens it.
const MODE: u32 = 0o444;
const DIRECTORY_MODE: u32 = 0o1755;
/// The bit of a directory's mode that marks it as a placeholder.
const STICKY: Mode = Mode::SVTX;
/// Turns against another run that makes or removes it at the same time.
const MOST_TURNS: usize = 1000;
/// How often, a tenth of a millisecond apart, the directory's flock(2) is tried.
const PATIENCE: usize = 200;

/// The object that stands for an absent name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Socket,
    Directory,
    /// With this content, of two bytes at most.
    File(&'static str),
}

/// Whether a file, socket or directory may be a placeholder; whether it is one, [`stands`] tells.
pub fn marked(stat: &rx::Stat) -> bool {
    match rx::FileType::from_raw_mode(stat.st_mode) {
        rx::FileType::Socket => stat.st_mode & 0o7777 == 0 && stat.st_nlink == 1,
        // Any umask is accepted, and the group's bit that a directory inherits (inode(7)).
        rx::FileType::Directory => stat.st_mode & 0o5022 == 0o1000,
        rx::FileType::RegularFile => {
            stat.st_size <= MOST as i64 && stat.st_mtime == MARK && stat.st_mode & 0o7777 == MODE
        }
        _ => false,
    }
}

/// Whether a pinned file, socket or directory is a placeholder: a directory with something in it is somebody's,
/// and so is a file with other content than `says`.
pub fn stands(place: BorrowedFd<'_>, says: &str) -> bool {
    looked_into(place, says).unwrap_or(false)
}

/// The same, where that can be found out.
fn looked_into(place: BorrowedFd<'_>, says: &str) -> Result<bool> {
    let stat = rx::fstat(place)?;
    if !marked(&stat) {
        return Ok(false);
    }
    match rx::FileType::from_raw_mode(stat.st_mode) {
        rx::FileType::Directory => is_empty(place),
        rx::FileType::RegularFile => {
            // With room for more: what is longer by now says something else.
            let mut text = [0; MOST + 1];
            let length = rustix::io::read(fd::reopen(place)?, &mut text)?;
            Ok(text.get(..length) == Some(says.as_bytes()))
        }
        _ => Ok(true),
    }
}

fn is_empty(place: BorrowedFd<'_>) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rx::openat(place, c".", flags, Mode::empty())?;
    let own = |entry: rx::DirEntry| matches!(entry.file_name().to_bytes(), b"." | b"..");
    Ok(rx::Dir::read_from(directory)?.all(|entry| entry.is_ok_and(own)))
}

/// Opens a pinned directory, so that it can be locked. One that the caller may not read stays without locks.
pub fn open_directory(pinned: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rx::openat(pinned, c".", flags, Mode::empty()) {
        Err(Errno::ACCESS) => rustix::io::fcntl_dupfd_cloexec(pinned, 0),
        other => other,
    }
}

/// A directory while names in it are made or removed; see the module's text.
pub struct Turn<'a>(BorrowedFd<'a>);

impl<'a> Turn<'a> {
    /// To make names, beside other runs that do.
    pub fn to_make(directory: BorrowedFd<'a>) -> Turn<'a> {
        Turn::take(directory, FlockOperation::NonBlockingLockShared)
    }

    /// To remove names, alone.
    pub fn to_remove(directory: BorrowedFd<'a>) -> Turn<'a> {
        Turn::take(directory, FlockOperation::NonBlockingLockExclusive)
    }

    fn take(directory: BorrowedFd<'a>, how: FlockOperation) -> Turn<'a> {
        for _ in 0..PATIENCE {
            match rx::flock(directory, how) {
                Err(Errno::WOULDBLOCK) => super::janitor::pause(0),
                // Not every filesystem locks; what it guards against is another run at the same instant.
                _ => break,
            }
        }
        Turn(directory)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = rx::flock(self.0, FlockOperation::Unlock);
    }
}

/// Makes `name` in `directory`, or shares the one that is there; its inode. `EXIST` where something else has
/// the name. `says`: what a file of that name says, be it of this form or of another run's. The caller's umask
/// takes nothing.
pub fn hold(directory: BorrowedFd<'_>, name: &CStr, form: Form, says: &str) -> Result<u64> {
    lock(directory, name, libc::F_RDLCK);
    for _ in 0..MOST_TURNS {
        match make(directory, name, form) {
            Err(Errno::EXIST) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
        let found = look(directory, name).and_then(|place| {
            let stands = looked_into(place.as_fd(), says)?;
            Ok((stands, rx::fstat(&place)?.st_ino))
        });
        match found {
            // Another run was done with it at once.
            Err(Errno::NOENT) => {}
            // The trouble is this process's own.
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(errno),
            Ok((true, inode)) => return Ok(inode),
            _ => return Err(Errno::EXIST),
        }
    }
    Err(Errno::EXIST)
}

fn make(directory: BorrowedFd<'_>, name: &CStr, form: Form) -> Result<()> {
    let socket = rx::FileType::Socket;
    match form {
        Form::Socket => match rx::mknodat(directory, name, socket, Mode::empty(), 0) {
            // As NFS without, or a filesystem of another system.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                make(directory, name, Form::Directory)
            }
            other => other,
        },
        Form::Directory => {
            rx::mkdirat(directory, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
            settle(directory, name)
        }
        Form::File(says) => link(&nameless(directory, says)?, directory, name),
    }
}

/// Gives `name` up, and removes it where it is a placeholder that no other run holds. `AGAIN` where one
/// does, `EXIST` where it is somebody else's. `inode`: what [`hold`] told; a socket and a directory are known
/// by it as well, whatever mode they were given since (`chmod -R`). A directory that the host has put
/// something in stays, without the mark. `says`: as there.
pub fn release(directory: BorrowedFd<'_>, name: &CStr, inode: u64, says: &str) -> Result<()> {
    lock(directory, name, libc::F_UNLCK);
    if is_locked(directory, name) {
        return Err(Errno::AGAIN);
    }
    let place = look(directory, name)?;
    let stat = rx::fstat(&place)?;
    let kind = rx::FileType::from_raw_mode(stat.st_mode);
    let made_here = stat.st_ino == inode;
    let is_one = match kind {
        rx::FileType::RegularFile => stands(place.as_fd(), says),
        rx::FileType::Socket | rx::FileType::Directory => made_here || marked(&stat),
        _ => false,
    };
    if !is_one {
        return Err(Errno::EXIST);
    }
    if kind != rx::FileType::Directory {
        return rx::unlinkat(directory, name, AtFlags::empty());
    }
    match rx::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if made_here => {
            unmark(directory, name, inode)?;
            Err(Errno::EXIST)
        }
        other => other,
    }
}

/// Takes the mark from a directory, if it is the one that was held and this process's own.
fn unmark(directory: BorrowedFd<'_>, name: &CStr, inode: u64) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rx::openat(directory, name, flags, Mode::empty())?;
    let (stat, above) = (rx::fstat(&place)?, rx::fstat(directory)?);
    let held = (stat.st_dev, stat.st_ino) == (above.st_dev, inode);
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if !held || !own || !marked(&stat) {
        return Ok(());
    }
    rx::fchmod(&place, Mode::from_raw_mode(stat.st_mode & 0o7777) - STICKY)
}

/// Does `act` while the owner of a directory may change it; then the directory has its mode again.
pub fn opened(directory: BorrowedFd<'_>, act: impl FnOnce()) -> Result<()> {
    let mode = Mode::from_raw_mode(rx::fstat(directory)?.st_mode & 0o7777);
    rx::fchmod(directory, mode | Mode::WUSR | Mode::XUSR)?;
    act();
    rx::fchmod(directory, mode)
}

/// The offset of a name's lock: FNV-1a, without the sign.
fn offset(name: &CStr) -> i64 {
    let hash = name
        .to_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // The last offset is that of a length that has no end.
    (hash >> 2) as i64
}

fn range(name: &CStr, kind: libc::c_int) -> libc::flock {
    // SAFETY: flock is plain data for which all zeroes is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = offset(name);
    range.l_len = 1;
    range
}

/// Locks, or unlocks. A filesystem without locks has no way of sharing a name: its first run removes it.
fn lock(directory: BorrowedFd<'_>, name: &CStr, kind: libc::c_int) {
    let range = range(name, kind);
    // SAFETY: the command reads a flock, which outlives the call.
    unsafe { libc::fcntl(directory.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
}

/// Whether another run holds the name.
fn is_locked(directory: BorrowedFd<'_>, name: &CStr) -> bool {
    let mut range = range(name, libc::F_WRLCK);
    // SAFETY: the command reads and writes a flock, which outlives the call.
    let asked = unsafe { libc::fcntl(directory.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) };
    asked == 0 && range.l_type != libc::F_UNLCK as libc::c_short
}

fn look(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rx::openat(directory, name, flags, Mode::empty())
}

/// That a new directory has the mark. Where a filesystem knows no such mode it could not be told from others,
/// and goes. What has the name may be another one by now: it is only looked at.
fn settle(directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rx::openat(directory, name, flags, Mode::empty()) {
        Ok(place) if !marked(&rx::fstat(&place)?) => {
            let _ = rx::unlinkat(directory, name, AtFlags::REMOVEDIR);
            Err(Errno::OPNOTSUPP)
        }
        // It is gone or something else, which the caller sees.
        _ => Ok(()),
    }
}

fn nameless(directory: BorrowedFd<'_>, says: &str) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rx::openat(directory, c".", flags, Mode::from_raw_mode(MODE))?;
    if !says.is_empty() {
        rustix::io::write(&file, says.as_bytes())?;
    }
    // It has no name yet. A directory's default ACL (acl(5)) could have taken something.
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
