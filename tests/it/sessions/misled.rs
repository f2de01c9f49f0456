//! Callers of creel whom a jail wants to mislead: streams that lead to the host's network, and files that creel writes
//! beside a jail.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Session, of, said};
use crate::support::{Who, has_cgroups};

/// Says what stdin is, what comes from it, and what becomes of a new connection through it.
const DIALS: &str = "import ctypes, os, socket, stat, sys\n\
    kind = 'socket' if stat.S_ISSOCK(os.fstat(0).st_mode) else 'pipe' if stat.S_ISFIFO(os.fstat(0).st_mode) else '?'\n\
    print(kind, os.read(0, 5).decode(), ctypes.CDLL(None).connect(0, bytes(16), 16))\n\
    try:\n  \
      socket.socket(fileno=0).connect(('127.0.0.1', int(sys.argv[1]))); print('dialled')\n\
    except (OSError, TypeError): print('refused')";

fn run_command(session: &Session, argv: &[&str]) -> Command {
    let mut run = session.creel("run");
    if !has_cgroups(session.who) {
        run.args(["--allow-degraded", "cgroup"]);
    }
    run.arg("--").args(argv);
    run
}

// The connection of inetd(8), or of a unit with `Accept=yes`: connect(2) with AF_UNSPEC would dissolve it, and dial
// from the host's network.
each!(a_socket_of_the_network_is_no_way_out);
fn a_socket_of_the_network_is_no_way_out(who: Who) {
    use std::io::Write as _;
    let session = Session::new(who);
    let server = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = server.local_addr().expect("an address").port().to_string();
    let argv = ["python3", "-c", DIALS, &port];
    let over_tcp = |mut command: Command| {
        let passing = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = passing.local_addr().expect("an address");
        let mut caller = TcpStream::connect(address).expect("connected");
        let (passed, _) = passing.accept().expect("accepted");
        caller.write_all(b"hello").expect("sent");
        drop(caller);
        command
            .stdin(Stdio::from(OwnedFd::from(passed)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        of(command
            .spawn()
            .and_then(|child| child.wait_with_output())
            .expect("it ends"))
    };
    let bare = {
        let mut python = Command::new("/usr/bin/python3");
        python.args(&argv[1..]);
        python
    };
    assert_eq!(
        over_tcp(bare).out,
        "socket hello 0\ndialled\n",
        "the control"
    );
    for command in [
        session.command(&["-T"], &argv),
        run_command(&session, &argv),
    ] {
        let got = over_tcp(command).ok();
        assert_eq!(got.out, "pipe hello -1\nrefused\n", "{got:?}");
    }
    // A connected unix socket leads nowhere else, and is passed as it is.
    for mut command in [
        session.command(&["-T"], &argv),
        run_command(&session, &argv),
    ] {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.write_all(b"hello").expect("sent");
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let got = said(command).ok();
        assert_eq!(got.out, "socket hello -1\nrefused\n", "{got:?}");
    }
}

// The jail exchanges a directory of its tree for a link while creel looks at the path.
each!(no_race_leads_a_file_that_creel_writes_out);
fn no_race_leads_a_file_that_creel_writes_out(who: Who) {
    let session = Session::new(who);
    let victim = session.workspace.outside().join("victim");
    std::fs::create_dir(&victim).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&victim, Some(uid), Some(gid)).expect("chown");
    let turned = session.workspace.path().join("d");
    let stop = AtomicBool::new(false);
    let names = || std::fs::read_dir(&victim).expect("it is there").count();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                symlink(&victim, &turned).expect("a link");
                std::thread::yield_now();
                std::fs::remove_file(&turned).expect("removed");
            }
        });
        for at in 0..40 {
            let file = |kind: &str| format!("{}/{kind}{at}", turned.display());
            let mut exec = session.creel("exec");
            exec.args([
                "-q",
                "--status-file",
                &file("e"),
                &session.name,
                "--",
                "true",
            ]);
            of_the_file(said(exec), "--status-file");
            for (flag, more) in [("--status-file", ""), ("--log-net", "--allow-net=a.test")] {
                let mut run = session.creel("run");
                if !has_cgroups(who) {
                    run.args(["--allow-degraded", "cgroup"]);
                }
                run.args(["-q", flag, &file("r")]);
                run.args(Some(more).filter(|more| !more.is_empty()));
                of_the_file(said(run_with(run)), flag);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(), 0);
    // The control: the same names are written where the jail cannot turn them.
    let mut exec = session.creel("exec");
    let fine = victim.join("fine");
    exec.args(["-q", "--status-file"]).arg(&fine);
    exec.args([&session.name, "--", "true"]);
    said(exec).ok();
    assert!(fine.exists());
}

