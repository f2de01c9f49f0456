//! `--read`, `--write` and a policy's `deny`: each opens or closes just what it names.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Run, Who, Workspace};

/// A directory beside the workspace with a script and a text in it, readable by all.
fn beside(workspace: &Workspace, who: Who) -> String {
    let dir = workspace.outside().join("beside");
    std::fs::create_dir(&dir).expect("mkdir");
    std::fs::write(dir.join("text"), "text\n").expect("write");
    std::fs::write(dir.join("script"), "#!/bin/sh\necho ran\n").expect("write");
    let (uid, gid, _) = who.account();
    for path in [dir.clone(), dir.join("text"), dir.join("script")] {
        // Open to all: what is refused is refused by the jail.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("chmod");
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    }
    dir.display().to_string()
}

/// Prints what reading, writing, making and executing came to.
fn probe(dir: &str) -> String {
    format!(
        "
import errno, os, subprocess
def attempt(name, act):
    try: act(); print(name, 'ok')
    except OSError as e: print(name, errno.errorcode[e.errno])
attempt('read', lambda: open('{dir}/text').read())
attempt('append', lambda: open('{dir}/text', 'a').write('x'))
attempt('make', lambda: open('{dir}/made', 'w'))
attempt('exec', lambda: os.posix_spawn('{dir}/script', ['script'], {{}}) and os.wait())
"
    )
}

each!(what_is_not_granted_is_not_there);
fn what_is_not_granted_is_not_there(who: Who) {
    let workspace = Workspace::new(who);
    let dir = beside(&workspace, who);
    let ran = Run::new(who, &workspace).python(&probe(&dir)).ok();
    assert_eq!(
        ran.stdout,
        "read ENOENT\nappend ENOENT\nmake ENOENT\nexec ENOENT\n"
    );
}

each!(a_flag_that_reads_the_workspace_leaves_it_writable);
fn a_flag_that_reads_the_workspace_leaves_it_writable(who: Who) {
    let workspace = Workspace::new(who);
    for flag in ["--read", "--exec"] {
        let run = Run::new(who, &workspace).flags([flag, "."]);
        run.sh("echo x >new && chmod u+x new").ok();
        let new = workspace
            .path()
            .join("new")
            .metadata()
            .expect("it is there");
        let top = workspace.path().metadata().expect("it is there");
        assert_eq!((new.uid(), new.gid()), (top.uid(), top.gid()));
        std::fs::remove_file(workspace.path().join("new")).expect("unlink");
    }
}

each!(read_opens_for_reading_only);
fn read_opens_for_reading_only(who: Who) {
    let workspace = Workspace::new(who);
    let dir = beside(&workspace, who);
    let ran = Run::new(who, &workspace)
        .flags(["--read", &dir])
        .python(&probe(&dir))
        .ok();
    assert_eq!(
        ran.stdout,
        "read ok\nappend EROFS\nmake EROFS\nexec EACCES\n"
    );
    // One file of it, and no other.
    let file = format!("{dir}/text");
    let ran = Run::new(who, &workspace)
        .flags(["--read", &file])
        .python(&probe(&dir))
        .ok();
    assert!(
        ran.stdout.starts_with("read ok\nappend EROFS\n"),
        "{ran:#?}"
    );
    assert!(ran.stdout.ends_with("exec ENOENT\n"), "{ran:#?}");
    // Relative to the caller's directory.
    let ran = Run::new(who, &workspace).cwd(workspace.outside()).flags([
        "--workspace",
        "none",
        "--read",
        "beside",
    ]);
    assert_eq!(ran.sh(&format!("cat {dir}/text")).ok().stdout, "text\n");
}

each!(write_opens_for_writing_and_not_for_executing);
fn write_opens_for_writing_and_not_for_executing(who: Who) {
    let workspace = Workspace::new(who);
    let dir = beside(&workspace, who);
    let ran = Run::new(who, &workspace)
        .flags(["--write", &dir])
        .python(&probe(&dir))
        .ok();
    assert_eq!(ran.stdout, "read ok\nappend ok\nmake ok\nexec EACCES\n");
    assert_eq!(
        std::fs::read_to_string(format!("{dir}/text")).expect("read"),
        "text\nx"
    );
    let (uid, _, _) = who.account();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        std::fs::metadata(format!("{dir}/made"))
            .expect("made")
            .uid(),
        uid
    );
}

each!(exec_in_a_policy_opens_for_executing_and_not_for_writing);
fn exec_in_a_policy_opens_for_executing_and_not_for_writing(who: Who) {
    let workspace = Workspace::new(who);
    let dir = beside(&workspace, who);
    let text =
        format!("[filesystem]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\", \"{dir}\"]\n");
    let ran = Run::new(who, &workspace)
        .policy_text(&workspace, "exec", &text)
        .python(&probe(&dir))
        .ok();
    assert_eq!(
        ran.stdout,
        "ran\nread ok\nappend EROFS\nmake EROFS\nexec ok\n"
    );
}

