//! One connection from its first bytes on: what is spoken is judged before any of it leaves (E6).

use std::rc::Rc;
use std::time::Duration;

use creel_egress::gate::{Gate, Pass};
use creel_egress::resolve::Resolver;
use creel_egress::{Way, tunnel};
use creel_policy::net::{Host, Limits, Protocol};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;

use super::hello::{named, records, with};
use super::{LOOPBACK, admit, gate, gate_with, listen, local, name, network, pair, rules};

/// A client whose connection was admitted, and the server that it is for.
struct Carried {
    gate: Rc<Gate>,
    client: TcpStream,
    server: TcpListener,
}

impl Carried {
    async fn new(protocol: Protocol, host: Option<&str>) -> Carried {
        let (server, port) = listen().await;
        let names = ["a.example", "b.example"];
        let gate = gate(network(rules(port, protocol, &names), Limits::default()));
        let pass = match host {
            None => admit(&gate, port).await,
            Some(host) => {
                let host = Host::Name(name(host));
                let admitted = gate.admit(Way::Transparent, host, port).await;
                admitted.expect("it is granted")
            }
        };
        Carried::of(gate, server, pass, vec![]).await
    }

    async fn of(gate: Rc<Gate>, server: TcpListener, pass: Pass, early: Vec<u8>) -> Carried {
        let (client, inside) = pair().await;
        spawn_local(tunnel::carry(pass, inside, early));
        Carried {
            gate,
            client,
            server,
        }
    }

    async fn accept(&self) -> TcpStream {
        self.server.accept().await.expect("the relay dials").0
    }

    async fn says(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.expect("a write");
    }

    /// Bytes of the client that the server has.
    async fn arrives(&mut self, bytes: &[u8]) {
        self.says(bytes).await;
        let mut server = self.accept().await;
        hears(&mut server, bytes).await;
        server.write_all(b"answer").await.expect("a write");
        hears(&mut self.client, b"answer").await;
    }

    /// The alert, if it is TLS, and the end; nobody was dialled. `why`: `CODE: ` and a part of the text.
    async fn refused(&mut self, bytes: &[u8], alert: Option<u8>, why: &str) {
        self.says(bytes).await;
        let mut read = vec![];
        let end = self.client.read_to_end(&mut read).await;
        match alert {
            Some(alert) => assert_eq!(read, [21, 3, 3, 0, 2, 2, alert], "{why}"),
            None => {
                let error = end.expect_err("a reset");
                assert_eq!(error.raw_os_error(), Some(104), "ECONNRESET: {why}");
            }
        }
        let dialled = tokio::time::timeout(Duration::from_millis(50), self.server.accept());
        assert!(dialled.await.is_err(), "{why}: the server was dialled");
        let sums = self.gate.records.summary();
        let last = sums.iter().find_map(|sum| sum.why.clone());
        let last = last.expect("a refusal");
        let (code, text) = why.split_once(": ").expect("a code and a text");
        assert_eq!(last.reason.code.as_str(), code, "{last:?}");
        assert!(last.text.contains(text), "{last:?}");
    }
}

/// The next bytes are these.
async fn hears(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.expect("a read");
    assert!(read == bytes, "{}", read.escape_ascii());
}

#[test]
fn the_granted_name_goes_through_byte_for_byte() {
    local(async {
        let hello = with(&[(0, &named(b"a.example"))]);
        let cut = [
            &records(&hello[5..], 7)[..],
            b"\x14\x03\x03\0\x01\x01 early data",
        ]
        .concat();
        for protocol in [Protocol::Tls, Protocol::Auto] {
            for bytes in [&hello, &cut] {
                let mut carried = Carried::new(protocol, Some("a.example")).await;
                carried.arrives(bytes).await;
            }
        }
        // Another spelling of the same name.
        let mut carried = Carried::new(Protocol::Tls, Some("a.example")).await;
        carried.arrives(&with(&[(0, &named(b"A.EXAMPLE."))])).await;
    });
}

