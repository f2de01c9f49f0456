//! Changes of a network's rules while a session runs. They are added to the rules that the session was made
//! with: a denial wins, here too, so the order of two changes matters only where one undoes the other.

use std::collections::BTreeSet;

use super::network::{List, Mode, Network, OnMiss};
use super::rule::{Rule, RuleError, To, parse};
use crate::origin::Origin;

/// The rules that an operator has allowed and denied since a session was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Allowed in addition.
    pub allow: BTreeSet<Rule>,
    /// Denied in addition.
    pub deny: BTreeSet<Rule>,
}

/// A destination to allow, as a text names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The rule, with the ports of HTTP and HTTPS if the text has none.
    pub rule: Rule,
    /// Whether the text has ports.
    pub ports: Ports,
}

/// Whether a text names ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// It does.
    Named,
    /// It does not: it stands for the usual ones where it allows, for every one where it lifts a denial.
    Unnamed,
}

impl Wish {
    /// Parses `HOST[:PORTS]`, under the conditions of `--allow-net`.
    pub fn parse(text: &str, origin: Origin) -> Result<Wish, RuleError> {
        let (_, ports) = parse(text)?;
        Ok(Wish {
            rule: Rule::of_flag(text, origin)?,
            ports: match ports {
                Some(_) => Ports::Named,
                None => Ports::Unnamed,
            },
        })
    }
}

impl Changes {
    /// The rules in force: those of `base`, and the changes.
    pub fn on(&self, base: &Network) -> Network {
        let mut network = base.clone();
        network.grant(self.allow.iter());
        network.deny.extend(self.deny.iter().cloned());
        network
    }

    /// Allows a destination that `base` may lack. The error is the denial that would still hold for all of
    /// it.
    pub fn allow(&mut self, base: &Network, wish: &Wish) -> Result<(), Box<Rule>> {
        self.lift(base, wish)?;
        self.allow.insert(wish.rule.clone());
        Ok(())
    }

    /// Takes earlier denials of a destination back, and allows nothing beyond `base`.
    pub fn lift(&mut self, base: &Network, wish: &Wish) -> Result<(), Box<Rule>> {
        let Wish { rule, ports } = wish;
        if let Some(denial) = base.deny.iter().find(|denial| denial.shuts(rule)) {
            return Err(Box::new(denial.clone()));
        }
        let mut left = BTreeSet::new();
        for denial in &self.deny {
            if !includes(&rule.to, &denial.to) {
                // It denies more than the destination; the rest must stay denied, so the denial stays whole.
                if includes(&denial.to, &rule.to) && meets(denial, rule) {
                    return Err(Box::new(denial.clone()));
                }
                left.insert(denial.clone());
                continue;
            }
            match (denial.ports.is_empty(), ports) {
                (true, Ports::Unnamed) => {}
                (true, Ports::Named) => return Err(Box::new(denial.clone())),
                (false, _) => {
                    let rest: BTreeSet<u16> =
                        denial.ports.difference(&rule.ports).copied().collect();
                    if !rest.is_empty() {
                        left.insert(Rule {
                            ports: rest,
                            ..denial.clone()
                        });
                    }
                }
            }
        }
        self.deny = left;
        Ok(())
    }

    /// Denies a destination. What was allowed there before is forgotten.
    pub fn deny(&mut self, denial: Rule) {
        self.allow.retain(|rule| !denial.shuts(rule));
        self.deny.retain(|other| !denial.shuts(other));
        self.deny.insert(denial);
    }

    /// Changes in all.
    pub fn count(&self) -> usize {
        self.allow.len() + self.deny.len()
    }
}

/// Whether every destination of `other` is one of `own`.
fn includes(own: &To, other: &To) -> bool {
    match (own, other) {
        (To::Range(own), To::Range(other)) => own.contains(other),
        (To::Any, _) => true,
        (own, other) => own.spans(other),
    }
}

/// Whether a denial concerns a port of the rule.
fn meets(denial: &Rule, rule: &Rule) -> bool {
    denial.ports.is_empty() || !denial.ports.is_disjoint(&rule.ports)
}

