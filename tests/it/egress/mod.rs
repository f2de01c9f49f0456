//! The way out, in this process: a gate made by hand, servers on loopback.

mod carried;
mod hello;
mod published;
mod spliced;
mod transparent;

use std::rc::Rc;

use creel_egress::Way;
use creel_egress::gate::{Gate, Pass};
use creel_egress::resolve::Resolver;
use creel_policy::net::{Host, Limits, Network, Protocol, Rule, To};

use crate::support::gates;
pub use crate::support::gates::{LOOPBACK, listen, local, name, pair, sourced};

/// Grants a port of loopback, and the same to names.
pub fn rules(port: u16, protocol: Protocol, names: &[&str]) -> Vec<Rule> {
    let names = names.iter().map(|text| To::Name(name(text)));
    let to = names.chain([gates::range("127.0.0.0", 8)]);
    to.map(|to| gates::rule(to, &[port], protocol)).collect()
}

pub fn network(rules: Vec<Rule>, limits: Limits) -> Network {
    Network {
        limits,
        ..gates::network(rules)
    }
}

/// Every name of the rules is loopback's.
pub fn gate(policy: Network) -> Rc<Gate> {
    let rules = policy.lists.iter().flat_map(|list| &list.rules);
    let names = rules.filter_map(|rule| match &rule.to {
        To::Name(name) => Some(name.clone()),
        _ => None,
    });
    let resolver = gates::resolver(names);
    gate_with(policy, resolver)
}

pub fn gate_with(policy: Network, resolver: Resolver) -> Rc<Gate> {
    Rc::new(gates::gate(policy, resolver))
}

/// Loopback at a port, without a name.
pub async fn admit(gate: &Rc<Gate>, port: u16) -> Pass {
    let host = Host::Address(LOOPBACK);
    let admitted = gate.admit(Way::Transparent, host, port).await;
    admitted.expect("it is granted")
}
