//! A host that takes a body for the next request hears none: behind a request that it may expect no
//! body of, the connection carries nothing more (CL.0).

use super::server::{Server, deaf_to_bodies, each};
use super::terminated::{Ending, Outside};
use super::*;

/// A forbidden request, as a body.
const SECOND: &str = "DELETE /admin HTTP/1.1\r\nHost: evil.example\r\n\r\n";

fn request(method: &str, target: &str, port: u16, framing: &str, body: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: good.example:{port}\r\n{framing}\r\n\r\n{body}")
}

/// The body as each framing writes it.
fn framed(chunked: bool) -> (String, String) {
    match chunked {
        false => (format!("Content-Length: {}", SECOND.len()), SECOND.into()),
        true => {
            let body = format!("{:x}\r\n{SECOND}\r\n0\r\n\r\n", SECOND.len());
            ("Transfer-Encoding: chunked".into(), body)
        }
    }
}

/// Rules that grant some paths alone, or none at all.
fn setup(port: u16, apart: bool) -> Setup {
    let mut setup = Setup::at(&[port]);
    let below = BTreeSet::from(["/api/*".to_owned()]);
    setup.http = apart.then(|| Http::new(BTreeSet::new(), below).expect("a rule"));
    setup
}

/// Says it twice, so that what is left over of the first would be heard, and waits for both answers.
async fn twice(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    said: &str,
) {
    for _ in 0..2 {
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(stream).await), 200, "{said}");
    }
}

fn heard(server: &Server) -> String {
    server.seen.requests.borrow().join("")
}

#[test]
fn no_body_becomes_a_request_over_plain_http() {
    local(async {
        for (method, apart) in [
            ("GET", false),
            ("HEAD", false),
            ("OPTIONS", false),
            ("DELETE", false),
            ("PURGE", false),
            ("GET", true),
            ("POST", true),
            ("PUT", true),
        ] {
            for chunked in [false, true] {
                for way in ["transparent", "absolute"] {
                    let server = each(None, deaf_to_bodies).await;
                    let port = server.port;
                    let world = setup(port, apart).start().await;
                    let (mut client, target) = by(&world, way, port, "/api/a").await;
                    let (framing, body) = framed(chunked);
                    let said = request(method, &target, port, &framing, &body);
                    client.write_all(said.as_bytes()).await.unwrap();
                    let mut head = vec![];
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await.unwrap());
                    }
                    // Whatever is left over of it goes before this one.
                    if method != "HEAD" {
                        client.read_exact(&mut [0; 2]).await.unwrap();
                    }
                    let after = request("GET", &target, port, "A: b", "");
                    client.write_all(after.as_bytes()).await.unwrap();
                    assert_eq!(status(&answer(&mut client).await), 200);
                    let what = format!("{method} {apart} {chunked} {way}");
                    let heard = heard(&server);
                    assert!(!heard.contains("/admin"), "{what}: {heard}");
                    assert_eq!(server.seen.count(), 2, "{what}: {heard}");
                    assert_eq!(server.seen.connections.get(), 2, "{what}");
                }
            }
        }
    });
}

#[test]
fn no_body_becomes_a_request_inside_tls_that_is_ended() {
    local(async {
        let outside = Outside::new();
        let acceptor = outside.acceptor("good.example", &["http/1.1"]);
        let server = each(Some(acceptor), deaf_to_bodies).await;
        let ending = Ending::at(&outside, &[&server]).await;
        let to = ("good.example", server.port);
        let mut stream = ending.tls(to, "http/1.1").await;
        let (framing, body) = framed(false);
        let said = request("GET", "/v1/x", to.1, &framing, &body);
        twice(&mut stream, &said).await;
        assert!(!heard(&server).contains("/admin"), "{}", heard(&server));
        assert_eq!(server.seen.count(), 2);
    });
}

/// The controls: the server does hear it where nobody is in between, and connections last where they
/// may.
#[test]
fn other_requests_share_a_connection() {
    local(async {
        let server = each(None, deaf_to_bodies).await;
        let (framing, body) = framed(false);
        let mut direct = dial(SocketAddr::new(LOOPBACK, server.port)).await;
        let said = request("GET", "/v1/x", server.port, &framing, &body);
        twice(&mut direct, &said).await;
        assert!(heard(&server).contains("delete /admin"));

        let server = server::http().await;
        let port = server.port;
        for (method, apart, framing, body) in [
            ("GET", true, "A: b", ""),
            ("GET", true, "Content-Length: 0", ""),
            ("DELETE", false, "A: b", ""),
            ("POST", false, "Content-Length: 5", "hello"),
            (
                "PUT",
                false,
                "Transfer-Encoding: chunked",
                "1\r\na\r\n0\r\n\r\n",
            ),
        ] {
            let world = setup(port, apart).start().await;
            let before = server.seen.connections.get();
            let mut client = world.transparent("good.example", port, Version::One).await;
            twice(&mut client, &request(method, "/api/a", port, framing, body)).await;
            let made = server.seen.connections.get() - before;
            assert_eq!(made, 1, "{method} {apart} {framing}");
            let head = server.seen.last();
            assert!(!head.contains("connection:"), "{head}");
        }
    });
}
