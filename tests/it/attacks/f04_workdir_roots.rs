//! CVE-2025-59532, CVE-2026-50548: a working directory that a model supplied became a writable root.
//! Roots are fixed by the caller, and some places are never one.

use std::path::PathBuf;

use super::{attack, policy, refused};
use crate::support::{Run, Who, Workspace};

each!(wide_places_are_no_workspace);
fn wide_places_are_no_workspace(who: Who) {
    let workspace = Workspace::new(who);
    let (_, _, home) = who.account();
    for dir in [
        "/", "/usr", "/etc", "/tmp", "/var", "/home", "/opt", "/proc", "/sys", "/dev", "/run",
    ]
    .map(PathBuf::from)
    {
        if !dir.exists() {
            continue;
        }
        for run in [
            Run::new(who, &workspace).cwd(&dir),
            Run::new(who, &workspace).flags([std::ffi::OsStr::new("--workspace"), dir.as_os_str()]),
        ] {
            let ran = run.sh("echo ran");
            assert_eq!(
                (ran.status, ran.stdout.as_str()),
                (125, ""),
                "{}: {ran:#?}",
                dir.display()
            );
        }
    }
    // The home, and what holds it.
    for dir in home.ancestors() {
        let ran = Run::new(who, &workspace)
            .flags([std::ffi::OsStr::new("--workspace"), dir.as_os_str()])
            .sh(":");
        assert_eq!(ran.status, 125, "{}: {ran:#?}", dir.display());
    }
    // A HOME that points elsewhere moves nothing: ~ is the account's, and stays too wide.
    let ran = Run::new(who, &workspace)
        .outer_env("HOME", workspace.path())
        .flags([std::ffi::OsStr::new("--workspace"), home.as_os_str()])
        .sh(":");
    assert_eq!(ran.status, 125, "{ran:#?}");
    let ran = Run::new(who, &workspace)
        .outer_env("HOME", "/etc")
        .sh("echo $HOME; touch ~/x; ls -A /etc/x")
        .sh_home();
    assert_eq!(ran, home.display().to_string());
}

impl crate::support::Ran {
    /// The first line.
    fn sh_home(&self) -> String {
        self.stdout.lines().next().unwrap_or_default().to_owned()
    }
}

each!(dots_lead_nowhere);
fn dots_lead_nowhere(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("sub/file", "");
    // Without a grant of $WORKSPACE, which has a check of its own.
    let bare = policy(&workspace, "");
    let up = workspace.path().join("../..");
    for text in [
        "/usr/..",
        "/usr/../proc",
        "/proc/../proc",
        "../..",
        "/tmp/..",
        "/tmp/../run",
        up.to_str().expect("text"),
    ] {
        for mode in ["", ":ro", ":rw"] {
            let flags = ["--workspace".to_owned(), format!("{text}{mode}")];
            let ran = Run::new(who, &workspace)
                .policy(&bare)
                .flags(flags)
                .sh("cat /etc/shadow; pwd");
            assert_eq!(
                (ran.status, ran.stdout.as_str()),
                (125, ""),
                "{text}{mode}: {ran:#?}"
            );
        }
    }
    for dir in [
        "..",
        "../..",
        "../../..",
        "sub/../..",
        "/..",
        "/tmp/..",
        "/proc/..",
        "/usr/../etc",
    ] {
        let ran = Run::new(who, &workspace)
            .flags(["--workdir", dir])
            .argv(["/bin/pwd"]);
        refused(&ran, "is not in the jail");
    }
    for flag in ["--read", "--write"] {
        let ran = Run::new(who, &workspace).flags([flag, "../.."]).sh(":");
        assert_eq!(ran.status, 125, "{ran:#?}");
    }
    // They are the caller's word, and lead where the kernel says: a directory that may be named so may
    // be named with dots.
    for text in ["..", "sub/../.."] {
        let ran = Run::new(who, &workspace)
            .policy(&bare)
            .flags(["--workspace".to_owned(), format!("{text}:ro")])
            .sh("cat /etc/shadow; pwd");
        let outside = workspace.outside().display().to_string();
        assert_eq!(ran.stdout.trim(), outside, "{text}");
    }
    let ran = Run::new(who, &workspace)
        .policy(&bare)
        .flags(["--workspace", "sub", "--workdir", "."])
        .argv(["/bin/pwd"])
        .ok();
    assert_eq!(
        ran.stdout.trim(),
        workspace.path().join("sub").display().to_string()
    );
}

each!(a_denial_is_not_dodged_by_dots_in_the_workspace);
fn a_denial_is_not_dodged_by_dots_in_the_workspace(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("sub/secret", "SECRET\n");
    let denying = policy(&workspace, "deny = [\"$WORKSPACE/secret\"]");
    let run = |text: &str| {
        Run::new(who, &workspace)
            .policy(&denying)
            .flags(["--workspace", text])
            .sh("cat secret; :")
    };
    assert_eq!(run("sub").stdout, "");
    assert_eq!(run("sub/../sub").ok().stdout, "");
    let allowing = policy(&workspace, "deny = []");
    let ran = Run::new(who, &workspace)
        .policy(&allowing)
        .flags(["--workspace", "sub"])
        .sh("cat secret");
    assert_eq!(ran.ok().stdout, "SECRET\n");
}

each!(roots_do_not_move_with_the_working_directory);
fn roots_do_not_move_with_the_working_directory(who: Who) {
    const WRITE: &str = r#"
for name, path in [('workspace', 'x'), ('parent', '../x'), ('root', '/x'), ('usr', '/usr/x'), ('etc', '/etc/x')]:
    say(name, opened(path, os.O_CREAT | os.O_WRONLY))
say('chroot', sc(161, b'/tmp'))
os.chdir('/')
say('after_chdir', opened('x', os.O_CREAT | os.O_WRONLY))
"#;
    let workspace = Workspace::new(who);
    for workdir in ["/", "/tmp", "."] {
        let got = attack(
            Run::new(who, &workspace).flags(["--workdir", workdir]),
            WRITE,
        );
        let own = if workdir == "/" { "EROFS" } else { "OK" };
        got.expect(&[
            ("workspace", own),
            ("root", "EROFS"),
            ("usr", "EROFS"),
            ("etc", "EROFS"),
        ]);
        got.expect(&[("chroot", "EPERM"), ("after_chdir", "EROFS")]);
    }
    // The workspace's parent in the jail is a directory of the jail's own /tmp.
    assert!(!workspace.outside().join("x").exists());
}
