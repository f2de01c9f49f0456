//! Snapshots of changes, their restoration, and forks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::{Overlay, said};
use crate::sessions::Said;
use crate::support::{Who, has_cgroups, wait};

fn create(it: &Overlay, name: &str) -> Said {
    let mut command = it.creel("create");
    if !has_cgroups(it.0.who) {
        command.args(["--allow-degraded", "cgroup"]);
    }
    let mut place = it.place().into_os_string();
    place.push(":overlay");
    command.args(["--name", name, "--workspace"]).arg(place);
    said(command)
}

fn verb(it: &Overlay, verb: &str, words: &[&str]) -> Said {
    let mut command = it.creel(verb);
    command.args(words);
    said(command)
}

const MADE: &str = "echo one > a; rm b; rm -r d; mkdir d; echo n > d/n; ln d/n hard; ln -s a link; mkfifo pipe; \
                    truncate -s 1G sparse; echo end >> sparse; chmod 700 a; touch -d 2021-01-01 d/n";

each!(a_snapshot_brings_changes_back);
fn a_snapshot_brings_changes_back(who: Who) {
    let it = Overlay::with(who, &[("a", "a"), ("b", "b"), ("d/x", "x"), ("e/y", "y")]);
    it.0.sh(MADE).ok();
    it.verb("stop", &[]).ok();
    let first = it.verb("diff", &["--json"]).ok().out;
    it.verb("snapshot", &["first"]).ok();
    let taken = it.verb("snapshot", &["first"]).status(125);
    assert!(taken.err.contains("choose another name"), "{taken:?}");
    for bad in ["../x", ".new", "a/b", ""] {
        it.verb("snapshot", &[bad]).status(125);
    }
    assert_eq!(it.verb("snapshot", &[]).ok().out, "first\n");
    // A hole is no data.
    let sparse = it.layers().join("snapshots/first/upper/sparse");
    let meta = fs::metadata(sparse).expect("sparse");
    assert!(meta.blocks() < 1000, "{} blocks", meta.blocks());
    // Others take their place, and then the first again.
    it.create(&[]).ok();
    it.verb("restore", &["first"]).status(125);
    it.0.sh("echo two > a; echo b > b; rm -r d hard link pipe sparse; rm -r e; mkdir e")
        .ok();
    it.verb("stop", &[]).ok();
    it.verb("snapshot", &["second"]).ok();
    let second = it.verb("diff", &["--json"]).ok().out;
    assert_ne!(first, second);
    it.verb("restore", &["first"]).ok();
    assert_eq!(it.verb("diff", &["--json"]).ok().out, first);
    it.create(&[]).ok();
    let look = "cat a d/n link; ls; stat -c '%h %Y' d/n; echo more >> hard; tail -n 1 d/n; stat -c %s sparse; cat e/y";
    let seen = it.0.sh(look).ok().out;
    let wanted =
        "one\nn\none\na\nd\ne\nhard\nlink\npipe\nsparse\n2 1609459200\nmore\n1073741828\ny";
    assert_eq!(seen, wanted);
    it.verb("stop", &[]).ok();
    it.verb("restore", &["second"]).ok();
    assert_eq!(it.verb("diff", &["--json"]).ok().out, second);
    it.verb("restore", &["third"]).status(125);
    // They are work: without --force they stay.
    it.verb("discard", &[]).ok();
    it.verb("rm", &[]).status(125);
    said(it.creel("gc")).ok();
    it.verb("snapshot", &["first", "--remove"]).ok();
    assert_eq!(it.verb("snapshot", &[]).ok().out, "second\n");
    it.verb("snapshot", &["first", "--remove"]).status(125);
    it.verb("rm", &["--force"]).ok();
    assert!(!it.layers().exists());
}

