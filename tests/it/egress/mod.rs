//! The way out, in this process: a gate made by hand, servers on loopback.

mod carried;
mod hello;
mod published;
mod spliced;
mod transparent;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use creel_egress::Way;
use creel_egress::gate::{Gate, Meter, Pass};
use creel_egress::names::Names;
use creel_egress::record::Records;
use creel_egress::resolve::Resolver;
use creel_policy::net::{
    Host, Limits, List, Mode, Name, Network, OnMiss, Protocol, Range, Rule, Tls, To,
};
use creel_policy::{Origin, Sourced};
use tokio::net::{TcpListener, TcpStream};

pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than anything here takes, on a machine that has better things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs on one thread as the relay does, and not for good.
pub fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let test = async { tokio::time::timeout(PATIENCE, test).await };
    let done = tokio::task::LocalSet::new().block_on(&runtime, test);
    done.expect("it takes no longer than that")
}

pub fn sourced<T>(value: T) -> Sourced<T> {
    let origin = Origin::creel();
    Sourced { value, origin }
}

pub fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a name")
}

/// Grants a port of loopback, and the same to names.
pub fn rules(port: u16, protocol: Protocol, names: &[&str]) -> Vec<Rule> {
    let range = To::Range(Range {
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
        bits: 8,
    });
    let names = names.iter().map(|text| To::Name(name(text)));
    let rule = |to| Rule {
        to,
        ports: BTreeSet::from([port]),
        protocol,
        tls: Tls::Forward,
        http: None,
        origin: Origin::creel(),
    };
    names.chain([range]).map(rule).collect()
}

pub fn network(rules: Vec<Rule>, limits: Limits) -> Network {
    let on_miss = OnMiss::Deny;
    let rules = rules.into_iter().collect();
    Network {
        mode: Mode::Allowlist,
        lists: BTreeSet::from([List { on_miss, rules }]),
        limits,
        ..Network::default()
    }
}

/// Every name of the rules is loopback's.
pub fn gate(policy: Network) -> Rc<Gate> {
    let rules = policy.lists.iter().flat_map(|list| &list.rules);
    let hosts = rules.filter_map(|rule| match &rule.to {
        To::Name(name) => Some((name.clone(), vec![LOOPBACK])),
        _ => None,
    });
    let mut resolver = Resolver::default();
    resolver.hosts = hosts.collect();
    gate_with(policy, resolver)
}

pub fn gate_with(policy: Network, resolver: Resolver) -> Rc<Gate> {
    Rc::new(Gate {
        policy,
        names: RefCell::new(Names::default()),
        resolver,
        records: Records::default(),
        authority: None,
        asker: None,
        meter: Meter::default(),
    })
}

/// Loopback at a port, without a name.
pub async fn admit(gate: &Rc<Gate>, port: u16) -> Pass {
    let host = Host::Address(LOOPBACK);
    let admitted = gate.admit(Way::Transparent, host, port).await;
    admitted.expect("it is granted")
}

pub async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// Both ends of a connection.
pub async fn pair() -> (TcpStream, TcpStream) {
    let (listener, port) = listen().await;
    let address = SocketAddr::new(LOOPBACK, port);
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.expect("a connection"), other.expect("its other end").0)
}
