//! The one decision on a destination, for every way out of the jail.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::fmt;

use super::{Host, Mode, Name, Network, OnMiss, Protocol, Rule, Tls, To};
use crate::policy::Origin;

/// What is to become of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The narrowest rules that allow it, one of each list.
    Allow(Vec<&'a Rule>),
    Ask,
    Deny(Why),
}

/// Why a destination is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    NoNetwork,
    Denied(Origin),
    /// A list does not have it.
    Unlisted,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoNetwork => f.write_str("there is no network"),
            Why::Denied(origin) => write!(f, "denied by {origin}"),
            Why::Unlisted => f.write_str("no rule allows it"),
        }
    }
}

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Network {
    /// Decides on a destination as the jail named it.
    pub fn judge(&self, host: &Host, port: u16, transport: Transport) -> Answer<'_> {
        if self.mode == Mode::None {
            return Answer::Deny(Why::NoNetwork);
        }
        let speaks = |rule: &&Rule| rule.speaks_of(host) && rule.ports.contains(&port);
        if let Some(rule) = self.deny.iter().find(speaks) {
            return Answer::Deny(Why::Denied(rule.origin.clone()));
        }
        let carried =
            |rule: &&Rule| (rule.protocol == Protocol::Udp) == (transport == Transport::Udp);
        let mut allowed = vec![];
        let mut asked = false;
        for list in &self.lists {
            match list.rules.iter().filter(speaks).find(carried) {
                Some(rule) => allowed.push(rule),
                None if list.on_miss == OnMiss::Ask => asked = true,
                None => return Answer::Deny(Why::Unlisted),
            }
        }
        match (asked, allowed.is_empty()) {
            (true, _) => Answer::Ask,
            (false, true) => Answer::Deny(Why::Unlisted),
            (false, false) => Answer::Allow(allowed),
        }
    }

    /// Whether a name exists in the jail: it may be reached, or asked for, at some port.
    pub fn knows(&self, name: &Name) -> bool {
        let host = Host::Name(name.clone());
        let ports = self.ports();
        let open = |transport| {
            ports
                .iter()
                .any(|port| !matches!(self.judge(&host, *port, transport), Answer::Deny(_)))
        };
        open(Transport::Tcp) || open(Transport::Udp)
    }

    /// Every port that some destination may be reached at.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.lists
            .iter()
            .flat_map(|list| &list.rules)
            .flat_map(|rule| rule.ports.iter().copied())
            .collect()
    }

    /// Whether every list has a range with this address and port: such an address may be what a
    /// granted name resolves to, though it is special.
    pub fn names_address(&self, address: IpAddr, port: u16) -> bool {
        let host = Host::Address(address);
        matches!(self.judge(&host, port, Transport::Tcp), Answer::Allow(_))
    }
}

impl Rule {
    /// Whether the host is one of this rule's.
    pub fn speaks_of(&self, host: &Host) -> bool {
        match (&self.to, host) {
            (To::Any, Host::Name(_)) => true,
            (To::Name(own), Host::Name(name)) => own == name,
            (To::Under(suffix), Host::Name(name)) => name.is_under(suffix),
            (To::Range(range), Host::Address(address)) => range.has(*address),
            _ => false,
        }
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken<'a> {
    /// TLS, with its server name judged.
    Tls,
    /// A request: method, and path as it was sent, without the query.
    Request { method: &'a str, path: &'a str },
    /// Neither TLS nor HTTP.
    Other,
}

impl Network {
    /// Whether the rules for a destination grant what is spoken; else why not. `ended`: by creel.
    pub fn judge_spoken(
        &self,
        _host: &Host,
        _port: u16,
        _spoken: &Spoken<'_>,
    ) -> Result<(), String> {
        Ok(())
    }

    /// What becomes of TLS to a destination: it is ended where any rule for it says so.
    pub fn tls_of(&self, host: &Host, port: u16) -> Tls {
        let speaks = |rule: &&Rule| rule.speaks_of(host) && rule.ports.contains(&port);
        let rules = self.lists.iter().flat_map(|list| &list.rules);
        rules
            .filter(speaks)
            .map(|rule| rule.tls)
            .max()
            .unwrap_or_default()
    }
}