each!(what_is_committed_after_a_snapshot_stays);
fn what_is_committed_after_a_snapshot_stays(who: Who) {
    let it = Overlay::with(who, &[("a", "a"), ("b", "b")]);
    it.0.sh("echo one > a").ok();
    it.verb("stop", &[]).ok();
    it.verb("snapshot", &["first"]).ok();
    it.verb("commit", &[]).ok();
    assert_eq!(it.verb("diff", &[]).ok().out, "");
    it.create(&[]).ok();
    it.0.sh("echo two > a").ok();
    it.verb("stop", &[]).ok();
    it.verb("commit", &[]).ok();
    it.verb("restore", &["first"]).ok();
    assert_eq!(it.read("a").as_deref(), Some("two\n"));
    let line = it.verb("diff", &[]).ok().out;
    assert!(line == "M  a\n" || line == "M! a\n", "{line}");
    // A file that the host changes after the snapshot is a conflict, whatever was committed since.
    super::settled();
    it.0.workspace.write("a", "host");
    assert_eq!(it.verb("diff", &[]).ok().out, "M! a\n");
    it.verb("commit", &[]).status(125);
    assert_eq!(it.read("a").as_deref(), Some("host"));
}

each!(a_fork_goes_its_own_way);
fn a_fork_goes_its_own_way(who: Who) {
    let it = Overlay::with(who, &[("a", "a"), ("b", "b")]);
    it.0.sh("echo one > a").ok();
    it.verb("stop", &[]).ok();
    let new = format!("{}-new", it.0.name);
    it.verb("fork", &[&new]).ok();
    it.verb("fork", &[&new]).status(125);
    it.verb("fork", &["../x"]).status(125);
    it.create(&[]).ok();
    create(&it, &new).ok();
    it.0.sh("echo two > a").ok();
    let cat = verb(&it, "exec", &[&new, "--", "/bin/cat", "a"]);
    assert_eq!(cat.ok().out, "one\n");
    verb(&it, "exec", &[&new, "--", "/bin/sh", "-c", "echo new > b"]).ok();
    assert_eq!(it.0.sh("cat a b").ok().out, "two\nb");
    // The one that commits later finds the other's file.
    it.verb("commit", &[]).ok();
    let refused = verb(&it, "commit", &[&new]).status(125);
    assert!(
        refused.err.contains("the host changed a since"),
        "{refused:?}"
    );
    verb(&it, "commit", &[&new, "b"]).ok();
    assert_eq!(it.read("a").as_deref(), Some("two\n"));
    assert_eq!(it.read("b").as_deref(), Some("new\n"));
    verb(&it, "rm", &["--force", &new]).ok();
}

each!(a_session_that_runs_is_still_while_it_is_copied);
fn a_session_that_runs_is_still_while_it_is_copied(who: Who) {
    let it = Overlay::with(who, &[("a", "a")]);
    // Two files that are always written together.
    let script = "trap '' TSTP; i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i > x; echo $i > y; done; : > over";
    it.0.exec(&["--detach"], &["/bin/sh", "-c", script]).ok();
    wait::until("it writes", || it.0.sh("test -s y").status == 0);
    if !has_cgroups(who) {
        let refused = it.verb("snapshot", &["s"]).status(125);
        assert!(refused.err.contains("runs, and its layers"), "{refused:?}");
        assert_eq!(it.0.state(), "running");
        return;
    }
    for number in 0..20 {
        let name = format!("s{number}");
        it.verb("snapshot", &[&name]).ok();
        let upper = it.layers().join("snapshots").join(&name).join("upper");
        let read = |file: &str| {
            let text = fs::read_to_string(upper.join(file)).expect("a file");
            text.trim().parse::<u64>()
        };
        // Empty while the shell has opened it and not written yet.
        if let (Ok(x), Ok(y)) = (read("x"), read("y")) {
            assert!(x == y || x == y + 1, "{x} {y}");
        }
    }
    assert_eq!(it.0.state(), "running");
    // A paused session stays paused.
    it.verb("pause", &[]).ok();
    it.verb("snapshot", &["paused"]).ok();
    assert_eq!(it.0.state(), "paused");
    it.verb("resume", &[]).ok();
    it.0.sh(": > stop").ok();
    wait::until("it ends", || it.0.sh("test -e over").status == 0);
}
