//! HTTP, the explicit proxies and TLS that is ended, in this process: a gate made by hand, servers on
//! loopback, and a resolver that has the names of the policy there. Nothing depends on the outside.

mod guessed;
mod hosts;
mod metered;
mod paths;
mod proxied;
mod requests;
mod server;
mod smuggled;
mod streams;
mod swallowed;
mod terminated;
mod withheld;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use creel_egress::authority::Authority;
use creel_egress::gate::{Gate, Pass};
use creel_egress::http;
use creel_egress::http::version::{Scheme, Version};
use creel_egress::record::Records;
use creel_egress::{Way, connect, socks};
use creel_policy::net::{Host, Http, Network, Protocol, Rule, Tls, To};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::gates::{self, LOOPBACK, listen, local, name, nobody, pair, sourced};
use crate::support::wait;

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).expect("a host")
}

/// Grants, to be changed by a test.
struct Setup {
    network: Network,
    authority: Option<Authority>,
    tls: Tls,
    http: Option<Http>,
    ports: Vec<u16>,
    /// In place of a file.
    log: Option<std::fs::File>,
}

/// A gate with the explicit proxies in front of it, and its records.
struct World {
    gate: Rc<Gate>,
    proxy: SocketAddr,
    socks: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Setup {
    /// Grants `good.example`, `*.wild.example` and `xn--bcher-kva.example` at these ports, all on
    /// loopback.
    fn at(ports: &[u16]) -> Setup {
        Setup {
            network: gates::network([]),
            authority: None,
            tls: Tls::Forward,
            http: None,
            ports: ports.to_vec(),
            log: None,
        }
    }

    async fn start(self) -> World {
        let rule = |to| Rule {
            tls: self.tls,
            http: self.http.clone(),
            ..gates::rule(to, &self.ports, Protocol::Auto)
        };
        let rules = [
            rule(To::Name(name("good.example"))),
            rule(To::Name(name("xn--bcher-kva.example"))),
            rule(To::Under(name("wild.example"))),
            rule(gates::range("127.0.0.0", 8)),
        ];
        let network = Network {
            lists: gates::network(rules).lists,
            ..self.network
        };
        let names = [
            "good.example",
            "xn--bcher-kva.example",
            "a.wild.example",
            // Somebody answers at each of these: that they are not reached is not for want of an address.
            "wild.example",
            "evil.example",
            "good.example.evil.example",
            "evilgood.example",
            "sub.good.example",
            "evilwild.example",
        ];
        let resolver = gates::resolver(names.map(name));
        let log = tempfile::NamedTempFile::new().expect("a log");
        let records = self.log.unwrap_or_else(|| log.reopen().expect("the log"));
        let gate = Rc::new(Gate {
            records: Records::new(Some(records)),
            authority: self.authority,
            ..gates::gate(network, resolver)
        });
        let (proxy, proxy_at) = listen().await;
        let (socks, socks_at) = listen().await;
        tokio::task::spawn_local(connect::serve(Rc::clone(&gate), proxy));
        tokio::task::spawn_local(socks::serve(Rc::clone(&gate), socks));
        World {
            gate,
            proxy: SocketAddr::new(LOOPBACK, proxy_at),
            socks: SocketAddr::new(LOOPBACK, socks_at),
            log,
        }
    }
}

impl World {
    async fn admit(&self, to: &str, port: u16) -> Pass {
        let admitted = self.gate.admit(Way::Transparent, host(to), port).await;
        admitted.expect("it is granted")
    }

    /// A connection to `to` as if there were no relay, with plain HTTP on it.
    async fn transparent(&self, to: &str, port: u16, version: Version) -> TcpStream {
        let pass = self.admit(to, port).await;
        let (client, relay) = pair().await;
        tokio::task::spawn_local(http::serve(pass, relay, Scheme::Http, version));
        client
    }

    /// Recorded decisions, a line each.
    fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.log.path()).expect("the log");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log")
    }

    /// Waits until so many connections have ended and are on record.
    async fn closed(&self, count: u64) {
        let ends = || self.log().matches("\"event\":\"close\"").count() as u64;
        wait::soon("ends on record", || ends() >= count).await;
    }

    /// Whether a record says so.
    fn said(&self, why: &str) -> bool {
        let records = self.records();
        let mut refusals = records
            .iter()
            .filter_map(|record| record["refused"].as_str());
        refusals.any(|refused| refused.contains(why))
    }

    /// Whether a record has a refusal of this code.
    fn coded(&self, code: &str) -> bool {
        let records = self.records();
        records
            .iter()
            .any(|record| record["reason"]["code"] == code)
    }
}

/// A connection to a server of plain HTTP by this way, and the target of a request for the path.
async fn by(world: &World, way: &str, port: u16, path: &str) -> (TcpStream, String) {
    match way {
        "absolute" => (
            dial(world.proxy).await,
            format!("http://good.example:{port}{path}"),
        ),
        _ => (
            world.transparent("good.example", port, Version::One).await,
            path.to_owned(),
        ),
    }
}

async fn dial(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.expect("a connection")
}

/// Says something, and reads until the other side closes.
async fn say(mut stream: TcpStream, bytes: &[u8]) -> String {
    // A server that refuses early may have closed before all was sent.
    let _ = stream.write_all(bytes).await;
    rest(&mut stream).await
}

async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = vec![];
    // A reset after the answer does not take it away.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer with its body, whose length it says.
async fn answer(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = vec![];
    let head = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.expect("a head");
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes).into_owned();
        }
    };
    let length = field(&head, "content-length").map_or(0, |l| l.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8_lossy(&body)
}

/// A field of a head as text.
fn field(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status in {answer:?}"))
}
