//! Names of a workspace and of files in it, and the message if a name cannot be used.

use std::os::unix::fs::{chown, symlink};
use std::process::Command;

use super::under;
use crate::support::{Ran, Run, Who, Workspace, need};

fn pwd(run: Run) -> String {
    run.argv(["/bin/pwd"]).ok().stdout.trim_end().to_owned()
}

/// A run that is refused, and why.
#[track_caller]
fn refused(ran: Ran) -> String {
    assert_eq!(ran.status, 125, "{ran:?}");
    ran.stderr
}

each!(a_workspace_is_named_over_a_link_and_over_its_parents);
fn a_workspace_is_named_over_a_link_and_over_its_parents(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("p/sub/file", "");
    let real = workspace.path().join("p").display().to_string();
    let link = workspace.outside().join("link");
    symlink("work", &link).expect("symlink");
    let by_link = link.join("p").display().to_string();
    let run = |flag: &str, cwd: &str| {
        let run = Run::new(who, &workspace).flags(["--workspace", flag]);
        pwd(run.cwd(workspace.path().join(cwd)))
    };
    assert_eq!(run(&by_link, ""), real);
    assert_eq!(run("../link/p", ""), real);
    for (flag, cwd) in [
        ("..", "p/sub"),
        ("../", "p/sub"),
        ("../../p", "p/sub"),
        ("../p", "p"),
    ] {
        assert_eq!(run(flag, cwd), real, "{flag}");
    }
    // Behind the link, where the kernel goes: `sub` is no directory beside it.
    symlink("p/sub", workspace.path().join("in")).expect("symlink");
    assert_eq!(run("in/..", ""), real);
    // The last name is still no link, and no file.
    let run = Run::new(who, &workspace).cwd(workspace.path().join("p"));
    let said = refused(run.flags(["--workspace", "../in"]).argv(["/bin/true"]));
    assert!(
        said.contains("is a symbolic link; name its target"),
        "{said}"
    );
    let run = Run::new(who, &workspace).flags(["--workspace", "p/../none-such"]);
    let said = refused(run.argv(["/bin/true"]));
    assert!(said.contains("does not exist"), "{said}");
}

each!(a_directory_that_ends_like_a_mode_is_asked_about);
fn a_directory_that_ends_like_a_mode_is_asked_about(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("a:ro/file", "");
    workspace.write("a/file", "");
    let run = |flag: &str| Run::new(who, &workspace).flags(["--workspace", flag]);
    for name in ["a:ro", "./a:ro"] {
        let said = refused(run(name).argv(["/bin/true"]));
        assert!(said.contains(&format!("{name}:rw")), "{said}");
        assert!(said.contains("a/:ro"), "{said}");
    }
    let at = |name: &str| workspace.path().join(name).display().to_string();
    assert_eq!(pwd(run("a:ro:rw")), at("a:ro"));
    assert_eq!(pwd(run("a/:ro")), at("a"));
    assert_eq!(pwd(run("a:rw")), at("a"));
}

/// A directory that the caller may not write cannot be changed by the jail, and can be granted for reading.
#[test]
fn a_workspace_that_is_not_the_callers_is_offered_read_only() {
    let who = Who::User;
    let workspace = Workspace::new(who);
    if !crate::support::is_root() {
        eprintln!("skipped: only root can make a directory of another account");
        return;
    }
    chown(workspace.path(), Some(0), Some(0)).expect("chown");
    let run = || Run::new(who, &workspace);
    let said = refused(run().argv(["/bin/true"]));
    let named = format!("{}:ro", workspace.path().display());
    assert!(said.contains("you may not write to"), "{said}");
    assert!(said.contains(&named), "{said}");
    assert!(!said.contains("create it"), "{said}");
    run()
        .flags(["--workspace", &named])
        .argv(["/bin/true"])
        .ok();
}

each!(a_link_that_leads_nowhere_is_called_that);
fn a_link_that_leads_nowhere_is_called_that(who: Who) {
    for (name, target) in [
        (".claude", "nowhere"),
        (".vscode", "/nonexistent/x"),
        (".git/hooks", "../gone"),
    ] {
        let workspace = Workspace::new(who);
        need("git");
        let init = under(
            who,
            &workspace,
            "git init -q .; rm -rf .git/hooks",
            &[],
            &[],
        );
        assert!(init.status.success(), "{init:?}");
        let link = workspace.path().join(name);
        symlink(target, &link).expect("symlink");
        let said = refused(Run::new(who, &workspace).argv(["/bin/true"]));
        assert!(said.contains("is a dangling symbolic link"), "{said}");
        assert!(said.contains(&link.display().to_string()), "{said}");
        // The remedy helps.
        std::fs::remove_file(&link).expect("rm");
        Run::new(who, &workspace).argv(["/bin/true"]).ok();
    }
}

each!(a_protected_file_with_a_second_name_is_called_that_and_the_remedy_helps);
/// Both of two copies by `cp -al` have names that creel cannot know of.
fn a_protected_file_with_a_second_name_is_called_that_and_the_remedy_helps(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let made = "git init -q a && cp -al a b";
    assert!(under(who, &workspace, made, &[], &[]).status.success());
    for name in ["a", "b"] {
        let run = || {
            let dir = workspace.path().join(name);
            Run::new(who, &workspace).cwd(dir)
        };
        let said = refused(run().argv(["/bin/true"]));
        assert!(said.contains("has a second name (a hard link"), "{said}");
        assert!(!said.contains("has another name in"), "{said}");
        if name == "a" {
            continue;
        }
        // One after the other, until nothing is left to be said.
        let mut said = said;
        while let Some((before, _)) =
            said.split_once(" cannot be protected, because it has a second name")
        {
            let (_, file) = before.rsplit_once(' ').expect("a path");
            let new = format!("{file}.new");
            let copy = Command::new("/bin/cp").args(["-p", file, &new]).status();
            assert!(copy.expect("cp").success(), "{file}");
            std::fs::rename(&new, file).expect("mv");
            said = run().argv(["/bin/true"]).stderr;
        }
        run().argv(["/bin/true"]).ok();
    }
}
