//! Waiting for descriptors, through tokio's reactor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor to be read when it is ready.
pub fn to_read(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE)
}

/// Registers a descriptor to be read and written when it is ready.
pub fn to_use(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE | Interest::WRITABLE)
}

/// Registers a descriptor to be written when it is ready; a regular file is refused with `EPERM` (epoll(7)).
pub fn to_write(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::WRITABLE)
}

/// Checks again that reading would not block: the descriptor is in blocking mode, and its reported readiness
/// may be stale.
pub fn can_read(fd: &OwnedFd) -> bool {
    is(fd, PollFlags::IN, Duration::ZERO)
}

/// Waits until the descriptor is readable, at most for `time`.
pub fn can_read_within(fd: &OwnedFd, time: Duration) -> bool {
    is(fd, PollFlags::IN, time)
}

/// The same for writing.
pub fn can_write(fd: &OwnedFd) -> bool {
    is(fd, PollFlags::OUT, Duration::ZERO)
}

/// As [`can_write`], waiting for at most `time`.
pub fn can_write_within(fd: BorrowedFd<'_>, time: Duration) -> bool {
    is(fd, PollFlags::OUT, time)
}

/// Whether this end's pipe has no reader any more (poll(2), `POLLERR`).
pub fn is_left(fd: &OwnedFd) -> bool {
    is(fd, PollFlags::empty(), Duration::ZERO)
}

fn is(fd: impl AsFd, wanted: PollFlags, time: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), wanted)];
    let time = Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    matches!(poll(&mut fds, Some(&time)), Ok(1))
}

fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always the same descriptor, and closed only when the AsyncFd that
    // owns it deregisters it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|e| e.into_parts().1)
}
