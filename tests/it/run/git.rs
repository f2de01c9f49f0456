//! Advice after a command with git in it failed: which of git's files the policy keeps, and which
//! repository the jail does not have. Each with the control: what is advised works, and a run without git, or
//! one that did not fail, hears nothing.

use std::path::Path;
use std::process::Command;

use crate::attacks::{become_who, policy};
use crate::support::{Ran, Run, Who, Workspace, is_root, need};

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

each!(a_refused_write_of_gits_names_the_protection);
fn a_refused_write_of_gits_names_the_protection(who: Who) {
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

each!(a_worktree_that_stays_and_a_commit_without_a_name_are_explained);
/// In a linked worktree, a submodule and a part of a repository git finds nothing.
/// Acts that git cannot do in any later jail, and the setting that lets it commit.
fn a_worktree_that_stays_and_a_commit_without_a_name_are_explained(who: Who) {
    let workspace = Workspace::new(who);
    on_host(who, &workspace, "git init -q . && echo x >f && git add f");
    let commit = &["git", "commit", "-m", "one"][..];
    let run = |policy: &str, argv: &[&str]| Run::new(who, &workspace).policy(policy).argv(argv);
    assert!(said(&run("default", commit), "git_identity = true"));
    on_host(who, &workspace, &format!("{WHO} commit -qm one"));
    // A command that failed for another reason.
    let wrong = &["git", "commit", "--nonsense"][..];
    assert!(!said(&run("default", wrong), "git_identity"));
    let told = "git worktree prune";
    let both = "git worktree add -q w && git worktree remove w && false";
    assert!(!said(&run("coding", &["sh", "-c", both]), told));
    assert_eq!(
        run("coding", &["git", "worktree", "add", "-q", "w"]).status,
        0
    );
    let ran = run("coding", &["git", "worktree", "remove", "w"]);
    assert!(ran.status != 0 && said(&ran, told), "{ran:#?}");
    on_host(who, &workspace, told);
    let ran = run("coding", &["git", "worktree", "add", "-q", "w"]);
    assert_eq!(ran.status, 0, "{ran:#?}");
}

each!(a_repository_elsewhere_is_named_and_what_grants_it);
fn a_repository_elsewhere_is_named_and_what_grants_it(who: Who) {
    let setup = format!(
        "git init -q main && cd main && mkdir part && echo x >part/f && git add -A && {WHO} commit -qm one && \
         git worktree add -q ../linked && cd .. && git init -q super && cd super && \
         git -c protocol.file.allow=always submodule --quiet add ../main mod"
    );
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

each!(a_forged_pointer_is_no_advice);
/// Content of `.git` is text by the author of the workspace: its target is not offered to be granted unless that
/// place is a repository of the caller's and says so itself, out of the jail's reach.
fn a_forged_pointer_is_no_advice(who: Who) {
    // Entries in the place of the worktree's own `.git`, with the repository `main` beside it.
    let forged = [
        "mkdir .git && printf 'ref: refs/heads/x\\n' >.git/HEAD && echo \"$PWD/.git\" >.git/gitdir && echo /etc >.git/commondir",
        "mkdir .git && printf 'ref: refs/heads/x\\n' >.git/HEAD && echo \"$PWD/.git\" >.git/gitdir && \
         echo '/tmp; touch pwned; #' >.git/commondir",
        "mkdir .git && printf 'ref: refs/heads/x\\n' >.git/HEAD && echo \"$PWD/.git\" >.git/gitdir && \
         echo ../../main/.git >.git/commondir",
        "mkdir -p own/worktrees/x && printf 'ref: refs/heads/x\\n' | tee own/HEAD >own/worktrees/x/HEAD && mkdir own/objects own/refs && \
         echo \"$PWD/.git\" >own/worktrees/x/gitdir && echo ../.. >own/worktrees/x/commondir && \
         echo 'gitdir: own/worktrees/x' >.git",
        "echo 'gitdir: ../main/.git' >.git",
        "echo 'gitdir: ../main/.git/worktrees/other' >.git",
        "echo 'gitdir: ../bare' >.git",
    ];
    let setup = format!(
        "git init -q main && cd main && {WHO} commit -qm one --allow-empty && git worktree add -q ../linked && \
         git worktree add -q ../other && cd .. && git init -q --bare bare && git -C bare config core.worktree ../linked"
    );
    let workspace = Workspace::new(who);
    on_host(who, &workspace, &setup);
    let linked = workspace.path().join("linked");
    let run = |script: &str| {
        Run::new(who, &workspace)
            .cwd(&linked)
            .policy("coding")
            .sh(script)
    };
    let status = || {
        let ran = run("git status");
        assert_ne!(ran.status, 0, "{ran:#?}");
        ran
    };
    // The control: nothing is forged.
    assert!(said(&status(), "--write"), "{who:?}");
    on_host(who, &workspace, "mv linked/.git true");
    for forge in forged {
        run(forge).ok();
        let ran = status();
        for flag in ["--read", "--write", "--workspace", "pwned", "/etc"] {
            assert!(!said(&ran, flag), "{forge} {flag}: {ran:#?}");
        }
        on_host(who, &workspace, "rm -rf linked/.git linked/own");
    }
    on_host(who, &workspace, "cp true linked/.git");
    assert!(said(&status(), "--write"), "{who:?}");
    // Everybody can write what leads there, and it is somebody else's.
    on_host(who, &workspace, "chmod o+w main/.git/worktrees/linked");
    let ran = status();
    assert!(
        said(&ran, "does not refer back") && !said(&ran, "--write"),
        "{ran:#?}"
    );
    on_host(who, &workspace, "chmod o-w main/.git/worktrees/linked");
    if is_root() {
        let other = if who == Who::Root { 65534 } else { 0 };
        let head = workspace.path().join("main/.git/HEAD");
        std::os::unix::fs::chown(&head, Some(other), None).expect("chown");
        let ran = status();
        assert!(
            said(&ran, "does not refer back") && !said(&ran, "--write"),
            "{ran:#?}"
        );
    }
}

each!(advice_is_quoted_and_of_the_callers_own);
/// Advised commands are typed into a shell.
fn advice_is_quoted_and_of_the_callers_own(who: Who) {
    let setup = |name: &str| {
        format!(
            "git init -q '{name}' && cd '{name}' && mkdir -p -- sub '-x y' && {WHO} commit -qm one --allow-empty && \
             git worktree add -q ../linked"
        )
    };
    let workspace = Workspace::new(who);
    on_host(who, &workspace, &setup("a b; touch pwned"));
    let at = |name: &str| workspace.path().join(name);
    let status = |workspace: &Workspace, place: &Path| {
        let run = Run::new(who, workspace).cwd(place).policy("coding");
        let ran = run.sh("git status");
        assert_ne!(ran.status, 0, "{ran:#?}");
        ran
    };
    let top = at("a b; touch pwned");
    let ran = status(&workspace, &at("linked"));
    let flag = format!("--write '{}'", top.join(".git").display());
    assert!(said(&ran, &flag), "{ran:#?}");
    for (name, word) in [("sub", "sub"), ("-x y", "'./-x y'")] {
        let ran = status(&workspace, &top.join(name));
        let flags = format!("--workspace '{}' --workdir {word} grants", top.display());
        assert!(said(&ran, &flags), "{ran:#?}");
    }
    // A repository of another user, or a directory that git does not take for one.
    if is_root() {
        let other = if who == Who::Root { 65534 } else { 0 };
        for name in [".git", ""] {
            let place = top.join(name);
            std::os::unix::fs::lchown(&place, Some(other), None).expect("chown");
            let ran = status(&workspace, &top.join("sub"));
            assert!(
                said(&ran, "a repository above it") && !said(&ran, "--workspace"),
                "{ran:#?}"
            );
            let (own, _, _) = who.account();
            std::os::unix::fs::lchown(&place, Some(own), None).expect("chown");
        }
    }
    assert!(said(&status(&workspace, &top.join("sub")), "--workspace"));
    on_host(who, &workspace, "rm 'a b; touch pwned/.git/HEAD'");
    assert!(!said(&status(&workspace, &top.join("sub")), "--workspace"));
    // A name that cannot be shown as it is.
    let odd = Workspace::new(who);
    on_host(who, &odd, &setup("a\nb"));
    for place in ["linked", "a\nb/sub"] {
        let ran = status(&odd, &odd.path().join(place));
        assert!(
            said(&ran, "the jail does not have") || said(&ran, "which the jail"),
            "{ran:#?}"
        );
        for flag in ["--write", "--read", "--workspace"] {
            assert!(!said(&ran, flag), "{ran:#?}");
        }
    }
}
