//! A session runs out of room on the disk, processes, descriptors or writable directories. Each is an error with a
//! code, and nothing that was there is lost.

use std::process::Command;

use super::{Said, Session, directory_of, own_store_with, said};
use crate::support::{Who, is_root, wait};

/// `creel VERB` under a shell that has run `before`.
fn under(session: &Session, before: &str, verb: &str, words: &[&str]) -> Said {
    let creel = session.creel(verb);
    let mut command = Command::new("/bin/sh");
    let script = format!("{before}; exec \"$@\"");
    command
        .args(["-c", &script, "sh"])
        .arg(creel.get_program())
        .args(creel.get_args())
        .args(words);
    command
        .env_clear()
        .envs(creel.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.current_dir(session.workspace.path());
    let (uid, gid, _) = session.who.account();
    if is_root() && session.who == Who::User {
        use std::os::unix::process::CommandExt as _;
        command.uid(uid).gid(gid);
    }
    said(command)
}

/// The code in the verdict of `creel exec --status-fd 1`.
fn code(said: &Said) -> String {
    let verdict: serde_json::Value = serde_json::from_str(&said.out).expect("a verdict");
    verdict["reason"]["code"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

fn degraded(session: &Session) -> Vec<&'static str> {
    match crate::support::has_cgroups(session.who) {
        true => vec![],
        false => vec!["--allow-degraded", "cgroup"],
    }
}

each!(a_read_only_directory_of_sessions);
fn a_read_only_directory_of_sessions(who: Who) {
    use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
    if !own_store_with(who, "size=1m") {
        return;
    }
    let (session, other) = (Session::new(who), Session::named(who));
    let path = directory_of(who);
    // A mount of its own: files that the keeper has open to be written would keep this one writable.
    mount_bind(&path, &path).expect("bound");
    mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY, c"").expect("read-only");
    let refused = other.create(&[]).status(125);
    assert!(refused.err.contains("Read-only file system"), "{refused:?}");
    session.sh("echo kept > /tmp/file").ok();
    said(session.creel("ps")).ok();
    let refused = session.verb("rm", &["--force"]).status(125);
    assert!(refused.err.contains("Read-only file system"), "{refused:?}");
    let ended = session.exec(&["--status-fd", "1"], &["true"]).status(125);
    assert_eq!(code(&ended), "session-ended");
    unmount(&path, UnmountFlags::empty()).expect("unmounted");
    session.create(&[]).ok();
    session.exec(&[], &["true"]).ok();
}

each!(a_full_disk);
fn a_full_disk(who: Who) {
    // Twelve pages: the files of one session and little more.
    if !own_store_with(who, "size=48k,nr_inodes=40") {
        return;
    }
    let session = Session::new(who);
    let fill = directory_of(who).join("fill");
    let full = || {
        let mut file = std::fs::File::create(&fill).expect("a file");
        let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut file);
    };
    let other = Session::named(who);
    full();
    // A session that lives goes on, and so do its commands.
    assert_eq!(
        session.sh("echo kept > /tmp/file; cat /tmp/file").ok().out,
        "kept\n"
    );
    let refused = other.create(&[]).status(125);
    assert!(refused.err.contains("No space left"), "{refused:?}");
    assert!(!other.directory().exists(), "a directory is left");
    // The output of a job that cannot be kept is told to be lost.
    let job = session.exec(
        &["--detach"],
        &[
            "sh",
            "-c",
            "head -c 200000 /dev/zero; echo done > /tmp/done",
        ],
    );
    let number = job.ok().out.trim().to_owned();
    wait::until("the job ends", || {
        session.verb("attach", &[&number]).status != 0
    });
    let jobs: serde_json::Value =
        serde_json::from_str(&session.verb("jobs", &["--json"]).ok().out).expect("JSON");
    let verdict = &jobs["jobs"][0]["verdict"];
    assert_eq!(verdict["reason"]["code"], "end-output-lost", "{jobs}");
    assert!(
        verdict["error"].to_string().contains("No space left"),
        "{jobs}"
    );
    session.exec(&[], &["true"]).ok();
    std::fs::remove_file(&fill).expect("removed");
    other.create(&[]).ok();
    other.exec(&[], &["true"]).ok();
    session.verb("rm", &["--force"]).ok();
}

