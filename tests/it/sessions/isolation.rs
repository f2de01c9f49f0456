//! Sessions share nothing, and a jail gets no hold of a command that enters it.

use super::Session;
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

/// While commands are started, a hostile process of the jail tries to trace each new process and to open its
/// executable and its descriptors before it has become its program.
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
