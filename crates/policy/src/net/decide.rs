//! The single decision on a destination, for every egress of the jail.
//!
//! It runs for every connection and request, so it searches lists instead of scanning them: rules are
//! sorted by destination, and a name is looked up as itself, as each of its parent domains, and as `*`.

use core::net::IpAddr;
use std::collections::BTreeSet;

use super::host::{Host, Name};
use super::network::{List, Mode, Network, OnMiss};
use super::range::{Range, block, canonical};
use super::rule::{Protocol, Rule, To};
use super::why::Why;

/// The decision on a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The most specific rules that allow it, one from each list.
    Allow(Vec<&'a Rule>),
    /// A list prompts for approval.
    Ask,
    /// The destination is denied.
    Deny(Why),
}

/// The transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
}

/// The transport of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// The request is sent without TLS.
    Plain,
    /// TLS that creel terminates.
    Tls,
}

/// The application protocol on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken<'a> {
    /// TLS; its server name is already checked.
    Tls,
    /// A request: method, and path as sent, without the query.
    Request {
        /// As sent: `GET`.
        method: &'a str,
        /// As sent, without the query.
        path: &'a str,
        /// Whether the request is sent over TLS.
        carried: Carried,
    },
    /// Neither TLS nor HTTP.
    Other,
}

impl Network {
    /// Decides on a destination as the jail named it.
    pub fn judge(&self, host: &Host, port: u16, transport: Transport) -> Answer<'_> {
        if self.mode == Mode::None {
            return Answer::Deny(Why::NoNetwork);
        }
        if let Some(rule) = denial(&self.deny, host, port) {
            return Answer::Deny(Why::Denied(rule.origin.clone()));
        }
        let mut allowed = vec![];
        let mut asked = false;
        for list in &self.lists {
            match list.rules_for(host, port, transport).first() {
                Some(rule) => allowed.push(*rule),
                None => match special_of(host) {
                    Some(kind) => return Answer::Deny(Why::Special(kind)),
                    None if is_host(host) => return Answer::Deny(Why::Host),
                    // No prompt for datagrams: they need a rule.
                    None if list.on_miss == OnMiss::Ask && transport == Transport::Tcp => {
                        asked = true;
                    }
                    None => return Answer::Deny(Why::Unlisted),
                },
            }
        }
        match (asked, allowed.is_empty()) {
            (true, _) => Answer::Ask,
            (false, true) => Answer::Deny(Why::Unlisted),
            (false, false) => Answer::Allow(allowed),
        }
    }

    /// Whether a name resolves in the jail: some port of it is allowed, or prompts for approval.
    pub fn knows(&self, name: &Name) -> bool {
        let host = Host::Name(name.clone());
        let lists = || self.lists.iter();
        let ports: BTreeSet<u16> = match lists().all(|list| list.on_miss == OnMiss::Ask) {
            true => self.ports(),
            false => {
                let rules = lists().flat_map(|list| matching(&list.rules, &host));
                rules.flat_map(|rule| rule.ports.iter().copied()).collect()
            }
        };
        let open = |transport| {
            let denied = |port| matches!(self.judge(&host, port, transport), Answer::Deny(_));
            ports.iter().any(|port| !denied(*port))
        };
        open(Transport::Tcp) || open(Transport::Udp)
    }

    /// Every port that is allowed for some destination; if a list prompts, those of HTTP and HTTPS too.
    pub fn ports(&self) -> BTreeSet<u16> {
        let rules = self.lists.iter().flat_map(|list| &list.rules);
        let rules = rules.filter(|rule| rule.protocol != Protocol::None);
        let mut ports: BTreeSet<u16> = rules.flat_map(|rule| rule.ports.iter().copied()).collect();
        if self.lists.iter().any(|list| list.on_miss == OnMiss::Ask) {
            ports.extend(Protocol::Auto.ports());
        }
        ports
    }

    /// Whether every list has a range with this address and port. A granted name may then resolve to the
    /// address even if it is special.
    pub fn names_address(&self, address: IpAddr, port: u16, transport: Transport) -> bool {
        let host = Host::Address(canonical(address));
        let named = |list: &List| {
            let rules = matching(&list.rules, &host);
            let carries = |rule: &&Rule| rule.protocol == Protocol::None || rule.carries(transport);
            let mut rules = rules.iter().filter(|rule| carries(rule));
            rules.any(|rule| rule.ports.contains(&port))
        };
        self.mode != Mode::None && !self.lists.is_empty() && self.lists.iter().all(named)
    }

    /// Why an address to which a granted name resolved must not be dialled, if so: it is denied, or it is
    /// special and no rule names it.
    pub fn bars(&self, address: IpAddr, port: u16, transport: Transport) -> Option<Why> {
        let host = Host::Address(canonical(address));
        if let Some(rule) = denial(&self.deny, &host, port) {
            return Some(Why::Denied(rule.origin.clone()));
        }
        let kind = special_of(&host)?;
        (!self.names_address(address, port, transport)).then_some(Why::Special(kind))
    }
}

