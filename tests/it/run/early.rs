//! Signals that come before the command exists are neither lost nor late.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::pty::Screen;
use crate::support::{Run, Who, Workspace, shell_status};

/// Runs at instants that spread over a start.
const TIMES: u32 = 40;
/// Far below what the commands here take, and above what any start does.
const SOON: Duration = Duration::from_secs(20);

/// How long a run takes that does nothing.
fn whole(who: Who, workspace: &Workspace) -> Duration {
    let start = Instant::now();
    Run::new(who, workspace).argv(["/bin/true"]).ok();
    start.elapsed()
}

/// Before the child's exec.
fn first(command: &mut Command, act: fn()) {
    // SAFETY: the acts here are one system call each.
    unsafe {
        command.pre_exec(move || {
            act();
            Ok(())
        });
    }
}

fn send(child: &std::process::Child, number: i32) {
    // SAFETY: two integers; the child is not reaped yet.
    unsafe { libc::kill(child.id() as i32, number) };
}

each!(a_time_limit_that_is_over_before_the_command_exists_ends_it_at_once);
fn a_time_limit_that_is_over_before_the_command_exists_ends_it_at_once(who: Who) {
    let workspace = Workspace::new(who);
    for _ in 0..TIMES {
        let start = Instant::now();
        let run = Run::new(who, &workspace).flags(["--timeout", "1ms"]);
        let ran = run.argv(["/bin/sleep", "60"]);
        assert_eq!((ran.status, ran.kind()), (124, "timeout"), "{ran:#?}");
        // Not by the kill after the grace period either.
        assert_eq!(ran.verdict["signal"], "SIGTERM", "{ran:#?}");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
    // Control: time that is not over.
    let run = Run::new(who, &workspace).flags(["--timeout", "1m"]);
    run.argv(["/bin/sleep", "0.05"]).ok();
}

each!(a_signal_that_the_caller_ignores_is_ignored_from_the_start);
fn a_signal_that_the_caller_ignores_is_ignored_from_the_start(who: Who) {
    let workspace = Workspace::new(who);
    let whole = whole(who, &workspace);
    for time in 0..TIMES {
        let mut command = Run::new(who, &workspace).command(["/bin/sleep", "0.1"]);
        first(&mut command, || {
            // SAFETY: SIG_IGN installs no code.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        });
        let mut child = command.spawn().expect("creel starts");
        std::thread::sleep(whole * time / TIMES);
        send(&child, libc::SIGHUP);
        assert_eq!(shell_status(child.wait().expect("wait")), 0, "{time}");
    }
}

each!(a_signal_that_the_caller_had_blocked_ends_the_run_as_any_other);
fn a_signal_that_the_caller_had_blocked_ends_the_run_as_any_other(who: Who) {
    let workspace = Workspace::new(who);
    let whole = whole(who, &workspace);
    for time in 0..TIMES {
        let run = Run::new(who, &workspace).flags(["--status-file", "verdict.json"]);
        let mut command = run.command(["/bin/sleep", "60"]);
        first(&mut command, || {
            // SAFETY: fills and reads one set.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            }
        });
        let start = Instant::now();
        let mut child = command.spawn().expect("creel starts");
        std::thread::sleep(whole * time / TIMES);
        send(&child, libc::SIGTERM);
        assert_eq!(child.wait().expect("wait").code(), Some(143), "{time}");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        // Whatever it was doing: a signal that waits is judged.
        let path = workspace.path().join("verdict.json");
        let verdict = std::fs::read_to_string(&path).expect("a verdict");
        assert!(verdict.contains("\"signal\":\"SIGTERM\""), "{verdict}");
        std::fs::remove_file(path).expect("unlink");
    }
}

each!(the_command_starts_with_no_signal_blocked);
/// Signals that creel holds back are not blocked in the command.
fn the_command_starts_with_no_signal_blocked(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace).sh("grep SigBlk /proc/self/status");
    assert_eq!(ran.ok().stdout, "SigBlk:\t0000000000000000\n");
}

each!(control_c_at_any_instant_of_the_start_ends_the_run);
/// Ctrl-C at a terminal is for creel, its helpers and the child that becomes the jail alike.
fn control_c_at_any_instant_of_the_start_ends_the_run(who: Who) {
    let workspace = Workspace::new(who);
    let whole = whole(who, &workspace);
    for flags in [&["-t"][..], &["-T"]] {
        for time in 0..TIMES {
            let run = Run::new(who, &workspace).flags(flags);
            let mut command = run.command(["/bin/sleep", "60"]);
            command.stderr(Stdio::null());
            let mut screen = Screen::start(command);
            std::thread::sleep(whole * time / TIMES);
            screen.press("\x03");
            let (status, text) = screen.end();
            assert_eq!(status, 130, "{flags:?} {time}: {text}");
        }
    }
}
