//! Overlay workspaces: what a session writes stays in a layer until it is committed.

mod hidden;
mod hold;
mod runs;
mod shown;
mod snapshots;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Said, Session, said};
use crate::support::{Who, has_cgroups};

/// A session in a workspace with files of the host's, and a state directory of its own.
struct Overlay(Session);

impl Overlay {
    fn named(who: Who) -> Overlay {
        let session = Session::named(who);
        session.workspace.home();
        Overlay(session)
    }

    fn with(who: Who, files: &[(&str, &str)]) -> Overlay {
        let overlay = Overlay::named(who);
        for (name, text) in files {
            overlay.0.workspace.write(name, text);
        }
        overlay.create(&[]).ok();
        overlay
    }

    fn creel(&self, verb: &str) -> Command {
        let mut command = self.0.creel(verb);
        command.env("XDG_STATE_HOME", self.0.workspace.home());
        command
    }

    fn create(&self, flags: &[&str]) -> Said {
        settled();
        let mut command = self.creel("create");
        if !has_cgroups(self.0.who) {
            command.args(["--allow-degraded", "cgroup"]);
        }
        let mut place = self.place().into_os_string();
        place.push(":overlay");
        command.args(["--name", &self.0.name]).args(flags);
        command.arg("--workspace").arg(place);
        said(command)
    }

    fn verb(&self, verb: &str, more: &[&str]) -> Said {
        let mut command = self.creel(verb);
        command.arg(&self.0.name).args(more);
        said(command)
    }

    fn place(&self) -> PathBuf {
        self.0.workspace.path()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place().join(name)).ok()
    }

    fn layers(&self) -> PathBuf {
        let home = self.0.workspace.home();
        home.join("creel/workspaces").join(&self.0.name)
    }

    /// The names in the workspace.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place()).expect("the workspace");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }
}

/// Commits, and is killed at the step with this number. False if the commit has fewer, and ends.
fn dying(it: &Overlay, step: u32) -> bool {
    let mut command = it.creel("commit");
    command
        .arg(&it.0.name)
        .env("CREEL_COMMIT_DIES_AT", step.to_string());
    let ended = command.output().expect("creel starts");
    if ended.status.success() {
        return false;
    }
    assert_eq!(ended.status.signal(), Some(9), "{step}: {ended:?}");
    true
}

/// Waits until the clock of file timestamps has ticked: a change of the host's just before the start would count as one
/// after it.
fn settled() {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let then = now();
    while now() == then {
        std::thread::sleep(Duration::from_millis(1));
    }
}

