//! The planned egress of a jail: the addresses on which the relay listens in the jail's network, and the
//! environment that points programs to it.
//!
//! Every address is local to the jail (one local default route), so a listener on a wildcard address
//! accepts a port for every destination. A wildcard would also take that port from the jail's own loopback.
//! If the jail may bind the port (1024 and up) and only exact names use it, the listeners are on the
//! synthetic addresses of those names alone. The same holds for datagrams at any port: the kernel then
//! refuses the rest at once, which the relay cannot, and QUIC falls back.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::act::Act;
use super::refusal::ResolveError;
use super::request::Publish;
use super::{Layer, MechanismName, Plan};
use creel_policy::Network;
use creel_policy::net::{Mode, Name, Protocol, Rule, Tls, To};

/// From the jail to the relay, after the last of its sockets.
pub const ALL: &[u8] = b".";
/// From the relay to the jail: the relay is confined and serves the sockets.
pub const SERVED: &[u8] = b"!";

/// The address of the proxies and the resolver. It is in 198.18.0.0/24, from which no name gets an address.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The addresses of the jail's loopback itself, so that the jail looks like a machine with a network.
pub const OWN: (Ipv4Addr, Ipv6Addr) = (
    SERVICE,
    Ipv6Addr::from_bits(0xfd63_7265_656c_0000_0000_0000_0000_0001),
);
const HTTP_PROXY: u16 = 3128;
const SOCKS_PROXY: u16 = 1080;
/// The first port that a process without capabilities binds (`ip_unprivileged_port_start`).
const FIRST_OWN_PORT: u16 = 1024;
/// The most listening sockets: each costs a descriptor and some 20 microseconds.
const MOST_LISTENERS: usize = 1024;

const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 1, 0]);
/// In `fd63:7265:656c::/96`, creel's unique local prefix (RFC 4193).
const FIRST_V6: u128 = 0xfd63_7265_656c_0000_0000_0000_0000_0100;

/// The synthetic addresses of the name with this number. 198.18.0.0/15 is reserved for benchmarks (RFC
/// 2544) and unused on the internet.
pub const fn synthetic(number: u32) -> (Ipv4Addr, Ipv6Addr) {
    (
        Ipv4Addr::from_bits(FIRST_V4 + number),
        Ipv6Addr::from_bits(FIRST_V6 + number as u128),
    )
}

/// The reverse of [`synthetic`].
pub fn number_of(address: IpAddr) -> Option<u32> {
    match address.to_canonical() {
        IpAddr::V4(v4) => u32::from(v4).checked_sub(FIRST_V4),
        IpAddr::V6(v6) => u128::from(v6).checked_sub(FIRST_V6)?.try_into().ok(),
    }
}

/// The egress of one jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// The mode of the policy's network.
    #[serde(serialize_with = "word", deserialize_with = "mode")]
    pub mode: Mode,
    /// The destinations that each layer's list allows; a destination must be on every list.
    pub lists: Vec<Vec<String>>,
    /// The denied destinations. Each text, here and in `lists`, is the `Debug` form of a [`Rule`].
    pub deny: Vec<String>,
    /// The sockets that the relay gets, in this order; at most 1024.
    pub listeners: Vec<Listener>,
    /// Names with fixed synthetic addresses, in the order of their numbers.
    #[serde(serialize_with = "texts", deserialize_with = "names")]
    pub names: Vec<Name>,
    /// Headers that the relay inserts: which variable holds the placeholder for which secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Published ports: servers in the jail that the host can connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// How often the operator has changed the rules of a session since it was made; `lists`, `deny` and `publish` are
    /// those after the last change.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// The rules that the relay enforces; the jail does not get them. A plan read from JSON has none, and a
    /// relay started with it refuses everything.
    #[serde(skip)]
    pub network: Network,
}

/// The path in the jail of the certificate of its own authority, PEM.
pub const CERTIFICATE: &str = "/etc/creel-ca.pem";
/// The path in the jail of the host's certificates with that of the jail's authority, PEM.
pub const BUNDLE: &str = "/etc/creel-ca-bundle.pem";
/// The path in the jail of the same certificates as a Java key store.
pub const STORE: &str = "/etc/creel-ca.jks";
/// The certificate files of distributions, and the file that covers each for programs that read no
/// variable: Debian, Fedora, Alpine; Java's on Debian and Fedora.
pub const USUAL: [(&str, &str); 5] = [
    ("/etc/ssl/certs/ca-certificates.crt", BUNDLE),
    ("/etc/pki/tls/certs/ca-bundle.crt", BUNDLE),
    ("/etc/ssl/cert.pem", BUNDLE),
    ("/etc/ssl/certs/java/cacerts", STORE),
    ("/etc/pki/java/cacerts", STORE),
];
/// Variables with the proxy. All name the HTTP proxy: for `socks5h`, httpx needs a package that is not
/// installed, and Chromium treats it as HTTP.
const PROXY_VARIABLES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];
/// Variables with the destinations to connect to directly.
const DIRECT_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// The jail's own loopback. Without brackets: httpx makes a URL of each entry, and `[::1]` has no port.
const DIRECT: &str = "localhost,127.0.0.1,::1";
/// Variables with the certificate bundle: curl, OpenSSL, Python, git, pip, cargo, AWS's and Nix's.
const BUNDLE_VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
];
/// Variables with one additional certificate: Node.js, Deno.
const CERTIFICATE_VARIABLES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// The value in a plan for a placeholder that the relay makes.
const PLACEHOLDER: &str = "(a placeholder, made when the run starts)";

