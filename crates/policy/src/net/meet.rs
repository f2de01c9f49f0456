//! The network settings of layers, what they allow, and the meet of two.
//!
//! Only denials, lists and bounds are in the lattice: each layer that sets destinations adds one list,
//! and a destination must be on every list. Only the operator and the platform set credentials and
//! resolvers; these grant no destination.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::credential::Credential;
use super::http::Http;
use super::limits::Limits;
use super::network::{List, Mode, Network, OnMiss};
use super::rule::{Protocol, Rule, To};
use crate::error::PolicyError;
use crate::file::form::{Beside, List as Listed, Sub, section};
use crate::file::network::{self, Credentials, Denial, Destination, Resolvers};
use crate::file::plain::Word;
use crate::file::walk::File;
use crate::lattice::{Bound, Names, lattice};
use crate::origin::{Origin, Sourced};
use crate::rank::Rank;
use crate::tree::Table;

section! {
    /// One layer's network settings.
    pub struct Said: more "network", "in [network]" {
        mode: Option<Sourced<Mode>> = Word<Mode>,
        allow: Option<Vec<Rule>> = Listed<Destination>,
        deny: Vec<Rule> = Listed<Denial>,
        limits: Limits = Sub<Limits>,
        credentials: Vec<Credential> = Credentials,
        resolvers: Option<Vec<Sourced<SocketAddr>>> = Resolvers,
    }
}

impl Beside for Said {
    fn read_beside(&mut self, file: &File, of: &Table) -> Result<(), PolicyError> {
        let is_open = self
            .mode
            .as_ref()
            .is_some_and(|mode| mode.value == Mode::Open);
        let allow = self.allow.as_deref().unwrap_or_default();
        network::check(file, of, is_open, allow, &self.credentials)
    }
}

impl Said {
    /// The layer's list, if it sets destinations.
    fn list(&self) -> Option<List> {
        let mode = self.mode.as_ref();
        let rules = self.allow.iter().flatten().cloned();
        let mut rules: BTreeSet<Rule> = rules.collect();
        match mode.map(|mode| mode.value) {
            None | Some(Mode::None) if self.allow.is_none() => return None,
            Some(Mode::Open) if !rules.iter().any(|rule| rule.to == To::Any) => {
                rules.extend(mode.map(|mode| Rule::open(mode.origin.clone())));
            }
            _ => {}
        }
        let on_miss = match mode.map(|mode| mode.value) {
            Some(Mode::Ask) => OnMiss::Ask,
            _ => OnMiss::Deny,
        };
        Some(List { on_miss, rules })
    }
}

lattice! {
    /// The network access that one layer allows, or several together.
    pub struct Bounds {
        mode: Bound<Mode>,
        lists: BTreeSet<List>,
        deny: BTreeSet<Rule>,
        limits: Limits,
        credentials: BTreeSet<Credential>,
        resolvers: Names<SocketAddr>,
    }
}

impl Bounds {
    /// The bounds of a layer's settings, without those that its rank may not set.
    pub fn of(said: &Said, rank: Rank) -> Bounds {
        let heard = rank <= Rank::Operator;
        let resolvers = said.resolvers.as_ref().filter(|_| heard).map(|all| {
            let mut names: BTreeMap<SocketAddr, Origin> = BTreeMap::new();
            for one in all {
                names.entry(one.value).or_insert_with(|| one.origin.clone());
            }
            names
        });
        Bounds {
            mode: said.mode.clone(),
            lists: said.list().into_iter().collect(),
            deny: said.deny.iter().cloned().collect(),
            limits: said.limits.clone(),
            credentials: match heard {
                true => said.credentials.iter().cloned().collect(),
                false => BTreeSet::new(),
            },
            resolvers,
        }
    }

    /// Replaces an unspecified mode with `none`.
    pub fn close(&mut self) {
        self.mode.get_or_insert(Sourced::creel(Mode::None));
    }

    /// The mode; `none` if it is not set.
    pub fn mode(&self) -> Mode {
        self.mode.as_ref().map_or(Mode::None, |mode| mode.value)
    }

    /// The rules that the egress enforces.
    pub fn network(&self) -> Network {
        if self.mode() == Mode::None {
            return Network::default();
        }
        // If two layers have a secret for one header, keep the one that sorts first.
        let mut headers = BTreeSet::new();
        let mut credentials: Vec<Credential> = self.credentials.iter().cloned().collect();
        credentials.retain(|c| headers.insert((c.host.clone(), c.header.clone())));
        let resolvers = self.resolvers.iter().flatten();
        let resolvers = resolvers.map(|(value, origin)| Sourced::new(*value, origin.clone()));
        Network {
            mode: self.mode(),
            lists: self.lists.clone(),
            deny: self.deny.clone(),
            limits: self.limits.clone(),
            credentials,
            resolvers: resolvers.collect(),
        }
    }

    /// The lists and denials regardless of the mode, for rights that are not finalized.
    pub fn judged(&self) -> Network {
        Network {
            mode: Mode::Open,
            lists: self.lists.clone(),
            deny: self.deny.clone(),
            ..Network::default()
        }
    }

