//! A numbered lease that no crash can leak: one byte of a lock file, held as an open file
//! description lock (fcntl(2), Linux 3.15). It ends with the last descriptor of its holder and of
//! the processes that inherited it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Errno, Result};

/// Holds byte `slot` of the lock file.
#[derive(Debug)]
pub struct Lease {
    /// The number of the slot.
    pub slot: u32,
    /// The lock file; the lock ends with its last copy.
    pub file: OwnedFd,
}

/// Takes a free slot below `slots`, searching from `first`. The file is made with mode 0600; a symbolic link
/// is not followed. `EAGAIN`: all are taken.
pub fn take(file: &Path, first: u32, slots: u32) -> Result<Lease> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(CWD, file, flags, Mode::RUSR | Mode::WUSR)?;
    for step in 0..slots {
        let slot = (first + step) % slots;
        // SAFETY: flock is plain data for which all zeroes is a value.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = libc::off_t::from(slot);
        lock.l_len = 1;
        // SAFETY: the command reads a flock, which outlives the call.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
            0 => return Ok(Lease { slot, file }),
            _ => match Errno::from_io_error(&std::io::Error::last_os_error()) {
                Some(Errno::AGAIN | Errno::ACCESS) => {}
                other => return Err(other.unwrap_or(Errno::IO)),
            },
        }
    }
    Err(Errno::AGAIN)
}
