//! Performs the steps of a process that enters a jail: every layer, then what the command needs.
//!
//! Pid 1 performs them after it has built the jail; a process that joins one from outside can perform the
//! same steps. Runs after clone, as [`walk`](super::walk) does: system calls only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::protocol::{FIRST, Message};
use super::step::Enter;
use super::streams::Stdio;
use super::{netns, rights};
use creel_plan::{Node, Rights, Terminal};
use creel_sys::{Errno, Result, caps, fd, process, pty, rlimit, seccomp, socket};

/// The number of the supervisor's socket in the finished jail; all higher descriptors are closed.
pub const SOCKET: i32 = 3;

/// A process that enters a jail.
pub struct Entering<'a> {
    /// The socket to the supervisor, until it becomes [`SOCKET`].
    pub socket: &'a OwnedFd,
    pub stdio: &'a Stdio,
    pub terminal: Terminal,
    /// Replaces the caller's stdin.
    pub stdin: Option<OwnedFd>,
    /// The relay reports here that it serves its sockets.
    pub relay: Option<&'a OwnedFd>,
    /// The jail's own terminal: master, slave.
    pub pair: Option<(OwnedFd, OwnedFd)>,
    /// The socket has become [`SOCKET`], and its old number is closed.
    pub settled: bool,
}

impl Entering<'_> {
    /// The socket at its current number.
    pub fn speaker(&self) -> BorrowedFd<'_> {
        match self.settled {
            true => fd::fixed(SOCKET),
            false => self.socket.as_fd(),
        }
    }

    pub fn perform(&mut self, work: &mut Enter) -> Result<()> {
        match work {
            Enter::Keyring => process::join_new_keyring(),
            Enter::Limit { limit, soft, hard } => rlimit::set(*limit as u32, *soft, *hard),
            Enter::Become { uid, gid } => {
                caps::keep_over_setuid()?;
                process::become_ids(*uid, *gid, process::Groups::Clear)?;
                process::die_with_parent()
            }
            Enter::Capabilities => caps::drop_all(),
            Enter::NoNewPrivileges => process::no_new_privs(),
            Enter::NotDumpable => process::not_dumpable(),
            Enter::Landlock { rules, anchors } => {
                let mut rules = rules.take().ok_or(Errno::BADF)?;
                for (path, rights, node) in anchors {
                    let access = rights::access(*rights, *node, rules.abi());
                    rules.allow(fd::pin_c(path)?.as_fd(), access)?;
                }
                if let Some(stdin) = &self.stdin {
                    // The program can read from /dev/stdin everything that it can read from the descriptor.
                    let access = rights::access(Rights::Read, Node::File, rules.abi());
                    rules.allow(stdin.as_fd(), access)?;
                }
                rules.restrict_self()
            }
            Enter::Terminal => {
                let (master, slave) = pty::open()?;
                // Descriptors 0 and 1 are still the caller's here. The command must not start on a terminal
                // of size zero, nor get a SIGWINCH without a change.
                if pty::copy_size(fd::fixed(0), slave.as_fd()).is_err() {
                    let _ = pty::copy_size(fd::fixed(1), slave.as_fd());
                }
                self.pair = Some((master, slave));
                Ok(())
            }
            Enter::Served => netns::wait_for(self.relay.take().ok_or(Errno::BADF)?),
            Enter::Streams => self.streams(),
            Enter::Descriptors => {
                self.streams()?;
                fd::close_between(SOCKET as u32 + 1, u32::MAX)
            }
            Enter::Workdir { path } => {
                let directory = fd::open_dir_plain(path)?;
                rustix::process::fchdir(directory)
            }
            Enter::NoMemfd => seccomp::refuse_memfd(),
            Enter::Seccomp => seccomp::install(),
            Enter::SeccompDebug => seccomp::install_for_debuggers(),
        }
    }

    /// Sets descriptors 0, 1 and 2 as planned and moves the supervisor's socket to 3.
    fn streams(&mut self) -> Result<()> {
        process::own_session()?;
        if let Some((master, slave)) = &self.pair {
            pty::take_control(slave.as_fd())?;
            // Not earlier: on a terminal without a foreground process group, Ctrl-C interrupts nothing.
            let said = Message::Terminal { command: FIRST }.encode();
            socket::send(self.speaker(), &said, &[master.as_fd()])?;
        }
        for (number, fd) in self.stdio.0.iter().enumerate() {
            let source = match self.terminal {
                Terminal::Pty => self.pair.as_ref().map(|(_, slave)| slave),
                Terminal::Pipes if number == 0 => self.stdin.as_ref().or(fd.as_ref()),
                Terminal::Pipes => fd.as_ref(),
            };
            if let Some(source) = source {
                fd::dup_to(source.as_fd(), number as i32)?;
            }
        }
        fd::move_to(self.socket.as_fd(), SOCKET)?;
        self.settled = true;
        Ok(())
    }
}
