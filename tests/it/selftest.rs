//! `creel selftest` on this kernel: green as it is, and without each layer red where it should be.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Who, Workspace, binary, children_of, is_root, wait};

struct Tested {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn selftest(who: Who, flags: &[&str]) -> Tested {
    let workspace = Workspace::new(who);
    selftest_in(who, &workspace.path(), flags)
}

/// In `base`, where nothing must be left of it.
fn selftest_in(who: Who, base: &Path, flags: &[&str]) -> Tested {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", base);
    command.arg("selftest").args(flags).current_dir(base);
    let (uid, gid, home) = who.account();
    if is_root() && who == Who::User {
        command.env("HOME", home).uid(uid).gid(gid);
    }
    if who == Who::User {
        command.args(["--allow-degraded", "cgroup"]);
    }
    let output = command.output().expect("creel starts");
    let left: Vec<_> = std::fs::read_dir(base).expect("a directory").collect();
    assert!(left.is_empty(), "left behind: {left:?}\n{output:#?}");
    Tested {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// It has run jails, and listens for no signal any more.
#[test]
fn a_report_that_nobody_reads_does_not_outlive_a_term() {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("ioctl");
    while rustix::io::write(&writer, &[b' '; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("ioctl");
    let base = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(binary())
        .arg("selftest")
        .env("TMPDIR", base.path())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .expect("creel starts");
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id()));
    // It has no jail, and waits in ppoll(2): for room in stdout.
    let writes = wait::within(Duration::from_secs(100), || {
        of("syscall").is_ok_and(|call| call.starts_with("271 "))
            && children_of(child.id()).is_empty()
    });
    assert!(writes, "it does not write");
    // SAFETY: two integers; the child is not reaped yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(wait::end(&mut child).signal(), Some(libc::SIGTERM));
}

each!(every_attempt_is_stopped_and_all_work_is_done);
fn every_attempt_is_stopped_and_all_work_is_done(who: Who) {
    let tested = selftest(who, &[]);
    assert_eq!(
        tested.status,
        Some(0),
        "{who:?}\n{}{}",
        tested.stdout,
        tested.stderr
    );
    let last = tested.stdout.lines().last().expect("a last line");
    let words: Vec<&str> = last.split(' ').collect();
    assert_eq!(words[1..], ["passed,", "0", "failed"], "{last}");
    assert!(words[0].parse::<u32>().expect("a count") > 200, "{last}");
}

/// A container's usual case: creel in a pid namespace, its session's leader outside of it. Once a
/// session number of 0 ended the self-test.
#[test]
fn a_session_from_outside_of_the_pid_namespace_changes_nothing() {
    use std::os::unix::process::CommandExt;
    let workspace = Workspace::new(Who::User);
    let (uid, gid, home) = Who::User.account();
    let mut command = Command::new("unshare");
    // A user namespace first: with it an ordinary user may have a pid namespace.
    command
        .args([
            "--map-current-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "--",
        ])
        .arg(binary())
        .args(["selftest", "--allow-degraded", "cgroup"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", workspace.path())
        .current_dir(workspace.path());
    if is_root() {
        command.env("HOME", home).uid(uid).gid(gid);
    }
    let output = command.output().expect("unshare starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:#?}");
    assert!(stdout.ends_with("passed, 0 failed\n"), "{stdout}");
}

/// A test for each layer that can be taken out of a plan.
mod without_a_layer_exactly_what_it_alone_stops_gets_through {
    use crate::support::Who;

    macro_rules! without {
        ($($test:ident: $layer:literal),+ $(,)?) => {$(
            each!($test);
            fn $test(who: Who) {
                super::weakened(who, $layer);
            }
        )+};
    }

    without! {
        pid_namespace: "pid-namespace",
        network: "network",
        ipc_namespace: "ipc-namespace",
        uts_namespace: "uts-namespace",
        cgroup_namespace: "cgroup-namespace",
        root: "root",
        read_only: "read-only",
        noexec: "noexec",
        seal: "seal",
        masks: "masks",
        environment: "environment",
        descriptors: "descriptors",
        keyring: "keyring",
        rlimits: "rlimits",
        cgroup: "cgroup",
        disk: "disk",
        supervisor: "supervisor",
        capabilities: "capabilities",
        no_new_privileges: "no-new-privileges",
        landlock: "landlock",
        seccomp: "seccomp",
    }
}

fn weakened(who: Who, layer: &str) {
    if who == Who::User && ["cgroup", "cgroup-namespace"].contains(&layer) {
        eprintln!("skipped: an ordinary user has no {layer} here");
        return;
    }
    let tested = selftest(who, &["--without", layer]);
    let shown = format!(
        "{who:?} without {layer}\n{}{}",
        tested.stdout, tested.stderr
    );
    assert_eq!(tested.status, Some(1), "{shown}");
    let lines: Vec<&str> = tested.stdout.lines().collect();
    let [.., summary, _] = lines.as_slice() else {
        panic!("{shown}")
    };
    assert!(
        summary.starts_with(&format!("weakened {layer}: expected ")),
        "{shown}"
    );
    let counts: Vec<u32> = summary
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    let [expected, got, unexpected] = counts[..] else {
        panic!("{shown}")
    };
    assert!(
        expected >= 1 && got == expected && unexpected == 0,
        "{shown}"
    );
}

#[test]
fn the_json_form_says_the_same() {
    let tested = selftest(Who::User, &["--json"]);
    let report: Value = serde_json::from_str(&tested.stdout).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let count = |state: &str| rows.iter().filter(|row| row["state"] == state).count();
    assert_eq!(report["passed"], count("ok"));
    assert_eq!(report["failed"], 0, "{}", tested.stdout);
    let names: std::collections::BTreeSet<_> =
        rows.iter().map(|row| row["name"].to_string()).collect();
    assert_eq!(names.len(), rows.len(), "two rows have one name");
}

/// docs/kernel-exploits.md promises rows: each that it names is one, and each door of an exploit is named.
#[test]
fn the_page_of_exploits_names_rows_of_the_self_test() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/kernel-exploits.md"
    ));
    let page = page.expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let last: Vec<&str> = rows.filter_map(|row| row.split(" | ").last()).collect();
    let named = last
        .iter()
        .flat_map(|cell| cell.split('"').skip(1).step_by(2));
    let named: std::collections::BTreeSet<&str> = named.collect();
    let tested = selftest(Who::User, &["--json"]);
    let report: Value = serde_json::from_str(&tested.stdout).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let of = |name: &str| rows.iter().find(|row| row["name"] == name);
    assert!(named.len() >= 9, "{named:?}");
    for name in &named {
        assert_eq!(
            of(name).map(|row| &row["state"]),
            Some(&"ok".into()),
            "{name}"
        );
    }
    for row in rows.iter().filter(|row| row["group"] == "exploits") {
        assert!(
            named.contains(row["name"].as_str().expect("a name")),
            "{row}"
        );
    }
}

#[test]
fn the_inner_half_refuses_to_run_outside() {
    for creel in [None, Some("1")] {
        let mut command = Command::new(binary());
        command.env_clear().args([
            "selftest",
            "--inside",
            r#"{"spend":{"spend":"time","shares_pids":false}}"#,
        ]);
        command.envs(creel.map(|value| ("CREEL", value)));
        let output = command.output().expect("creel starts");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
    }
}

/// Entries of a self-test in `base`, once `count` of them exist.
fn scratches(base: &Path, count: usize) -> Vec<PathBuf> {
    wait::some("whole self-tests", || {
        let entries = std::fs::read_dir(base).expect("a directory").flatten();
        let found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        // Its last canary.
        let is_whole = |dir: &&PathBuf| dir.join("noexec/program").exists();
        let whole = found.iter().filter(is_whole).count();
        (whole == count && found.len() == count).then_some(found)
    })
}

fn begin(who: Who, base: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(binary());
    command.env_clear().env("TMPDIR", base).current_dir(base);
    command
        .args(["selftest", "--allow-degraded", "cgroup"])
        .stdout(Stdio::null());
    let (uid, gid, home) = who.account();
    if is_root() && who == Who::User {
        command.env("HOME", home).uid(uid).gid(gid);
    }
    command.spawn().expect("creel starts")
}

each!(what_a_killed_self_test_left_goes_with_the_next_and_a_living_ones_stays);
fn what_a_killed_self_test_left_goes_with_the_next_and_a_living_ones_stays(who: Who) {
    // A directory is locked until its last holder is gone, and that may be a process of its jails, which
    // ends a moment after the supervisor: all of them are waited for here.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).expect("a subreaper");
    let end = |children: Vec<Child>| {
        for mut child in children {
            child.kill().expect("kill");
        }
        let any = rustix::process::WaitOptions::empty();
        while rustix::process::wait(any).is_ok() {}
    };
    let workspace = Workspace::new(who);
    let base = workspace.path();
    let killed = begin(who, &base);
    let left = scratches(&base, 1);
    end(vec![killed]);
    assert_eq!(scratches(&base, 1), left, "the control: it is left behind");
    let living = begin(who, &base);
    wait::until("what was left goes", || !left[0].exists());
    let its = scratches(&base, 1);
    let third = begin(who, &base);
    let both = scratches(&base, 2);
    assert!(both.contains(&its[0]), "{both:?} without {its:?}");
    end(vec![third, living]);
    let last = selftest_in(who, &base, &[]);
    assert_eq!(last.status, Some(0), "{}{}", last.stdout, last.stderr);
}