impl Network {
    /// Grants these destinations in addition. Deny rules still apply.
    pub fn grant<'r>(&mut self, rules: impl ExactSizeIterator<Item = &'r Rule> + Clone) {
        if rules.len() == 0 {
            return;
        }
        if self.mode == Mode::None {
            self.mode = Mode::Allowlist;
            self.lists.clear();
        }
        let mut lists = std::mem::take(&mut self.lists);
        if lists.is_empty() {
            lists.insert(List {
                on_miss: OnMiss::Deny,
                rules: BTreeSet::new(),
            });
        }
        // A destination must be on each list.
        self.lists = lists
            .into_iter()
            .map(|mut list| {
                list.rules.extend(rules.clone().cloned());
                list
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decide::Transport;
    use crate::net::{Answer, Host};

    fn wish(text: &str) -> Wish {
        Wish::parse(text, Origin::creel()).unwrap()
    }

    fn denial(text: &str) -> Rule {
        Rule::denial(text, Origin::creel()).unwrap()
    }

    fn base(allow: &[&str], deny: &[&str]) -> Network {
        let mut network = Network::default();
        let rules: Vec<Rule> = allow.iter().map(|text| wish(text).rule).collect();
        network.grant(rules.iter());
        network.mode = Mode::Allowlist;
        network.deny = deny.iter().map(|text| denial(text)).collect();
        network
    }

    fn allows(network: &Network, text: &str) -> bool {
        let (host, port) = Host::parse_with_port(text.as_bytes(), 443).unwrap();
        matches!(network.judge(&host, port, Transport::Tcp), Answer::Allow(_))
    }

    /// The words: `+a` allows, `-a` denies, `!a` is an allowance that is refused.
    fn after(base: &Network, words: &[&str]) -> Network {
        let mut changes = Changes::default();
        for word in words {
            let (act, text) = word.split_at(1);
            match act {
                "+" => changes.allow(base, &wish(text)).unwrap(),
                "-" => changes.deny(denial(text)),
                _ => {
                    let before = changes.clone();
                    assert!(changes.allow(base, &wish(text)).is_err(), "{words:?}");
                    assert_eq!(changes, before, "{words:?}");
                }
            }
        }
        changes.on(base)
    }

    #[test]
    fn a_change_holds_until_one_of_the_same_destination() {
        let base = base(
            &["a.example", "b.example:22"],
            &["x.example", "*.y.example:80"],
        );
        for (words, open, shut) in [
            (
                &[][..],
                &["a.example", "b.example:22"][..],
                &["c.example"][..],
            ),
            (
                &["+c.example"],
                &["a.example", "c.example:80"],
                &["c.example:22"],
            ),
            (&["+c.example:22"], &["c.example:22"], &["c.example"]),
            (
                &["-a.example"],
                &["b.example:22"],
                &["a.example", "a.example:80"],
            ),
            (&["-a.example:443"], &["a.example:80"], &["a.example"]),
            (
                &["-a.example", "+a.example"],
                &["a.example", "a.example:80"],
                &[],
            ),
            (&["-a.example", "!a.example:443"], &[], &["a.example"]),
            (&["-a.example:443", "+a.example:443"], &["a.example"], &[]),
            (
                &["-b.example:22,23", "+b.example:22"],
                &["b.example:22"],
                &["b.example:23"],
            ),
            (&["-*", "!a.example"], &[], &["a.example", "b.example:22"]),
            (
                &["-*.example", "!a.example", "-c.example"],
                &[],
                &["a.example"],
            ),
            (
                &["-*.example", "+*.example"],
                &["a.example", "q.example"],
                &[],
            ),
            (
                &["+c.example", "-c.example"],
                &["a.example"],
                &["c.example"],
            ),
            (
                &["+c.example", "-*.example"],
                &[],
                &["c.example", "a.example"],
            ),
            (
                &["!x.example", "!x.example:22", "!z.y.example:80"],
                &[],
                &["x.example"],
            ),
            (&["+z.y.example"], &["z.y.example"], &["z.y.example:80"]),
            (
                &["+9.9.9.0/24:53", "-9.9.9.9"],
                &["9.9.9.8:53"],
                &["9.9.9.9:53"],
            ),
            (&["-9.0.0.0/8", "!9.9.9.9:53"], &[], &["9.9.9.9:53"]),
        ] {
            let network = after(&base, words);
            for text in open {
                assert!(allows(&network, text), "{words:?} {text}");
            }
            for text in shut {
                assert!(!allows(&network, text), "{words:?} {text}");
            }
        }
    }

    #[test]
    fn a_denial_that_is_lifted_gives_no_more_than_before() {
        let base = base(&["a.example"], &[]);
        let mut changes = Changes::default();
        changes.deny(denial("a.example"));
        changes.lift(&base, &wish("a.example")).unwrap();
        changes.lift(&base, &wish("b.example")).unwrap();
        assert_eq!(changes.on(&base), base);
    }

    #[test]
    fn a_rule_travels_as_its_text() {
        for text in [
            "a.example",
            "*.a.example:22",
            "h:8000-8063",
            "10.0.0.0/8:1",
            "[2001:db8::]/32:443",
        ] {
            let rule = wish(text).rule;
            assert_eq!(wish(&rule.destination()).rule, rule, "{text}");
            for text in [text.to_owned(), rule.to.to_string(), "*".into()] {
                let rule = denial(&text);
                assert_eq!(denial(&rule.destination()), rule, "{text}");
            }
        }
    }

    #[test]
    fn what_is_named_is_granted_and_nothing_else() {
        let rules = |texts: &[&str]| -> Vec<Rule> { texts.iter().map(|t| wish(t).rule).collect() };
        let mut network = Network::default();
        network.grant(rules(&["a.example", "b.example:22"]).iter());
        assert!(allows(&network, "a.example") && allows(&network, "b.example:22"));
        assert!(!allows(&network, "b.example") && !allows(&network, "c.example"));
        network.deny = BTreeSet::from([denial("a.example")]);
        network.grant(rules(&["a.example", "c.example"]).iter());
        assert!(!allows(&network, "a.example") && allows(&network, "c.example"));
        network.grant([].iter());
        assert!(!allows(&network, "a.example") && allows(&network, "c.example"));
    }
}
