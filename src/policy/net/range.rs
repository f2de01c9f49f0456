//! Ranges of addresses, and those that mean no public host.

use core::net::IpAddr;
use std::fmt;

/// Addresses that share their first `bits` bits; canonical, the other bits are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    pub address: IpAddr,
    pub bits: u8,
}

impl Range {
    pub fn has(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(a) ^ u32::from(b)) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) ^ u128::from(b),
            _ => return false,
        };
        differing.leading_zeros() >= u32::from(self.bits)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// What kind of special-purpose address this is, if any (IANA's registries, RFC 6890): such an answer
/// to a name is refused unless a rule names its range.
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(a) if a.is_loopback() => Some("loopback"),
        IpAddr::V4(a) if a.is_private() => Some("private"),
        _ => None,
    }
}
