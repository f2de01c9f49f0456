//! Exit status, streams and kinds, as `docs/verdict.md` promises.

use crate::support::{Run, Who, Workspace};

each!(the_exit_status_is_the_commands_own);
fn the_exit_status_is_the_commands_own(who: Who) {
    let workspace = Workspace::new(who);
    for code in [0, 1, 3, 124, 125, 255] {
        let ran = Run::new(who, &workspace).sh(&format!("exit {code}"));
        assert_eq!(ran.status, code, "{ran:#?}");
        assert_eq!(ran.kind(), "exited");
        assert_eq!(ran.verdict["code"], code);
    }
    let ran = Run::new(who, &workspace).sh("kill -KILL $$");
    assert_eq!((ran.status, ran.kind()), (137, "signaled"));
    assert_eq!(ran.verdict["signal"], "SIGKILL");
}

each!(a_signal_that_ends_the_command_is_128_and_its_number);
fn a_signal_that_ends_the_command_is_128_and_its_number(who: Who) {
    let workspace = Workspace::new(who);
    let signals = [
        ("HUP", 1),
        ("INT", 2),
        ("ABRT", 6),
        ("SEGV", 11),
        ("PIPE", 13),
        ("TERM", 15),
        ("USR1", 10),
    ];
    for (name, number) in signals {
        let ran = Run::new(who, &workspace).sh(&format!("kill -{name} $$; sleep 9"));
        assert_eq!(
            (ran.status, ran.kind()),
            (128 + number, "signaled"),
            "{name}: {ran:#?}"
        );
        assert_eq!(ran.verdict["signal"], format!("SIG{name}"));
        assert!(ran.verdict["code"].is_null() && ran.verdict["limit"].is_null());
    }
}

each!(a_command_that_is_not_there_is_127);
fn a_command_that_is_not_there_is_127(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("lost", "#!/no/such/interpreter\n");
    for command in [
        "no-such-command",
        "/no/such/command",
        "./absent",
        "./lost",
        "/etc/hosts/x",
    ] {
        let ran = Run::new(who, &workspace).argv([command]);
        assert_eq!((ran.status, ran.kind()), (127, "setup_failed"), "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
        assert!(
            ran.stderr.contains(command.trim_start_matches('.')),
            "{ran:#?}"
        );
    }
    workspace.write("found", "#!/bin/sh\necho found\n");
    assert_eq!(
        Run::new(who, &workspace).argv(["./found"]).ok().stdout,
        "found\n"
    );
}

each!(a_command_that_may_not_be_executed_is_126);
fn a_command_that_may_not_be_executed_is_126(who: Who) {
    use std::os::unix::fs::PermissionsExt;
    let workspace = Workspace::new(who);
    let plain = workspace.write("plain", "#!/bin/sh\necho ran\n");
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o644)).expect("chmod");
    workspace.write("garbage", "\x01\x02 this is no program");
    // A file without the x bit, a directory, and what no `exec` grant covers.
    for (command, kind) in [
        ("./plain", "denied"),
        ("/etc", "denied"),
        ("/etc/hosts", "denied"),
    ] {
        let ran = Run::new(who, &workspace).argv([command]);
        assert_eq!((ran.status, ran.kind()), (126, kind), "{ran:#?}");
        assert!(
            ran.stderr.contains("x bit") && ran.stderr.lines().count() == 1,
            "{ran:#?}"
        );
    }
    let ran = Run::new(who, &workspace).argv(["./garbage"]);
    assert_eq!(ran.status, 126, "{ran:#?}");
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o755)).expect("chmod");
    assert_eq!(
        Run::new(who, &workspace).argv(["./plain"]).ok().stdout,
        "ran\n"
    );
}

each!(creels_own_failure_is_125_and_its_verdict_says_so);
fn creels_own_failure_is_125_and_its_verdict_says_so(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags(["--read", "/no/such/path"])
        .sh("exit 3");
    assert_eq!((ran.status, ran.kind()), (125, "setup_failed"), "{ran:#?}");
    assert!(
        ran.stderr.contains("/no/such/path") && ran.stderr.contains("--read"),
        "{ran:#?}"
    );
    assert!(
        ran.verdict["error"]
            .as_str()
            .expect("an error")
            .contains("/no/such/path")
    );
    let reason = &ran.verdict["reason"];
    assert_eq!(reason["code"], "plan-missing", "{reason}");
    assert!(reason["rule"]["line"].is_null(), "{reason}");
    let file = reason["rule"]["file"].as_str();
    assert!(file.is_some_and(|file| file.contains("--read")), "{reason}");
    Run::new(who, &workspace)
        .flags(["--read", "/etc/os-release"])
        .sh("exit 0")
        .ok();
}

each!(a_verdict_has_the_usage_and_the_receipt);
fn a_verdict_has_the_usage_and_the_receipt(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .sh("echo 12345; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
        .ok();
    let usage = &ran.verdict["usage"];
    assert_eq!(usage["output"], 6);
    assert!(
        usage["wall_us"].as_u64().expect("a number")
            >= usage["user_us"].as_u64().expect("a number") / 4
    );
    assert!(usage["user_us"].as_u64().expect("a number") > 0, "{usage}");
    assert!(
        usage["memory_peak"].as_u64().expect("a number") > 100_000,
        "{usage}"
    );
    let receipt = &ran.verdict["receipt"];
    assert_eq!(receipt["policy"]["name"], "default");
    assert_eq!(receipt["layers"].as_array().expect("layers").len(), 15);
    assert_eq!(ran.verdict["version"], 2);
}

each!(what_the_command_leaves_running_ends_with_it);
fn what_the_command_leaves_running_ends_with_it(who: Who) {
    let workspace = Workspace::new(who);
    let started = std::time::Instant::now();
    let script = "(trap '' TERM HUP; sleep 30; echo late > late) & setsid sleep 30 & exit 4";
    let ran = Run::new(who, &workspace).sh(script);
    assert_eq!(ran.status, 4);
    assert!(started.elapsed().as_secs() < 10, "it waited for children");
}
