//! Descriptors: pinning a path, identifying a file, closing ranges.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rx, CWD, Mode, OFlags, ResolveFlags};

use super::{Errno, Result};

/// The kind of file that an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket or directory with the mark of a [`placeholder`](super::placeholder), with which creel blocks
    /// the creation of a name. A directory that has entries is not one.
    Placeholder,
    /// A character device.
    CharDevice,
    /// Any other kind, such as a socket or a pipe.
    Other,
}

/// An inode's identity, and the attributes that the plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The device of its filesystem.
    pub dev: u64,
    /// The inode's number.
    pub ino: u64,
    /// The kind of file.
    pub kind: Kind,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The number of a device file.
    pub rdev: u64,
    /// The number of its hard links.
    pub links: u64,
}

/// Opens `path` with `O_PATH`: nothing is read, the inode cannot be recycled while the descriptor
/// lives. Symbolic links are followed.
pub fn pin(path: &Path) -> Result<OwnedFd> {
    rx::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The type of a path's last component when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Not a symbolic link: the descriptor refers to the named file itself.
    Itself,
    /// A symbolic link, which was followed.
    Link,
}

/// As [`pin`], and tells whether the last component was a symbolic link. For any other file a single open
/// answers both, because a second one could find another file.
pub fn pin_named(path: &Path) -> Result<(OwnedFd, Last)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((pin(path)?, Last::Itself));
    };
    let parent = match parent.as_os_str().is_empty() {
        true => pin(Path::new("."))?,
        false => pin(parent)?,
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let last = rx::openat(&parent, name, flags, Mode::empty())?;
    match rx::FileType::from_raw_mode(rx::fstat(&last)?.st_mode) {
        rx::FileType::Symlink => Ok((pin(path)?, Last::Link)),
        _ => Ok((last, Last::Itself)),
    }
}

/// As [`pin`], but refuses a path with a symbolic link in any component (`ELOOP`, openat2(2)).
pub fn pin_exact(path: &Path) -> Result<OwnedFd> {
    rx::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
}

