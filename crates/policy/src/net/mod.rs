//! What the network is to a jail: the canonical form of a host, the rules that name destinations, and
//! the one answer that every way out of the jail asks for. Pure: nothing here resolves or dials.
//!
//! Layers only narrow. Each layer that speaks of destinations adds a [`List`], and a destination must
//! be on every list; denials of any layer hold. So the meet of two layers is the union of their lists
//! and of their denials, and is never wider than either.

pub mod fault;
pub mod host;
pub mod http;
pub mod judge;
pub mod meet;
pub mod range;
pub mod rule;

pub use fault::NetworkFault;
pub use host::{HOST, Host, HostError, Name};
pub use http::Http;
pub use judge::{Answer, Why};
pub use meet::{Bounds, Said};
pub use range::{Range, special};
pub use rule::{Protocol, Rule, RuleError, Tls, To};

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
        /// What the lists have.
        Allowlist = "allowlist",
        /// As `Allowlist`, and what a list does not have is asked. Silence is denial.
        Ask = "ask",
        /// Every public name, at the ports of HTTP and HTTPS where no list names others.
        Open = "open",
    }
}

/// What a jail may reach. The default is nothing but its own loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub mode: Mode,
    /// A destination must be on each. In any mode but `None`, no list at all is an empty list.
    pub lists: BTreeSet<List>,
    /// Denied whatever the lists say.
    pub deny: BTreeSet<Rule>,
    pub limits: Limits,
    /// Headers that creel puts in, outside of the jail.
    pub credentials: Vec<Credential>,
    /// Where names are resolved, `IP:PORT`; empty: what `/etc/resolv.conf` and `/etc/hosts` say.
    pub resolvers: Vec<Sourced<core::net::SocketAddr>>,
}

/// One layer's word on destinations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct List {
    pub on_miss: OnMiss,
    pub rules: BTreeSet<Rule>,
}

/// What becomes of a destination that a list does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnMiss {
    Deny,
    Ask,
}

section! {
    /// Bounds on all connections of a jail together; `None`: no bound but the machine's.
    pub struct Limits: plain "network.limits", "in [network.limits]" {
        /// Open at once.
        connections: Option<Sourced<Count>> = Count,
        /// New ones a second.
        rate: Option<Sourced<Count>> = Count,
        /// From the network to the jail, over the whole run.
        bytes_in: Option<Sourced<Bytes>> = Bytes,
        /// From the jail to the network.
        bytes_out: Option<Sourced<Bytes>> = Bytes,
        /// Bytes a second, each direction by itself.
        bandwidth: Option<Sourced<Bytes>> = Bytes,
        /// A connection on which nothing moves is closed after this long; creel's own default is 10 min.
        idle: Option<Sourced<Span>> = Span,
    }
}

bounds!(Limits, "network.limits.", connections rate bytes_in bytes_out bandwidth idle);

/// A secret that the jail uses and never has: in requests to `host`, over TLS that creel ends, the
/// header's placeholder is replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credential {
    pub host: Name,
    /// Of the header, lower case: `authorization`.
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

/// Where the supervisor finds a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// A variable of creel's own environment.
    Variable(String),
    /// A file, read before the relay is confined; a newline at its end is not part of the secret.
    File(String),
}
