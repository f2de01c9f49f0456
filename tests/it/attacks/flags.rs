//! A flag's grants beside the policy are bound by the policy's denials and protections as the policy's grants are:
//! a mode of the workspace, a path to write, and the same through a link.

use std::os::unix::fs::symlink;

use super::attack;
use crate::support::{Run, Who, Workspace};

/// A workspace with a file that is protected, one that is denied and one that git runs, and a link to it.
fn prepared(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    for name in ["kept", "secret", "free", ".git/hooks/post-commit"] {
        workspace.write(name, "as it was\n");
    }
    symlink(workspace.path(), workspace.outside().join("link")).expect("symlink");
    workspace
}

const BODY: &str = "
for name in ['kept', 'secret', 'free', '.git/hooks/post-commit']:
    say(name, opened('PLACE/' + name, os.O_WRONLY))
say('read', opened('PLACE/secret', os.O_RDONLY))
";

each!(a_flag_that_lets_write_lets_write_nothing_that_is_protected);
fn a_flag_that_lets_write_lets_write_nothing_that_is_protected(who: Who) {
    for (mode, more, flags) in [
        ("rw", "", &[][..]),
        ("ro", "", &["--workspace", ".:rw"]),
        ("none", "", &["--workspace", ".:rw"]),
        ("ro", "tools.deny = ['write']", &["--workspace", ".:rw"]),
        ("ro", "", &["--write", "PLACE"]),
        ("none", "", &["--write", "PLACE"]),
        ("none", "", &["--write", "LINK"]),
        ("ro", "filesystem.write = ['LINK']", &[]),
        ("rw", "", &["--workspace", "none", "--write", "PLACE"]),
    ] {
        let workspace = prepared(who);
        let place = workspace.path().display().to_string();
        let link = workspace.outside().join("link").display().to_string();
        let placed = |text: &str| text.replace("PLACE", &place).replace("LINK", &link);
        let policy = format!(
            "extends = ['default']\nfilesystem.workspace = '{mode}'\nfilesystem.protect = ['$WORKSPACE/kept']\nfilesystem.deny = ['{place}/secret']\n{}",
            placed(more)
        );
        let flags: Vec<String> = flags.iter().map(|flag| placed(flag)).collect();
        let run = Run::new(who, &workspace)
            .policy_text(&workspace, "operator", &policy)
            .flags(flags.iter());
        let got = attack(run, &placed(BODY));
        got.expect(&[
            ("free", "OK"),
            ("kept", "EROFS"),
            (".git/hooks/post-commit", "EROFS"),
            ("secret", "EACCES"),
            ("read", "EACCES"),
        ]);
    }
}

each!(a_denial_in_a_workspace_that_is_not_there_denies);
/// With `--workspace none` a path of the caller's directory is still that path, and not one of the fresh one.
fn a_denial_in_a_workspace_that_is_not_there_denies(who: Who) {
    let workspace = prepared(who);
    let (place, out) = (workspace.path(), workspace.outside());
    let policy = format!(
        "extends = ['default']\nfilesystem.read = ['{}']\nfilesystem.deny = ['{}/secret']",
        out.display(),
        place.display()
    );
    std::fs::write(out.join("beside"), "there\n").expect("write");
    let body = format!(
        "say('beside', opened('{}/beside', os.O_RDONLY))\n{}",
        out.display(),
        BODY.replace("PLACE", &place.display().to_string())
    );
    for (mode, free) in [("none", "EACCES"), (".:ro", "EROFS")] {
        let run = Run::new(who, &workspace)
            .policy_text(&workspace, "operator", &policy)
            .flags(["--workspace", mode]);
        let got = attack(run, &body);
        got.expect(&[
            ("beside", "OK"),
            ("secret", "EACCES"),
            ("read", "EACCES"),
            ("free", free),
        ]);
    }
    // A grant in there has no effect, and that is reported.
    let policy = format!(
        "extends = ['default']\nfilesystem.read = ['{}/fr*']",
        place.display()
    );
    let run = Run::new(who, &workspace)
        .policy_text(&workspace, "operator", &policy)
        .flags(["--workspace", "none"]);
    let ran = run.argv(["/usr/bin/true"]);
    assert!(
        ran.stderr
            .contains("free: not granted, since the workspace is `none`"),
        "{}",
        ran.stderr
    );
}

each!(a_denial_within_a_denial_is_one_denial);
fn a_denial_within_a_denial_is_one_denial(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("dir/in/secret", "");
    workspace.write("free", "");
    let policy = "extends = ['default']\nfilesystem.deny = ['$WORKSPACE/dir/in/secret', '$WORKSPACE/dir', '$WORKSPACE/dir/in']";
    let run = Run::new(who, &workspace).policy_text(&workspace, "operator", policy);
    let got = attack(
        run,
        "say('dir', opened('dir/in/secret', os.O_RDONLY))\nsay('free', opened('free', os.O_RDONLY))",
    );
    got.expect(&[("dir", "EACCES"), ("free", "OK")]);
}

each!(trust_paths_are_held_where_the_workspace_is_none);
/// Which policy is in force, and whether that takes a file to read, is nothing to the directory that is granted: its
/// trust paths stay as they are. What is held only where it is there can be made, as in a workspace.
fn trust_paths_are_held_where_the_workspace_is_none(who: Who) {
    for policy in [&[][..], &["--policy", "default"], &["--policy", "coding"]] {
        for none in ["none", "PLACE:none"] {
            let workspace = prepared(who);
            workspace.write(".vimrc", "as it was\n");
            let place = workspace.path().display().to_string();
            let none = none.replace("PLACE", &place);
            let flags = ["--workspace", &none, "--write", &place];
            let run = Run::new(who, &workspace).flags(policy).flags(flags);
            let got = attack(
                run,
                &"
for name in ['free', '.git/hooks/post-commit', '.vimrc']:
    say(name, opened('PLACE/' + name, os.O_WRONLY))
for name in ['.claude', '.gdbinit']:
    say(name, py(lambda: os.mkdir('PLACE/' + name)))
"
                .replace("PLACE", &place),
            );
            got.expect(&[
                ("free", "OK"),
                (".git/hooks/post-commit", "EROFS"),
                (".vimrc", "EROFS"),
                (".claude", "EEXIST"),
                (".gdbinit", "OK"),
            ]);
        }
    }
}
