//! Bodies, trailers, events and changed protocols go through as they come, on connections as if there
//! were no relay.

use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{self, Local};
use super::*;

#[test]
fn a_body_of_any_length_arrives_as_it_was_sent() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        let many = 48 << 20;
        let mut client = world
            .transparent("good.example", outside.port, Version::One)
            .await;
        let (port, host) = (outside.port, "good.example");
        let get = format!(
            "GET /bytes?{many} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        );
        client.write_all(get.as_bytes()).await.unwrap();
        let mut got = vec![];
        client.read_to_end(&mut got).await.unwrap();
        let sum = chunks(&got);
        assert_eq!(sum, (many, server::expected(many)));

        let mut client = world.transparent(host, port, Version::One).await;
        let head = format!(
            "POST /sum HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {many}\r\nConnection: close\r\n\r\n"
        );
        let (mut read, mut write) = client.split();
        let send = async {
            write.write_all(head.as_bytes()).await.unwrap();
            let mut left = many;
            while left > 0 {
                let length = left.min(16 << 10);
                let chunk = vec![(left >> 10) as u8; length as usize];
                write.write_all(&chunk).await.unwrap();
                left -= length;
            }
        };
        let (answer, ()) = tokio::join!(rest(&mut read), send);
        assert!(
            answer.ends_with(&format!("{many} {}", server::expected(many))),
            "{answer}"
        );
        drop(world.log);
    });
}

/// The length and the checksum of a chunked answer's body.
fn chunks(answer: &[u8]) -> (u64, String) {
    use sha2::{Digest as _, Sha256};

    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let mut rest = &answer[head + 4..];
    let (mut hash, mut length) = (Sha256::new(), 0);
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (length, server::hex(&hash.finalize()));
        }
        hash.update(&rest[end + 2..end + 2 + size]);
        length += size as u64;
        rest = &rest[end + 2 + size + 2..];
    }
}

#[test]
fn events_arrive_while_the_server_goes_on() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        let mut client = world
            .transparent("127.0.0.1", outside.port, Version::One)
            .await;
        let get = format!(
            "GET /events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n",
            outside.port
        );
        client.write_all(get.as_bytes()).await.unwrap();
        let mut got = String::new();
        for number in 0..3 {
            let event = format!("data: {number}\n\n");
            while !got.contains(&event) {
                let mut bytes = [0; 256];
                let length = client.read(&mut bytes).await.unwrap();
                got += std::str::from_utf8(&bytes[..length]).unwrap();
            }
            let next = format!("data: {}\n\n", number + 1);
            assert!(!got.contains(&next), "{got}");
        }
    });
}

#[test]
fn trailers_and_chunks_go_both_ways() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        let host = format!("good.example:{}", outside.port);
        let client = world
            .transparent("good.example", outside.port, Version::One)
            .await;
        let post = format!(
            "POST /sum HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\
             Connection: close\r\n\r\n5\r\nhello\r\n0\r\nx-end: yes\r\n\r\n"
        );
        let answer = say(client, post.as_bytes()).await;
        assert!(
            answer.contains("5 ") && answer.contains("x-end=yes"),
            "{answer}"
        );

        let client = world
            .transparent("good.example", outside.port, Version::One)
            .await;
        let get = format!(
            "GET /trailers HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"
        );
        let answer = say(client, get.as_bytes()).await.to_lowercase();
        assert!(answer.contains("0\r\nx-sum: 42\r\n"), "{answer}");
        assert!(outside.seen.last().contains("te: trailers"));
    });
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        let mut client = world
            .transparent("good.example", outside.port, Version::One)
            .await;
        let head = format!(
            "POST /sum HTTP/1.1\r\nHost: good.example:{}\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\nConnection: close\r\n\r\n",
            outside.port
        );
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut client).await), 100);
        client.write_all(b"hello").await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.contains("5 2cf24d"), "{answer}");

        // A refused client is not told to send.
        let client = world
            .transparent("good.example", outside.port, Version::One)
            .await;
        let head = head.replace("good.example", "evil.example");
        assert_eq!(status(&say(client, head.as_bytes()).await), 403);
    });
}

#[test]
fn websocket_changes_the_connection_and_nothing_else_does() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        let ask = |protocol: &str| {
            format!(
                "GET /socket HTTP/1.1\r\nHost: good.example:{}\r\nConnection: Upgrade\r\n\
                 Upgrade: {protocol}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                outside.port
            )
        };
        let mut client = world
            .transparent("good.example", outside.port, Version::One)
            .await;
        client.write_all(ask("websocket").as_bytes()).await.unwrap();
        let head = answer(&mut client).await;
        assert_eq!(status(&head), 101);
        assert_eq!(field(&head, "upgrade").as_deref(), Some("websocket"));
        for number in 0..3 {
            let frame = format!("frame {number}");
            client.write_all(frame.as_bytes()).await.unwrap();
            let mut back = vec![0; frame.len()];
            client.read_exact(&mut back).await.unwrap();
            assert_eq!(back, frame.as_bytes());
        }
        // Each side ends by itself.
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, "last");

        for other in ["h2c", "websocket, h2c", "tcp"] {
            let client = world
                .transparent("good.example", outside.port, Version::One)
                .await;
            let answer = say(client, ask(other).as_bytes()).await;
            assert_eq!(status(&answer), 502, "{other}: {answer}");
            assert!(!outside.seen.last().contains("upgrade: h2c"), "{other}");
        }
    });
}

#[test]
fn http2_with_prior_knowledge_is_judged_and_multiplexed() {
    local(async {
        let outside = server::http2().await;
        let world = Setup::at(&[outside.port]).start().await;
        let client = world
            .transparent("good.example", outside.port, Version::Two)
            .await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(client))
                .await
                .unwrap();
        tokio::task::spawn_local(connection);
        let get = |authority: &str, path: &str| {
            Request::get(format!("http://{authority}{path}"))
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .unwrap()
        };
        let granted = format!("good.example:{}", outside.port);
        let (one, two) = tokio::join!(
            sender.clone().send_request(get(&granted, "/bytes?100000")),
            sender.send_request(get(&granted, "/trailers")),
        );
        assert_eq!(one.unwrap().status(), 200);
        let body = http_body_util::BodyExt::collect(two.unwrap().into_body())
            .await
            .unwrap();
        assert_eq!(body.trailers().unwrap().get("x-sum").unwrap(), "42");
        assert_eq!(outside.seen.connections.get(), 1);

        let refused = sender.send_request(get("evil.example", "/")).await.unwrap();
        assert_eq!(refused.status(), 403);
        assert!(refused.headers().contains_key("x-creel-denied"));
        let mut two = get(&granted, "/");
        let other = "evil.example".parse().unwrap();
        two.headers_mut().insert("host", other);
        assert_eq!(sender.send_request(two).await.unwrap().status(), 400);
        assert_eq!(outside.seen.count(), 2);
    });
}
