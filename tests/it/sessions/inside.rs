//! The client of a session, `creel` in its jail, and a jail that misuses it.

use std::time::{Duration, Instant};

use super::{Session, said};
use crate::support::{Who, wait};

each!(the_client_says_what_may_be_done);
fn the_client_says_what_may_be_done(who: Who) {
    let session = Session::with(who, &["--memory", "300MiB", "--read", "/usr/include"]);
    let card = session.sh("cat /run/creel/card.md").ok().out;
    let what = session.exec(&[], &["creel", "what"]).ok();
    let more = what.out.strip_prefix(&*card);
    assert_eq!(more, Some("\nCommands that run in this session: 1.\n"));
    assert_eq!(what.err, "");
    // As any program in `PATH`, from a shell too.
    session.sh("creel what | grep -q 300MiB").ok();
    let help = session.exec(&[], &["creel"]).ok().out;
    assert!(help.starts_with("Usage: creel what\n"), "{help}");
    for unknown in [&["run", "--", "true"][..], &["what", "else"], &[""]] {
        let refused = session.exec(&[], &[&["creel"], unknown].concat());
        assert_eq!(refused.status, 125, "{refused:?}");
        assert!(refused.err.contains("`creel what` alone"), "{refused:?}");
    }
    let long = "x".repeat(5000);
    let refused = session.exec(&[], &["creel", &long]).status(125);
    assert_eq!(refused.err, "creel: the arguments are too long\n");
}

each!(the_client_is_alone_on_an_executable_mount);
fn the_client_is_alone_on_an_executable_mount(who: Who) {
    let session = Session::new(who);
    let tries = "creel what > /tmp/out && echo control\n\
        echo x > /run/creel/bin/creel; echo x > /run/creel/bin/other; rm -f /run/creel/bin/creel /run/creel/socket\n\
        mv /run/creel/socket /tmp/; cp /run/creel/bin/creel /tmp/copy; /tmp/copy what; echo $?\n\
        /lib64/ld-linux-x86-64.so.2 /run/creel/card.md; echo $?\n\
        ls /run/creel /run/creel/bin; creel what > /tmp/again; cmp /tmp/out /tmp/again && echo same";
    let tried = session.sh(tries).ok();
    let lines: Vec<&str> = tried.out.lines().collect();
    assert_eq!(
        lines,
        [
            "control",
            "126",
            "127",
            "/run/creel:",
            "bin",
            "card.md",
            "socket",
            "",
            "/run/creel/bin:",
            "creel",
            "same"
        ],
        "{tried:?}"
    );
    assert_eq!(tried.err.matches("Read-only file system").count(), 5);
}

each!(a_run_has_no_client);
fn a_run_has_no_client(who: Who) {
    let session = Session::named(who);
    let mut run = session.creel("run");
    if !crate::support::has_cgroups(who) {
        run.args(["--allow-degraded", "cgroup"]);
    }
    run.args([
        "--",
        "sh",
        "-c",
        "command -v creel; ls /run/creel; echo $PATH",
    ]);
    let run = said(run).ok();
    assert!(!run.out.contains("/run/creel"), "{run:?}");
    assert!(run.err.contains("No such file"), "{run:?}");
}

// Changes by `creel net` are shown, and not their author.
each!(the_client_shows_the_network_as_it_is);
fn the_client_shows_the_network_as_it_is(who: Who) {
    let session = Session::with(who, &["--allow-net", "one.test"]);
    let what = || session.exec(&[], &["creel", "what"]).ok().out;
    assert!(!what().contains("has been changed"));
    let change = |verb: &str, host: &str| {
        let mut command = session.creel("net");
        command.args([verb, &session.name, host]);
        said(command).ok();
    };
    change("deny", "one.test");
    let shown = what();
    assert!(shown.contains("\n- refused: one.test\n"), "{shown}");
    assert!(!shown.contains("pid"), "{shown}");
}

