//! The one canonical form of a host, made once, before anything is matched, resolved or dialled.

use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;

/// A name or an address, canonical.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Name(Name),
    /// Never IPv4-mapped, IPv4-compatible or NAT64: those are the IPv4 address that they carry.
    Address(IpAddr),
}

/// A DNS name: lower case, letters-digits-hyphens-underscores, A-labels, no trailing dot, at most 253
/// bytes, each label at most 63 (RFC 1035, RFC 5890).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("it is empty")]
    Empty,
    #[error("the character {0:?} is none of a host name")]
    Character(char),
    #[error("a label is empty or longer than 63 bytes, or the name longer than 253")]
    Length,
    #[error("it is neither a name nor an address")]
    Neither,
}

impl Host {
    /// Reads what a program or a policy wrote, without a port: `Example.COM.`, `bücher.example`,
    /// `0x7f.1`, `::ffff:10.0.0.1`, `[::1]`.
    pub fn parse(text: &[u8]) -> Result<Host, HostError> {
        let text = std::str::from_utf8(text).map_err(|_| HostError::Neither)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Host::Address(address.to_canonical()));
        }
        Name::parse(text.as_bytes()).map(Host::Name)
    }
}

impl Name {
    pub fn parse(text: &[u8]) -> Result<Name, HostError> {
        let text = std::str::from_utf8(text).map_err(|_| HostError::Neither)?;
        match text.strip_suffix('.').unwrap_or(text) {
            "" => Err(HostError::Empty),
            text => Ok(Name(text.to_ascii_lowercase().into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `suffix` or ends in it by whole labels.
    pub fn is_under(&self, suffix: &Name) -> bool {
        self.0
            .strip_suffix(&*suffix.0)
            .is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    /// As in a URL's authority, but an IPv6 address without its brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => name.fmt(f),
            Host::Address(address) => address.fmt(f),
        }
    }
}