each!(few_descriptors);
fn few_descriptors(who: Who) {
    let session = Session::new(who);
    let (mut failed, mut worked) = (0, 0);
    for most in 3..40 {
        let limit = format!("ulimit -n {most}");
        let words = ["--status-fd", "1", &session.name, "--", "true"];
        let done = under(&session, &limit, "exec", &words);
        match done.status {
            0 => worked += 1,
            125 => {
                failed += 1;
                assert!(done.err.contains("creel: "), "{most}: {done:?}");
                // With three, none is left for the verdict.
                assert!(most == 3 || code(&done) != "none", "{most}: {done:?}");
            }
            _ => panic!("{most}: {done:?}"),
        }
    }
    assert!(failed > 0 && worked > 0, "{failed} failed, {worked} worked");
    session.exec(&[], &["true"]).ok();
    // A keeper that is born with few: it is made, or it is not and says so.
    let (mut failed, mut worked) = (0, 0);
    for most in [4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 64, 128] {
        let one = Session::named(who);
        let words = [vec!["--name", &one.name], degraded(&one)].concat();
        let made = under(&one, &format!("ulimit -n {most}"), "create", &words);
        match made.status {
            0 => {
                worked += 1;
                // Many at once: those for which no descriptor is left are refused, and the session stays.
                std::thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            let done = one.exec(&[], &["true"]);
                            assert!(matches!(done.status, 0 | 125), "{most}: {done:?}");
                            assert!(done.status == 0 || done.err.contains("creel: "), "{done:?}");
                        });
                    }
                });
                one.verb("rm", &["--force"]).ok();
            }
            125 => {
                failed += 1;
                assert!(made.err.contains("creel: "), "{most}: {made:?}");
            }
            _ => panic!("{most}: {made:?}"),
        }
        assert!(!one.directory().exists(), "{most}: {made:?}");
        assert_eq!(
            std::fs::read_dir(one.workspace.path())
                .expect("a workspace")
                .count(),
            0
        );
    }
    assert!(failed > 0 && worked > 0, "{failed} failed, {worked} worked");
}

/// A control group of this test's alone, in the hierarchy v1 of processes.
struct Pids(std::path::PathBuf);

impl Pids {
    fn new(name: &str) -> Option<Pids> {
        let dir = format!("/sys/fs/cgroup/pids/creel-it-{}-{name}", std::process::id());
        match std::fs::create_dir(&dir) {
            Ok(()) => Some(Pids(dir.into())),
            Err(error) => {
                eprintln!("skipped: {dir}: {error}");
                None
            }
        }
    }

    fn limit(&self, most: &str) {
        std::fs::write(self.0.join("pids.max"), most).expect("a limit");
    }

    fn joined(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.0.display())
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn few_processes() {
    let Some(who) = Who::root() else { return };
    let Some(group) = Pids::new("few") else {
        return;
    };
    let (mut failed, mut worked) = (0, 0);
    for most in 1..10 {
        let session = Session::named(who);
        group.limit(&most.to_string());
        let words = ["--name", &session.name];
        let made = under(&session, &group.joined(), "create", &words);
        group.limit("max");
        match made.status {
            0 => {
                worked += 1;
                session.exec(&[], &["true"]).ok();
                session.verb("rm", &["--force"]).ok();
            }
            125 => {
                failed += 1;
                assert!(made.err.contains("creel: "), "{most}: {made:?}");
            }
            _ => panic!("{most}: {made:?}"),
        }
        assert!(!session.directory().exists(), "{most}: {made:?}");
        assert_eq!(
            std::fs::read_dir(session.workspace.path())
                .expect("a workspace")
                .count(),
            0
        );
        session.create(&[]).ok();
    }
    assert!(failed > 0 && worked > 0, "{failed} failed, {worked} worked");
    wait::until("the group is empty", || {
        std::fs::remove_dir(&group.0).is_ok()
    });
}