each!(changes_reach_the_workspace_when_they_are_committed);
fn changes_reach_the_workspace_when_they_are_committed(who: Who) {
    let files = [
        ("changed", "a"),
        ("old", "o"),
        ("sub/f", "s"),
        ("gone/a/b", "x"),
        ("rd/r", "r"),
    ];
    let it = Overlay::with(who, &files);
    let script = "echo x > new; rm old; echo y >> changed; mv sub/f sub/g; rm -r gone; rm -r rd; mkdir rd; \
                  echo n > rd/n; ln -s /etc/passwd l; mkdir d; echo z > d/z; touch -d 2021-01-01 d; chmod 700 changed";
    it.0.sh(script).ok();
    let before: Vec<String> = ["changed", "gone", "old", "rd", "sub"]
        .map(String::from)
        .into();
    assert_eq!(it.names(), before, "nothing reaches the host");
    assert_eq!(it.read("changed").as_deref(), Some("a"));
    let lines = it.verb("diff", &[]).ok().out;
    let wanted = "M  changed\nA  d\nA  d/z\nD  gone\nA  l -> /etc/passwd\nA  new\nD  old\nA  rd/n\nD  rd/r\nD  sub/f\nR  sub/g (from sub/f)\n";
    assert_eq!(lines, wanted);
    let stat = it.verb("diff", &["--stat", "changed"]).ok().out;
    assert_eq!(stat, "M  changed | 1 -> 3 bytes, mode 0755 -> 0700\n");
    let json: Value =
        serde_json::from_str(&it.verb("diff", &["--json", "d"]).ok().out).expect("JSON");
    assert_eq!(json["changes"][1]["path"], "d/z");
    assert_eq!(json["live"], true);
    // One path, while the session runs; then the rest.
    it.verb("commit", &["d/z"]).ok();
    assert_eq!(it.read("d/z").as_deref(), Some("z\n"));
    assert_eq!(it.read("old").as_deref(), Some("o"));
    let modified = fs::metadata(it.place().join("d")).expect("d").mtime();
    assert_eq!(modified, 1_609_459_200, "the time of a new directory");
    it.verb("commit", &[]).ok();
    assert_eq!(it.verb("diff", &[]).ok().out, "");
    let after: Vec<String> = ["changed", "d", "l", "new", "rd", "sub"]
        .map(String::from)
        .into();
    assert_eq!(it.names(), after);
    assert_eq!(it.read("changed").as_deref(), Some("ay\n"));
    assert_eq!(it.read("rd/n").as_deref(), Some("n\n"));
    assert_eq!(it.read("rd/r"), None);
    let (uid, gid, _) = who.account();
    for name in ["changed", "new", "d", "d/z", "l"] {
        let meta = fs::symlink_metadata(it.place().join(name)).expect("it is there");
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{name}");
    }
    assert_eq!(
        fs::read_link(it.place().join("l")).expect("a link"),
        Path::new("/etc/passwd")
    );
    // A committed change shows no difference after the end either, and the layers go.
    it.verb("stop", &[]).ok();
    assert_eq!(it.verb("commit", &[]).ok().out, "");
    assert_eq!(it.verb("diff", &[]).ok().out, "");
    it.verb("rm", &[]).ok();
    assert!(!it.layers().exists());
}

each!(denied_names_are_absent_whatever_the_host_renames);
fn denied_names_are_absent_whatever_the_host_renames(who: Who) {
    let it = Overlay::named(who);
    it.0.workspace.write("d/key", "SECRET");
    it.0.workspace.write("d/open", "open");
    let policy = it.0.workspace.outside().join("policy.toml");
    let text = "extends = 'default'\n[filesystem]\ndeny = ['$WORKSPACE/d/key', '$WORKSPACE/later', '$WORKSPACE/no/key']\n";
    fs::write(&policy, text).expect("a policy");
    it.create(&["--policy", policy.to_str().expect("UTF-8")])
        .ok();
    let cat = |name: &str| it.0.exec(&[], &["/bin/cat", name]);
    assert!(cat("d/key").status(1).err.contains("No such file"));
    assert_eq!(cat("d/open").ok().out, "open", "the control");
    it.0.workspace.write("later", "SECRET");
    it.0.workspace.write("no/key", "SECRET");
    cat("later").status(1);
    cat("no/key").status(1);
    // A file of the session's own under such a name never reaches the host.
    it.0.sh("echo own > later; rm -r d").ok();
    let held = it
        .verb("commit", &["--force", "--include-protected"])
        .status(1);
    assert!(held.err.contains("denied: later"), "{held:?}");
    assert!(held.err.contains("contains-protected: d"), "{held:?}");
    assert_eq!(it.read("later").as_deref(), Some("SECRET"));
    assert_eq!(it.read("d/key").as_deref(), Some("SECRET"));
}