impl List {
    /// The rules that grant this destination, the most specific first.
    pub(super) fn rules_for(&self, host: &Host, port: u16, transport: Transport) -> Vec<&Rule> {
        let mut rules = matching(&self.rules, host);
        rules.retain(|rule| rule.carries(transport) && rule.ports.contains(&port));
        rules
    }
}

impl Rule {
    fn carries(&self, transport: Transport) -> bool {
        match self.protocol {
            Protocol::None => false,
            Protocol::Udp => transport == Transport::Udp,
            _ => transport == Transport::Tcp,
        }
    }
}

/// The denial that covers the destination, if any.
pub(super) fn denial<'r>(deny: &'r BTreeSet<Rule>, host: &Host, port: u16) -> Option<&'r Rule> {
    // A denial of every name also covers hosts without a name.
    let any = Rule::least(To::Any);
    let everything = deny.range(&any..).take_while(|rule| rule.to == To::Any);
    let mut speaking = speaking(deny, host).into_iter().chain(everything);
    speaking.find(|rule| rule.ports.is_empty() || rule.ports.contains(&port))
}

/// The special kind of an address; `None` for others and for names.
fn special_of(host: &Host) -> Option<&'static str> {
    match host {
        Host::Address(address) => block(*address).map(|block| block.kind),
        Host::Name(_) => None,
    }
}

fn is_host(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name.is_host())
}

/// The rules that grant the host, the most specific first.
fn matching<'r>(rules: &'r BTreeSet<Rule>, host: &Host) -> Vec<&'r Rule> {
    let mut rules = speaking(rules, host);
    rules.retain(|rule| rule.to.grants(host));
    rules
}

