//! Connections to published ports, and the limits that they have in common with those that go out.

use std::io::Read as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use creel_egress::gate::Gate;
use creel_egress::publish::{self, Store};
use creel_policy::net::Limits;
use creel_policy::{Bytes, Count, Span};
use creel_sys::net::{self as kernel, Family};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::{LOOPBACK, gate, listen, local, network, sourced};

const ECONNRESET: Option<i32> = Some(104);

/// A port that leads to a server's, by so many sockets.
async fn publish(limits: Limits, server: u16, sockets: usize) -> (Rc<Gate>, SocketAddr) {
    let gate = gate(network(vec![], limits));
    let store = Rc::new(Store::default());
    for _ in 0..sockets {
        let socket = kernel::unconnected(Family::V4).expect("a socket");
        store.put(Family::V4, socket.expect("of IPv4"));
    }
    let (front, port) = listen().await;
    let ports = (front.local_addr().expect("its address"), server);
    spawn_local(publish::serve(Rc::clone(&gate), store, front, ports));
    (gate, SocketAddr::new(LOOPBACK, port))
}

/// Sends back what it hears.
async fn echo() -> u16 {
    let (server, port) = listen().await;
    spawn_local(async move {
        loop {
            let (mut one, _) = server.accept().await.expect("a connection");
            spawn_local(async move {
                let (mut read, mut write) = one.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

/// Bytes that a client gets back of so many, and how the connection ends.
async fn sends(to: SocketAddr, bytes: usize) -> (usize, Option<i32>) {
    let client = TcpStream::connect(to).await.expect("a connection");
    let (mut read, mut write) = client.into_split();
    let sent = spawn_local(async move {
        let _ = write.write_all(&vec![b'x'; bytes]).await;
        let _ = write.shutdown().await;
    });
    let (mut back, mut buffer) = (0, vec![0; 16 << 10]);
    let ended = loop {
        match read.read(&mut buffer).await {
            Ok(0) => break None,
            Ok(read) => back += read,
            Err(error) => break error.raw_os_error(),
        }
    };
    sent.await.expect("no panic");
    (back, ended)
}

fn why(gate: &Gate) -> String {
    let summary = gate.records.summary();
    let [one] = summary.as_slice() else {
        panic!("{summary:?}");
    };
    let last = one.why.clone();
    last.map_or_else(String::new, |last| last.text)
}

#[test]
fn bytes_count_as_those_of_a_way_out() {
    local(async {
        let server = echo().await;
        let most = Some(sourced(Bytes(200_000)));
        let out = Limits {
            bytes_out: most.clone(),
            ..Limits::default()
        };
        let into = Limits {
            bytes_in: most,
            ..Limits::default()
        };
        for (limits, name) in [(out, "bytes_out"), (into, "bytes_in")] {
            let (gate, to) = publish(limits, server, 2).await;
            // The control: as much as that passes.
            assert_eq!(sends(to, 150_000).await, (150_000, None), "{name}");
            let (back, ended) = sends(to, 150_000).await;
            assert_eq!(ended, ECONNRESET, "{name}");
            assert!(back <= 50_000, "{name} {back}");
            assert_eq!(sends(to, 1000).await, (0, ECONNRESET), "{name}");
            let why = why(&gate);
            assert!(why.contains(&format!("network.limits.{name}")), "{why}");
        }
        let (gate, to) = publish(Limits::default(), server, 2).await;
        for _ in 0..3 {
            assert_eq!(sends(to, 150_000).await, (150_000, None));
        }
        let summary = gate.records.summary();
        assert_eq!(
            (summary[0].bytes_in, summary[0].bytes_out),
            (450_000, 450_000)
        );
        assert_eq!((summary[0].allowed, summary[0].refused), (3, 0));
    });
}

/// Whether what a client says comes back.
async fn answered(client: &mut TcpStream) -> Result<(), Option<i32>> {
    let answer = async {
        client.write_all(b"x").await?;
        client.read_exact(&mut [0; 1]).await
    };
    answer.await.map(drop).map_err(|e| e.raw_os_error())
}

#[test]
fn who_is_silent_makes_room_for_who_waits() {
    local(async {
        let server = echo().await;
        let limits = |idle| Limits {
            idle: Some(sourced(Span(idle))),
            ..Limits::default()
        };
        let short = Duration::from_secs(2);
        for (idle, waits) in [(400, true), (600_000, false)] {
            // One socket for all.
            let (gate, to) = publish(limits(idle), server, 1).await;
            let mut silent = TcpStream::connect(to).await.expect("a connection");
            answered(&mut silent).await.expect("an answer");
            let mut waiting = TcpStream::connect(to).await.expect("a connection");
            match waits {
                true => {
                    let error = silent.read(&mut [0; 1]).await.expect_err("a reset");
                    assert_eq!(error.raw_os_error(), ECONNRESET);
                    assert!(why(&gate).contains("network.limits.idle"));
                    // It waited as long, and may have been sent away too: another is served.
                    drop(waiting);
                    let mut next = TcpStream::connect(to).await.expect("a connection");
                    answered(&mut next).await.expect("an answer");
                }
                // The control: it keeps the socket, and the other waits.
                false => {
                    assert!(timeout(short, answered(&mut waiting)).await.is_err());
                    answered(&mut silent).await.expect("an answer");
                }
            }
        }
    });
}

/// The socket of a connection that a server never takes in is not lost.
#[test]
fn a_server_that_takes_nobody_in_costs_no_socket() {
    local(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((LOOPBACK, 0).into()).expect("an address");
        let server = socket.listen(1).expect("a listener");
        let address = server.local_addr().expect("its address");
        // Connections for which its backlog has room (listen(2)), and no more.
        let mut full = vec![];
        while let Ok(one) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            full.push(one.expect("a connection"));
        }
        let limits = Limits {
            idle: Some(sourced(Span(500))),
            ..Limits::default()
        };
        let (gate, to) = publish(limits, address.port(), 1).await;
        assert_eq!(sends(to, 1).await, (0, ECONNRESET));
        assert!(why(&gate).contains("network.limits.idle"));
        for _ in &full {
            server.accept().await.expect("a connection");
        }
        // The control: by the same socket, once somebody is taken in.
        let mut client = TcpStream::connect(to).await.expect("a connection");
        client.write_all(b"hello").await.expect("a write");
        let (mut inside, _) = server.accept().await.expect("a connection");
        let mut said = [0; 5];
        inside.read_exact(&mut said).await.expect("a read");
        assert_eq!(&said, b"hello");
    });
}

#[test]
fn published_connections_are_of_the_limit_on_connections() {
    local(async {
        let server = echo().await;
        let limits = Limits {
            connections: Some(sourced(Count(1))),
            ..Limits::default()
        };
        let (gate, to) = publish(limits, server, 2).await;
        let mut first = TcpStream::connect(to).await.expect("a connection");
        answered(&mut first).await.expect("an answer");
        assert_eq!(sends(to, 1).await, (0, ECONNRESET));
        assert!(why(&gate).contains("network.limits.connections"));
        // The control: there is room for one.
        answered(&mut first).await.expect("an answer");
        drop(first);
        let mut next = sends(to, 1).await;
        while next.1.is_some() {
            next = sends(to, 1).await;
        }
        assert_eq!(next, (1, None));
    });
}

/// Connections of this port that were accepted: the others have no inode (proc_pid_net(5)).
fn accepted(port: u16) -> usize {
    let mut text = String::new();
    let mut table = std::fs::File::open("/proc/self/net/tcp").expect("a table");
    table.read_to_string(&mut text).expect("a table");
    let own = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].ends_with(&own) && words[3] == "01" && words[9] != "0"
    };
    text.lines().skip(1).filter(is_one).count()
}

#[test]
fn clients_beyond_the_places_wait_in_the_backlog() {
    local(async {
        let server = echo().await;
        // One is served, the others wait.
        let (_gate, to) = publish(Limits::default(), server, 1).await;
        let mut clients = vec![];
        for (connected, held) in [(10, 10), (200, 129)] {
            while clients.len() < connected {
                clients.push(TcpStream::connect(to).await.expect("a connection"));
            }
            let mut before = usize::MAX;
            while before != accepted(to.port()) {
                before = accepted(to.port());
                // Nothing tells of those that do not come.
                sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(before, held, "of {connected}");
        }
        answered(&mut clients[0]).await.expect("an answer");
    });
}
