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
        me, control, hits = os.getpid(), set(), []\n\
        print('ready', flush=True)\n\
        while not os.path.exists('/tmp/stop'):\n  \
          for p in os.listdir('/proc'):\n    \
            if not p.isdigit() or int(p) == me: continue\n    \
            try:\n      \
              exe = os.readlink(f'/proc/{p}/exe')\n      \
              if exe == '/usr/bin/sleep': control.add('exe')\n      \
              elif exe not in ('/usr/bin/true', '/bin/true'): hits.append(exe)\n    \
            except OSError: pass\n    \
            if libc.ptrace(16, int(p), 0, 0) == 0: hits.append('traced')\n    \
            try:\n      \
              fds = os.listdir(f'/proc/{p}/fd')\n      \
              if set(fds) == {'0', '1', '2'}: control.add('fd')\n      \
              if set(fds) - {'0', '1', '2', '3'}: hits.append(fds)\n    \
            except OSError: pass\n\
        print(sorted(control), sorted(set(map(str, hits))))";
    // The control: a program of the jail that runs can be looked at.
    session
        .exec(&["--detach"], &["/usr/bin/sleep", "1000"])
        .ok();
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
        "ready\n['exe', 'fd'] []\n",
        "ready\n['exe', 'fd'] ['/usr/bin/touch']\n",
    ];
    assert!(fine.contains(&found.as_str()), "{found}");
}

// The directory of sessions, whatever its access, is no jail's: with it a session could read what others have printed,
// or lead `creel rm` and `creel logs` to files of the host.
#[test]
fn no_jail_is_granted_the_directory_of_sessions() {
    let who = Who::User;
    let first = Session::named(who);
    let runtime = first.workspace.outside().join("runtime");
    std::fs::create_dir(&runtime).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&runtime, Some(uid), Some(gid)).expect("chown");
    let verb = |verb: &str, more: &[&str]| {
        let mut command = first.creel(verb);
        command.env("XDG_RUNTIME_DIR", &runtime).args(more);
        said(command)
    };
    let text = runtime.to_str().expect("text");
    let degraded = ["--allow-degraded", "cgroup"];
    let run = |grant: &str| {
        let mut flags = degraded.to_vec();
        flags.extend([grant, text, "--", "true"]);
        verb("run", &flags)
    };
    // Nothing is there yet, and a run that began now would see what comes.
    run("--read").status(125);
    let refused = run("--write").status(125);
    assert!(
        refused.err.contains("where the sessions are"),
        "{refused:?}"
    );
    let mut flags = vec!["one"];
    flags.extend(degraded);
    verb("create", &flags).ok();
    run("--read").status(125);
    let mut flags = vec!["two", "--write", text];
    flags.extend(degraded);
    verb("create", &flags).status(125);
    verb("rm", &["--force", "one"]).ok();
}

// A link in the store, or a directory of another user, is neither followed nor trusted.
each!(links_in_the_store_lead_nowhere);
fn links_in_the_store_lead_nowhere(who: Who) {
    let session = Session::new(who);
    let victim = session.workspace.write("victim/kept", "kept");
    let directory = victim.parent().expect("a directory");
    let store = session.directory();
    let store = store.parent().expect("the store");
    let name = format!("{}-link", session.name);
    std::os::unix::fs::symlink(directory, store.join(&name)).expect("a link");
    for verb in ["inspect", "logs", "stop", "jobs"] {
        let mut command = session.creel(verb);
        command.arg(&name);
        let refused = said(command);
        assert_eq!(refused.status, 125, "{verb}: {refused:?}");
    }
    let mut command = session.creel("rm");
    command.args(["--force", &name]);
    said(command).ok();
    assert_eq!(std::fs::read_to_string(&victim).expect("there"), "kept");
    assert!(!store.join(&name).is_symlink());
    // A job's output that is a link.
    std::os::unix::fs::symlink(&victim, session.directory().join("job-7")).expect("a link");
    let refused = session.verb("logs", &["7"]).status(125);
    assert!(!refused.out.contains("kept"), "{refused:?}");
}
