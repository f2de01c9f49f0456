//! A secret cannot be guessed a character at a time: what comes back to a jail that has its guesses
//! echoed is the same in every piece, unless a guess is the whole secret.

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncBufReadExt as _;

use super::server::Local;
use super::withheld::{SECRET, Withheld, gathered, start};
use super::*;

/// The lengths of what comes, piece by piece, and all of it together.
type Pieces = (Vec<usize>, Vec<u8>);

/// Requests of jails to the host, in one connection.
enum Asked {
    One(Box<tokio::io::BufReader<tokio_rustls::client::TlsStream<TcpStream>>>),
    Two(hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>),
}

impl Asked {
    async fn new(all: &Withheld, alpn: &str) -> Asked {
        let to = ("good.example", all.good.port);
        let stream = all.ending.tls(to, alpn).await;
        match alpn {
            "h2" => {
                let io = TokioIo::new(stream);
                let (sender, connection) = hyper::client::conn::http2::handshake(Local, io)
                    .await
                    .unwrap();
                tokio::task::spawn_local(connection);
                Asked::Two(sender)
            }
            _ => Asked::One(Box::new(tokio::io::BufReader::new(stream))),
        }
    }

    /// Has the host say a body back, which it does in pieces of `many` bytes.
    async fn echo(&mut self, all: &Withheld, many: usize, body: &str) -> Pieces {
        let (port, token) = (all.good.port, &all.placeholder);
        match self {
            Asked::One(stream) => {
                let request = format!(
                    "POST /echo?{many} HTTP/1.1\r\nHost: good.example:{port}\r\n\
                     Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
                let (mut lengths, mut whole) = (vec![], vec![]);
                loop {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                    let length = usize::from_str_radix(line.trim(), 16).unwrap();
                    let mut piece = vec![0; length + 2];
                    stream.read_exact(&mut piece).await.unwrap();
                    if length == 0 {
                        return (lengths, whole);
                    }
                    lengths.push(length);
                    whole.extend_from_slice(&piece[..length]);
                }
            }
            Asked::Two(sender) => {
                let request = Request::post(format!("https://good.example:{port}/echo?{many}"))
                    .header("authorization", format!("Bearer {token}"))
                    .body(Full::from(body.to_owned()))
                    .unwrap();
                let mut answer = sender.send_request(request).await.unwrap().into_body();
                let (mut lengths, mut whole) = (vec![], vec![]);
                while let Some(frame) = answer.frame().await {
                    let data = frame.unwrap().into_data().unwrap();
                    lengths.push(data.len());
                    whole.extend_from_slice(&data);
                }
                (lengths, whole)
            }
        }
    }
}

#[test]
fn the_beginning_of_the_secret_comes_back_as_anything_else_does() {
    local(async {
        let all = start().await;
        for alpn in ["http/1.1", "h2"] {
            let mut asked = Asked::new(&all, alpn).await;
            // Behind a byte of no secret, and behind so many that some are given on at once.
            for (before, many) in [("####", 1000), ("####", 9), (&"x".repeat(300), 400)] {
                for length in [1, 2, 9, SECRET.len() - 1] {
                    let guess = format!("{before}{}", &SECRET[..length]);
                    let other = format!("{before}{}", "z".repeat(length));
                    let right = asked.echo(&all, many, &guess).await;
                    let wrong = asked.echo(&all, many, &other).await;
                    assert_eq!(right.0, wrong.0, "{alpn} {many} {length}");
                    assert_eq!(right.1, guess.as_bytes());
                    assert_eq!(wrong.1, other.as_bytes());
                }
                // The control: the whole of it does not come back.
                let whole = asked.echo(&all, many, &format!("{before}{SECRET}")).await;
                let said = String::from_utf8(whole.1).unwrap();
                assert_eq!(
                    said,
                    format!("{before}{}", all.placeholder),
                    "{alpn} {many}"
                );
            }
        }
    });
}

#[test]
fn events_of_a_host_with_a_secret_are_not_held_back() {
    local(async {
        let all = start().await;
        let to = ("good.example", all.good.port);
        let mut stream = all.ending.tls(to, "http/1.1").await;
        let get = format!(
            "GET /events HTTP/1.1\r\nHost: good.example:{}\r\nAuthorization: Bearer {}\r\n\r\n",
            to.1, all.placeholder
        );
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut got = String::new();
        for number in 0..3 {
            let event = format!("data: {number}\n\n");
            while !got.contains(&event) {
                let mut bytes = [0; 256];
                let length = stream.read(&mut bytes).await.unwrap();
                got += std::str::from_utf8(&bytes[..length]).unwrap();
            }
            let next = format!("data: {}\n\n", number + 1);
            assert!(!got.contains(&next), "{got}");
        }
    });
}

#[test]
fn neither_a_length_nor_a_name_nor_a_reason_tells_of_the_secret() {
    local(async {
        let all = start().await;
        let to = ("good.example", all.good.port);
        let bearer = format!("Bearer {}", all.placeholder);
        let token = [("authorization", bearer.as_str())];
        for answer in all.ask(to, "/named", &token).await {
            let answer = gathered(&answer).to_lowercase();
            assert!(answer.contains("200"), "{answer}");
            assert!(!answer.contains(&SECRET.to_lowercase()), "{answer}");
            assert!(!answer.contains("content-length"), "{answer}");
        }
        for answer in all.ask(to, "/part", &token).await {
            assert_eq!(status(&answer), 502, "{answer}");
            assert!(!answer.contains(SECRET), "{answer}");
        }
        let mut stream = all.ending.tls(to, "http/1.1").await;
        let head = format!(
            "HEAD /reflect HTTP/1.1\r\nHost: good.example:{}\r\nAuthorization: {bearer}\r\n\
             Connection: close\r\n\r\n",
            to.1
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(field(&answer, "content-length"), None, "{answer}");
        let placed = field(&answer, "x-was-authorization");
        assert_eq!(placed.as_deref(), Some(bearer.as_str()), "{answer}");
    });
}
