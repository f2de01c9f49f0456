//! CVE-2024-21626: a descriptor of the host that leaked into the jail, and a working directory that
//! leads through one.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::{attack, become_who, refused};
use crate::support::{Run, Who, Workspace};

const LIST: &str = r#"
fds = [(n, os.readlink(f'/proc/self/fd/{n}')) for n in sorted(map(int, os.listdir('/proc/self/fd'))) if os.path.exists(f'/proc/self/fd/{n}')]
say('fds', [n for n, _ in fds])
"#;

each!(a_jail_starts_with_three_descriptors);
fn a_jail_starts_with_three_descriptors(who: Who) {
    let workspace = Workspace::new(who);
    attack(Run::new(who, &workspace), LIST).expect(&[("fds", "[0, 1, 2]")]);
}

each!(what_the_caller_leaked_does_not_arrive);
fn what_the_caller_leaked_does_not_arrive(who: Who) {
    let workspace = Workspace::new(who);
    let leak = |command: &mut std::process::Command| {
        // SAFETY: open, dup2 and socketpair are async-signal-safe; the strings are static.
        unsafe {
            command.pre_exec(|| {
                let root = libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
                let file = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY);
                let mut pair = [0; 2];
                libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
                for number in 40..60 {
                    libc::dup2(if number % 2 == 0 { root } else { file }, number);
                }
                libc::dup2(pair[0], 60);
                match libc::fcntl(59, libc::F_GETFD) {
                    -1 => Err(std::io::Error::last_os_error()),
                    _ => Ok(()),
                }
            });
        }
    };
    let script = super::script(&format!(
        "{LIST}\nsay('stat_root', py(os.stat, 'etc', dir_fd=40))\nsay('passwd', py(os.read, 41, 1))\nsay('socket', py(os.write, 60, b'x'))"
    ));
    let mut command = Run::new(who, &workspace).command(["/usr/bin/python3", "-c", &script]);
    leak(&mut command);
    let output = command.stdin(Stdio::null()).output().expect("creel starts");
    assert!(output.status.success(), "{output:#?}");
    super::answers(&String::from_utf8_lossy(&output.stdout)).expect(&[
        ("fds", "[0, 1, 2]"),
        ("stat_root", "EBADF"),
        ("passwd", "EBADF"),
        ("socket", "EBADF"),
    ]);
    // They were there to be leaked.
    let mut control = std::process::Command::new("/usr/bin/python3");
    control.args(["-c", &script]);
    become_who(&mut control, who);
    leak(&mut control);
    let output = control
        .stdin(Stdio::null())
        .output()
        .expect("python3 starts");
    super::answers(&String::from_utf8_lossy(&output.stdout)).expect(&[
        ("stat_root", "OK"),
        ("passwd", "OK"),
        ("socket", "OK"),
    ]);
}

each!(no_working_directory_leads_through_a_descriptor);
fn no_working_directory_leads_through_a_descriptor(who: Who) {
    let workspace = Workspace::new(who);
    for number in 3..=64 {
        let workdir = format!("/proc/self/fd/{number}");
        let ran = Run::new(who, &workspace)
            .flags(["--workdir", &workdir])
            .argv(["/bin/pwd"]);
        refused(&ran, "is not in the jail");
    }
    for (name, target) in [
        ("fd", "/proc/self/fd/7"),
        ("root", "/proc/self/root"),
        ("cwd", "/proc/1/cwd"),
    ] {
        std::os::unix::fs::symlink(target, workspace.path().join(name)).expect("symlink");
        let ran = Run::new(who, &workspace)
            .flags(["--workdir", name])
            .argv(["/bin/pwd"]);
        refused(&ran, "chdir");
    }
    std::fs::create_dir(workspace.path().join("sub")).expect("mkdir");
    let ran = Run::new(who, &workspace)
        .flags(["--workdir", "sub"])
        .argv(["/bin/pwd"])
        .ok();
    assert_eq!(
        ran.stdout.trim(),
        workspace.path().join("sub").display().to_string()
    );
}

each!(a_directory_on_stdin_is_refused);
fn a_directory_on_stdin_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    for (stdin, status) in [("/", 125), ("/dev/null", 0)] {
        let mut command =
            Run::new(who, &workspace).command(["/bin/sh", "-c", "ls -d /proc/self/fd/0/etc; :"]);
        let stdin = std::fs::File::open(stdin).expect("open");
        let output = command.stdin(stdin).output().expect("creel starts");
        assert_eq!(output.status.code(), Some(status), "{output:#?}");
        assert!(output.stdout.is_empty(), "{output:#?}");
    }
}

each!(a_deleted_working_directory_is_refused);
fn a_deleted_working_directory_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let gone = workspace.path().join("gone");
    for (line, status) in [("rmdir \"$0\"", 125), (":", 0)] {
        std::fs::create_dir_all(&gone).expect("mkdir");
        let inner = Run::new(who, &workspace).command(["/bin/pwd"]);
        let mut command = std::process::Command::new("/bin/sh");
        command
            .args(["-c", &format!("cd \"$0\" && {line} && exec \"$@\"")])
            .arg(&gone);
        command.arg(inner.get_program()).args(inner.get_args());
        // The test may remove it in the workspace's parent, as the owner of both.
        command.stdin(Stdio::null());
        become_who(&mut command, who);
        let (uid, gid, _) = who.account();
        std::os::unix::fs::chown(&gone, Some(uid), Some(gid)).expect("chown");
        let output = command.output().expect("sh starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{output:#?}");
        assert!(!text.contains("(unreachable)"), "{output:#?}");
    }
}
