//! A jail's network: the canonical form of a host, the rules for destinations, and the single decision
//! that every egress uses. Pure: it neither resolves nor dials.
//!
//! Layers only narrow. Each layer that sets destinations adds a [`List`], and a destination must be on
//! every list; denials of every layer apply. So the meet of two layers is the union of their lists and of
//! their denials, and never wider than either.

pub mod decide;
pub mod fault;
pub mod host;
pub mod http;
pub mod meet;
pub mod range;
pub mod rule;
pub mod why;

pub use decide::Answer;
pub use fault::NetworkFault;
pub use host::{HOST, Host, HostError, Name};
pub use http::Http;
pub use meet::{Bounds, Said};
pub use range::{Range, special};
pub use rule::{Protocol, Rule, RuleError, Tls, To};
pub use why::{Why, WhySpoken};

use std::collections::BTreeSet;
use std::fmt;

use super::file::form::section;
use super::limits::bounds;
use super::words::words;
use super::{Bytes, Count, Origin, Sourced, Span};

words! {
    /// How much of the network there is, from the strictest to the loosest.
    #[derive(Default)]
    Mode {
        /// An empty network namespace with loopback up.
        #[default]
        None = "none",
        /// Destinations on every list.
        Allowlist = "allowlist",
        /// Like `Allowlist`, but prompts for destinations that are not on a list. No answer means denial.
        Ask = "ask",
        /// Every public name; at the ports of HTTP and HTTPS unless a list names others.
        Open = "open",
    }
}

/// The network access of a jail. The default is only its own loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub mode: Mode,
    /// A destination must be on each list. In any mode but `None`, no list means an empty list.
    pub lists: BTreeSet<List>,
    /// Denied even if the lists allow it.
    pub deny: BTreeSet<Rule>,
    pub limits: Limits,
    /// Headers that creel adds, outside of the jail.
    pub credentials: Vec<Credential>,
    /// Addresses of resolvers, `IP:PORT`; if empty, from `/etc/resolv.conf` and `/etc/hosts`.
    pub resolvers: Vec<Sourced<core::net::SocketAddr>>,
}

/// One layer's destinations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct List {
    pub on_miss: OnMiss,
    pub rules: BTreeSet<Rule>,
}

/// The decision on a destination that a list does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnMiss {
    Deny,
    Ask,
}

section! {
    /// Limits on all connections of a jail together; `None` means no limit but the machine's.
    pub struct Limits: plain "network.limits", "in [network.limits]" {
        /// Open connections.
        connections: Option<Sourced<Count>> = Count,
        /// New connections per second.
        rate: Option<Sourced<Count>> = Count,
        /// From the network to the jail, in the whole run.
        bytes_in: Option<Sourced<Bytes>> = Bytes,
        /// From the jail to the network.
        bytes_out: Option<Sourced<Bytes>> = Bytes,
        /// Bytes per second, for each direction separately.
        bandwidth: Option<Sourced<Bytes>> = Bytes,
        /// A connection without traffic is closed after this time; creel's own default is 10 min.
        idle: Option<Sourced<Span>> = Span,
    }
}

bounds!(Limits, "network.limits.", connections rate bytes_in bytes_out bandwidth idle);

/// A secret that the jail uses but never has: in requests to `host`, over TLS that creel terminates,
/// creel replaces the header's placeholder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credential {
    pub host: Name,
    /// Header name, lower case: `authorization`.
    pub header: String,
    /// The variable in the jail that holds the placeholder.
    pub variable: String,
    pub secret: Secret,
    pub origin: Origin,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credential {
            host,
            header,
            variable,
            secret,
            ..
        } = self;
        write!(f, "{header} for {host}: {variable} stands for ")?;
        match secret {
            Secret::Variable(name) => write!(f, "the variable {name} of creel's own"),
            Secret::File(path) => write!(f, "what is in {path}"),
        }
    }
}

/// The supervisor's source of a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// A variable of creel's own environment.
    Variable(String),
    /// A file, read before the relay is confined; a newline at its end is not part of the secret.
    File(String),
}
