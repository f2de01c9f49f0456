//! `--status-fd` and `--status-file`: the verdict, whole or not at all.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Run, Who, Workspace, is_root, need, wait};

fn parse(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the verdict is there");
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

each!(a_status_file_is_whole_private_and_has_the_verdict);
fn a_status_file_is_whole_private_and_has_the_verdict(who: Who) {
    let workspace = Workspace::new(who);
    let file = workspace.path().join("status");
    let run = || Run::new(who, &workspace).flags(["--status-file", "status"]);
    let ran = run().sh("exit 3");
    assert_eq!(ran.status, 3);
    assert_eq!(parse(&file)["code"], 3);
    assert_eq!(parse(&file), ran.verdict, "--status-fd says the same");
    let mode = std::fs::metadata(&file).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // A second run replaces it, and leaves nothing else.
    run().sh("exit 4");
    assert_eq!(parse(&file)["code"], 4);
    // Names that the jail held are given back by who outlives creel.
    let count = || {
        std::fs::read_dir(workspace.path())
            .expect("readdir")
            .count()
    };
    wait::becomes(&1, count);
}

each!(a_status_file_tells_of_a_run_that_did_not_begin);
fn a_status_file_tells_of_a_run_that_did_not_begin(who: Who) {
    let workspace = Workspace::new(who);
    Run::new(who, &workspace)
        .flags(["--status-file", "status", "--read", "/no/such"])
        .sh("true");
    let verdict = parse(&workspace.path().join("status"));
    assert_eq!(
        (&verdict["kind"], &verdict["exit_status"]),
        (&"setup_failed".into(), &125.into())
    );
}

each!(a_status_file_that_cannot_be_written_is_refused_before_the_run);
fn a_status_file_that_cannot_be_written_is_refused_before_the_run(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("file", "");
    std::fs::create_dir(workspace.path().join("dir")).expect("mkdir");
    for place in [
        "no/such/dir/status",
        "file/status",
        "dir",
        "/proc/status",
        "",
        "/",
        "..",
    ] {
        let ran = Run::new(who, &workspace)
            .flags(["--status-file", place])
            .sh("touch ran");
        assert_eq!(ran.status, 125, "{place}: {ran:#?}");
        assert!(
            ran.stderr.contains("--status-file") && ran.stderr.lines().count() == 1,
            "{place}: {ran:#?}"
        );
        assert!(!workspace.path().join("ran").exists(), "{place}: it ran");
    }
}

#[test]
fn a_status_file_where_the_caller_may_write_nothing_is_refused() {
    let workspace = Workspace::new(Who::User);
    let ran = Run::new(Who::User, &workspace)
        .flags(["--status-file", "/etc/creel-it-status"])
        .sh("touch ran");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(ran.stderr.contains("ermission denied"), "{ran:#?}");
    assert!(!workspace.path().join("ran").exists());
}

/// In a mount namespace of the child's own: the host sees nothing of it.
#[test]
fn a_full_disk_is_refused_before_the_run() {
    if !is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    need("unshare");
    let workspace = Workspace::new(Who::Root);
    let full = workspace.outside().join("full");
    std::fs::create_dir(&full).expect("mkdir");
    let attempt = |size: &str| {
        let status = full.join("status");
        let flags = ["--status-file", status.to_str().expect("text")];
        let creel = Run::new(Who::Root, &workspace)
            .flags(flags)
            .command(["/bin/touch", "ran"]);
        let script = "mount -t tmpfs -o size=$1 creel-it \"$2\" || exit 99; shift; shift; \"$@\"; s=$?; ls \"$0\"; exit $s";
        let output = Command::new("/usr/bin/unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "/bin/sh",
                "-c",
                script,
            ])
            .arg(&full)
            .arg(size)
            .arg(&full)
            .arg(creel.get_program())
            .args(creel.get_args())
            .current_dir(workspace.path())
            .output()
            .expect("unshare runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (status, listed, said) = attempt("4k");
    assert_eq!((status, listed.as_str()), (Some(125), ""), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(!workspace.path().join("ran").exists());
    let (status, listed, said) = attempt("1m");
    assert_eq!((status, listed.as_str()), (Some(0), "status\n"), "{said}");
    assert!(workspace.path().join("ran").exists());
}

each!(a_status_fd_that_is_not_open_is_refused_before_the_run);
fn a_status_fd_that_is_not_open_is_refused_before_the_run(who: Who) {
    let workspace = Workspace::new(who);
    for number in ["77", "1000000"] {
        let flags = ["--status-fd", number];
        let output = Run::new(who, &workspace)
            .flags(flags)
            .command(["/bin/touch", "ran"])
            .output()
            .expect("creel runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{text}");
        assert!(
            text.contains("--status-fd") && text.contains(number) && text.lines().count() == 1,
            "{text}"
        );
        assert!(!workspace.path().join("ran").exists());
    }
}

each!(a_status_fd_does_not_reach_the_command);
/// The descriptor is creel's, not the jail's.
fn a_status_fd_does_not_reach_the_command(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .sh("ls /proc/self/fd | tr '\\n' ' '; (echo forged >&9) 2>&1")
        .stdout;
    // 3 is the directory that ls reads.
    assert!(
        ran.starts_with("0 1 2 3 ") && ran.contains("ad file descriptor"),
        "{ran}"
    );
}

each!(a_status_fd_that_takes_nothing_is_no_success);
fn a_status_fd_that_takes_nothing_is_no_success(who: Who) {
    let workspace = Workspace::new(who);
    let creel = Run::new(who, &workspace)
        .flags(["--status-fd", "8"])
        .command(["true"]);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "exec 8>/dev/full; exec \"$@\"", "sh"])
        .arg(creel.get_program())
        .args(creel.get_args());
    let output = shell
        .current_dir(workspace.path())
        .output()
        .expect("sh runs");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
}

each!(a_status_fd_for_reading_is_refused_before_the_run);
fn a_status_fd_for_reading_is_refused_before_the_run(who: Who) {
    let workspace = Workspace::new(who);
    // The control: `<>` is for writing, too.
    for (opened, status) in [("8</dev/null", 125), ("8<>/dev/null", 0)] {
        let creel = Run::new(who, &workspace)
            .flags(["--status-fd", "8"])
            .command(["/usr/bin/touch", "ran"]);
        let mut shell = Command::new("/bin/sh");
        let output = shell
            .args(["-c", &format!("exec {opened}; exec \"$@\""), "sh"])
            .arg(creel.get_program())
            .args(creel.get_args())
            .current_dir(workspace.path())
            .output()
            .expect("sh runs");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let refused = String::from_utf8_lossy(&output.stderr).contains("for reading only");
        assert_eq!((refused, status), (status == 125, status), "{output:?}");
        assert_eq!(workspace.path().join("ran").exists(), status == 0);
    }
}

each!(a_killed_creel_leaves_no_status_file);
fn a_killed_creel_leaves_no_status_file(who: Who) {
    let workspace = Workspace::new(who);
    let mut child = Run::new(who, &workspace)
        .flags(["--status-file", "status"])
        .command(["/bin/sh", "-c", "touch begun; sleep 30"])
        .spawn()
        .expect("creel starts");
    let begun = workspace.path().join("begun");
    wait::until("it begins", || begun.exists());
    child.kill().expect("kill");
    child.wait().expect("wait");
    // Names that the jail held are given back by who outlives creel.
    let count = || {
        std::fs::read_dir(workspace.path())
            .expect("readdir")
            .count()
    };
    wait::becomes(&1, count);
}

each!(a_status_file_in_a_directory_that_the_jail_can_move_is_refused);
/// A directory beneath the workspace can be moved by the jail, and another put in its place: what the caller
/// reads there would be the jail's. The workspace itself cannot.
fn a_status_file_in_a_directory_that_the_jail_can_move_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("out/x", "");
    let run = |place: &str| {
        let flags = ["--status-file", place];
        Run::new(who, &workspace).flags(flags).sh("true")
    };
    let ran = run("out/status");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(ran.stderr.contains("could move the directory"), "{ran:#?}");
    run("status").ok();
    assert!(workspace.path().join("status").exists());
    // In a read-only directory nothing is moved, and nothing of it is the jail's.
    let flags = ["--workspace", ".:ro", "--status-file", "out/status"];
    Run::new(who, &workspace).flags(flags).sh("true").ok();
}

