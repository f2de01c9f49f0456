//! A caller's own small limits: creel says what is missing, or runs, and always with its own exit status.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use crate::support::{Run, Who, Workspace, is_root, need, shell_status};

/// `creel run FLAGS -- ARGV` under these words of `bash`.
fn under(who: Who, workspace: &Workspace, words: &str, flags: &[&str], argv: &[&str]) -> Output {
    need("bash");
    let creel = Run::new(who, workspace).flags(flags).command(argv);
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["-c", &format!("{words}; exec \"$@\""), "bash"])
        .arg(creel.get_program())
        .args(creel.get_args())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(workspace.path())
        .stdin(Stdio::null());
    if is_root() && who == Who::User {
        let (uid, gid, home) = who.account();
        shell.env("HOME", home).uid(uid).gid(gid);
    }
    shell.output().expect("bash runs")
}

each!(too_few_descriptors_are_told_as_such);
/// Whatever it is that cannot be opened any more, that is what is said, with the remedy.
fn too_few_descriptors_are_told_as_such(who: Who) {
    let workspace = Workspace::new(who);
    let mut refused = 0;
    for number in (6..=250).step_by(3) {
        let words = format!("ulimit -n {number}");
        let output = under(who, &workspace, &words, &[], &["/bin/true"]);
        let text = String::from_utf8_lossy(&output.stderr);
        let status = shell_status(output.status);
        assert!(status == 0 || status == 125, "{number}: {status} {text}");
        if status == 125 {
            refused += 1;
            assert!(text.contains("Too many open files"), "{number}: {text}");
            assert!(!text.contains("changed"), "{number}: {text}");
        }
    }
    assert!(refused > 5, "the control: few are too few");
    let output = under(who, &workspace, "ulimit -n 250", &[], &["/bin/true"]);
    assert!(output.status.success(), "{output:?}");
}

each!(too_few_descriptors_for_a_pattern_are_told_as_such);
/// A walk has as many directories open as are nested: with fewer descriptors nothing is left out.
fn too_few_descriptors_for_a_pattern_are_told_as_such(who: Who) {
    let workspace = Workspace::new(who);
    let deep = format!("{}.env", "d/".repeat(30));
    workspace.write(&deep, "secret\n");
    let policy = workspace.outside().join("deny.toml");
    let text = "extends = ['default']\n[filesystem]\ndeny = [{ path = '$WORKSPACE/**/.env', optional = true }]\n";
    std::fs::write(&policy, text).expect("write");
    let flags = ["--policy", policy.to_str().expect("text")];
    let read = ["/bin/cat", &deep];
    let (mut pattern, mut elsewhere) = (0, 0);
    for number in (9..=60).step_by(3) {
        let words = format!("ulimit -n {number}");
        let output = under(who, &workspace, &words, &flags, &read);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(shell_status(output.status), 125, "{number}: {text}");
        assert!(text.contains("Too many open files"), "{number}: {text}");
        match text.contains("cannot be expanded") {
            true => {
                assert!(text.contains("ulimit -Hn"), "{number}: {text}");
                pattern += 1;
            }
            false => elsewhere += 1,
        }
    }
    assert!(pattern > 3 && elsewhere > 0, "{pattern} {elsewhere}");
    // With enough of them, the denial holds.
    let output = under(who, &workspace, "ulimit -n 250", &flags, &read);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Permission denied"), "{output:?}");
}

each!(a_small_limit_of_file_sizes_ends_creel_by_no_signal);
/// A write beyond the caller's limit is an errno to creel, and the command gets the signal as ever.
fn a_small_limit_of_file_sizes_ends_creel_by_no_signal(who: Who) {
    let workspace = Workspace::new(who);
    for blocks in [0, 1, 2, 8, 16] {
        let words = format!("ulimit -f {blocks}");
        let flags = ["--status-file", "verdict.json"];
        let output = under(who, &workspace, &words, &flags, &["/bin/true"]);
        let text = String::from_utf8_lossy(&output.stderr);
        let status = shell_status(output.status);
        assert!(status == 0 || status == 125, "{blocks}: {status} {text}");
        assert_eq!(
            status == 125,
            text.contains("ulimit -f"),
            "{blocks}: {text}"
        );
        let there = workspace.path().join("verdict.json");
        assert_eq!(there.exists(), status == 0, "{blocks}: {text}");
        let _ = std::fs::remove_file(there);
    }
    let head = ["/usr/bin/head", "-c", "4M", "/dev/zero"];
    let script = "exec head -c 4M /dev/zero > f";
    let sh = ["/bin/sh", "-c", script];
    let output = under(who, &workspace, "ulimit -f 2048", &[], &sh);
    assert_eq!(shell_status(output.status), 153, "{output:?}");
    // The output of the command, in a file of the caller's.
    let words = format!(
        "exec > {}; ulimit -f 2048",
        workspace.path().join("out").display()
    );
    let output = under(who, &workspace, &words, &[], &head);
    let text = String::from_utf8_lossy(&output.stderr);
    // The command's own end: its pipe was closed.
    assert_eq!(shell_status(output.status), 141, "{text}");
    assert!(
        text.contains("could not be delivered: File too large"),
        "{text}"
    );
    let written = std::fs::metadata(workspace.path().join("out")).expect("stat");
    assert_eq!(written.len(), 2 << 20);
}

each!(the_command_has_the_signals_as_any_program_has_them);
fn the_command_has_the_signals_as_any_program_has_them(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .sh("grep SigIgn /proc/self/status")
        .ok();
    let ignored = ran.stdout.trim_start_matches("SigIgn:").trim();
    let ignored = u64::from_str_radix(ignored, 16).expect("a mask");
    // Others may be ignored by whoever runs the tests.
    for number in [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGXCPU] {
        assert_eq!(ignored & (1 << (number - 1)), 0, "{number}: {ignored:x}");
    }
}
