//! A rule: a destination, its ports, and the protocols and requests allowed there.

use std::collections::BTreeSet;
use std::fmt;

pub use super::fault::{MOST_PORTS, RuleError};
use super::host::{Host, Name, parse_port};
use super::http::Http;
use super::range::{Range, block};
use crate::origin::Origin;
use crate::words::words;

/// Destinations, and what may be sent to them. A denial uses `to` and `ports` alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The first field, so that a list is sorted by it.
    pub to: To,
    /// In a denial, empty means every port; otherwise never empty.
    pub ports: BTreeSet<u16>,
    /// The protocol that is allowed.
    pub protocol: Protocol,
    /// The handling of TLS.
    pub tls: Tls,
    /// `None` means any request.
    pub http: Option<Http>,
    /// The place of the rule.
    pub origin: Origin,
}

/// The destinations of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// `*`: every name; only mode `open` grants it. A denial of it also covers every address.
    Any,
    /// This name.
    Name(Name),
    /// `*.example.org`: every name beneath it, but not the name itself.
    Under(Name),
    /// Addresses: those that a program dials directly, and special ones that a granted name may resolve
    /// to.
    Range(Range),
}

words! {
    /// The protocol.
    #[derive(Default)]
    Protocol {
        /// TLS at 443, HTTP at 80; elsewhere any protocol, detected from the first bytes. TLS and HTTP
        /// are checked wherever they are detected.
        #[default]
        Auto = "auto",
        Tls = "tls",
        Http = "http",
        /// Bytes that are not inspected.
        Tcp = "tcp",
        /// Datagrams; the rule then grants no TCP.
        Udp = "udp",
        /// No protocol: granted names may resolve to addresses of this range, but dialling one directly
        /// is refused.
        None = "none",
    }
}

impl Protocol {
    /// The ports for a rule that names none; if empty, the rule must name them.
    pub fn ports(self) -> BTreeSet<u16> {
        match self {
            Self::Auto | Self::None => BTreeSet::from([80, 443]),
            Self::Tls => BTreeSet::from([443]),
            Self::Http => BTreeSet::from([80]),
            Self::Tcp | Self::Udp => BTreeSet::new(),
        }
    }
}

words! {
    /// The handling of TLS.
    #[derive(Default)]
    Tls {
        /// Its server name is checked and its bytes are forwarded.
        #[default]
        Forward = "forward",
        /// creel terminates it with a certificate of the jail's own authority and uses TLS outside.
        Terminate = "terminate",
    }
}

/// Parses `HOST[:PORTS]`: the destination, and its ports if given.
pub fn parse(text: &str) -> Result<(To, Option<BTreeSet<u16>>), RuleError> {
    if text.is_empty() {
        return Err(RuleError::Empty);
    }
    if text.contains("://") {
        return Err(RuleError::Url);
    }
    let (to, ports) = match text.find(']') {
        Some(end) => match text.get(end + 1..).unwrap_or_default().split_once(':') {
            Some((bits, ports)) => (text.get(..end + 1 + bits.len()), Some(ports)),
            None => (Some(text), None),
        },
        None => match text.split_once(':') {
            Some((_, ports)) if ports.contains(':') => return Err(RuleError::Brackets),
            Some((to, ports)) => (Some(to), Some(ports)),
            None => (Some(text), None),
        },
    };
    let to = To::parse(to.unwrap_or_default())?;
    Ok((to, ports.map(parse_ports).transpose()?))
}

/// `443,8000-8010`
pub fn parse_ports(text: &str) -> Result<BTreeSet<u16>, RuleError> {
    let fault = || RuleError::Port(text.to_owned());
    let mut ports = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let port = |text| parse_port(text).map_err(|_| fault());
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(fault());
        }
        if usize::from(last - first) >= MOST_PORTS {
            return Err(RuleError::Ports);
        }
        ports.extend(first..=last);
    }
    match ports.len() {
        0..=MOST_PORTS => Ok(ports),
        _ => Err(RuleError::Ports),
    }
}

