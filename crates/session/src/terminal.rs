//! The jail's own pseudoterminal, joined to the caller's terminal.
//!
//! The jail never gets the caller's terminal: it cannot push input into it (TIOCSTI), read input for other
//! programs, or change its modes. Keys travel as bytes, so the jail's line discipline decides what Ctrl-C
//! and Ctrl-Z mean.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;

use super::stream::{Budget, End, relay};
use creel_sys::{Errno, fd, nowait, pty, readiness};

/// The master side and the caller's terminal.
pub struct Joined {
    master: OwnedFd,
    held: Held,
}

enum Held {
    /// stdin is not a terminal.
    None,
    Raw(pty::Raw),
    /// It belongs to another job: creel does not read from it, and changing its modes would stop this
    /// process (SIGTTOU).
    Elsewhere,
}

impl Held {
    fn take() -> Held {
        let stdin = fd::fixed(0);
        match pty::is_in_background(stdin) {
            true => Held::Elsewhere,
            false => pty::Raw::enter(stdin).map_or(Held::None, Held::Raw),
        }
    }
}

impl Joined {
    /// Takes over the caller's terminal, if stdin is one and it does not belong to another job.
    pub fn new(master: OwnedFd) -> Joined {
        let held = Held::take();
        let joined = Joined { master, held };
        joined.resize();
        joined
    }

    /// Whether creel holds a terminal of the caller's, which it gives back while the jail is stopped.
    pub fn holds_terminal(&self) -> bool {
        matches!(self.held, Held::Raw(_))
    }

    /// Whether the terminal belongs to another job. It is not read until [`Joined::look`] finds otherwise.
    pub fn is_left(&self) -> bool {
        matches!(self.held, Held::Elsewhere)
    }

    /// Takes over the terminal if it belonged to another job and is creel's now.
    pub fn look(&mut self) {
        if self.is_left() && !pty::is_in_background(fd::fixed(0)) {
            self.held = Held::take();
            self.resize();
        }
    }

    /// Gives the jail's terminal the size of the caller's.
    pub fn resize(&self) {
        if pty::copy_size(fd::fixed(0), self.master.as_fd()).is_err() {
            // stdin may not be a terminal while stdout is.
            let _ = pty::copy_size(fd::fixed(1), self.master.as_fd());
        }
    }

    /// Restores the caller's terminal while this process is stopped. The process stops again if it was
    /// continued in the background, until `over`: then the terminal stays with the job that has it.
    pub fn suspended(&mut self, stop: impl Fn(), over: impl Fn() -> bool) {
        if let Held::Raw(raw) = &self.held {
            let _ = raw.suspend();
        }
        stop();
        if let Held::Raw(raw) = std::mem::replace(&mut self.held, Held::None) {
            while raw.is_elsewhere() && !over() {
                stop();
            }
            self.held = match raw.is_elsewhere() {
                true => {
                    raw.leave();
                    Held::Elsewhere
                }
                false => {
                    let _ = raw.resume();
                    Held::Raw(raw)
                }
            };
        }
        self.resize();
    }

    /// Two copies of the master, one for each direction.
    pub fn halves(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.master.try_clone()?, self.master.try_clone()?))
    }
}

/// Copies the jail's output to the caller's stdout.
pub async fn output(master: OwnedFd, budget: &Budget) -> End {
    relay(master, 1, budget).await
}

/// Copies the caller's input to the jail. Never returns; it is dropped at the end of the run.
pub async fn input(master: OwnedFd) -> std::convert::Infallible {
    let _ = keys(master).await;
    std::future::pending().await
}

async fn keys(master: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&master, true)?;
    let master = readiness::to_write(master)?;
    let stdin = match pty::reader(fd::fixed(0))? {
        Some(terminal) => terminal,
        None => rustix::io::fcntl_dupfd_cloexec(fd::fixed(0), 3)?,
    };
    // A regular file cannot be polled and need not be.
    let waits = readiness::to_read(stdin.try_clone()?).ok();
    let mut buffer = [0; 1024];
    let mut line_is_open = false;
    loop {
        let length = match &waits {
            Some(waits) => {
                let mut guard = waits.readable().await?;
                // The input may have been the answer to a question that was asked meanwhile.
                if !readiness::can_read(&stdin) {
                    guard.clear_ready();
                    continue;
                }
                let length = nowait::read(&stdin, &mut buffer);
                guard.clear_ready();
                match length {
                    // Another process read the input first.
                    Err(Errno::AGAIN) => continue,
                    length => length?,
                }
            }
            None => rustix::io::read(&stdin, &mut buffer)?,
        };
        // End of file is Ctrl-D to a terminal in its usual mode; in the middle of a line the first Ctrl-D
        // only passes on the partial line (termios(3), VEOF).
        let bytes: &[u8] = match (length, line_is_open) {
            (0, false) => b"\x04",
            (0, true) => b"\x04\x04",
            (length, _) => &buffer[..length],
        };
        line_is_open = bytes.last() != Some(&b'\n');
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = master
                .async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, rest)?))
                .await?;
            rest = &rest[written..];
        }
        if length == 0 {
            return Ok(());
        }
    }
}