each!(deny_covers_a_file_and_a_directory_of_the_workspace);
fn deny_covers_a_file_and_a_directory_of_the_workspace(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write(".env", "secret");
    workspace.write("keys/key", "secret");
    workspace.write("open", "open");
    let text = |deny: &str| {
        format!(
            "[filesystem]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\"]\ndeny = [{deny}]\n"
        )
    };
    let script = "
import errno, os
for act in [lambda: open('.env'), lambda: open('keys/key'), lambda: os.listdir('keys'), lambda: open('.env', 'w'),
            lambda: os.unlink('.env'), lambda: os.rename('.env', 'x'), lambda: os.rename('keys', 'y'), lambda: open('open')]:
    try: act(); print('ok')
    except OSError as e: print(errno.errorcode[e.errno])";
    let run = |name, deny| {
        Run::new(who, &workspace)
            .policy_text(&workspace, name, &text(deny))
            .python(script)
            .ok()
    };
    let ran = run("deny", "\"$WORKSPACE/.env\", \"$WORKSPACE/keys\"");
    assert_eq!(
        ran.stdout,
        "EACCES\nEACCES\nEACCES\nEROFS\nEBUSY\nEBUSY\nEBUSY\nok\n"
    );
    assert_eq!(
        std::fs::read_to_string(workspace.path().join(".env")).expect("untouched"),
        "secret"
    );
    // Control: nothing denied, everything is open.
    let ran = run("allow", "");
    assert!(ran.stdout.starts_with("ok\nok\nok\nok\nok\n"), "{ran:#?}");
}

each!(deny_of_what_is_absent_is_an_error_unless_optional);
fn deny_of_what_is_absent_is_an_error_unless_optional(who: Who) {
    let workspace = Workspace::new(who);
    let text = |deny: &str| {
        format!(
            "[filesystem]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\"]\ndeny = [{deny}]\n"
        )
    };
    let run = |name, deny| {
        Run::new(who, &workspace)
            .policy_text(&workspace, name, &text(deny))
            .sh("true")
    };
    let ran = run("must", "\"/usr/absent-here\"");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(
        ran.stderr.contains("optional = true") && ran.stderr.contains("must.toml:3"),
        "{ran:#?}"
    );
    run("may", "{ path = \"/usr/absent-here\", optional = true }").ok();
    // In a writable tree the name is held; see attacks/protect.rs.
    run("held", "\"$WORKSPACE/absent\"").ok();
}

each!(grants_that_are_never_given_say_why);
fn grants_that_are_never_given_say_why(who: Who) {
    use std::os::unix::net::UnixListener;
    let workspace = Workspace::new(who);
    let socket = workspace.outside().join("socket");
    let _listener = UnixListener::bind(&socket).expect("bind");
    let link = workspace.outside().join("link");
    symlink("/run", &link).expect("symlink");
    let [socket, link] = [socket, link].map(|p: std::path::PathBuf| p.display().to_string());
    for (flag, path, words) in [
        ("--read", "/proc/1", "cannot be granted"),
        (
            "--read",
            "/dev/kmsg",
            "only files and directories can be granted",
        ),
        ("--read", "/sys/kernel", "cannot be granted"),
        ("--read", "/run", "sockets"),
        ("--read", link.as_str(), "sockets"),
        ("--read", "/", "whole host"),
        ("--read", "/tmp", "its own"),
        ("--read", socket.as_str(), "socket"),
        ("--read", "/no/such", "does not exist"),
        ("--write", "/etc", "too wide"),
        ("--write", "/usr/bin", "too wide"),
        ("--write", "/home", "too wide"),
        ("--read", "sub/..", "contains `..`"),
    ] {
        let ran = Run::new(who, &workspace).flags([flag, path]).sh("true");
        assert_eq!(ran.status, 125, "{flag} {path}: {ran:#?}");
        assert!(
            ran.stderr.contains(words) && ran.stderr.lines().count() == 1,
            "{flag} {path}: {ran:#?}"
        );
    }
}

/// A path that the caller may not read cannot be granted by the caller.
#[test]
fn a_rootless_caller_cannot_grant_what_it_may_not_reach() {
    let workspace = Workspace::new(Who::User);
    let ran = Run::new(Who::User, &workspace)
        .flags(["--read", "/root/.profile"])
        .sh("true");
    if Path::new("/root")
        .metadata()
        .is_ok_and(|m| m.permissions().mode() & 0o005 != 0)
    {
        eprintln!("skipped: everybody may look into /root here");
        return;
    }
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(
        ran.stderr.contains("because you may not read it"),
        "{ran:#?}"
    );
    // A file in reach that is not the caller's to read is bound, and stays unreadable.
    let ran = Run::new(Who::User, &workspace)
        .flags(["--read", "/etc/shadow"])
        .sh("cat /etc/shadow");
    assert_ne!(ran.status, 0, "{ran:#?}");
    assert!(
        ran.stderr.contains("Permission denied") || ran.status == 125,
        "{ran:#?}"
    );
}

each!(a_grant_through_a_link_out_of_a_writable_tree_is_refused);
fn a_grant_through_a_link_out_of_a_writable_tree_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let outside = workspace.outside().join("outside");
    std::fs::create_dir(&outside).expect("mkdir");
    std::fs::write(outside.join("file"), "outside\n").expect("write");
    let link = workspace.path().join("link");
    std::os::unix::fs::symlink(&outside, &link).expect("symlink");
    let read = |path: &std::path::Path| {
        Run::new(who, &workspace)
            .flags(["--read".as_ref(), path.as_os_str()])
            .argv(["cat".as_ref(), outside.join("file").as_os_str()])
    };
    let ran = read(&link);
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(ran.stderr.contains("grant its target"), "{ran:#?}");
    // The control: named by where it leads, it is granted.
    assert_eq!(read(&outside).ok().stdout, "outside\n");
}

each!(the_hosts_own_file_takes_the_place_of_the_jails);
fn the_hosts_own_file_takes_the_place_of_the_jails(who: Who) {
    let workspace = Workspace::new(who);
    let host = std::fs::read_to_string("/etc/passwd").expect("readable");
    let run = || Run::new(who, &workspace);
    assert_ne!(run().argv(["cat", "/etc/passwd"]).ok().stdout, host);
    let granted = run().flags(["--read", "/etc/passwd"]);
    assert_eq!(granted.argv(["cat", "/etc/passwd"]).ok().stdout, host);
}
