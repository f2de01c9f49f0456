//! Asking systemd's user manager for a cgroup: the conversation, on a real bus with a stand-in for
//! the manager, and with peers that are no manager and no bus. `scripts/kernels` has the whole, where
//! the scope is a cgroup.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use creel_jail::scope::{ScopeError, ask};
use creel_sys::bus::Bus;

use crate::support::manager::{self, Answer};
use crate::support::{need, wait};

/// A bus of the test's own, gone when dropped.
struct Daemon {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("bus");
        let address = format!("unix:path={}", socket.display());
        let configuration = directory.path().join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/></policy></busconfig>"
        );
        std::fs::write(&configuration, text).expect("write");
        let child = Command::new(need("dbus-daemon"))
            .arg("--nofork")
            .arg(format!("--config-file={}", configuration.display()))
            .stdin(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts");
        wait::until("a bus", || UnixStream::connect(&socket).is_ok());
        Daemon {
            child,
            address,
            _directory: directory,
        }
    }

    fn ask(&self, patience: Duration) -> Result<(), ScopeError> {
        let mut bus = Bus::connect(&self.address, patience).expect("a bus");
        ask(&mut bus, "creel-0a1b.scope", 4711)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_scope_is_asked_for_with_this_process_in_it_and_delegated() {
    let daemon = Daemon::start();
    let calls = manager::start(&daemon.address, Answer::Job("done"), Box::new(|_| {}));
    daemon.ask(PATIENCE).expect("granted");
    let call = calls.recv_timeout(PATIENCE).expect("a call");
    assert_eq!(call.name, "creel-0a1b.scope");
    assert_eq!((call.mode.as_str(), call.auxiliary), ("fail", 0));
    let value = |name: &str| call.properties[name].to_string();
    assert_eq!(value("Delegate"), "true");
    assert_eq!(value("PIDs"), "[uint32 4711]");
    assert_eq!(value("CollectMode"), "\"inactive-or-failed\"");
    assert!(value("Description").contains("creel"));
    assert_eq!(call.properties.len(), 4);
}

#[test]
fn a_refusal_is_told_in_the_managers_words() {
    let daemon = Daemon::start();
    let words = "Interactive authentication required.";
    let _calls = manager::start(&daemon.address, Answer::Refusal(words), Box::new(|_| {}));
    match daemon.ask(PATIENCE) {
        Err(ScopeError::Refused(said)) => assert_eq!(said, words),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bus_without_a_manager_is_a_refusal() {
    match Daemon::start().ask(PATIENCE) {
        Err(ScopeError::Refused(said)) => {
            assert!(said.contains("org.freedesktop.systemd1"), "{said}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_that_fails_is_no_scope() {
    let daemon = Daemon::start();
    let _calls = manager::start(&daemon.address, Answer::Job("failed"), Box::new(|_| {}));
    match daemon.ask(PATIENCE) {
        Err(ScopeError::Job(result)) => assert_eq!(result, "failed"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn silence_is_waited_for_no_longer_than_said() {
    let patience = Duration::from_millis(300);
    let in_time = |start: Instant| {
        let took = start.elapsed();
        assert!(took >= patience && took < patience * 4, "{took:?}");
    };
    // A job that never ends.
    let daemon = Daemon::start();
    let _calls = manager::start(&daemon.address, Answer::Never, Box::new(|_| {}));
    let start = Instant::now();
    assert!(matches!(daemon.ask(patience), Err(ScopeError::Silent)));
    in_time(start);
    // A peer that says nothing at all, and one that never comes to an end.
    for drip in [&b""[..], b"O"] {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let peer = std::thread::spawn(move || {
            while theirs.write_all(drip).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
                // It ends with the other end.
                theirs.set_nonblocking(true).expect("fcntl");
                let mut bytes = [0; 64];
                while theirs.read(&mut bytes).is_ok_and(|length| length > 0) {}
                if matches!(theirs.read(&mut bytes), Ok(0)) {
                    break;
                }
            }
        });
        let start = Instant::now();
        let said = ask(&mut Bus::over(ours, patience), "creel-0a1b.scope", 4711);
        assert!(matches!(said, Err(ScopeError::Silent)), "{said:?}");
        in_time(start);
        peer.join().expect("the peer ends");
    }
}

/// Answer of a peer after the handshake, and creel's reading of it.
fn answered(handshake: &[u8], bytes: &[u8]) -> Result<(), ScopeError> {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(handshake).expect("write");
    theirs.write_all(bytes).expect("write");
    theirs
        .shutdown(std::net::Shutdown::Write)
        .expect("shutdown");
    ask(&mut Bus::over(ours, PATIENCE), "creel-0a1b.scope", 4711)
}

#[test]
fn garbage_is_refused_and_nothing_panics() {
    let ok = b"OK 0123456789abcdef0123456789abcdef\r\n";
    for (handshake, bytes) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], &b""[..]),
        (b"ERROR\r\n", b""),
        (ok, b"no message at all, but long enough"),
        // A length that is none, a kind that is none, fields that lie.
        (
            ok,
            b"l\x02\x01\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff",
        ),
        (ok, b"l\x09\x01\x01\0\0\0\0\x01\0\0\0\0\0\0\0"),
        (
            ok,
            b"l\x02\x01\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\x05\x01u\0\0\0\0\0",
        ),
        (
            ok,
            b"l\x02\x01\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        (ok, b"l\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0"),
    ] {
        let said = answered(handshake, bytes);
        assert!(
            matches!(said, Err(ScopeError::Garbage)),
            "{}: {said:?}",
            bytes.escape_ascii()
        );
    }
    let said = answered(b"REJECTED EXTERNAL\r\n", b"");
    assert!(matches!(said, Err(ScopeError::Rejected)), "{said:?}");
    let said = answered(b"", b"");
    assert!(matches!(said, Err(ScopeError::Unreachable(_))), "{said:?}");
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_panics(mut bytes in prop::collection::vec(any::<u8>(), 16..200), little: bool) {
            bytes[0] = if little { b'l' } else { b'B' };
            // Lengths that fit, so that the rest is looked at.
            let (fields, body) = ((bytes.len() - 16) as u32, 0u32);
            let number = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
            bytes[4..8].copy_from_slice(&number(body));
            bytes[12..16].copy_from_slice(&number(fields));
            bytes[1] = 1 + bytes[1] % 5;
            bytes.resize(16 + (fields as usize).next_multiple_of(8), 0);
            let said = answered(b"OK 0123\r\n", &bytes);
            prop_assert!(said.is_err());
        }
    }
}
