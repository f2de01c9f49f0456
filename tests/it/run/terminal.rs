//! A terminal of the jail's own, joined to the caller's.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::termios::LocalModes;

use crate::support::pty::Screen;
use crate::support::{Run, Who, Workspace, children_of, need, wait};

fn start(who: Who, workspace: &Workspace, flags: &[&str], script: &str) -> Screen {
    let run = Run::new(who, workspace)
        .outer_env("TERM", "xterm")
        .flags(flags);
    Screen::start(run.command(["/bin/sh", "-c", script]))
}

each!(a_terminal_is_the_jails_own);
fn a_terminal_is_the_jails_own(who: Who) {
    let workspace = Workspace::new(who);
    for flags in [&[][..], &["-t"], &["-it"], &["-T", "-t"]] {
        let screen = start(
            who,
            &workspace,
            flags,
            "tty; tty <&2; tty < /dev/tty; echo $TERM; ls -1 /dev/pts",
        );
        let (status, text) = screen.end();
        assert_eq!(status, 0, "{text}");
        assert_eq!(
            text,
            "/dev/pts/0\r\n/dev/pts/0\r\n/dev/tty\r\nxterm\r\n0\r\nptmx\r\n"
        );
    }
}

each!(no_tty_gives_none);
fn no_tty_gives_none(who: Who) {
    let workspace = Workspace::new(who);
    for flags in [&["-T"][..], &["-t", "-T"]] {
        let screen = start(
            who,
            &workspace,
            flags,
            "test -t 1 && echo terminal || echo none; cat /dev/tty 2>&1",
        );
        let (_, text) = screen.end();
        assert!(
            text.starts_with("none\r\n") && text.contains("No such device or address"),
            "{text}"
        );
    }
    let ran = Run::new(who, &workspace)
        .sh("test -t 0 || test -t 1 || echo none")
        .ok();
    assert_eq!(ran.stdout, "none\n");
}

each!(a_terminal_can_be_had_without_one_outside);
fn a_terminal_can_be_had_without_one_outside(who: Who) {
    let workspace = Workspace::new(who);
    for _ in 0..5 {
        let ran = Run::new(who, &workspace)
            .flags(["-t"])
            .sh("tty; test -t 1 && echo terminal")
            .ok();
        assert_eq!(ran.stdout, "/dev/pts/0\r\nterminal\r\n");
    }
    let ran = Run::new(who, &workspace)
        .flags(["-t"])
        .stdin("line\nno end")
        .argv(["/bin/cat"])
        .ok();
    assert!(ran.stdout.ends_with("no end"), "{ran:#?}");
}

each!(much_output_through_a_terminal_arrives_whole);
fn much_output_through_a_terminal_arrives_whole(who: Who) {
    let workspace = Workspace::new(who);
    let creel = Run::new(who, &workspace)
        .flags(["-t"])
        .command(["/usr/bin/seq", "200000"]);
    // A reader that is slow to begin: the end of the run must not cut what is still on its way.
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "\"$@\" | (sleep 0.7; tail -1)", "sh"])
        .arg(creel.get_program())
        .args(creel.get_args());
    let output = shell
        .current_dir(workspace.path())
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200000\r\n");
}

each!(the_window_size_is_passed_and_follows);
fn the_window_size_is_passed_and_follows(who: Who) {
    let workspace = Workspace::new(who);
    let screen = start(
        who,
        &workspace,
        &[],
        "trap 'stty size; exit' WINCH; stty size; echo ready; while :; do sleep 0.02; done",
    );
    screen.wait_for("ready");
    assert!(screen.text().starts_with("24 80\r\n"), "{}", screen.text());
    screen.resize(50, 132);
    let (_, text) = screen.end();
    assert!(text.ends_with("50 132\r\n"), "{text}");
}

each!(keys_arrive_and_control_c_interrupts_the_command);
fn keys_arrive_and_control_c_interrupts_the_command(who: Who) {
    let workspace = Workspace::new(who);
    let mut screen = start(
        who,
        &workspace,
        &[],
        "echo ready; read -r line; echo \"got $line\"; exec sleep 30",
    );
    screen.wait_for("ready");
    screen.press("hello\r");
    screen.wait_for("got hello");
    screen.press("\x03");
    let (status, text) = screen.end();
    assert_eq!(status, 130, "{text}");
    assert_eq!(text, "ready\r\nhello\r\ngot hello\r\n^C");
}

each!(control_c_can_be_handled_and_control_d_ends_input);
fn control_c_can_be_handled_and_control_d_ends_input(who: Who) {
    let workspace = Workspace::new(who);
    let mut screen = start(
        who,
        &workspace,
        &[],
        "trap 'echo caught; n=1' INT; echo ready; while [ -z $n ]; do sleep 0.02; done; cat; echo end",
    );
    screen.wait_for("ready");
    screen.press("\x03");
    screen.wait_for("caught");
    screen.press("line\r\x04");
    let (status, text) = screen.end();
    assert_eq!(status, 0, "{text}");
    assert!(text.ends_with("line\r\nline\r\nend\r\n"), "{text}");
}

