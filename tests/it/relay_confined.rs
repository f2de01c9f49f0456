//! Code execution in the relay: the drill of a parser that was taken over. Each
//! attempt fails with the layer's errno, and succeeds in the same process before it is confined.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use creel_sys::attempt::{at, c, call};
use creel_sys::landlock::Dials;
use creel_sys::process::{Change, exit, reap};
use creel_sys::{Errno, confine, landlock};

use crate::support::drill::{Drill, say};
use crate::support::is_root;

type Attempt = (&'static str, Errno, Box<dyn Fn() -> Result<usize, Errno>>);

fn attempts(closed: SocketAddr) -> Vec<Attempt> {
    let path = c"/etc/passwd";
    let program = c"/bin/true";
    let none = [std::ptr::null::<u8>()];
    vec![
        (
            "open a file",
            Errno::NOSYS,
            Box::new(move || call(c::SYS_openat, &[c::AT_FDCWD as usize, at(path), 0, 0])),
        ),
        (
            "run a program in a copy of itself",
            Errno::NOSYS,
            Box::new(move || {
                let pid = call(c::SYS_clone, &[c::SIGCHLD as usize, 0, 0, 0, 0])?;
                if pid == 0 {
                    let _ = call(c::SYS_execve, &[at(program), at(&none), at(&none)]);
                    exit(1);
                }
                match reap(pid as i32)? {
                    (Change::Exited(0), _) => Ok(pid),
                    _ => Err(Errno::CHILD),
                }
            }),
        ),
        (
            "a socket of the filesystem",
            Errno::PERM,
            Box::new(|| {
                call(
                    c::SYS_socket,
                    &[c::AF_UNIX as usize, c::SOCK_STREAM as usize, 0],
                )
            }),
        ),
        (
            "a netlink socket",
            Errno::PERM,
            Box::new(|| {
                call(
                    c::SYS_socket,
                    &[c::AF_NETLINK as usize, c::SOCK_RAW as usize, 0],
                )
            }),
        ),
        (
            "signal its parent",
            Errno::NOSYS,
            Box::new(|| {
                let parent = call(c::SYS_getppid, &[]).unwrap_or(1);
                call(c::SYS_kill, &[parent, 0])
            }),
        ),
        (
            "memory that can be executed",
            Errno::PERM,
            Box::new(|| {
                let flags = (c::MAP_PRIVATE | c::MAP_ANONYMOUS) as usize;
                let all = (c::PROT_READ | c::PROT_WRITE | c::PROT_EXEC) as usize;
                call(c::SYS_mmap, &[0, 4096, all, flags, usize::MAX, 0])
            }),
        ),
        (
            "a port that no rule names",
            Errno::ACCESS,
            Box::new(move || match TcpStream::connect(closed) {
                Ok(_) => Ok(0),
                Err(e) => Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
            }),
        ),
        (
            "listen for others",
            Errno::ACCESS,
            Box::new(|| match TcpListener::bind("127.0.0.1:0") {
                Ok(_) => Ok(0),
                Err(e) => Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
            }),
        ),
    ]
}

/// Tries all before and after it is confined. What was wrong is a line.
pub fn drill(ports: &[String]) {
    let address = |port: &String| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap_or(0)));
    let (closed, granted) = (address(&ports[0]), address(&ports[1]));
    // Landlock restricts TCP from ABI 4 on; before it the relay's ports are not bounded.
    let bounded = landlock::abi() >= 4;
    let all = attempts(closed);
    for (what, _, act) in &all {
        if let Err(errno) = act() {
            say(&format!("before: {what}: {errno:?}"));
        }
    }
    if let Err(errno) = confine::for_good(&Dials::Ports([granted.port()].into())) {
        say(&format!("confine: {errno:?}"));
    }
    for (what, expected, act) in &all {
        if *expected == Errno::ACCESS && !bounded {
            continue;
        }
        match act() {
            Err(errno) if errno == *expected => {}
            other => say(&format!("after: {what}: {other:?}, not {expected:?}")),
        }
    }
    if let Err(error) = TcpStream::connect(granted) {
        say(&format!("after: a granted port: {error}"));
    }
    say(CONFINED);
    // Its ids are no business of a confined process; the test reads them from outside, and then
    // closes this.
    let _ = call(c::SYS_read, &[0, at(&[0u8; 1]), 1]);
}

const CONFINED: &str = "confined";

#[test]
fn a_relay_that_was_taken_over_opens_runs_and_reaches_nothing() {
    let port = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let number = |port: &TcpListener| port.local_addr().expect("an address").port().to_string();
    let (closed, granted) = (port(), port());
    let mut drill = Drill::start("relay", &[&number(&closed), &number(&granted)]);
    drill.hear(CONFINED);
    let status = std::fs::read_to_string(format!("/proc/{}/status", drill.pid())).expect("status");
    assert_eq!(drill.finish(), [CONFINED]);
    let is = |field: &str, value: &str| {
        let line = status.lines().find(|line| line.starts_with(field));
        let words = line.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
        assert_eq!(words, Some(value.split_whitespace().collect()), "{status}");
    };
    if is_root() {
        is("Uid:", "65534 65534 65534 65534");
        is("Gid:", "65534 65534 65534 65534");
        is("Groups:", "");
    }
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        // A process without a right over the bounding set keeps it, and gains nothing by it.
        if is_root() || set != "CapBnd:" {
            is(set, "0000000000000000");
        }
    }
    is("NoNewPrivs:", "1");
    is("Seccomp:", "2");
    is("Threads:", "1");
}

/// Sends a datagram to one port and binds another, before it is confined and after.
pub fn udp_drill(ports: &[String]) {
    let address = |port: &String| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap_or(0)));
    let (asker, own) = (address(&ports[0]), address(&ports[1]));
    let act = |when: &str| {
        let any = UdpSocket::bind("127.0.0.1:0");
        let sent = any.and_then(|socket| socket.send_to(b"x", asker));
        let bound = UdpSocket::bind(own).map_err(|error| Errno::from_io_error(&error));
        say(&format!(
            "{when}: sent {:?}, bound {:?}",
            sent.ok(),
            bound.err()
        ));
    };
    act("before");
    if let Err(errno) = confine::for_good(&Dials::Ports([].into())) {
        say(&format!("confine: {errno:?}"));
    }
    act("after");
}

/// Landlock restricts UDP from ABI 10 on: before it, and unconfined, any free port can be bound. Datagrams
/// go to any port, since a relay answers where it is asked from.
#[test]
fn a_relay_binds_no_udp_port_of_its_own_choice_and_answers_at_any() {
    let port = || UdpSocket::bind("127.0.0.1:0").expect("a port");
    let number = |port: &UdpSocket| port.local_addr().expect("an address").port().to_string();
    let (asker, own) = (port(), port());
    let (asked, free) = (number(&asker), number(&own));
    drop(own);
    let said = Drill::start("relay's UDP", &[&asked, &free]).finish();
    let refused = match landlock::abi() {
        0..10 => "None",
        _ => &format!("{:?}", Some(Some(Errno::ACCESS))),
    };
    let after = format!("after: sent Some(1), bound {refused}");
    assert_eq!(said, ["before: sent Some(1), bound None", &after]);
}