/// A pipe or a socket that takes nothing more, as descriptor 9 of `command`; and its reading side.
fn full(command: &mut Command, socket: bool) -> (OwnedFd, OwnedFd) {
    let (reader, writer): (OwnedFd, OwnedFd) = match socket {
        true => {
            let (one, other) = std::os::unix::net::UnixStream::pair().expect("sockets");
            (one.into(), other.into())
        }
        false => {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            (reader.into(), writer.into())
        }
    };
    rustix::io::ioctl_fionbio(&writer, true).expect("ioctl");
    while rustix::io::write(&writer, &[b' '; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("ioctl");
    let source = writer.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe, and the number is open.
    unsafe {
        command.pre_exec(move || match libc::dup2(source, 9) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    (reader, writer)
}

each!(a_status_fd_that_nobody_reads_is_given_up);
/// The command's status is its own, whoever reads; and nobody waits for ever.
fn a_status_fd_that_nobody_reads_is_given_up(who: Who) {
    for (socket, number) in [
        (false, None),
        (true, None),
        (false, Some(libc::SIGTERM)),
        (true, Some(libc::SIGINT)),
        (false, Some(libc::SIGHUP)),
    ] {
        let workspace = Workspace::new(who);
        let grace = if number.is_some() { "1h" } else { "0s" };
        let text = format!("extends = \"default\"\n[limits]\ngrace = \"{grace}\"\n");
        let mut command = Run::new(who, &workspace)
            .policy_text(&workspace, "grace", &text)
            .flags(["-v", "--status-fd", "9"])
            .command(["/bin/sh", "-c", "exit 3"]);
        let (_reader, writer) = full(&mut command, socket);
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("creel starts");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        // The last that is said before the verdict.
        while !line.contains("bytes of output") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("a line"), 0);
        }
        if let Some(number) = number {
            // SAFETY: two integers; the child is not reaped yet.
            unsafe { libc::kill(child.id() as i32, number) };
        }
        let mut rest = String::new();
        said.read_to_string(&mut rest).expect("text");
        assert_eq!(
            child.wait().expect("wait").code(),
            Some(3),
            "{number:?}: {rest}"
        );
        assert!(rest.contains("no process reads --status-fd"), "{rest}");
        let flags = rustix::fs::fcntl_getfl(&writer).expect("flags");
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
    }
    // The control: who begins to read gets it whole.
    for socket in [false, true] {
        let workspace = Workspace::new(who);
        let mut command = Run::new(who, &workspace)
            .flags(["-v", "--status-fd", "9"])
            .command(["/bin/sh", "-c", "exit 3"]);
        let (reader, writer) = full(&mut command, socket);
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("creel starts");
        drop((command, writer));
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("bytes of output") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("a line"), 0);
        }
        let text = std::io::read_to_string(File::from(reader)).expect("text");
        assert_eq!(child.wait().expect("wait").code(), Some(3));
        let verdict: Value = serde_json::from_str(&text).expect("JSON after blanks");
        assert_eq!(verdict["code"], 3);
    }
}