each!(the_callers_terminal_is_raw_meanwhile_and_as_before_afterwards);
fn the_callers_terminal_is_raw_meanwhile_and_as_before_afterwards(who: Who) {
    let workspace = Workspace::new(who);
    for (end, expected) in [("\x03", 130), ("TERM", 143), ("\x04", 0)] {
        // A shell outlives creel, so that the terminal can be looked at.
        need("bash");
        let creel = Run::new(who, &workspace).command(["/bin/sh", "-c", "echo ready; exec cat"]);
        let mut shell = Command::new("/bin/bash");
        shell.args([
            "-c",
            "stty -echo; stty -a > before; \"$@\"; s=$?; stty -a > after; exit $s",
            "bash",
        ]);
        shell
            .arg(creel.get_program())
            .args(creel.get_args())
            .current_dir(workspace.path());
        let mut screen = Screen::start(shell);
        screen.wait_for("ready");
        assert!(
            !screen.modes().local_modes.contains(LocalModes::ICANON),
            "not raw"
        );
        match end {
            "TERM" => {
                let creel = children_of(screen.child.id())[0] as i32;
                // SAFETY: two integers; the shell has not reaped its child.
                unsafe { libc::kill(creel, libc::SIGTERM) };
            }
            keys => screen.press(keys),
        }
        let (status, text) = screen.end();
        assert_eq!(status, expected, "{text}");
        let read = |name| std::fs::read_to_string(workspace.path().join(name)).expect("stty wrote");
        assert_eq!(read("before"), read("after"));
        assert!(read("after").contains("-echo ") && read("after").contains(" icanon"));
    }
}

each!(control_z_stops_both_gives_the_terminal_back_and_a_continue_takes_it_again);
fn control_z_stops_both_gives_the_terminal_back_and_a_continue_takes_it_again(who: Who) {
    let workspace = Workspace::new(who);
    let mut screen = start(
        who,
        &workspace,
        &["-t"],
        "echo ready; read -r line; echo \"got $line\"; exit 5",
    );
    screen.wait_for("ready");
    screen.press("\x1a");
    screen.wait_until("creel stops", || screen.is_stopped());
    assert!(
        screen
            .modes()
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO),
        "still raw"
    );
    screen.signal(libc::SIGCONT);
    screen.wait_until("creel goes on", || {
        !screen.modes().local_modes.contains(LocalModes::ICANON)
    });
    wait::stays("it goes on", Duration::from_millis(100), || {
        !screen.is_stopped()
    });
    screen.press("again\r");
    let (status, text) = screen.end();
    assert_eq!(status, 5, "{text}");
    assert!(text.contains("got again"), "{text}");
}

each!(a_shell_stops_creel_with_control_z_and_resumes_it_with_fg);
fn a_shell_stops_creel_with_control_z_and_resumes_it_with_fg(who: Who) {
    need("bash");
    let workspace = Workspace::new(who);
    let creel = Run::new(who, &workspace).command([
        "/bin/sh",
        "-c",
        "echo ready; read -r line; echo \"got $line\"",
    ]);
    let mut line = String::from("exec 2>&1; run() { ");
    for word in std::iter::once(creel.get_program()).chain(creel.get_args()) {
        line.push_str(&format!(
            "'{}' ",
            word.to_str().expect("text").replace('\'', "'\\''")
        ));
    }
    line.push_str("; }\n");
    workspace.write("rc", &format!("PS1='prompt> '\n{line}"));
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["--noprofile", "--rcfile", "rc", "-i"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "dumb")
        .env("HOME", workspace.home());
    shell.current_dir(workspace.path());
    let mut screen = Screen::start(shell);
    screen.wait_for("prompt> ");
    screen.press("eval \"$(declare -f run | sed -n '3,$p' | sed '$d')\"; echo s=$?\r");
    screen.wait_for("ready");
    screen.press("\x1a");
    screen.wait_for("Stopped");
    // 128 + SIGSTOP: creel handles SIGTSTP and stops itself.
    screen.wait_for("s=147");
    screen.press("fg\r");
    screen.wait_until("creel takes the terminal", || {
        !screen.modes().local_modes.contains(LocalModes::ICANON)
    });
    screen.press("there\r");
    screen.wait_for("got there");
    // Keys typed before creel has ended are read by creel.
    screen.wait_until("the shell is back", || screen.text().ends_with("prompt> "));
    screen.press("exit 0\r");
    let (status, text) = screen.end();
    assert_eq!(status, 0, "{text}");
}

each!(an_interactive_shell_in_the_jail_has_job_control);
fn an_interactive_shell_in_the_jail_has_job_control(who: Who) {
    need("bash");
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace)
        .policy("coding")
        .flags(["-t", "-e", "PS1=inside> "]);
    let mut screen = Screen::start(run.command(["/bin/bash", "--norc", "-i"]));
    screen.wait_for("inside> ");
    assert!(
        !screen.text().contains("no job control"),
        "{}",
        screen.text()
    );
    screen.press("sh -c 'echo star''ted; exec sleep 50'\r");
    screen.wait_for("started");
    screen.press("\x1a");
    screen.wait_for("Stopped");
    assert!(!screen.is_stopped(), "the inner shell's Ctrl-Z is its own");
    screen.press("kill %1; fg; echo \"j=$?\"\r");
    // The job may have ended before `fg`.
    let ended = ["j=143", "fg: job has terminated"];
    screen.wait_until("the job's end", || {
        let text = screen.text();
        ended.iter().any(|end| text.contains(end))
    });
    screen.press("exit 6\r");
    let (status, text) = screen.end();
    assert_eq!(status, 6, "{text}");
}

each!(limits_hold_on_a_terminal_too);
fn limits_hold_on_a_terminal_too(who: Who) {
    let workspace = Workspace::new(who);
    let (status, text) = start(
        who,
        &workspace,
        &["--timeout", "200ms"],
        "echo ready; exec sleep 30",
    )
    .end();
    assert!(
        status == 124 && text.contains("time limit"),
        "{status}: {text}"
    );
    let (status, text) = start(who, &workspace, &["--output-limit", "100B"], "yes").end();
    assert_eq!(status, 137, "{text}");
    assert!(text.starts_with(&"y\r\n".repeat(33)), "{text}");
}
