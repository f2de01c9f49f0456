//! A jail that wants the host to execute or to lose something by a commit.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Overlay, dying};
use crate::support::Who;

fn hooks(it: &Overlay) {
    it.0.workspace.write(".git/HEAD", "ref: refs/heads/main\n");
    it.0.workspace.write(".git/hooks/none", "");
}

// The host executes what the last link leads to; whoever changes a link on the way changes that.
each!(every_link_on_the_way_to_what_the_host_obeys_is_held);
fn every_link_on_the_way_to_what_the_host_obeys_is_held(who: Who) {
    let it = Overlay::named(who);
    hooks(&it);
    for name in ["b", "t1/pc", "envreal", "free"] {
        it.0.workspace.write(name, "good");
    }
    let at = |name: &str| it.place().join(name);
    for (target, name) in [
        ("b", "a"),
        ("../../a", ".git/hooks/pre-commit"),
        ("t1", "tools"),
        ("../../tools/pc", ".git/hooks/pre-push"),
        ("envreal", "envmid"),
        ("envmid", ".envrc"),
        ("free", "unled"),
    ] {
        symlink(target, at(name)).expect("a link");
    }
    it.create(&[]).ok();
    let script = "rm a tools envmid unled; echo evil > a; mkdir evil; echo evil > evil/pc; ln -s evil tools; \
        ln -s evil/pc envmid; echo fine > unled";
    it.0.sh(script).ok();
    let committed = it.verb("commit", &[]).status(1);
    for name in ["a", "tools", "envmid"] {
        let line = format!("held back, protected: {name}\n");
        assert!(committed.err.contains(&line), "{name}: {committed:?}");
        assert!(at(name).is_symlink(), "{name}");
    }
    for name in [".git/hooks/pre-commit", ".git/hooks/pre-push", ".envrc"] {
        assert_eq!(it.read(name).as_deref(), Some("good"), "{name}");
    }
    // The control: a link that leads from nothing that is obeyed.
    assert_eq!(it.read("unled").as_deref(), Some("fine\n"));
}

// Size and times are the jail's to set; the status time is not.
each!(a_change_after_a_commit_cannot_be_hidden);
fn a_change_after_a_commit_cannot_be_hidden(who: Who) {
    let it = Overlay::with(who, &[("other", "x")]);
    it.0.sh("echo AAAA > f").ok();
    it.verb("commit", &[]).ok();
    let change = "import os\ns = os.stat('f')\nopen('f', 'r+').write('BBBB')\nos.utime('f', ns=(s.st_atime_ns, s.st_mtime_ns))";
    it.0.exec(&[], &["python3", "-c", change]).ok();
    assert_eq!(it.verb("diff", &[]).ok().out, "M  f\n");
    it.verb("stop", &[]).ok();
    it.verb("rm", &[]).status(125);
    it.verb("commit", &[]).ok();
    assert_eq!(it.read("f").as_deref(), Some("BBBB\n"));
    it.verb("rm", &[]).ok();
}

// The host works on in a directory that the session has removed, after the commit has looked at it: at each step.
each!(what_the_host_adds_to_a_removed_directory_is_kept);
fn what_the_host_adds_to_a_removed_directory_is_kept(who: Who) {
    let mut kept = 0;
    for step in 0..60 {
        let it = Overlay::with(who, &[("d/old", "o"), ("d/sub/old", "o"), ("e/old", "o")]);
        it.0.sh("rm -r d e; echo file > e; echo big > big").ok();
        let died = dying(&it, step);
        let there = |name: &str| it.place().join(name).is_dir();
        // Only a commit that has begun and has not come to the directory yet.
        if it.layers().join("journal").exists() && there("d") && there("e") {
            fs::write(it.place().join("d/sub/new"), "host").expect("written");
            fs::write(it.place().join("e/old"), "host").expect("written");
            let told = it.verb("commit", &[]);
            assert_eq!(
                it.read("d/sub/new").as_deref(),
                Some("host"),
                "{step}: {told:?}"
            );
            assert_eq!(
                it.read("e/old").as_deref(),
                Some("host"),
                "{step}: {told:?}"
            );
            assert_eq!(it.read("big").as_deref(), Some("big\n"), "{step}: {told:?}");
            kept += 1;
        }
        if !died {
            // The control: nobody was in the way.
            assert!(!it.place().join("d").exists() && !there("e"));
            assert!(kept > 0);
            return;
        }
    }
    panic!("the commit does not end");
}

// A path has an end, and a jail's tree is deeper.
each!(a_tree_deeper_than_a_path_can_be_dropped);
fn a_tree_deeper_than_a_path_can_be_dropped(who: Who) {
    let deep = "import os\nfor _ in range(2500):\n  os.mkdir('a'); os.chdir('a')\nopen('end', 'w')";
    for verb in ["discard", "rm"] {
        let it = Overlay::with(who, &[("file", "x")]);
        it.0.exec(&[], &["python3", "-c", deep]).ok();
        it.verb("stop", &[]).ok();
        let flags = if verb == "rm" { &["--force"][..] } else { &[] };
        it.verb(verb, flags).ok();
        assert!(!it.layers().join("upper/a").exists());
        assert_eq!(it.read("file").as_deref(), Some("x"));
    }
}

// `git rebase --continue` executes the lines of the plan.
each!(an_unfinished_rebase_is_held);
fn an_unfinished_rebase_is_held(who: Who) {
    let it = Overlay::named(who);
    hooks(&it);
    it.create(&[]).ok();
    let plan = "mkdir -p .git/rebase-merge .git/objects/x; echo exec evil > .git/rebase-merge/git-rebase-todo; echo 1 > .git/objects/x/y";
    it.0.sh(plan).ok();
    let committed = it.verb("commit", &[]).status(1);
    assert!(
        committed
            .err
            .contains("held back, repository: .git/rebase-merge"),
        "{committed:?}"
    );
    assert!(!it.place().join(".git/rebase-merge").exists());
    assert_eq!(it.read(".git/objects/x/y").as_deref(), Some("1\n"));
}
