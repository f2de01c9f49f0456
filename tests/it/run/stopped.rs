//! A stopped creel stops its jail, whatever the jail's own timers do, or its clock goes on.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::termios::LocalModes;

use crate::support::pty::Screen;
use crate::support::{Run, Who, Workspace, children_of, is_root, need, wait};

/// A child counts, and has the kernel wake it twenty times a second; its parent stops itself, or waits for
/// others to.
fn counting(end: &str) -> String {
    format!(
        "
import ctypes, os, signal, struct, time
libc = ctypes.CDLL(None)
if os.fork() == 0:
    signal.signal(signal.SIGCONT, lambda *_: None)
    event, timer = ctypes.create_string_buffer(64), ctypes.c_void_p()
    struct.pack_into('qii', event, 0, 0, signal.SIGCONT, 0)
    assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
    every = ctypes.create_string_buffer(struct.pack('qqqq', 0, 50000000, 0, 50000000))
    assert libc.timer_settime(timer, 0, every, None) == 0
    n = 0
    while True:
        n += 1
        with open('next', 'w') as f: f.write(str(n))
        os.rename('next', 'count')
        time.sleep(0.01)
while not os.path.exists('count'): time.sleep(0.01)
print('ready', flush=True)
{end}"
    )
}

fn read(workspace: &Workspace) -> u64 {
    let text = std::fs::read_to_string(workspace.path().join("count"));
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether it goes on counting.
fn counts(workspace: &Workspace) -> bool {
    let before = read(workspace);
    wait::within(Duration::from_millis(400), || read(workspace) != before)
}

each!(what_stopped_itself_does_not_run_while_creel_is_stopped_or_meets_its_time_limit);
fn what_stopped_itself_does_not_run_while_creel_is_stopped_or_meets_its_time_limit(who: Who) {
    let workspace = Workspace::new(who);
    let end = "os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(60)";
    // Output written as it stopped itself may wait until it goes on.
    stays_stopped(&workspace, who, woken(&workspace, who, end));
}

each!(what_is_stopped_does_not_run_while_creel_is_stopped_or_meets_its_time_limit);
fn what_is_stopped_does_not_run_while_creel_is_stopped_or_meets_its_time_limit(who: Who) {
    let workspace = Workspace::new(who);
    let mut screen = woken(&workspace, who, "time.sleep(60)");
    screen.wait_for("ready");
    // Control: it counts as long as nobody stops it.
    assert!(counts(&workspace), "{who:?}");
    screen.press("\x1a");
    stays_stopped(&workspace, who, screen);
}

const LIMIT: Duration = Duration::from_secs(6);

fn woken(workspace: &Workspace, who: Who, end: &str) -> Screen {
    let limit = format!("{}s", LIMIT.as_secs());
    let run = Run::new(who, workspace).flags(["-t", "--timeout", &limit]);
    Screen::start(run.command(["/usr/bin/python3", "-c", &counting(end)]))
}

fn stays_stopped(workspace: &Workspace, who: Who, screen: Screen) {
    screen.wait_until("creel stops", || screen.is_stopped());
    match who {
        Who::Root => {
            assert!(!counts(workspace), "it went on");
            // Its time is over, and nothing of it runs: it ends when creel goes on.
            std::thread::sleep(LIMIT);
            assert!(screen.is_stopped());
            assert!(!counts(workspace), "it went on");
            screen.signal(libc::SIGCONT);
        }
        // Without a cgroup it cannot be frozen: nobody has to wake creel.
        Who::User => {
            let before = read(workspace);
            screen.wait_until("it goes on", || read(workspace) != before);
        }
    }
    let (status, text) = screen.end();
    assert_eq!(status, 124, "{who:?} {text}");
}

/// The same without a terminal, where a caller stops creel.
#[test]
fn what_a_caller_stops_is_frozen_and_goes_on_with_creel() {
    let Some(who) = Who::root() else {
        return;
    };
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace).flags(["-T"]);
    let script = counting("while not os.path.exists('go'): time.sleep(0.01)");
    let screen = Screen::start(run.command(["/usr/bin/python3", "-c", &script]));
    screen.wait_for("ready");
    for _ in 0..3 {
        screen.signal(libc::SIGTSTP);
        screen.wait_until("creel stops", || screen.is_stopped());
        assert!(!counts(&workspace), "it went on");
        screen.signal(libc::SIGCONT);
        let before = read(&workspace);
        screen.wait_until("it goes on", || read(&workspace) != before);
    }
    workspace.write("go", "");
    assert_eq!(screen.end().0, 0);
}

/// Killed while its jail is frozen, creel takes it along.
#[test]
fn a_frozen_jail_dies_with_creel() {
    let Some(who) = Who::root() else {
        return;
    };
    let workspace = Workspace::new(who);
    let mark = format!("60.{}", std::process::id());
    let script = format!("echo ready; sleep {mark}");
    let run = Run::new(who, &workspace).flags(["-T"]);
    let screen = Screen::start(run.command(["/bin/sh", "-c", &script]));
    screen.wait_for("ready");
    let alive = || {
        let list = Command::new("/usr/bin/pgrep").args(["-f", &mark]).output();
        list.expect("pgrep runs").status.success()
    };
    need("pgrep");
    screen.signal(libc::SIGTSTP);
    screen.wait_until("creel stops", || screen.is_stopped());
    assert!(alive(), "the control");
    screen.signal(libc::SIGKILL);
    screen.wait_until("the jail ends", || !alive());
}

/// A shell's job, stopped and left in the background until its time is over: it ends there, and the
/// terminal stays the shell's.
#[test]
fn a_job_that_cannot_be_frozen_ends_in_the_background() {
    need("bash");
    let who = Who::User;
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace).flags(["--timeout", "6s"]);
    // A shell that is about to start another program may miss a stop: it waits for it in vfork(2).
    let creel = run.command(["/bin/sh", "-c", "echo ready; exec sleep 60"]);
    let words = std::iter::once(creel.get_program()).chain(creel.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().expect("text").replace('\'', "'\\''")))
        .collect();
    workspace.write("job", &format!("set -m; {}\n", words.join(" ")));
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["--noprofile", "--norc", "-i"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PS1", "prompt> ")
        .env("HISTFILE", "")
        .env("TERM", "dumb")
        .current_dir(workspace.path());
    if is_root() {
        // An account that may have a cgroup gets one.
        let (uid, gid, _) = who.account();
        shell.uid(uid).gid(gid);
    }
    let mut screen = Screen::start(shell);
    screen.wait_for("prompt> ");
    screen.press(". ./job\r");
    screen.wait_for("ready");
    screen.press("\x1a");
    screen.wait_for("Stopped");
    screen.wait_until("the job ends", || children_of(screen.child.id()).is_empty());
    assert!(screen.modes().local_modes.contains(LocalModes::ISIG));
    screen.press("echo ba''ck\r");
    screen.wait_for("back");
    screen.wait_for("124");
    screen.press("exit 0\r");
    assert_eq!(screen.end().0, 0);
}