each!(what_creel_says_holds_nothing_up);
/// A line on a stderr that nobody reads is no more than that.
fn what_creel_says_holds_nothing_up(who: Who) {
    let workspace = Workspace::new(who);
    let text = "extends = \"default\"\n[limits]\ngrace = \"0s\"\n";
    let mut command = Run::new(who, &workspace)
        .policy_text(&workspace, "grace", text)
        .command(["no-such-program"]);
    let (reader, writer) = full(&mut command, false);
    let copy = writer.try_clone().expect("dup");
    let mut child = command.stderr(copy).spawn().expect("creel starts");
    let code = child.wait().expect("wait").code();
    assert_eq!(code, Some(127));
    drop((command, writer));
    let text = std::io::read_to_string(File::from(reader)).expect("text");
    assert_eq!(text.trim(), "");
}

each!(a_status_file_in_the_place_of_what_is_no_file_is_refused);
/// A file that others use by that name stays: as root a device of the host was replaced by a file, for everybody.
fn a_status_file_in_the_place_of_what_is_no_file_is_refused(who: Who) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    use std::os::unix::fs::{MetadataExt, symlink};
    let workspace = Workspace::new(who);
    let place = workspace.outside().join("places");
    std::fs::create_dir(&place).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&place, Some(uid), Some(gid)).expect("chown");
    let make = |name: &str, kind, device| {
        mknodat(CWD, place.join(name), kind, Mode::from(0o666), device).expect("mknod");
    };
    make("pipe", FileType::Fifo, 0);
    std::fs::write(place.join("target"), "important").expect("write");
    symlink("target", place.join("link")).expect("symlink");
    symlink("nothing", place.join("dangling")).expect("symlink");
    symlink("pipe", place.join("to-pipe")).expect("symlink");
    symlink("/proc/self/fd/2", place.join("to-stderr")).expect("symlink");
    let _socket = UnixListener::bind(place.join("socket")).expect("bind");
    let mut names = vec![
        ("pipe", "a pipe"),
        ("pipe/", "a pipe"),
        ("pipe/.", "a pipe"),
        ("link", "a link"),
        ("dangling", "a link"),
        ("to-pipe", "a link"),
        ("to-stderr", "a link"),
        ("socket", "a socket"),
    ];
    if is_root() {
        make("null", FileType::CharacterDevice, makedev(1, 3));
        make("disk", FileType::BlockDevice, makedev(7, 4095));
        symlink("null", place.join("to-null")).expect("symlink");
        names.extend([
            ("null", "a device"),
            ("disk", "a device"),
            ("to-null", "a link"),
        ]);
    }
    let look = |name: &str| {
        let meta = place.join(name).symlink_metadata().expect("it is there");
        (meta.ino(), meta.mode(), meta.nlink())
    };
    for (name, what) in names {
        let stem = name.trim_end_matches(['/', '.']);
        let before = look(stem);
        let path = format!("{}/{name}", place.display());
        let ran = Run::new(who, &workspace)
            .flags(["--status-file", &path])
            .sh("touch ran");
        assert_eq!(ran.status, 125, "{name}: {ran:#?}");
        assert!(
            ran.stderr.contains(what) && ran.stderr.lines().count() == 1,
            "{name}: {ran:#?}"
        );
        assert_eq!(look(stem), before, "{name}");
        assert!(!workspace.path().join("ran").exists(), "{name}: it ran");
    }
    let target = std::fs::read_to_string(place.join("target")).expect("a file");
    assert_eq!(target, "important");
    assert!(!place.join("nothing").exists());
    // The control: a file there is replaced.
    let file = place.join("target");
    Run::new(who, &workspace)
        .flags(["--status-file".as_ref(), file.as_os_str()])
        .sh("true")
        .ok();
    assert_eq!(parse(&file)["code"], 0);
}