impl To {
    /// Parses a destination without ports: `*`, `*.NAME`, a name, an address, `ADDRESS/BITS`.
    pub fn parse(text: &str) -> Result<To, RuleError> {
        if text == "*" {
            return Ok(To::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return match suffix.contains('*') {
                true => Err(RuleError::Wildcard),
                false => Name::parse(suffix.as_bytes())
                    .map(To::Under)
                    .map_err(RuleError::Host),
            };
        }
        if text.contains('*') {
            return Err(RuleError::Wildcard);
        }
        if text.contains('/') {
            return Range::parse(text).map(To::Range).map_err(RuleError::Range);
        }
        Ok(
            match Host::parse(text.as_bytes()).map_err(RuleError::Host)? {
                Host::Name(name) => To::Name(name),
                Host::Address(address) => To::Range(Range::one(address)),
            },
        )
    }

    /// Whether the host is one of these.
    pub fn has(&self, host: &Host) -> bool {
        match (self, host) {
            (To::Any, Host::Name(_)) => true,
            (To::Name(own), Host::Name(name)) => own == name,
            (To::Under(suffix), Host::Name(name)) => name.is_under(suffix),
            (To::Range(range), Host::Address(address)) => range.has(*address),
            _ => false,
        }
    }

    /// Whether a grant of these covers the host. A special address needs a range inside its special
    /// block; the host's loopback needs its exact name. `0.0.0.0/0` means the internet, not the machine
    /// next to this one.
    pub fn grants(&self, host: &Host) -> bool {
        let named = match (self, host) {
            (to, Host::Name(name)) if name.is_host() => *to == To::Name(name.clone()),
            (To::Range(range), Host::Address(address)) => {
                block(*address).is_none_or(|block| block.range.contains(range))
            }
            _ => true,
        };
        self.has(host) && named
    }

    /// Whether a grant of these is at least as wide as one of `other`.
    pub fn covers(&self, other: &To) -> bool {
        match other {
            To::Name(name) if name.is_host() => self == other,
            _ => self.spans(other),
        }
    }

    /// Whether these include all of `other`, as denials need it.
    pub fn spans(&self, other: &To) -> bool {
        match (self, other) {
            (To::Any, To::Any | To::Name(_) | To::Under(_)) => true,
            (To::Name(own), To::Name(other)) => own == other,
            (To::Under(own), To::Name(other)) => other.is_under(own),
            (To::Under(own), To::Under(other)) => own == other || other.is_under(own),
            (To::Range(own), To::Range(other)) => {
                let home = super::range::home(other);
                own.contains(other) && home.is_none_or(|home| home.range.contains(own))
            }
            _ => false,
        }
    }
}

impl Rule {
    /// A rule that allows. Without `ports`, it has those of its protocol.
    pub fn new(
        to: To,
        ports: Option<BTreeSet<u16>>,
        protocol: Protocol,
        tls: Tls,
        http: Option<Http>,
        origin: Origin,
    ) -> Result<Rule, RuleError> {
        match &to {
            To::Name(name) if name.is_localhost() => return Err(RuleError::OwnLoopback),
            To::Name(name) if name.is_host() && ports.is_none() => {
                return Err(RuleError::HostPorts);
            }
            _ => {}
        }
        let ports = ports.unwrap_or_else(|| protocol.ports());
        if ports.is_empty() {
            return Err(RuleError::NoPorts(protocol.name()));
        }
        if ports.len() > MOST_PORTS {
            return Err(RuleError::Ports);
        }
        let opaque = matches!(protocol, Protocol::Tcp | Protocol::Udp | Protocol::None);
        if opaque && (http.is_some() || tls == Tls::Terminate) {
            return Err(RuleError::Opaque(protocol.name()));
        }
        if protocol == Protocol::None && !matches!(to, To::Range(_)) {
            return Err(RuleError::Nothing);
        }
        if http.is_some() && tls == Tls::Forward && protocol != Protocol::Http {
            return Err(RuleError::Unseen);
        }
        Ok(Rule {
            to,
            ports,
            protocol,
            tls,
            http,
            origin,
        })
    }

    /// A rule from one text: `HOST[:PORTS]`.
    pub fn of_text(text: &str, origin: Origin) -> Result<Rule, RuleError> {
        let (to, ports) = parse(text)?;
        Rule::new(to, ports, Protocol::Auto, Tls::Forward, None, origin)
    }

    /// The rule of a flag such as `--allow-net`: a rule from one text, but neither of every name nor of loopback,
    /// which is the jail's own.
    pub fn of_flag(text: &str, origin: Origin) -> Result<Rule, RuleError> {
        let rule = Rule::of_text(text, origin)?;
        match rule.to {
            To::Any => Err(RuleError::Any),
            // Clients do not use creel's proxy for loopback (`NO_PROXY`).
            To::Range(range) if range.is_loopback() => Err(RuleError::OwnLoopback),
            _ => Ok(rule),
        }
    }

