//! Directory changes, by dnotify (fcntl(2), `F_NOTIFY`): a signal that tells no name. inotify(7) would tell
//! the name, but closing it waits for a grace period of some 20 ms, and an ordinary user has 128 instances.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result};

// asm-generic/fcntl.h and linux/fcntl.h
const F_NOTIFY: libc::c_int = 1026;
const DN_CREATE: libc::c_long = 0x4;
const DN_DELETE: libc::c_long = 0x8;
const DN_RENAME: libc::c_long = 0x10;
const DN_MULTISHOT: libc::c_long = 0x8000_0000;

/// Sends this process SIGIO whenever a name in `directory` is made, renamed or removed, as long as the
/// descriptor is open. `EINVAL`: the kernel has no dnotify, or it is switched off.
pub fn watch(directory: BorrowedFd<'_>) -> Result<()> {
    let changes = DN_CREATE | DN_DELETE | DN_RENAME | DN_MULTISHOT;
    // SAFETY: integers.
    match unsafe { libc::fcntl(directory.as_raw_fd(), F_NOTIFY, changes) } {
        -1 => Err(last()),
        _ => Ok(()),
    }
}

/// A descriptor that is readable while SIGIO, which must be blocked, is pending (signalfd(2)).
pub fn signals() -> Result<OwnedFd> {
    // SAFETY: the set is initialised before it is read, and the descriptor is new.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGIO);
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(last()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Consumes the pending signals.
pub fn take(signals: &OwnedFd) {
    let mut room = [0u8; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut room).is_ok_and(|length| length > 0) {}
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
