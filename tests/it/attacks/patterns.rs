//! Patterns in grants and denials: what they meet is granted or denied as if it had been named, and
//! what they cannot hold is refused aloud. The control is a name beside it that they do not meet.

use std::os::unix::fs::{PermissionsExt, chown, symlink};

use crate::attacks::{attack, policy, refused};
use crate::support::{Ran, Run, Who, Workspace};

fn run(who: Who, workspace: &Workspace, lines: &str) -> Run {
    Run::new(who, workspace).policy(policy(workspace, lines))
}

/// `true`, where the answer is whether anything runs at all.
fn begun(who: Who, workspace: &Workspace, lines: &str) -> Ran {
    run(who, workspace, lines).argv(["/usr/bin/true"])
}

/// As [`run`], without the system's programs, which `lines` have.
fn alone(who: Who, workspace: &Workspace, lines: &str) -> Run {
    let text = format!("[filesystem]\n{lines}\n[environment]\nset = {{ PATH = '/usr/bin' }}\n");
    Run::new(who, workspace).policy_text(workspace, "alone", &text)
}

/// A file outside of the workspace, readable by everybody.
fn beside(workspace: &Workspace, name: &str, contents: &str) {
    let path = workspace.outside().join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir -p");
    std::fs::write(&path, contents).expect("write");
    // Nothing but the jail keeps anybody from writing.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
}

each!(a_grant_brings_in_what_its_pattern_meets_and_nothing_else);
fn a_grant_brings_in_what_its_pattern_meets_and_nothing_else(who: Who) {
    let workspace = Workspace::new(who);
    for name in [
        "a.csv",
        "b.csv",
        "n.txt",
        ".hid.csv",
        "deep/er/c.csv",
        "deep/.no/c.csv",
    ] {
        beside(&workspace, &format!("data/{name}"), "row");
    }
    let data = workspace.outside().join("data");
    let data = data.display();
    let body = format!(
        r#"
d = '{data}'
for n in ['a.csv', 'b.csv', 'n.txt', '.hid.csv', 'deep/er/c.csv', 'deep/.no/c.csv']:
    say(n, opened(d + '/' + n, os.O_RDONLY))
say('listed', ' '.join(sorted(os.listdir(d))))
say('wrote', opened(d + '/a.csv', os.O_WRONLY))
"#
    );
    let got = attack(
        run(who, &workspace, &format!("read = ['{data}/**/*.csv']")),
        &body,
    );
    got.expect(&[
        ("a.csv", "OK"),
        ("b.csv", "OK"),
        ("deep/er/c.csv", "OK"),
        ("n.txt", "ENOENT"),
        (".hid.csv", "ENOENT"),
        ("deep/.no/c.csv", "ENOENT"),
        ("listed", "a.csv b.csv deep"),
        ("wrote", "EROFS"),
    ]);
    // Control: the directory itself.
    let got = attack(run(who, &workspace, &format!("read = ['{data}']")), &body);
    got.expect(&[
        ("n.txt", "OK"),
        (".hid.csv", "OK"),
        ("deep/.no/c.csv", "OK"),
    ]);
}

each!(writing_and_executing_by_pattern_reach_no_further);
fn writing_and_executing_by_pattern_reach_no_further(who: Who) {
    let workspace = Workspace::new(who);
    let made = ["out-1", "out-2", "in-1"].map(|name| {
        let path = workspace.outside().join("io").join(name);
        std::fs::create_dir_all(&path).expect("mkdir -p");
        std::fs::copy("/usr/bin/true", path.join("tool")).expect("copy");
        let (uid, gid, _) = who.account();
        chown(&path, Some(uid), Some(gid)).expect("chown");
        path
    });
    let io = workspace.outside().join("io");
    let lines = format!(
        "write = ['{0}/out-[0-9]']\nread = ['{0}/in-*']",
        io.display()
    );
    let body = format!(
        r#"
import subprocess
for n in ['out-1', 'out-2', 'in-1']:
    p = '{io}/' + n
    say(n, py(lambda: open(p + '/new', 'w').close()))
    say(n + '_run', py(lambda: subprocess.run([p + '/tool'], check=True)))
"#,
        io = io.display()
    );
    let got = attack(run(who, &workspace, &lines), &body);
    got.expect(&[
        ("out-1", "OK"),
        ("out-2", "OK"),
        ("in-1", "EROFS"),
        ("out-1_run", "EACCES"),
        ("in-1_run", "EACCES"),
    ]);
    assert!(made[0].join("new").exists() && !made[2].join("new").exists());
    // Control: the same tools where a pattern lets them be executed.
    let lines = format!(
        "exec = ['/usr', '/bin', '/lib', '/lib64', '{}/*-1']",
        io.display()
    );
    let got = attack(alone(who, &workspace, &lines), &body);
    got.expect(&[
        ("out-1_run", "OK"),
        ("in-1_run", "OK"),
        ("out-2_run", "ENOENT"),
    ]);
}

