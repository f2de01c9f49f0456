//! `creel exec`: the contract of `creel run` for a command in a session.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Stdio;

use super::{Session, of, said};
use crate::support::{Who, wait};

each!(status);
fn status(who: Who) {
    let session = Session::new(who);
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        session.sh(script).status(status);
    }
    let nowhere = session.exec(&[], &["no-such-program"]).status(127);
    assert!(
        nowhere.err.contains("no directory of the jail's PATH"),
        "{nowhere:?}"
    );
    let directory = session.exec(&[], &["/usr"]).status(126);
    assert!(directory.err.contains("is a directory"), "{directory:?}");
    let late = session
        .exec(&["--timeout", "200ms"], &["sleep", "60"])
        .status(124);
    assert!(late.err.contains("time limit of 200ms"), "{late:?}");
    let stubborn = "trap '' TERM; while :; do sleep 1; done";
    session
        .exec(&["--timeout", "200ms"], &["sh", "-c", stubborn])
        .status(124);
}

each!(streams);
fn streams(who: Who) {
    let session = Session::new(who);
    let both = session.sh("echo out; echo err >&2").ok();
    assert_eq!((both.out.as_str(), both.err.as_str()), ("out\n", "err\n"));
    let mut command = session.command(&[], &["cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("creel starts");
    let text = "line\n".repeat(100_000);
    let mut pipe = child.stdin.take().expect("a pipe");
    let sent = text.clone();
    let writer = std::thread::spawn(move || pipe.write_all(sent.as_bytes()));
    let output = of(child.wait_with_output().expect("creel ends")).ok();
    writer.join().expect("no panic").expect("all is written");
    assert_eq!(output.out.len(), text.len());
    // A file on stdin is read outside; the jail gets a pipe.
    let path = session.workspace.write("file", "in the file\n");
    let mut command = session.command(&[], &["sh", "-c", "cat; readlink /proc/self/fd/0"]);
    command.stdin(File::open(path).expect("the file"));
    let read = said(command).ok();
    assert!(read.out.starts_with("in the file\npipe:"), "{read:?}");
}

// The client tells that all output is delivered when the streams have ended, which may be long before the command ends.
each!(a_command_without_streams_runs_to_its_end);
fn a_command_without_streams_runs_to_its_end(who: Who) {
    let session = Session::new(who);
    let closes = "echo first; exec >&- 2>&-;";
    let late = session.sh(&format!("{closes} sleep 0.3; exit 3")).status(3);
    assert_eq!(late.out, "first\n");
    session
        .sh(&format!("{closes} sleep 0.1; kill -9 $$"))
        .status(137);
    let script = format!("{closes} touch closed; sleep 60");
    let limited = session
        .exec(&["--timeout", "300ms"], &["sh", "-c", &script])
        .status(124);
    assert_eq!(limited.out, "first\n");
    // A signal still reaches it. Not in a shell: dash loses a signal that comes while it starts a program.
    let script = "import os, signal, time\n\
        signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
        os.close(1); os.close(2); open('closed', 'w'); time.sleep(60)";
    let closed = session.workspace.path().join("closed");
    std::fs::remove_file(&closed).expect("it is there");
    let mut command = session.command(&[], &["python3", "-c", script]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("creel starts");
    wait::until("it has closed them", || closed.exists());
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).expect("the client is there");
    assert_eq!(wait::end(&mut child).code(), Some(130));
}

each!(a_stream_that_is_a_directory_is_refused);
fn a_stream_that_is_a_directory_is_refused(who: Who) {
    let session = Session::new(who);
    let mut command = session.command(&[], &["true"]);
    command.stdin(File::open("/").expect("the root"));
    let refused = said(command).status(125);
    assert!(refused.err.contains("stdin is a directory"), "{refused:?}");
    session.exec(&[], &["true"]).ok();
}

/// The keeper looks for itself: its client may be another program.
#[test]
fn a_keeper_takes_no_file_of_the_host() {
    use creel_session::keep::wire::{self, Ask, ExecAsk, Tell};
    use creel_sys::socket::Wait;
    let session = Session::new(Who::of_this_process());
    let ask = || {
        Ask::Exec(Box::new(ExecAsk {
            command: vec![b"/bin/cat".to_vec()],
            ..ExecAsk::default()
        }))
    };
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let root = File::open("/").expect("the root");
    let file = File::open("/etc/hostname").expect("a file");
    let connect = || {
        let address = session.directory().join("socket");
        let address = rustix::net::SocketAddrUnix::new(&address).expect("an address");
        let kind = rustix::net::SocketType::SEQPACKET;
        let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None);
        let socket = socket.expect("a socket");
        rustix::net::connect(&socket, &address).expect("the keeper listens");
        socket
    };
    for (bad, is_refused) in [
        (root.as_fd(), true),
        (file.as_fd(), true),
        (pipe.as_fd(), false),
    ] {
        let socket = connect();
        let fds = [bad, pipe.as_fd(), pipe.as_fd()];
        wire::send(socket.as_fd(), &ask(), &fds).expect("sent");
        let (tell, _) = wire::receive::<Tell>(socket.as_fd(), Wait::Yes)
            .expect("an answer")
            .expect("an answer");
        let refused = matches!(&tell, Tell::Refused { code, .. } if code == "session-streams");
        assert_eq!(refused, is_refused, "{}: {tell:?}", bad.as_raw_fd());
    }
    // Fewer streams than a command has, and a message of another form.
    let socket = connect();
    wire::send(socket.as_fd(), &ask(), &[pipe.as_fd()]).expect("sent");
    let heard = wire::receive::<Tell>(socket.as_fd(), Wait::Yes).expect("an answer");
    assert!(
        matches!(heard, Some((Tell::Refused { .. }, _))),
        "{heard:?}"
    );
    let socket = connect();
    rustix::net::send(&socket, b"nonsense", rustix::net::SendFlags::empty()).expect("sent");
    let heard = wire::receive::<Tell>(socket.as_fd(), Wait::Yes).expect("the end");
    assert!(heard.is_none(), "{heard:?}");
    session.exec(&[], &["true"]).ok();
}

each!(surroundings);
fn surroundings(who: Who) {
    let session = Session::with(who, &["--env", "A=session"]);
    let path = session.workspace.path();
    let plain = session.sh("echo $A; pwd; echo $CREEL").ok();
    assert_eq!(plain.out, format!("session\n{}\n1\n", path.display()));
    let file = session
        .workspace
        .write("env", "# comment\nB=file\n\nC=x=y\r\n");
    let flags = [
        "-e",
        "A=exec",
        "--env-file",
        file.to_str().expect("a path"),
        "-w",
        "/tmp",
    ];
    let other = session
        .exec(&flags, &["sh", "-c", "echo $A $B $C; pwd"])
        .ok();
    assert_eq!(other.out, "exec file x=y\n/tmp\n");
    for (flags, text) in [
        (["-w", "/etc/../root"], "working directory"),
        (["-w", "/home/nobody"], "working directory"),
        (["-e", "CREEL_ID=x"], "CREEL_ID"),
    ] {
        let refused = session.exec(&flags, &["true"]).status(125);
        assert!(refused.err.contains(text), "{refused:?}");
    }
    // A link in /proc/self/fd leads to no directory of the host.
    let refused = session
        .exec(&["-w", "/proc/self/fd/0"], &["pwd"])
        .status(125);
    assert!(refused.err.contains("working directory"), "{refused:?}");
}

each!(verdict);
fn verdict(who: Who) {
    let session = Session::new(who);
    let script = "exec 3>&1; creel() { \"$0\" exec --status-fd 3 \"$@\"; }; creel \"$1\" -- sh -c 'exit 4'; echo $?";
    let mut command = std::process::Command::new("/bin/bash");
    let creel = session.creel("x");
    command
        .args(["-c", script])
        .arg(creel.get_program())
        .arg(&session.name);
    command.current_dir(session.workspace.path());
    let (uid, gid, home) = who.account();
    if crate::support::is_root() {
        use std::os::unix::process::CommandExt as _;
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home);
        command.uid(uid).gid(gid);
    }
    let output = said(command).ok();
    let (verdict, status) = output.out.trim_end().rsplit_once('\n').expect("two lines");
    assert_eq!(status, "4");
    let verdict: serde_json::Value = serde_json::from_str(verdict).expect("JSON");
    assert_eq!(
        (verdict["kind"].as_str(), verdict["code"].as_i64()),
        (Some("exited"), Some(4))
    );
    assert!(
        verdict["receipt"]["layers"]
            .as_array()
            .is_some_and(|layers| layers.len() > 10)
    );
}

