//! Connections and datagrams to an address, in a network namespace where every address is local.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use creel_egress::gate::Gate;
use creel_egress::resolve::Resolver;
use creel_egress::{transparent, udp};
use creel_policy::net::{Limits, Protocol};
use creel_sys::net as kernel;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket as Datagrams};
use tokio::task::{spawn_blocking, spawn_local};

use super::{LOOPBACK, gate, gate_with, listen, local, name, network, rules};
use crate::support::is_root;

/// Runs `inside` in a network namespace of its own thread's, in which every address is local.
fn in_a_network<T: Send + 'static>(inside: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        kernel::new_namespace().expect("a namespace");
        for words in [
            "link set lo up",
            "route add local default dev lo",
            "-6 route add local default dev lo",
        ] {
            let status = Command::new("ip").args(words.split(' ')).status();
            assert!(status.expect("ip(8) is there").success(), "{words}");
        }
        inside()
    });
    thread.join().expect("no panic")
}

/// Result of `connect` for a client inside: its errno, or the bytes up to the end.
fn reads(to: SocketAddr, from: &Inside) -> impl Future<Output = Result<Vec<u8>, Option<i32>>> {
    use std::io::Read as _;
    let client = from.connect(to);
    let read = spawn_blocking(move || {
        let mut client = client.map_err(|e| e.raw_os_error())?;
        let mut read = vec![];
        match client.read_to_end(&mut read) {
            Ok(_) => Ok(read),
            Err(error) => Err(error.raw_os_error()),
        }
    });
    async { read.await.expect("no panic") }
}

/// A thread that stays in the namespace and connects there.
struct Inside {
    ask: std::sync::mpsc::Sender<Ask>,
    tcp: std::net::TcpListener,
    udp: UdpSocket,
    client: UdpSocket,
}

type Ask = (
    SocketAddr,
    std::sync::mpsc::Sender<std::io::Result<TcpStream>>,
);

impl Inside {
    /// With a listener and a datagram socket of the port, both of any address.
    fn new(port: u16) -> Inside {
        let (ask, asked) = std::sync::mpsc::channel::<Ask>();
        let (tcp, udp, client) = in_a_network(move || {
            let any = SocketAddr::from(([0u16; 8], port));
            let tcp = std::net::TcpListener::bind(any).expect("a listener");
            let udp = UdpSocket::bind(any).expect("a socket");
            let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            for set in [tcp.set_nonblocking(true), udp.set_nonblocking(true)] {
                set.expect("nonblocking");
            }
            let patience = Some(Duration::from_secs(5));
            client.set_read_timeout(patience).expect("a time");
            // This thread's namespace is inherited by one that it starts.
            thread::spawn(move || {
                for (to, tell) in asked {
                    let _ = tell.send(TcpStream::connect(to));
                }
            });
            (tcp, udp, client)
        });
        Inside {
            ask,
            tcp,
            udp,
            client,
        }
    }

    fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let (tell, told) = std::sync::mpsc::channel();
        self.ask.send((to, tell)).expect("the thread lives");
        told.recv().expect("the thread answers")
    }
}

/// The synthetic addresses of a name.
fn addresses(gate: &Gate, of: &str) -> [IpAddr; 2] {
    let given = gate.names.borrow_mut().address(&name(of));
    let given = given.expect("there is room");
    [given.v4.into(), given.v6.into()]
}

#[test]
fn a_synthetic_address_leads_to_its_name_and_nothing_else_does() {
    if !is_root() {
        eprintln!("skipped: a network namespace without a user namespace needs root");
        return;
    }
    local(async {
        let (server, port) = listen().await;
        let gate = gate(network(
            rules(port, Protocol::Tcp, &["a.example"]),
            Limits::default(),
        ));
        let Inside {
            ask,
            tcp,
            udp,
            client,
        } = Inside::new(port);
        let listener = TcpListener::from_std(tcp).expect("a listener");
        spawn_local(transparent::serve(Rc::clone(&gate), listener));
        let tcp = std::net::TcpListener::bind((LOOPBACK, 0)).expect("not used");
        let inside = Inside {
            ask,
            tcp,
            udp,
            client,
        };
        spawn_local(async move {
            loop {
                let (mut client, _) = server.accept().await.expect("a connection");
                client.write_all(b"hello").await.expect("a write");
            }
        });
        for address in addresses(&gate, "a.example") {
            let to = SocketAddr::new(address, port);
            assert_eq!(reads(to, &inside).await, Ok(b"hello".to_vec()), "{to}");
        }
        let [other, _] = addresses(&gate, "b.example");
        for address in [
            other,
            Ipv4Addr::new(93, 184, 216, 34).into(),
            Ipv4Addr::new(198, 19, 255, 1).into(),
            LOOPBACK,
            "::1".parse().expect("an address"),
            "::ffff:127.0.0.1".parse().expect("an address"),
            "2001:db8::1".parse().expect("an address"),
        ] {
            let to = SocketAddr::new(address, port);
            assert_eq!(reads(to, &inside).await, Err(Some(104)), "ECONNRESET: {to}");
        }
        // Nobody listens at another port.
        let to = SocketAddr::new(LOOPBACK, port ^ 1);
        assert_eq!(reads(to, &inside).await, Err(Some(111)), "ECONNREFUSED");
    });
}

