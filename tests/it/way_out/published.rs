//! Ways in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use super::until;
use crate::support::{Run, Who, Workspace};

#[test]
fn a_published_port_reaches_a_server_in_the_jail_again_and_again() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        let script = "import socket\n\
            s = socket.socket(); s.bind(('127.0.0.1', 7000)); s.listen()\n\
            for i in range(200):\n\
            \x20   c, _ = s.accept(); c.sendall(c.recv(100)); c.close()";
        let port = free_port();
        let publish = format!("{port}:7000");
        let jail = Ended(
            Run::new(who, &workspace)
                .flags(["--publish", &publish])
                .command(["/usr/bin/python3", "-c", script])
                .stdin(Stdio::null())
                .spawn()
                .expect("creel starts"),
        );
        let asked = || -> std::io::Result<Vec<u8>> {
            let mut client = TcpStream::connect(("127.0.0.1", port))?;
            client.write_all(b"hello")?;
            let mut said = vec![];
            client.read_to_end(&mut said)?;
            Ok(said)
        };
        assert!(
            until(|| asked().is_ok_and(|said| said == b"hello")),
            "{who:?}"
        );
        // More than there are sockets: each is used again.
        for turn in 0..150 {
            assert_eq!(asked().expect("an answer"), b"hello", "{who:?} {turn}");
        }
        drop(jail);
        assert!(
            until(|| TcpStream::connect(("127.0.0.1", port)).is_err()),
            "{who:?}"
        );
    }
}

/// Ends with the test, however that ends.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_wildcard_address_is_published_only_on_purpose() {
    let workspace = Workspace::new(Who::User);
    let flags = ["--publish", "0.0.0.0:18099:80"];
    let ran = Run::new(Who::User, &workspace).flags(flags).sh("true");
    assert_eq!(ran.status, 125);
    assert!(ran.stderr.contains("--publish-anyway"), "{ran:#?}");
    let flags = ["--publish", "0.0.0.0:18099:80", "--publish-anyway"];
    Run::new(Who::User, &workspace).flags(flags).sh("true").ok();
}

#[test]
fn publishing_gives_no_way_out() {
    let workspace = Workspace::new(Who::User);
    let port = free_port().to_string();
    let ran = Run::new(Who::User, &workspace)
        .flags(["--publish", &port])
        .python(
            "import socket, errno\n\
         try: socket.create_connection(('93.184.216.34', 443), 3)\n\
         except OSError as e: print(errno.errorcode[e.errno])",
        );
    assert_eq!(ran.ok().stdout, "ENETUNREACH\n");
}
