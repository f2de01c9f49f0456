//! Author of a jail's commits: `environment.git_identity`.

use std::path::PathBuf;

use crate::attacks::{become_who, policy};
use crate::support::{Ran, Run, Who, Workspace, need};

/// Configuration of git of a caller, outside of the workspace and for everybody to read.
fn callers(workspace: &Workspace, text: &str) -> PathBuf {
    need("git");
    let file = workspace.outside().join("gitconfig");
    std::fs::write(&file, text).expect("write");
    file
}

const OPERATOR: &str = "[user]\n\tname = \"Ann \\\"O\\\" \\\\ Nym, #1; x\"\n\temail = ann@example.org\n\
                        [credential]\n\thelper = !echo secret\n[alias]\n\tx = !echo secret\n";

const COMMIT: &str = "git init -q r && cd r && git commit -q --allow-empty -m one && git log -1 --format='%an|%ae|%cn|%ce'";

fn run(who: Who, workspace: &Workspace, flags: &[&str], script: &str) -> Ran {
    Run::new(who, workspace)
        .outer_env("GIT_CONFIG_GLOBAL", workspace.outside().join("gitconfig"))
        .flags(flags)
        .flags(["--quiet"])
        .sh(script)
}

each!(a_first_commit_has_the_operators_name);
fn a_first_commit_has_the_operators_name(who: Who) {
    let workspace = Workspace::new(who);
    callers(&workspace, OPERATOR);
    let coding = ["--policy", "coding"];
    let ann = "Ann \"O\" \\ Nym, #1; x|ann@example.org|Ann \"O\" \\ Nym, #1; x|ann@example.org\n";
    let ran = run(who, &workspace, &coding, COMMIT).ok();
    assert_eq!(ran.stdout, ann, "{ran:#?}");
    // The agents' policies extend it.
    let workspace = Workspace::new(who);
    callers(&workspace, OPERATOR);
    let ran = run(who, &workspace, &["--policy", "codex"], COMMIT).ok();
    assert_eq!(ran.stdout, ann, "{ran:#?}");
    // Nothing but the two values.
    let ran = run(
        who,
        &workspace,
        &coding,
        "cat /etc/gitconfig.creel; env; git config --list",
    )
    .ok();
    assert!(!ran.stdout.contains("secret"), "{ran:#?}");
    assert!(!ran.stdout.contains("helper = !echo"), "{ran:#?}");
    // The control: nobody says so, or a policy says no.
    let own = policy(&workspace, "");
    let ran = run(
        who,
        &workspace,
        &["--policy", own.to_str().expect("text")],
        COMMIT,
    );
    assert_eq!(ran.status, 128, "{ran:#?}");
    let no = workspace.outside().join("no.toml");
    std::fs::write(
        &no,
        "extends = 'coding'\nenvironment.git_identity = false\n",
    )
    .expect("write");
    let ran = run(
        who,
        &workspace,
        &["--policy", no.to_str().expect("text")],
        COMMIT,
    );
    assert_eq!(ran.status, 128, "{ran:#?}");
}

each!(what_is_nearer_counts);
fn what_is_nearer_counts(who: Who) {
    let workspace = Workspace::new(who);
    callers(&workspace, OPERATOR);
    let coding = ["--policy", "coding"];
    let author = |setup: &str| {
        let script = format!(
            "rm -rf r && git init -q r && cd r && {setup} git commit -q --allow-empty -m one && git log -1 --format='%an|%ae'"
        );
        run(who, &workspace, &coding, &script).ok().stdout
    };
    assert_eq!(
        author("git config user.name Bot && "),
        "Bot|ann@example.org\n"
    );
    assert_eq!(
        author("git config --global user.email b@c && "),
        "Ann \"O\" \\ Nym, #1; x|b@c\n"
    );
    assert_eq!(author("GIT_AUTHOR_NAME=Eve "), "Eve|ann@example.org\n");
    // The caller's own word on the system's configuration.
    let flags = ["--policy", "coding", "-e", "GIT_CONFIG_SYSTEM=/dev/null"];
    let ran = run(who, &workspace, &flags, "git config user.name");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
}

