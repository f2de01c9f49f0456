//! creel in the background of its terminal: a job of a shell, or of `timeout` in a script.

use super::script;
use crate::support::pty::Screen;
use crate::support::{Who, Workspace, need, state_of};

each!(a_run_in_a_process_group_of_its_own_ends);
/// A run that would be stopped for changing its terminal does not change it.
fn a_run_in_a_process_group_of_its_own_ends(who: Who) {
    need("timeout");
    let workspace = Workspace::new(who);
    let words = "timeout 15 \"$@\"; echo status $?";
    let argv = ["/bin/sh", "-c", "test -t 1 && echo shown; exit 3"];
    let (status, text) = Screen::start(script(who, &workspace, words, &[], &argv)).end();
    assert!(text.contains("shown"), "{text}");
    assert!(text.contains("status 3"), "{text}");
    assert_eq!(status, 0);
}

each!(a_time_limit_ends_a_run_in_the_background);
fn a_time_limit_ends_a_run_in_the_background(who: Who) {
    let workspace = Workspace::new(who);
    let words = "timeout 15 \"$@\"; echo status $?";
    for (flags, argv, wanted) in [
        (
            vec!["--timeout", "500ms"],
            vec!["/bin/cat"],
            "the time limit",
        ),
        (
            vec!["--timeout", "500ms"],
            vec!["/bin/sleep", "1000"],
            "the time limit",
        ),
    ] {
        let screen = Screen::start(script(who, &workspace, words, &flags, &argv));
        let (_, text) = screen.end();
        assert!(
            text.contains(wanted) && text.contains("status 124"),
            "{text}"
        );
    }
}

each!(a_background_run_leaves_the_modes_and_takes_them_in_the_foreground);
/// The modes of the terminal are those of the job that has it.
fn a_background_run_leaves_the_modes_and_takes_them_in_the_foreground(who: Who) {
    use rustix::termios::LocalModes;
    let workspace = Workspace::new(who);
    let words = "set -m; \"$@\" & read -r line; fg >/dev/null; echo status $?";
    let argv = ["/bin/sh", "-c", "echo begun; read -r line; echo got $line"];
    let mut screen = Screen::start(script(who, &workspace, words, &[], &argv));
    screen.wait_for("begun");
    let canonical = |screen: &Screen| screen.modes().local_modes.contains(LocalModes::ICANON);
    assert!(canonical(&screen), "it is the shell's terminal");
    screen.press("shell\n");
    screen.wait_until("the terminal to be raw", || !canonical(&screen));
    screen.press("jail\r");
    screen.wait_for("got jail");
    let (_, text) = screen.end();
    assert!(text.contains("status 0"), "{text}");
}

each!(output_that_the_terminal_does_not_take_stops_the_output_alone);
/// `stty tostop` holds a background job's output back. A creel that were stopped for it would hold no limit.
fn output_that_the_terminal_does_not_take_stops_the_output_alone(who: Who) {
    let workspace = Workspace::new(who);
    let words =
        "set -m; stty tostop; \"$@\" & echo pid $! ; read -r line; fg >/dev/null; echo status $?";
    let argv = ["/bin/sh", "-c", "echo out; touch written; read -r line"];
    let mut screen = Screen::start(script(who, &workspace, words, &[], &argv));
    let written = workspace.path().join("written");
    screen.wait_until("the command to have written", || written.exists());
    screen.wait_for("pid ");
    let text = screen.text();
    let pid = text
        .split("pid ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let pid: u32 = pid.and_then(|pid| pid.parse().ok()).expect("a pid");
    assert_ne!(state_of(pid), Some('T'));
    assert!(!screen.text().contains("out"), "{}", screen.text());
    screen.press("shell\n");
    screen.wait_for("out");
    screen.press("jail\r");
    let (_, text) = screen.end();
    assert!(text.contains("status 0"), "{text}");
}
