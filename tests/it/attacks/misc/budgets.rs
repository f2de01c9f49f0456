//! Budgets that a jail shares with the host, or with the user who started it: docs/security.md has
//! the table. What a jail can take of each is bounded, and what needs a whole budget is refused.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::attacks::{answers, attack, outside, script};
use crate::support::{Run, Who, Workspace};

/// Answers where one call would take of a budget of the whole host. Sizes and pointers are nonsense
/// that the kernel refuses in another way.
const REFUSED: &str = r#"
import mmap, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffff))
program = struct.pack('HxxxxxxQ', 1, ctypes.addressof(code))
say('filter', py(s.setsockopt, 1, 26, program))
say('filter_bpf', py(s.setsockopt, 1, 50, struct.pack('i', -1)))
say('reuseport', py(s.setsockopt, 1, 51, program))
say('reuseport_bpf', py(s.setsockopt, 1, 52, struct.pack('i', -1)))
say('filter_high', sc(54, s.fileno(), 1 | 1 << 32, 26 | 1 << 32, program, len(program)))
say('detach', py(s.setsockopt, 1, 27, 0))
context = ctypes.create_string_buffer(8)
say('aio', sc(206, 1, context))
say('aio_wait', sc(208, 0, 0, 0, 0, 0))
say('huge_map', sc(9, 0, 0, 3, 0x40022, -1, 0))
say('huge_memfd', sc(319, b'x', 4))
say('huge_shm', sc(29, 0, 0, 0o5600))
segment = raw(29, 0, 4096, 0o1600)
say('shm', sc(31, segment, 0, 0))
say('map', sc(9, 0, 4096, 3, 0x22, -1, 0))
"#;

each!(what_takes_of_a_budget_of_the_whole_host_is_refused);
fn what_takes_of_a_budget_of_the_whole_host_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    attack(Run::new(who, &workspace), REFUSED).expect(&[
        ("filter", "EPERM"),
        ("filter_bpf", "EPERM"),
        ("reuseport", "EPERM"),
        ("reuseport_bpf", "EPERM"),
        ("filter_high", "EPERM"),
        ("detach", "ENOENT"),
        ("aio", "ENOSYS"),
        ("aio_wait", "ENOSYS"),
        ("huge_map", "ENOMEM"),
        ("huge_memfd", "ENOSYS"),
        ("huge_shm", "ENOMEM"),
        ("shm", "OK"),
        ("map", "OK"),
    ]);
    let free = outside(who, &workspace.path(), REFUSED);
    free.expect(&[
        ("filter", "OK"),
        ("filter_bpf", "EBADF"),
        ("filter_high", "OK"),
        ("detach", "OK"),
        ("aio", "OK"),
        ("aio_wait", "EINVAL"),
        ("huge_map", "EINVAL"),
        ("huge_memfd", "OK"),
        ("huge_shm", "EINVAL"),
    ]);
}

/// Takes what there is of counts that the kernel also charges to who made the user namespace, says
/// how many, and keeps them until stdin ends. `most`: more than that is not tried.
const COUNTS: &str = r#"
def count(most, take):
    taken = 0
    while taken < most:
        answer = take()
        if answer != 'OK':
            return f'{taken} {answer}'
        taken += 1
    return f'{taken} OK'
most = int(os.environ.get('MOST', 1 << 30))
timer = ctypes.create_string_buffer(8)
say('inotify', count(most, lambda: sc(253)))
say('timers', count(most * 150, lambda: sc(222, 1, 0, timer)))
say('full', 'yes')
sys.stdin.read()
"#;

