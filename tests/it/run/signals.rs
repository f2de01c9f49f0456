//! Signals to creel reach the command, and end it for good when they must.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Run, Who, Workspace, jail_is_over, jail_is_reaped, shell_status, state_of, wait,
};

/// A run whose command has said `ready`.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(run: Run, script: &str) -> Running {
        let mut child = run
            .command(["/bin/sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("creel starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut running = Running { child, out };
        assert_eq!(running.line(), "ready");
        running
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn signal(&self, number: i32) {
        // SAFETY: two integers; the child is not reaped yet.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }

    fn state(&self) -> Option<char> {
        state_of(self.child.id())
    }

    #[track_caller]
    fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut rest).expect("the rest");
        (shell_status(self.child.wait().expect("wait")), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn grace(who: Who, workspace: &Workspace, grace: &str) -> Run {
    let text = format!(
        "[filesystem]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\"]\n[environment]\nset = {{ PATH = \"/usr/bin:/bin\" }}\n[limits]\ngrace = \"{grace}\"\n"
    );
    Run::new(who, workspace).policy_text(workspace, "grace", &text)
}

each!(signals_are_forwarded_to_the_command);
fn signals_are_forwarded_to_the_command(who: Who) {
    let workspace = Workspace::new(who);
    for (name, number) in [
        ("TERM", 15),
        ("INT", 2),
        ("HUP", 1),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("WINCH", 28),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.02; done"
        );
        let running = Running::start(Run::new(who, &workspace), &script);
        running.signal(number);
        assert_eq!(running.end(), (3, format!("got {name}\n")));
    }
}

each!(a_signal_that_nobody_handles_ends_the_command_as_in_a_shell);
fn a_signal_that_nobody_handles_ends_the_command_as_in_a_shell(who: Who) {
    let workspace = Workspace::new(who);
    for number in [15, 2, 1, 10] {
        let running = Running::start(Run::new(who, &workspace), "echo ready; exec sleep 30");
        running.signal(number);
        assert_eq!(running.end(), (128 + number, String::new()));
    }
}

each!(a_second_term_kills_what_ignores_the_first);
fn a_second_term_kills_what_ignores_the_first(who: Who) {
    let workspace = Workspace::new(who);
    let mut running = Running::start(
        grace(who, &workspace, "1h"),
        "trap 'echo no' TERM; echo ready; while :; do sleep 0.02; done",
    );
    running.signal(15);
    assert_eq!(running.line(), "no");
    running.signal(15);
    assert_eq!(running.end(), (137, String::new()));
}

/// Written output arrives, though creel learns of the command's end and of a TERM in one moment.
#[test]
fn a_term_that_comes_with_the_end_loses_no_output() {
    let workspace = Workspace::new(Who::User);
    for turn in 0..6 {
        let run = Run::new(Who::User, &workspace).flags(["--status-file", "verdict.json"]);
        let script =
            "echo ready; while [ ! -e go ]; do sleep 0.02; done; rm go; echo last; echo > gone";
        let running = Running::start(run, script);
        running.signal(19);
        wait::until("creel stops", || running.state() == Some('T'));
        // The command takes it at once.
        std::fs::write(workspace.path().join("go"), "").expect("write");
        wait::until("the jail ends", || jail_is_over(running.child.id()));
        std::fs::remove_file(workspace.path().join("gone")).expect("unlink");
        running.signal(15);
        running.signal(18);
        assert_eq!(running.end(), (0, "last\n".into()), "{turn}");
        let verdict = std::fs::read_to_string(workspace.path().join("verdict.json")).expect("one");
        let verdict: serde_json::Value = serde_json::from_str(&verdict).expect("JSON");
        assert_eq!(
            verdict["error"],
            serde_json::Value::Null,
            "{turn}: {verdict:#}"
        );
    }
}

/// A command that wrote more than the pipe takes, and ended by itself; nobody reads.
fn unread(who: Who, workspace: &Workspace) -> Running {
    let run = grace(who, workspace, "1h").flags(["--status-file", "verdict.json"]);
    let script = "echo ready; head -c 100000 /dev/zero; echo > gone";
    let running = Running::start(run, script);
    // The pipe of this test is full, and the jail's own holds what is left.
    wait::until("the command ends", || {
        workspace.path().join("gone").exists()
    });
    wait::until("the jail ends", || jail_is_reaped(running.child.id()));
    running
}

each!(output_that_nobody_reads_is_given_up_at_a_signal_after_the_end);
/// A reader that takes nothing is given up when the caller asks creel to end, and that is said.
fn output_that_nobody_reads_is_given_up_at_a_signal_after_the_end(who: Who) {
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let workspace = Workspace::new(who);
        let running = unread(who, &workspace);
        running.signal(number);
        wait::until("creel ends", || running.state() == Some('Z'));
        let (status, rest) = running.end();
        assert!(
            status == 125 && rest.len() < 100_000,
            "{number}: {status} {}",
            rest.len()
        );
        let verdict = std::fs::read_to_string(workspace.path().join("verdict.json")).expect("one");
        assert!(
            verdict.contains("the output could not be delivered"),
            "{verdict}"
        );
    }
    // The control: a reader may be slow where nothing ended the command.
    let workspace = Workspace::new(who);
    let running = unread(who, &workspace);
    wait::stays("it waits", Duration::from_millis(1500), || {
        running.state() != Some('Z')
    });
    let (status, rest) = running.end();
    assert_eq!((status, rest.len()), (0, 100_000));
}

each!(the_grace_period_ends_what_ignores_a_term);
fn the_grace_period_ends_what_ignores_a_term(who: Who) {
    let workspace = Workspace::new(who);
    let running = Running::start(
        grace(who, &workspace, "300ms"),
        "trap '' TERM; echo ready; while :; do sleep 0.02; done",
    );
    let started = Instant::now();
    running.signal(15);
    assert_eq!(running.end(), (137, String::new()));
    assert!(started.elapsed() >= Duration::from_millis(300));
    // Control: INT is a question, not an order.
    let mut running = Running::start(
        grace(who, &workspace, "100ms"),
        "trap 'echo no' INT; echo ready; while :; do sleep 0.02; done",
    );
    running.signal(2);
    assert_eq!(running.line(), "no");
    wait::stays(
        "it goes on after the grace",
        Duration::from_millis(300),
        || running.state() != Some('Z'),
    );
    running.signal(2);
    assert_eq!(running.line(), "no");
    running.signal(15);
    assert_eq!(running.end().0, 143);
}

each!(a_signal_that_the_caller_ignores_stays_ignored);
fn a_signal_that_the_caller_ignores_stays_ignored(who: Who) {
    let workspace = Workspace::new(who);
    let mut command =
        Run::new(who, &workspace).command(["/bin/sh", "-c", "echo ready; sleep 0.5; echo end"]);
    // SAFETY: signal is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("creel starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut running = Running { child, out };
    assert_eq!(running.line(), "ready");
    running.signal(1);
    assert_eq!(running.end(), (0, "end\n".into()));
}

each!(a_stop_stops_creel_and_the_command_and_a_continue_wakes_both);
fn a_stop_stops_creel_and_the_command_and_a_continue_wakes_both(who: Who) {
    let workspace = Workspace::new(who);
    let count = workspace.path().join("count");
    let running = Running::start(
        Run::new(who, &workspace),
        "echo ready; i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i > next; mv next count; sleep 0.01; done; echo end",
    );
    let read = || std::fs::read_to_string(&count).unwrap_or_default();
    wait::until("the command counts", || !read().is_empty());
    running.signal(libc::SIGTSTP);
    wait::until("creel stops", || running.state() == Some('T'));
    wait::until("the command stands still", || {
        wait::still(Duration::from_millis(150), read)
    });
    let before = read();
    running.signal(libc::SIGCONT);
    wait::until("the command goes on", || read() != before);
    // And creel stays awake: the jail's word of its own stop is old by now.
    wait::stays("creel is awake", Duration::from_millis(100), || {
        running.state() != Some('T')
    });
    std::fs::write(workspace.path().join("stop"), "").expect("write");
    assert_eq!(running.end(), (0, "end\n".into()));
}

each!(a_command_that_stops_itself_does_not_stop_creel);
fn a_command_that_stops_itself_does_not_stop_creel(who: Who) {
    let workspace = Workspace::new(who);
    let running = Running::start(
        Run::new(who, &workspace),
        "echo ready; kill -STOP $$; echo woken",
    );
    wait::stays("creel is awake", Duration::from_millis(150), || {
        running.state() != Some('T')
    });
    running.signal(libc::SIGCONT);
    assert_eq!(running.end(), (0, "woken\n".into()));
}

each!(the_jail_dies_with_creel);
fn the_jail_dies_with_creel(who: Who) {
    let workspace = Workspace::new(who);
    let mut running = Running::start(
        Run::new(who, &workspace),
        "trap '' TERM HUP INT; setsid sh -c 'while :; do echo x >> ticks; sleep 0.02; done' & echo ready; wait",
    );
    let ticks = workspace.path().join("ticks");
    let size = || std::fs::metadata(&ticks).map_or(0, |meta| meta.len());
    wait::until("it ticks", || size() > 4);
    running.child.kill().expect("kill");
    running.child.wait().expect("wait");
    wait::until("nothing ticks", || {
        wait::still(Duration::from_millis(200), size)
    });
}