    /// A denial from one text; without ports it covers every port.
    pub fn denial(text: &str, origin: Origin) -> Result<Rule, RuleError> {
        let (to, ports) = parse(text)?;
        let least = Rule::least(to);
        let ports = ports.unwrap_or_default();
        Ok(Rule {
            ports,
            origin,
            ..least
        })
    }

    /// The rule of mode `open`: every name, at the ports of HTTP and HTTPS.
    pub fn open(origin: Origin) -> Rule {
        Rule {
            ports: Protocol::Auto.ports(),
            origin,
            ..Rule::least(To::Any)
        }
    }

    /// Sorts before every other rule for these destinations.
    pub(super) fn least(to: To) -> Rule {
        Rule {
            to,
            ports: BTreeSet::new(),
            protocol: Protocol::Auto,
            tls: Tls::Forward,
            http: None,
            origin: Origin {
                source: String::new().into(),
                line: 0,
            },
        }
    }

    /// Whether this rule allows everything that `other` does; `false` may be wrong, `true` never is.
    pub fn covers(&self, other: &Rule) -> bool {
        let protocol = match self.protocol {
            own if own == other.protocol => true,
            // Every rule for a range also lets names resolve to it.
            _ if other.protocol == Protocol::None => true,
            Protocol::Tcp => other.protocol != Protocol::Udp,
            _ => false,
        };
        let http = match (&self.http, &other.http) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.covers(other),
        };
        protocol && http && self.to.covers(&other.to) && self.ports.is_superset(&other.ports)
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            To::Any => f.write_str("*"),
            To::Name(name) => name.fmt(f),
            To::Under(name) => write!(f, "*.{name}"),
            To::Range(range) => match range.address {
                core::net::IpAddr::V4(a) if range.bits == 32 => a.fmt(f),
                core::net::IpAddr::V6(a) if range.bits == 128 => write!(f, "[{a}]"),
                _ => range.fmt(f),
            },
        }
    }
}

impl Rule {
    /// In the form that [`parse`] reads, as in a policy file, with all ports.
    pub fn destination(&self) -> String {
        match self.ports.is_empty() {
            true => self.to.to_string(),
            false => format!("{}:{}", self.to, ports_text(&self.ports)),
        }
    }
}

impl fmt::Display for Rule {
    /// In one line: `*.example.org:443 GET,HEAD /v1/* (tls terminate)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.destination())?;
        if let Some(http) = &self.http {
            let mut words = |words: &BTreeSet<String>| match words.is_empty() {
                true => Ok(()),
                false => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    write!(f, " {}", words.join(","))
                }
            };
            words(&http.methods)?;
            words(&http.paths)?;
        }
        match (self.protocol, self.tls) {
            (Protocol::Auto, Tls::Forward) => Ok(()),
            (Protocol::Auto, Tls::Terminate) => f.write_str(" (tls terminate)"),
            (protocol, Tls::Forward) => write!(f, " ({})", protocol.name()),
            (protocol, Tls::Terminate) => write!(f, " ({}, tls terminate)", protocol.name()),
        }
    }
}

