//! Acts on files in a jail that stays, without a program in it: a child of pid 1 opens, makes, renames or removes a
//! name with the jail's own rights, and sends an opened file to the supervisor.
//!
//! Links are followed in the jail's view, as the jail's programs follow them: no link leads out.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::enter::SOCKET;
use super::protocol::{FileAct, Message};
use creel_sys::handed::Handed;
use creel_sys::{Errno, Result, clone, fd, inherited, process, socket};

/// A request, as the supervisor sent it.
pub struct FileAgent {
    command: u32,
    handed: Handed,
}

impl FileAgent {
    /// Takes the descriptor of a request. Runs after clone.
    pub fn of(command: u32, fds: &[Option<OwnedFd>]) -> Result<FileAgent> {
        let first = fds.first().and_then(Option::as_ref).ok_or(Errno::INVAL)?;
        let handed = Handed::receive(first.as_fd())?;
        Ok(FileAgent { command, handed })
    }

    fn act(&self) -> Result<Option<OwnedFd>> {
        let [act, flags, mode] = self.handed.limits().next().ok_or(Errno::INVAL)?;
        let mut paths = self.handed.candidates();
        let path = paths.next().ok_or(Errno::INVAL)?;
        rustix::process::chdir(self.handed.workdir())?;
        inherited::give_back()?;
        let mode = Mode::from_raw_mode(mode as u32 & 0o777);
        let done = match FileAct::of(act).ok_or(Errno::INVAL)? {
            FileAct::Open => {
                // Nothing waits: a FIFO without a writer, a terminal's carrier.
                let own = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
                let flags = OFlags::from_bits_retain(flags as u32) | own;
                return rustix::fs::openat(CWD, path, flags, mode).map(Some);
            }
            FileAct::MakeDirectory => rustix::fs::mkdirat(CWD, path, mode),
            FileAct::Rename => {
                let to = paths.next().ok_or(Errno::INVAL)?;
                rustix::fs::renameat(CWD, path, CWD, to)
            }
            FileAct::Unlink => rustix::fs::unlinkat(CWD, path, AtFlags::empty()),
            FileAct::RemoveDirectory => rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR),
        };
        done.map(|()| None)
    }
}

/// Does the act and reports. Never returns.
pub extern "C" fn become_file_agent(agent: *mut c_void) -> i32 {
    let agent: &FileAgent = clone::argument(agent);
    let (errno, file) = match agent.act() {
        Ok(file) => (0, file),
        Err(errno) => (errno.raw_os_error(), None),
    };
    let message = Message::FileDone {
        command: agent.command,
        errno,
    };
    let opened: Option<BorrowedFd<'_>> = file.as_ref().map(AsFd::as_fd);
    let sent = match opened {
        Some(file) => socket::send(fd::fixed(SOCKET), &message.encode(), &[file]),
        None => socket::send(fd::fixed(SOCKET), &message.encode(), &[]),
    };
    let _ = sent;
    process::exit(0)
}
