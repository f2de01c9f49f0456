//! The workspace and its modes, and the working directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use crate::support::{Run, Who, Workspace, binary, is_root, need};

/// Tries to write, and prints the errno's name or `written`.
const WRITE: &str = "
import errno, os
try: open('made', 'w').write('x'); print('written')
except OSError as e: print(errno.errorcode[e.errno])
print(os.getcwd(), sorted(n for n in os.listdir('.') if n[0] != '.'))";

each!(rw_is_the_default_and_writes_to_the_host_as_its_owner);
fn rw_is_the_default_and_writes_to_the_host_as_its_owner(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("file", "x");
    for mode in [None, Some(":rw")] {
        let mut run = Run::new(who, &workspace);
        if let Some(mode) = mode {
            run = run.flags(["--workspace", mode]);
        }
        let ran = run.python(WRITE).ok();
        let expected = format!("written\n{} ['file', 'made']\n", workspace.path().display());
        assert_eq!(ran.stdout, expected);
        let meta = std::fs::metadata(workspace.path().join("made")).expect("it is on the host");
        let (uid, gid, _) = who.account();
        assert_eq!((meta.uid(), meta.gid()), (uid, gid));
        std::fs::remove_file(workspace.path().join("made")).expect("rm");
    }
}

each!(ro_shows_the_workspace_and_refuses_to_write);
fn ro_shows_the_workspace_and_refuses_to_write(who: Who) {
    let workspace = Workspace::new(who);
    // Open to all: what is refused is refused by the jail.
    let file = workspace.write("file", "x");
    for path in [workspace.path(), file] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("chmod");
    }
    let ran = Run::new(who, &workspace)
        .flags(["--workspace", ":ro"])
        .python(WRITE)
        .ok();
    assert_eq!(
        ran.stdout,
        format!("EROFS\n{} ['file']\n", workspace.path().display())
    );
    let named = format!("{}:ro", workspace.path().display());
    let script = "touch file 2>&1; rm -f file 2>&1; chmod 600 file 2>&1; mkdir d 2>&1; cat file";
    let ran = Run::new(who, &workspace)
        .cwd("/")
        .flags(["--workspace", &named])
        .sh(script)
        .ok();
    assert_eq!(
        ran.stdout.matches("Read-only file system").count(),
        4,
        "{ran:#?}"
    );
    assert!(ran.stdout.ends_with('x'));
}

each!(none_is_fresh_empty_and_forgotten);
fn none_is_fresh_empty_and_forgotten(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("file", "x");
    for flag in ["none", ":none"] {
        let ran = Run::new(who, &workspace)
            .flags(["--workspace", flag])
            .python(WRITE)
            .ok();
        assert_eq!(ran.stdout, "written\n/workspace ['made']\n");
    }
    assert!(!workspace.path().join("made").exists());
    // Nothing of the host's directory is there by its own name either.
    let script = format!("ls {} 2>&1; true", workspace.path().display());
    let ran = Run::new(who, &workspace)
        .flags(["--workspace", "none"])
        .sh(&script)
        .ok();
    assert!(ran.stdout.contains("No such file"), "{ran:#?}");
}

each!(a_workspace_below_var_tmp_works);
fn a_workspace_below_var_tmp_works(who: Who) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let dir = tempfile::Builder::new()
        .prefix("creel-it-")
        .tempdir_in("/var/tmp")
        .expect("a directory");
    let (uid, gid, _) = who.account();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    chown(dir.path(), Some(uid), Some(gid)).expect("chown");
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace).cwd(dir.path()).python(WRITE).ok();
    assert_eq!(
        ran.stdout,
        format!("written\n{} ['made']\n", dir.path().display())
    );
    // Elsewhere /var/tmp is the jail's /tmp.
    let ran = Run::new(who, &workspace)
        .sh("echo x > /var/tmp/f; cat /tmp/f")
        .ok();
    assert_eq!(ran.stdout, "x\n");
}

