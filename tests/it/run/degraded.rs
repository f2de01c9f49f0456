//! Runs without one of the layers: closed unless the caller says otherwise, and then reported.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use crate::support::{Run, Who, Workspace, binary, is_root, wait};

/// `creel run FLAGS -- true` as the ordinary user, with no flag of the harness's.
fn rootless(workspace: &Workspace, flags: &[&str]) -> Output {
    let (uid, gid, home) = Who::User.account();
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("HOME", home)
        .arg("run")
        .args(flags)
        .args(["--", "true"])
        .current_dir(workspace.path());
    if is_root() {
        command.uid(uid).gid(gid);
    }
    command.output().expect("creel runs")
}

#[test]
fn without_a_cgroup_a_rootless_run_fails_closed_and_names_the_remedy() {
    let workspace = Workspace::new(Who::User);
    let output = rootless(&workspace, &[]);
    if output.status.success() {
        eprintln!("skipped: this user has a delegated cgroup");
        return;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in ["cgroup", "--allow-degraded cgroup"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // It would ask the manager that creel has asked, and no manager can delegate v1.
    assert!(!text.contains("systemd-run"), "{text}");
    let remedy = match text.contains("cgroup v1") {
        true => "systemd.unified_cgroup_hierarchy=1",
        false => "manager",
    };
    assert!(text.contains(remedy), "{text}");
    let output = rootless(&workspace, &["--allow-degraded", "cgroup"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_degraded_run_says_so_in_its_receipt_and_when_verbose() {
    let workspace = Workspace::new(Who::User);
    if rootless(&workspace, &[]).status.success() {
        eprintln!("skipped: this user has a delegated cgroup");
        return;
    }
    let ran = Run::new(Who::User, &workspace)
        .flags(["-v"])
        .sh("true")
        .ok();
    let layers = ran.verdict["receipt"]["layers"]
        .as_array()
        .expect("layers")
        .clone();
    let off: Vec<_> = layers
        .iter()
        .filter(|layer| layer["in_force"] == false)
        .collect();
    assert_eq!(off.len(), 1, "{layers:#?}");
    assert_eq!(off[0]["name"], "cgroup");
    let detail = |layer: &serde_json::Value| layer["detail"].as_str().expect("text").to_owned();
    let (lacks, has) = ("no memory and cpu limits", "pids by rlimit");
    assert!(
        detail(off[0]).contains(lacks) && detail(off[0]).contains(has),
        "{off:#?}"
    );
    let rlimits = layers.iter().find(|layer| layer["name"] == "rlimits");
    assert!(detail(rlimits.expect("a row")).ends_with(", nproc"));
    let said = ran
        .stderr
        .lines()
        .any(|line| line.starts_with("creel: OFF cgroup:"));
    assert!(said, "{}", ran.stderr);
}

#[test]
fn without_a_cgroup_processes_are_bounded_by_rlimit() {
    let workspace = Workspace::new(Who::User);
    if rootless(&workspace, &[]).status.success() {
        eprintln!("skipped: this user has a delegated cgroup");
        return;
    }
    let script = "
import errno, os, sys, time
made = 0
for n in range(30):
    try:
        if os.fork() == 0: time.sleep(60)
        made += 1
    except OSError as e: print(made, errno.errorcode[e.errno]); sys.exit(1)
print(made)";
    let run = |count| {
        Run::new(Who::User, &workspace)
            .flags(["--pids", count])
            .python(script)
    };
    // A neighbour of the same user has a count of its own.
    let mut neighbour = Run::new(Who::User, &workspace)
        .flags(["--pids", "10"])
        .command([
            "/bin/sh",
            "-c",
            "for n in 1 2 3 4 5 6; do sleep 60 & done; touch begun; wait",
        ])
        .spawn()
        .expect("creel starts");
    let begun = workspace.path().join("begun");
    wait::until("the neighbour begins", || begun.exists());
    let ran = run("10");
    // The command itself is one of the ten. The kernel keeps no count of what it refused, so the
    // verdict has what the command made of it.
    assert_eq!(
        (ran.status, ran.stdout.as_str()),
        (1, "9 EAGAIN\n"),
        "{ran:#?}"
    );
    assert_eq!(ran.kind(), "exited");
    assert_eq!(run("31").ok().stdout, "30\n");
    neighbour.kill().expect("kill");
    neighbour.wait().expect("wait");
}

#[test]
fn a_whole_run_has_every_layer_in_force_and_lists_them_when_verbose() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let ran = Run::new(Who::Root, &workspace)
        .flags(["-v"])
        .sh("true")
        .ok();
    let layers = ran.verdict["receipt"]["layers"]
        .as_array()
        .expect("layers")
        .clone();
    assert!(
        layers.iter().all(|layer| layer["in_force"] == true),
        "{layers:#?}"
    );
    for layer in layers {
        let name = layer["name"].as_str().expect("a name");
        assert!(
            ran.stderr.contains(&format!("creel: on  {name}:")),
            "{name}: {}",
            ran.stderr
        );
    }
    assert!(!ran.stderr.contains("OFF"));
}

#[test]
fn only_three_layers_can_be_missed() {
    let workspace = Workspace::new(Who::User);
    for layer in ["seccomp", "namespaces", "all", "", "Cgroup"] {
        let output = rootless(&workspace, &["--allow-degraded", layer]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{layer}: {text}");
        assert!(
            text.contains("every other layer is always in force"),
            "{text}"
        );
    }
}
