//! Pid 1 of a jail: starts commands, reaps, forwards signals, reports.
//!
//! ```text
//!            ┌─ SIGCHLD, a command stopped ────▶ tell the supervisor
//! start ──▶ wait ── SIGCHLD, a command ended ──▶ report; the first one's end is the jail's
//!            ├─ SIGIO, if the jail stays ──────▶ requests: start a command, signal one
//!            ├─ TSTP / CONT ───────────────────▶ stop / continue everything
//!            └─ any other ─────────────────────▶ the process groups of the commands
//! ```
//!
//! A jail that stays (a session) has no first command. Its commands are in the session's own Landlock domain, as
//! all of its processes are: they see each other and can signal each other. A process that joined from outside
//! would have a domain beside it.
//!
//! It runs inside every layer: no capability, Landlock, the seccomp filter. It is not dumpable, so
//! the jail cannot see it, trace it, or reach creel's binary through it (CVE-2019-5736). When its
//! supervisor dies the kernel kills it, and with it the pid namespace.

use std::os::fd::{AsFd as _, BorrowedFd};

use super::enter::SOCKET;
use super::file_agent::{FileAgent, become_file_agent};
use super::later;
use super::protocol::{DISKS, FIRST, GUARDED, Message, REQUEST, Request, Stumble};
use super::step::{Begins, Household, Program, Stays};
use creel_plan::Terminal;
use creel_sys::net::{self, Family};
use creel_sys::process::{self, Change};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, clone, fd, inherited, signal};

/// How often orphans are looked for, a millisecond apart.
const ATTEMPTS: u32 = 500;
/// Stack between `vfork` and `execve`, bytes.
const STACK: usize = 32 << 10;
/// Commands that may run at once.
pub const MOST_COMMANDS: usize = 256;

/// Starts the first command and runs the loop of pid 1. Never returns.
pub fn run(household: &Household, program: &Program) -> ! {
    let supervisor = fd::fixed(SOCKET);
    // The parent-death signal was set after the last change of ids; had the parent died before
    // that, its end of the socket would be closed now.
    let gone = match household.begins {
        Begins::AtOnce => matches!(socket::receive(supervisor, &mut [0], Wait::No), Ok((0, _))),
        Begins::WhenGuarded => {
            let mut byte = [0];
            let received = socket::receive(supervisor, &mut byte, Wait::Yes);
            !matches!(received, Ok((1, _)) if byte == [GUARDED])
        }
    };
    if gone {
        process::exit(1)
    }
    let mut commands = Commands::default();
    let begun = match household.stays {
        Stays::WhileFirstRuns => commands.start(FIRST, program),
        Stays::UntilEnded => socket::signal_messages(supervisor),
    };
    if let Err(errno) = begun {
        not_executed(supervisor, FIRST, errno, Stumble::NoProcess);
        process::exit(1)
    }
    // A request that came before the signal was asked for.
    if household.stays == Stays::UntilEnded {
        tell(supervisor, Message::Started { command: FIRST });
        commands.serve(supervisor);
    }
    loop {
        match signal::wait() {
            Ok(signal::IO) if household.stays == Stays::UntilEnded => commands.serve(supervisor),
            Ok(signal::CHLD) => reap(supervisor, household, &mut commands),
            Ok(signal::TSTP) => drop(signal::send(-1, signal::STOP)),
            Ok(signal::CONT) => drop(signal::send(-1, signal::CONT)),
            Ok(number) => commands.pass_on(number),
            Err(_) => {}
        }
    }
}

/// Whether the jail ends with this command. The first command's end is the jail's: the kernel kills the rest.
fn ends_the_jail(stays: Stays, command: u32) -> bool {
    stays == Stays::WhileFirstRuns && command == FIRST
}

fn not_executed(supervisor: BorrowedFd<'_>, command: u32, errno: Errno, at: Stumble) {
    let errno = errno.raw_os_error();
    tell(supervisor, Message::NotExecuted { command, errno, at });
}

/// The running commands: number and pid.
struct Commands {
    all: [Option<(u32, i32)>; MOST_COMMANDS],
    /// Some have no group, by which the supervisor finds their descendants.
    alone: bool,
}

