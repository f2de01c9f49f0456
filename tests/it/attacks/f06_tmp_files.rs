//! CVE-2026-46406: a fixed, world-readable path in a shared `/tmp`. creel has no file there; its
//! state and its verdicts are nobody else's to read, and no planted link is followed.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Stdio;

use super::in_own_mounts;
use crate::support::{Run, Who, Workspace, is_root, wait};

fn shared() -> BTreeSet<String> {
    ["/tmp", "/var/tmp", "/dev/shm"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).expect("readable"))
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .filter(|path| !path.contains("creel-it-") && !path.contains("/."))
        .filter(|path| path.contains("creel"))
        .collect()
}

each!(creel_has_no_file_in_a_shared_directory);
fn creel_has_no_file_in_a_shared_directory(who: Who) {
    let workspace = Workspace::new(who);
    let before = shared();
    let mut command =
        Run::new(who, &workspace).command(["/bin/sh", "-c", "echo > running; exec sleep 60"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("creel");
    let running = workspace.path().join("running");
    wait::until("it runs", || running.exists());
    let during = shared();
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(
        during.difference(&before).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    assert!(
        std::fs::read_dir("/tmp").expect("readable").count() > 0,
        "the place that was looked at is the right one"
    );
}

#[test]
fn state_is_made_for_nobody_else() {
    if !is_root() {
        eprintln!("skipped: /run/creel is root's");
        return;
    }
    const UNTIL: &str = "for n in $(seq 1500); do [ -s report ] && break; sleep 0.02; done";
    let workspace = Workspace::new(Who::Root);
    let report = workspace.path().join("report");
    let setup = format!(
        "umask 0; mount -t tmpfs none /run\n(until [ -e /run/creel/slots ]; do sleep 0.01; done; stat -c '%n %a %u' /run/creel /run/creel/* > {}) >/dev/null 2>&1 &",
        report.display()
    );
    let run = Run::new(Who::Root, &workspace);
    let output = in_own_mounts(Who::Root, &run, &setup, &["/bin/sh", "-c", UNTIL]).expect("root");
    assert!(output.status.success(), "{output:#?}");
    let text = std::fs::read_to_string(report).expect("the report");
    assert_eq!(text, "/run/creel 700 0\n/run/creel/slots 600 0\n");
}

each!(a_planted_link_in_the_place_of_the_verdict_is_not_followed);
fn a_planted_link_in_the_place_of_the_verdict_is_not_followed(who: Who) {
    let workspace = Workspace::new(who);
    let precious = workspace.write("precious", "precious\n");
    let absent = workspace.path().join("absent");
    for (name, target) in [("to-file", &precious), ("to-nothing", &absent)] {
        let verdict = workspace.path().join(name);
        symlink(target, &verdict).expect("symlink");
        Run::new(who, &workspace)
            .flags([std::ffi::OsStr::new("--status-file"), verdict.as_os_str()])
            .sh(":")
            .ok();
        let meta = std::fs::symlink_metadata(&verdict).expect("the verdict");
        assert!(meta.is_file(), "{name} is still a link");
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        assert_eq!(meta.uid(), who.account().0);
        assert!(
            std::fs::read_to_string(&verdict)
                .expect("readable")
                .contains("\"kind\"")
        );
    }
    assert_eq!(
        std::fs::read_to_string(&precious).expect("readable"),
        "precious\n"
    );
    assert!(!absent.exists());
    // Planted by the jail itself while it runs.
    let verdict = workspace.path().join("late");
    let ran = Run::new(who, &workspace)
        .flags([std::ffi::OsStr::new("--status-file"), verdict.as_os_str()])
        .sh("ln -s precious late; ln -f precious hard");
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert!(
        std::fs::symlink_metadata(&verdict)
            .expect("the verdict")
            .is_file()
    );
    assert_eq!(
        std::fs::read_to_string(&precious).expect("readable"),
        "precious\n"
    );
    // A directory cannot be replaced, and the run does not pretend that it was.
    let verdict = workspace.path().join("dir");
    let ran = Run::new(who, &workspace)
        .flags([std::ffi::OsStr::new("--status-file"), verdict.as_os_str()])
        .sh("mkdir dir");
    assert_eq!(ran.status, 125, "{ran:#?}");
}
