//! A repository above the workspace stays protected where the jail may write it, whatever lies below it that git
//! may take for another one, or pass over. The control is the same act where the operator excepts the path: the jail
//! writes it, and git on the host runs it.

use std::process::Command;

use crate::attacks::{attack, become_who, policy};
use crate::support::{Run, Who, Workspace, need};

fn host(who: Who, workspace: &Workspace, script: &str) {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-ec", script])
        .current_dir(workspace.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    become_who(&mut shell, who);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{script}: {output:?}");
}

/// Entries that a jail of `p/a/sub` makes there, or somebody on the host in `p`; `true` where the run says so itself.
const HIDING: [(&str, &str, Option<&str>); 9] = [
    ("nothing", "true", None),
    ("an empty directory", "mkdir .git", Some(".git")),
    ("files", "touch HEAD objects refs", Some("")),
    (
        "a bare one",
        "mkdir objects refs; echo 'ref: refs/heads/x' >HEAD",
        Some(""),
    ),
    ("one that git takes", "git init -q .", Some(".git")),
    (
        "a file that leads nowhere",
        "echo 'gitdir: nowhere' >.git",
        Some(".git"),
    ),
    (
        "a file that leads in",
        "mkdir own; echo 'gitdir: own' >.git",
        Some(".git"),
    ),
    ("a file with junk", "echo junk >.git", Some(".git")),
    (
        "a directory that leads nowhere",
        "mkdir .git; echo ../own >.git/commondir",
        Some(".git"),
    ),
];

/// Writes git's hooks and configuration of `p`; harmless where it can.
const BODY: &str = r#"
os.chdir('TOP')
def hook():
    os.makedirs('.git/hooks', exist_ok=True)
    fd = os.open('.git/hooks/post-commit', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
    os.write(fd, b'#!/bin/sh\ntouch pwned\n')
    os.close(fd)
say('hook', py(hook))
say('config', py(lambda: open('.git/config', 'a').write('[a]\n\tb = c\n')))
say('away', py(os.rename, '.git/objects', '.git/o'))
say('beside', py(lambda: open('beside', 'w').write('x')))
"#;

const COMMIT: &str = "cd p && git -c user.name=a -c user.email=a@b commit -qm x --allow-empty";

each!(what_lies_below_a_repository_opens_nothing_of_it);
fn what_lies_below_a_repository_opens_nothing_of_it(who: Who) {
    need("git");
    for (name, hiding, told) in HIDING {
        let workspace = Workspace::new(who);
        host(
            who,
            &workspace,
            "mkdir p && cd p && git init -q . && mkdir -p .git/hooks a/sub",
        );
        let top = workspace.path().join("p");
        let sub = top.join("a/sub");
        let body = BODY.replace("TOP", top.to_str().expect("text"));
        let ran = Run::new(who, &workspace)
            .cwd(&sub)
            .policy("default")
            .sh(hiding)
            .ok();
        let found = &ran.verdict["left"]["found"];
        let said = |path: &str| {
            let place = sub.canonicalize().expect("it is there").join(path);
            let place = place
                .to_str()
                .expect("text")
                .trim_end_matches('/')
                .to_owned();
            found
                .as_array()
                .expect("findings")
                .iter()
                .any(|one| one["path"] == *place)
        };
        match told {
            Some(path) => assert!(said(path), "{name} {who:?}: {found:#?}"),
            None => assert_eq!(*found, serde_json::json!([]), "{name} {who:?}"),
        }
        let run = |lines: &str| {
            let with = policy(&workspace, lines);
            let write = ["--write", top.to_str().expect("text")];
            Run::new(who, &workspace)
                .cwd(&sub)
                .policy(with)
                .flags(write)
        };
        let got = attack(run(""), &body);
        assert_eq!(
            ["hook", "config", "away", "beside"].map(|act| got.of(act)),
            ["EROFS", "EROFS", "EBUSY", "OK"],
            "{name} {who:?}"
        );
        host(who, &workspace, COMMIT);
        assert!(!top.join("pwned").exists(), "{name} {who:?}: git ran it");
        let git = top.join(".git");
        let lines = format!("unprotect = [\"{0}/hooks\", \"{0}/config\"]", git.display());
        let got = attack(run(&lines), &body);
        assert_eq!(
            ["hook", "config"].map(|act| got.of(act)),
            ["OK"; 2],
            "{name} {who:?}"
        );
        host(who, &workspace, COMMIT);
        assert!(
            top.join("pwned").exists(),
            "{name} {who:?}: the attack is none"
        );
    }
}

each!(what_lies_between_opens_nothing_either);
/// The same between the two, and two that are each one: both are held.
fn what_lies_between_opens_nothing_either(who: Who) {
    need("git");
    for between in [
        "mkdir .git",
        "git init -q .",
        "echo 'gitdir: nowhere' >.git",
    ] {
        let workspace = Workspace::new(who);
        let setup = format!(
            "mkdir p && cd p && git init -q . && mkdir -p .git/hooks a/sub && (cd a && {between}) && \
             git config core.fsmonitor a/sub/mon"
        );
        host(who, &workspace, &setup);
        let top = workspace.path().join("p");
        let sub = top.join("a/sub");
        let body = BODY.replace("TOP", top.to_str().expect("text"))
            + r#"
say('mon', py(lambda: open('a/sub/mon', 'w')))
say('between', py(lambda: open('a/.git/config', 'a').write('')))
"#;
        let write = ["--write", top.to_str().expect("text")];
        let run = Run::new(who, &workspace)
            .cwd(&sub)
            .policy(policy(&workspace, ""));
        let got = attack(run.flags(write), &body);
        for act in ["hook", "config"] {
            assert_eq!(got.of(act), "EROFS", "{between} {who:?}");
        }
        assert_ne!(got.of("mon"), "OK", "{between} {who:?}");
        assert_ne!(got.of("between"), "OK", "{between} {who:?}");
        assert_eq!(got.of("beside"), "OK", "{between} {who:?}");
    }
}
