//! Path mappings: no mapping shows what a rule hides, or lets change what it protects.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Run, Who, Workspace, need};

/// Tries to read and to change a file, and prints the errno's names.
const TRY: &str = "
import errno, os, sys
def attempt(what):
    try: what(); print('done')
    except OSError as e: print(errno.errorcode[e.errno])
for name in sys.argv[1:] or os.environ['NAMES'].split():
    attempt(lambda: open(name).read())
    attempt(lambda: open(name, 'a').close())";

fn attempts(run: Run, names: &str) -> String {
    let given = format!("NAMES={names}");
    run.flags(["--env", &given]).python(TRY).ok().stdout
}

each!(a_denied_file_is_denied_under_every_name);
/// A tree within a mapped one is not denied by its name alone, but by its place.
fn a_denied_file_is_denied_under_every_name(who: Who) {
    let workspace = Workspace::new(who);
    let secret = workspace.write("d/secret", "s3cret");
    workspace.write("d/plain", "plain");
    // Names that the jail could use: a link in the tree, and one that leads through the tree's old path.
    symlink("secret", workspace.path().join("d/near")).expect("a link");
    symlink(&secret, workspace.path().join("d/far")).expect("a link");
    let text = "extends = \"default\"\n[filesystem]\ndeny = [\"$WORKSPACE/d/secret\"]\n";
    let run = |rule: bool| {
        let run = Run::new(who, &workspace).flags(["--workspace", ":/w"]);
        match rule {
            true => run.policy_text(&workspace, "p", text),
            false => run,
        }
    };
    let names = format!(
        "/w/d/plain /w/d/secret /w/d/near /w/d/far {}",
        secret.display()
    );
    assert_eq!(
        attempts(run(true), &names),
        "done\ndone\nEACCES\nEACCES\nEACCES\nEACCES\nENOENT\nENOENT\nENOENT\nENOENT\n"
    );
    // The control; the old path does not exist, with or without the rule.
    assert_eq!(
        attempts(run(false), "/w/d/secret /w/d/near"),
        "done\ndone\ndone\ndone\n"
    );
}

each!(a_tree_has_no_second_name);
/// A second grant of a tree around it would show the mapped tree twice: once without the mounts over its names.
fn a_tree_has_no_second_name(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("inner/secret", "s3cret");
    let inner = workspace.path().join("inner");
    let link = workspace.outside().join("link");
    symlink(workspace.path(), &link).expect("a link");
    let mapped = format!("{}:/inner", inner.display());
    let through = format!("{}/inner:/inner", link.display());
    for flag in [&mapped, &through] {
        let ran = Run::new(who, &workspace)
            .flags(["--read", flag])
            .argv(["true"]);
        assert_eq!(ran.status, 125, "{ran:#?}");
        assert!(ran.stderr.contains("both at"), "{ran:#?}");
        // The control: without the workspace around it.
        let ran = Run::new(who, &workspace).flags(["--workspace", "none", "--read", flag]);
        assert_eq!(ran.sh("cat /inner/secret").ok().stdout, "s3cret");
    }
}

each!(a_mapping_does_not_reveal_what_the_jails_own_directories_hide);
/// At its own path the jail's home hides the caller's, whatever else is granted around it.
fn a_mapping_does_not_reveal_what_the_jails_own_directories_hide(who: Who) {
    let workspace = Workspace::new(who);
    let home = who.account().2;
    let around = home.parent().expect("a directory").to_path_buf();
    let around = match around == Path::new("/") {
        true => home.clone(),
        false => around,
    };
    let operator =
        format!("extends = \"default\"\n[filesystem]\nexec = [\"/usr\"]\nread = [{around:?}]\n");
    let project = format!("[filesystem]\nread = [{{ path = {around:?}, at = \"/around\" }}]\n");
    if around != home {
        // The control: the grant at its own path is one, and the home in it is the jail's.
        let run = Run::new(who, &workspace).policy_text(&workspace, "operator", &operator);
        let ran = run.sh("ls -A ~ | wc -l").ok();
        assert_eq!(ran.stdout, "0\n", "{ran:#?}");
        let ran = Run::new(who, &workspace)
            .policy_text(&workspace, "operator", &operator)
            .policy_text(&workspace, "project", &project)
            .argv(["true"]);
        assert_eq!(ran.status, 125, "{ran:#?}");
        assert!(ran.stderr.contains("in place of this one"), "{ran:#?}");
    }
    for tree in ["/tmp", "/dev/shm"] {
        let text = format!(
            "extends = \"default\"\n[filesystem]\nexec = [{{ path = {tree:?}, at = \"/t\" }}]\n"
        );
        let run = Run::new(who, &workspace).policy_text(&workspace, "own", &text);
        let ran = run.argv(["true"]);
        assert_eq!(ran.status, 125, "{tree}: {ran:#?}");
    }
}

