//! Errors in the network settings of a policy.

use super::host::{HOST, HostError};
use super::range::RangeError;
use crate::escape::shown;

/// Why a value of `[network]` was rejected. Continues the sentence after its place, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// A destination of a list is not valid.
    #[error("destination '{}' in '{key}' {fault}", shown(text))]
    Destination {
        /// The key of the list: `network.allow`.
        key: String,
        /// The destination as written.
        text: String,
        // In the message, so not a source.
        /// Why the destination is not valid.
        fault: RuleError,
    },
    /// The text is not `IP:PORT`.
    #[error("resolver '{}' in 'network.resolvers' is not IP:PORT; write for example \"9.9.9.9:53\"", shown(.0))]
    Resolver(String),
    /// The text is not the name of a header (RFC 9110, 5.1).
    #[error("header '{}' in 'network.credentials' is not the name of a header; write for example \"authorization\"", shown(.0))]
    Header(String),
    /// The TLS of the host is forwarded, so that creel cannot add a header.
    #[error(
        "creel cannot add the credential for '{}', because it does not terminate that host's TLS; allow the host with tls = \"terminate\"",
        shown(.0)
    )]
    Forwarded(String),
    /// A secret has no source, or two.
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
    /// The text is empty.
    #[error("is empty; remove it, or write a host")]
    Empty,
    /// The text before the ports is not a host.
    #[error("is not a host: {0}; write a name, *.NAME, an address, or ADDRESS/BITS")]
    Host(HostError),
    /// The text with a `/` is not a range.
    #[error("is not a range: {0}")]
    Range(RangeError),
    /// A `*` is a part of a label.
    #[error(
        "has a `*` that does not stand for whole labels; write *.NAME for every name below NAME"
    )]
    Wildcard,
    /// The text has a scheme.
    #[error("is a URL; write its host, and its path under `paths`")]
    Url,
    /// An IPv6 address has a port, but no brackets.
    #[error("needs brackets around its IPv6 address; write [ADDRESS]:PORT or [ADDRESS]/BITS")]
    Brackets,
    /// The text is not a list of ports.
    #[error("has the invalid port '{0}'; write numbers from 1 to 65535, as in 443,8000-8010")]
    Port(String),
    /// More than [`MOST_PORTS`].
    #[error("has more than {MOST_PORTS} ports; name those that are needed")]
    Ports,
    /// Ports are written behind the host and under `ports`.
    #[error("has ports twice; write them behind the host or under `ports`")]
    PortsTwice,
    /// The protocol has no default ports.
    #[error("has no ports, and `protocol = \"{0}\"` has no default ports; add them")]
    NoPorts(&'static str),
    /// creel does not see the requests that the rule restricts.
    #[error(
        "has methods or paths, which creel sees only in TLS that it terminates or in plain HTTP; add tls = \"terminate\" or protocol = \"http\""
    )]
    Unseen,
    /// The protocol has no TLS or no requests.
    #[error(
        "terminates TLS or restricts requests, which `protocol = \"{0}\"` does not allow; remove one of the two"
    )]
    Opaque(&'static str),
    /// `protocol = "none"` for a destination that is not a range.
    #[error(
        "grants nothing: `protocol = \"none\"` is only for a range to which granted names may resolve; remove it, or write the range"
    )]
    Nothing,
    /// `*` in a mode other than `open`.
    #[error(
        "grants every name, which only `mode = \"open\"` does; name the hosts, or set that mode"
    )]
    Any,
    /// `localhost`: the jail's own.
    #[error(
        "is the jail's own loopback, which needs no rule; write {HOST}:PORT for a server on the host's loopback"
    )]
    OwnLoopback,
    /// The host's loopback without ports.
    #[error(
        "is the host's loopback, where each port may belong to another program; add the ports, as in {HOST}:11434"
    )]
    HostPorts,
    /// The text is not an upper-case method.
    #[error("has the method '{0}', which is not valid; write upper-case words such as GET or POST")]
    Method(String),
    /// The path is not canonical; see [`ambiguous`](super::http::ambiguous).
    #[error(
        "has the path '{0}', which is not valid; begin it with '/', and leave out `..`, `//`, `%`, `;`, `?` and `\\`"
    )]
    Path(String),
}