    /// Whether layers set resolvers but have none in common: then no name can be resolved.
    pub fn unresolvable(&self) -> bool {
        self.resolvers.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// Whether every destination of the rule is allowed or prompts for approval.
    pub fn covers(&self, rule: &Rule) -> bool {
        let denied = self.deny.iter().any(|deny| deny.shuts(rule));
        !denied && self.lists.iter().all(|list| list.covers(rule))
    }

    /// The rules common to all lists, as one list. An `Err` holds a rule that one list cannot express,
    /// because several lists bound its paths.
    pub fn folded(&self) -> Vec<Result<Rule, Rule>> {
        let mut lists = self.lists.iter();
        let first = lists.next().into_iter().flat_map(|list| &list.rules);
        let mut all: Vec<Result<Rule, Rule>> = first.cloned().map(Ok).collect();
        for list in lists {
            let mut both = vec![];
            for own in &all {
                let (Ok(own) | Err(own)) = own;
                both.extend(list.rules.iter().filter_map(|other| own.meet(other)));
            }
            all = both;
        }
        all.sort_by(|a, b| {
            let (Ok(a) | Err(a), Ok(b) | Err(b)) = (a, b);
            a.cmp(b)
        });
        all.dedup();
        all
    }
}

impl List {
    /// Whether rules cover it for every port, or the list prompts for approval.
    fn covers(&self, rule: &Rule) -> bool {
        let port = |port: &u16| {
            let one = Rule {
                ports: BTreeSet::from([*port]),
                ..rule.clone()
            };
            self.rules.iter().any(|own| own.covers(&one))
        };
        self.on_miss == OnMiss::Ask || rule.ports.iter().all(port)
    }
}

impl Rule {
    /// Whether this denial covers all of another rule.
    pub fn shuts(&self, rule: &Rule) -> bool {
        let to = match (&self.to, &rule.to) {
            (To::Range(own), To::Range(other)) => own.contains(other),
            (own, other) => own.spans(other),
        };
        let every = self.ports.is_empty();
        let ports = self.ports.is_superset(&rule.ports) && !rule.ports.is_empty();
        to && (every || ports)
    }