/// Opens a directory by a path in the jail; a magic link (`/proc/self/fd/7`) is refused with
/// `ELOOP` (CVE-2024-21626). Runs after clone.
pub fn open_dir_plain(path: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    rx::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// `O_PATH` on a path, symbolic links followed. Runs after clone.
pub fn pin_c(path: &CStr) -> Result<OwnedFd> {
    rx::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Identity and kind of an open file. Runs after clone.
pub fn stat(fd: BorrowedFd<'_>) -> Result<Stat> {
    let s = rx::fstat(fd)?;
    Ok(Stat {
        dev: s.st_dev,
        ino: s.st_ino,
        kind: match rx::FileType::from_raw_mode(s.st_mode) {
            // A placeholder file is read like any other, because its content means the same as its absence.
            rx::FileType::RegularFile => Kind::File,
            _ if super::mark::marked(&s) => Kind::Placeholder,
            rx::FileType::Directory => Kind::Directory,
            rx::FileType::CharacterDevice => Kind::CharDevice,
            _ => Kind::Other,
        },
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
        links: s.st_nlink,
    })
}

/// As [`stat`], for the root of a mount. A FUSE mount without `allow_other` is accessible only to the user
/// who mounted it (fuse(4)); for other users this returns a directory with device, inode and owner 0.
pub fn stat_of_mount(fd: BorrowedFd<'_>) -> Result<Stat> {
    match stat(fd) {
        Err(Errno::ACCESS) => Ok(Stat {
            dev: 0,
            ino: 0,
            kind: Kind::Directory,
            uid: 0,
            gid: 0,
            rdev: 0,
            links: 1,
        }),
        known => known,
    }
}

/// The kernel's current path of an open file, with every link resolved.
pub fn path_of(fd: BorrowedFd<'_>) -> Result<PathBuf> {
    let table = super::procfs::open("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
    let text = rx::readlinkat(table, fd.as_raw_fd().to_string(), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(
        text.into_bytes(),
    )))
}

/// Reopens a pinned regular file for reading (proc(5), /proc/self/fd); `EINVAL` for other types.
pub fn reopen(pinned: BorrowedFd<'_>) -> Result<OwnedFd> {
    if stat(pinned)?.kind != Kind::File {
        return Err(super::Errno::INVAL);
    }
    let table = super::procfs::open("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    rx::openat(table, pinned.as_raw_fd().to_string(), flags, Mode::empty())
}

/// As [`reopen`], through `/proc` as it is mounted, unchecked. Runs after clone.
pub fn reopen_plain(pinned: BorrowedFd<'_>) -> Result<OwnedFd> {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    if stat(pinned)?.kind != Kind::File {
        return Err(super::Errno::INVAL);
    }
    // The ten digits of a number below 2^31 and the null byte.
    let mut path = [0u8; PREFIX.len() + 11];
    path[..PREFIX.len()].copy_from_slice(PREFIX);
    let number = pinned.as_raw_fd().unsigned_abs();
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for place in path[PREFIX.len()..PREFIX.len() + digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| super::Errno::INVAL)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    rx::openat(CWD, path, flags, Mode::empty())
}

/// Whether the file's mount forbids executing its files or mapping them as code, statvfs(3).
pub fn is_noexec(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(rx::fstatvfs(file)?
        .f_flag
        .contains(rx::StatVfsMountFlags::NOEXEC))
}

/// Closes the descriptors `first..=last` (Linux 5.9). Runs after clone.
pub fn close_between(first: u32, last: u32) -> Result<()> {
    range(first, last, 0)
}

fn range(first: u32, last: u32, flags: u32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: close_range takes three integers; the callers own every descriptor in the range or
    // never use those numbers again (they are about to exec or run with a fixed set).
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Makes `fd` also descriptor `number`, without close-on-exec. Runs after clone.
pub fn dup_to(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    // SAFETY: dup2 takes two integers; `number` is one of 0, 1, 2, which the caller replaces on
    // purpose.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

/// Makes `fd` also descriptor `number`, close-on-exec. Runs after clone.
pub fn move_to(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(());
    }
    // SAFETY: dup3 takes integers; the descriptor that had the number is no longer used.
    match unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

/// Borrows a descriptor by its number, for code in the jail that put it there. Runs after clone.
pub fn fixed(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the jail's first process never closes the numbers that it asks for here.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Closes every descriptor from 3 on but `kept` and that of /proc.
pub fn close_all_but(kept: &[i32]) -> Result<()> {
    let mut kept: Vec<i32> = kept
        .iter()
        .copied()
        .chain(super::procfs::opened())
        .collect();
    kept.sort_unstable();
    let mut from = 3;
    for number in kept.into_iter().map(i32::unsigned_abs) {
        if number > from {
            close_between(from, number - 1)?;
        }
        from = from.max(number + 1);
    }
    close_between(from, u32::MAX)
}

/// Connects descriptors 0, 1 and 2 to /dev/null, for a process that outlives its caller.
pub fn no_streams() -> Result<()> {
    let null = null()?;
    (0..3).try_for_each(|number| dup_to(null.as_fd(), number))
}

/// Connects stdin to /dev/null, for a command that is to read nothing.
pub fn no_stdin() -> Result<()> {
    dup_to(null()?.as_fd(), 0)
}

fn null() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rx::openat(CWD, c"/dev/null", flags, Mode::empty())
}

/// Copies a descriptor that the caller passed by number (`--status-fd`).
pub fn adopt(number: i32) -> Result<OwnedFd> {
    // SAFETY: the number is only borrowed for the duplication; fcntl refuses one that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(borrowed.as_fd(), 3)
}

/// Takes ownership of a descriptor by its number; it must have no other owner. `EBADF` if it is not open.
pub fn own(number: i32) -> Result<OwnedFd> {
    if !is_open(number) {
        return Err(Errno::BADF);
    }
    // SAFETY: it is open, and the caller put it there for this owner.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

/// Checks that this process may open 8 more descriptors; `EMFILE` if not (RLIMIT_NOFILE).
pub fn room_for_some() -> Result<()> {
    const SOME: i32 = 8;
    // The lowest free number, and that number plus `SOME`: two calls instead of `SOME`.
    let lowest = rustix::io::fcntl_dupfd_cloexec(fixed(0), 3)?;
    match rustix::io::fcntl_dupfd_cloexec(fixed(0), lowest.as_raw_fd() + SOME) {
        Err(Errno::INVAL) => Err(Errno::MFILE),
        higher => higher.map(drop),
    }
}

/// Whether the descriptor is open.
pub fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD on any integer is harmless.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}