/// Concurrent connections into the jail for each address family. This many sockets are made in the jail's
/// network and reused.
pub const PUBLISHED: usize = 64;

/// A listening socket of the relay in the jail's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// The local address and port; an unspecified address accepts every destination.
    pub address: SocketAddr,
    /// The protocol on the socket.
    pub serves: Serves,
}

/// The protocol that the relay speaks on a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serves {
    /// DNS over UDP.
    Dns,
    /// DNS over TCP.
    DnsStream,
    /// Connections to any address that the program dials.
    Transparent,
    /// An HTTP proxy, CONNECT and absolute-form requests: RFC 9112, section 3.2.
    HttpProxy,
    /// A SOCKS5 proxy, RFC 1928.
    SocksProxy,
    /// Datagrams to any address that the program sends to.
    Udp,
}

impl Serves {
    /// Whether the socket is UDP; else it is TCP.
    pub fn is_datagram(self) -> bool {
        matches!(self, Serves::Dns | Serves::Udp)
    }
}

impl Egress {
    /// Forgets where the rules of the network were written: the last field of each one's text.
    pub(super) fn forget_rules(&mut self) {
        for text in self.lists.iter_mut().flatten().chain(&mut self.deny) {
            if let Some(end) = text.rfind(", origin: Origin {") {
                text.truncate(end);
            }
        }
    }

    /// `None` if the policy grants no network and nothing is published.
    pub fn plan(network: &Network, publish: &[Publish]) -> Result<Option<Egress>, ResolveError> {
        match (network.mode, publish) {
            (Mode::None, []) => return Ok(None),
            (Mode::None, _) => {
                return Ok(Some(Egress {
                    mode: network.mode,
                    lists: vec![],
                    deny: vec![],
                    listeners: vec![],
                    names: vec![],
                    credentials: vec![],
                    changes: 0,
                    publish: publish.to_vec(),
                    network: network.clone(),
                }));
            }
            _ => {}
        }
        let names = names_of(network);
        let number = |name: &Name| names.iter().position(|n| n == name).unwrap_or(0) as u32;
        let listeners = listeners(network, number)?;
        Ok(Some(Egress {
            mode: network.mode,
            lists: lists_of(network),
            deny: network.deny.iter().map(text).collect(),
            names,
            listeners,
            changes: 0,
            credentials: network
                .credentials
                .iter()
                .map(ToString::to_string)
                .collect(),
            publish: publish.to_vec(),
            network: network.clone(),
        }))
    }

    /// The form of the network, for the receipt.
    pub(super) fn detail(&self) -> String {
        let mut out = match self.listeners.is_empty() {
            true => "none: loopback only".to_owned(),
            false => format!("{}: through the relay alone", self.mode.name()),
        };
        if !self.publish.is_empty() {
            out += &format!("; {} published", self.publish.len());
        }
        match self.changes {
            0 => {}
            1 => out += "; changed once since the start",
            count => out += &format!("; changed {count} times since the start"),
        }
        out
    }

    /// Whether the relay terminates TLS for any destination, so that the jail must trust its authority.
    pub fn terminates(&self) -> bool {
        terminates(&self.network)
    }

    /// The variables for the proxies, which programs may ignore, and for the certificates, which they must
    /// use.
    pub fn environment(network: &Network) -> Vec<(&'static str, String)> {
        if network.mode == Mode::None {
            return vec![];
        }
        let http = format!("http://{SERVICE}:{HTTP_PROXY}");
        let mut all = vec![];
        all.extend(PROXY_VARIABLES.map(|name| (name, http.clone())));
        all.extend(DIRECT_VARIABLES.map(|name| (name, DIRECT.to_owned())));
        if terminates(network) {
            all.extend(BUNDLE_VARIABLES.map(|name| (name, BUNDLE.to_owned())));
            all.extend(CERTIFICATE_VARIABLES.map(|name| (name, CERTIFICATE.to_owned())));
        }
        all
    }

    /// The variables that hold a placeholder, which is made when the relay starts. The caller's value of
    /// such a variable is not passed on.
    pub fn placeholders(network: &Network) -> impl Iterator<Item = (&str, &'static str)> {
        let credentials = network.credentials.iter();
        credentials.map(|credential| (credential.variable.as_str(), PLACEHOLDER))
    }

    /// The jail's `/etc/resolv.conf`.
    pub fn resolv_conf() -> String {
        // Any address works: the relay serves all of them.
        format!("nameserver {SERVICE}\noptions timeout:2 attempts:2\n")
    }
}