    /// Returns the traffic that both allow; `Err` if one rule cannot express it, and the result allows more.
    fn meet(&self, other: &Rule) -> Option<Result<Rule, Rule>> {
        let to = match (self.to.covers(&other.to), other.to.covers(&self.to)) {
            (true, _) => other.to.clone(),
            (_, true) => self.to.clone(),
            _ => return None,
        };
        let ports: BTreeSet<u16> = self.ports.intersection(&other.ports).copied().collect();
        let protocol = match (self.protocol, other.protocol) {
            (own, other) if own == other => own,
            (Protocol::None, _) | (_, Protocol::None) => Protocol::None,
            (Protocol::Udp, _) | (_, Protocol::Udp) => return None,
            (Protocol::Tcp | Protocol::Auto, other) => other,
            (own, Protocol::Tcp | Protocol::Auto) => own,
            _ => return None,
        };
        if ports.is_empty() {
            return None;
        }
        let some = |a: &BTreeSet<String>, b: &BTreeSet<String>| match (a.is_empty(), b.is_empty()) {
            (true, _) => Some(b.clone()),
            (_, true) => Some(a.clone()),
            _ => {
                Some(a.intersection(b).cloned().collect::<BTreeSet<_>>()).filter(|c| !c.is_empty())
            }
        };
        let mut exact = true;
        let http = match (&self.http, &other.http) {
            (None, http) | (http, None) => http.clone(),
            (Some(a), Some(b)) => {
                exact = a.paths == b.paths || a.paths.is_empty() || b.paths.is_empty();
                Some(Http {
                    methods: some(&a.methods, &b.methods)?,
                    paths: some(&a.paths, &b.paths).unwrap_or_else(|| a.paths.clone()),
                })
            }
        };
        let met = Rule {
            to,
            ports,
            protocol,
            tls: self.tls.max(other.tls),
            http,
            origin: self.origin.clone().min(other.origin.clone()),
        };
        Some(if exact { Ok(met) } else { Err(met) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use crate::lattice::Lattice;
    use crate::layer::Layer;
    use crate::net::decide::Transport;
    use crate::net::{Answer, Host};

    fn layer(text: &str) -> Layer {
        file::read("p.toml", text).unwrap_or_else(|e| panic!("{text}\n{e}"))
    }

    fn bounds(rank: Rank, text: &str) -> Bounds {
        Bounds::of(&layer(text).network, rank)
    }

    fn answer(bounds: &Bounds, text: &str) -> &'static str {
        let (host, port) = Host::parse_with_port(text.as_bytes(), 443).unwrap();
        match bounds.network().judge(&host, port, Transport::Tcp) {
            Answer::Allow(_) => "allow",
            Answer::Ask => "ask",
            Answer::Deny(_) => "deny",
        }
    }

    #[test]
    fn what_is_reused_adds_up_and_the_own_word_counts() {
        let base = "network = { mode = 'ask', allow = ['a.example'], deny = ['x.a.example'], resolvers = ['9.9.9.9:53'] }";
        let own = "network = { mode = 'allowlist', allow = ['b.example'], deny = ['x.b.example'] }";
        let said = layer(own).over(layer(base)).network;
        let texts = |rules: &[Rule]| -> Vec<String> {
            rules.iter().map(|rule| rule.to.to_string()).collect()
        };
        assert_eq!(said.mode.map(|mode| mode.value), Some(Mode::Allowlist));
        assert_eq!(texts(&said.allow.unwrap()), ["a.example", "b.example"]);
        assert_eq!(texts(&said.deny), ["x.a.example", "x.b.example"]);
        assert_eq!(said.resolvers.unwrap().len(), 1);
    }

    #[test]
    fn what_a_layer_says_of_destinations() {
        for (text, a, b, lists) in [
            ("", "deny", "deny", 0),
            ("network.mode = 'none'", "deny", "deny", 0),
            ("network.mode = 'allowlist'", "deny", "deny", 1),
            ("network.allow = ['a.example']", "deny", "deny", 1),
            (
                "network = { mode = 'none', allow = ['a.example'] }",
                "deny",
                "deny",
                1,
            ),
            (
                "network = { mode = 'allowlist', allow = [] }",
                "deny",
                "deny",
                1,
            ),
            (
                "network = { mode = 'allowlist', allow = ['a.example'] }",
                "allow",
                "deny",
                1,
            ),
            (
                "network = { mode = 'ask', allow = ['a.example'] }",
                "allow",
                "ask",
                1,
            ),
            ("network.mode = 'ask'", "ask", "ask", 1),
            ("network.mode = 'open'", "allow", "allow", 1),
            (
                "network = { mode = 'open', deny = ['a.example'] }",
                "deny",
                "allow",
                1,
            ),
            (
                "network = { mode = 'open', allow = ['a.example:5432'] }",
                "allow",
                "allow",
                1,
            ),
            (
                "network = { mode = 'open', allow = ['*:8443', 'a.example'] }",
                "allow",
                "deny",
                1,
            ),
        ] {
            let bounds = bounds(Rank::Operator, text);
            assert_eq!(answer(&bounds, "a.example"), a, "{text}");
            assert_eq!(answer(&bounds, "b.example"), b, "{text}");
            assert_eq!(bounds.lists.len(), lists, "{text}");
        }
    }

    #[test]
    fn layers_only_narrow() {
        let operator = bounds(
            Rank::Operator,
            "network = { mode = 'allowlist', allow = ['*.a.example', 'b.example'] }",
        );
        for (text, a, b, c) in [
            ("network.mode = 'open'", "allow", "allow", "deny"),
            ("network.mode = 'ask'", "ask", "ask", "deny"),
            ("network.allow = []", "deny", "deny", "deny"),
            (
                "network.allow = ['x.a.example', 'c.example']",
                "allow",
                "deny",
                "deny",
            ),
            ("network.deny = ['*.a.example']", "deny", "allow", "deny"),
            ("network.mode = 'none'", "deny", "deny", "deny"),
        ] {
            let met = operator.clone().met(bounds(Rank::Project, text));
            assert_eq!(answer(&met, "x.a.example"), a, "{text}");
            assert_eq!(answer(&met, "b.example"), b, "{text}");
            assert_eq!(answer(&met, "c.example"), c, "{text}");
        }
    }

    #[test]
    fn secrets_and_resolvers_are_the_operators() {
        let text = "[network]\nmode = 'allowlist'\nresolvers = ['9.9.9.9:53']\n\
            allow = [{ host = 'a.example', tls = 'terminate' }]\n\
            [[network.credentials]]\nhost = 'a.example'\nheader = 'Authorization'\n\
            variable = 'TOKEN'\nsecret = { env = 'REAL' }\n";
        let operator = bounds(Rank::Operator, text);
        assert_eq!(
            (
                operator.credentials.len(),
                operator.network().resolvers.len()
            ),
            (1, 1)
        );
        assert_eq!(operator.network().credentials[0].header, "authorization");
        let project = bounds(Rank::Project, text);
        assert_eq!((project.credentials.len(), &project.resolvers), (0, &None));
        let other = bounds(Rank::Platform, "network.resolvers = ['1.1.1.1:53']");
        assert!(operator.clone().met(other).unresolvable() && !operator.unresolvable());
    }

    #[test]
    fn lists_as_one() {
        let both = bounds(
            Rank::Operator,
            "network.allow = ['*.a.example:443', 'b.example']",
        )
        .met(bounds(
            Rank::Agent,
            "network.allow = ['x.a.example', 'b.example:80']",
        ));
        let shown: Vec<String> = both
            .folded()
            .iter()
            .map(|r| match r {
                Ok(rule) => rule.to_string(),
                Err(rule) => format!("not {rule}"),
            })
            .collect();
        assert_eq!(shown, ["b.example:80", "x.a.example:443"]);
    }
}
