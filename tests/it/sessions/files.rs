//! `creel file` and `creel cp`.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use super::{Said, Session, of, said};
use crate::support::Who;

fn file(session: &Session, act: &str, more: &[&str]) -> Said {
    let mut command = session.creel("file");
    command.arg(act).arg(&session.name).args(more);
    said(command)
}

fn write(session: &Session, more: &[&str], text: &str) -> Said {
    let mut command = session.creel("file");
    command.arg("write").arg(&session.name).args(more);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("creel starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    // It may have refused before it reads.
    let _ = pipe.write_all(text.as_bytes());
    drop(pipe);
    of(child.wait_with_output().expect("creel ends"))
}

each!(every_act);
fn every_act(who: Who) {
    let session = Session::new(who);
    write(&session, &["a"], "one two one").ok();
    assert_eq!(file(&session, "read", &["a"]).ok().out, "one two one");
    let twice = file(&session, "edit", &["a", "--old", "one", "--new", "1"]).status(125);
    assert!(twice.err.contains("2 times"), "{twice:?}");
    file(&session, "edit", &["a", "--old", "two", "--new", "2"]).ok();
    file(
        &session,
        "edit",
        &["a", "--old", "one", "--new", "1", "--all"],
    )
    .ok();
    write(&session, &["a", "--append"], "!").ok();
    write(&session, &["a", "--exclusive"], "").status(125);
    assert_eq!(session.sh("cat a").ok().out, "1 2 1!");
    file(&session, "mkdir", &["d/e"]).status(125);
    file(&session, "mkdir", &["--parents", "d/e"]).ok();
    file(&session, "rename", &["a", "d/e/b"]).ok();
    let listed = file(&session, "list", &["d/e", "--json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed.out).expect("JSON");
    assert_eq!(listed["entries"][0]["name"], "b");
    assert_eq!(
        (&listed["entries"][0]["kind"], &listed["entries"][0]["size"]),
        (&"file".into(), &6.into())
    );
    file(&session, "remove", &["d"]).status(125);
    file(&session, "remove", &["--recursive", "d"]).ok();
    file(&session, "stat", &["d"]).status(125);
    file(&session, "remove", &["--force", "d"]).ok();
    // The jail's own tmpfs, which no path of the host leads to.
    write(&session, &["/tmp/own"], "own").ok();
    assert_eq!(session.sh("cat /tmp/own").ok().out, "own");
}

each!(the_policy_decides);
fn the_policy_decides(who: Who) {
    let session = Session::named(who);
    let policy = session.workspace.outside().join("policy.toml");
    let text = "extends = \"default\"\n[filesystem]\ndeny = [\"$WORKSPACE/secret\"]\n";
    std::fs::write(&policy, text).expect("written");
    session.workspace.write("secret", "s3cret");
    session.workspace.write("plain", "plain");
    session
        .create(&["--policy", policy.to_str().expect("text")])
        .ok();
    assert_eq!(file(&session, "read", &["plain"]).ok().out, "plain");
    // EACCES
    let denied = file(&session, "read", &["secret"]).status(125);
    assert!(denied.err.contains("Permission denied"), "{denied:?}");
    let refused = write(&session, &["/usr/bin/true"], "x").status(125);
    assert!(
        refused.err.contains("Read-only") || refused.err.contains("denied"),
        "{refused:?}"
    );
    let absent = file(&session, "read", &["/etc/shadow"]).status(125);
    assert!(absent.err.contains("No such file"), "{absent:?}");
}

// A link leads where the jail's programs would get, and never to the host's file.
each!(no_link_leads_out);
fn no_link_leads_out(who: Who) {
    let session = Session::new(who);
    let outside = session.workspace.outside().join("outside");
    std::fs::write(&outside, "of the host").expect("written");
    symlink(&outside, session.workspace.path().join("out")).expect("a link");
    file(&session, "read", &["out"]).status(125);
    // It may make a file of this name in the jail's own tmpfs.
    write(&session, &["out"], "changed");
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        "of the host"
    );
    session.sh("ln -s /proc/self/mem mem; ln -s /proc/1/root/etc/shadow root; mkfifo fifo; ln -s /tmp/t t; echo t > /tmp/t").ok();
    for path in [
        "mem",
        "root",
        "fifo",
        "/proc/self/environ",
        "/proc/sys/kernel/core_pattern",
        "/dev/tty",
        "/dev/null",
    ] {
        file(&session, "read", &[path]).status(125);
        write(&session, &[path], "x").status(125);
    }
    assert_eq!(file(&session, "read", &["t"]).ok().out, "t\n");
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        "of the host"
    );
}

each!(copies_go_in_and_out);
fn copies_go_in_and_out(who: Who) {
    let session = Session::new(who);
    let cp = |from: &str, to: &str| {
        let mut command = session.creel("cp");
        command.args([from, to]);
        said(command)
    };
    let name = &session.name;
    session.workspace.write("tree/one", "1");
    session.workspace.write("tree/deep/two", "2");
    cp("tree", &format!("{name}:/tmp")).ok();
    assert_eq!(
        session.sh("cat /tmp/tree/one /tmp/tree/deep/two").ok().out,
        "12"
    );
    session
        .sh("ln -s /etc /tmp/tree/link; echo 3 > /tmp/tree/three")
        .ok();
    let out = cp(&format!("{name}:/tmp/tree"), "back").ok();
    assert!(out.err.contains("link is no file"), "{out:?}");
    let back = session.workspace.path().join("back");
    assert_eq!(
        std::fs::read_to_string(back.join("three")).expect("there"),
        "3\n"
    );
    assert!(!back.join("link").exists());
    // A link of the jail's in the way of a copy is not followed.
    let outside = session.workspace.outside().join("outside");
    std::fs::write(&outside, "of the host").expect("written");
    std::fs::remove_file(back.join("one")).expect("removed");
    symlink(&outside, back.join("one")).expect("a link");
    cp(
        &format!("{name}:/tmp/tree/one"),
        back.join("one").to_str().expect("text"),
    )
    .status(125);
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        "of the host"
    );
    cp("a", "b").status(125);
}