impl Default for Commands {
    fn default() -> Commands {
        Commands {
            all: [None; MOST_COMMANDS],
            alone: false,
        }
    }
}

impl Commands {
    fn start(&mut self, command: u32, program: &Program) -> Result<(), Errno> {
        self.start_with(command, become_command, &mut Worker { command, program })
    }

    /// Starts a process that becomes the command in `body`, which shares this memory.
    fn start_with<T>(
        &mut self,
        command: u32,
        body: extern "C" fn(*mut std::ffi::c_void) -> i32,
        worker: &mut T,
    ) -> Result<(), Errno> {
        let free = self.all.iter_mut().find(|place| place.is_none());
        let free = free.ok_or(Errno::AGAIN)?;
        let mut room = [0u128; STACK / 16];
        let pid = clone::start_command(&mut room, body, worker)?;
        *free = Some((command, pid));
        Ok(())
    }

    /// Serves all requests that have come.
    fn serve(&mut self, supervisor: BorrowedFd<'_>) {
        let mut bytes = [0; REQUEST];
        while let Ok((REQUEST, fds)) = socket::receive(supervisor, &mut bytes, Wait::No) {
            match Request::decode(&bytes) {
                Some(Request::Start { command, grouped }) => {
                    self.alone |= !grouped;
                    let later = later::Later::of(command, grouped, &fds);
                    let started = later.and_then(|mut later| {
                        self.start_with(command, later::become_command, &mut later)
                    });
                    match started {
                        // If the program was not executed, its process has said so before.
                        Ok(()) => tell(supervisor, Message::Started { command }),
                        Err(errno) => not_executed(supervisor, command, errno, Stumble::NoProcess),
                    }
                }
                Some(Request::File { command }) => {
                    let begun = FileAgent::of(command, &fds).and_then(|mut agent| {
                        let mut room = [0u128; STACK / 16];
                        // Not in the list: its end is no command's.
                        clone::start_command(&mut room, become_file_agent, &mut agent)
                    });
                    if let Err(errno) = begun {
                        let errno = errno.raw_os_error();
                        tell(supervisor, Message::FileDone { command, errno });
                    }
                }
                Some(Request::Socket { command, family }) => {
                    give_socket(supervisor, command, family);
                }
                Some(Request::Signal { command, number }) => self.signal(command, number),
                None => {}
            }
        }
    }

    fn signal(&self, command: u32, number: i32) {
        let mut alive = self.all.iter().flatten();
        if let Some((_, pid)) = alive.find(|(of, _)| *of == command) {
            send(*pid, number);
        }
    }

    fn number_of(&self, pid: i32) -> Option<u32> {
        let mut alive = self.all.iter().flatten();
        alive
            .find(|(_, of)| *of == pid)
            .map(|(command, _)| *command)
    }

    fn forget(&mut self, command: u32) {
        for place in &mut self.all {
            if matches!(place, Some((of, _)) if *of == command) {
                *place = None;
            }
        }
    }

    /// Ends what commands without a group have left. Each has adopted the orphans among its descendants, so every
    /// child of this process that is no command belongs to one that has ended.
    fn end_orphans(&self) {
        for attempt in 0..ATTEMPTS {
            let mut children = [0; 256];
            let count = process::children_of_first(&mut children).unwrap_or(0);
            let mut left = false;
            for pid in children.iter().take(count) {
                if self.number_of(*pid).is_none() {
                    left = true;
                    let _ = signal::send(*pid, signal::KILL);
                    let _ = process::take_change(*pid);
                }
            }
            if !left {
                return;
            }
            creel_sys::janitor::pause(attempt);
        }
    }

    fn pass_on(&self, number: i32) {
        for (_, pid) in self.all.iter().flatten() {
            send(*pid, number);
        }
    }
}

/// Sends a signal to the process group of a command, which the command may have left.
fn send(pid: i32, number: i32) {
    if signal::send(-pid, number).is_err() {
        let _ = signal::send(pid, number);
    }
}