each!(descendants_end_with_their_command);
fn descendants_end_with_their_command(who: Who) {
    let session = Session::new(who);
    let escape =
        "setsid sleep 1000 & (setsid sh -c 'sleep 1001 & sleep 1002' &); sleep 1003 & echo started";
    let began = session.sh(escape).ok();
    assert_eq!(began.out, "started\n");
    assert_eq!(session.sh("ps ax | grep -c '[s]leep 100'").out, "0\n");
    // Another command's stay.
    session.exec(&["--detach"], &["sleep", "2000"]).ok();
    session.sh("sleep 1004 &").ok();
    assert_eq!(session.sh("ps ax | grep -c '[s]leep 2000'").out, "1\n");
}

each!(a_command_ends_with_its_client);
fn a_command_ends_with_its_client(who: Who) {
    let session = Session::new(who);
    let mut client = session
        .command(&[], &["sleep", "3000"])
        .spawn()
        .expect("creel starts");
    wait::until("the command runs", || {
        session.sh("ps ax | grep -c '[s]leep 3000'").out == "1\n"
    });
    client.kill().expect("killed");
    client.wait().expect("reaped");
    wait::until("the command has ended", || {
        session.sh("ps ax | grep -c '[s]leep 3000'").out == "0\n"
    });
}

each!(signals_reach_the_command);
fn signals_reach_the_command(who: Who) {
    let session = Session::new(who);
    let script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = session.command(&[], &["sh", "-c", script]);
    let mut client = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("creel starts");
    let mut out = std::io::BufReader::new(client.stdout.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let pid = nix::unistd::Pid::from_raw(client.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("sent");
    let rest = std::io::read_to_string(out).expect("the rest");
    assert_eq!(
        (rest.as_str(), wait::end(&mut client).code()),
        ("asked\n", Some(7))
    );
}

each!(detached_commands_have_numbers_logs_and_ends);
fn detached_commands_have_numbers_logs_and_ends(who: Who) {
    let session = Session::new(who);
    let script = "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two >&2; exit 5";
    let number = session.exec(&["--detach"], &["sh", "-c", script]).ok();
    let number = number.out.trim();
    let jobs = session.verb("jobs", &[]).ok();
    assert!(jobs.out.contains("running"), "{jobs:?}");
    wait::until("the first line", || {
        session.verb("logs", &[number]).out == "one\n"
    });
    session.workspace.write("go", "");
    let attached = session.verb("attach", &[number]).status(5);
    assert_eq!(attached.out, "one\ntwo\n");
    let jobs = session.verb("jobs", &["--json"]).ok();
    let jobs: serde_json::Value = serde_json::from_str(&jobs.out).expect("JSON");
    let job = &jobs["jobs"][0];
    assert_eq!(
        (job["state"].as_str(), job["exit_status"].as_u64()),
        (Some("ended"), Some(5))
    );
    session.verb("attach", &["77"]).status(125);
    session.verb("logs", &["77"]).status(125);
}

/// The first command's memory limit is its own: the session and another command go on.
#[test]
fn limits_of_one_command() {
    let Some(who) = Who::root() else { return };
    let session = Session::new(who);
    let eat = "x = bytearray(200 << 20); print(len(x))";
    let v1 = std::path::Path::new("/sys/fs/cgroup/memory").is_dir();
    let limited = session.exec(&["--memory", "64MiB"], &["python3", "-c", eat]);
    if !v1 {
        assert_eq!(limited.status, 125, "{limited:?}");
        return;
    }
    let limited = limited.status(137);
    assert!(
        limited.err.contains("more than its 64MiB of memory"),
        "{limited:?}"
    );
    session.exec(&[], &["python3", "-c", eat]).ok();
    let fork = "for i in $(seq 20); do sleep 1 & done; wait";
    let few = session.exec(&["--pids", "5"], &["sh", "-c", fork]);
    assert!(few.err.contains("fork"), "{few:?}");
    session.sh(fork).ok();
}

/// A command that eats the session's memory is killed; the session stays.
#[test]
fn a_session_survives_a_command_that_eats_its_memory() {
    let Some(who) = Who::root() else { return };
    let session = Session::with(who, &["--memory", "100MiB"]);
    let eaten = session
        .exec(&[], &["python3", "-c", "x = bytearray(300 << 20)"])
        .status(137);
    assert!(eaten.err.contains("memory"), "{eaten:?}");
    session.exec(&[], &["true"]).ok();
}

/// A jail that has used up its processes can still be told to run one.
#[test]
fn a_full_session_still_runs_a_command() {
    let Some(who) = Who::root() else { return };
    let session = Session::with(who, &["--pids", "20"]);
    let fill = "import os, time\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(1000)\nexcept OSError as e: print(e.errno, flush=True)\ntime.sleep(1000)";
    let number = session.exec(&["--detach"], &["python3", "-c", fill]).ok();
    let number = number.out.trim();
    // EAGAIN
    wait::until("the session is full", || {
        session.verb("logs", &[number]).out == "11\n"
    });
    match std::path::Path::new("/sys/fs/cgroup/pids").is_dir() {
        true => drop(session.exec(&[], &["/bin/true"]).ok()),
        false => drop(session.exec(&[], &["/bin/true"])),
    }
    // Its processes still are no more than the limit.
    session.sh("echo $$").status(0);
}

each!(many_at_once);
fn many_at_once(who: Who) {
    let session = Session::new(who);
    let clients: Vec<_> = (0..24)
        .map(|number| {
            let script = format!("echo {number}; exit {number}");
            let mut command = session.command(&[], &["sh".to_owned(), "-c".into(), script]);
            command
                .stdout(Stdio::piped())
                .spawn()
                .expect("creel starts")
        })
        .collect();
    for (number, client) in clients.into_iter().enumerate() {
        let output = of(client.wait_with_output().expect("creel ends"));
        assert_eq!(
            (output.status, output.out),
            (number as i32, format!("{number}\n"))
        );
    }
    assert_eq!(
        session.inspect()["commands"].as_array().map(Vec::len),
        Some(0)
    );
}

each!(a_working_directory_that_is_not_there_is_named);
fn a_working_directory_that_is_not_there_is_named(who: Who) {
    let session = Session::new(who);
    for path in ["gone", "/tmp/gone"] {
        let failed = session.exec(&["-w", path], &["pwd"]).status(125);
        assert!(failed.err.contains("working directory"), "{failed:?}");
        assert!(failed.err.contains("gone"), "{failed:?}");
    }
}

each!(limits_beyond_the_sessions_are_refused);
fn limits_beyond_the_sessions_are_refused(who: Who) {
    let session = Session::with(who, &["--timeout", "2m", "--pids", "50"]);
    // Processors and memory have limits where there is a cgroup.
    let mut beyond = vec![["--timeout", "3m"], ["--pids", "51"]];
    if crate::support::has_cgroups(who) {
        beyond.extend([["--cpus", "900"], ["--memory", "900GiB"]]);
    }
    for flags in beyond {
        let refused = session.exec(&flags, &["true"]).status(125);
        assert!(refused.err.contains("the session has"), "{refused:?}");
    }
    session.exec(&["--timeout", "2m"], &["true"]).ok();
}

each!(signals_go_to_commands_and_not_to_the_session);
fn signals_go_to_commands_and_not_to_the_session(who: Who) {
    let session = Session::new(who);
    let job = || session.exec(&["--detach"], &["sleep", "9000"]).ok().out;
    let first = job();
    // An act on a file is no command, and takes no number.
    let mut stat = session.creel("file");
    stat.args(["stat", &session.name, "/tmp"]);
    said(stat).ok();
    let second = job();
    let number = |text: &str| text.trim().parse::<u32>().expect("a number");
    assert_eq!(number(&second), number(&first) + 1);
    session
        .verb("kill", &["--job", first.trim(), "--signal", "TERM"])
        .ok();
    session.verb("attach", &[first.trim()]).status(143);
    assert_eq!(session.sh("ps ax | grep -c '[s]leep 9000'").ok().out, "1\n");
    session.verb("kill", &["--signal", "KILL"]).ok();
    session.verb("attach", &[second.trim()]).status(137);
    session.exec(&[], &["true"]).ok();
    let wrong = session.verb("kill", &["1"]).status(125);
    assert!(wrong.err.contains("--job 1"), "{wrong:?}");
    session.exec(&[], &["true"]).ok();
}

each!(a_detached_command_that_is_not_there_says_so);
fn a_detached_command_that_is_not_there_says_so(who: Who) {
    let session = Session::new(who);
    let mut run = session.creel("run");
    if !crate::support::has_cgroups(who) {
        run.args(["--allow-degraded", "cgroup"]);
    }
    let other = format!("{}-run", session.name);
    run.args(["--detach", "--name", &other, "--", "no-such-program"]);
    said(run).status(127);
    let mut remove = session.creel("rm");
    remove.args(["--force", &other]);
    said(remove).ok();
    let failed = session
        .exec(&["--detach"], &["no-such-program"])
        .status(127);
    assert!(
        failed.err.contains("no directory of the jail's PATH"),
        "{failed:?}"
    );
    let ended = session
        .exec(&["--detach", "--timeout", "100ms"], &["sleep", "60"])
        .ok();
    let attached = session.verb("attach", &[ended.out.trim()]).status(124);
    assert!(attached.err.contains("time limit"), "{attached:?}");
    let jobs = session.verb("jobs", &["--json"]).ok();
    let jobs: serde_json::Value = serde_json::from_str(&jobs.out).expect("JSON");
    let verdicts = jobs["jobs"].as_array().expect("a list").iter();
    let kinds: Vec<_> = verdicts.map(|job| job["verdict"]["kind"].clone()).collect();
    assert!(kinds.contains(&"timeout".into()), "{kinds:?}");
}

each!(a_command_has_the_callers_terminal);
fn a_command_has_the_callers_terminal(who: Who) {
    let session = Session::new(who);
    let mut command = session.command(&[], &["sh", "-c", "echo $TERM $OTHER"]);
    command.env("TERM", "vt220").env("OTHER", "not passed");
    assert_eq!(said(command).ok().out, "vt220\n");
}

each!(the_verdict_is_a_file_that_no_command_chooses);
fn the_verdict_is_a_file_that_no_command_chooses(who: Who) {
    let session = Session::new(who);
    let (uid, gid, _) = who.account();
    let beside = session.workspace.outside().join("beside");
    std::fs::create_dir(&beside).expect("mkdir");
    std::os::unix::fs::chown(&beside, Some(uid), Some(gid)).expect("chown");
    let file = beside.join("verdict");
    let flags = ["--status-file", file.to_str().expect("text")];
    session.exec(&flags, &["/bin/sh", "-c", "exit 3"]).status(3);
    let read = || -> serde_json::Value {
        let text = std::fs::read_to_string(&file).expect("a verdict");
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(
        (&read()["exit_status"], &read()["kind"]),
        (&3.into(), &"exited".into())
    );
    assert!(read()["receipt"]["layers"].is_array());
    // It replaces an earlier one.
    session.exec(&flags, &["/no/such/program"]).status(127);
    assert_eq!(read()["exit_status"], 127);
    // A directory of the jail's, which a command could move, and a link of the jail's on the way.
    session.sh("mkdir -p deep/er; ln -s /etc turned").ok();
    for name in ["deep/er/verdict", "turned/verdict"] {
        let path = session.workspace.path().join(name);
        let flags = ["--status-file", path.to_str().expect("text")];
        let refused = session.exec(&flags, &["/bin/true"]).status(125);
        assert!(refused.err.contains("--status-file"), "{refused:?}");
        assert!(!path.exists());
    }
    let detached = session.exec(&["--detach", flags[0], flags[1]], &["/bin/true"]);
    assert_ne!(detached.status, 0);
}