impl Plan {
    /// After `changes` changes of the operator's, the session has these rules and published ports.
    pub fn change_network(&mut self, network: &Network, publish: &[Publish], changes: u64) {
        let mut detail = None;
        for act in self.acts_mut() {
            if let Act::Egress(egress) = act {
                egress.lists = lists_of(network);
                egress.deny = network.deny.iter().map(text).collect();
                egress.network = network.clone();
                egress.publish = publish.to_vec();
                egress.changes = changes;
                detail = Some(egress.detail());
            }
        }
        let is_network = |layer: &&mut Layer| layer.name == MechanismName::Network;
        if let (Some(detail), Some(layer)) = (detail, self.layers.iter_mut().find(is_network)) {
            layer.detail = detail;
        }
    }
}

fn lists_of(network: &Network) -> Vec<Vec<String>> {
    let list = |list: &creel_policy::net::List| list.rules.iter().map(text).collect();
    network.lists.iter().map(list).collect()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The rules under which something is connected to.
fn carrying(network: &Network) -> impl Iterator<Item = &Rule> {
    let all = network.lists.iter().flat_map(|list| &list.rules);
    all.filter(|rule| rule.protocol != Protocol::None)
}

/// The exact names of the rules, sorted.
pub fn names_of(network: &Network) -> Vec<Name> {
    let names: BTreeSet<&Name> = carrying(network).filter_map(exact).collect();
    names.into_iter().cloned().collect()
}

/// The listeners that the rules need, at most 1024. `number`: that of a name's synthetic addresses.
pub fn listeners(
    network: &Network,
    number: impl Fn(&Name) -> u32,
) -> Result<Vec<Listener>, ResolveError> {
    let mut listeners = services();
    // The names of a port if all are exact; `None` if any destination may use it.
    let mut ports: BTreeMap<(u16, Serves), Option<BTreeSet<&Name>>> = BTreeMap::new();
    for rule in carrying(network) {
        let serves = match rule.protocol {
            Protocol::Udp => Serves::Udp,
            _ => Serves::Transparent,
        };
        for port in &rule.ports {
            let own = ports
                .entry((*port, serves))
                .or_insert_with(|| Some(BTreeSet::new()));
            match (exact(rule), own.as_mut()) {
                (Some(name), Some(names)) => {
                    names.insert(name);
                }
                (Some(_), None) => {}
                (None, _) => *own = None,
            }
        }
    }
    if network.mode == Mode::Ask {
        // A person may allow a destination that no rule has.
        for port in [80, 443] {
            ports.insert((port, Serves::Transparent), None);
        }
    }
    for ((port, serves), only) in ports {
        match only {
            Some(exact) if port >= FIRST_OWN_PORT || serves.is_datagram() => {
                for name in exact {
                    let (v4, v6) = synthetic(number(name));
                    listeners.push(at(v4, port, serves));
                    listeners.push(at(v6, port, serves));
                }
            }
            _ => listeners.extend(everywhere(port, serves)),
        }
    }
    if listeners.len() > MOST_LISTENERS {
        return Err(ResolveError::Listeners {
            most: MOST_LISTENERS,
        });
    }
    Ok(listeners)
}

fn texts<S: Serializer>(names: &[Name], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(names.iter().map(Name::as_str))
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Name>, D::Error> {
    let all = Vec::<String>::deserialize(from)?;
    let parse = |text: &String| Name::parse(text.as_bytes()).map_err(D::Error::custom);
    all.iter().map(parse).collect()
}

fn word<S: Serializer>(mode: &Mode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(mode.name())
}

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
    let word = String::deserialize(from)?;
    Mode::parse(&word).ok_or_else(|| D::Error::unknown_variant(&word, Mode::WORDS))
}

/// Whether TLS is terminated for any destination of `network`.
pub fn terminates(network: &Network) -> bool {
    let mut rules = network.lists.iter().flat_map(|list| &list.rules);
    rules.any(|rule| rule.tls == Tls::Terminate)
}

fn text(rule: &Rule) -> String {
    format!("{rule:?}")
}

fn exact(rule: &Rule) -> Option<&Name> {
    match &rule.to {
        To::Name(name) => Some(name),
        _ => None,
    }
}

fn services() -> Vec<Listener> {
    let mut all = vec![];
    all.extend(everywhere(53, Serves::Dns));
    all.extend(everywhere(53, Serves::DnsStream));
    all.push(at(SERVICE, HTTP_PROXY, Serves::HttpProxy));
    all.push(at(SERVICE, SOCKS_PROXY, Serves::SocksProxy));
    all
}

fn everywhere(port: u16, serves: Serves) -> [Listener; 2] {
    [
        at(Ipv4Addr::UNSPECIFIED, port, serves),
        at(Ipv6Addr::UNSPECIFIED, port, serves),
    ]
}

fn at(address: impl Into<IpAddr>, port: u16, serves: Serves) -> Listener {
    Listener {
        address: SocketAddr::new(address.into(), port),
        serves,
    }
}
