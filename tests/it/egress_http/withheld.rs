//! A credential goes to one host in one header, and comes back from nobody: not in an answer, not in a
//! record.

use creel_egress::credential::Vault;
use creel_policy::Origin;
use creel_policy::net::{Credential, Secret};
use hyper::Request;

use super::server::Server;
use super::terminated::{Ending, Outside, send_two};
use super::*;

/// With capitals, which the names of fields lose.
pub const SECRET: &str = "S3cr3t-Token-of-good-example";

/// A jail with a credential for `good.example`, a server of it and one of another host.
pub struct Withheld {
    pub ending: Ending,
    pub good: Server,
    other: Server,
    pub placeholder: String,
}

/// A secret of this text, and its placeholder.
fn vault(secret: &str) -> (Vault, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let vault = Vault::load(&[Credential {
        host: name("good.example"),
        header: "authorization".into(),
        variable: "TOKEN".into(),
        secret: Secret::File(file.path().display().to_string()),
        origin: Origin::creel(),
    }]);
    let vault = vault.unwrap();
    let placeholder = vault.placeholders().next().unwrap().1.to_owned();
    (vault, placeholder)
}

pub async fn start() -> Withheld {
    let (vault, placeholder) = vault(&format!("{SECRET}\n"));
    let outside = Outside::new();
    let alpn = ["h2", "http/1.1"];
    let good = outside.https("good.example", &alpn).await;
    let other = outside.https("a.wild.example", &alpn).await;
    let setup = Setup::at(&[good.port, other.port]);
    Withheld {
        ending: Ending::new(&outside, vault, setup).await,
        good,
        other,
        placeholder,
    }
}

impl Withheld {
    /// A request in both versions; the answers.
    pub async fn ask(&self, to: (&str, u16), path: &str, fields: &[(&str, &str)]) -> [String; 2] {
        let mut stream = self.ending.tls(to, "http/1.1").await;
        let mut text = format!(
            "GET {path} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n",
            to.0, to.1
        );
        for (name, value) in fields {
            text += &format!("{name}: {value}\r\n");
        }
        stream.write_all((text + "\r\n").as_bytes()).await.unwrap();
        let one = rest(&mut stream).await;
        let stream = self.ending.tls(to, "h2").await;
        let mut request = Request::get(format!("https://{}:{}{path}", to.0, to.1));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(http_body_util::Empty::new()).unwrap();
        let two = send_two(stream, request).await;
        [one, format!("HTTP/2 {} {}", two.0, two.1)]
    }
}

#[test]
fn the_secret_goes_out_and_does_not_come_back() {
    local(async {
        let all = start().await;
        let to = ("good.example", all.good.port);
        let bearer = format!("Bearer {}", all.placeholder);
        for path in ["/reflect", "/drip"] {
            let before = all.good.seen.count();
            for answer in all.ask(to, path, &[("authorization", &bearer)]).await {
                assert_eq!(status(&answer), 200, "{answer}");
                assert!(!gathered(&answer).contains(SECRET), "{path}: {answer}");
                assert!(
                    gathered(&answer).contains(&all.placeholder),
                    "{path}: {answer}"
                );
            }
            let requests = all.good.seen.requests.borrow();
            assert_eq!(requests.len(), before + 2);
            for seen in &requests[before..] {
                assert!(
                    seen.contains(&format!("authorization: Bearer {SECRET}\n")),
                    "{seen}"
                );
                assert!(seen.contains("accept-encoding: identity\n"), "{seen}");
            }
        }
        let log = all.ending.world.log();
        assert!(log.contains("/reflect") && !log.contains(SECRET) && !log.contains("token"));
    });
}

/// An answer without the lengths of its chunks.
pub fn gathered(answer: &str) -> String {
    let chunked = answer.contains("chunked");
    let Some((head, body)) = answer.split_once("\r\n\r\n").filter(|_| chunked) else {
        return answer.to_owned();
    };
    let lines: Vec<&str> = body.split("\r\n").collect();
    let data: String = lines
        .chunks(2)
        .filter_map(|pair| pair.get(1).copied())
        .collect();
    format!("{head}\n{data}")
}

