//! Process attributes that come from the caller: every row of the table, each by a caller that once broke a run.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use creel_sys::inherited::ROWS;

use super::{text, under};
use crate::support::{Run, Who, Workspace, binary, is_root, need, shell_status};

each!(every_mask_starts_a_jail_and_is_the_commands);
fn every_mask_starts_a_jail_and_is_the_commands(who: Who) {
    let workspace = Workspace::new(who);
    for (mask, mode) in [
        ("0022", "644"),
        ("0027", "640"),
        ("0007", "660"),
        ("0077", "600"),
        ("0777", "0"),
        ("0000", "666"),
    ] {
        let words = format!("umask {mask}; exec \"$@\"");
        let argv = ["/bin/sh", "-c", "umask; touch f; stat -c %a f; rm -f f"];
        let output = under(who, &workspace, &words, &[], &argv);
        assert_eq!(
            text(&output.stdout),
            format!("{mask}\n{mode}\n"),
            "{output:?}"
        );
    }
}

each!(the_verdict_is_its_callers_alone_under_every_mask);
/// Files that creel writes for its caller have their own mode under every mask.
fn the_verdict_is_its_callers_alone_under_every_mask(who: Who) {
    let workspace = Workspace::new(who);
    for mask in ["000", "777"] {
        let file = workspace.path().join(mask);
        let flags = ["--workspace", "none", "--status-file", mask];
        let words = format!("umask {mask}; exec \"$@\"");
        let output = under(who, &workspace, &words, &flags, &["/bin/true"]);
        assert!(output.status.success(), "{output:?}");
        let mode = file.metadata().expect("the verdict").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

each!(ignored_and_blocked_signals_hide_no_end);
/// The kernel reaps the children of a process that ignores SIGCHLD, and signals nobody.
fn ignored_and_blocked_signals_hide_no_end(who: Who) {
    need("env");
    let argv = ["/bin/sh", "-c", "/bin/true & wait; exit 3"];
    let workspace = Workspace::new(who);
    for words in [
        "--ignore-signal=CHLD",
        "--ignore-signal",
        "--block-signal",
        "-u NONE",
    ] {
        let words = format!("exec env {words} \"$@\"");
        let output = under(who, &workspace, &words, &[], &argv);
        assert_eq!(shell_status(output.status), 3, "{words}: {output:?}");
    }
}

each!(what_the_caller_ignores_the_command_ignores);
/// nohup(1) means the command, and SIGCHLD is no signal to ignore for it.
fn what_the_caller_ignores_the_command_ignores(who: Who) {
    let argv = ["/bin/grep", "SigIgn", "/proc/self/status"];
    let ignored = |output: std::process::Output| {
        let line = text(&output.stdout);
        let mask = line
            .trim()
            .rsplit('\t')
            .next()
            .map(|m| u64::from_str_radix(m, 16));
        mask.and_then(Result::ok)
            .unwrap_or_else(|| panic!("{output:?}"))
    };
    let bit = |signal: i32| 1u64 << (signal - 1);
    let workspace = Workspace::new(who);
    let words = "exec env --ignore-signal=HUP,CHLD,PIPE,TTOU \"$@\"";
    let mask = ignored(under(who, &workspace, words, &[], &argv));
    assert_eq!(mask & bit(libc::SIGHUP), bit(libc::SIGHUP));
    for signal in [libc::SIGCHLD, libc::SIGPIPE, libc::SIGTTOU] {
        assert_eq!(mask & bit(signal), 0, "{signal}");
    }
    let control = ignored(under(who, &workspace, "exec \"$@\"", &[], &argv));
    assert_eq!(control & bit(libc::SIGHUP), 0);
}

each!(the_callers_alarm_reaches_the_command);
/// A timer that was set before execve(2), as of `perl -e 'alarm 9; exec @ARGV'`, ends the command.
fn the_callers_alarm_reaches_the_command(who: Who) {
    let workspace = Workspace::new(who);
    let python = need("python3");
    let words = format!(
        "exec {} -c 'import os, signal, sys; signal.setitimer(signal.ITIMER_REAL, 4); os.execv(sys.argv[1], sys.argv[1:])' \"$@\"",
        python.display()
    );
    let flags = ["--workspace", "none", "--status-file", "verdict.json"];
    let output = under(who, &workspace, &words, &flags, &["/bin/sleep", "1000"]);
    assert_eq!(
        shell_status(output.status),
        128 + libc::SIGALRM,
        "{output:?}"
    );
    let verdict = std::fs::read_to_string(workspace.path().join("verdict.json"));
    let verdict = verdict.expect("creel itself was not ended");
    assert!(verdict.contains("SIGALRM"), "{verdict}");
}

/// A deadline process may not fork, sched(7).
#[test]
fn a_deadline_caller_starts_a_jail() {
    if !is_root() {
        eprintln!("skipped: only root may schedule by deadlines");
        return;
    }
    let words = "exec chrt -d -T 1000000 -D 10000000 -P 10000000 0 \"$@\"";
    need("chrt");
    let control = Command::new("/bin/bash")
        .args(["-c", words, "bash", "/bin/true"])
        .output();
    if !control.expect("bash runs").status.success() {
        eprintln!("skipped: nobody may schedule by deadlines here");
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let argv = [
        "/usr/bin/python3",
        "-c",
        "import os; print(os.sched_getscheduler(0))",
    ];
    let output = under(Who::Root, &workspace, words, &[], &argv);
    assert_eq!(text(&output.stdout), "0\n", "{output:?}");
}

each!(a_binary_that_may_only_be_executed_makes_jails);
/// execve(2) of what may not be read makes a process whose files in /proc are root's.
fn a_binary_that_may_only_be_executed_makes_jails(who: Who) {
    let workspace = Workspace::new(who);
    let copy = workspace.outside().join("creel");
    std::fs::copy(binary(), &copy).expect("copy");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o711)).expect("chmod");
    let words = format!("shift; exec {} \"$@\"", copy.display());
    let output = under(who, &workspace, &words, &[], &["/bin/echo", "in"]);
    assert_eq!(text(&output.stdout), "in\n", "{output:?}");
}

each!(a_removed_directory_is_needed_by_relative_names_alone);
/// Only a relative name needs the directory that the caller is in.
fn a_removed_directory_is_needed_by_relative_names_alone(who: Who) {
    let workspace = Workspace::new(who);
    let named = workspace.path().display().to_string();
    let words = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    for (flags, starts) in [
        (vec!["--workspace", named.as_str()], true),
        (vec!["--workspace", "none"], true),
        (vec![], false),
        (vec!["--workspace", "."], false),
        (vec!["--workspace", "none", "--read", "x"], false),
        (vec!["--workspace", "none", "--write", "x"], false),
        (vec!["--workspace", "none", "--exec", "usr"], false),
        (vec!["--workspace", "none", "--exec", "/usr"], true),
    ] {
        let output = under(who, &workspace, words, &flags, &["/bin/true"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.success(), starts, "{flags:?}: {said}");
        assert_eq!(
            said.contains("current directory was removed"),
            !starts,
            "{said}"
        );
    }
}

each!(an_error_is_one_line_without_control_characters);
/// One sentence, whatever the plan lists below an act.
fn an_error_is_one_line_without_control_characters(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace).flags(["--workdir", "/nonexistent"]);
    let ran = run.argv(["/bin/true"]);
    assert_eq!(ran.status, 125);
    let line = ran.stderr.trim_end();
    assert!(
        !line.contains(|c: char| c.is_control() || c == '\u{fffd}'),
        "{line:?}"
    );
}

#[test]
fn the_document_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let document = std::fs::read_to_string(path).expect("the document");
    for row in ROWS {
        let line = format!(
            "| {} | {} | {} | {} |",
            row.what, row.creel, row.command, row.why
        );
        assert!(document.contains(&line), "missing: {line}");
    }
}