/// Refused for the file, and for nothing else: its directory is a link of the jail's, or absent, or was exchanged.
#[track_caller]
fn of_the_file(said: super::Said, flag: &str) {
    let said = said.status(125);
    let why = ["could change", "exchanged", "No such file"];
    assert!(said.err.contains(flag), "{said:?}");
    assert!(why.iter().any(|why| said.err.contains(why)), "{said:?}");
}

fn run_with(mut run: Command) -> Command {
    run.args(["--", "true"]);
    run
}

// The events of `creel logs NAME` have command lines, which a model writes.
each!(events_have_no_control_characters);
fn events_have_no_control_characters(who: Who) {
    let session = Session::new(who);
    session
        .exec(&[], &["true", "\u{9b}31m\u{202e}\u{1b}]0;x\u{7}"])
        .ok();
    let events = session.verb("logs", &[]).ok().out;
    assert!(events.contains("\\u009b31m"), "{events}");
    let odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!events.contains(odd), "{events:?}");
}

// A write by root keeps set-id bits (inode(7)), and the jail's own write does not.
#[test]
fn what_is_appended_runs_as_nobody_else() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if !crate::support::is_root() {
        return;
    }
    let session = Session::new(Who::Root);
    let file = session.workspace.write("program", "first");
    let mode = std::fs::Permissions::from_mode(0o6755);
    std::fs::set_permissions(&file, mode).expect("chmod");
    let mut append = session.creel("file");
    append.args(["write", "--append", &session.name]).arg(&file);
    super::said_to(append, b"second").ok();
    let meta = file.metadata().expect("it is there");
    assert_eq!((meta.mode() & 0o7777, meta.len()), (0o755, 11));
}

each!(copies_take_no_more_room_than_they_need);
fn copies_take_no_more_room_than_they_need(who: Who) {
    use std::os::unix::fs::MetadataExt as _;
    let session = Session::new(who);
    session
        .sh("truncate -s 64M /tmp/holes; echo end >> /tmp/holes")
        .ok();
    let to = session.workspace.outside().join("holes");
    let mut copy = session.creel("cp");
    let (uid, gid, _) = who.account();
    let above = to.parent().expect("a directory");
    std::os::unix::fs::chown(above, Some(uid), Some(gid)).expect("chown");
    copy.arg(format!("{}:/tmp/holes", session.name)).arg(&to);
    said(copy).ok();
    let meta = to.metadata().expect("it is there");
    assert_eq!(meta.len(), (64 << 20) + 4);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let text = std::fs::read(&to).expect("readable");
    assert_eq!(&text[text.len() - 4..], b"end\n");
}

each!(sockets_are_left_out_of_a_copy);
fn sockets_are_left_out_of_a_copy(who: Who) {
    let session = Session::new(who);
    let tree = session.workspace.outside().join("tree");
    std::fs::create_dir(&tree).expect("mkdir");
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("bound");
    std::fs::write(tree.join("z"), "kept").expect("written");
    let mut copy = session.creel("cp");
    copy.arg(&tree).arg(format!("{}:/tmp/tree", session.name));
    let copied = said(copy).ok();
    assert!(copied.err.contains("left out"), "{copied:?}");
    assert_eq!(
        session.sh("ls /tmp/tree; cat /tmp/tree/z").ok().out,
        "z\nkept"
    );
}

each!(a_copy_into_itself_ends);
fn a_copy_into_itself_ends(who: Who) {
    let session = Session::new(who);
    session.workspace.write("dir/file", "text");
    let name = |path: &str| format!("{}:{path}", session.name);
    let cp = |from: &str, to: &str| {
        let mut copy = session.creel("cp");
        copy.args([from, to]);
        said(copy)
    };
    let path = session.workspace.path();
    for (from, to) in [
        (name("."), "out".to_owned()),
        (".".to_owned(), name("in")),
        ("dir".to_owned(), name("dir/sub")),
    ] {
        let refused = cp(&from, &to).status(125);
        assert!(refused.err.contains("the copy itself"), "{refused:?}");
    }
    let nested = |name: &str| path.join(name).join(name).join(name);
    assert!(!nested("out").exists() && !nested("in").exists());
    // The control: beside it.
    cp("dir", &name("beside")).ok();
    cp(&name("dir"), "out2").ok();
    assert_eq!(
        std::fs::read_to_string(path.join("beside/file")).expect("copied"),
        "text"
    );
    assert_eq!(
        std::fs::read_to_string(path.join("out2/file")).expect("copied"),
        "text"
    );
}

