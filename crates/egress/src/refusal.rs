//! Why a connection is refused or closed early. The text is for people: the log, the proxies' replies and
//! the verdict have it. The code and the rule are for programs ([`Reason`](super::reason::Reason)).

use std::io;
use std::net::IpAddr;

use super::client_hello::Flaw;
use super::request_head::HeadError;
use super::resolve::ResolveError;
use super::socks::protocol::SocksError;
use creel_policy::Origin;
use creel_policy::net::why::UNNAMED;
use creel_policy::net::{Host, Why, WhySpoken};

/// Why a destination is refused or a connection closed; displays as the text for the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rules deny the destination.
    #[error("{0}")]
    Policy(Why),
    /// Somebody was asked and said no.
    #[error("no user allowed it when asked")]
    AskedDenied,
    /// There was no terminal, no answer in time, or no room for the question.
    #[error("no user allowed it when asked")]
    Unanswered,
    /// The destination is no valid host.
    #[error("it is not a host: {0}")]
    NoHost(String),
    /// The name resolved to this address alone, or to others that are refused too.
    #[error("the address {address} is {kind}, and {}", UNNAMED)]
    Special {
        /// The address.
        address: String,
        /// Its kind, such as `private`.
        kind: &'static str,
    },
    /// The address is the host's own, and no rule names its range.
    #[error("the address {0} is this host's own, and {UNNAMED}")]
    Own(IpAddr),
    /// The name cannot be resolved.
    #[error("the name has no address: {0}")]
    Unresolved(ResolveError),
    /// The host is not reached.
    #[error("the host does not answer: {text}")]
    Dial {
        /// The kind of failure.
        failure: Failure,
        /// The error of connect(2), TLS or HTTP.
        text: String,
    },
    /// `rule` sets the limit; `None` for creel's own.
    #[error("the limit {} is reached", bound.text())]
    Limit {
        /// The limit.
        bound: Bound,
        /// The rule that sets it.
        rule: Option<Origin>,
    },
    /// `rule` sets the time; `None` for creel's own.
    #[error("closed by creel: {text}")]
    Idle {
        /// The text after `closed by creel`.
        text: &'static str,
        /// The rule that sets the limit.
        rule: Option<Origin>,
    },
    /// The rules do not grant this protocol or request.
    #[error("{0}")]
    Spoken(WhySpoken),
    /// The destination is an address, and the rules for the server name do not grant TLS.
    #[error("the server name is {host}: {why}")]
    Named {
        /// The server name.
        host: Host,
        /// The reason for this name.
        why: Box<WhySpoken>,
    },
    /// The destination is an address, and the rules do not grant the server name.
    #[error("the server name is {host}, which no rule allows")]
    UnlistedName {
        /// The server name.
        host: Host,
        /// The rule that denies it, if one does.
        rule: Option<Origin>,
    },
    /// A rule terminates TLS for this server name, and the client dialled an address.
    #[error("creel terminates TLS to {0}, but the client connected to its address")]
    TerminatedName(Host),
    /// The server name is no valid host name; the whole text.
    #[error("{0}")]
    MalformedName(String),
    /// The server name is not the granted host; the whole text.
    #[error("{0}")]
    OtherName(String),
    /// The client sends no server name; the whole text.
    #[error("{0}")]
    NoName(String),
    /// The hello is malformed or ambiguous.
    #[error("the TLS client's hello is refused: {0}")]
    Hello(Flaw),
    /// The hello may contain another, encrypted one.
    #[error(
        "the hello may contain another, encrypted name (ECH); switch ECH off in the client, or set `tls = \"terminate\"` in the rule"
    )]
    EncryptedHello,
    /// An HTTP request follows bytes of the server.
    #[error("a request on a connection on which the server spoke first")]
    ServerFirst,
    /// The protocol was not detected in time.
    #[error(
        "the client did not show its protocol within 10 seconds; `protocol = \"tcp\"` in the rule forwards bytes without inspection"
    )]
    Undetected,
    /// The client offers no HTTP within TLS that creel terminates.
    #[error("the client offers no HTTP in its TLS, but a rule terminates the TLS of this host")]
    NoHttp,
    /// The client's TLS fails, where creel terminates it.
    #[error("{0}")]
    ClientTls(String),
    /// The client did not complete its TLS handshake with creel in time.
    #[error("closed by creel: the TLS handshake took more than 30 s")]
    ClientTlsLate,
    /// creel could not make a certificate for the host.
    #[error("a certificate cannot be created: {0}")]
    Certificate(String),
    /// The relay has no authority, though a rule terminates TLS.
    #[error("closed by creel: {0}")]
    NoAuthority(&'static str),
    /// The first request of a client of the HTTP proxy.
    #[error("{0}")]
    Head(HeadError),
    /// The first messages of a client of the SOCKS5 proxy.
    #[error("{0}")]
    Socks(SocksError),
    /// An HTTP request is malformed or ambiguous.
    #[error("{0}")]
    Request(String),
    /// A request names another destination than its connection.
    #[error("{0}")]
    OtherHost(String),
    /// An answer could reveal a credential.
    #[error("{0}")]
    Credential(String),
    /// A host's answer cannot be passed on.
    #[error("{0}")]
    Answer(&'static str),
    /// A client of a proxy sent no request in time.
    #[error("closed by creel: no request in 30 s")]
    NoRequest,
    /// The published port was closed while a client was connected.
    #[error("the port is no longer published")]
    Unpublished,
    /// The destination is the jail's own loopback.
    #[error(
        "closed by creel: the jail has its own loopback; a server of the host is at host.creel.internal, if a rule grants it"
    )]
    Loopback,
    /// The line in the log could not be written.
    #[error("closed by creel: its record cannot be written")]
    Unrecorded,
    /// The log has reached its limit.
    #[error("closed by creel: the records of this run have reached their limit")]
    LogFull,
}

