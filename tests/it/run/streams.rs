//! stdin, stdout and stderr: whole, in order, and never lost in silence.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Run, Who, Workspace, is_root, jail_is_reaped, need, shell_status, wait};

/// A bash script around creel, whose command line is `"$@"`; as whoever runs creel.
fn around(
    who: Who,
    workspace: &Workspace,
    script: &str,
    flags: &[&str],
    argv: &[&str],
) -> (i32, String, String) {
    need("bash");
    let creel = Run::new(who, workspace).flags(flags).command(argv);
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["-c", script, "bash"])
        .arg(creel.get_program())
        .args(creel.get_args());
    shell
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", workspace.home())
        .current_dir(workspace.path())
        .stdin(Stdio::null());
    if is_root() && who == Who::User {
        use std::os::unix::process::CommandExt;
        let (uid, gid, _) = who.account();
        shell.uid(uid).gid(gid);
    }
    let output = shell.output().expect("bash runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        shell_status(output.status),
        text(&output.stdout),
        text(&output.stderr),
    )
}

each!(stdout_and_stderr_that_are_one_file_stay_in_order);
fn stdout_and_stderr_that_are_one_file_stay_in_order(who: Who) {
    let workspace = Workspace::new(who);
    let script = "i=0; while [ $i -lt 500 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done";
    let expected: String = (0..500).map(|i| format!("out{i}\nerr{i}\n")).collect();
    let (status, text, _) = around(
        who,
        &workspace,
        "exec \"$@\" 2>&1",
        &[],
        &["/bin/sh", "-c", script],
    );
    assert_eq!((status, text == expected), (0, true));
    // A file that is appended to, as a log is.
    let (status, _, _) = around(
        who,
        &workspace,
        "exec \"$@\" >> log 2>&1",
        &[],
        &["/bin/sh", "-c", script],
    );
    let log = std::fs::read_to_string(workspace.path().join("log")).expect("the log");
    assert_eq!((status, log == expected), (0, true));
}

each!(stdout_and_stderr_that_are_two_stay_apart);
fn stdout_and_stderr_that_are_two_stay_apart(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace).sh("echo out; echo err >&2").ok();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

