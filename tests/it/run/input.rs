//! Nonsense on the command line and in policies: one line, exit 125, nothing run.

use std::process::Command;

use crate::support::{Ran, Run, Who, Workspace, binary};

/// creel with these arguments and nothing else.
fn creel(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(arguments)
        .output()
        .expect("creel runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[track_caller]
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    assert!(ran.stderr.starts_with("creel: "), "{ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{word}: {ran:#?}");
    }
}

#[test]
fn nonsense_on_the_command_line_is_one_line_and_125() {
    for arguments in [
        &["run", "--no-such-flag", "--", "true"][..],
        &["run", "--"],
        &["run"],
        &["run", "true"],
        &["run", "--memory", "--", "true"],
        &["run", "--quiet", "--verbose", "--", "true"],
        &["run", "--json", "--", "true"],
        &["run", "--", ""],
        &["no-such-verb"],
        &["--no-such-flag"],
        &["run", "--timeout=1s", "--timeout=2s", "--", "true"],
    ] {
        let (status, text) = creel(arguments);
        assert_eq!(status, Some(125), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
        assert!(text.starts_with("creel: "), "{arguments:?}: {text}");
    }
    let (status, text) = creel(&["run", "--memroy", "1GiB", "--", "true"]);
    assert!(status == Some(125) && text.contains("--memory"), "{text}");
}

#[test]
fn values_that_overflow_or_mean_nothing_are_refused() {
    for (flag, values) in [
        (
            "--memory",
            &[
                "99999999999999999999GiB",
                "16777216TiB",
                "18446744073709551616",
                "0",
                "-1",
                "1.5GiB",
                "12 GiB",
                "GiB",
                "",
                "1e9",
                "0x10",
            ][..],
        ),
        ("--disk", &["18446744073709551615TiB", "-5", "none"]),
        ("--output-limit", &["99999999999999999999", "unlimited"]),
        (
            "--pids",
            &["0", "-1", "4294967296", "99999999999999999999", "1k", ""],
        ),
        (
            "--cpus",
            &["0", "-1", "0.001", "99999999999", "NaN", "inf", "1,5"],
        ),
        (
            "--timeout",
            &[
                "0s",
                "10",
                "99999999999999999999s",
                "200000d",
                "1s1h",
                "-1s",
                "forever",
                "",
            ],
        ),
        ("--cpu-time", &["0s", "5", "9223372036854775807h"]),
        (
            "--status-fd",
            &["-1", "x", "99999999999999999999", "2147483648"],
        ),
    ] {
        for value in values {
            let (status, text) = creel(&["run", &format!("{flag}={value}"), "--", "true"]);
            assert_eq!(status, Some(125), "{flag}={value}: {text}");
            assert!(
                text.contains(flag) && text.lines().count() == 1,
                "{flag}={value}: {text}"
            );
        }
    }
}

each!(the_largest_values_that_are_accepted_work);
/// The largest that is accepted works: no sum of it overflows on the way to the kernel.
fn the_largest_values_that_are_accepted_work(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags([
            "--memory",
            "8388607TiB",
            "--pids",
            "4294967295",
            "--cpus",
            "4096",
        ])
        .flags([
            "--timeout",
            "106751d",
            "--cpu-time",
            "106751d",
            "--disk",
            "8388607TiB",
            "--output-limit",
            "8388607TiB",
        ])
        .sh("echo fine");
    assert_eq!(ran.ok().stdout, "fine\n");
}

each!(the_smallest_values_that_are_accepted_end_in_a_verdict);
fn the_smallest_values_that_are_accepted_end_in_a_verdict(who: Who) {
    let workspace = Workspace::new(who);
    for flag in [
        "--memory=1B",
        "--pids=1",
        "--disk=1B",
        "--timeout=1ms",
        "--cpu-time=1ms",
        "--output-limit=1B",
        "--cpus=0.01",
    ] {
        let ran = Run::new(who, &workspace).flags([flag]).sh("echo fine");
        assert!(ran.verdict["kind"].is_string(), "{flag}: {ran:#?}");
        assert_eq!(ran.verdict["exit_status"], ran.status, "{flag}: {ran:#?}");
    }
}

each!(a_policy_that_cannot_be_read_is_refused);
fn a_policy_that_cannot_be_read_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let path = |name: &str| workspace.outside().join(name).display().to_string();
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(workspace.outside().join(name), bytes).expect("write")
    };
    std::fs::create_dir(path("dir.toml")).expect("mkdir");
    put("empty.toml", b"");
    put("huge.toml", &vec![b'#'; 2 << 20]);
    put("binary.toml", &[0, 159, 146, 150, 255]);
    put("nul.toml", b"[filesystem]\nread = [\"/etc/\\u0000x\"]\n");
    put("syntax.toml", b"[filesystem\n");
    put("unknown.toml", b"[filesystem]\nraed = []\n");
    put("type.toml", b"[limits]\nmemory = 5\n");
    put("unit.toml", b"[limits]\nmemory = \"99999999999GiB\"\n");
    put("glob.toml", b"[filesystem]\nread = [\"/etc/*\"]\n");
    put("up.toml", b"[filesystem]\nread = [\"/etc/../root\"]\n");
    put("relative.toml", b"[filesystem]\nread = [\"etc\"]\n");
    put("net.toml", b"[network]\nmode = \"host\"\n");
    for (name, words) in [
        ("dir.toml", &["is a directory"][..]),
        ("absent.toml", &["cannot read the policy"]),
        ("huge.toml", &["larger than"]),
        ("binary.toml", &["UTF-8"]),
        ("nul.toml", &["NUL"]),
        ("syntax.toml", &["syntax.toml:1"]),
        ("unknown.toml", &["raed", "'read'"]),
        ("type.toml", &["type.toml:2", "memory"]),
        ("unit.toml", &["unit.toml:2", "memory"]),
        ("glob.toml", &["glob.toml:2"]),
        ("up.toml", &["up.toml:2", ".."]),
        ("relative.toml", &["relative.toml:2"]),
        ("net.toml", &["net.toml:2", "none"]),
    ] {
        refused(
            &Run::new(who, &workspace).policy(path(name)).sh("true"),
            words,
        );
    }
    refused(
        &Run::new(who, &workspace).policy("defualt").sh("true"),
        &["defualt", "default", "coding"],
    );
    refused(
        &Run::new(who, &workspace).policy("").sh("true"),
        &["--policy"],
    );
    // An empty policy is one: it grants nothing, and so there is no command to find.
    let ran = Run::new(who, &workspace)
        .policy(path("empty.toml"))
        .argv(["/bin/true"]);
    assert_eq!((ran.status, ran.kind()), (127, "setup_failed"), "{ran:#?}");
}

