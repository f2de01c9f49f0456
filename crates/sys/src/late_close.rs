//! Closing descriptors without waiting for the kernel's work at the last close.
//!
//! The last close of a removed directory frees it, on some filesystems with a write to the disk, and the process that
//! closes waits. A socket that is in flight to itself cannot be received any more: the kernel finds it when another
//! socket is closed, and closes what was sent over it (unix(7), net/unix/garbage.c). From Linux 6.9 on a thread of the
//! kernel does so. An earlier kernel does it in the process that closes.

use std::os::fd::{AsFd, OwnedFd};

use super::Result;
use super::socket::{self, MAX_FDS};

/// Closes these descriptors, if possible in a thread of the kernel, which takes some milliseconds.
pub fn close(files: Vec<OwnedFd>) {
    // Those that could not be sent are closed here.
    let _ = send(&files);
}

fn send(files: &[OwnedFd]) -> Result<()> {
    // The receiver has the lower number: the exit of a process that is killed here closes it first, too.
    let (receiver, sender) = socket::pair()?;
    for some in files.chunks(MAX_FDS - 1) {
        let mut all: Vec<_> = some.iter().map(AsFd::as_fd).collect();
        all.push(receiver.as_fd());
        socket::send_now(sender.as_fd(), &[0], &all)?;
    }
    drop(receiver);
    // This close starts the search.
    drop(sender);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::janitor;
    use rustix::event::PollFlags;

    /// The end of file of a pipe comes when its last writer is closed.
    #[test]
    fn the_kernel_closes_what_is_in_flight() {
        let pipes: Vec<_> = (0..20)
            .map(|_| janitor::until_closed().expect("a pipe"))
            .collect();
        let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let is_closed = |reader: &OwnedFd, milliseconds| {
            janitor::wait_any([Some((reader.as_fd(), PollFlags::IN))], milliseconds) == Ok([true])
        };
        assert!(!readers.iter().any(|reader| is_closed(reader, 0)));
        close(writers);
        assert!(readers.iter().all(|reader| is_closed(reader, 10_000)));
    }
}
