//! What code execution in the relay would be worth: the drill of a parser that was taken over. Each
//! attempt fails with the layer's errno, and succeeds in the same process before it is confined.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use creel::sys::attempt::{self, at, c, call};
use creel::sys::{Errno, confine, landlock};

/// Runs `body` in a process of its own; it returns what was wrong.
fn in_child(body: impl FnOnce() -> Vec<String>) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let pid = attempt::fork(|| {
        let text = body().join("\n");
        // The pipe is all that a confined process has left.
        let _ = rustix::io::write(&writer, text.as_bytes());
        0
    })
    .expect("fork");
    drop(writer);
    let said = std::io::read_to_string(reader).expect("a text");
    creel::sys::process::reap(pid).expect("a child");
    assert_eq!(said, "");
}

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
                    creel::sys::process::exit(1);
                }
                creel::sys::process::reap(pid as i32).map(|_| pid)
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

#[test]
fn a_relay_that_was_taken_over_opens_runs_and_reaches_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let granted = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (closed_at, granted_at) = (
        closed.local_addr().expect("an address"),
        granted.local_addr().expect("an address"),
    );
    // Landlock restricts TCP from ABI 4 on; before it the relay's ports are not bounded.
    let ports = landlock::abi() >= 4;
    in_child(|| {
        let mut wrong = vec![];
        let all = attempts(closed_at);
        for (what, _, act) in &all {
            if let Err(errno) = act() {
                wrong.push(format!("before: {what}: {errno:?}"));
            }
        }
        if let Err(errno) = confine::for_good([granted_at.port()].into_iter()) {
            wrong.push(format!("confine: {errno:?}"));
        }
        for (what, expected, act) in &all {
            if *expected == Errno::ACCESS && !ports {
                continue;
            }
            match act() {
                Err(errno) if errno == *expected => {}
                other => wrong.push(format!("after: {what}: {other:?}, not {expected:?}")),
            }
        }
        if let Err(error) = TcpStream::connect(granted_at) {
            wrong.push(format!("after: a granted port: {error}"));
        }
        if rustix::process::geteuid().is_root() {
            wrong.push("after: still root".into());
        }
        wrong
    });
    assert!(closed.as_raw_fd() > 2);
}

/// Landlock restricts UDP from ABI 10 on: before it, and unconfined, any free port can be bound. Datagrams
/// go to any port, since a relay answers where it is asked from.
#[test]
fn a_relay_binds_no_udp_port_of_its_own_choice_and_answers_at_any() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (asker, own) = (
        peer.local_addr().expect("an address"),
        free.local_addr().expect("an address"),
    );
    drop(free);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let act = move |confined: &str| {
        let any = UdpSocket::bind("127.0.0.1:0");
        let sent = any.and_then(|socket| socket.send_to(b"x", asker));
        let bound = match UdpSocket::bind(own) {
            Ok(_) => "bound".to_owned(),
            Err(error) => format!("{:?}", Errno::from_io_error(&error)),
        };
        format!("{confined}: sent {:?}, {bound}; ", sent.ok())
    };
    let pid = attempt::fork(|| {
        let before = act("before");
        let text = match confine::for_good(std::iter::empty()) {
            Ok(()) => before + &act("after") + "done",
            Err(errno) => format!("not confined: {errno:?}"),
        };
        let _ = rustix::io::write(&writer, text.as_bytes());
        0
    })
    .expect("fork");
    drop(writer);
    let said = std::io::read_to_string(reader).expect("a text");
    let (change, _) = creel::sys::process::reap(pid).expect("a child");
    let refused = match landlock::abi() {
        0..10 => "bound".to_owned(),
        _ => format!("{:?}", Some(Errno::ACCESS)),
    };
    assert_eq!(
        said,
        format!("before: sent Some(1), bound; after: sent Some(1), {refused}; done")
    );
    assert_eq!(change, creel::sys::process::Change::Exited(0));
}
