//! Open file description locks (fcntl(2), Linux 3.15): they end with the last descriptor of the file that was
//! opened, whatever ended its processes.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, Result};

/// The kind of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Others may have it too.
    Read,
    /// Nobody else may have one; needs a descriptor that was opened for writing.
    Write,
    /// None: an earlier one ends.
    None,
}

fn range(kind: Kind, start: i64, length: i64) -> libc::flock {
    let kind = match kind {
        Kind::Read => libc::F_RDLCK,
        Kind::Write => libc::F_WRLCK,
        Kind::None => libc::F_UNLCK,
    };
    // SAFETY: flock is plain data for which all zeroes is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start;
    range.l_len = length;
    range
}

/// Locks bytes of a file or directory, without a wait; `EAGAIN` or `EACCES` if somebody else has one of them.
pub fn set(file: BorrowedFd<'_>, kind: Kind, start: i64, length: i64) -> Result<()> {
    let range = range(kind, start, length);
    // SAFETY: the command reads a flock, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Whether somebody else has locked one of these bytes; false if the filesystem has no locks.
pub fn others_have(file: BorrowedFd<'_>, start: i64, length: i64) -> bool {
    let mut range = range(Kind::Write, start, length);
    // SAFETY: the command reads and writes a flock, which outlives the call.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) };
    asked == 0 && range.l_type != libc::F_UNLCK as libc::c_short
}
