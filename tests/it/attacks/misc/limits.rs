//! Ways round a limit.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use creel_sys::attempt::{c, set_limit};

use crate::attacks::{attack, outside};
use crate::support::{Run, Who, Workspace, grouped, jail_is_reaped, state_of, wait};

each!(a_command_that_stops_itself_does_not_stop_the_clock);
fn a_command_that_stops_itself_does_not_stop_the_clock(who: Who) {
    let workspace = Workspace::new(who);
    // A child goes on while the command, and once upon a time its supervisor, stands still.
    let code = "(while :; do date +%s%N > beat; sleep 0.05; done) & kill -STOP $$; wait";
    let flags = ["--timeout", "1s"];
    let mut command = Run::new(who, &workspace)
        .flags(flags)
        .command(["/bin/sh", "-c", code]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("creel");
    let creel = child.id();
    wait::until("it ends or stops", || {
        matches!(state_of(creel), Some('Z' | 'T'))
    });
    let stopped = state_of(creel) == Some('T');
    let _ = child.kill();
    let status = child.wait().expect("wait");
    assert_eq!((stopped, status.code()), (false, Some(124)));
    assert!(workspace.path().join("beat").exists());
}

each!(a_pipe_that_was_sent_out_does_not_keep_creel_waiting);
fn a_pipe_that_was_sent_out_does_not_keep_creel_waiting(who: Who) {
    let workspace = Workspace::new(who);
    let path = workspace.path().join("late.sock");
    // An accomplice on the host, who keeps what the jail sends.
    let (there, ready) = (path.clone(), workspace.path().join("ready"));
    let accomplice = std::thread::spawn(move || {
        wait::until("the jail is ready", || ready.exists());
        let listener = UnixListener::bind(&there).expect("bind");
        std::fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("chmod");
        std::fs::write(there.with_extension("ok"), "").expect("write");
        let (stream, _) = listener.accept().expect("accept");
        // The descriptor lies in the socket's queue, received by nobody, closed with it.
        stream
    });
    let code = "import socket, array, os, time\nopen('ready', 'w').close()\nwhile not os.path.exists('late.ok'): time.sleep(0.005)\n\
        s = socket.socket(socket.AF_UNIX); s.connect('late.sock')\n\
        s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1, 2]))])\nprint('last words', flush=True)";
    let code = crate::attacks::script(code);
    let mut command = Run::new(who, &workspace).command(["/usr/bin/python3", "-c", &code]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("creel");
    assert!(wait::end(&mut child).success());
    let mut said = [0; 32];
    let length = child
        .stdout
        .take()
        .expect("a pipe")
        .read(&mut said)
        .expect("read");
    assert_eq!(&said[..length], b"last words\n");
    drop(accomplice.join().expect("the accomplice"));
}

each!(everything_is_delivered_to_a_slow_reader_after_the_end);
fn everything_is_delivered_to_a_slow_reader_after_the_end(who: Who) {
    let workspace = Workspace::new(who);
    let mut command = Run::new(who, &workspace).command([
        "/bin/sh",
        "-c",
        "touch begun; head -c 65536 /dev/zero; head -c 1000 /dev/zero >&2",
    ]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("creel");
    let begun = workspace.path().join("begun");
    wait::until("the jail ends", || {
        begun.exists() && jail_is_reaped(child.id())
    });
    let mut bytes = vec![];
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_to_end(&mut bytes)
        .expect("read");
    assert_eq!(bytes.len(), 65536);
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_end(&mut bytes)
        .expect("read");
    assert_eq!(bytes.len(), 66536);
    assert!(child.wait().expect("creel ends").success());
}

each!(pids_are_counted_however_they_detach);
fn pids_are_counted_however_they_detach(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let body = r#"
made, answer = 0, 'OK'
for _ in range(200):
    try:
        pid = os.fork()
    except OSError as e:
        answer = errno.errorcode[e.errno]
        break
    if pid == 0:
        os.setsid()
        try:
            if os.fork(): os._exit(0)
        except OSError:
            pass
        time.sleep(30)
    made += 1
    time.sleep(0.002)
say('answer', answer)
say('below', made < 60)
"#;
    let ran = Run::new(who, &workspace)
        .flags(["--pids", "24"])
        .python(&crate::attacks::script(body));
    let got = crate::attacks::answers(&ran.stdout);
    got.expect(&[("answer", "EAGAIN"), ("below", "True")]);
    let got = attack(Run::new(who, &workspace).flags(["--pids", "450"]), body);
    got.expect(&[("answer", "OK")]);
}

each!(every_writable_tmpfs_has_a_size_and_a_number_of_inodes);
fn every_writable_tmpfs_has_a_size_and_a_number_of_inodes(who: Who) {
    let workspace = Workspace::new(who);
    let body = r#"
def fill(path):
    def go():
        with open(path, 'wb', 0) as f:
            for _ in range(9): f.write(b'x' * 1048576)
    answer = py(go)
    py(os.unlink, path)
    return answer
for name, d in [('tmp', '/tmp'), ('home', os.path.expanduser('~')), ('shm', '/dev/shm'), ('var_tmp', '/var/tmp')]:
    say(name, fill(d + '/big'))
    size = os.statvfs(d)
    say(name + '_inodes', 0 < size.f_files <= 70000)
for d in ['/', '/dev', '/etc', '/run', '/var', '/dev/pts', '/proc']:
    say('write_' + d, opened(d + '/x', os.O_CREAT | os.O_WRONLY) in ('EROFS', 'EACCES', 'ENOENT'))
"#;
    let got = attack(Run::new(who, &workspace).flags(["--disk", "8MiB"]), body);
    for name in ["tmp", "home", "shm", "var_tmp"] {
        got.expect(&[(name, "ENOSPC"), (&format!("{name}_inodes"), "True")]);
    }
    for dir in ["/", "/dev", "/etc", "/run", "/var", "/dev/pts", "/proc"] {
        got.expect(&[(&format!("write_{dir}"), "True")]);
    }
    let got = attack(Run::new(who, &workspace).flags(["--disk", "32MiB"]), body);
    got.expect(&[("tmp", "OK"), ("home", "OK"), ("shm", "OK")]);
}

each!(one_jail_cannot_have_every_pseudoterminal);
fn one_jail_cannot_have_every_pseudoterminal(who: Who) {
    let workspace = Workspace::new(who);
    let body = r#"
held, answer = [], 'OK'
for _ in range(400):
    try:
        held.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
    except OSError as e:
        answer = errno.errorcode[e.errno]
        break
say('answer', answer)
say('some', 8 < len(held) <= 256)
"#;
    attack(Run::new(who, &workspace), body).expect(&[("answer", "ENOSPC"), ("some", "True")]);
}

each!(resource_limits_do_not_go_up_again);
fn resource_limits_do_not_go_up_again(who: Who) {
    let workspace = Workspace::new(who);
    let body = r#"
import resource as r
for name in ['NOFILE', 'FSIZE', 'CPU', 'CORE', 'MEMLOCK', 'MSGQUEUE']:
    which = getattr(r, 'RLIMIT_' + name, 12)
    soft, hard = r.getrlimit(which)
    def up():
        try:
            r.setrlimit(which, (soft, hard + 1))
        except ValueError as e:
            raise OSError(errno.EPERM, '')
    say(name, py(up))
    say(name + '_down', py(lambda: r.setrlimit(which, (soft, hard))))
# From the worst, which anybody may take: the jail may have been started at the best.
say('nicer', py(os.setpriority, os.PRIO_PROCESS, 0, 19))
say('nice', py(os.setpriority, os.PRIO_PROCESS, 0, 18))
say('fifo', py(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)))
say('mq', sc(240, b'q', 0o102, 0o600, 0))
say('oom', wrote('/proc/self/oom_score_adj', b'-1000'))
"#;
    let got = attack(Run::new(who, &workspace), body);
    for name in ["NOFILE", "FSIZE", "CPU", "CORE", "MEMLOCK", "MSGQUEUE"] {
        got.expect(&[(name, "EPERM"), (&format!("{name}_down"), "OK")]);
    }
    got.expect(&[("nicer", "OK"), ("nice", "EACCES"), ("fifo", "EPERM")]);
    got.expect(&[("mq", "EMFILE"), ("oom", "EACCES")]);
}

each!(a_caller_that_may_go_before_others_does_not_hand_that_on);
/// Sound's group may take real-time priorities on most desktops (limits.conf(5)), and `nice` starts
/// what it likes: neither is the jail's to use.
fn a_caller_that_may_go_before_others_does_not_hand_that_on(who: Who) {
    let body = r#"
say('nicer', py(os.setpriority, os.PRIO_PROCESS, 0, 19))
say('nice', py(os.setpriority, os.PRIO_PROCESS, 0, -20))
say('fifo', py(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)))
"#;
    // SAFETY: integers; concerns this thread and what it starts.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } != 0 {
        eprintln!("skipped in part: starting at the best nice value needs CAP_SYS_NICE");
    }
    let raised = [(c::RLIMIT_NICE, 40), (c::RLIMIT_RTPRIO, 99)]
        .into_iter()
        .all(|(which, most)| set_limit(which, most, most).is_ok());
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), body);
    got.expect(&[("nicer", "OK"), ("nice", "EACCES"), ("fifo", "EPERM")]);
    if !raised {
        eprintln!("skipped in part: raising RLIMIT_NICE needs CAP_SYS_RESOURCE");
        return;
    }
    // The control: the same caller, without a jail.
    let got = outside(who, &workspace.path(), body);
    got.expect(&[("nicer", "OK"), ("nice", "OK"), ("fifo", "OK")]);
}

each!(a_caller_with_real_time_does_not_hand_that_on);
/// A limit on the processor binds ordinary scheduling alone (sched(7)).
fn a_caller_with_real_time_does_not_hand_that_on(who: Who) {
    let body = r#"
say('policy', os.sched_getscheduler(0))
say('class', raw(252, 1, 0) >> 13)
"#;
    let first = libc::sched_param { sched_priority: 1 };
    let (real_time, level_0) = (1, 1 << 13);
    // SAFETY: integers and a parameter that outlives the call; concerns this thread and what it starts.
    let raised = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) == 0
            && libc::syscall(libc::SYS_ioprio_set, real_time, 0, level_0) == 0
    };
    assert!(
        raised,
        "real-time needs CAP_SYS_NICE: {}",
        std::io::Error::last_os_error()
    );
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), body);
    got.expect(&[("policy", "0"), ("class", "0")]);
    // The control: the same caller, without a jail.
    let got = outside(who, &workspace.path(), body);
    got.expect(&[("policy", "1"), ("class", "1")]);
}