each!(fifty_mebibytes_arrive_whole);
fn fifty_mebibytes_arrive_whole(who: Who) {
    let workspace = Workspace::new(who);
    let script = "head -c 50M /dev/urandom > data; cat data";
    let mut child = Run::new(who, &workspace)
        .command(["/bin/sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("creel starts");
    let mut out = child.stdout.take().expect("a pipe");
    let (mut hash, mut buffer, mut total) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match out.read(&mut buffer).expect("read") {
            0 => break,
            length => {
                hash.update(&buffer[..length]);
                total += length;
            }
        }
        if total < 1 << 20 {
            // A slow reader, for a while.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    assert!(child.wait().expect("wait").success());
    let data = std::fs::read(workspace.path().join("data")).expect("the data");
    assert_eq!((total, hash.finalize()), (50 << 20, Sha256::digest(&data)));
}

each!(a_closed_stdout_or_stderr_is_refused);
fn a_closed_stdout_or_stderr_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let argv = ["/bin/touch", "ran"];
    for (script, name) in [
        ("exec \"$@\" >&-", "stdout"),
        ("exec \"$@\" 2>&- 3>&1", "stderr"),
    ] {
        let (status, _, text) = around(who, &workspace, script, &[], &argv);
        assert_eq!(status, 125, "{name}: {text}");
        if name == "stdout" {
            assert!(
                text.contains("stdout is closed") && text.contains("/dev/null"),
                "{text}"
            );
        }
        assert!(!workspace.path().join("ran").exists());
    }
    // A closed stdin loses nothing.
    let (status, text, _) = around(
        who,
        &workspace,
        "exec \"$@\" <&-",
        &[],
        &["/bin/sh", "-c", "cat; echo end"],
    );
    assert_eq!((status, text.as_str()), (0, "end\n"));
}

each!(a_full_stdout_is_never_success);
fn a_full_stdout_is_never_success(who: Who) {
    let workspace = Workspace::new(who);
    let to_full = |flags: &[&str], argv: &[&str]| {
        around(who, &workspace, "exec \"$@\" > /dev/full", flags, argv)
    };
    let (status, _, text) = to_full(&[], &["/bin/echo", "lost"]);
    assert_eq!(status, 125, "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    // The command's own failure stays its own.
    assert_eq!(to_full(&[], &["/bin/sh", "-c", "echo lost; exit 3"]).0, 3);
    // Nothing written, nothing lost.
    assert_eq!(to_full(&[], &["true"]).0, 0);
    assert_eq!(to_full(&["-t"], &["/bin/echo", "lost"]).0, 125);
    assert_eq!(to_full(&["--dry-run"], &["true"]).0, 125);
    assert_eq!(to_full(&["--dry-run", "--json"], &["true"]).0, 125);
}

#[test]
fn other_verbs_on_a_full_stdout_are_no_success_either() {
    need("bash");
    for verb in [
        "--help",
        "--version",
        "doctor",
        "completions bash",
        "man",
        "run --help",
    ] {
        let script = format!("exec \"$0\" {verb} > /dev/full");
        let output = Command::new("/bin/bash")
            .args(["-c", &script])
            .arg(crate::support::binary())
            .output()
            .expect("bash");
        assert_ne!(output.status.code(), Some(0), "{verb}: {output:?}");
        assert_ne!(output.status.code(), Some(101), "{verb}: {output:?}");
    }
}

each!(a_reader_that_leaves_ends_the_writer_as_in_a_shell);
fn a_reader_that_leaves_ends_the_writer_as_in_a_shell(who: Who) {
    let workspace = Workspace::new(who);
    let (_, text, said) = around(
        who,
        &workspace,
        "\"$@\" | head -1; echo ${PIPESTATUS[0]}",
        &[],
        &["yes"],
    );
    assert_eq!(text, "y\n141\n", "{said}");
}

each!(stdin_reaches_the_command_from_a_pipe_a_file_and_dev_null);
fn stdin_reaches_the_command_from_a_pipe_a_file_and_dev_null(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("in", "from a file");
    for (script, expected) in [
        ("printf 'from a pipe' | \"$@\"", "from a pipe"),
        ("\"$@\" < in", "from a file"),
        ("\"$@\" < /dev/null", ""),
        ("\"$@\" <<< word", "word\n"),
    ] {
        assert_eq!(
            around(who, &workspace, script, &[], &["/bin/cat"]).1,
            expected
        );
    }
    let big = "x".repeat(3 << 20);
    let ran = Run::new(who, &workspace).stdin(big).sh("wc -c").ok();
    assert_eq!(ran.stdout.trim(), (3 << 20).to_string());
}

each!(creel_itself_eats_nothing_of_stdin);
fn creel_itself_eats_nothing_of_stdin(who: Who) {
    let workspace = Workspace::new(who);
    let script = "printf 'a\\nb\\nc\\n' | while read -r line; do \"$@\" && echo $line; done";
    assert_eq!(
        around(who, &workspace, script, &[], &["true"]).1,
        "a\nb\nc\n"
    );
    // Input that the command reads is gone, and no more.
    let script = "printf 'a\\nb\\nc\\n' > in; { \"$@\"; cat; } < in";
    let one = ["/usr/bin/python3", "-c", "import os; os.read(0, 2)"];
    assert_eq!(around(who, &workspace, script, &[], &one).1, "b\nc\n");
}

each!(streams_of_the_callers_keep_their_flags);
fn streams_of_the_callers_keep_their_flags(who: Who) {
    let workspace = Workspace::new(who);
    // O_NONBLOCK is a flag of the open file, which others share.
    let script = "flags() { grep flags /proc/self/fdinfo/1; }; flags > a 3>&1; { flags; \"$@\"; flags; } | sort -u | wc -l";
    assert_eq!(
        around(who, &workspace, script, &[], &["true"]).1.trim(),
        "1"
    );
}

each!(quiet_and_verbose_keep_to_stderr);
fn quiet_and_verbose_keep_to_stderr(who: Who) {
    let workspace = Workspace::new(who);
    let run = |flag| {
        Run::new(who, &workspace)
            .flags([flag, "--timeout", "1s"])
            .sh("echo out; sleep 9")
    };
    let quiet = run("-q");
    assert_eq!(
        (quiet.status, quiet.stdout.as_str(), quiet.stderr.as_str()),
        (124, "out\n", "")
    );
    let verbose = run("-v");
    assert_eq!((verbose.status, verbose.stdout.as_str()), (124, "out\n"));
    assert!(
        verbose.stderr.lines().count() > 10
            && verbose
                .stderr
                .lines()
                .all(|line| line.starts_with("creel: "))
    );
}

/// With this `grace`, the verdict in `verdict.json`.
fn limited(who: Who, workspace: &Workspace, grace: &str, timeout: &str) -> Run {
    let text = format!(
        "[filesystem]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\"]\n[environment]\nset = {{ PATH = \"/usr/bin:/bin\" }}\n[limits]\ngrace = \"{grace}\"\n"
    );
    let flags = ["--timeout", timeout, "--status-file", "verdict.json"];
    Run::new(who, workspace)
        .policy_text(workspace, "grace", &text)
        .flags(flags)
}

#[track_caller]
fn ended(child: &mut Child) -> i32 {
    shell_status(wait::end(child))
}

fn verdict(workspace: &Workspace) -> Value {
    let text = std::fs::read_to_string(workspace.path().join("verdict.json")).expect("a verdict");
    serde_json::from_str(&text).expect("JSON")
}

each!(a_time_limit_ends_the_run_where_nobody_reads);
/// The caller reads one stream to its end and then the other, which is full by then.
fn a_time_limit_ends_the_run_where_nobody_reads(who: Who) {
    for (script, unread) in [("yes >&2", "stderr"), ("yes", "stdout")] {
        let workspace = Workspace::new(who);
        let mut child = limited(who, &workspace, "0s", "2s")
            .command(["/bin/sh", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("creel starts");
        let (out, err) = (child.stdout.take(), child.stderr.take());
        assert_eq!(ended(&mut child), 124, "{unread}");
        let found = verdict(&workspace);
        assert_eq!(found["kind"], "timeout", "{unread}: {found:#}");
        assert_eq!(found["reason"]["code"], "end-output-lost");
        let error = found["error"].as_str().unwrap_or_default();
        assert!(error.contains("could not be delivered"), "{error}");
        let read = |stream: &mut dyn Read| {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("text");
            text
        };
        let out = read(&mut out.expect("a pipe"));
        let err = read(&mut err.expect("a pipe"));
        match unread {
            "stderr" => assert!(out.is_empty() && err.starts_with("y\ny\n")),
            // Messages of creel about the end arrive if they are read.
            _ => assert!(err.contains("the time limit") && out.starts_with("y\ny\n")),
        }
    }
    // The control: what is read arrives whole, though a limit ended the command.
    let workspace = Workspace::new(who);
    let ran = limited(who, &workspace, "0s", "1s")
        .sh("head -c 200000 /dev/zero; echo last; exec sleep 60");
    assert_eq!(
        (ran.status, ran.stdout.len()),
        (124, 200_005),
        "{}",
        ran.stderr
    );
}

/// During the grace, which is long here, a signal ends it; the verdict is the limit's.
#[test]
fn a_signal_ends_the_grace_of_a_reader() {
    let workspace = Workspace::new(Who::User);
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut child = limited(Who::User, &workspace, "1h", "500ms")
            .command(["/bin/sh", "-c", "touch begun; exec yes >&2"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("creel starts");
        let begun = workspace.path().join("begun");
        wait::until("the jail ends", || {
            begun.exists() && jail_is_reaped(child.id())
        });
        assert!(child.try_wait().expect("wait").is_none());
        std::fs::remove_file(begun).expect("unlink");
        // SAFETY: two integers; the child is not reaped yet.
        unsafe { libc::kill(child.id() as i32, number) };
        assert_eq!(ended(&mut child), 124, "{number}");
        assert_eq!(verdict(&workspace)["kind"], "timeout");
    }
}

each!(a_stopped_terminal_does_not_hold_a_run);
/// A terminal whose output is stopped (Ctrl-S) takes nothing, and a write to it waits.
fn a_stopped_terminal_does_not_hold_a_run(who: Who) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Action, tcflow};
    for flag in ["-T", "-t"] {
        let workspace = Workspace::new(who);
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("its other side");
        let path = ptsname(&master, vec![])
            .expect("a name")
            .into_string()
            .expect("text");
        let slave = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(path)
            .expect("it opens");
        tcflow(&slave, Action::OOff).expect("tcflow");
        let copy = || Stdio::from(slave.try_clone().expect("dup"));
        let mut child = limited(who, &workspace, "0s", "200ms")
            .flags([flag])
            .command(["yes"])
            .stdin(Stdio::null())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .expect("creel starts");
        assert_eq!(ended(&mut child), 124, "{flag}");
        assert_eq!(verdict(&workspace)["kind"], "timeout");
        let blocks = rustix::fs::fcntl_getfl(&slave).expect("flags");
        assert!(!blocks.contains(rustix::fs::OFlags::NONBLOCK));
    }
}
