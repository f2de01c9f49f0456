//! Pid 1 of a jail: starts the command, reaps, forwards signals, reports, ends.
//!
//! ```text
//!            ┌─ SIGCHLD, the command stopped ──▶ tell the supervisor
//! start ──▶ wait ── SIGCHLD, the command ended ─▶ report, exit: the kernel kills the rest
//!            ├─ TSTP / CONT ───────────────────▶ stop / continue everything
//!            └─ any other ─────────────────────▶ the command's process group
//! ```
//!
//! It runs inside every layer: no capability, Landlock, the seccomp filter. It is not dumpable, so
//! the jail cannot see it, trace it, or reach creel's binary through it (CVE-2019-5736). When its
//! supervisor dies the kernel kills it, and with it the pid namespace.

use std::os::fd::BorrowedFd;

use super::step::{Begins, Program};
use super::walk::SOCKET;
use super::wire::{DISKS, Message};
use creel_plan::Terminal;
use creel_sys::process::{self, Change};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, clone, fd, inherited, signal};

/// Room for the frames between `vfork` and `execve`.
const STACK: usize = 32 << 10;

/// Starts the command and serves it. Never returns.
pub fn run(program: &Program, terminal: Terminal) -> ! {
    let supervisor = fd::fixed(SOCKET);
    // The parent-death signal was set after the last change of ids; had the parent died before
    // that, its end of the socket would be closed now.
    let gone = match program.begins {
        Begins::AtOnce => matches!(socket::receive(supervisor, &mut [0], Wait::No), Ok((0, _))),
        Begins::WhenGuarded => {
            !matches!(socket::receive(supervisor, &mut [0], Wait::Yes), Ok((1, _)))
        }
    };
    if gone {
        process::exit(1)
    }
    let mut worker = Worker { program, terminal };
    let mut room = [0u128; STACK / 16];
    let command = match clone::start_command(&mut room, become_command, &mut worker) {
        Ok(pid) => pid,
        Err(errno) => {
            tell(
                supervisor,
                Message::NotExecuted {
                    errno: errno.raw_os_error(),
                },
            );
            process::exit(1)
        }
    };
    loop {
        match signal::wait() {
            Ok(signal::CHLD) => reap(supervisor, program, command),
            Ok(signal::TSTP) => drop(signal::send(-1, signal::STOP)),
            Ok(signal::CONT) => drop(signal::send(-1, signal::CONT)),
            Ok(number) => {
                if signal::send(-command, number).is_err() {
                    let _ = signal::send(command, number);
                }
            }
            Err(_) => {}
        }
    }
}

fn reap(supervisor: BorrowedFd<'_>, program: &Program, command: i32) {
    while let Some(pid) = process::changed() {
        // Before it is waited for: afterwards nobody knows.
        let cpu = match pid == command {
            true => process::processor_time(pid),
            false => 0,
        };
        let Some(change) = process::take_change(pid) else {
            continue;
        };
        if let Change::Stopped(number) = change
            && process::let_go(pid, number)
        {
            continue;
        }
        if pid != command {
            continue;
        }
        match change {
            Change::Stopped(_) => tell(supervisor, Message::Stopped),
            Change::Continued => {}
            Change::Exited(_) | Change::Signaled(_) => {
                let mut disks = [[0; 2]; DISKS];
                for (use_of, path) in disks.iter_mut().zip(&program.disks) {
                    *use_of = per_mille(path);
                }
                program
                    .board
                    .put(&Message::Ended { change, disks, cpu }.words());
                process::exit(0)
            }
        }
    }
}

/// How full a filesystem is: bytes, inodes.
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
    // A supervisor that is gone has taken this process with it already.
    let _ = socket::send(supervisor, &message.encode(), &[]);
}

struct Worker<'a> {
    program: &'a Program,
    terminal: Terminal,
}

/// The command's process, between vfork and exec.
extern "C" fn become_command(worker: *mut std::ffi::c_void) -> i32 {
    let worker: &Worker<'_> = clone::argument(worker);
    let terminal = match worker.terminal {
        Terminal::Pty => Some(fd::fixed(0)),
        Terminal::Pipes => None,
    };
    let errno = match process::own_group(terminal).and_then(|()| inherited::give_back()) {
        Ok(()) => execute(worker.program),
        Err(errno) => errno,
    };
    tell(
        fd::fixed(SOCKET),
        Message::NotExecuted {
            errno: errno.raw_os_error(),
        },
    );
    process::exit(127)
}

/// Tries every candidate, as execvp(3) does: absent ones are passed over, a forbidden one is
/// remembered, any other error ends the search.
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
