//! A rule: to whom, at which ports, saying what.

use std::collections::BTreeSet;

use super::{Name, Range};
use crate::policy::Origin;

/// Destinations, and what may be said to them. A denial uses `to` and `ports` alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub to: To,
    /// Never empty.
    pub ports: BTreeSet<u16>,
    pub protocol: Protocol,
    pub tls: Tls,
    /// `None`: any request.
    pub http: Option<Http>,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// `*`: every name; mode `open` alone has it.
    Any,
    Name(Name),
    /// `*.example.org`: every name beneath, not the name itself.
    Under(Name),
    /// Addresses: what a program dials by number, and what a granted name may resolve to though the
    /// range is special.
    Range(Range),
}

/// What is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TLS at 443, HTTP at 80; elsewhere whatever the first bytes are, and TLS and HTTP are judged
    /// where they are.
    #[default]
    Auto,
    Tls,
    Http,
    /// Bytes that nobody looks at.
    Tcp,
    /// Datagrams; the rule then grants no TCP.
    Udp,
}

/// What becomes of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tls {
    /// Its server name is judged and its bytes are forwarded.
    #[default]
    Forward,
    /// creel ends it with a certificate of the jail's own authority and speaks TLS outside.
    Terminate,
}

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Http {
    /// Upper case; empty: any.
    pub methods: BTreeSet<String>,
    /// Patterns of paths, `*` any run of characters; empty: any.
    pub paths: BTreeSet<String>,
}