each!(what_the_host_would_obey_is_held_back);
fn what_the_host_would_obey_is_held_back(who: Who) {
    let it = Overlay::with(
        who,
        &[
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".git/config", "[core]\n"),
            ("a", "a"),
        ],
    );
    fs::create_dir(it.place().join(".git/objects")).expect("mkdir");
    it.0.sh(
        "mkdir -p .git/hooks .git/refs sub/.git sub/.vscode bare/objects bare/refs; echo h > .git/hooks/pre-commit; \
         echo x >> .git/config; echo r > .git/refs/main; ln -s /etc .git/link; echo s > sub/.vscode/tasks.json; \
         echo e > .envrc; echo h > bare/HEAD; mkfifo pipe; echo b >> a",
    )
    .ok();
    let committed = it.verb("commit", &[]).status(1);
    for (why, name) in [
        ("protected", ".git/hooks"),
        ("protected", ".git/config"),
        ("link", ".git/link"),
        ("repository", "sub/.git"),
        ("settings", "sub/.vscode"),
        ("protected", ".envrc"),
        ("repository", "bare/HEAD"),
        ("special", "pipe"),
    ] {
        let line = format!("held back, {why}: {name}\n");
        assert!(committed.err.contains(&line), "{line} {committed:?}");
        assert!(
            fs::symlink_metadata(it.place().join(name)).is_err() || name == ".git/config",
            "{name}"
        );
    }
    // The controls: other files, and the repository's own.
    assert_eq!(it.read("a").as_deref(), Some("ab\n"));
    assert_eq!(it.read(".git/refs/main").as_deref(), Some("r\n"));
    assert_eq!(it.read(".git/config").as_deref(), Some("[core]\n"));
    let committed = it.verb("commit", &["--include-protected"]).status(1);
    assert_eq!(it.read(".git/hooks/pre-commit").as_deref(), Some("h\n"));
    for never in ["link: .git/link", "special: pipe"] {
        assert!(committed.err.contains(never), "{committed:?}");
    }
    assert!(!it.place().join("pipe").exists());
}

each!(files_that_editors_and_agents_obey_are_held_back);
fn files_that_editors_and_agents_obey_are_held_back(who: Who) {
    let it = Overlay::with(
        who,
        &[
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".git/hooks/x", "x"),
            ("scripts/hook", "h"),
            ("scripts/other", "o"),
            ("env", "e"),
        ],
    );
    // Links of the host lead to files that nothing protects by name.
    symlink(
        "../../scripts/hook",
        it.place().join(".git/hooks/pre-commit"),
    )
    .expect("a link");
    symlink("env", it.place().join(".envrc")).expect("a link");
    let held = [
        ".claude/settings.json",
        ".vscode/tasks.json",
        ".idea/workspace.xml",
        ".mcp.json",
        ".cursor/mcp.json",
        ".codex/config.toml",
        ".creel/policy.toml",
        ".exrc",
        ".gdbinit",
        ".devcontainer.json",
        "sub/.envrc",
        "sub/.claude/settings.json",
        "sub/.vscode/tasks.json",
        "sub/.exrc",
        "sub/.mcp.json",
        "env",
        "scripts/hook",
    ];
    let script = "for f; do case $f in */*) mkdir -p ${f%/*} ;; esac; echo jail > $f || exit; done";
    let argv = [
        &["/bin/sh", "-c", script, "sh", "scripts/other", "sub/plain"][..],
        &held,
    ]
    .concat();
    it.0.exec(&[], &argv).ok();
    it.verb("commit", &[]).status(1);
    for name in held {
        let text = it.read(name);
        assert_ne!(text.as_deref(), Some("jail\n"), "{name}");
    }
    for name in ["scripts/other", "sub/plain"] {
        assert_eq!(it.read(name).as_deref(), Some("jail\n"), "{name}");
    }
    it.verb("commit", &["--include-protected"]).ok();
    for name in held {
        assert_eq!(
            it.read(name).as_deref(),
            Some("jail\n"),
            "the control: {name}"
        );
    }
}

each!(a_conflict_stops_the_whole_commit);
fn a_conflict_stops_the_whole_commit(who: Who) {
    let it = Overlay::with(who, &[("a", "a"), ("b", "b"), ("d/x", "x")]);
    it.0.sh("echo session > a; echo session > b; rm -r d").ok();
    settled();
    it.0.workspace.write("a", "host");
    let refused = it.verb("commit", &[]).status(125);
    assert!(
        refused.err.contains("the host changed a since"),
        "{refused:?}"
    );
    assert_eq!(it.read("b").as_deref(), Some("b"), "nothing is committed");
    assert!(it.verb("diff", &["a"]).ok().out.starts_with("M! a"));
    it.verb("commit", &["b"]).ok();
    assert_eq!(it.read("b").as_deref(), Some("session\n"));
    // The same in a directory that the session has removed.
    it.0.workspace.write("d/y", "host");
    it.verb("commit", &["d"]).status(125);
    assert_eq!(it.read("d/y").as_deref(), Some("host"));
    it.verb("commit", &["--force"]).ok();
    assert_eq!(it.read("a").as_deref(), Some("session\n"));
    assert_eq!(it.read("d/y"), None);
    // A file that was committed and is changed again is no conflict.
    it.0.sh("echo again > a").ok();
    it.verb("commit", &[]).ok();
    assert_eq!(it.read("a").as_deref(), Some("again\n"));
}