/// Python for a connection to the keeper.
const CONNECT: &str = "import socket, os, array, time\n\
    def connect():\n  \
      s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n  \
      s.settimeout(20)\n  \
      s.connect('/run/creel/socket')\n  \
      return s\n";

each!(requests_that_are_none_get_an_error_or_nothing);
fn requests_that_are_none_get_an_error_or_nothing(who: Who) {
    let session = Session::new(who);
    let descriptors = || {
        let path = format!("/proc/{}/fd", session.keeper());
        // Without root a keeper cannot be looked at.
        let all = std::fs::read_dir(path).into_iter().flatten().flatten();
        let paths = all.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        // It keeps what it reads of its group open, from the first look on.
        paths
            .filter(|path| !path.starts_with("/sys/fs/cgroup"))
            .count()
    };
    session.exec(&[], &["creel", "what"]).ok();
    let before = descriptors();
    let tries = format!(
        "{CONNECT}\
        for request in [b'what\\0', b'\\1what', b'\\1\\xff\\0', b'\\1' + b'what\\0' * 800, b'\\1' * 5000, b'\\0' * 4096, b'\\1what\\0\\0']:\n  \
          s = connect(); s.send(request)\n  \
          kinds = []\n  \
          while True:\n    \
            m = s.recv(9999)\n    \
            if not m: break\n    \
            kinds.append((m[0], m[1] if m[0] == 0 else len(m) > 1))\n  \
          print(kinds)\n\
        s = connect()\n\
        fds = array.array('i', [os.open('/etc/passwd', 0) for _ in range(200)])\n\
        s.sendmsg([b'\\1what\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])\n\
        print(s.recv(9999)[0])\n\
        s = connect(); s.sendmsg([b'\\1what\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno()]))])\n\
        print(s.recv(9999)[0])"
    );
    let got = session.exec(&[], &["python3", "-c", &tries]).ok().out;
    let refused = "[(2, True), (0, 125)]\n";
    assert_eq!(got, format!("{}1\n1\n", refused.repeat(7)));
    // No descriptor stays, of those that were sent neither.
    wait::until("the keeper has closed them", || descriptors() <= before);
    session.exec(&[], &["creel", "what"]).ok();
}

// Connections that say nothing or read nothing, as many as the jail can make: commands, and the end of the session, do
// not wait for them.
each!(a_flood_of_clients_holds_up_nothing);
fn a_flood_of_clients_holds_up_nothing(who: Who) {
    let session = Session::new(who);
    let flood = format!(
        "{CONNECT}\
        print('ready', flush=True)\n\
        kept, made = [], [0]\n\
        import threading\n\
        def forever(request):\n  \
          while True:\n    \
            try:\n      \
              s = connect()\n      \
              if request: s.send(request)\n      \
              kept.append(s); made[0] += 1\n      \
              if made[0] == 20: open('/tmp/flooded', 'w')\n      \
              if len(kept) > 300: kept.pop(0)\n    \
            except OSError: time.sleep(0.01)\n\
        for request in [None, b'\\1what\\0', b'x' * 4096] * 5:\n  \
          threading.Thread(target=forever, args=(request,)).start()\n"
    );
    let number = session.exec(&["--detach"], &["python3", "-c", &flood]).ok();
    let number = number.out.trim();
    wait::until("it floods", || {
        session.verb("logs", &[number]).out == "ready\n"
    });
    let times = |count: usize| {
        let one = || {
            let began = Instant::now();
            session.exec(&[], &["/bin/true"]).ok();
            began.elapsed()
        };
        let mut all: Vec<Duration> = (0..count).map(|_| one()).collect();
        all.sort();
        all[count / 2]
    };
    let beside = times(20);
    assert!(beside < Duration::from_secs(1), "{beside:?}");
    // The control: the keeper has accepted many meanwhile.
    wait::until("it has flooded", || {
        session.sh("test -e /tmp/flooded").status == 0
    });
    let began = Instant::now();
    session.verb("kill", &[]).ok();
    let ended = began.elapsed();
    assert!(ended < Duration::from_secs(4), "{ended:?}");
}
