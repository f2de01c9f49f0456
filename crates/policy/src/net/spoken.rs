//! The decision on a protocol or a request, on a connection whose destination is allowed.

use super::decide::{Carried, Spoken, Transport, denial};
use super::host::Host;
use super::http::{Http, ambiguous};
use super::network::{List, Network, OnMiss};
use super::rule::{Protocol, Rule, Tls};
use super::why::{Why, WhySpoken};

impl Network {
    /// Whether the rules for a destination grant this protocol or request; else the reason. One rule of
    /// each list must grant it. A list that prompts and has no rule was already asked.
    pub fn judge_spoken(
        &self,
        host: &Host,
        port: u16,
        spoken: &Spoken<'_>,
    ) -> Result<(), WhySpoken> {
        if let Some(rule) = denial(&self.deny, host, port) {
            let why = Why::Denied(rule.origin.clone());
            return Err(WhySpoken::Destination(why));
        }
        if self.lists.is_empty() {
            return Err(WhySpoken::Destination(Why::Unlisted));
        }
        let tls = self.tls_of(host, port);
        for list in &self.lists {
            let rules = list.rules_for(host, port, Transport::Tcp);
            if rules.is_empty() && list.on_miss == OnMiss::Ask {
                continue;
            }
            // The most specific rule of the list, which a change would have to widen.
            let rule = || rules.first().map(|rule| rule.origin.clone());
            if let Spoken::Request { path, .. } = spoken {
                let judges =
                    |rule: &&&Rule| rule.http.as_ref().is_some_and(|h| !h.paths.is_empty());
                if let (Some(rule), Some(flaw)) = (rules.iter().find(judges), ambiguous(path)) {
                    let rule = rule.origin.clone();
                    return Err(WhySpoken::AmbiguousPath { flaw, rule });
                }
            }
            if !rules.iter().any(|rule| rule.lets(spoken, port, tls)) {
                return Err(match spoken {
                    Spoken::Tls => WhySpoken::Tls { rule: rule() },
                    Spoken::Request { method, .. } => WhySpoken::Request {
                        method: (*method).to_owned(),
                        rule: rule(),
                    },
                    Spoken::Other => WhySpoken::Protocol { rule: rule() },
                });
            }
        }
        Ok(())
    }

    /// Whether some rule for a destination distinguishes between requests.
    pub fn tells_requests_apart(&self, host: &Host, port: u16) -> bool {
        let rules = |list| List::rules_for(list, host, port, Transport::Tcp);
        let mut all = self.lists.iter().flat_map(rules);
        all.any(|rule| rule.http.is_some())
    }

    /// The handling of TLS to a destination: it is terminated if any rule for it says so.
    pub fn tls_of(&self, host: &Host, port: u16) -> Tls {
        let rules = |list| List::rules_for(list, host, port, Transport::Tcp);
        let all = self.lists.iter().flat_map(rules);
        all.map(|rule| rule.tls).max().unwrap_or_default()
    }
}

