//! A name's addresses are checked where they are dialled, and nothing else is dialled: rebinding,
//! private answers by whatever spelling, aliases to them (CVE class of SSRF).

#[cfg(test)]
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};

use super::Way;
use super::gate::{Gate, Meter, Rules};
use super::names::Names;
use super::open::Open;
use super::outside::{Outside, answer, locally};
use super::record::Records;
use super::refusal::Refusal;
use super::resolve::Resolver;
use creel_policy::Origin;
use creel_policy::net::{Host, List, Mode, Name, Network, OnMiss, Protocol, Range, Rule, Tls, To};

pub fn rule(to: To, port: u16) -> Rule {
    Rule {
        to,
        ports: BTreeSet::from([port]),
        protocol: Protocol::Auto,
        tls: Tls::Forward,
        http: None,
        origin: Origin::creel(),
    }
}

pub fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

/// A gate whose policy has one list.
pub fn gate(rules: Vec<Rule>, resolver: Resolver) -> Rc<Gate> {
    let list = List {
        on_miss: OnMiss::Deny,
        rules: BTreeSet::from_iter(rules),
    };
    Rc::new(Gate {
        policy: Rules::from(Network {
            mode: Mode::Allowlist,
            lists: BTreeSet::from([list]),
            ..Network::default()
        }),
        names: RefCell::new(Names::default()),
        resolver,
        records: Records::default(),
        authority: None,
        asker: None,
        meter: Meter::default(),
        open: Open::default(),
    })
}

fn range(text: &str) -> To {
    let (address, bits) = text.split_once('/').unwrap();
    To::Range(Range {
        address: address.parse().unwrap(),
        bits: bits.parse().unwrap(),
    })
}

/// Something on the host's own loopback that a jail must not reach, and its port.
async fn target() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn dial(gate: &Rc<Gate>, to: &str, port: u16) -> Result<TcpStream, Refusal> {
    let pass = gate.admit(Way::Connect, Host::Name(name(to)), port).await?;
    pass.dial().await
}