/// The rules that match the host, the most specific first.
fn speaking<'r>(rules: &'r BTreeSet<Rule>, host: &Host) -> Vec<&'r Rule> {
    let mut found = vec![];
    match host {
        Host::Name(name) => {
            let mut add = |to: To| {
                let from = Rule::least(to);
                let to = &from.to;
                found.extend(rules.range(&from..).take_while(|rule| rule.to == *to));
            };
            // Most lists are short, and most of them have no name that is beneath this one.
            add(To::Name(name.clone()));
            name.parents().for_each(|parent| add(To::Under(parent)));
            add(To::Any);
        }
        Host::Address(address) => {
            let first = Rule::least(To::Range(Range::FIRST));
            let ranges = rules.range(&first..);
            found.extend(ranges.filter(|rule| rule.to.has(&Host::Address(*address))));
            found.sort_by_key(|rule| match &rule.to {
                To::Range(range) => std::cmp::Reverse(range.bits),
                _ => std::cmp::Reverse(0),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::net::rule::Tls;

    fn list(on_miss: OnMiss, texts: &[&str]) -> List {
        let rule = |t: &&str| Rule::of_text(t, Origin::creel()).unwrap();
        List {
            on_miss,
            rules: texts.iter().map(rule).collect(),
        }
    }

    fn network(lists: &[List], deny: &[&str]) -> Network {
        let denial = |t: &&str| Rule::denial(t, Origin::creel()).unwrap();
        Network {
            mode: Mode::Allowlist,
            lists: lists.iter().cloned().collect(),
            deny: deny.iter().map(denial).collect(),
            ..Network::default()
        }
    }

    fn answer(network: &Network, text: &str) -> &'static str {
        let (host, port) = Host::parse_with_port(text.as_bytes(), 443).unwrap();
        match network.judge(&host, port, Transport::Tcp) {
            Answer::Allow(_) => "allow",
            Answer::Ask => "ask",
            Answer::Deny(Why::Special(_)) => "special",
            Answer::Deny(_) => "deny",
        }
    }

    #[test]
    fn a_range_for_names_alone_is_not_dialled_by_number() {
        let to = To::parse("10.0.0.0/8").unwrap();
        let ports = Some(BTreeSet::from([443]));
        let none = Rule::new(
            to,
            ports,
            Protocol::None,
            Tls::Forward,
            None,
            Origin::creel(),
        );
        let mut names = list(OnMiss::Deny, &["db.example:443"]);
        names.rules.insert(none.unwrap());
        let both = network(std::slice::from_ref(&names), &[]);
        assert_eq!(answer(&both, "10.0.0.1"), "special");
        assert_eq!(answer(&both, "db.example"), "allow");
        let address: IpAddr = [10, 0, 0, 1].into();
        assert_eq!(both.bars(address, 443, Transport::Tcp), None);
        assert!(both.bars(address, 80, Transport::Udp).is_some());
        // Another layer may grant the range itself: each list says what it lets be.
        let wide = list(OnMiss::Deny, &["10.0.0.0/8:443", "db.example:443"]);
        let met = network(&[names, wide], &[]);
        assert_eq!(answer(&met, "10.0.0.1"), "special");
        assert_eq!(met.bars(address, 443, Transport::Tcp), None);
        assert_eq!(met.ports(), BTreeSet::from([443]));
    }

    #[test]
    fn a_denial_of_everything_is_of_addresses_too() {
        let allowed = list(
            OnMiss::Deny,
            &["a.example:443", "8.8.0.0/16:443", "10.0.0.0/8:443"],
        );
        for deny in ["*", "*:443"] {
            let network = network(std::slice::from_ref(&allowed), &[deny]);
            for host in ["a.example", "8.8.8.8", "10.0.0.1"] {
                assert_eq!(answer(&network, host), "deny", "{deny} {host}");
            }
            let address = [8, 8, 8, 8].into();
            assert!(network.bars(address, 443, Transport::Tcp).is_some());
        }
        let network = network(&[allowed], &["*:80"]);
        assert_eq!(answer(&network, "8.8.8.8"), "allow");
    }

    #[test]
    fn a_range_counts_for_what_its_rule_carries() {
        let address: IpAddr = [10, 0, 0, 1].into();
        let bars = |protocol, transport| {
            let to = To::parse("10.0.0.0/8").unwrap();
            let ports = Some(BTreeSet::from([443]));
            let rule = Rule::new(to, ports, protocol, Tls::Forward, None, Origin::creel());
            let mut names = list(OnMiss::Deny, &["db.example:443"]);
            names.rules.insert(rule.unwrap());
            network(&[names], &[])
                .bars(address, 443, transport)
                .is_some()
        };
        assert!(bars(Protocol::Udp, Transport::Tcp) && bars(Protocol::Tcp, Transport::Udp));
        assert!(!bars(Protocol::Udp, Transport::Udp) && !bars(Protocol::Tcp, Transport::Tcp));
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        for network in [
            Network::default(),
            network(&[], &[]),
            network(&[list(OnMiss::Deny, &[])], &[]),
            network(
                &[list(OnMiss::Deny, &[]), list(OnMiss::Deny, &["a.example"])],
                &[],
            ),
            network(&[list(OnMiss::Deny, &[]), list(OnMiss::Ask, &[])], &[]),
        ] {
            assert_eq!(answer(&network, "a.example"), "deny");
            assert_eq!(answer(&network, "8.8.8.8"), "deny");
            assert!(!network.knows(&Name::parse(b"a.example").unwrap()));
            assert!(
                network
                    .judge_spoken(&Host::parse(b"a.example").unwrap(), 443, &Spoken::Tls)
                    .is_err()
            );
        }
    }

    #[test]
    fn labels_are_whole() {
        let network = network(
            &[list(
                OnMiss::Deny,
                &["docs.python.org", "*.github.com", "B\u{fc}cher.example"],
            )],
            &["*.evil.github.com"],
        );
        for (text, expected) in [
            ("docs.python.org", "allow"),
            ("DOCS.python.ORG.", "allow"),
            ("docs.python.org:80", "allow"),
            ("docs.python.org:22", "deny"),
            ("docs.python.org.evil.com", "deny"),
            ("xdocs.python.org", "deny"),
            ("python.org", "deny"),
            ("api.github.com", "allow"),
            ("a.b.github.com", "allow"),
            ("github.com", "deny"),
            ("evilgithub.com", "deny"),
            ("github.com.evil.com", "deny"),
            ("x.evil.github.com", "deny"),
            ("evil.github.com", "allow"),
            ("xn--bcher-kva.example", "allow"),
            ("140.82.121.4", "deny"),
        ] {
            assert_eq!(answer(&network, text), expected, "{text}");
        }
    }

    #[test]
    fn special_addresses_need_their_range() {
        let wide = list(
            OnMiss::Deny,
            &["0.0.0.0/0", "[::]/0", "169.254.0.0/16", "10.1.0.0/16"],
        );
        let asks = network(&[list(OnMiss::Ask, &[])], &[]);
        let network = network(&[wide], &["10.1.2.0/24", "8.8.4.4:443"]);
        for (text, expected) in [
            ("8.8.8.8", "allow"),
            ("8.8.4.4", "deny"),
            ("8.8.4.4:80", "allow"),
            ("[2600::1]:443", "allow"),
            ("127.0.0.1", "special"),
            ("0x7f.1", "special"),
            ("[::ffff:127.0.0.1]:443", "special"),
            ("0.0.0.0", "special"),
            ("[::]:443", "special"),
            ("[64:ff9b::a00:1]:443", "special"),
            ("[2002:a00:1::]:443", "special"),
            ("169.254.1.1", "allow"),
            ("169.254.169.254", "special"),
            ("10.1.0.1", "allow"),
            ("[::ffff:10.1.0.1]:443", "allow"),
            ("10.1.2.3", "deny"),
            ("10.2.0.1", "special"),
        ] {
            assert_eq!(answer(&network, text), expected, "{text}");
        }
        assert_eq!(answer(&asks, "169.254.169.254"), "special");
        assert_eq!(answer(&asks, "8.8.8.8"), "ask");
        let bars = |text: &str| {
            let address = text.parse().unwrap();
            network.bars(address, 443, Transport::Tcp).is_some()
        };
        assert!(!bars("8.8.8.8") && bars("8.8.4.4") && bars("::ffff:8.8.4.4"));
        assert!(!bars("10.1.0.1") && bars("10.1.2.3") && bars("127.0.0.1") && bars("fd00::1"));
    }

    #[test]
    fn each_list_counts() {
        let both = network(
            &[
                list(OnMiss::Deny, &["*.a.example", "c.example"]),
                list(OnMiss::Ask, &["b.a.example"]),
            ],
            &[],
        );
        assert_eq!(answer(&both, "b.a.example"), "allow");
        assert_eq!(answer(&both, "x.a.example"), "ask");
        assert_eq!(answer(&both, "d.example"), "deny");
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        assert!(both.knows(&name("x.a.example")) && !both.knows(&name("d.example")));
        let udp = both.judge(&Host::Name(name("x.a.example")), 443, Transport::Udp);
        assert_eq!(udp, Answer::Deny(Why::Unlisted));
        let asks = network(&[list(OnMiss::Ask, &[])], &["no.example"]);
        assert!(asks.knows(&name("x.example")) && !asks.knows(&name("no.example")));
        assert_eq!(asks.ports(), BTreeSet::from([80, 443]));
    }

    #[test]
    fn of_ranges_the_narrowest_answers_first() {
        let texts = ["8.8.0.0/16:443", "8.0.0.0/8:443", "8.8.8.0/24:443"];
        let network = network(&[list(OnMiss::Deny, &texts)], &[]);
        let host = Host::parse(b"8.8.8.8").unwrap();
        let Answer::Allow(rules) = network.judge(&host, 443, Transport::Tcp) else {
            panic!("it is granted");
        };
        assert_eq!(rules[0].to.to_string(), "8.8.8.0/24");
    }
}