fn reap(supervisor: BorrowedFd<'_>, household: &Household, commands: &mut Commands) {
    while let Some(pid) = process::changed() {
        let command = commands.number_of(pid);
        // Read before wait(2), which discards it.
        let cpu = command.map_or(0, |_| process::processor_time(pid));
        let Some((change, usage)) = process::take_change(pid) else {
            continue;
        };
        if let Change::Stopped(number) = change
            && process::let_go(pid, number)
        {
            continue;
        }
        let Some(command) = command else { continue };
        match change {
            Change::Stopped(_) => tell(supervisor, Message::Stopped { command }),
            Change::Continued => {}
            Change::Exited(_) | Change::Signaled(_) => {
                commands.forget(command);
                if commands.alone {
                    commands.end_orphans();
                }
                let mut disks = [[0; 2]; DISKS];
                for (use_of, path) in disks.iter_mut().zip(&household.disks) {
                    *use_of = per_mille(path);
                }
                let ended = Message::Ended {
                    command,
                    change,
                    disks,
                    cpu,
                    usage,
                };
                if ends_the_jail(household.stays, command) {
                    household.board.put(&ended.words());
                    process::exit(0)
                }
                tell(supervisor, ended);
            }
        }
    }
}

/// Makes a socket for the relay, in this network. The supervisor binds it, where it may.
fn give_socket(supervisor: BorrowedFd<'_>, command: u32, family: u32) {
    let families = [Family::V4, Family::V6];
    let family = families.into_iter().find(|f| f.number() == family);
    let made = family.map_or(Err(Errno::INVAL), net::unconnected);
    let (errno, socket) = match made {
        Ok(Some(socket)) => (0, Some(socket)),
        Ok(None) => (Errno::AFNOSUPPORT.raw_os_error(), None),
        Err(errno) => (errno.raw_os_error(), None),
    };
    let message = Message::FileDone { command, errno }.encode();
    let _ = match &socket {
        Some(socket) => socket::send(supervisor, &message, &[socket.as_fd()]),
        None => socket::send(supervisor, &message, &[]),
    };
}

/// How full a filesystem is, per mille: bytes, inodes.
fn per_mille(path: &std::ffi::CStr) -> [u32; 2] {
    let share = |used: u64, all: u64| {
        if all == 0 {
            0
        } else {
            (u128::from(used) * 1000 / u128::from(all)) as u32
        }
    };
    match process::filesystem_use(path) {
        Ok([bytes, all_bytes, inodes, all_inodes]) => {
            [share(bytes, all_bytes), share(inodes, all_inodes)]
        }
        Err(_) => [0; 2],
    }
}

fn tell(supervisor: BorrowedFd<'_>, message: Message) {
    // If the supervisor is gone, the kernel kills this process too.
    let _ = socket::send(supervisor, &message.encode(), &[]);
}

struct Worker<'a> {
    command: u32,
    program: &'a Program,
}

/// The command's process, between vfork and exec.
extern "C" fn become_command(worker: *mut std::ffi::c_void) -> i32 {
    let worker: &Worker<'_> = clone::argument(worker);
    let terminal = match worker.program.terminal {
        Terminal::Pty => Some(fd::fixed(0)),
        Terminal::Pipes => None,
    };
    let errno = match process::own_group(terminal).and_then(|()| inherited::give_back()) {
        Ok(()) => execute(worker.program),
        Err(errno) => errno,
    };
    not_executed(fd::fixed(SOCKET), worker.command, errno, Stumble::Program);
    process::exit(127)
}

/// Tries every candidate, as execvp(3) does: absent ones are skipped, a forbidden one is remembered, any
/// other error ends the search.
fn execute(program: &Program) -> Errno {
    let mut answer = Errno::NOENT;
    for path in &program.candidates {
        match process::exec(path, &program.argv, &program.environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => answer = Errno::ACCESS,
            errno => return errno,
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_its_pid_until_it_has_ended() {
        let mut commands = Commands::default();
        (commands.all[0], commands.all[3]) = (Some((FIRST, 2)), Some((7, 40)));
        assert_eq!(commands.number_of(40), Some(7));
        assert_eq!(commands.number_of(41), None);
        commands.forget(FIRST);
        assert_eq!(
            (commands.number_of(2), commands.number_of(40)),
            (None, Some(7))
        );
        assert!(ends_the_jail(Stays::WhileFirstRuns, FIRST));
        assert!(!ends_the_jail(Stays::WhileFirstRuns, 7));
        assert!(!ends_the_jail(Stays::UntilEnded, FIRST));
    }
}