#[test]
fn a_policy_that_the_caller_may_not_read_is_refused() {
    let workspace = Workspace::new(Who::User);
    let path = workspace.outside().join("private.toml");
    std::fs::write(&path, "").expect("write");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o0)).expect("chmod");
    if crate::support::is_root() {
        refused(
            &Run::new(Who::User, &workspace).policy(&path).sh("true"),
            &["cannot read the policy", "ermission denied"],
        );
    }
}

each!(errors_are_one_line_whatever_the_names_in_them);
/// A name with control characters cannot write on the caller's terminal or forge a second line.
fn errors_are_one_line_whatever_the_names_in_them(who: Who) {
    let workspace = Workspace::new(who);
    for name in [
        "/no/\x1b[31msuch",
        "/no\ncreel: all is well",
        "/no\rsuch",
        "/no/\u{7f}",
    ] {
        let ran = Run::new(who, &workspace).flags(["--read", name]).sh("true");
        refused(&ran, &["does not exist"]);
        assert!(
            !ran.stderr.trim_end().contains(|c: char| c.is_control()),
            "{ran:#?}"
        );
    }
    let ran = Run::new(who, &workspace).argv(["no\nsuch\x1bcommand"]);
    assert_eq!(
        (ran.status, ran.stderr.lines().count()),
        (127, 1),
        "{ran:#?}"
    );
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["--version"],
        &["run", "-h"],
    ] {
        let output = Command::new(binary())
            .args(arguments)
            .output()
            .expect("creel runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_command_without_the_dashes_is_shown_where_they_go() {
    let (status, text) = creel(&["run", "ls", "-la"]);
    assert_eq!(status, Some(125));
    assert_eq!(
        text,
        "creel: the command goes after `--`: creel run -- ls -la\n"
    );
    // Flags of creel stay before them, and a value is not the command.
    for (line, shown) in [
        (
            &["run", "--timeout", "5s", "ls", "-l"][..],
            "creel run --timeout 5s -- ls -l",
        ),
        (
            &["run", "--read", "ls", "-q", "ls", "a b", "it's"],
            r"creel run --read ls -q -- ls 'a b' 'it'\''s'",
        ),
        (&["run", "ls", "--help"], "creel run -- ls --help"),
    ] {
        let (status, text) = creel(line);
        assert_eq!(status, Some(125), "{text}");
        assert_eq!(
            text,
            format!("creel: the command goes after `--`: {shown}\n")
        );
    }
}
