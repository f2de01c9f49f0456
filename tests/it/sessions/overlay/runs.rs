//! `creel run` in an overlay workspace: the end of its changes.

use std::process::Command;

use super::{Overlay, said};
use crate::sessions::Said;
use crate::support::pty::Screen;
use crate::support::{Who, has_cgroups};

fn command(it: &Overlay, flags: &[&str], script: &str) -> Command {
    let mut command = it.creel("run");
    if !has_cgroups(it.0.who) {
        command.args(["--allow-degraded", "cgroup"]);
    }
    command.args(flags).args(["--", "/bin/sh", "-c", script]);
    command
}

fn run(it: &Overlay, flags: &[&str], script: &str) -> Said {
    said(command(
        it,
        &[&["--workspace", ":overlay"], flags].concat(),
        script,
    ))
}

/// The sessions that have changes.
fn kept(it: &Overlay) -> Vec<String> {
    let names = said(it.creel("diff")).ok().out;
    names.lines().map(str::to_owned).collect()
}

fn discard(it: &Overlay) {
    for name in kept(it) {
        let mut discard = it.creel("discard");
        discard.arg(name);
        said(discard).ok();
    }
}

each!(a_run_keeps_its_changes);
fn a_run_keeps_its_changes(who: Who) {
    let it = Overlay::named(who);
    for flags in [&[][..], &["--commit", "never", "--quiet"]] {
        let ran = run(&it, flags, "echo x > new").ok();
        let line = "is unchanged; 1 changes are kept: creel diff ";
        assert!(ran.err.contains(line), "{ran:?}");
        assert_eq!(it.names(), Vec::<String>::new());
        let [name] = &kept(&it)[..] else {
            panic!("one run has changes");
        };
        let mut commit = it.creel("commit");
        commit.arg(name);
        said(commit).ok();
        assert_eq!(it.read("new").as_deref(), Some("x\n"));
        std::fs::remove_file(it.place().join("new")).expect("removed");
    }
    // Without changes nothing is kept, and nothing is said.
    let ran = run(&it, &[], "echo x").ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("x\n", ""));
}

each!(a_run_commits_if_it_succeeds);
fn a_run_commits_if_it_succeeds(who: Who) {
    let it = Overlay::named(who);
    let auto = ["--commit", "auto"];
    let ran = run(&it, &auto, "echo x > new").ok();
    assert_eq!(ran.err, "");
    assert_eq!(it.read("new").as_deref(), Some("x\n"));
    assert_eq!(kept(&it), Vec::<String>::new());
    // A command that fails.
    let ran = run(&it, &auto, "echo y > new; exit 3").status(3);
    assert!(ran.err.contains("1 changes are kept"), "{ran:?}");
    assert_eq!(it.read("new").as_deref(), Some("x\n"));
    discard(&it);
    // Names that are held back.
    let ran = run(&it, &auto, "echo y > new; echo e > .envrc").ok();
    assert!(ran.err.contains("held back, protected: .envrc"), "{ran:?}");
    assert!(ran.err.contains("1 changes are kept"), "{ran:?}");
    assert!(!ran.err.contains("is unchanged"), "{ran:?}");
    assert_eq!(it.read("new").as_deref(), Some("y\n"));
    assert_eq!(it.read(".envrc"), None);
}

each!(a_run_asks_on_a_terminal_alone);
fn a_run_asks_on_a_terminal_alone(who: Who) {
    let it = Overlay::named(who);
    let flags = ["--workspace", ":overlay", "--commit", "ask"];
    let refused = said(command(&it, &flags, "echo x > new")).status(125);
    assert!(refused.err.contains("needs a terminal"), "{refused:?}");
    let refused = said(command(&it, &["--commit", "auto"], "echo x > new")).status(125);
    assert!(refused.err.contains("needs an overlay"), "{refused:?}");
    assert_eq!((it.read("new"), kept(&it)), (None, vec![]), "nothing ran");
    for (keys, file, left) in [("n\r", None, 1), ("d\r", None, 0), ("y\r", Some("x\n"), 0)] {
        let mut screen = Screen::start(command(&it, &flags, "echo x > new"));
        screen.wait_for("commit these changes?");
        assert!(
            screen.text().contains("A  new | 2 bytes"),
            "{}",
            screen.text()
        );
        screen.press(keys);
        assert!(screen.child.wait().expect("it ends").success());
        assert_eq!(it.read("new").as_deref(), file, "{keys:?}");
        assert_eq!(kept(&it).len(), left, "{keys:?}");
        discard(&it);
    }
    // A key that was pressed for the command is no answer.
    let mut screen = Screen::start(command(&it, &flags, "echo z > new; echo up; sleep 0.3"));
    screen.wait_for("up");
    screen.press("y\r");
    screen.wait_for("commit these changes?");
    screen.press("\x03");
    screen.child.wait().expect("it ends");
    assert_eq!(it.read("new").as_deref(), Some("x\n"));
    assert_eq!(kept(&it).len(), 1);
}
