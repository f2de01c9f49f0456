//! The process at the other end of a connected unix socket, unix(7): its user, and whether it is in a jail.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;

use super::{Errno, Result, procfs, signal};

/// asm-generic/socket.h, Linux 6.5
const SO_PEERPIDFD: libc::c_int = 77;

/// Whose process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// This process's user, in this process's user namespace.
    Own,
    /// Root of this process's user namespace.
    Root,
    /// A process of another user, with its uid here.
    Other(u32),
    /// A process in another user namespace: of a jail, whose ids may be those of the user.
    Elsewhere,
}

/// The process that connected, or that listens. `EMFILE` and `ENFILE`: no descriptor is left to look at it.
pub fn of(socket: BorrowedFd<'_>) -> Result<Peer> {
    // Not rustix's: to it a pid of 0, of a process that this pid namespace does not show, is no value.
    let peer: libc::ucred = option(socket, libc::SO_PEERCRED)?;
    // Pins the process, so that another cannot have its pid meanwhile; absent before Linux 6.5.
    let pinned = match pinned(socket) {
        Ok(pinned) => pinned,
        Err(errno) if is_short(errno) => return Err(errno),
        // It has ended, and another may have its pid.
        Err(_) => return Ok(Peer::Elsewhere),
    };
    let of = |process: &str| {
        let directory = procfs::open(process, OFlags::PATH | OFlags::DIRECTORY)?;
        let stat = rustix::fs::statat(directory, "user", rustix::fs::AtFlags::empty())?;
        Ok::<_, Errno>((stat.st_dev, stat.st_ino))
    };
    let theirs = of(&format!("{}/ns", peer.pid));
    let is_same = match (theirs, of("self/ns")) {
        (Err(errno), _) | (_, Err(errno)) if is_short(errno) => return Err(errno),
        (theirs, own) => theirs.is_ok() && theirs == own,
    };
    let is_alive = pinned.is_none_or(|pidfd| signal::send_pidfd(pidfd.as_fd(), 0).is_ok());
    Ok(match peer.uid {
        _ if !is_same || !is_alive => Peer::Elsewhere,
        uid if uid == rustix::process::geteuid().as_raw() => Peer::Own,
        0 => Peer::Root,
        uid => Peer::Other(uid),
    })
}

/// The pid and the uid of the process that connected, as they were then.
pub fn credentials(socket: BorrowedFd<'_>) -> Result<(i32, u32)> {
    let peer: libc::ucred = option(socket, libc::SO_PEERCRED)?;
    Ok((peer.pid, peer.uid))
}

/// Kills the process at the other end, if it is this user's own. `ESRCH`: it has ended; `EPERM`: it is another's.
/// Before Linux 6.5, which cannot pin it, `ENOPROTOOPT`.
pub fn kill(socket: BorrowedFd<'_>) -> Result<()> {
    let pinned = pinned(socket)?.ok_or(Errno::NOPROTOOPT)?;
    match of(socket)? {
        Peer::Own => signal::send_pidfd(pinned.as_fd(), signal::KILL),
        _ => Err(Errno::PERM),
    }
}

/// The process, as a descriptor; `None` before Linux 6.5.
fn pinned(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    match option::<libc::c_int>(socket, SO_PEERPIDFD) {
        // SAFETY: a successful call has stored a new descriptor, which nothing else owns.
        Ok(pidfd) if pidfd >= 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) })),
        Ok(_) => Err(Errno::SRCH),
        Err(Errno::NOPROTOOPT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether descriptors have run out.
fn is_short(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

/// A plain value, of integers alone.
trait Plain: Copy {}
impl Plain for libc::ucred {}
impl Plain for libc::c_int {}

fn option<T: Plain>(socket: BorrowedFd<'_>, name: libc::c_int) -> Result<T> {
    // SAFETY: all zeroes is a value of integers.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: writes at most `length` bytes into the value, which outlives the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    match done {
        0 => Ok(value),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
