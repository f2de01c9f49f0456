//! The network access of a jail: its mode, its lists of destinations, its denials.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use super::credential::Credential;
use super::limits::Limits;
use super::rule::Rule;
use crate::origin::Sourced;
use crate::words::words;

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
    /// How much of the network there is.
    pub mode: Mode,
    /// A destination must be on each list. In any mode but `None`, no list means an empty list.
    pub lists: BTreeSet<List>,
    /// Denied even if the lists allow it.
    pub deny: BTreeSet<Rule>,
    /// Limits on all connections together.
    pub limits: Limits,
    /// Headers that creel adds, outside of the jail.
    pub credentials: Vec<Credential>,
    /// Addresses of resolvers, `IP:PORT`; if empty, from `/etc/resolv.conf` and `/etc/hosts`.
    pub resolvers: Vec<Sourced<SocketAddr>>,
}

/// One layer's destinations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct List {
    /// The decision on a destination that no rule matches.
    pub on_miss: OnMiss,
    /// The destinations, sorted by [`Rule::to`].
    pub rules: BTreeSet<Rule>,
}

/// The decision on a destination that a list does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnMiss {
    /// It is denied.
    Deny,
    /// A prompt asks for approval.
    Ask,
}
