//! Bytes that can be read in two ways are refused, and never become a second request outside (E7).

use super::*;

/// A request that nobody may be asked, put where one reader sees a body and another a request.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: evil.example\r\n\r\n";

#[test]
fn what_has_two_readings_is_refused_on_every_way() {
    local(async {
        let outside = server::keeper().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let host = format!("good.example:{port}");
        let requests: Vec<(&str, String)> = [
            ("two hosts", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n")),
            ("two equal hosts", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n")),
            ("no host", "GET {} HTTP/1.1\r\nA: b\r\n\r\n".into()),
            ("empty host", "GET {} HTTP/1.1\r\nHost:\r\n\r\n".into()),
            ("a host with a user", format!("GET {{}} HTTP/1.1\r\nHost: a@{host}\r\n\r\n")),
            ("a list of hosts", format!("GET {{}} HTTP/1.1\r\nHost: {host}, evil.example\r\n\r\n")),
            ("two lengths", format!("POST {{}} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")),
            ("a length with a sign", format!("POST {{}} HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n\r\nhello")),
            ("another coding", format!("POST {{}} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
            ("chunked, then another", format!("POST {{}} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
            ("another, then chunked", format!("POST {{}} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
            ("chunked twice", format!("POST {{}} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            ("chunked in 1.0", format!("POST {{}} HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            ("a folded line", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nA: b\r\n c\r\n\r\n")),
            ("a folded host", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\n evil.example\r\n\r\n")),
            ("a space before the colon", format!("GET {{}} HTTP/1.1\r\nHost : {host}\r\n\r\n")),
            ("a space before a name", format!("GET {{}} HTTP/1.1\r\n Host: {host}\r\n\r\n")),
            ("a bare CR", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nA: b\rContent-Length: 5\r\n\r\n")),
            ("a NUL in a field", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nA: b\0\r\n\r\n")),
            ("a NUL in a host", format!("GET {{}} HTTP/1.1\r\nHost: good.example\0.evil.example:{port}\r\n\r\n")),
            ("the host made a connection's field", format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nConnection: host\r\n\r\n")),
            ("two spaces", format!("GET  {{}} HTTP/1.1\r\nHost: {host}\r\n\r\n")),
            ("two targets", format!("GET {{}} /b HTTP/1.1\r\nHost: {host}\r\n\r\n")),
            ("a tab in the target", format!("GET {{}}\tb HTTP/1.1\r\nHost: {host}\r\n\r\n")),
            ("no version", format!("GET {{}}\r\nHost: {host}\r\n\r\n")),
            ("another version", format!("GET {{}} HTTP/3.0\r\nHost: {host}\r\n\r\n")),
        ]
        .into_iter()
        .collect();
        for way in ["transparent", "absolute"] {
            let control = format!("GET {{}} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let before = outside.seen.text().len();
            assert_eq!(
                status(&ask(&world, way, port, &control).await),
                200,
                "{way}"
            );
            assert!(outside.seen.text().len() > before);
            let before = outside.seen.text();
            for (what, request) in &requests {
                let answer = ask(&world, way, port, &(request.clone() + SECOND)).await;
                assert_eq!(status(&answer), 400, "{way}, {what}: {answer}");
                assert_eq!(outside.seen.text(), before, "{way}, {what}");
            }
        }
        assert!(!outside.seen.text().contains("smuggled"));
    });
}

/// If a request has both, the length is not believed, is not sent on, and nothing after it is read.
#[test]
fn a_length_beside_chunks_hides_no_request() {
    local(async {
        for order in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
        ] {
            let outside = server::keeper().await;
            let port = outside.port;
            let world = Setup::at(&[port]).start().await;
            for way in ["transparent", "absolute"] {
                let request = format!(
                    "POST {{}} HTTP/1.1\r\nHost: good.example:{port}\r\n{order}\r\n\r\n0\r\n\r\n{SECOND}"
                );
                let answer = ask(&world, way, port, &request).await;
                let answers = answer.matches("HTTP/1.1 ").count();
                assert_eq!(answers, 1, "{way}, {order}: {answer}");
                let seen = outside.seen.text().to_lowercase();
                assert!(!seen.contains("smuggled"), "{way}, {order}: {seen}");
                assert!(!seen.contains("content-length"), "{way}, {order}: {seen}");
            }
        }
    });
}

#[test]
fn a_chunk_that_is_none_ends_the_request() {
    local(async {
        for chunk in [
            "5;\nx\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "\r\n\r\n",
        ] {
            let outside = server::keeper().await;
            let port = outside.port;
            let world = Setup::at(&[port]).start().await;
            let request = format!(
                "POST {{}} HTTP/1.1\r\nHost: good.example:{port}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {chunk}{SECOND}"
            );
            ask(&world, "transparent", port, &request).await;
            let seen = outside.seen.text();
            assert!(!seen.contains("smuggled"), "{chunk:?}: {seen}");
            // No reader sees an end of it either.
            assert!(!seen.ends_with("0\r\n\r\n"), "{chunk:?}: {seen}");
        }
        // The control: chunks that are some.
        let outside = server::keeper().await;
        let world = Setup::at(&[outside.port]).start().await;
        let request = format!(
            "POST {{}} HTTP/1.1\r\nHost: good.example:{}\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            outside.port
        );
        let answer = ask(&world, "transparent", outside.port, &request).await;
        assert_eq!(status(&answer), 200);
        assert!(outside.seen.text().ends_with("5\r\nhello\r\n0\r\n\r\n"));
    });
}

#[test]
fn a_head_has_an_end() {
    local(async {
        let outside = server::keeper().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        for way in ["transparent", "absolute"] {
            let long = "b".repeat(70 << 10);
            let long =
                format!("GET {{}} HTTP/1.1\r\nHost: good.example:{port}\r\nA: {long}\r\n\r\n");
            let answer = ask(&world, way, port, &long).await;
            assert!(matches!(status(&answer), 400 | 431), "{way}: {answer}");
            let many = "A: b\r\n".repeat(200);
            let many = format!("GET {{}} HTTP/1.1\r\nHost: good.example:{port}\r\n{many}\r\n");
            let answer = ask(&world, way, port, &many).await;
            assert!(matches!(status(&answer), 400 | 431), "{way}: {answer}");
        }
        assert_eq!(outside.seen.connections.get(), 0);
    });
}

/// Sends a request with its target in the form that the way wants.
async fn ask(world: &World, way: &str, port: u16, request: &str) -> String {
    let (mut client, target) = match way {
        "absolute" => (
            dial(world.proxy).await,
            format!("http://good.example:{port}/a"),
        ),
        _ => (
            world.transparent("good.example", port, Version::One).await,
            "/a".to_owned(),
        ),
    };
    let text = request.replacen("{}", &target, 1);
    let _ = client.write_all(text.as_bytes()).await;
    let _ = client.shutdown().await;
    rest(&mut client).await
}