each!(included_files_are_read_within_bounds);
/// Included files count, in the order in which git reads them; conditions are not evaluated.
fn included_files_are_read_within_bounds(who: Who) {
    let workspace = Workspace::new(who);
    let name = |text: &str| {
        callers(&workspace, text);
        let script = "git config user.name; git config user.email; true";
        let ran = run(who, &workspace, &["--policy", "coding"], script).ok();
        ran.stdout
    };
    std::fs::write(workspace.outside().join("more"), "[user]\n\tname = More\n").expect("write");
    std::fs::write(
        workspace.outside().join("round"),
        "[include]\n\tpath = round\n[user]\n\temail = r@x\n",
    )
    .expect("write");
    assert_eq!(
        name("[include]\n\tpath = more\n[user]\n\temail = a@b\n"),
        "More\na@b\n"
    );
    assert_eq!(
        name("[include]\n\tpath = more\n[user]\n\tname = Last\n"),
        "Last\n"
    );
    assert_eq!(
        name("[user]\n\tname = First\n[include]\n\tpath = more\n"),
        "More\n"
    );
    assert_eq!(name("[includeIf \"gitdir:/\"]\n\tpath = more\n"), "");
    assert_eq!(name("[include]\n\tpath = round\n"), "r@x\n");
    // No text for a file of configuration, or for a terminal.
    for bad in ["a\\nb", "\\tx\\b", &"x".repeat(257), "\x1b[31m"] {
        assert_eq!(
            name(&format!("[user]\n\tname = \"{bad}\"\n\temail = a@b\n")),
            "a@b\n"
        );
    }
    assert_eq!(name("[user]\n\tname = \"  \"\n"), "");
    // Neither a directory nor a pipe holds a start up.
    let file = workspace.outside().join("gitconfig");
    std::fs::remove_file(&file).expect("unlink");
    let made = std::process::Command::new("/usr/bin/mkfifo")
        .arg(&file)
        .status();
    assert!(made.expect("mkfifo starts").success());
    let ran = run(
        who,
        &workspace,
        &["--policy", "coding"],
        "git config user.name",
    );
    assert_eq!(ran.status, 1, "{ran:#?}");
}

#[test]
fn a_plan_shows_it() {
    let who = Who::User;
    let workspace = Workspace::new(who);
    callers(&workspace, OPERATOR);
    let ran = run(
        who,
        &workspace,
        &["--policy", "coding", "--dry-run"],
        "true",
    )
    .ok();
    assert!(
        ran.stdout
            .contains("GIT_CONFIG_SYSTEM=/etc/gitconfig.creel"),
        "{ran:#?}"
    );
    assert!(ran.stdout.contains("/etc/gitconfig.creel"), "{ran:#?}");
    let mut explain = std::process::Command::new(crate::support::binary());
    explain.args([
        "policy",
        "explain",
        "--policy",
        "coding",
        "--allow-degraded",
        "cgroup",
        "--",
        "git",
    ]);
    explain.env("GIT_CONFIG_GLOBAL", workspace.outside().join("gitconfig"));
    explain.current_dir(workspace.path());
    become_who(&mut explain, who);
    let said = explain.output().expect("creel starts");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        text.contains("git's user.email is ann@example.org"),
        "{text}"
    );
}

each!(the_hosts_git_and_the_jails_share_an_index);
/// The jail may see another owner of the files than git has stored: each side's git would then write the index again
/// after the other's. The control is a jail whose git compares owners.
fn the_hosts_git_and_the_jails_share_an_index(who: Who) {
    let workspace = Workspace::new(who);
    callers(&workspace, OPERATOR);
    let mut shell = std::process::Command::new("/bin/sh");
    // Files as old as the index are read again in any case.
    let made = "git init -q . && for i in 1 2 3; do echo $i > f$i; done && touch -d yesterday f? && git add . && \
                git -c user.name=a -c user.email=a@b commit -qm one && git status";
    shell.args(["-ec", made]).current_dir(workspace.path());
    become_who(&mut shell, who);
    assert!(shell.output().expect("a shell").status.success());
    let index = || std::fs::read(workspace.path().join(".git/index")).expect("an index");
    let before = index();
    let coding = ["--policy", "coding"];
    let ran = run(who, &workspace, &coding, "git status --porcelain").ok();
    assert_eq!((ran.stdout.as_str(), index() == before), ("", true));
    let compares = "git -c core.checkStat=default status --porcelain";
    let ran = run(who, &workspace, &coding, compares).ok();
    let other_owner = who == Who::Root;
    assert_eq!((ran.stdout.as_str(), index() == before), ("", !other_owner));
    // What changed is seen: another size, and another time.
    let ran = run(
        who,
        &workspace,
        &coding,
        "echo more >> f1; echo 4 > f2; git status --porcelain",
    )
    .ok();
    assert_eq!(ran.stdout, " M f1\n M f2\n");
}