each!(a_full_disk_leaves_the_old_contents);
fn a_full_disk_leaves_the_old_contents(who: Who) {
    let session = Session::with(who, &["--disk", "1MiB"]);
    session
        .sh("echo precious > /tmp/keep; chmod 640 /tmp/keep")
        .ok();
    let file = |words: &[&str], text: &[u8]| {
        let mut file = session.creel("file");
        file.args(words);
        super::said_to(file, text)
    };
    let large = "x".repeat(3 << 20);
    let write = ["write", &*session.name, "/tmp/keep"];
    let refused = file(&write, large.as_bytes()).status(125);
    assert!(refused.err.contains("No space left"), "{refused:?}");
    let edit = [
        "edit",
        &*session.name,
        "/tmp/keep",
        "--old",
        "precious",
        "--new",
    ];
    // An argument has an end, and a text of many lines has none.
    let new = "y".repeat(100_000);
    session.sh("head -c 990000 /dev/zero > /tmp/fill").ok();
    let refused = file(&[&edit[..], &[&new]].concat(), b"").status(125);
    assert!(refused.err.contains("No space left"), "{refused:?}");
    session.workspace.write("large", &large);
    let mut copy = session.creel("cp");
    copy.args(["large", &format!("{}:/tmp/keep", session.name)]);
    said(copy).status(125);
    assert_eq!(session.sh("cat /tmp/keep").ok().out, "precious\n");
    // The controls: what fits replaces all of it, and the mode stays.
    file(&write, b"new\n").ok();
    let now = session.sh("cat /tmp/keep; stat -c %a /tmp/keep").ok();
    assert_eq!(now.out, "new\n640\n");
    file(
        &[&edit[..3], &["--old", "new", "--new", "newer"]].concat(),
        b"",
    )
    .ok();
    assert_eq!(session.sh("cat /tmp/keep").ok().out, "newer\n");
    file(&["write", &*session.name, "/tmp/fresh"], b"").ok();
    assert_eq!(session.sh("stat -c %s /tmp/fresh").ok().out, "0\n");
}

// The grace is for commands that go on after SIGTERM.
each!(a_session_whose_commands_end_at_once_ends_at_once);
fn a_session_whose_commands_end_at_once_ends_at_once(who: Who) {
    let session = Session::new(who);
    session.exec(&["--detach"], &["sleep", "1000"]).ok();
    let began = std::time::Instant::now();
    session.verb("stop", &["--grace", "60s"]).ok();
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

// Placeholders of absent names are creel's, and no part of the workspace.
each!(copies_have_no_placeholders);
fn copies_have_no_placeholders(who: Who) {
    let session = Session::new(who);
    session.workspace.write("dir/file", "text");
    let seen = session.sh("ls -A").ok().out;
    assert!(seen.contains(".claude"), "the control: {seen}");
    let to = session.workspace.outside().join("copied");
    let (uid, gid, _) = who.account();
    let above = to.parent().expect("a directory");
    std::os::unix::fs::chown(above, Some(uid), Some(gid)).expect("chown");
    let mut copy = session.creel("cp");
    copy.arg(format!("{}:.", session.name)).arg(&to);
    assert_eq!(said(copy).ok().err, "");
    let names = |path: &std::path::Path| -> Vec<String> {
        let all = std::fs::read_dir(path).expect("it is there").flatten();
        all.map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(&to), ["dir"]);
    assert_eq!(names(&to.join("dir")), ["file"]);
    let mut archive = session.creel("cp");
    archive.arg(format!("{}:.", session.name)).arg("-");
    let archive = archive.output().expect("it ends");
    let text = String::from_utf8_lossy(&archive.stdout);
    assert!(text.contains("dir/file") && !text.contains(".claude"));
    assert_eq!(String::from_utf8_lossy(&archive.stderr), "");
}

// `--quiet` says nothing about the end of a command, and one that did not start has none.
each!(a_command_that_does_not_start_is_told_of);
fn a_command_that_does_not_start_is_told_of(who: Who) {
    let session = Session::new(who);
    let exec = session.exec(&["-q"], &["nosuch"]).status(127);
    assert!(exec.err.contains("nosuch"), "{exec:?}");
    let mut run = session.creel("run");
    if !has_cgroups(who) {
        run.args(["--allow-degraded", "cgroup"]);
    }
    run.args(["-q", "--", "nosuch"]);
    let run = said(run).status(127);
    assert!(run.err.contains("nosuch"), "{run:?}");
    assert_eq!(session.exec(&["-q"], &["false"]).status(1).err, "");
}