each!(a_denial_covers_what_its_pattern_meets_also_what_is_hidden);
fn a_denial_covers_what_its_pattern_meets_also_what_is_hidden(who: Who) {
    let workspace = Workspace::new(who);
    for name in [
        ".env",
        ".env.local",
        "src/.env",
        "src/deep/.env",
        "a.pem",
        "a.pub",
        "[k].pem",
    ] {
        workspace.write(name, "secret");
    }
    let body = r#"
for n in ['.env', '.env.local', 'src/.env', 'src/deep/.env', 'a.pem', '[k].pem', 'a.pub']:
    say(n, opened(n, os.O_RDONLY))
    say(n + '_away', py(os.rename, n, n + '.moved'))
say('parent', py(os.rename, 'src/deep', 'src/other'))
"#;
    for (lines, answer) in [
        // Read-only: the jail creates no such name.
        (
            "workspace = 'ro'\ndeny = ['$WORKSPACE/**/.env*', '$WORKSPACE/*.pem']",
            "EROFS",
        ),
        (
            "deny = [{ path = '$WORKSPACE/**/.env*', optional = true }, { path = '$WORKSPACE/*.pem', optional = true }]",
            "EBUSY",
        ),
    ] {
        let got = attack(run(who, &workspace, lines), body);
        for name in [
            ".env",
            ".env.local",
            "src/.env",
            "src/deep/.env",
            "a.pem",
            "[k].pem",
        ] {
            got.expect(&[(name, "EACCES"), (&format!("{name}_away"), answer)]);
        }
        got.expect(&[("a.pub", "OK"), ("parent", answer)]);
        if answer == "EBUSY" {
            std::fs::rename(
                workspace.path().join("a.pub.moved"),
                workspace.path().join("a.pub"),
            )
            .expect("the control moved");
        }
    }
    // Control: nothing denied.
    let got = attack(
        run(who, &workspace, ""),
        "say('env', opened('.env', os.O_RDONLY))",
    );
    got.expect(&[("env", "OK")]);
}

each!(what_a_pattern_cannot_hold_is_refused_or_said);
fn what_a_pattern_cannot_hold_is_refused_or_said(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("a.pem", "secret");
    for lines in [
        "deny = ['$WORKSPACE/*.pem']",
        "protect = ['$WORKSPACE/**/*.pem']",
        "[tools.read]\ndenied_paths = ['$WORKSPACE/*.pem']\n[tools.write]",
    ] {
        let ran = begun(who, &workspace, lines);
        refused(&ran, "the jail could create a name that matches");
        assert!(
            ran.stderr.contains("mark the pattern `optional = true`"),
            "{ran:#?}"
        );
    }
    // Control: where the policy says that what is there is enough, the receipt says so too.
    let lines = "deny = [{ path = '$WORKSPACE/*.pem', optional = true }]";
    let body = "open('b.pem', 'w').close()\nsay('a', opened('a.pem', os.O_RDONLY))\nsay('b', opened('b.pem', os.O_RDONLY))";
    let got = attack(run(who, &workspace, lines), body);
    got.expect(&[("a", "EACCES"), ("b", "OK")]);
    let ran = run(who, &workspace, lines)
        .flags(["--dry-run"])
        .argv(["/usr/bin/true"]);
    let said = "*.pem: a matching name that is created later is not covered";
    assert!(ran.stdout.contains(said), "{ran:#?}");
    // A pattern in a tree that nobody grants, and one that meets nothing.
    let elsewhere = format!("deny = ['{}/*.pem']", workspace.outside().display());
    begun(who, &workspace, &elsewhere).ok();
    let ran = begun(who, &workspace, "read = ['/opt/none-*']");
    refused(
        &ran,
        "/opt/none-* matches no path here; correct it, or mark it `optional = true`",
    );
    let lines = "read = [{ path = '/opt/none-*', optional = true }]";
    begun(who, &workspace, lines).ok();
}

each!(a_link_that_a_pattern_meets_grants_nothing_elsewhere);
/// A jail of before could have left a link for the pattern to meet.
fn a_link_that_a_pattern_meets_grants_nothing_elsewhere(who: Who) {
    let workspace = Workspace::new(who);
    beside(&workspace, "private/key", "secret");
    let private = workspace.outside().join("private");
    symlink(private.join("key"), workspace.path().join("a.conf")).expect("symlink");
    std::fs::create_dir(workspace.path().join("d")).expect("mkdir");
    symlink(&private, workspace.path().join("d/l")).expect("symlink");
    for lines in [
        "read = ['$WORKSPACE/*.conf']",
        "read = ['$WORKSPACE/d/*/key']",
        "exec = ['/usr', '/bin', '/lib', '/lib64', '$WORKSPACE/d/*']",
    ] {
        let ran = alone(who, &workspace, lines).argv(["/usr/bin/true"]);
        refused(&ran, "is a symbolic link out of");
    }
    // No link is gone through under `**`, so there is nothing to grant.
    let lines = "read = [{ path = '$WORKSPACE/**/key', optional = true }]";
    let body = format!(
        "say('key', opened('{}/key', os.O_RDONLY))",
        private.display()
    );
    let got = attack(run(who, &workspace, lines), &body);
    got.expect(&[("key", "ENOENT")]);
    // In a tree that no jail writes now, neither. The control: written out, the link is followed once.
    beside(&workspace, "links/x", "");
    symlink(
        private.join("key"),
        workspace.outside().join("links/k.conf"),
    )
    .expect("symlink");
    let lines = |name| format!("read = ['{}/links/{name}']", workspace.outside().display());
    let ran = run(who, &workspace, &lines("*.conf")).argv(["/usr/bin/true"]);
    refused(&ran, "is a symbolic link out of");
    let got = attack(run(who, &workspace, &lines("k.conf")), &body);
    got.expect(&[("key", "OK")]);
}
