//! The jail's own pseudoterminal, joined to the caller's terminal.
//!
//! The jail never holds the caller's terminal: it cannot push input into it (TIOCSTI), read what is
//! typed to others, or change its modes. Keys travel as bytes, so Ctrl-C and Ctrl-Z mean what the
//! jail's line discipline makes of them.

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
    /// stdin is no terminal.
    None,
    Raw(pty::Raw),
    /// It is another job's: nothing is read from it, and its modes are not creel's to change, which would
    /// stop this process (SIGTTOU).
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
    /// Takes over the caller's terminal, if stdin is one and it is not another job's.
    pub fn new(master: OwnedFd) -> Joined {
        let held = Held::take();
        let joined = Joined { master, held };
        joined.resize();
        joined
    }

    /// Whether the caller has a terminal that is given back while the jail is stopped.
    pub fn holds_terminal(&self) -> bool {
        matches!(self.held, Held::Raw(_))
    }

    /// Whether the terminal is another job's: nothing is read from it until [`Joined::look`] finds otherwise.
    pub fn is_left(&self) -> bool {
        matches!(self.held, Held::Elsewhere)
    }

    /// Takes over a terminal that was another job's, if it is this one's now.
    pub fn look(&mut self) {
        if self.is_left() && !pty::is_in_background(fd::fixed(0)) {
            self.held = Held::take();
            self.resize();
        }
    }

    /// Gives the jail's terminal the size of the caller's.
    pub fn resize(&self) {
        if pty::copy_size(fd::fixed(0), self.master.as_fd()).is_err() {
            // stdin may be no terminal while stdout is.
            let _ = pty::copy_size(fd::fixed(1), self.master.as_fd());
        }
    }

    /// The caller's terminal as it was, for as long as this process is stopped. It stops once more where it
    /// was woken in the background, until `over`: then the terminal is left to who has it.
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

    /// Copies of the master for the two directions.
    pub fn halves(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.master.try_clone()?, self.master.try_clone()?))
    }
}

/// What the jail writes, to the caller's stdout.
pub async fn output(master: OwnedFd, budget: &Budget) -> End {
    relay(master, 1, budget).await
}

/// What the caller types, to the jail. Never returns: the run's end ends it.
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
    // A regular file cannot be waited for, and need not be.
    let waits = readiness::to_read(stdin.try_clone()?).ok();
    let mut buffer = [0; 1024];
    let mut line_is_open = false;
    loop {
        let length = match &waits {
            Some(waits) => {
                let mut guard = waits.readable().await?;
                // Somebody who was asked a question may have typed what this heard of.
                if !readiness::can_read(&stdin) {
                    guard.clear_ready();
                    continue;
                }
                let length = nowait::read(&stdin, &mut buffer);
                guard.clear_ready();
                match length {
                    // Somebody else was quicker.
                    Err(Errno::AGAIN) => continue,
                    length => length?,
                }
            }
            None => rustix::io::read(&stdin, &mut buffer)?,
        };
        // The end of a file is Ctrl-D to a terminal in its usual mode; in the middle of a line the
        // first one only hands over what there is of it (termios(3), VEOF).
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