each!(links_lead_nowhere);
fn links_lead_nowhere(who: Who) {
    let it = Overlay::with(who, &[("sub/f", "f"), ("top", "t")]);
    let outside = it.0.workspace.home().join("outside");
    fs::create_dir(&outside).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&outside, Some(uid), Some(gid)).expect("chown");
    fs::write(outside.join("f"), "outside").expect("write");
    it.0.sh("echo session > sub/f; echo session > sub/new; echo session > top")
        .ok();
    // The host puts links where the session has changed files.
    fs::rename(it.place().join("sub"), it.place().join("moved")).expect("rename");
    symlink(&outside, it.place().join("sub")).expect("link");
    fs::remove_file(it.place().join("top")).expect("rm");
    symlink(outside.join("f"), it.place().join("top")).expect("link");
    it.verb("commit", &[]).status(125);
    it.verb("commit", &["--force"]);
    assert_eq!(fs::read_to_string(outside.join("f")).expect("f"), "outside");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 1);
    // The control: the session's file replaced the link itself.
    assert_eq!(it.read("top").as_deref(), Some("session\n"));
}

each!(a_process_that_lives_on_cannot_write_into_a_committed_file);
fn a_process_that_lives_on_cannot_write_into_a_committed_file(who: Who) {
    let it = Overlay::with(who, &[("f", "a")]);
    it.0.exec(&["--detach"], &["/bin/sh", "-c", "exec 3>>f; echo one >&3; : > ready; while [ ! -e go ]; do :; done; echo two >&3; : > done"]).ok();
    let begun = Instant::now();
    let wait = |name: &str| {
        while it.0.sh(&format!("test -e {name}")).status != 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{name}");
        }
    };
    wait("ready");
    it.verb("commit", &["f"]).ok();
    assert_eq!(it.read("f").as_deref(), Some("aone\n"));
    it.0.sh(": > go").ok();
    wait("done");
    assert_eq!(it.read("f").as_deref(), Some("aone\n"));
    assert!(it.verb("diff", &["f"]).ok().out.starts_with("M  f"));
    it.verb("commit", &["f"]).ok();
    assert_eq!(it.read("f").as_deref(), Some("aone\ntwo\n"));
}

each!(changes_outlive_everything_but_force);
fn changes_outlive_everything_but_force(who: Who) {
    let it = Overlay::with(who, &[("a", "a")]);
    it.0.sh("echo session > a").ok();
    let kept = it.verb("rm", &[]).status(125);
    assert!(kept.err.contains("not committed"), "{kept:?}");
    let killed = rustix::process::Pid::from_raw(it.0.keeper()).expect("a pid");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("kill");
    it.verb("wait", &[]).ok();
    it.verb("rm", &[]).status(125);
    assert_eq!(it.verb("diff", &[]).ok().out, "M  a\n");
    said(it.creel("gc")).ok();
    assert_eq!(it.verb("diff", &[]).ok().out, "M  a\n");
    // The next session of this name goes on with them; one of another workspace is refused.
    it.create(&[]).ok();
    assert_eq!(it.0.sh("cat a").ok().out, "session\n");
    it.verb("discard", &[]).status(125);
    it.verb("stop", &[]).ok();
    let other = Overlay::named(who);
    let mut command = it.creel("create");
    if !has_cgroups(who) {
        command.args(["--allow-degraded", "cgroup"]);
    }
    let mut place = other.place().into_os_string();
    place.push(":overlay");
    command
        .args(["--name", &it.0.name, "--workspace"])
        .arg(place);
    let refused = said(command).status(125);
    assert!(
        refused.err.contains("has changes that are not committed"),
        "{refused:?}"
    );
    assert!(said(it.creel("diff")).ok().out.contains(&it.0.name));
    it.verb("discard", &["a"]).ok();
    assert_eq!(it.verb("diff", &[]).ok().out, "");
    assert_eq!(it.read("a").as_deref(), Some("a"));
    it.verb("rm", &[]).ok();
    // With --force.
    it.create(&[]).ok();
    it.0.sh("echo session > a").ok();
    it.verb("rm", &["--force"]).ok();
    assert!(!it.layers().exists());
}