impl Rule {
    /// Whether it grants this protocol or request; `tls` is the handling of TLS to the destination.
    fn lets(&self, spoken: &Spoken<'_>, port: u16, tls: Tls) -> bool {
        let ended = tls == Tls::Terminate;
        let inside = |carried: &Carried| *carried == Carried::Tls;
        let expected = match (self.protocol, port, spoken) {
            (Protocol::Tcp, ..) => true,
            (Protocol::Udp | Protocol::None, ..) => false,
            (Protocol::Tls, _, Spoken::Tls) => true,
            // A request inside terminated TLS.
            (Protocol::Tls, _, Spoken::Request { carried, .. }) => ended && inside(carried),
            (Protocol::Http, _, Spoken::Request { .. }) => true,
            (Protocol::Http, _, Spoken::Tls) => ended,
            (Protocol::Tls | Protocol::Http, _, Spoken::Other) => false,
            (Protocol::Auto, 443, Spoken::Tls) => true,
            (Protocol::Auto, 443, Spoken::Request { carried, .. }) => ended && inside(carried),
            (Protocol::Auto, 80, Spoken::Request { .. }) => true,
            (Protocol::Auto, 80, Spoken::Tls) => false,
            (Protocol::Auto, 80 | 443, Spoken::Other) => false,
            // If TLS is terminated, no other protocol may pass unread.
            (Protocol::Auto, _, Spoken::Other) => !ended,
            (Protocol::Auto, ..) => true,
        };
        let said = match (&self.http, spoken) {
            (None, _) => true,
            // Its requests are checked when they arrive.
            (Some(_), Spoken::Tls) => ended,
            (Some(http), Spoken::Request { method, path, .. }) => Http::allows(http, method, path),
            (Some(_), Spoken::Other) => false,
        };
        expected && said
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::net::network::Mode;
    use crate::net::rule;
    use crate::origin::Origin;

    fn of(list: List) -> Network {
        Network {
            mode: Mode::Allowlist,
            lists: BTreeSet::from([list]),
            ..Network::default()
        }
    }

    fn http(to: &str, tls: Tls, methods: &[&str], paths: &[&str]) -> Rule {
        let (to, ports) = rule::parse(to).unwrap();
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let http = Http::new(words(methods), words(paths)).ok();
        Rule::new(to, ports, Protocol::Auto, tls, http, Origin::creel()).unwrap()
    }

    #[test]
    fn what_may_be_spoken() {
        let plain = Rule::of_text("plain.example:80,443,5432", Origin::creel()).unwrap();
        let mut rules = List {
            on_miss: OnMiss::Deny,
            rules: BTreeSet::from([plain]),
        };
        let tcp = Rule {
            protocol: Protocol::Tcp,
            ..Rule::of_text("tcp.example:443", Origin::creel()).unwrap()
        };
        rules.rules.insert(tcp);
        for (to, tls) in [
            ("tls.example:443", Tls::Forward),
            ("cut.example:443", Tls::Terminate),
        ] {
            let rule = Rule::of_text(to, Origin::creel()).unwrap();
            rules.rules.insert(Rule {
                protocol: Protocol::Tls,
                tls,
                ..rule
            });
        }
        let ended = |methods: &[&str], paths: &[&str]| {
            http("api.example:443", Tls::Terminate, methods, paths)
        };
        rules.rules.insert(ended(&["GET"], &["/v1/*"]));
        rules.rules.insert(ended(&["POST"], &["/v1/jobs"]));
        let network = of(rules);
        let may = |text: &str, spoken| {
            let (host, port) = Host::parse_with_port(text.as_bytes(), 443).unwrap();
            network.judge_spoken(&host, port, &spoken).is_ok()
        };
        let carried = Carried::Tls;
        let request = |method, path| Spoken::Request {
            method,
            path,
            carried,
        };
        let plainly = |method, path| Spoken::Request {
            method,
            path,
            carried: Carried::Plain,
        };
        for (text, spoken, good) in [
            ("plain.example:443", Spoken::Tls, true),
            ("plain.example:443", Spoken::Other, false),
            ("plain.example:443", request("GET", "/"), false),
            ("plain.example:80", request("GET", "//any/../thing"), true),
            ("plain.example:80", Spoken::Tls, false),
            ("plain.example:80", Spoken::Other, false),
            ("plain.example:5432", Spoken::Other, true),
            ("plain.example:5432", Spoken::Tls, true),
            ("plain.example:22", Spoken::Other, false),
            ("tcp.example:443", Spoken::Other, true),
            ("tls.example:443", Spoken::Tls, true),
            ("tls.example:443", Spoken::Other, false),
            ("tls.example:443", request("GET", "/"), false),
            ("cut.example:443", Spoken::Tls, true),
            ("cut.example:443", request("GET", "/"), true),
            ("cut.example:443", plainly("GET", "/"), false),
            ("api.example:443", Spoken::Tls, true),
            ("api.example:443", Spoken::Other, false),
            ("api.example:443", request("GET", "/v1/x"), true),
            ("api.example:443", plainly("GET", "/v1/x"), false),
            ("api.example:443", request("GET", "/v2/x"), false),
            ("api.example:443", request("get", "/v1/x"), false),
            ("api.example:443", request("POST", "/v1/jobs"), true),
            ("api.example:443", request("POST", "/v1/x"), false),
            ("api.example:443", request("GET", "/v1/../x"), false),
            ("api.example:443", request("GET", "/v1/%2e%2e/x"), false),
            ("api.example:443", request("GET", "/v1//x"), false),
            ("api.example:443", request("GET", "/v1/..;/x"), false),
            ("api.example:443", request("GET", "/v1\\x"), false),
            ("api.example:443", request("GET", "/v1/%2fx"), false),
            ("api.example:443", request("GET", "/v1/\u{1}"), false),
        ] {
            assert_eq!(may(text, spoken), good, "{text} {spoken:?}");
        }
    }

    /// A refusal has the rule that a change would have to widen, or the denial that made it.
    #[test]
    fn a_refusal_has_its_rule() {
        let at = |line| Origin {
            source: "p.toml".into(),
            line,
        };
        let rule = |text, line| Rule::of_text(text, at(line)).unwrap();
        let list = List {
            on_miss: OnMiss::Deny,
            rules: BTreeSet::from([rule("*.a.example:80", 3), rule("b.a.example:80", 4)]),
        };
        let mut network = of(list);
        let denial = Rule::denial("c.a.example", at(7)).unwrap();
        network.deny.insert(denial);
        let refused = |text: &str, spoken| {
            let (host, port) = Host::parse_with_port(text.as_bytes(), 80).unwrap();
            let why = network.judge_spoken(&host, port, &spoken).unwrap_err();
            (why.code(), why.rule().map(|rule| rule.line))
        };
        assert_eq!(refused("x.a.example", Spoken::Tls), ("net-tls", Some(3)));
        let other = refused("b.a.example", Spoken::Other);
        assert_eq!(other, ("net-protocol", Some(4)));
        assert_eq!(refused("c.a.example", Spoken::Tls), ("net-denied", Some(7)));
        assert_eq!(refused("d.example", Spoken::Tls), ("net-tls", None));
    }

    /// A rule about requests on TLS that is forwarded, which no file can have, allows nothing.
    #[test]
    fn what_cannot_be_seen_is_refused() {
        let mut blind = http("a.example:443", Tls::Terminate, &["GET"], &[]);
        blind.tls = Tls::Forward;
        let rules = List {
            on_miss: OnMiss::Deny,
            rules: BTreeSet::from([blind]),
        };
        let network = of(rules);
        let host = Host::parse(b"a.example").unwrap();
        assert!(network.judge_spoken(&host, 443, &Spoken::Tls).is_err());
    }
}
