//! Sessions share nothing, and a jail gets no hold of a command that enters it.

use super::{Session, said};
use crate::support::{Who, wait};

each!(two_sessions_share_nothing);
fn two_sessions_share_nothing(who: Who) {
    let (one, two) = (Session::new(who), Session::new(who));
    let serve = "import socket, time, os\n\
        open('/tmp/mine', 'w').write('x')\n\
        open('/dev/shm/mine', 'w').write('x')\n\
        a = socket.socket(socket.AF_UNIX); a.bind('\\0mine'); a.listen()\n\
        b = socket.socket(); b.bind(('127.0.0.1', 7777)); b.listen()\n\
        print('ready', flush=True); time.sleep(1000)";
    let number = one.exec(&["--detach"], &["python3", "-c", serve]).ok();
    wait::until("it serves", || {
        one.verb("logs", &[number.out.trim()]).out == "ready\n"
    });
    let look = "import socket, os, signal\n\
        def tried(act):\n  \
          try: act(); return 'reached'\n  \
          except OSError as e: return e.errno\n\
        a = lambda: socket.socket(socket.AF_UNIX).connect('\\0mine')\n\
        b = lambda: socket.socket().connect(('127.0.0.1', 7777))\n\
        print(tried(lambda: os.stat('/tmp/mine')), tried(lambda: os.stat('/dev/shm/mine')), tried(a), tried(b))\n\
        print(len([p for p in os.listdir('/proc') if p.isdigit()]))";
    // ENOENT, ENOENT, ECONNREFUSED, ECONNREFUSED; no process but this one.
    assert_eq!(
        two.exec(&[], &["python3", "-c", look]).ok().out,
        "2 2 111 111\n1\n"
    );
    let control = one.exec(&[], &["python3", "-c", look]).ok().out;
    assert!(
        control.starts_with("reached reached reached reached\n"),
        "{control}"
    );
}

// While commands are started, a hostile process of the jail tries to trace each new process and to open its
// executable and its descriptors before it has become its program.
each!(a_command_is_out_of_reach_until_it_runs);
fn a_command_is_out_of_reach_until_it_runs(who: Who) {
    let session = Session::new(who);
    let hunt = "import os, ctypes\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        me, seen, hits = os.getpid(), 0, []\n\
        print('ready', flush=True)\n\
        while not os.path.exists('/tmp/stop'):\n  \
          for p in os.listdir('/proc'):\n    \
            if not p.isdigit() or int(p) == me: continue\n    \
            seen += 1\n    \
            try:\n      \
              exe = os.readlink(f'/proc/{p}/exe')\n      \
              if exe not in ('/usr/bin/true', '/bin/true'): hits.append(exe)\n    \
            except OSError: pass\n    \
            if libc.ptrace(16, int(p), 0, 0) == 0: hits.append('traced')\n    \
            try:\n      \
              fds = os.listdir(f'/proc/{p}/fd')\n      \
              if set(fds) - {'0', '1', '2', '3'}: hits.append(fds)\n    \
            except OSError: pass\n\
        print('looked', seen > 0, sorted(set(map(str, hits))))";
    let number = session.exec(&["--detach"], &["python3", "-c", hunt]).ok();
    let number = number.out.trim();
    wait::until("it hunts", || {
        session.verb("logs", &[number]).out == "ready\n"
    });
    for _ in 0..60 {
        session.exec(&[], &["/bin/true"]).ok();
    }
    session.exec(&[], &["/usr/bin/touch", "/tmp/stop"]).ok();
    session.verb("attach", &[number]).ok();
    let found = session.verb("logs", &[number]).ok().out;
    // touch(1) is the one that ends it.
    let fine = [
        "ready\nlooked True []\n",
        "ready\nlooked True ['/usr/bin/touch']\n",
    ];
    assert!(fine.contains(&found.as_str()), "{found}");
}

// A jail that was granted the directory of sessions can connect to the socket of a later session, and pose as a
// keeper. Neither is trusted, although its user is the caller.
#[test]
fn a_jail_is_neither_a_client_nor_a_keeper() {
    let who = Who::User;
    let first = Session::named(who);
    let runtime = first.workspace.outside().join("runtime");
    std::fs::create_dir(&runtime).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&runtime, Some(uid), Some(gid)).expect("chown");
    let verb = |session: &Session, verb: &str, more: &[&str]| {
        let mut command = session.creel(verb);
        command.env("XDG_RUNTIME_DIR", &runtime).args(more);
        said(command)
    };
    let grant = ["--write", runtime.to_str().expect("text")];
    let mut flags = vec!["--name", "hostile", "--allow-degraded", "cgroup"];
    flags.extend(grant);
    verb(&first, "create", &flags).ok();
    verb(
        &first,
        "create",
        &["--name", "later", "--allow-degraded", "cgroup"],
    )
    .ok();
    let sessions = runtime.join("creel/sessions");
    let ask = format!(
        "import socket\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.connect('{0}/later/socket')\n\
        s.send(b'i{{\"ask\":\"inspect\"}}')\n\
        print(len(s.recv(65536)))",
        sessions.display()
    );
    let inside = ["hostile", "--", "python3", "-c", &ask];
    let asked = verb(&first, "exec", &inside);
    // The keeper hangs up, or, from Landlock's ABI 9 on, the kernel refuses the connection.
    assert!(
        asked.out == "0\n" || asked.err.contains("rror"),
        "{asked:?}"
    );
    // Control: the same by the user outside.
    let mut outside = std::process::Command::new("/usr/bin/python3");
    outside.args(["-c", &ask]);
    if crate::support::is_root() {
        use std::os::unix::process::CommandExt as _;
        outside.uid(uid).gid(gid);
    }
    let answered = said(outside).ok();
    assert_ne!(answered.out, "0\n", "{answered:?}");
    let pose = format!(
        "import socket, os, fcntl\n\
        os.mkdir('{0}/posed')\n\
        lock = open('{0}/posed/lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.bind('{0}/posed/socket'); s.listen()\n\
        print('ready', flush=True)\n\
        c, _ = s.accept()\n\
        print('asked', c.recv(65536), flush=True)",
        sessions.display()
    );
    let number = verb(
        &first,
        "exec",
        &["--detach", "hostile", "--", "python3", "-c", &pose],
    )
    .ok();
    let log = |_: &()| verb(&first, "logs", &["hostile", number.out.trim()]).out;
    wait::until("it listens", || log(&()) == "ready\n");
    let refused = verb(&first, "exec", &["posed", "--", "true"]).status(125);
    assert!(refused.err.contains("not trusted"), "{refused:?}");
    let said = log(&());
    assert!(!said.contains("exec"), "{said}");
    verb(&first, "rm", &["--force", "hostile", "later"]).ok();
}
