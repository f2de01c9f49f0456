//! Waiting for descriptors, through tokio's reactor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor to be read when it is ready.
pub fn to_read(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE)
}

/// Registers a descriptor to be written when it is ready; a regular file is refused with `EPERM` (epoll(7)).
pub fn to_write(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::WRITABLE)
}

/// Checks again that reading would not block: the descriptor is in blocking mode, and its reported readiness
/// may be stale.
pub fn can_read(fd: &OwnedFd) -> bool {
    is(fd, PollFlags::IN)
}

/// The same for writing.
pub fn can_write(fd: &OwnedFd) -> bool {
    is(fd, PollFlags::OUT)
}

/// Whether this end's pipe has no reader any more (poll(2), `POLLERR`).
pub fn is_left(fd: &OwnedFd) -> bool {
    is(fd, PollFlags::empty())
}

fn is(fd: &OwnedFd, wanted: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), wanted)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&at_once)), Ok(1))
}

fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always the same descriptor, and closed only when the AsyncFd that
    // owns it deregisters it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|e| e.into_parts().1)
}