each!(a_writable_mapping_does_not_undo_a_protection);
/// The workspace protects its own names; a writable mapping of a part of it would not.
fn a_writable_mapping_does_not_undo_a_protection(who: Who) {
    let workspace = Workspace::new(who);
    let kept = workspace.write("tree/kept", "kept");
    let tree = workspace.outside().join("tree");
    std::fs::rename(kept.parent().expect("a directory"), &tree).expect("renamed");
    let kept = tree.join("kept");
    let policy = |rule: &str| {
        format!(
            "extends = \"default\"\n[filesystem]\nwrite = [{{ path = {tree:?}, at = \"/t\" }}]\n{rule}"
        )
    };
    let run = |rule: &str| Run::new(who, &workspace).policy_text(&workspace, "p", &policy(rule));
    let protect = format!("protect = [{kept:?}, \"{}/absent\"]\n", tree.display());
    assert_eq!(
        attempts(run(&protect), "/t/kept /t/absent"),
        "done\nEROFS\nEACCES\nEACCES\n"
    );
    assert_eq!(attempts(run(""), "/t/kept"), "done\ndone\n");
}

each!(a_place_does_not_reveal_or_hide_a_denied_path);
/// The denial of the directory in which the place lies, and of a path beneath the place.
fn a_place_does_not_reveal_or_hide_a_denied_path(who: Who) {
    let workspace = Workspace::new(who);
    let skills = workspace.write("skills/file", "skills");
    let from = skills.parent().expect("a directory").to_path_buf();
    let skills = workspace.outside().join("skills");
    std::fs::rename(from, &skills).expect("renamed");
    workspace.write("d/skills/secret", "s3cret");
    let own = workspace.path();
    let run = |rule: &str| {
        let text = format!("extends = \"default\"\n[filesystem]\n{rule}\n");
        let place = format!("{}:{}/d/skills", skills.display(), own.display());
        let run = Run::new(who, &workspace).policy_text(&workspace, "p", &text);
        run.flags(["--read", &place])
    };
    for rule in [
        "deny = [\"$WORKSPACE/d\"]",
        "deny = [\"$WORKSPACE/d/skills\"]",
        "deny = [\"$WORKSPACE/d/skills/secret\"]",
        "protect = [\"$WORKSPACE/d/skills/absent\"]",
    ] {
        let ran = run(rule).argv(["true"]);
        assert_eq!(ran.status, 125, "{rule}: {ran:#?}");
    }
    assert_eq!(
        run("").sh("cat d/skills/file; ls d/skills").ok().stdout,
        "skillsfile\n"
    );
}

each!(a_place_behind_a_link_is_refused);
/// A mount point that is a link would lead the mount elsewhere: a link of the jail's, from an earlier run.
fn a_place_behind_a_link_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("real/skills/x", "x");
    let skills = workspace.write("skills/file", "skills");
    let from = skills.parent().expect("a directory").to_path_buf();
    let skills = workspace.outside().join("skills");
    std::fs::rename(from, &skills).expect("renamed");
    symlink("real", workspace.path().join("link")).expect("a link");
    symlink("real/skills", workspace.path().join("leaf")).expect("a link");
    let run = |place: &str| {
        let flag = format!("{}:/w/{place}", skills.display());
        let flags = ["--workspace", ":/w", "--read", &flag];
        Run::new(who, &workspace).flags(flags).argv(["true"])
    };
    for place in ["link/skills", "leaf"] {
        let ran = run(place);
        assert_eq!(ran.status, 125, "{place}: {ran:#?}");
        assert!(ran.stderr.contains("mount point"), "{place}: {ran:#?}");
    }
    run("real/skills").ok();
}

each!(what_is_left_is_named_as_on_the_host);
/// The files that a run leaves and that programs of the host obey are named by their paths on the host.
fn what_is_left_is_named_as_on_the_host(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags(["--workspace", ":/w"])
        .sh("mkdir sub && cd sub && git init -q . && echo x > .git/hooks/post-commit")
        .ok();
    let left = ran.verdict["left"].to_string();
    let place = workspace.path().join("sub/.git");
    assert!(left.contains(place.to_str().expect("text")), "{left}");
}
