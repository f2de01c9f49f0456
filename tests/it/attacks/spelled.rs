//! A path has several names if a directory above it is a symbolic link. A rule holds for the file, whichever name
//! the rule, a flag or the workspace has.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{attack, refused};
use crate::support::{Run, Who, Workspace};

/// A workspace, and its name through a link beside it.
fn linked(who: Who) -> (Workspace, PathBuf) {
    let workspace = Workspace::new(who);
    for name in ["kept/file", "free/file", ".git/hooks/post-commit"] {
        workspace.write(name, "as it was\n");
    }
    symlink(workspace.outside(), workspace.outside().join("link")).expect("symlink");
    let name = workspace.outside().join("link/work");
    (workspace, name)
}

const BODY: &str = "
for name in ['kept/file', 'free/file']:
    say(name, opened('PLACE/' + name, os.O_WRONLY))
";

each!(what_is_protected_by_another_name_is_protected);
fn what_is_protected_by_another_name_is_protected(who: Who) {
    for (mode, flags) in [("rw", &[][..]), ("none", &["--write", "PLACE"])] {
        for by in ["PLACE", "LINK"] {
            let (workspace, link) = linked(who);
            let place = workspace.path().display().to_string();
            let placed = |text: &str| {
                text.replace("PLACE", &place)
                    .replace("LINK", &link.display().to_string())
            };
            let policy = format!(
                "extends = ['default']\nfilesystem.workspace = '{mode}'\nfilesystem.protect = ['{}/kept']",
                placed(by)
            );
            let run = Run::new(who, &workspace)
                .policy_text(&workspace, "operator", &policy)
                .flags(flags.iter().map(|flag| placed(flag)));
            let got = attack(run, &placed(BODY));
            got.expect(&[("kept/file", "EROFS"), ("free/file", "OK")]);
        }
    }
}

each!(trust_paths_are_held_in_a_workspace_that_is_named_by_a_link);
fn trust_paths_are_held_in_a_workspace_that_is_named_by_a_link(who: Who) {
    let (workspace, link) = linked(who);
    let place = workspace.path().display().to_string();
    let named = format!("{}:none", link.display());
    let body = "
for name in ['.git/hooks/post-commit', 'free/file']:
    say(name, opened('PLACE/' + name, os.O_WRONLY))
"
    .replace("PLACE", &place);
    for (named, dir) in [(&*named, "free"), (&named, ".git/hooks")] {
        let granted = format!("{place}/{dir}");
        let run = Run::new(who, &workspace).flags(["--workspace", named, "--write", &granted]);
        let got = attack(run, &body);
        let (hook, free) = (got.of(".git/hooks/post-commit"), got.of("free/file"));
        match dir {
            "free" => assert_eq!((hook, free), ("ENOENT", "OK")),
            // Read-only, and as root it has no idmap either.
            _ => assert!(
                ["EROFS", "EACCES"].contains(&hook) && free == "ENOENT",
                "{got:?}"
            ),
        }
    }
}

each!(an_absent_name_that_has_another_is_refused);
/// creel would make its placeholder by the other name, and the plan does not know what is beside it there.
fn an_absent_name_that_has_another_is_refused(who: Who) {
    for rule in ["protect", "deny"] {
        let (workspace, link) = linked(who);
        let run = |name: &str| {
            let policy = format!(
                "extends = ['default']\nfilesystem.{rule} = [{{ path = '{name}/absent', optional = true }}]"
            );
            Run::new(who, &workspace).policy_text(&workspace, "operator", &policy)
        };
        let named = link.display().to_string();
        // A known directory above the link changes nothing.
        let above = workspace.outside().display().to_string();
        let ran = run(&named)
            .flags(["--read", &above])
            .argv(["/usr/bin/true"]);
        refused(&ran, "the jail could create it by its real name");
        let ran = run(&named).argv(["/usr/bin/true"]);
        refused(&ran, "the jail could create it by its real name");
        assert_eq!(ran.verdict["reason"]["code"], "plan-absent-elsewhere");
        // The control: by its real name it is held, and another name is free.
        let body = "say('absent', opened('absent', os.O_WRONLY | os.O_CREAT))\nsay('other', opened('other', os.O_WRONLY | os.O_CREAT))";
        let got = attack(run(&workspace.path().display().to_string()), body);
        assert_ne!(got.of("absent"), "OK", "{rule}");
        got.expect(&[("other", "OK")]);
    }
}

each!(a_link_in_the_workspace_grants_nothing_by_another_name);
/// The jail of a run can turn a link in its workspace. The next run's grants must not follow it.
fn a_link_in_the_workspace_grants_nothing_by_another_name(who: Who) {
    let (workspace, link) = linked(who);
    let out = workspace.outside();
    std::fs::create_dir(out.join("victim")).expect("mkdir");
    let done = Run::new(who, &workspace).sh(&format!("ln -s {}/victim data", out.display()));
    done.ok();
    let hop = out.join("hop");
    symlink(workspace.path().join("data"), &hop).expect("symlink");
    for name in [workspace.path().join("data"), link.join("data"), hop] {
        for flag in ["--read", "--write"] {
            let flags = [OsStr::new(flag), name.as_os_str()];
            let ran = Run::new(who, &workspace)
                .flags(flags)
                .argv(["/usr/bin/true"]);
            refused(&ran, "victim");
            assert_eq!(ran.verdict["reason"]["code"], "plan-link-out");
        }
    }
    // The control: a link that no jail can turn.
    symlink(out.join("victim"), out.join("own")).expect("symlink");
    let own = out.join("own");
    let flags = [OsStr::new("--read"), own.as_os_str()];
    Run::new(who, &workspace)
        .flags(flags)
        .argv(["/usr/bin/true"])
        .ok();
}

each!(a_pattern_whose_directory_has_another_name_is_refused);
fn a_pattern_whose_directory_has_another_name_is_refused(who: Who) {
    let (workspace, link) = linked(who);
    for name in [link, workspace.path()] {
        let policy = format!(
            "extends = ['default']\nfilesystem.deny = ['{}/none/*.key']",
            name.display()
        );
        let ran = Run::new(who, &workspace)
            .policy_text(&workspace, "operator", &policy)
            .argv(["/usr/bin/true"]);
        assert_eq!(ran.status, 125, "{ran:?}");
        assert_eq!(ran.verdict["reason"]["code"], "plan-pattern-later");
    }
}