each!(what_a_jail_puts_in_the_place_of_the_status_file_is_replaced);
/// A file that the jail puts there meanwhile does not keep the caller from the verdict, and is not followed.
fn what_a_jail_puts_in_the_place_of_the_status_file_is_replaced(who: Who) {
    let workspace = Workspace::new(who);
    let victim = workspace.write("victim", "important");
    for make in [
        "mkfifo status",
        "ln -s victim status",
        "echo forged > status",
    ] {
        Run::new(who, &workspace)
            .flags(["--status-file", "status"])
            .sh(make)
            .ok();
        let file = workspace.path().join("status");
        let meta = file.symlink_metadata().expect("it is there");
        assert!(meta.is_file(), "{make}");
        assert_eq!(parse(&file)["code"], 0, "{make}");
        std::fs::remove_file(file).expect("unlink");
    }
    assert_eq!(
        std::fs::read_to_string(&victim).expect("a file"),
        "important"
    );
    // A link that an earlier jail left is not followed either.
    Run::new(who, &workspace).sh("ln -s victim status").ok();
    let flags = ["--status-file", "status"];
    Run::new(who, &workspace).flags(flags).sh("true").ok();
    let file = workspace.path().join("status");
    assert!(file.symlink_metadata().expect("it is there").is_file());
    assert_eq!(
        std::fs::read_to_string(&victim).expect("a file"),
        "important"
    );
    // Before there is a plan nobody knows whose it is.
    std::fs::remove_file(&file).expect("unlink");
    std::os::unix::fs::symlink(&victim, &file).expect("symlink");
    let ran = Run::new(who, &workspace)
        .flags(["--status-file", "status", "--read", "/no/such"])
        .sh("true");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(file.is_symlink());
    assert_eq!(
        std::fs::read_to_string(&victim).expect("a file"),
        "important"
    );
}
