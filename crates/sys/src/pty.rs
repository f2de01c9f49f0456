//! Pseudoterminals: made inside the jail's own devpts, driven by the supervisor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::termios::{self, OptionalActions, Termios, Winsize};

use super::{Errno, Result};

/// Opens the caller's terminal, nonblocking, for questions. `None` unless this process is in its foreground,
/// because otherwise a read would stop the process.
pub fn of_caller() -> Option<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let terminal = std::fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/tty")
        .ok()?;
    // SAFETY: integers; getpgrp cannot fail, and tcgetpgrp fails for a descriptor that is no terminal. Groups
    // of another pid namespace are all 0.
    let ours = unsafe {
        let group = libc::getpgrp();
        group != 0 && libc::tcgetpgrp(terminal.as_raw_fd()) == group
    };
    ours.then_some(terminal)
}

/// A descriptor to read from a terminal; `None` if `terminal` is none. If the kernel allows it, this is
/// another open file description: nonblocking, with flags that no other process shares.
pub fn reader(terminal: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if !is_terminal(terminal) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    // After su(1) the terminal still belongs to another user. tcgetsid(3) succeeds only for the terminal of
    // this session, which is /dev/tty.
    let own = |_| match termios::tcgetsid(terminal) {
        Ok(_) => openat(CWD, c"/dev/tty", flags, Mode::empty()),
        Err(errno) => Err(errno),
    };
    // Opening a master again makes a new one (pts(4)).
    let opened = match rustix::pty::ptsname(terminal, vec![]) {
        Ok(_) => Err(Errno::INVAL),
        Err(_) => openat(CWD, path, flags, Mode::empty()).or_else(own),
    };
    opened
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(terminal, 3))
        .map(Some)
}

/// Whether this process may not read from the terminal now: another job of its session is in the foreground.
pub fn is_in_background(terminal: BorrowedFd<'_>) -> bool {
    let terminal = terminal.as_raw_fd();
    // SAFETY: integers; getsid(0) and getpgrp cannot fail. A session or group of another pid namespace is 0
    // to both, a value that rustix's types do not have.
    unsafe {
        libc::tcgetsid(terminal) == libc::getsid(0) && libc::tcgetpgrp(terminal) != libc::getpgrp()
    }
}

/// Whether a write to the terminal would stop this process, because the process is in the background and the
/// terminal stops such writers (`stty tostop`).
pub fn stops_writers(terminal: BorrowedFd<'_>) -> bool {
    is_in_background(terminal)
        && termios::tcgetattr(terminal)
            .is_ok_and(|modes| modes.local_modes.contains(termios::LocalModes::TOSTOP))
}

/// A new pair from `/dev/ptmx`: master, slave. Runs after clone, inside the jail's root.
pub fn open() -> Result<(OwnedFd, OwnedFd)> {
    let master = openat(
        CWD,
        c"/dev/ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::pty::unlockpt(&master)?;
    // TIOCGPTPEER (Linux 4.13) opens the peer itself, without a path that another process could replace.
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        rustix::pty::OpenptFlags::RDWR
            | rustix::pty::OpenptFlags::NOCTTY
            | rustix::pty::OpenptFlags::CLOEXEC,
    )?;
    Ok((master, slave))
}

/// Makes `terminal` the controlling terminal of this session. Runs after clone.
pub fn take_control(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal)
}

/// Forgets what was typed and not read, tcflush(3).
pub fn forget_input(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::termios::tcflush(terminal, rustix::termios::QueueSelector::IFlush)
}

/// Whether the descriptor is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    termios::isatty(fd)
}

