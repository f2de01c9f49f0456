//! firejail CVE-2022-31214, CVE-2021-26910: state that somebody else had prepared is trusted. There
//! is no `exec` into a jail yet; what can be forged is the state directory, its lock file, and the
//! cgroup directories under the names of the slots.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::in_own_mounts;
use crate::support::{
    Run, Who, Workspace, binary, is_root,
    wait::{self, PATIENCE},
};

/// One of these tests at a time: a creel with a state directory of its own does not see who has which
/// slot, and one that finds its first slot taken goes on to its neighbour's.
fn by_turns() -> std::fs::File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("forged-state");
    let turn = std::fs::File::create(path).expect("a lock file");
    turn.lock().expect("a turn");
    turn
}

#[test]
fn a_state_directory_of_somebody_else_is_refused() {
    let who = Who::Root;
    if !is_root() {
        // Without a cgroup a rootless jail needs no slot and no state directory.
        eprintln!("skipped: /run/creel is root's");
        return;
    }
    let _turn = by_turns();
    let workspace = Workspace::new(who);
    for (setup, status) in [
        (":", 0),
        ("mkdir -m 700 /run/creel", 0),
        ("mkdir -m 700 /run/creel; chown 1 /run/creel", 125),
        ("mkdir -m 777 /run/creel", 125),
        ("mkdir -m 770 /run/creel", 125),
        ("mkdir -m 1777 /run/creel", 125),
        ("mkdir -m 700 /run/real; ln -s real /run/creel", 125),
        ("echo > /run/creel", 125),
        (
            "mkdir -m 700 /run/creel; echo precious > /run/target; ln -s ../target /run/creel/slots",
            125,
        ),
        (
            "mkdir -m 700 /run/creel; ln -s ../absent /run/creel/slots",
            125,
        ),
        ("mkdir -m 700 /run/creel; mkdir /run/creel/slots", 125),
    ] {
        let setup = format!("umask 0; mount -t tmpfs none /run\n{setup}");
        let run = Run::new(who, &workspace);
        let output = in_own_mounts(who, &run, &setup, &["/bin/echo", "ran"]).expect("root");
        assert_eq!(output.status.code(), Some(status), "{setup}: {output:#?}");
        assert_eq!(
            output.stdout.is_empty(),
            status != 0,
            "{setup}: {output:#?}"
        );
    }
}

/// The hierarchies in which a slot's directory may be.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.into()];
    }
    let all = ["memory", "cpu", "pids", "unified"].map(|name| root.join(name));
    all.into_iter()
        .filter(|dir| dir.join("cgroup.procs").exists())
        .collect()
}

/// A process of the test's own in a directory under a slot's name.
struct Foreign {
    sleeper: Child,
    group: PathBuf,
}

impl Foreign {
    fn alive(&mut self) -> bool {
        self.sleeper.try_wait().expect("wait").is_none()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
        wait::within(PATIENCE, || {
            std::fs::remove_dir(&self.group).is_ok() || !self.group.exists()
        });
        let _ = std::fs::remove_dir(self.group.parent().expect("a parent"));
    }
}

/// A shell that waits for a line and then becomes creel: its pid, hence creel's first slot, is known.
fn waiting_creel(workspace: &Workspace, script: &str) -> (Child, u32) {
    let inner = Run::new(Who::Root, workspace).command(["/bin/sh", "-c", script]);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "read line && exec \"$@\" </dev/null", "sh"])
        .arg(binary())
        .args(inner.get_args());
    command
        .current_dir(workspace.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("sh starts");
    let slot = child.id() % 4096;
    (child, slot)
}

/// The same with a new directory under its first slot's name. Jails of others may live on the machine:
/// what one of them has is not taken for the test's own.
fn forged(workspace: &Workspace, hierarchy: &Path, script: &str) -> (Child, u32, PathBuf) {
    let parent = hierarchy.join("creel");
    for _ in 0..64 {
        let (mut child, slot) = waiting_creel(workspace, script);
        std::fs::create_dir_all(&parent).expect("mkdir");
        let group = parent.join(slot.to_string());
        match std::fs::create_dir(&group) {
            Ok(()) => return (child, slot, group),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                child.kill().expect("kill");
                child.wait().expect("wait");
            }
            Err(error) => panic!("{}: {error}", group.display()),
        }
    }
    panic!("64 slots in turn are somebody's");
}

#[test]
fn a_process_in_a_group_with_a_slots_name_is_neither_joined_nor_killed() {
    if !is_root() {
        eprintln!("skipped: forging cgroups needs root");
        return;
    }
    let _turn = by_turns();
    let workspace = Workspace::new(Who::Root);
    for hierarchy in hierarchies() {
        let script =
            "cat /proc/self/cgroup; touch begun; until [ -e stop ]; do sleep 0.02; done; rm stop";
        let (mut child, slot, group) = forged(&workspace, &hierarchy, script);
        let sleeper = Command::new("/bin/sleep").arg("60").spawn().expect("sleep");
        let mut foreign = Foreign {
            sleeper,
            group: group.clone(),
        };
        std::fs::write(group.join("cgroup.procs"), foreign.sleeper.id().to_string()).expect("join");
        let limits = [
            "memory.limit_in_bytes",
            "pids.max",
            "cpu.cfs_quota_us",
            "memory.max",
        ];
        let before: Vec<_> = limits
            .iter()
            .map(|f| std::fs::read_to_string(group.join(f)).ok())
            .collect();

        use std::io::Write;
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(b"go\n")
            .expect("write");
        let begun = workspace.path().join("begun");
        wait::until("it begins", || {
            begun.exists() || child.try_wait().expect("wait").is_some()
        });
        if !begun.exists() {
            panic!("it ended: {:#?}", child.wait_with_output());
        }
        std::fs::remove_file(begun).expect("rm");
        let members = std::fs::read_to_string(group.join("cgroup.procs")).expect("read");
        assert_eq!(
            members.trim(),
            foreign.sleeper.id().to_string(),
            "somebody joined {}",
            group.display()
        );
        workspace.write("stop", "");
        let output = child.wait_with_output().expect("creel ends");
        assert!(output.status.success(), "{output:#?}");
        assert!(
            foreign.alive(),
            "creel killed a process that it did not start: {output:#?}"
        );
        let after: Vec<_> = limits
            .iter()
            .map(|f| std::fs::read_to_string(group.join(f)).ok())
            .collect();
        assert_eq!(before, after, "creel set limits on {}", group.display());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            !text
                .lines()
                .any(|line| line.ends_with(&format!("creel/{slot}"))),
            "{text}"
        );
    }
}

#[test]
fn an_empty_directory_that_a_crash_left_is_used_again_and_removed() {
    if !is_root() {
        eprintln!("skipped: forging cgroups needs root");
        return;
    }
    let _turn = by_turns();
    let workspace = Workspace::new(Who::Root);
    for hierarchy in hierarchies() {
        let (mut child, _, group) = forged(&workspace, &hierarchy, "exit 3");
        use std::io::Write;
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(b"go\n")
            .expect("write");
        let output = child.wait_with_output().expect("creel ends");
        assert_eq!(output.status.code(), Some(3), "{output:#?}");
        assert!(!group.exists(), "{} is left", group.display());
    }
}