each!(the_counts_of_its_user_are_not_all_a_jails);
fn the_counts_of_its_user_are_not_all_a_jails(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    let mut command = run.command(["/usr/bin/python3", "-c", &script(COUNTS)]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut jail = command.spawn().expect("creel starts");
    let stdin = jail.stdin.take().expect("a pipe");
    let mut said = String::new();
    let mut lines = BufReader::new(jail.stdout.take().expect("a pipe"));
    while !said.contains("full=") && lines.read_line(&mut said).expect("a line") > 0 {}
    // While it has them, another program of the same user has more than a jail may take.
    let more = format!("os.environ['MOST'] = '40'\n{COUNTS}");
    let free = outside(who, &workspace.path(), &more);
    drop(stdin);
    assert!(jail.wait().expect("it ends").success());
    answers(&said).expect(&[("inotify", "32 EMFILE"), ("timers", "4096 EAGAIN")]);
    free.expect(&[("inotify", "40 OK"), ("timers", "6000 OK")]);
}

/// Bytes that lie in receive buffers of UDP sockets, as many as there is room for, and what came of
/// a TCP connection after that.
const BUFFERS: &str = r#"
import socket
kept, held = [], 0
for _ in range(300):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', 0))
    s.setblocking(False)
    s.connect(s.getsockname())
    kept.append(s)
    for _ in range(3):
        try:
            s.send(b'x' * 60000)
        except OSError:
            break
for s in kept:
    try:
        while True:
            held += len(s.recv(65536, socket.MSG_DONTWAIT))
    except OSError:
        pass
say('held', held)
listener = socket.create_server(('127.0.0.1', 0))
here = socket.create_connection(listener.getsockname())
there, _ = listener.accept()
here.sendall(b'x' * 10000)
say('tcp', len(there.recv(10000, socket.MSG_WAITALL)))
"#;

each!(socket_buffers_have_a_budget);
fn socket_buffers_have_a_budget(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags(["--memory", "64MiB"])
        .python(&script(BUFFERS));
    let receipt = ran.verdict["receipt"].to_string();
    if receipt.contains("\"v2: memory") && ran.kind() == "oom" {
        // v2 counts them in the memory itself.
        return;
    }
    let ran = ran.ok();
    let got = answers(&ran.stdout);
    let held: u64 = got.of("held").parse().expect("a number");
    got.expect(&[("tcp", "10000")]);
    if receipt.contains("v1: memory") {
        assert!(held < 16 << 20, "{held}");
        let sum = "16777216 bytes of socket buffers, 83886080 in all";
        assert!(receipt.contains(sum), "{receipt}");
        let peak = ran.verdict["usage"]["memory_peak"].as_u64();
        assert!(peak.is_some_and(|peak| peak > held), "{peak:?}");
    } else if receipt.contains("v2: memory") {
        assert!(held < 64 << 20, "{held}");
    } else {
        // No group, no budget: the control.
        assert!(held > 32 << 20, "the control proves nothing: {held}");
    }
}

/// How much of each there is before the kernel refuses more. Descriptors in flight go by 200.
const SHARES: &str = r#"
import socket
def count(take):
    taken = 0
    try:
        while taken < 20000:
            take()
            taken += 1
    except OSError as e:
        return f'{taken} {errno.errorcode[e.errno]}'
    return f'{taken} OK'
say('queue', sc(240, b'creel', 0o102, 0o600, 0))
say('lock', sc(149, raw(9, 0, 1 << 20, 3, 0x22, -1, 0), 1 << 20))
kept = []
say('terminals', count(lambda: kept.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))))
for fd in kept:
    os.close(fd)
kept = []
say('files', count(lambda: kept.append(os.dup(0))))
for fd in kept:
    os.close(fd)
pairs = []
def fly():
    if not pairs or pairs[-1][2] == 4:
        here, there = socket.socketpair()
        here.setblocking(False)
        pairs.append([here, there, 0])
    socket.send_fds(pairs[-1][0], [b'x'], [0] * 200)
    pairs[-1][2] += 1
say('flight', count(fly))
say('key', sc(248, b'user', b'x', b'x', 1, -3))
say('watch', sc(300, 0, 0))
say('namespace', sc(272, 0x10000000))
"#;