/// The caller's terminal in raw mode, restored on drop.
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Saves the terminal's mode, and sets raw mode.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Raw> {
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3)?;
        let before = termios::tcgetattr(&terminal)?;
        if let Ok(mut taken) = TAKEN.lock() {
            *taken = Some((terminal.as_raw_fd(), before.clone()));
        }
        let raw = Raw { terminal, before };
        raw.resume()?;
        Ok(raw)
    }

    /// Sets raw mode again, after [`Raw::suspend`].
    pub fn resume(&self) -> Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        self.set(OptionalActions::Now, &raw)
    }

    /// Sets the modes; `EIO` in the background, where this would stop the process (SIGTTOU).
    fn set(&self, when: OptionalActions, modes: &Termios) -> Result<()> {
        match self.is_elsewhere() {
            true => Err(Errno::IO),
            false => termios::tcsetattr(&self.terminal, when, modes),
        }
    }

    /// Whether another job has the terminal now.
    pub fn is_elsewhere(&self) -> bool {
        is_in_background(self.terminal.as_fd())
    }

    /// Leaves the terminal as it is now, after [`Raw::suspend`], because another job has it.
    pub fn leave(self) {
        if let Ok(mut taken) = TAKEN.lock() {
            *taken = None;
        }
        std::mem::forget(self);
    }

    /// Restores the caller's modes while this process is stopped. Does not wait until output is written: the
    /// terminal may be stopped (Ctrl-S), or another process may be writing to it.
    pub fn suspend(&self) -> Result<()> {
        self.set(OptionalActions::Now, &self.before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        let _ = self.suspend();
        if let Ok(mut taken) = TAKEN.lock() {
            *taken = None;
        }
    }
}

/// A terminal in line mode with echo, for a person's answers. Restored on drop.
pub struct Lines {
    terminal: OwnedFd,
    before: Termios,
    /// `before` is the raw mode of a [`Raw`].
    raw: bool,
}

impl Lines {
    /// Sets line mode. Input that was typed and not read is lost.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Lines> {
        use termios::{InputModes, LocalModes, OutputModes};
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3)?;
        let before = termios::tcgetattr(&terminal)?;
        let mut lines = before.clone();
        lines.input_modes |= InputModes::ICRNL;
        lines.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        lines.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        termios::tcsetattr(&terminal, OptionalActions::Flush, &lines)?;
        Ok(Lines {
            terminal,
            before,
            raw: is_taken(),
        })
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // The jail has ended, and the caller has the terminal back already.
        if self.raw && !is_taken() {
            return;
        }
        // A terminal that is gone cannot be restored. In the background this would stop the process
        // (SIGTTOU), and the terminal is another job's.
        let own = rustix::process::getpgrp();
        if termios::tcgetpgrp(&self.terminal).is_ok_and(|foreground| foreground == own) {
            let _ = termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        }
    }
}

/// The terminal in raw mode and its modes before, for an exit that drops nothing.
static TAKEN: Mutex<Option<(i32, Termios)>> = Mutex::new(None);

fn is_taken() -> bool {
    TAKEN.lock().is_ok_and(|taken| taken.is_some())
}

/// Restores the caller's terminal if this process ends without dropping its [`Raw`].
pub fn give_back() {
    if let Ok(taken) = TAKEN.try_lock()
        && let Some((terminal, before)) = taken.as_ref()
    {
        let terminal = super::fd::fixed(*terminal);
        if !is_in_background(terminal) {
            let _ = termios::tcsetattr(terminal, OptionalActions::Now, before);
        }
    }
}

/// Sets the window size of a terminal. Runs after clone.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    termios::tcsetwinsize(terminal, size)
}

/// Rows and columns of the caller's terminal; `None` if neither descriptor is one.
pub fn size_of(terminals: [BorrowedFd<'_>; 2]) -> Option<[u16; 2]> {
    let size = terminals
        .into_iter()
        .find_map(|fd| termios::tcgetwinsize(fd).ok())?;
    Some([size.ws_row, size.ws_col])
}

/// Copies the window size of one terminal to another.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let size: Winsize = termios::tcgetwinsize(from)?;
    termios::tcsetwinsize(to, size)
}