/// Why a host is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The host refused the connection (ECONNREFUSED).
    Refused,
    /// No answer within the time limit.
    Late,
    /// Any other error of connect(2).
    Unreachable,
    /// The TLS handshake with the host, or its certificate.
    Tls,
    /// HTTP with the host failed.
    Http,
    /// The kernel does not say whether the address is the host's own.
    OwnUnknown,
}

/// The limits on all connections of a jail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Open connections.
    Connections,
    /// New connections per second.
    Rate,
    /// Bytes to the jail in the whole run.
    BytesIn,
    /// Bytes from the jail in the whole run.
    BytesOut,
    /// Names with a synthetic address.
    Names,
    /// Bytes of request heads and hellos.
    Heads,
}

impl Bound {
    fn text(self) -> &'static str {
        match self {
            Bound::Connections => "network.limits.connections",
            Bound::Rate => "network.limits.rate",
            Bound::BytesIn => "network.limits.bytes_in",
            Bound::BytesOut => "network.limits.bytes_out",
            Bound::Names => "of names",
            Bound::Heads => "of incomplete request heads and hellos",
        }
    }
}

creel_policy::codes!(Refusal {
    Self::AskedDenied => "net-asked-denied",
    Self::Unanswered => "net-unanswered",
    Self::NoHost(_) => "net-no-host",
    Self::Special { .. } => "net-resolved-special",
    Self::Own(_) => "net-own-address",
    Self::Dial { failure: Failure::Refused, .. } => "net-connection-refused",
    Self::Dial { failure: Failure::Late, .. } => "net-connection-timeout",
    Self::Dial { failure: Failure::Unreachable, .. } => "net-unreachable",
    Self::Dial { failure: Failure::Tls, .. } => "net-host-tls",
    Self::Dial { failure: Failure::Http, .. } => "net-host-http",
    Self::Dial { failure: Failure::OwnUnknown, .. } => "net-own-unknown",
    Self::Limit { bound: Bound::Connections, .. } => "net-limit-connections",
    Self::Limit { bound: Bound::Rate, .. } => "net-limit-rate",
    Self::Limit { bound: Bound::BytesIn, .. } => "net-limit-bytes-in",
    Self::Limit { bound: Bound::BytesOut, .. } => "net-limit-bytes-out",
    Self::Limit { bound: Bound::Names, .. } => "net-limit-names",
    Self::Limit { bound: Bound::Heads, .. } => "net-limit-heads",
    Self::Idle { .. } => "net-idle",
    Self::UnlistedName { .. } => "net-server-name-unlisted",
    Self::TerminatedName(_) => "net-server-name-terminated",
    Self::MalformedName(_) => "net-server-name-malformed",
    Self::OtherName(_) => "net-server-name-other",
    Self::NoName(_) => "net-server-name-missing",
    Self::Hello(_) => "net-hello",
    Self::EncryptedHello => "net-encrypted-hello",
    Self::ServerFirst => "net-server-first",
    Self::Undetected => "net-undetected",
    Self::NoHttp => "net-tls-no-http",
    Self::ClientTls(_) => "net-client-tls",
    Self::ClientTlsLate => "net-client-tls-timeout",
    Self::Certificate(_) => "net-certificate",
    Self::NoAuthority(_) => "net-no-authority",
    Self::Request(_) => "net-http-request",
    Self::OtherHost(_) => "net-http-host",
    Self::Credential(_) => "net-credential",
    Self::Answer(_) => "net-http-answer",
    Self::NoRequest => "net-no-request",
    Self::Unpublished => "net-unpublished",
    Self::Loopback => "net-jail-loopback",
    Self::Unrecorded => "net-unrecorded",
    Self::LogFull => "net-log-full",
} else {
    Self::Policy(why) => why.code(),
    Self::Unresolved(error) => error.code(),
    Self::Spoken(why) => why.code(),
    Self::Named { why, .. } => why.code(),
    Self::Head(error) => error.code(),
    Self::Socks(error) => error.code(),
});

impl Refusal {
    /// The codes of all refusals, those of wrapped reasons included.
    pub fn all_codes() -> impl Iterator<Item = &'static str> {
        let lists = [
            Refusal::CODES,
            Why::CODES,
            WhySpoken::CODES,
            ResolveError::CODES,
            HeadError::CODES,
            SocksError::CODES,
        ];
        lists.into_iter().flatten().copied()
    }

    /// The rule that refuses it, sets the limit, or would have to be widened; `None` if there is none.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            Refusal::Policy(why) => why.rule(),
            Refusal::Spoken(why) => why.rule(),
            Refusal::Named { why, .. } => why.rule(),
            Refusal::Limit { rule, .. }
            | Refusal::Idle { rule, .. }
            | Refusal::UnlistedName { rule, .. } => rule.as_ref(),
            _ => None,
        }
    }

    /// A failed attempt to connect.
    pub fn dial(error: &io::Error) -> Refusal {
        Refusal::Dial {
            failure: match error.kind() {
                io::ErrorKind::ConnectionRefused => Failure::Refused,
                io::ErrorKind::TimedOut => Failure::Late,
                _ => Failure::Unreachable,
            },
            text: error.to_string(),
        }
    }

    /// A failure of TLS with the host.
    pub fn host_tls(text: impl Into<String>) -> Refusal {
        Refusal::Dial {
            failure: Failure::Tls,
            text: text.into(),
        }
    }

    /// A failure of HTTP with the host.
    pub fn host_http(text: impl Into<String>) -> Refusal {
        Refusal::Dial {
            failure: Failure::Http,
            text: text.into(),
        }
    }
}
