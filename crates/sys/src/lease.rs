//! A numbered lease that no crash can leak: one byte of a lock file, held as an open file
//! description lock (fcntl(2), Linux 3.15). It ends with the last descriptor of its holder and of
//! the processes that inherited it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::ofd_lock::{self, Kind};
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
        match ofd_lock::set(file.as_fd(), Kind::Write, i64::from(slot), 1) {
            Ok(()) => return Ok(Lease { slot, file }),
            Err(Errno::AGAIN | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::AGAIN)
}