#[test]
fn a_placeholder_elsewhere_is_left_as_it_is() {
    local(async {
        let all = start().await;
        let bearer = format!("Bearer {}", all.placeholder);
        let to = ("good.example", all.good.port);
        let path = format!("/x?key={}", all.placeholder);
        all.ask(to, &path, &[("x-key", &bearer)]).await;
        for seen in all.good.seen.requests.borrow().iter() {
            assert!(!seen.contains(SECRET) && seen.contains(&bearer), "{seen}");
        }
        let to = ("a.wild.example", all.other.port);
        for answer in all.ask(to, "/reflect", &[("authorization", &bearer)]).await {
            assert_eq!(status(&answer), 200);
        }
        assert_eq!(all.other.seen.count(), 2);
        for seen in all.other.seen.requests.borrow().iter() {
            assert!(!seen.contains(SECRET) && seen.contains(&bearer), "{seen}");
            assert!(!seen.contains("accept-encoding"), "{seen}");
        }
    });
}

#[test]
fn over_plain_http_there_is_no_secret() {
    local(async {
        let all = start().await;
        let plain = server::http().await;
        let mut setup = Setup::at(&[plain.port]);
        let roots = Outside::new();
        let (vault, placeholder) = vault(SECRET);
        let made = Authority::new("t", roots.pem.as_bytes(), vault).unwrap();
        setup.authority = Some(made.0);
        let world = setup.start().await;
        let client = world
            .transparent("good.example", plain.port, Version::One)
            .await;
        let get = format!(
            "GET /reflect HTTP/1.1\r\nHost: good.example:{}\r\nAuthorization: Bearer {placeholder}\r\n\
             Connection: close\r\n\r\n",
            plain.port
        );
        assert_eq!(status(&say(client, get.as_bytes()).await), 200);
        assert!(!plain.seen.last().contains(SECRET));
        assert!(plain.seen.last().contains(&placeholder));
        // A secret that the host kept from a request over TLS does not come back here either.
        let client = world
            .transparent("good.example", plain.port, Version::One)
            .await;
        let said = get.replace(&placeholder, SECRET);
        let answer = say(client, said.as_bytes()).await;
        assert_eq!(status(&answer), 200);
        assert!(plain.seen.last().contains(SECRET), "the control");
        assert!(!answer.contains(SECRET), "{answer}");
        assert!(gathered(&answer).contains(&placeholder), "{answer}");
        drop(all);
    });
}

#[test]
fn what_could_hide_the_secret_is_not_asked_for_and_not_given() {
    local(async {
        let all = start().await;
        let to = ("good.example", all.good.port);
        let bearer = format!("Bearer {}", all.placeholder);
        let fields = [
            ("authorization", bearer.as_str()),
            ("accept-encoding", "gzip"),
            ("range", "bytes=0-3"),
        ];
        for answer in all.ask(to, "/compressed", &fields).await {
            assert_eq!(status(&answer), 502, "{answer}");
            assert!(!answer.contains("not really"), "{answer}");
        }
        for seen in all.good.seen.requests.borrow().iter() {
            assert!(!seen.contains("gzip") && !seen.contains("range:"), "{seen}");
        }
        // Another host may compress.
        let to = ("a.wild.example", all.other.port);
        for answer in all.ask(to, "/compressed", &fields).await {
            assert_eq!(status(&answer), 200, "{answer}");
        }
        // A method that says the request back is none for such a host.
        let to = ("good.example", all.good.port);
        let before = all.good.seen.count();
        let mut stream = all.ending.tls(to, "http/1.1").await;
        let trace = format!(
            "TRACE / HTTP/1.1\r\nHost: good.example:{}\r\nConnection: close\r\n\r\n",
            to.1
        );
        stream.write_all(trace.as_bytes()).await.unwrap();
        assert_eq!(status(&rest(&mut stream).await), 403);
        assert_eq!(all.good.seen.count(), before);
    });
}
