//! Errors in the network settings of a policy.

use super::host::{HOST, HostError};
use super::range::RangeError;
use crate::escape::shown;

/// Why a value of `[network]` was rejected. Continues the sentence after its place, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    #[error("destination '{}' in '{key}' {fault}", shown(text))]
    Destination {
        key: String,
        text: String,
        // In the message, so not a source.
        fault: RuleError,
    },
    #[error("resolver '{}' in 'network.resolvers' is not IP:PORT; write for example \"9.9.9.9:53\"", shown(.0))]
    Resolver(String),
    #[error("header '{}' in 'network.credentials' is not the name of a header; write for example \"authorization\"", shown(.0))]
    Header(String),
    #[error(
        "creel cannot add the credential for '{}', because it does not terminate that host's TLS; allow the host with tls = \"terminate\"",
        shown(.0)
    )]
    Forwarded(String),
    #[error(
        "'network.credentials.secret' needs one of env and file; write {{ env = \"NAME\" }} or {{ file = \"/path\" }}"
    )]
    Secret,
}

/// The most ports of one rule: each takes one or two listening sockets.
pub const MOST_PORTS: usize = 64;

/// Why a text or a table is not a rule. Continues the sentence after the destination, with a fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("is empty; take it out, or write a host")]
    Empty,
    #[error("is not a host: {0}; write a name, *.NAME, an address, or ADDRESS/BITS")]
    Host(HostError),
    #[error("is not a range: {0}")]
    Range(RangeError),
    #[error(
        "has a `*` that does not stand for whole labels; write *.NAME for every name below NAME"
    )]
    Wildcard,
    #[error("is a URL; write its host, and its path under `paths`")]
    Url,
    #[error("needs brackets around its IPv6 address; write [ADDRESS]:PORT or [ADDRESS]/BITS")]
    Brackets,
    #[error("has the invalid port '{0}'; write numbers from 1 to 65535, as in 443,8000-8010")]
    Port(String),
    #[error("has more than {MOST_PORTS} ports; name those that are needed")]
    Ports,
    #[error("has ports twice; write them behind the host or under `ports`")]
    PortsTwice,
    #[error("has no ports, and `protocol = \"{0}\"` has no default ports; add them")]
    NoPorts(&'static str),
    #[error(
        "has methods or paths, which creel sees only in TLS that it terminates or in plain HTTP; add tls = \"terminate\" or protocol = \"http\""
    )]
    Unseen,
    #[error(
        "terminates TLS or restricts requests, which `protocol = \"{0}\"` does not allow; remove one of the two"
    )]
    Opaque(&'static str),
    #[error(
        "grants nothing: `protocol = \"none\"` is only for a range to which granted names may resolve; remove it, or write the range"
    )]
    Nothing,
    #[error(
        "grants every name, which only `mode = \"open\"` does; name the hosts, or set that mode"
    )]
    Any,
    #[error(
        "is the jail's own loopback, which needs no rule; write {HOST}:PORT for a server on the host's loopback"
    )]
    OwnLoopback,
    #[error(
        "is the host's loopback, where each port may belong to another program; add the ports, as in {HOST}:11434"
    )]
    HostPorts,
    #[error("has the method '{0}', which is not valid; write upper-case words such as GET or POST")]
    Method(String),
    #[error(
        "has the path '{0}', which is not valid; begin it with '/', and leave out `..`, `//`, `%`, `;`, `?` and `\\`"
    )]
    Path(String),
}
