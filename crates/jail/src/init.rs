//! Pid 1 of a jail: starts the first command, reaps, forwards signals, reports.
//!
//! ```text
//!            ┌─ SIGCHLD, a command stopped ────▶ tell the supervisor
//! start ──▶ wait ── SIGCHLD, a command ended ──▶ report; the first one's end is the jail's
//!            ├─ TSTP / CONT ───────────────────▶ stop / continue everything
//!            └─ any other ─────────────────────▶ the process groups of the commands
//! ```
//!
//! It runs inside every layer: no capability, Landlock, the seccomp filter. It is not dumpable, so
//! the jail cannot see it, trace it, or reach creel's binary through it (CVE-2019-5736). When its
//! supervisor dies the kernel kills it, and with it the pid namespace.

use std::os::fd::BorrowedFd;

use super::enter::SOCKET;
use super::protocol::{DISKS, FIRST, GUARDED, Message};
use super::step::{Begins, Household, Program};
use creel_plan::Terminal;
use creel_sys::process::{self, Change};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, clone, fd, inherited, signal};

/// Stack between `vfork` and `execve`, bytes.
const STACK: usize = 32 << 10;
/// Commands that may run at once.
const MOST_COMMANDS: usize = 16;

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
    if let Err(errno) = commands.start(FIRST, program) {
        let message = Message::NotExecuted {
            command: FIRST,
            errno: errno.raw_os_error(),
        };
        tell(supervisor, message);
        process::exit(1)
    }
    loop {
        match signal::wait() {
            Ok(signal::CHLD) => reap(supervisor, household, &mut commands),
            Ok(signal::TSTP) => drop(signal::send(-1, signal::STOP)),
            Ok(signal::CONT) => drop(signal::send(-1, signal::CONT)),
            Ok(number) => commands.pass_on(number),
            Err(_) => {}
        }
    }
}

/// Whether the jail ends with this command. The first command's end is the jail's: the kernel kills the rest.
fn ends_the_jail(command: u32) -> bool {
    command == FIRST
}

/// The running commands: number and pid.
#[derive(Default)]
struct Commands([Option<(u32, i32)>; MOST_COMMANDS]);

impl Commands {
    fn start(&mut self, command: u32, program: &Program) -> Result<(), Errno> {
        let free = self.0.iter_mut().find(|place| place.is_none());
        let free = free.ok_or(Errno::AGAIN)?;
        let mut worker = Worker { command, program };
        let mut room = [0u128; STACK / 16];
        let pid = clone::start_command(&mut room, become_command, &mut worker)?;
        *free = Some((command, pid));
        Ok(())
    }

    fn number_of(&self, pid: i32) -> Option<u32> {
        let mut alive = self.0.iter().flatten();
        alive
            .find(|(_, of)| *of == pid)
            .map(|(command, _)| *command)
    }

    fn forget(&mut self, command: u32) {
        for place in &mut self.0 {
            if matches!(place, Some((of, _)) if *of == command) {
                *place = None;
            }
        }
    }

    fn pass_on(&self, number: i32) {
        for (_, pid) in self.0.iter().flatten() {
            if signal::send(-pid, number).is_err() {
                let _ = signal::send(*pid, number);
            }
        }
    }
}

fn reap(supervisor: BorrowedFd<'_>, household: &Household, commands: &mut Commands) {
    while let Some(pid) = process::changed() {
        let command = commands.number_of(pid);
        // Read before wait(2), which discards it.
        let cpu = command.map_or(0, |_| process::processor_time(pid));
        let Some(change) = process::take_change(pid) else {
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
                let mut disks = [[0; 2]; DISKS];
                for (use_of, path) in disks.iter_mut().zip(&household.disks) {
                    *use_of = per_mille(path);
                }
                let ended = Message::Ended {
                    command,
                    change,
                    disks,
                    cpu,
                };
                if ends_the_jail(command) {
                    household.board.put(&ended.words());
                    process::exit(0)
                }
                tell(supervisor, ended);
            }
        }
    }
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
    let message = Message::NotExecuted {
        command: worker.command,
        errno: errno.raw_os_error(),
    };
    tell(fd::fixed(SOCKET), message);
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
        (commands.0[0], commands.0[3]) = (Some((FIRST, 2)), Some((7, 40)));
        assert_eq!(commands.number_of(40), Some(7));
        assert_eq!(commands.number_of(41), None);
        commands.forget(FIRST);
        assert_eq!(
            (commands.number_of(2), commands.number_of(40)),
            (None, Some(7))
        );
        assert!(ends_the_jail(FIRST) && !ends_the_jail(7));
    }
}