#[test]
fn datagrams_go_to_a_granted_name_and_their_answers_come_from_it() {
    if !is_root() {
        eprintln!("skipped: a network namespace without a user namespace needs root");
        return;
    }
    local(async {
        let server = Datagrams::bind((LOOPBACK, 0)).await.expect("a socket");
        let port = server.local_addr().expect("its address").port();
        let mut granted = rules(port, Protocol::Udp, &["a.example"]);
        granted.extend(rules(port, Protocol::Tcp, &["t.example"]));
        let gate = gate(network(granted, Limits::default()));
        let Inside {
            udp: socket,
            client,
            ..
        } = Inside::new(port);
        let socket = Datagrams::from_std(socket).expect("a socket");
        spawn_local(udp::serve(Rc::clone(&gate), socket));
        let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
        spawn_local(async move {
            let mut buffer = [0; 100];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.expect("a datagram");
                heard.send(buffer[..length].to_vec()).expect("a listener");
                let answer = [b"re: ", &buffer[..length]].concat();
                server.send_to(&answer, from).await.expect("an answer");
            }
        });
        let [a, _] = addresses(&gate, "a.example");
        let [b, _] = addresses(&gate, "b.example");
        // One that is granted for TCP alone is not for datagrams.
        let [t, _] = addresses(&gate, "t.example");
        let asked = spawn_blocking(move || {
            for (to, said) in [(b, "to b"), (t, "to t"), (a, "one"), (a, "two")] {
                let to = SocketAddr::new(to, port);
                client.send_to(said.as_bytes(), to).expect("it is sent");
            }
            let mut buffer = [0; 100];
            let mut hear = || {
                let (length, from) = client.recv_from(&mut buffer).expect("an answer");
                (
                    String::from_utf8_lossy(&buffer[..length]).into_owned(),
                    from,
                )
            };
            [hear(), hear()]
        });
        let from = SocketAddr::new(a, port);
        let answers = asked.await.expect("no panic");
        assert_eq!(
            answers,
            [("re: one".into(), from), ("re: two".into(), from)]
        );
        assert_eq!(hears.recv().await, Some(b"one".to_vec()));
        assert_eq!(hears.recv().await, Some(b"two".to_vec()));
        assert!(hears.try_recv().is_err());
        let refused: Vec<String> = gate
            .records
            .summary()
            .into_iter()
            .filter(|sum| sum.refused > 0)
            .map(|sum| sum.host)
            .collect();
        assert_eq!(refused, ["b.example", "t.example"]);
    });
}

/// Flows to names that nobody resolves hold what they have sent; there is a bound on it, and one whose name
/// is known goes its way beside them.
#[test]
fn datagrams_that_wait_for_a_name_are_bounded_and_delay_nobody() {
    if !is_root() {
        eprintln!("skipped: a network namespace without a user namespace needs root");
        return;
    }
    local(async {
        let server = Datagrams::bind((LOOPBACK, 0)).await.expect("a socket");
        let port = server.local_addr().expect("its address").port();
        let slow: Vec<String> = (0..200).map(|n| format!("n{n}.slow.example")).collect();
        let names: Vec<&str> = slow.iter().map(String::as_str).collect();
        let granted = [names.as_slice(), &["a.example"]].concat();
        let policy = network(rules(port, Protocol::Udp, &granted), Limits::default());
        // It hears every question and answers none.
        let silent = Datagrams::bind((LOOPBACK, 0)).await.expect("a socket");
        let resolver = Resolver::with(vec![silent.local_addr().expect("its address")]);
        resolver.add([(name("a.example"), vec![LOOPBACK])].into());
        let gate = gate_with(policy, resolver);
        let Inside {
            udp: socket,
            client,
            ..
        } = Inside::new(port);
        let socket = Datagrams::from_std(socket).expect("a socket");
        spawn_local(udp::serve(Rc::clone(&gate), socket));
        spawn_local(async move {
            let mut buffer = [0; 2000];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.expect("a datagram");
                let sent = server.send_to(&buffer[..length], from).await;
                sent.expect("an answer");
            }
        });
        let slow = slow.iter().map(|name| addresses(&gate, name)[0]);
        let slow: Vec<IpAddr> = slow.collect();
        let [a, _] = addresses(&gate, "a.example");
        let asked = spawn_blocking(move || {
            for to in [slow.as_slice(); 5].concat() {
                let to = SocketAddr::new(to, port);
                client.send_to(&[0; 60_000], to).expect("it is sent");
                thread::sleep(Duration::from_micros(500));
            }
            let mut buffer = [0; 2000];
            let mut hear = |said: &[u8]| {
                // Packets through the network may be lost: the relay is busy.
                let short = Some(Duration::from_millis(200));
                client.set_read_timeout(short).expect("a time");
                (0..20).any(|_| {
                    let sent = client.send_to(said, (a, port)).expect("it is sent");
                    let heard = client.recv_from(&mut buffer);
                    heard.is_ok_and(|(length, _)| length == sent)
                })
            };
            [hear(b"one"), hear(&[0; 1400])]
        });
        assert_eq!(asked.await.expect("no panic"), [true, true]);
        let held = gate.meter.datagrams.shared();
        // The control: they do hold much.
        assert!(((6 << 20)..=(8 << 20)).contains(&held), "{held}");
    });
}
