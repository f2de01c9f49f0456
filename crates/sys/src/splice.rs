//! Moves bytes between connections: splice(2) through a pipe for many, recv(2) and send(2) for few.
//!
//! Sockets must be nonblocking; on `EAGAIN` the caller waits. SIGPIPE must be ignored (splice has no
//! `MSG_NOSIGNAL`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net as rx;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe that buffers bytes between two connections.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    raised: bool,
}

/// The size of a raised pipe. splice(2) puts at most one page into each slot of a pipe, and a new pipe has
/// 16: a call would move 64 KiB, and wake the other side for each.
const RAISED: usize = 1 << 20;
/// The most raised pipes: a user's pipes may hold 64 MiB in all (`pipe-user-pages-soft`, pipe(7)), which the
/// user's other programs need too.
const RAISED_PIPES: usize = 16;

/// Raised pipes of this process, whose connections one thread serves.
static RAISED_NOW: AtomicUsize = AtomicUsize::new(0);

impl Pipe {
    /// An empty pipe that does not block, with the kernel's default capacity.
    pub fn new() -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Pipe {
            read,
            write,
            raised: false,
        })
    }

    /// Moves up to `most` bytes from a socket into the pipe, which must be empty, so that `EAGAIN` means an
    /// empty socket. 0 is the end of the stream.
    pub fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        Ok(splice(from, None, &self.write, None, most, FLAGS)?)
    }

    /// Moves up to `most` bytes from the pipe, which must have as many, to a socket.
    pub fn drain(&mut self, to: impl AsFd, most: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, to, None, most, FLAGS)?)
    }

    /// Enlarges the pipe, once. It keeps its size if too many pipes are raised, or the kernel refuses.
    pub fn raise(&mut self) {
        if !self.raised && RAISED_NOW.load(Ordering::Relaxed) < RAISED_PIPES {
            RAISED_NOW.fetch_add(1, Ordering::Relaxed);
            self.raised = true;
            let _ = fcntl_setpipe_size(&self.write, RAISED);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.raised {
            RAISED_NOW.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// recv(2): 0 is the end.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (bytes, _) = rx::recv(socket, buffer, rx::RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

/// send(2).
pub fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = rx::SendFlags::DONTWAIT | rx::SendFlags::NOSIGNAL;
    Ok(rx::send(socket, bytes, flags)?)
}

/// shutdown(2) with `SHUT_WR`: the other side reads the end.
pub fn shutdown_write(socket: impl AsFd) -> io::Result<()> {
    Ok(rx::shutdown(socket, rx::Shutdown::Write)?)
}