#[tokio::test]
async fn a_private_answer_is_dialled_only_where_a_rule_names_its_range() {
    locally(async {
        let (_listener, port) = target().await;
        let outside = Outside::with(&["A granted.example 127.0.0.1"]).await;
        let to = || rule(To::Name(name("granted.example")), port);
        let closed = gate(vec![to()], outside.resolver());
        let refused = dial(&closed, "granted.example", port).await.unwrap_err();
        let Refusal::Special { address, kind } = refused else {
            panic!("{refused}");
        };
        assert_eq!((address.as_str(), kind), ("127.0.0.1", "loopback"));
        // The control: it is there to be reached.
        let rules = vec![to(), rule(range("127.0.0.0/8"), port)];
        let open = gate(rules, outside.resolver());
        let stream = dial(&open, "granted.example", port).await.unwrap();
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        assert_eq!(stream.peer_addr().unwrap(), peer);
        // At its own port alone.
        let rules = vec![to(), rule(range("127.0.0.0/8"), port ^ 1)];
        let other = gate(rules, outside.resolver());
        let refused = dial(&other, "granted.example", port).await.unwrap_err();
        assert!(matches!(refused, Refusal::Special { .. }), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn every_way_to_write_a_private_address_is_refused() {
    locally(async {
        let (listener, port) = target().await;
        let outside = Outside::with(&[
            "AAAA mapped.x.example ::ffff:127.0.0.1",
            "AAAA compatible.x.example ::127.0.0.1",
            "AAAA nat64.x.example 64:ff9b::127.0.0.1",
            "AAAA local-nat64.x.example 64:ff9b:1::127.0.0.1",
            "AAAA 6to4.x.example 2002:7f00:1::",
            "AAAA loopback.x.example ::1",
            "AAAA none.x.example ::",
            "AAAA unique.x.example fd00::1",
            "AAAA link.x.example fe80::1",
            "AAAA multicast.x.example ff02::1",
            "A none4.x.example 0.0.0.0",
            "A other.x.example 127.8.8.8",
            "A ten.x.example 10.0.0.1",
            "A metadata.x.example 169.254.169.254",
            "A carrier.x.example 100.64.0.1",
            "A synthetic.x.example 198.18.1.0",
            "A broadcast.x.example 255.255.255.255",
            "CNAME alias.x.example elsewhere.example",
            "CNAME elsewhere.example further.example",
            "A further.example 127.0.0.1",
        ])
        .await;
        let rules = vec![rule(To::Under(name("x.example")), port)];
        let gate = gate(rules, outside.resolver());
        let mut reached = vec![];
        for host in [
            "mapped",
            "compatible",
            "nat64",
            "local-nat64",
            "6to4",
            "loopback",
            "none",
            "unique",
            "link",
            "multicast",
            "none4",
            "other",
            "ten",
            "metadata",
            "carrier",
            "synthetic",
            "broadcast",
            "alias",
        ] {
            match dial(&gate, &format!("{host}.x.example"), port).await {
                Err(Refusal::Special { .. }) => {}
                other => reached.push(format!("{host}: {other:?}")),
            }
        }
        assert!(reached.is_empty(), "{reached:#?}");
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
        assert!(waiting.is_err(), "somebody connected");
    })
    .await;
}

#[tokio::test]
async fn a_denied_range_is_denied_to_names_too() {
    locally(async {
        let (_listener, port) = target().await;
        let outside = Outside::with(&["A granted.example 127.0.0.1"]).await;
        let rules = || {
            vec![
                rule(To::Name(name("granted.example")), port),
                rule(range("127.0.0.0/8"), port),
            ]
        };
        let closed = gate(rules(), outside.resolver());
        let deny = BTreeSet::from([rule(range("127.0.0.0/16"), port)]);
        let policy = Network::clone(&closed.policy.now());
        closed.change(Network { deny, ..policy });
        let refused = dial(&closed, "granted.example", port).await.unwrap_err();
        assert!(matches!(refused, Refusal::Policy(_)), "{refused}");
        let open = gate(rules(), outside.resolver());
        dial(&open, "granted.example", port).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_changes_is_checked_each_time() {
    locally(async {
        let (_listener, port) = target().await;
        let changes = Rc::new(Cell::new(false));
        let changed = Rc::clone(&changes);
        let outside = Outside::start(move |question, _| {
            let records = match changed.get() {
                false => ["A granted.example 127.0.0.1"],
                true => ["A granted.example 127.0.0.2"],
            };
            vec![answer(question, &records)]
        })
        .await;
        // 127.0.0.1 stands for what is public here, 127.0.0.2 for what is private.
        let rules = vec![
            rule(To::Name(name("granted.example")), port),
            rule(range("127.0.0.1/32"), port),
        ];
        let gate = gate(rules, outside.resolver());
        dial(&gate, "granted.example", port).await.unwrap();
        changes.set(true);
        gate.resolver.forget();
        let refused = dial(&gate, "granted.example", port).await.unwrap_err();
        assert!(matches!(refused, Refusal::Special { .. }), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn of_an_answer_with_both_only_the_checked_address_is_dialled() {
    locally(async {
        let (listener, port) = target().await;
        let elsewhere = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let outside =
            Outside::with(&["A granted.example 127.0.0.2", "A granted.example 127.0.0.1"]).await;
        let rules = vec![
            rule(To::Name(name("granted.example")), port),
            rule(range("127.0.0.1/32"), port),
        ];
        let gate = gate(rules, outside.resolver());
        // One resolution, and nothing that it did not give.
        let stream = dial(&gate, "granted.example", port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(outside.asked().len(), 2, "{:?}", outside.asked());
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, elsewhere.accept()).await;
        assert!(waiting.is_err(), "the unchecked address was dialled");
    })
    .await;
}