#[test]
fn a_hello_in_many_segments_is_read_whole_before_any_leaves() {
    local(async {
        let hello = with(&[(0, &named(b"a.example"))]);
        let mut carried = Carried::new(Protocol::Tls, Some("a.example")).await;
        carried.client.set_nodelay(true).expect("nodelay");
        let (last, first) = hello.split_last().expect("bytes");
        for byte in first {
            carried.says(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        let early = tokio::time::timeout(Duration::from_millis(50), carried.server.accept());
        assert!(early.await.is_err());
        carried.says(&[*last]).await;
        hears(&mut carried.accept().await, &hello).await;
    });
}

/// Each at a port of its own and at one where anything may be spoken.
#[test]
fn every_mismatch_is_refused_before_anybody_is_dialled() {
    let a = named(b"a.example");
    let cases: [(Vec<u8>, u8, &str); 9] = [
        (
            with(&[(0, &named(b"b.example"))]),
            112,
            "net-server-name-other: which was not granted",
        ),
        (
            with(&[(0, &named(b"a.example.evil.example"))]),
            112,
            "net-server-name-other: which was not granted",
        ),
        (
            with(&[(0, &named(b"a.example\0.evil.example"))]),
            112,
            "net-server-name-malformed: server name",
        ),
        (
            with(&[(0, &named(b"127.0.0.1"))]),
            112,
            "net-server-name-malformed: server name",
        ),
        (
            with(&[(16, b"\0\x03\x02h2")]),
            112,
            "net-server-name-missing: no server name",
        ),
        (with(&[(0, &a), (0, &a)]), 50, "net-hello: twice"),
        (
            with(&[(0, &a), (0xfe0d, &[0; 60])]),
            49,
            "net-encrypted-hello: ECH",
        ),
        (
            b"\x80\x2e\x01\x03\x03\0\x15".to_vec(),
            50,
            "net-hello: SSLv2",
        ),
        (
            b"\x15\x03\x01\0\x02\x01\0".to_vec(),
            50,
            "net-hello: a record of another type",
        ),
    ];
    local(async {
        for protocol in [Protocol::Tls, Protocol::Auto] {
            for (bytes, alert, why) in &cases {
                let mut carried = Carried::new(protocol, Some("a.example")).await;
                carried.refused(bytes, Some(*alert), why).await;
            }
        }
    });
}

/// In half of a hello nothing is clear, and nothing leaves.
#[test]
fn a_hello_without_its_end_is_refused() {
    local(async {
        let hello = with(&[(0, &named(b"a.example"))]);
        let mut carried = Carried::new(Protocol::Tls, Some("a.example")).await;
        let (part, _) = hello.split_at(40);
        carried.says(part).await;
        carried.client.shutdown().await.expect("the end");
        carried.refused(b"", Some(50), "net-hello: lengths").await;
    });
}

/// A range was granted: without a name there is nothing to compare, with one it must be granted too.
#[test]
fn an_address_with_a_server_name_needs_the_name_granted() {
    local(async {
        for bytes in [with(&[]), with(&[(0, &named(b"b.example"))])] {
            let mut carried = Carried::new(Protocol::Tls, None).await;
            carried.arrives(&bytes).await;
        }
        let mut carried = Carried::new(Protocol::Tls, None).await;
        let other = with(&[(0, &named(b"c.example"))]);
        carried
            .refused(
                &other,
                Some(112),
                "net-server-name-unlisted: no rule allows",
            )
            .await;
    });
}

/// SSH, SMTP, MySQL: the server says the first word.
#[test]
fn a_server_may_speak_first() {
    local(async {
        let mut carried = Carried::new(Protocol::Auto, None).await;
        let mut server = carried.accept().await;
        server.write_all(b"220 ready\r\n").await.expect("a write");
        hears(&mut carried.client, b"220 ready\r\n").await;
        for said in [&b"EHLO client.example\r\n"[..], b"STARTTLS\r\n"] {
            carried.says(said).await;
            hears(&mut server, said).await;
        }
        drop(server);
        assert_eq!(carried.client.read(&mut [0]).await.expect("the end"), 0);
    });
}

/// Somebody types a password: a client has time until its first byte, and from that on ten seconds.
#[test]
fn a_client_may_be_silent_for_long() {
    local(async {
        let mut first = Carried::new(Protocol::Auto, None).await;
        let mut second = Carried::new(Protocol::Tls, Some("a.example")).await;
        let hello = with(&[(0, &named(b"a.example"))]);
        // The control: half a first word.
        let half = hello[..9].to_vec();
        let third = spawn_local(async move {
            let mut third = Carried::new(Protocol::Tls, Some("a.example")).await;
            third
                .refused(
                    &half,
                    None,
                    "net-undetected: did not show its protocol within 10 seconds",
                )
                .await;
        });
        let mut server = first.accept().await;
        server.write_all(b"220 ready\r\n").await.expect("a write");
        hears(&mut first.client, b"220 ready\r\n").await;
        // The relay's own time, and more.
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        first.says(b"EHLO client.example\r\n").await;
        hears(&mut server, b"EHLO client.example\r\n").await;
        second.arrives(&hello).await;
        third.await.expect("no panic");
    });
}

/// The client says nothing at all and reads what there is (RFC 867).
#[test]
fn a_client_may_say_nothing() {
    local(async {
        for close in [true, false] {
            let mut carried = Carried::new(Protocol::Auto, None).await;
            if close {
                carried.client.shutdown().await.expect("a half-close");
            }
            let mut server = carried.accept().await;
            server.write_all(b"today").await.expect("a write");
            drop(server);
            let mut read = vec![];
            carried.client.read_to_end(&mut read).await.expect("a read");
            assert_eq!(read, b"today");
        }
    });
}

/// A connection whose server spoke first carries no request: its `Host` would be judged by nobody.
#[test]
fn no_request_follows_a_server_that_spoke_first() {
    local(async {
        let mut carried = Carried::new(Protocol::Auto, None).await;
        let mut server = carried.accept().await;
        server.write_all(b"x").await.expect("a write");
        hears(&mut carried.client, b"x").await;
        let request = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        carried
            .refused(request, None, "net-server-first: the server spoke first")
            .await;
        let mut read = vec![];
        let _ = server.read_to_end(&mut read).await;
        assert_eq!(read, b"");
    });
}

/// At a port where anything may be spoken: what servers could read as a request has its `Host` judged,
/// or is refused, however odd it is and in however many pieces it comes.
#[test]
fn every_line_that_a_server_could_take_for_a_request_is_read_strictly() {
    local(async {
        let blank = "\r\n".repeat(4096);
        let long = "A".repeat(65);
        let odd = [
            "GET / HTTP/1.1\r\n",
            "GET\x0b/\x0bHTTP/1.1\r\n",
            "GET\x0c/ HTTP/1.1\r\n",
            "GET /\r\n",
            "\x0bGET / HTTP/1.1\r\n",
            "GET /\rHTTP/1.1\r\n",
            &format!("{long} / HTTP/1.1\r\n"),
            &format!("{}GET / HTTP/1.1\r\n", &blank[..8190]),
            &format!("{blank}GET / HTTP/1.1\r\n"),
            &format!("{blank}{blank}GET / HTTP/1.1\r\n"),
        ];
        for line in odd {
            for cut in [0, 3, 8192] {
                let mut carried = Carried::new(Protocol::Auto, Some("a.example")).await;
                let text = format!("{line}Host: evil.example\r\n\r\n");
                let cut = cut.min(text.len() - 1);
                let (one, two) = text.as_bytes().split_at(cut);
                carried.client.write_all(one).await.expect("a write");
                // For the relay to read this alone, which nothing tells of.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = carried.client.write_all(two).await;
                let mut answer = vec![];
                let _ = carried.client.read_to_end(&mut answer).await;
                let answer = String::from_utf8_lossy(&answer);
                let what = line.trim_start().as_bytes().escape_ascii().to_string();
                let refused = answer.starts_with("HTTP/1.1 4") || answer.is_empty();
                assert!(refused, "{what} {cut}: {answer}");
                // If the client waits first, the server may be dialled, and receives nothing.
                let dialled = Duration::from_millis(20);
                if let Ok(Ok((mut server, _))) =
                    tokio::time::timeout(dialled, carried.server.accept()).await
                {
                    let mut heard = vec![];
                    let _ = server.read_to_end(&mut heard).await;
                    let heard = String::from_utf8_lossy(&heard);
                    assert_eq!(heard, "", "{what} {cut}");
                }
            }
        }
        // The control: another protocol, and the Host that was granted.
        let mut carried = Carried::new(Protocol::Auto, Some("a.example")).await;
        carried.arrives(b"EHLO client.example\r\n").await;
        let mut carried = Carried::new(Protocol::Auto, Some("a.example")).await;
        let port = carried.server.local_addr().expect("its address").port();
        let get = format!("GET / HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        carried
            .client
            .write_all(get.as_bytes())
            .await
            .expect("a write");
        let mut server = carried.accept().await;
        let mut read = [0; 14];
        server.read_exact(&mut read).await.expect("a read");
        assert_eq!(&read, b"GET / HTTP/1.1");
    });
}

/// A resolver that takes its time.
struct Slow(UdpSocket);

impl Slow {
    /// Waits until the name is asked for, lets `meanwhile` pass, and says that it is loopback's.
    async fn answer(&self, meanwhile: impl Future<Output = ()>) {
        let mut asked = vec![];
        // Either family.
        while asked.len() < 2 {
            let mut bytes = [0; 512];
            let (length, from) = self.0.recv_from(&mut bytes).await.expect("a question");
            asked.push((Message::from_vec(&bytes[..length]).expect("one"), from));
        }
        meanwhile.await;
        for (question, from) in asked {
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            answer.metadata.message_type = MessageType::Response;
            let query = question.queries[0].clone();
            if query.query_type() == RecordType::A {
                let data = RData::A(A(std::net::Ipv4Addr::LOCALHOST));
                answer.add_answer(Record::from_rdata(query.name().clone(), 5, data));
            }
            answer.add_query(query);
            let answer = answer.to_vec().expect("an answer");
            self.0.send_to(&answer, from).await.expect("it is sent");
        }
    }
}

/// If the client speaks late, the server is dialled before; that connection is then the one that it
/// has, and the server never sees another.
#[test]
fn a_client_that_speaks_while_its_server_is_dialled_is_one_connection() {
    local(async {
        let (server, port) = listen().await;
        let request = format!("GET / HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        let other = with(&[(0, &named(b"b.example"))]);
        let cases: [(&[u8], &[u8]); 4] = [
            (&with(&[(0, &named(b"a.example"))]), b"\x16\x03"),
            (request.as_bytes(), b"GET / HTTP/1.1\r\n"),
            (b"\0\0\0\x08words", b"\0\0\0\x08words"),
            // It is refused, and nothing of it leaves.
            (&other, b""),
        ];
        for (said, arrives) in cases {
            let slow = Slow(UdpSocket::bind((LOOPBACK, 0)).await.expect("a socket"));
            let resolver = Resolver::with(vec![slow.0.local_addr().expect("its address")]);
            let policy = network(
                rules(port, Protocol::Auto, &["a.example"]),
                Limits::default(),
            );
            let gate = gate_with(policy, resolver);
            let host = Host::Name(name("a.example"));
            let admitted = gate.admit(Way::Transparent, host, port).await;
            let (mut client, inside) = pair().await;
            let pass = admitted.expect("it is granted");
            spawn_local(tunnel::carry(pass, inside, vec![]));
            slow.answer(async {
                client.write_all(said).await.expect("a write");
                // The relay hears it before it has an address to dial.
                tokio::time::sleep(Duration::from_millis(20)).await;
            })
            .await;
            let (mut only, _) = server.accept().await.expect("the relay dials");
            hears(&mut only, arrives).await;
            let another = tokio::time::timeout(Duration::from_millis(50), server.accept());
            assert!(another.await.is_err(), "{said:?}: it is dialled twice");
            if arrives.is_empty() {
                let mut read = vec![];
                only.read_to_end(&mut read).await.expect("the end");
                assert_eq!(read, b"");
            }
        }
    });
}

#[test]
fn nobody_looks_where_a_rule_says_tcp() {
    local(async {
        for bytes in [
            with(&[(0, &named(b"c.example"))]),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let mut carried = Carried::new(Protocol::Tcp, None).await;
            carried.arrives(&bytes).await;
        }
    });
}

/// Bytes that a proxy read beyond its own request go first.
#[test]
fn early_bytes_are_judged_and_go_first() {
    local(async {
        let hello = with(&[(0, &named(b"c.example"))]);
        for (protocol, allowed) in [(Protocol::Tcp, true), (Protocol::Tls, false)] {
            let (server, port) = listen().await;
            let gate = gate(network(rules(port, protocol, &[]), Limits::default()));
            let pass = admit(&gate, port).await;
            let (early, rest) = hello.split_at(9);
            let mut carried = Carried::of(gate, server, pass, early.to_vec()).await;
            if !allowed {
                carried
                    .refused(rest, Some(112), "net-server-name-unlisted: no rule allows")
                    .await;
                continue;
            }
            carried.says(rest).await;
            hears(&mut carried.accept().await, &hello).await;
        }
    });
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    local(async {
        let mut carried = Carried::new(Protocol::Tcp, None).await;
        // The listener goes before the relay has had its turn.
        let (gone, _) = listen().await;
        drop(std::mem::replace(&mut carried.server, gone));
        let error = carried.client.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.raw_os_error(), Some(104), "ECONNRESET");
        let sum = &carried.gate.records.summary()[0];
        let last = sum.why.as_ref().expect("a refusal");
        assert_eq!(last.reason.code.as_str(), "net-connection-refused");
        assert!(last.text.contains("the host does not answer"), "{last:?}");
    });
}
