//! What creel says where a command with git in it failed: which of git's files the policy keeps, and which
//! repository the jail does not have. Each with the control: what is advised works, and a run without git, or
//! one that did not fail, hears nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::attacks::{become_who, policy};
use crate::support::{Ran, Run, Who, Workspace, need};

const WHO: &str = "git -c user.name=a -c user.email=a@b";

/// Shell lines on the host, in the workspace.
fn on_host(who: Who, workspace: &Workspace, script: &str) {
    need("git");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", script]).current_dir(workspace.path());
    shell.env("GIT_CONFIG_GLOBAL", "/dev/null");
    shell.env("PATH", "/usr/bin:/bin");
    become_who(&mut shell, who);
    let ran = shell.output().expect("sh starts");
    assert!(ran.status.success(), "{ran:#?}");
}

/// The sentence of creel's that has these words.
fn said(ran: &Ran, words: &str) -> bool {
    ran.stderr
        .lines()
        .any(|line| line.starts_with("creel: ") && line.contains(words))
}

#[test]
fn a_refused_write_of_gits_names_the_protection() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        on_host(who, &workspace, "git init -q . && echo x >f && git add f");
        on_host(who, &workspace, &format!("{WHO} commit -qm one"));
        let run = |argv: &[&str]| Run::new(who, &workspace).policy("coding").argv(argv);
        for (argv, named) in [
            (&["git", "config", "a.b", "c"][..], "$WORKSPACE/.git/config"),
            (
                &["git", "remote", "add", "o", "/x"],
                "$WORKSPACE/.git/config",
            ),
            (
                &["sh", "-c", "cd . && git config a.b c"],
                "$WORKSPACE/.git/config",
            ),
            (
                &["git", "submodule", "add", "/x"],
                "$WORKSPACE/.git/modules",
            ),
        ] {
            let ran = run(argv);
            assert_ne!(ran.status, 0, "{ran:#?}");
            assert!(said(&ran, "unprotect = ["), "{argv:?}: {ran:#?}");
            assert!(said(&ran, named), "{argv:?}: {ran:#?}");
        }
        // Nothing that git would have to write is held, git is not asked, or nothing failed.
        for argv in [
            &["git", "log", "--nonsense"][..],
            &["git", "worktree", "add", "/nowhere/x"],
            &["sh", "-c", "cat .git/config none"],
            &["git", "config", "core.bare"],
        ] {
            let ran = run(argv);
            assert!(!said(&ran, "unprotect"), "{argv:?}: {ran:#?}");
        }
        let run = Run::new(who, &workspace)
            .policy("coding")
            .flags(["--quiet"]);
        let ran = run.argv(["git", "config", "a.b", "c"]);
        assert!(!said(&ran, "unprotect"), "{ran:#?}");
        // The advice.
        let own = policy(&workspace, r#"unprotect = ["$WORKSPACE/.git/config"]"#);
        let run = Run::new(who, &workspace).policy(own);
        run.argv(["git", "config", "a.b", "c"]).ok();
    }
}

/// In a linked worktree, a submodule and a part of a repository git finds nothing.
#[test]
fn a_repository_elsewhere_is_named_and_what_grants_it() {
    let setup = format!(
        "git init -q main && cd main && mkdir part && echo x >part/f && git add -A && {WHO} commit -qm one && \
         git worktree add -q ../linked && cd .. && git init -q super && cd super && \
         git -c protocol.file.allow=always submodule --quiet add ../main mod"
    );
    for who in Who::all() {
        let workspace = Workspace::new(who);
        on_host(who, &workspace, &setup);
        let at = |name: &str| workspace.path().join(name);
        let run = |place: &Path, flags: &[&str], script: &str| {
            Run::new(who, &workspace)
                .cwd(place)
                .policy("coding")
                .flags(flags)
                .sh(script)
        };
        let commit =
            format!("echo y >new && git add new && {WHO} commit -qm two && git status --porcelain");
        for (place, repository) in [
            ("linked", "main/.git"),
            ("super/mod", "super/.git/modules/mod"),
        ] {
            let (place, repository) = (at(place), at(repository));
            let ran = run(&place, &[], "git status");
            assert_eq!(ran.status, 128, "{ran:#?}");
            let flag = format!("--write {}", repository.display());
            assert!(said(&ran, &flag), "{ran:#?}");
            let read = format!("--read {}", repository.display());
            assert_eq!(said(&ran, &read), who == Who::User, "{ran:#?}");
            assert!(!said(&run(&place, &[], "cat none"), "--write"));
            // The advice, and that it grants no more than it says.
            let flags = ["--write", repository.to_str().expect("text")];
            let ran = run(&place, &flags, &commit).ok();
            assert_eq!(ran.stdout, "", "{ran:#?}");
            let config = repository.join("config");
            let ran = run(&place, &flags, &format!("echo x >>{}", config.display()));
            assert!(ran.stderr.contains("Read-only file system"), "{ran:#?}");
            if who == Who::User {
                let flags = ["--read", repository.to_str().expect("text")];
                run(&place, &flags, "git status && git log").ok();
            }
        }
        let ran = run(&at("main/part"), &[], "git status");
        assert_eq!(ran.status, 128, "{ran:#?}");
        let flags = format!("--workspace {} --workdir part", at("main").display());
        assert!(said(&ran, &flags), "{ran:#?}");
        let flags: Vec<&str> = flags.split(' ').collect();
        run(&workspace.path(), &flags, &commit).ok();
    }
}

/// A `.git` file is text of whoever wrote the workspace: where it leads is not offered to be granted unless
/// that place says so itself.
#[test]
fn a_forged_pointer_is_no_advice() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        let secret: PathBuf = workspace.outside().join("secret");
        std::fs::create_dir(&secret).expect("mkdir");
        for (name, text) in [
            ("HEAD", "ref: refs/heads/x\n"),
            ("config", "[core]\n\tworktree = /\n"),
        ] {
            std::fs::write(secret.join(name), text).expect("write");
        }
        let forge = format!("printf 'gitdir: %s\\n' '{}' >.git", secret.display());
        Run::new(who, &workspace).sh(&forge).ok();
        let run = || Run::new(who, &workspace).policy("coding").sh("git status");
        let ran = run();
        assert_eq!(ran.status, 128, "{ran:#?}");
        assert!(said(&ran, "does not lead back"), "{ran:#?}");
        assert!(!ran.stderr.contains("--read"), "{ran:#?}");
        assert!(!ran.stderr.contains("--write"), "{ran:#?}");
        // The control: it leads back.
        std::fs::write(
            secret.join("gitdir"),
            workspace.path().join(".git").to_str().expect("text"),
        )
        .expect("write");
        assert!(said(&run(), "--write"));
    }
}
