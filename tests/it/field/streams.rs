//! /dev/stdin, /dev/stdout and /dev/stderr are opened again by programs that take file names.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Stdio;

use super::{script, text};
use crate::support::{Run, Who, Workspace};

/// Opens a path and writes the errno, or `open`.
const OPEN: &str = "import os, sys
try:
    os.open(sys.argv[1], int(sys.argv[2])); print('open')
except OSError as e:
    print(e.errno)";

fn open(path: &str, flags: i32) -> Vec<String> {
    ["/usr/bin/python3", "-c", OPEN, path, &flags.to_string()]
        .map(str::to_owned)
        .to_vec()
}

each!(what_is_written_to_a_stream_by_its_name_arrives);
fn what_is_written_to_a_stream_by_its_name_arrives(who: Who) {
    let workspace = Workspace::new(who);
    for (name, to) in [
        ("/dev/stdout", 1),
        ("/dev/stderr", 2),
        ("/dev/fd/1", 1),
        ("/proc/self/fd/2", 2),
    ] {
        let written = format!("echo text > {name}");
        let ran = Run::new(who, &workspace).sh(&written).ok();
        let (arrived, other) = match to {
            1 => (ran.stdout, ran.stderr),
            _ => (ran.stderr, ran.stdout),
        };
        assert_eq!((arrived.as_str(), other.as_str()), ("text\n", ""), "{name}");
    }
    // Both are one file, and then files.
    let argv = [
        "/bin/sh",
        "-c",
        "echo a > /dev/stderr; echo b > /dev/stdout",
    ];
    let output = script(who, &workspace, "\"$@\" 2>&1 | cat", &[], &argv).output();
    assert_eq!(text(&output.expect("bash").stdout), "a\nb\n");
    let output = script(who, &workspace, "\"$@\" > o 2> e; cat e o", &[], &argv).output();
    assert_eq!(text(&output.expect("bash").stdout), "a\nb\n");
}

each!(a_pipe_on_stdin_is_read_by_its_name);
fn a_pipe_on_stdin_is_read_by_its_name(who: Who) {
    let workspace = Workspace::new(who);
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        // A pipe of the caller's own.
        let words = "echo text | \"$@\"";
        let output = script(who, &workspace, words, &[], &["/bin/cat", name]).output();
        assert_eq!(text(&output.expect("bash").stdout), "text\n", "{name}");
    }
}

/// A program that reads on from the pipe after the jail, such as a shell's loop, would obey input from the jail.
/// Without root the jail's user is the caller, whose pipe it is.
#[test]
fn a_pipe_on_stdin_cannot_be_written_to() {
    let Some(who) = Who::root() else {
        return;
    };
    let workspace = Workspace::new(who);
    for (flags, expected) in [
        (libc::O_RDONLY, "open"),
        (libc::O_WRONLY, "13"),
        (libc::O_RDWR, "13"),
    ] {
        let ran = Run::new(who, &workspace)
            .stdin("")
            .argv(open("/dev/stdin", flags))
            .ok();
        assert_eq!(ran.stdout.trim(), expected, "{flags}");
    }
}

each!(a_file_on_stdin_is_read_by_its_name_and_not_written_to);
/// A file that nobody granted: to be read, and that is all.
fn a_file_on_stdin_is_read_by_its_name_and_not_written_to(who: Who) {
    let workspace = Workspace::new(who);
    let path = workspace.outside().join("secret");
    std::fs::write(&path, "text").expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let (uid, gid, _) = who.account();
    chown(&path, Some(uid), Some(gid)).expect("chown");
    let given = |argv: Vec<String>| {
        let mut command = Run::new(who, &workspace).command(&argv);
        command
            .stdin(File::open(&path).expect("open"))
            .stderr(Stdio::inherit());
        let output = command.output().expect("creel");
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(given(vec!["/bin/cat".into(), "/dev/stdin".into()]), "text");
    for flags in [libc::O_WRONLY, libc::O_RDWR] {
        let errno = given(open("/dev/stdin", flags));
        assert!(errno == "13" || errno == "30", "{errno}");
    }
    let chmod = "import os\ntry:\n    os.fchmod(0, 0o666); print('done')\nexcept OSError as e:\n    print(e.errno)";
    assert_eq!(
        given(
            ["/usr/bin/python3", "-c", chmod]
                .map(str::to_owned)
                .to_vec()
        ),
        "30"
    );
    // By its own name it does not exist.
    let name = path.display().to_string();
    assert_eq!(given(open(&name, libc::O_RDONLY)), "2");
    let meta = path.metadata().expect("stat");
    assert_eq!(
        (meta.mode() & 0o7777, meta.size(), meta.uid()),
        (0o600, 4, uid)
    );
}

each!(a_granted_file_on_stdin_is_read_by_its_name);
/// The grant decides about a granted file.
fn a_granted_file_on_stdin_is_read_by_its_name(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("in", "text");
    let argv = ["/bin/cat", "/dev/stdin"];
    let output = script(who, &workspace, "\"$@\" < in", &[], &argv).output();
    assert_eq!(text(&output.expect("bash").stdout), "text");
}

each!(a_device_on_stdin_is_the_jails_own);
fn a_device_on_stdin_is_the_jails_own(who: Who) {
    let workspace = Workspace::new(who);
    for (device, first) in [("/dev/null", "0"), ("/dev/zero", "4")] {
        let argv = ["/bin/sh", "-c", "head -c 4 /dev/stdin | wc -c"];
        let mut command = Run::new(who, &workspace).command(argv);
        command.stdin(File::open(device).expect("open"));
        let output = command.output().expect("creel");
        assert_eq!(text(&output.stdout).trim(), first, "{device}: {output:?}");
    }
    // The control: the host has this one and the jail does not.
    let others = ["/dev/fuse", "/dev/net/tun", "/dev/kmsg"];
    let Some(other) = others.iter().find_map(|path| File::open(path).ok()) else {
        eprintln!("skipped: no other device may be opened here");
        return;
    };
    let mut command = Run::new(who, &workspace).command(open("/dev/stdin", libc::O_RDONLY));
    command.stdin(other);
    let output = command.output().expect("creel");
    assert_eq!(text(&output.stdout).trim(), "13", "{output:?}");
}