each!(a_workspace_with_an_odd_name_works);
fn a_workspace_with_an_odd_name_works(who: Who) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::chown;
    let workspace = Workspace::new(who);
    let (uid, gid, _) = who.account();
    let names: [&[u8]; 6] = [
        b"with space",
        b"with:colon",
        b"new\nline",
        b"\xff\xfe",
        b"-dash",
        b"a,b\\c=d",
    ];
    for name in names {
        let dir = workspace.path().join(OsStr::from_bytes(name));
        std::fs::create_dir(&dir).expect("mkdir");
        chown(&dir, Some(uid), Some(gid)).expect("chown");
        Run::new(who, &workspace)
            .cwd(&dir)
            .sh("echo x > made && cat \"$PWD/made\"")
            .ok();
        assert_eq!(
            std::fs::read(dir.join("made")).expect("it is there"),
            b"x\n"
        );
    }
}

each!(the_host_around_the_workspace_is_not_there);
fn the_host_around_the_workspace_is_not_there(who: Who) {
    let workspace = Workspace::new(who);
    std::fs::write(workspace.outside().join("secret"), "secret").expect("write");
    let script = "cat ../secret 2>&1; echo x 2>&1 > ../made; ls -a ..; ls /root/.ssh /home/* 2>&1 | head -1; true";
    let ran = Run::new(who, &workspace).sh(script).ok();
    assert!(
        ran.stdout.contains("No such file or directory") && !ran.stdout.contains("secret\n"),
        "{ran:#?}"
    );
    assert!(!workspace.outside().join("made").exists());
}

each!(workdir_starts_the_command_elsewhere);
fn workdir_starts_the_command_elsewhere(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("sub/file", "x");
    let home = who.account().2.display().to_string();
    let place = |dir: &str| {
        Run::new(who, &workspace)
            .flags(["-w", dir])
            .argv(["/bin/pwd", "-P"])
    };
    let sub = workspace.path().join("sub").display().to_string();
    for (dir, expected) in [
        ("sub", &sub),
        (sub.as_str(), &sub),
        ("/tmp", &"/tmp".into()),
        (&home, &home),
    ] {
        assert_eq!(place(dir).ok().stdout.trim_end(), expected);
    }
    for (dir, words) in [
        ("absent", "does not exist in the jail"),
        ("/etc/ssh", "not in the jail"),
        ("../..", "not in the jail"),
        ("/proc/self/fd/3", "not in the jail"),
        ("/var/log", "not in the jail"),
    ] {
        let ran = place(dir);
        assert_eq!(ran.status, 125, "{dir}: {ran:#?}");
        assert!(
            ran.stderr.contains(words) && ran.stderr.lines().count() == 1,
            "{dir}: {ran:#?}"
        );
    }
}

