//! A gate in this process, for tests of egress below the command line.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use creel_egress::gate::{Gate, Meter};
use creel_egress::names::Names;
use creel_egress::open::Open;
use creel_egress::record::Records;
use creel_egress::resolve::Resolver;
use creel_policy::net::{List, Mode, Name, Network, OnMiss, Protocol, Range, Rule, Tls, To};
use creel_policy::{Origin, Sourced};
use tokio::net::{TcpListener, TcpStream};

use super::wait::PATIENCE;

pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs the future on one thread, as the relay does, with a time limit of twice [`PATIENCE`].
pub fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let test = async { tokio::time::timeout(2 * PATIENCE, test).await };
    let done = tokio::task::LocalSet::new().block_on(&runtime, test);
    done.expect("it takes no longer than a minute")
}

pub fn sourced<T>(value: T) -> Sourced<T> {
    let origin = Origin::creel();
    Sourced { value, origin }
}

pub fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a name")
}

pub fn range(address: &str, bits: u8) -> To {
    let address = address.parse().expect("an address");
    To::Range(Range { address, bits })
}

/// A rule that grants these ports of a destination and does not terminate TLS.
pub fn rule(to: To, ports: &[u16], protocol: Protocol) -> Rule {
    Rule {
        to,
        ports: ports.iter().copied().collect(),
        protocol,
        tls: Tls::Forward,
        http: None,
        origin: Origin::creel(),
    }
}

/// A network policy with these rules that denies everything else.
pub fn network(rules: impl IntoIterator<Item = Rule>) -> Network {
    let list = List {
        on_miss: OnMiss::Deny,
        rules: rules.into_iter().collect(),
    };
    Network {
        mode: Mode::Allowlist,
        lists: BTreeSet::from([list]),
        ..Network::default()
    }
}

/// A resolver that resolves each of the names to loopback.
pub fn resolver(names: impl IntoIterator<Item = Name>) -> Resolver {
    let resolver = Resolver::default();
    resolver.add(
        names
            .into_iter()
            .map(|name| (name, vec![LOOPBACK]))
            .collect(),
    );
    resolver
}

/// A gate without an asker, without TLS termination and without a log.
pub fn gate(policy: Network, resolver: Resolver) -> Gate {
    Gate {
        policy: policy.into(),
        names: RefCell::new(Names::default()),
        resolver,
        records: Records::default(),
        authority: None,
        asker: None,
        meter: Meter::default(),
        open: Open::default(),
    }
}

/// A listener on loopback, and its port.
pub async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// A loopback port without a listener.
pub async fn nobody() -> u16 {
    listen().await.1
}

/// Both ends of a connection.
pub async fn pair() -> (TcpStream, TcpStream) {
    let (listener, port) = listen().await;
    let address = SocketAddr::new(LOOPBACK, port);
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.expect("a connection"), other.expect("its other end").0)
}
