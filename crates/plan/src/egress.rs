//! The way out, planned: where the relay listens in the jail's network, and what a program is told.
//!
//! Every address is local to the jail (one local default route), so a listener on a wildcard address has
//! every destination's port. A wildcard would take that port from the jail's own loopback too: where a
//! port is one that the jail may bind (1024 and up) and only exact names have it, the listeners are on
//! those names' synthetic addresses alone. So are those for datagrams at any port: the kernel then refuses
//! the rest at once, which the relay cannot, and QUIC falls back.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::refusal::ResolveError;
use super::request::Publish;
use creel_policy::Network;
use creel_policy::net::{Mode, Name, Protocol, Rule, Tls, To};

/// From the jail to the relay, after the last of its sockets.
pub const ALL: &[u8] = b".";
/// From the relay to the jail: it is confined and serves them.
pub const SERVED: &[u8] = b"!";

/// Where the proxies and the resolver are told to be: of 198.18.0.0/24, which no name gets.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// What loopback has for itself, so that the jail looks like a machine with a network.
pub const OWN: (Ipv4Addr, Ipv6Addr) = (
    SERVICE,
    Ipv6Addr::from_bits(0xfd63_7265_656c_0000_0000_0000_0000_0001),
);
const HTTP_PROXY: u16 = 3128;
const SOCKS_PROXY: u16 = 1080;
/// The first port that a process without capabilities binds (`ip_unprivileged_port_start`).
const FIRST_OWN_PORT: u16 = 1024;
/// Listening sockets at most: each costs a descriptor and some 20 microseconds.
const MOST_LISTENERS: usize = 1024;

const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 1, 0]);
/// In `fd63:7265:656c::/96`, a unique local prefix (RFC 4193) of creel's own.
const FIRST_V6: u128 = 0xfd63_7265_656c_0000_0000_0000_0000_0100;

/// The synthetic addresses of the name with this number: 198.18.0.0/15 is for benchmarks (RFC 2544) and
/// nobody's on the internet.
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

/// The way out of one jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    #[serde(serialize_with = "word", deserialize_with = "mode")]
    pub mode: Mode,
    /// What each layer's list allows; a destination must be on every list.
    pub lists: Vec<Vec<String>>,
    pub deny: Vec<String>,
    pub listeners: Vec<Listener>,
    /// Names with fixed synthetic addresses, in the order of their numbers.
    #[serde(serialize_with = "texts", deserialize_with = "names")]
    pub names: Vec<Name>,
    /// Headers that the relay puts in, by which variable stands for which secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Ways in, to servers in the jail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// What the relay judges by, which is not the jail's: a plan that was read from JSON has none, and a relay
    /// that is started by it refuses everything.
    #[serde(skip)]
    pub network: Network,
}

/// The certificate of the jail's own authority, and the host's certificates together with it.
pub const CERTIFICATE: &str = "/etc/creel-ca.pem";
pub const BUNDLE: &str = "/etc/creel-ca-bundle.pem";
/// The same for Java, which reads a form of its own.
pub const STORE: &str = "/etc/creel-ca.jks";
/// Where distributions keep the certificates that they trust, and what covers them for programs that no
/// variable tells: Debian, Fedora, Alpine; Java's on Debian and Fedora.
pub const USUAL: [(&str, &str); 5] = [
    ("/etc/ssl/certs/ca-certificates.crt", BUNDLE),
    ("/etc/pki/tls/certs/ca-bundle.crt", BUNDLE),
    ("/etc/ssl/cert.pem", BUNDLE),
    ("/etc/ssl/certs/java/cacerts", STORE),
    ("/etc/pki/java/cacerts", STORE),
];
/// By which programs are told of the proxy. One of HTTP for all of them: of a `socks5h` httpx wants a package
/// that is not there, and Chromium takes it for one of HTTP.
const PROXY_VARIABLES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];
/// By which they are told what to reach without it.
const DIRECT_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// The jail's own. Without brackets: httpx makes a URL of each, and `[::1]` has no port.
const DIRECT: &str = "localhost,127.0.0.1,::1";
/// By which programs are told of certificates: curl, OpenSSL, Python, git, pip, cargo, AWS's and Nix's.
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
/// By which programs are told of one more: Node.js, Deno.
const CERTIFICATE_VARIABLES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Stands in a plan for what the relay makes.
const PLACEHOLDER: &str = "(a placeholder, made when the run starts)";

/// Connections into the jail at once, for each family: so many sockets in the jail's network are made for
/// them, and used again and again.
pub const PUBLISHED: usize = 64;

/// A socket of the relay's in the jail's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    pub address: SocketAddr,
    pub serves: Serves,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serves {
    /// Questions in datagrams.
    Dns,
    /// Questions on connections.
    DnsStream,
    /// Connections to whatever address the program dialled.
    Transparent,
    HttpProxy,
    SocksProxy,
    /// Datagrams to whatever address the program sent to.
    Udp,
}

impl Serves {
    pub fn is_datagram(self) -> bool {
        matches!(self, Serves::Dns | Serves::Udp)
    }
}

impl Egress {
    /// `None` where the policy grants no network and nothing is published.
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
                    publish: publish.to_vec(),
                    network: network.clone(),
                }));
            }
            _ => {}
        }
        let rules = || {
            let all = network.lists.iter().flat_map(|list| &list.rules);
            all.filter(|rule| rule.protocol != Protocol::None)
        };
        let names: BTreeSet<&Name> = rules().filter_map(exact).collect();
        let mut listeners = services();
        // A port's names where they are all exact; `None`: any destination may have it.
        let mut ports: BTreeMap<(u16, Serves), Option<BTreeSet<&Name>>> = BTreeMap::new();
        for rule in rules() {
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
            // Somebody may allow a destination that no rule has.
            for port in [80, 443] {
                ports.insert((port, Serves::Transparent), None);
            }
        }
        let number = |name: &Name| names.iter().position(|n| *n == name).unwrap_or(0) as u32;
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
        Ok(Some(Egress {
            mode: network.mode,
            lists: network
                .lists
                .iter()
                .map(|list| list.rules.iter().map(text).collect())
                .collect(),
            deny: network.deny.iter().map(text).collect(),
            names: names.into_iter().cloned().collect(),
            listeners,
            credentials: network
                .credentials
                .iter()
                .map(ToString::to_string)
                .collect(),
            publish: publish.to_vec(),
            network: network.clone(),
        }))
    }

    /// Whether TLS is ended anywhere, so that the jail has an authority to trust.
    pub fn terminates(&self) -> bool {
        terminates(&self.network)
    }

    /// The variables by which programs are told of the proxies, which they need not know of, and of the
    /// certificates, which they must.
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

    /// The variables that hold a placeholder, which is made when the relay starts: what the caller has under
    /// such a name is not passed.
    pub fn placeholders(network: &Network) -> impl Iterator<Item = (&str, &'static str)> {
        let credentials = network.credentials.iter();
        credentials.map(|credential| (credential.variable.as_str(), PLACEHOLDER))
    }

    /// The jail's `/etc/resolv.conf`.
    pub fn resolv_conf() -> String {
        // Any address would do: all are the relay's.
        format!("nameserver {SERVICE}\noptions timeout:2 attempts:2\n")
    }
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

/// Whether TLS is ended for any destination of these.
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