each!(a_workspace_that_cannot_be_one_is_refused_with_the_remedy);
fn a_workspace_that_cannot_be_one_is_refused_with_the_remedy(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("file", "x");
    let link = workspace.outside().join("link");
    symlink(workspace.path(), &link).expect("symlink");
    let home = who.account().2.display().to_string();
    let file = workspace.path().join("file").display().to_string();
    let link = link.display().to_string();
    let real = workspace.path().display().to_string();
    for (dir, words) in [
        (link.as_str(), ["symbolic link", real.as_str()]),
        ("/", ["too wide", "--workspace DIR"]),
        ("/etc", ["too wide", "--workspace DIR"]),
        (&home, ["too wide", "--workspace DIR"]),
        ("/home", ["too wide", "--workspace DIR"]),
        ("/tmp", ["too wide", "--workspace DIR"]),
        (&file, ["not a directory", "--workspace DIR"]),
        ("/no/such", ["does not exist", "create it"]),
        ("/proc/1", ["/proc", "its own"]),
        ("/dev", ["/dev", "its own"]),
        ("/sys/fs/cgroup", ["/sys", "kernel"]),
        ("/run", ["/run", "sockets"]),
        ("", ["workspace", "--workspace"]),
    ] {
        let ran = Run::new(who, &workspace)
            .flags(["--workspace", dir])
            .sh("true");
        assert_eq!(
            (ran.status, ran.kind()),
            (125, "setup_failed"),
            "{dir}: {ran:#?}"
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{dir}: {ran:#?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{dir}, {word}: {ran:#?}");
        }
    }
    // The same place, as the working directory.
    for dir in ["/", &home] {
        let ran = Run::new(who, &workspace).cwd(dir).sh("true");
        assert_eq!(ran.status, 125, "{ran:#?}");
        assert!(ran.stderr.contains("too wide"), "{ran:#?}");
    }
    let ran = Run::new(who, &workspace)
        .flags(["--workspace", &format!("{real}:rx")])
        .sh("true");
    assert_eq!(ran.status, 125);
    assert!(ran.stderr.contains("none, ro, overlay or rw"), "{ran:#?}");
    Run::new(who, &workspace)
        .cwd("/")
        .flags(["--workspace", &real])
        .sh("test -f file")
        .ok();
}

/// A workspace that the caller may not enter: the remedy is one that the caller can apply. The controls are the
/// caller's own directories, which chmod mends.
#[test]
fn a_workspace_that_may_not_be_entered_is_refused_with_the_remedy() {
    if !is_root() {
        eprintln!("skipped: only root can make another user's directory");
        return;
    }
    need("setpriv");
    let workspace = Workspace::new(Who::User);
    let foreign = workspace.outside().join("foreign");
    std::fs::create_dir(&foreign).expect("mkdir");
    mode(&foreign, 0o700);
    let own = workspace.path().join("own");
    std::fs::create_dir_all(own.join(".creel")).expect("mkdir");
    let (uid, gid, _) = Who::User.account();
    for path in [&own, &own.join(".creel")] {
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
    // A shell changed into the directory as root.
    let within = |dir: &Path, flags: &[&str]| {
        let output = std::process::Command::new("setpriv")
            .args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()])
            .args(["--clear-groups", "--"])
            .arg(binary())
            .args(["run", "--allow-degraded", "cgroup"])
            .args(flags)
            .args(["--", "true"])
            .env("HOME", Who::User.account().2)
            .current_dir(dir)
            .output()
            .expect("creel starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let named = |dir: &Path, flags: &[&str]| {
        let run = Run::new(Who::User, &workspace).flags(flags);
        let ran = run
            .flags(["--workspace".as_ref(), dir.as_os_str()])
            .sh("true");
        (Some(ran.status), ran.stderr)
    };
    let refused = |(status, said): (Option<i32>, String), dir: &Path, remedy: &str| {
        assert_eq!(status, Some(125), "{said}");
        assert!(said.contains(&dir.display().to_string()), "{said}");
        assert!(said.contains(remedy), "{said}");
        assert!(!said.contains("XDG_CONFIG_HOME"), "{said}");
        assert_eq!(said.contains("chmod"), remedy.contains("chmod"), "{said}");
    };
    let no_project: &[&str] = &["--no-project"];
    let another = "make the workspace readable, or name another with --workspace DIR";
    refused(named(&foreign, &[]), &foreign, another);
    refused(within(&foreign, &[]), &foreign, another);
    let another = "name another with --workspace DIR";
    refused(named(&foreign, no_project), &foreign, another);
    refused(
        within(&foreign, no_project),
        &foreign,
        "name another directory",
    );
    mode(&own.join(".creel"), 0o000);
    refused(named(&own, &[]), &own, "or ignore it with --no-project");
    mode(&own, 0o000);
    refused(within(&own, no_project), &own, "chmod u+rwx");
    mode(&own, 0o700);
    assert_eq!(named(&own, no_project).0, Some(0));
    assert_eq!(within(&own, no_project).0, Some(0));
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
}

each!(a_working_directory_that_was_reached_through_a_link_is_a_workspace);
/// The kernel resolves a working directory: a way through a link is as good as the real one.
fn a_working_directory_that_was_reached_through_a_link_is_a_workspace(who: Who) {
    let workspace = Workspace::new(who);
    let link = workspace.outside().join("link");
    symlink(workspace.path(), &link).expect("symlink");
    let ran = Run::new(who, &workspace)
        .cwd(&link)
        .outer_env("PWD", &link)
        .sh("pwd -P; echo x > made")
        .ok();
    assert_eq!(ran.stdout, format!("{}\n", workspace.path().display()));
    assert!(workspace.path().join("made").exists());
}

each!(what_is_denied_in_a_workspace_named_through_a_link_is_denied);
/// `$WORKSPACE` means the directory itself, by whatever name it is given.
fn what_is_denied_in_a_workspace_named_through_a_link_is_denied(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("project/.env", "secret\n");
    workspace.write("project/.git/hooks/sample", "sample\n");
    workspace.write("project/file", "text\n");
    let (real, link) = (workspace.path(), workspace.outside().join("link"));
    symlink(&real, &link).expect("symlink");
    let policy = "[filesystem]\nexec = ['/usr', { path = '/bin', optional = true }, { path = '/lib', optional = true }, { path = '/lib64', optional = true }]\nprotect = [{ path = '$WORKSPACE/.git/hooks', optional = true }]\n";
    let deny = "deny = [{ path = '$WORKSPACE/.env', optional = true }]\n";
    for (place, mode) in [(&real, "ro"), (&link, "ro"), (&real, "rw"), (&link, "rw")] {
        let run = |text: &str, script: &str| {
            let named = format!("{}:{mode}", place.join("project").display());
            Run::new(who, &workspace)
                .flags(["--workspace", &named])
                .policy_text(&workspace, "denied", text)
                .sh(script)
        };
        let denied = policy.to_owned() + deny;
        let ran = run(&denied, "cat file; cat .env; echo x > .git/hooks/made");
        assert_eq!(ran.stdout, "text\n", "{place:?} {mode}: {ran:#?}");
        assert!(ran.stderr.contains("Permission denied"), "{ran:#?}");
        assert!(ran.stderr.contains("Read-only file system"), "{ran:#?}");
        assert_ne!(ran.status, 0, "{ran:#?}");
        // The control, without the denial.
        assert_eq!(run(policy, "cat .env").ok().stdout, "secret\n");
    }
    let ran = Run::new(who, &workspace)
        .flags(["--workspace".as_ref(), link.join("project").as_os_str()])
        .sh("cat file");
    assert_eq!(ran.ok().stdout, "text\n");
}

each!(a_name_in_a_tree_that_is_granted_through_a_link_is_held);
/// A path that a policy names by its real name, in a tree granted through a link, is looked up there.
fn a_name_in_a_tree_that_is_granted_through_a_link_is_held(who: Who) {
    let workspace = Workspace::new(who);
    let data = workspace.outside().join("data");
    std::fs::create_dir_all(data.join("a")).expect("mkdir");
    let (uid, gid, _) = who.account();
    for path in [&data, &data.join("a")] {
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
    let link = workspace.outside().join("link");
    symlink(&data, &link).expect("symlink");
    let held = data.join("a/.env");
    let policy = format!(
        "[filesystem]\nexec = ['/usr', {{ path = '/bin', optional = true }}, {{ path = '/lib', optional = true }}, {{ path = '/lib64', optional = true }}]\nwrite = [{link:?}]\n"
    );
    let run = |more: &str| {
        Run::new(who, &workspace)
            .policy_text(&workspace, "held", &(policy.clone() + more))
            .sh(&format!("echo x > {0}; cat {0}; rm -f {0}", held.display()))
    };
    let deny = format!("deny = [{{ path = {held:?}, optional = true }}]\n");
    let ran = run(&deny);
    assert_eq!(ran.stdout, "", "{ran:#?}");
    assert!(ran.stderr.contains("cannot create"), "{ran:#?}");
    assert_eq!(run("").ok().stdout, "x\n");
}

each!(a_deleted_working_directory_is_one_line_of_error);
fn a_deleted_working_directory_is_one_line_of_error(who: Who) {
    let workspace = Workspace::new(who);
    let creel = Run::new(who, &workspace).command(["true"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args([
        "-c",
        "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"",
        "sh",
    ]);
    shell
        .arg(creel.get_program())
        .args(creel.get_args())
        .current_dir(workspace.path());
    let output = shell.output().expect("sh runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), text.lines().count()),
        (Some(125), 1),
        "{output:?}"
    );
}
