//! Ways in.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use crate::support::{Run, Who, Workspace, wait};

each!(a_published_port_reaches_a_server_in_the_jail_again_and_again);
fn a_published_port_reaches_a_server_in_the_jail_again_and_again(who: Who) {
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
    wait::until("an answer", || asked().is_ok_and(|said| said == b"hello"));
    // More than there are sockets: each is used again.
    for turn in 0..150 {
        assert_eq!(asked().expect("an answer"), b"hello", "{who:?} {turn}");
    }
    drop(jail);
    wait::until("nobody listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}

/// Either family outside, whichever the server in the jail has.
#[test]
fn a_port_is_published_in_both_families() {
    let workspace = Workspace::new(Who::User);
    for (address, inside) in [
        ("[::1]", "127.0.0.1"),
        ("[::1]", "::1"),
        ("127.0.0.1", "::1"),
    ] {
        let script = format!(
            "import socket\ns = socket.create_server(('{inside}', 7000), \
             family=socket.AF_INET6 if ':' in '{inside}' else socket.AF_INET)\n\
             while True:\n\
             \x20   c, _ = s.accept(); c.sendall(b'hello'); c.close()"
        );
        let port = free_port();
        let publish = format!("{address}:{port}:7000");
        let _jail = Ended(
            Run::new(Who::User, &workspace)
                .flags(["--publish", &publish])
                .command(["/usr/bin/python3", "-c", &script])
                .stdin(Stdio::null())
                .spawn()
                .expect("creel starts"),
        );
        let asked = || -> std::io::Result<String> {
            let mut said = String::new();
            TcpStream::connect(format!("{address}:{port}"))?.read_to_string(&mut said)?;
            Ok(said)
        };
        wait::until(&format!("{publish} {inside}"), || {
            asked().is_ok_and(|said| said == "hello")
        });
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

/// An operator's policy bounds what the command line asks, ways in among it.
#[test]
fn beneath_an_operators_policy_loopback_alone_is_published() {
    let workspace = Workspace::new(Who::User);
    let home = workspace.outside().join("config");
    let anyway = ["--publish", "0.0.0.0:18097:80", "--publish-anyway"];
    let run = |flags: &[&str]| {
        let run = Run::new(Who::User, &workspace).flags(flags);
        run.outer_env("XDG_CONFIG_HOME", &home).sh("echo began")
    };
    // The control: nobody has said anything.
    assert_eq!(run(&anyway).ok().stdout, "began\n");
    std::fs::create_dir_all(home.join("creel")).expect("mkdir");
    let policy = "extends = [\"default\"]\nallow_degraded = [\"cgroup\"]\n";
    std::fs::write(home.join("creel/policy.toml"), policy).expect("write");
    let refused = run(&anyway);
    assert_eq!((refused.status, refused.stdout.as_str()), (125, ""));
    let why = "--publish 0.0.0.0:18097: the platform's and operator's policies allow published ports on loopback only";
    assert!(refused.stderr.contains(why), "{refused:#?}");
    assert_eq!(run(&["--publish", "18097:80"]).ok().stdout, "began\n");
}

each!(a_port_that_somebody_has_ends_the_run_before_its_command);
/// The jail is built while the relay starts: what the relay cannot do is told, and no command begins.
fn a_port_that_somebody_has_ends_the_run_before_its_command(who: Who) {
    let workspace = Workspace::new(who);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let run = |port: u16| {
        let flag = format!("{port}:7000");
        let flags = ["--publish", &flag];
        Run::new(who, &workspace).flags(flags).sh("touch begun")
    };
    let begun = workspace.path().join("begun");
    for _ in 0..10 {
        let refused = run(port);
        assert_eq!(refused.status, 125, "{refused:#?}");
        let why = format!("--publish 127.0.0.1:{port}: ");
        assert!(refused.stderr.contains(&why), "{refused:#?}");
        assert!(!begun.exists(), "{who:?}");
    }
    drop(taken);
    run(port).ok();
    assert!(begun.exists(), "{who:?}");
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

/// So many are served at once for each family, and the others wait for their turn.
#[test]
fn more_connections_than_are_published_at_once_wait() {
    let workspace = Workspace::new(Who::User);
    // Says hello to everybody at once, and holds on until it is told to go.
    let script = "import socket, threading\n\
        s = socket.socket(); s.bind(('127.0.0.1', 7000)); s.listen(200)\n\
        def one(c): c.sendall(b'hello'); c.recv(1); c.sendall(b'bye'); c.close()\n\
        while True: threading.Thread(target=one, args=(s.accept()[0],), daemon=True).start()";
    let port = free_port();
    let publish = format!("{port}:7000");
    let jail = Ended(
        Run::new(Who::User, &workspace)
            .flags(["--publish", &publish])
            .command(["/usr/bin/python3", "-c", script])
            .stdin(Stdio::null())
            .spawn()
            .expect("creel starts"),
    );
    let greeted = |client: &mut TcpStream| {
        let mut said = [0; 5];
        client.read_exact(&mut said).is_ok() && said == *b"hello"
    };
    let connect = || TcpStream::connect(("127.0.0.1", port));
    // Somebody is there: one that is told to go at once.
    wait::until("a greeting", || {
        connect().is_ok_and(|mut client| greeted(&mut client))
    });
    let most = creel_plan::egress::PUBLISHED;
    let short = Some(std::time::Duration::from_millis(500));
    let (mut held, mut waiting) = (vec![], vec![]);
    for _ in 0..most + 3 {
        let mut client = connect().expect("accepted");
        client.set_read_timeout(short).expect("a time");
        match greeted(&mut client) {
            true => held.push(client),
            false => waiting.push(client),
        }
    }
    assert_eq!((held.len(), waiting.len()), (most, 3));
    // One goes, and one of those who waited is served.
    let mut first = held.remove(0);
    first.write_all(b"x").expect("told to go");
    let mut said = vec![];
    first.read_to_end(&mut said).expect("bye");
    assert_eq!(said, b"bye");
    drop(first);
    let served = waiting.iter_mut().filter_map(|c| greeted(c).then_some(()));
    assert_eq!(served.count(), 1);
    drop(jail);
}
