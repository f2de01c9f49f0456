//! Whether another descriptor has a file open, as the kernel tells by granting a lease on it or not
//! (fcntl(2), `F_SETLEASE`): this includes a file that is mapped, or waits in a socket.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, Result};

/// The kind of open to check for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Open for writing.
    Writing,
    /// Open for reading or writing.
    ForAnything,
}

/// Makes every open of the file for writing wait, until `file` is closed or the kernel breaks the lease
/// (`/proc/sys/fs/lease-break-time`). `EAGAIN` if it is open for writing already.
pub fn hold_writers(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

/// Whether another descriptor has the file open like that; `file` itself is open for reading. The lease is
/// released at once: an open meanwhile waits no longer than this call.
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
