//! `--dry-run`: the plan as text and as JSON, and nothing run.

use serde_json::Value;

use crate::support::{Run, Who, Workspace};

each!(dry_run_runs_nothing);
fn dry_run_runs_nothing(who: Who) {
    let workspace = Workspace::new(who);
    let status = workspace.outside().join("status");
    let ran = Run::new(who, &workspace)
        .flags(["--dry-run"])
        .sh("touch ran; exit 3")
        .ok();
    assert!(!workspace.path().join("ran").exists());
    assert!(
        ran.stdout.contains("clone into new namespaces") && ran.stderr.is_empty(),
        "{ran:#?}"
    );
    assert_eq!(ran.verdict, Value::Null);
    assert!(!status.exists());
    // Control.
    assert_eq!(Run::new(who, &workspace).sh("touch ran; exit 3").status, 3);
    assert!(workspace.path().join("ran").exists());
}

each!(dry_run_json_is_the_plan);
fn dry_run_json_is_the_plan(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags(["--dry-run", "--json"])
        .argv(["/bin/echo", "a b"])
        .ok();
    let plan: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        plan["command"]["argv"],
        serde_json::json!(["/bin/echo", "a b"])
    );
    assert_eq!(
        plan["command"]["workdir"],
        workspace.path().to_str().expect("text")
    );
    let acts: Vec<&str> = plan["acts"]
        .as_array()
        .expect("acts")
        .iter()
        .map(|a| a["act"].as_str().expect("a name"))
        .collect();
    assert_eq!((acts[0], acts[acts.len() - 1]), ("namespaces", "exec"));
    for wanted in [
        "landlock",
        "seccomp",
        "capabilities",
        "no-new-privileges",
        "pivot",
        "bind",
    ] {
        assert!(acts.contains(&wanted), "{wanted}");
    }
}

each!(the_digest_of_a_plan_is_the_same_twice_and_in_the_receipt);
/// The same policy, request and host make the same plan: its digest names what was enforced.
fn the_digest_of_a_plan_is_the_same_twice_and_in_the_receipt(who: Who) {
    let workspace = Workspace::new(who);
    let digest = |command: &str| {
        let ran = Run::new(who, &workspace)
            .flags(["--dry-run"])
            .sh(command)
            .ok();
        let line = ran
            .stdout
            .lines()
            .find(|line| line.starts_with("plan "))
            .expect("a line")
            .to_owned();
        line.split_whitespace().last().expect("a digest").to_owned()
    };
    let first = digest("true");
    assert_eq!(first, digest("true"));
    assert_ne!(first, digest("false"));
    let ran = Run::new(who, &workspace).sh("true").ok();
    assert_eq!(ran.verdict["receipt"]["plan"], first);
}

each!(dry_run_reports_the_same_errors_as_a_run);
fn dry_run_reports_the_same_errors_as_a_run(who: Who) {
    let workspace = Workspace::new(who);
    let error = |dry: &[&str]| {
        let ran = Run::new(who, &workspace)
            .flags(["--read", "/no/such"])
            .flags(dry)
            .sh("true");
        (ran.status, ran.stderr)
    };
    assert_eq!(error(&["--dry-run"]), error(&[]));
    assert_eq!(error(&[]).0, 125);
}
