//! The stdin relay: input from the caller's terminal, for a jail without a terminal of its own.
//!
//! Such a jail does not get the caller's terminal. It runs in its own session, where the kernel's job
//! control does not apply to it: it would read input that is meant for the caller's shell, and could change
//! the terminal's modes for every program. The jail has a pipe, and creel, which belongs to the caller's
//! job, reads the terminal: only in the foreground, not while a person is asked, and a line only when the
//! jail has read the one before.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;

use creel_sys::{Errno, fd, pty, readiness, signal};

/// The longest line of a terminal (termios(3), `MAX_CANON` in Linux), and one page, which is all that the
/// pipe holds.
const LINE: usize = 4096;

/// The interval at which a background job checks whether it is in the foreground: a shell does not notify a
/// running job.
pub const LOOK: Duration = Duration::from_millis(100);

/// The caller's terminal, and the pipe to the jail's stdin.
pub struct StdinRelay {
    terminal: OwnedFd,
    pipe: OwnedFd,
}

impl StdinRelay {
    /// The jail's stdin and creel's end, if the caller's stdin is a terminal.
    pub fn split() -> creel_sys::Result<Option<(OwnedFd, StdinRelay)>> {
        let Some(terminal) = pty::reader(fd::fixed(0))? else {
            return Ok(None);
        };
        let (theirs, pipe) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // One page is one slot: such a pipe becomes writable only when all of it was read (pipe(7)). A
        // larger pipe only reads further ahead.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, LINE);
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Some((theirs, StdinRelay { terminal, pipe })))
    }

    /// Copies the input. Never returns; it is dropped at the end of the run.
    pub async fn carry(self) -> Infallible {
        // An error ends the jail's stdin, as the end of file (Ctrl-D) does.
        let _ = self.lines().await;
        std::future::pending().await
    }

    async fn lines(self) -> io::Result<()> {
        let keys = readiness::to_read(self.terminal)?;
        let pipe = readiness::to_write(self.pipe)?;
        let mut buffer = [0; LINE];
        loop {
            let mut room = pipe.writable().await?;
            if !readiness::can_write(pipe.get_ref()) {
                room.clear_ready();
                continue;
            }
            let mut typed = keys.readable().await?;
            if !readiness::can_read(keys.get_ref()) {
                typed.clear_ready();
                continue;
            }
            if pty::is_in_background(keys.get_ref().as_fd()) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            // The jail has ended or is about to: the input belongs to the caller now.
            if readiness::is_left(pipe.get_ref()) {
                return Ok(());
            }
            // If creel is in the background by now, the kernel would stop it here (SIGTTIN), and the jail's
            // clock with it.
            let held = signal::Held::of_terminals().map_err(io::Error::from)?;
            let read = rustix::io::read(&keys, &mut buffer);
            drop(held);
            let length = match read {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                // Another process read the input first.
                Err(Errno::AGAIN) => {
                    typed.clear_ready();
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::IO) if pty::is_in_background(keys.get_ref().as_fd()) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let written = pipe
                    .async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, rest)?))
                    .await?;
                rest = &rest[written..];
            }
        }
    }
}