/// `443,8000-8010`
pub fn ports_text(ports: &BTreeSet<u16>) -> String {
    let mut runs: Vec<(u16, u16)> = vec![];
    for port in ports {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *port => *last = *port,
            _ => runs.push((*port, *port)),
        }
    }
    let texts = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, RuleError> {
        Rule::of_text(text, Origin::creel())
    }

    #[test]
    fn texts() {
        for (text, shown) in [
            ("github.com", "github.com:80,443"),
            ("GitHub.com.:443", "github.com:443"),
            ("*.Example.org:8443", "*.example.org:8443"),
            ("bücher.example:443", "xn--bcher-kva.example:443"),
            ("h:443,8000-8002,80", "h:80,443,8000-8002"),
            ("h:8000-8063", "h:8000-8063"),
            ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
            ("0x7f.1:5432", "127.0.0.1:5432"),
            ("[::ffff:10.0.0.1]:5432", "10.0.0.1:5432"),
            ("[2001:db8::]/32:443", "[2001:db8::]/32:443"),
            ("[2001:db8::1]", "[2001:db8::1]:80,443"),
            ("*:443", "*:443"),
        ] {
            assert_eq!(
                rule(text).map(|r| r.to_string()),
                Ok(shown.into()),
                "{text}"
            );
        }
        let deny = |text| Rule::denial(text, Origin::creel()).map(|r| r.to_string());
        assert_eq!(deny("*.evil.example"), Ok("*.evil.example".into()));
        assert_eq!(deny("evil.example:25"), Ok("evil.example:25".into()));
    }

    #[test]
    fn no_rules() {
        let long = "a".repeat(64);
        for text in [
            "",
            ",",
            ".",
            "*.",
            "*a.example",
            "a.*",
            "*.*.a",
            "**",
            "a b",
            "a\0b",
            "h:",
            "h:0",
            "h:x",
            "h:1-",
            "h:9-1",
            "h:1,,2",
            "h:1-65",
            "h:*",
            "2001:db8::/32",
            "::1:80",
            "[::1",
            "[::1]x",
            "[fe80::1%lo]:80",
            "https://a/b",
            "a/b",
            "10.1.2.3/8",
            "example.1",
            "a,b",
            long.as_str(),
            "user@host",
            "a%00.example",
            "10.0.0.0/8/9:443",
        ] {
            assert!(rule(text).is_err(), "{text:?}: {:?}", rule(text));
        }
    }

    #[test]
    fn of_protocols_tcp_covers_all_but_udp() {
        let of = |protocol| Rule {
            protocol,
            ..rule("a.example:443").unwrap()
        };
        use Protocol::{Auto, Http, Tcp, Tls, Udp};
        for (wide, narrow, covers) in [
            (Tcp, Tcp, true),
            (Tcp, Tls, true),
            (Tcp, Http, true),
            (Tcp, Auto, true),
            (Tcp, Udp, false),
            (Udp, Tcp, false),
            (Udp, Udp, true),
            (Tls, Tcp, false),
            (Auto, Tls, false),
        ] {
            assert_eq!(of(wide).covers(&of(narrow)), covers, "{wide:?} {narrow:?}");
        }
    }

    #[test]
    fn what_covers_what() {
        for (wide, narrow, covers) in [
            ("*.a.example:443", "b.a.example:443", true),
            ("*.a.example:443", "*.b.a.example:443", true),
            ("*.a.example:443", "a.example:443", false),
            ("a.example:443", "*.a.example:443", false),
            ("a.example:80,443", "a.example:443", true),
            ("a.example:443", "a.example:80,443", false),
            ("*:443", "a.example:443", true),
            ("*:443", "10.0.0.0/8:443", false),
            ("10.0.0.0/8:1", "10.1.0.0/16:1", true),
            ("10.1.0.0/16:1", "10.0.0.0/8:1", false),
            ("0.0.0.0/0:1", "8.8.8.0/24:1", true),
            ("0.0.0.0/0:1", "10.0.0.0/8:1", false),
            ("169.254.0.0/16:80", "169.254.169.254:80", false),
        ] {
            let covered = rule(wide).unwrap().covers(&rule(narrow).unwrap());
            assert_eq!(covered, covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn requests_need_to_be_seen() {
        let http = || Http::new(BTreeSet::from(["GET".into()]), BTreeSet::new()).ok();
        let new = |protocol, tls, ports: Option<&[u16]>| {
            let to = To::parse("a.example").unwrap();
            let ports = ports.map(|ports| ports.iter().copied().collect());
            Rule::new(to, ports, protocol, tls, http(), Origin::creel()).map(|_| ())
        };
        assert_eq!(
            new(Protocol::Auto, Tls::Forward, None),
            Err(RuleError::Unseen)
        );
        assert_eq!(
            new(Protocol::Tls, Tls::Forward, None),
            Err(RuleError::Unseen)
        );
        assert_eq!(new(Protocol::Auto, Tls::Terminate, None), Ok(()));
        assert_eq!(new(Protocol::Http, Tls::Forward, None), Ok(()));
        let opaque = new(Protocol::Tcp, Tls::Forward, Some(&[1]));
        assert_eq!(opaque, Err(RuleError::Opaque("tcp")));
        assert_eq!(
            new(Protocol::Tcp, Tls::Forward, None),
            Err(RuleError::NoPorts("tcp"))
        );
        let none = |to| {
            let to = To::parse(to).unwrap();
            let none = Protocol::None;
            Rule::new(to, None, none, Tls::Forward, None, Origin::creel()).map(|_| ())
        };
        assert_eq!(none("a.example"), Err(RuleError::Nothing));
        assert_eq!(none("10.0.0.0/8"), Ok(()));
    }
}
