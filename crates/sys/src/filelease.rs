//! Whether somebody has a file open, which the kernel tells him who wants a lease on it (fcntl(2),
//! `F_SETLEASE`): also for what is mapped, or waits in a socket.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, Result};

/// The kind of opening by others that a lease excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    Writing,
    ForAnything,
}

/// Has whoever wants to write to the file wait, until `file` is closed or the kernel's patience is over
/// (`/proc/sys/fs/lease-break-time`). `AGAIN` where somebody has it open for writing.
pub fn hold_writers(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

/// Whether somebody else has the file open so; `file` itself is open for reading. The lease is given back at
/// once: whoever opens the file meanwhile waits for no longer than this takes.
pub fn is_open_elsewhere(file: BorrowedFd<'_>, how: Open) -> Result<bool> {
    let kind = match how {
        Open::Writing => libc::F_RDLCK,
        Open::ForAnything => libc::F_WRLCK,
    };
    // SAFETY: integers.
    let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    match taken {
        -1 => match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::AGAIN) => Ok(true),
            other => Err(other.unwrap_or(Errno::IO)),
        },
        _ => {
            // SAFETY: integers.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
            Ok(false)
        }
    }
}