each!(an_overlay_that_could_not_work_is_refused);
fn an_overlay_that_could_not_work_is_refused(who: Who) {
    let it = Overlay::named(who);
    it.0.workspace.write("tools/t", "t");
    let tools = it.place().join("tools");
    let refused = it
        .create(&["--write", tools.to_str().expect("UTF-8")])
        .status(125);
    assert!(
        refused
            .err
            .contains("is granted in its own way beneath the overlay workspace"),
        "{refused:?}"
    );
    let outside = it.0.workspace.outside().to_str().expect("UTF-8").to_owned();
    let refused = it.create(&["--write", &outside]).status(125);
    assert!(refused.err.contains("lies in"), "{refused:?}");
    // The layers in a granted tree.
    let home = it.0.workspace.home();
    let refused = it
        .create(&["--read", home.to_str().expect("UTF-8")])
        .status(125);
    assert!(refused.err.contains("creel's own state"), "{refused:?}");
    if who == Who::User {
        // An owner that the jail has no id for.
        std::os::unix::fs::chown(it.place(), None, Some(0)).expect("chown");
        let refused = it.create(&[]).status(125);
        assert!(refused.err.contains("the overlay workspace"), "{refused:?}");
        let (_, gid, _) = who.account();
        std::os::unix::fs::chown(it.place(), None, Some(gid)).expect("chown");
    }
    it.create(&[]).ok();
}

each!(a_commit_that_is_killed_anywhere_is_finished);
fn a_commit_that_is_killed_anywhere_is_finished(who: Who) {
    let old = [
        ("a", "old"),
        ("rm", "old"),
        ("tree/x/y", "old"),
        ("type/f", "old"),
    ];
    let mut points = 0;
    loop {
        let it = Overlay::with(who, &old);
        it.0.sh("echo new > a; rm rm; rm -r tree; rm -r type; echo new > type; mkdir d; echo new > d/n; ln -s a l").ok();
        it.verb("stop", &[]).ok();
        let mut command = it.creel("commit");
        command
            .arg(&it.0.name)
            .env("CREEL_COMMIT_DIES_AT", points.to_string());
        let ended = command.output().expect("creel starts");
        if ended.status.success() {
            break;
        }
        assert_eq!(ended.status.signal(), Some(9), "{points}: {ended:?}");
        if !it.layers().join("journal").exists() && it.read("a").as_deref() == Some("old") {
            // Nothing has begun.
            for (name, text) in old {
                assert_eq!(it.read(name).as_deref(), Some(text), "{points}: {name}");
            }
        }
        // By the next commit, or by the next start.
        if points % 2 == 0 {
            it.verb("commit", &[]).ok();
        } else {
            it.create(&[]).ok();
            it.verb("commit", &[]).ok();
        }
        let names: Vec<String> = ["a", "d", "l", "type"].map(String::from).into();
        assert_eq!(it.names(), names, "{points}");
        for name in ["a", "d/n", "type", "l"] {
            assert_eq!(it.read(name).as_deref(), Some("new\n"), "{points}: {name}");
        }
        assert_eq!(it.verb("diff", &[]).ok().out, "", "{points}");
        points += 1;
    }
    assert!(points >= 15, "{points}");
}
