//! The process of a later command in a jail that stays, from vfork to exec. Every layer of the jail is inherited
//! from pid 1 and in force from its first instruction; it is not dumpable until the exec, as pid 1 is.
//!
//! Runs under the jail's seccomp filter: the working directory is entered by chdir(2), since the filter refuses
//! openat2(2). The supervisor has checked that no stream is a directory, and no other descriptor of the host is
//! open, so no link in /proc/self/fd leads out (CVE-2024-21626).

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};

use super::enter::SOCKET;
use super::protocol::{Message, Stumble};
use creel_sys::handed::Handed;
use creel_sys::{Errno, Result, clone, fd, inherited, process, pty, rlimit, socket};

/// A later command, as the supervisor sent it.
pub struct Later<'a> {
    command: u32,
    /// Its descendants are found by a group.
    grouped: bool,
    handed: Handed,
    streams: &'a [Option<OwnedFd>],
    /// Opened `tasks` files of the groups that the command joins.
    groups: &'a [Option<OwnedFd>],
}

impl<'a> Later<'a> {
    /// Takes the descriptors of a request. Runs after clone.
    pub fn of(command: u32, grouped: bool, fds: &'a [Option<OwnedFd>]) -> Result<Later<'a>> {
        let (first, rest) = fds.split_first().ok_or(Errno::INVAL)?;
        let (streams, groups) = rest.split_at_checked(3).ok_or(Errno::INVAL)?;
        Ok(Later {
            command,
            grouped,
            handed: Handed::receive(first.as_ref().ok_or(Errno::INVAL)?.as_fd())?,
            streams,
            groups,
        })
    }

    fn execute(&self) -> (Errno, Stumble) {
        if let Err(errno) = self.prepare() {
            return (errno, Stumble::Before);
        }
        if let Err(errno) = rustix::process::chdir(self.handed.workdir()) {
            return (errno, Stumble::Workdir);
        }
        (self.try_each(), Stumble::Program)
    }

    fn try_each(&self) -> Errno {
        let mut answer = Errno::NOENT;
        for path in self.handed.candidates() {
            match self.handed.exec(path) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => answer = Errno::ACCESS,
                errno => return errno,
            }
        }
        answer
    }

    fn prepare(&self) -> Result<()> {
        for tasks in self.groups.iter().flatten() {
            rustix::io::write(tasks, b"0")?;
        }
        process::own_session()?;
        self.connect()?;
        for [limit, soft, hard] in self.handed.limits() {
            rlimit::set(limit as u32, soft, hard)?;
        }
        if !self.grouped {
            process::adopt_orphans();
        }
        inherited::give_back()
    }

    /// Sets descriptors 0, 1 and 2. Every other one is closed by the exec.
    fn connect(&self) -> Result<()> {
        let Some([rows, columns]) = self.handed.terminal() else {
            for (number, stream) in self.streams.iter().enumerate() {
                fd::dup_to(stream.as_ref().ok_or(Errno::BADF)?.as_fd(), number as i32)?;
            }
            return Ok(());
        };
        let (master, slave) = pty::open()?;
        pty::set_size(master.as_fd(), rows, columns)?;
        pty::take_control(slave.as_fd())?;
        for number in 0..3 {
            fd::dup_to(slave.as_fd(), number)?;
        }
        // Not earlier: on a terminal without a foreground process group, Ctrl-C interrupts nothing.
        let said = Message::Terminal {
            command: self.command,
        };
        socket::send(fd::fixed(SOCKET), &said.encode(), &[master.as_fd()])
    }
}

/// Becomes the command. Never returns.
pub extern "C" fn become_command(later: *mut c_void) -> i32 {
    let later: &Later<'_> = clone::argument(later);
    let (errno, at) = later.execute();
    let message = Message::NotExecuted {
        command: later.command,
        errno: errno.raw_os_error(),
        at,
    };
    let _ = socket::send(fd::fixed(SOCKET), &message.encode(), &[]);
    process::exit(127)
}