each!(shares_of_other_budgets_are_bounded);
fn shares_of_other_budgets_are_bounded(who: Who) {
    let workspace = Workspace::new(who);
    let text = r#"[filesystem]
workspace = "rw"
exec = ["/usr", { path = "/bin", optional = true }, { path = "/lib", optional = true }, { path = "/lib64", optional = true }]
[limits]
open_files = 1000
"#;
    let run = Run::new(who, &workspace).policy_text(&workspace, "few", text);
    let got = attack(run, SHARES);
    got.expect(&[
        ("queue", "EMFILE"),
        ("lock", "ENOMEM"),
        ("terminals", "256 ENOSPC"),
        ("key", "EPERM"),
        ("watch", "EPERM"),
        ("namespace", "EPERM"),
    ]);
    let (files, errno) = got.of("files").split_once(' ').expect("two words");
    assert_eq!(errno, "EMFILE");
    assert!(
        files.parse::<u32>().is_ok_and(|files| files < 1000),
        "{files}"
    );
    // The kernel looks before it counts: once more than the limit are in flight, none follow.
    let (flown, errno) = got.of("flight").split_once(' ').expect("two words");
    assert_eq!(errno, "ETOOMANYREFS");
    let flown: u32 = flown.parse().expect("a number");
    assert!((5..=7).contains(&flown), "{flown} times 200");
    // The control, of one: a queue is there to be had where the kernel has them.
    let free = outside(
        who,
        &workspace.path(),
        "say('queue', sc(240, b'creel-it-budget', 0o102, 0o600, 0))\nsay('gone', sc(241, b'creel-it-budget'))",
    );
    free.expect(&[("queue", "OK"), ("gone", "OK")]);
}

/// Messages that the kernel refuses with a copy of them, which nobody reads. The number of sockets is
/// the argument.
const ANSWERS: &str = r#"
import socket, struct, signal
message = struct.pack('IHHII', 30000, 0xfff0, 1, 1, 0).ljust(30000, b'x')
kept = []
for _ in range(int(sys.argv[1])):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.bind((0, 0))
    s.setblocking(False)
    kept.append(s)
    try:
        for _ in range(20):
            s.send(message)
    except OSError:
        pass
say('sent', 'OK')
if sys.argv[1] != '20':
    signal.pause()
"#;

#[test]
fn answers_that_nobody_reads_end_the_jail() {
    if !crate::support::is_root() {
        eprintln!("skipped: without a cgroup nobody bounds memory");
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let run = |sockets: &str| {
        Run::new(Who::Root, &workspace)
            .flags(["--memory", "64MiB", "--timeout", "60s"])
            .argv(["/usr/bin/python3", "-c", &script(ANSWERS), sockets])
    };
    // 5 MiB are within the budget; 60 MiB are not, and none of them is in the cgroup's count.
    assert_eq!(run("20").ok().stdout, "sent=OK\n");
    let ended = run("250");
    assert_eq!(ended.kind(), "oom", "{ended:#?}");
}

/// Connections that nobody accepts, closed by who made them. The arguments: how many, how many bytes each is
/// sent at most, the address, and bytes that the listener asks for as its buffer, if any.
const QUEUED: &str = r#"
import signal, socket
many, most, address, buffer = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
family = socket.AF_INET6 if ':' in address else socket.AF_INET
listeners = []
for n in range(many):
    if n % 500 == 0:
        s = socket.socket(family)
        if buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        s.bind((address, 0))
        s.listen(4096)
        listeners.append(s)
    c = socket.socket(family)
    c.connect(listeners[-1].getsockname())
    c.setblocking(False)
    left = most
    try:
        while left > 0:
            left -= c.send(b'x' * min(left, 1 << 16))
    except OSError:
        pass
    c.close()
say('queued', 'OK')
if sys.argv[5] == 'wait':
    signal.pause()
"#;

#[test]
fn connections_that_nobody_accepts_end_the_jail() {
    if !crate::support::is_root() {
        eprintln!("skipped: without a cgroup nobody bounds memory");
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let run = |arguments: [&str; 5]| {
        let script = script(QUEUED);
        let argv = ["/usr/bin/python3", "-c", &script].into_iter();
        Run::new(Who::Root, &workspace)
            .flags(["--memory", "64MiB", "--timeout", "60s"])
            .argv(argv.chain(arguments))
    };
    // The budget is 16 MiB, which the group's own count of sockets does not see: 5 MiB are within it.
    let within = ["100", "50000", "127.0.0.1", "0", "go"];
    assert_eq!(run(within).ok().stdout, "queued=OK\n");
    for beyond in [
        ["600", "100000", "127.0.0.1", "0", "wait"],
        ["600", "100000", "::1", "0", "wait"],
        // Few, as large as they may be; and many, in which nothing is.
        ["160", "1000000", "127.0.0.1", "1000000", "wait"],
        ["8000", "0", "127.0.0.1", "0", "wait"],
    ] {
        let ended = run(beyond);
        assert_eq!(ended.kind(), "oom", "{beyond:?} {ended:#?}");
    }
}
