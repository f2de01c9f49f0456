//! Ranges of addresses, and the ranges that are not public hosts.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

/// Addresses that share their first `bits` bits. In canonical form, the other bits are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first address.
    pub address: IpAddr,
    /// The prefix length: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub bits: u8,
}

/// Why a text is not a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The text is not `ADDRESS/BITS`.
    #[error("its form is wrong; write ADDRESS/BITS, for example 10.0.0.0/8 or [2001:db8::]/32")]
    Malformed,
    /// The address has bits beyond the prefix length; the range without them.
    #[error("its address has bits set beyond the prefix length; write {0}")]
    HostBits(Range),
    /// The range has IPv6 addresses that stand for IPv4 addresses.
    #[error(
        "its addresses stand for IPv4 addresses, and rules apply to those; write the IPv4 range"
    )]
    Carries,
}

impl Range {
    /// Sorts before every other range.
    pub const FIRST: Range = v4([0, 0, 0, 0], 0);

    /// The range of one address.
    pub fn one(address: IpAddr) -> Range {
        let bits = width(address);
        Range { address, bits }
    }

    /// Parses `ADDRESS/BITS`, the address in its usual spelling, IPv6 with or without brackets.
    pub fn parse(text: &str) -> Result<Range, RangeError> {
        let (address, bits) = text.split_once('/').ok_or(RangeError::Malformed)?;
        let address = match address.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or(RangeError::Malformed)?,
            None => address,
        };
        let address: IpAddr = address.parse().map_err(|_| RangeError::Malformed)?;
        let plain = bits == "0" || bits.starts_with(|c: char| ('1'..='9').contains(&c));
        let bits: u8 = bits.parse().map_err(|_| RangeError::Malformed)?;
        if !plain || bits > width(address) {
            return Err(RangeError::Malformed);
        }
        let range = Range { address, bits };
        let meant = range.masked();
        if meant != range {
            return Err(RangeError::HostBits(meant));
        }
        // Hosts are never in this form, so such a range would match nothing.
        if CARRIERS.iter().any(|carrier| carrier.contains(&range)) {
            return Err(RangeError::Carries);
        }
        Ok(range)
    }

    /// Whether the address is in this range. An address of the other family is not.
    pub fn has(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(a) ^ u32::from(b)) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) ^ u128::from(b),
            _ => return false,
        };
        differing.leading_zeros() >= u32::from(self.bits)
    }

    /// Whether every address of `other` is in this range.
    pub fn contains(&self, other: &Range) -> bool {
        self.bits <= other.bits && self.has(other.address)
    }

    /// Whether it is one loopback address, or the unspecified address, which also dials the loopback.
    pub fn is_loopback(&self) -> bool {
        let own = self.address.is_loopback() || self.address.is_unspecified();
        *self == Range::one(self.address) && own
    }

    fn masked(self) -> Range {
        let address = match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits));
                Ipv4Addr::from(u32::from(a) & mask.unwrap_or(0)).into()
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits));
                Ipv6Addr::from(u128::from(a) & mask.unwrap_or(0)).into()
            }
        };
        Range { address, ..self }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}/{}", self.bits),
            IpAddr::V6(address) => write!(f, "[{address}]/{}", self.bits),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// IPv6 ranges whose addresses are another spelling of the IPv4 address in their last 32 bits: mapped
/// (RFC 4291), NAT64's well-known prefix (RFC 6052), and IPv4-compatible (RFC 4291, deprecated).
const CARRIERS: [Range; 3] = [
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
];

/// The IPv4 address that an IPv6 address carries, if any.
pub fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let carrier = CARRIERS.iter().any(|range| range.has(address.into()));
    let own = address.is_unspecified() || address.is_loopback();
    let [.., a, b, c, d] = address.octets();
    (carrier && !own).then(|| Ipv4Addr::new(a, b, c, d))
}

/// The form of an address that rules are applied to: the address that it carries, if any.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => carried(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The kind of special-purpose address, if it is one (IANA's registries, RFC 6890). A name that resolves
/// to one is refused unless a rule names its range.
pub fn special(address: IpAddr) -> Option<&'static str> {
    block(address).map(|block| block.kind)
}

/// The narrowest block that makes an address special.
pub fn block(address: IpAddr) -> Option<&'static Block> {
    let address = canonical(address);
    BLOCKS.iter().find(|block| block.range.has(address))
}

/// The narrowest block that contains all of a range.
pub fn home(range: &Range) -> Option<&'static Block> {
    BLOCKS.iter().find(|block| block.range.contains(range))
}

/// Addresses that are not public hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The addresses.
    pub range: Range,
    /// Their kind; continues the sentence after `the address is`.
    pub kind: &'static str,
}

const fn v4(octets: [u8; 4], bits: u8) -> Range {
    let [a, b, c, d] = octets;
    Range {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        bits,
    }
}

const fn v6(s: [u16; 8], bits: u8) -> Range {
    Range {
        address: IpAddr::V6(Ipv6Addr::new(
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7],
        )),
        bits,
    }
}

macro_rules! blocks {
    ($($range:expr => $kind:literal),+ $(,)?) => {
        [$(Block { range: $range, kind: $kind }),+]
    };
}

/// The narrowest first where they overlap. Contains IANA's special-purpose registries of IPv4 and IPv6 as
/// of 2026, the service addresses of clouds, and unassigned space. Public anycast services in the
/// registries (AS112, AMT) are not special.
const BLOCKS: [Block; 51] = blocks! {
    // Instance metadata and other data that clouds serve to any client on the machine.
    v4([169, 254, 169, 254], 32) => "cloud metadata",
    v4([169, 254, 169, 253], 32) => "cloud metadata",
    v4([169, 254, 169, 123], 32) => "cloud metadata",
    v4([169, 254, 170, 2], 32) => "cloud metadata",
    v4([169, 254, 170, 23], 32) => "cloud metadata",
    v4([100, 100, 100, 200], 32) => "cloud metadata",
    v4([192, 0, 0, 192], 32) => "cloud metadata",
    v4([168, 63, 129, 16], 32) => "cloud metadata",
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32) => "cloud metadata",
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128) => "cloud metadata",
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128) => "cloud metadata",
    v4([255, 255, 255, 255], 32) => "broadcast",
    v4([0, 0, 0, 0], 8) => "of this network (RFC 791)",
    v4([10, 0, 0, 0], 8) => "private",
    v4([100, 64, 0, 0], 10) => "a carrier's shared space (RFC 6598)",
    v4([127, 0, 0, 0], 8) => "loopback",
    v4([169, 254, 0, 0], 16) => "link-local",
    v4([172, 16, 0, 0], 12) => "private",
    v4([192, 0, 0, 0], 24) => "of IETF protocols (RFC 6890)",
    v4([192, 0, 2, 0], 24) => "for documentation",
    v4([192, 88, 99, 0], 24) => "of 6to4 relays (RFC 7526)",
    v4([192, 168, 0, 0], 16) => "private",
    v4([198, 18, 0, 0], 15) => "for benchmarks (RFC 2544)",
    v4([198, 51, 100, 0], 24) => "for documentation",
    v4([203, 0, 113, 0], 24) => "for documentation",
    v4([224, 0, 0, 0], 4) => "multicast",
    v4([240, 0, 0, 0], 4) => "reserved",
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128) => "unspecified",
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128) => "loopback",
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96) => "IPv4-translated (RFC 2765)",
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48) => "of local NAT64 (RFC 8215)",
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64) => "for discarding (RFC 6666)",
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64) => "a dummy (RFC 9780)",
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32) => "Teredo",
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48) => "for benchmarks (RFC 5180)",
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28) => "ORCHID",
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28) => "ORCHIDv2",
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28) => "of drones' identities (RFC 9374)",
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23) => "of IETF protocols (RFC 2928)",
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32) => "for documentation",
    // It embeds the IPv4 address of a tunnel's operator; no public name resolves to it.
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16) => "6to4",
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20) => "for documentation",
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16) => "of segment routing (RFC 9602)",
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10) => "link-local",
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10) => "site-local",
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8) => "multicast",
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7) => "unique local",
    // Global unicast is 2000::/3; the rest is unassigned.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3) => "reserved",
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2) => "reserved",
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 2) => "reserved",
    v6([0xc000, 0, 0, 0, 0, 0, 0, 0], 2) => "reserved",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special() {
        for (text, kind) in [
            ("1.1.1.1", None),
            ("9.255.255.255", None),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("192.31.196.1", None),
            ("192.0.1.1", None),
            ("223.255.255.255", None),
            ("2600::1", None),
            ("2a00:1450::1", None),
            ("2620:4f:8000::1", None),
            ("2001:200::1", None),
            ("64:ff9b::8.8.8.8", None),
            ("::ffff:8.8.8.8", None),
            ("0.0.0.0", Some("of this network (RFC 791)")),
            ("0.1.2.3", Some("of this network (RFC 791)")),
            ("10.255.255.255", Some("private")),
            ("100.64.0.1", Some("a carrier's shared space (RFC 6598)")),
            ("100.100.100.200", Some("cloud metadata")),
            ("127.255.0.1", Some("loopback")),
            ("169.254.1.1", Some("link-local")),
            ("169.254.169.254", Some("cloud metadata")),
            ("172.31.255.255", Some("private")),
            ("192.0.0.8", Some("of IETF protocols (RFC 6890)")),
            ("192.0.2.1", Some("for documentation")),
            ("192.168.1.1", Some("private")),
            ("198.19.255.255", Some("for benchmarks (RFC 2544)")),
            ("203.0.113.9", Some("for documentation")),
            ("224.0.0.1", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("240.0.0.1", Some("reserved")),
            ("255.255.255.255", Some("broadcast")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", Some("of this network (RFC 791)")),
            ("::127.0.0.1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:169.254.169.254", Some("cloud metadata")),
            ("::ffff:0:127.0.0.1", Some("IPv4-translated (RFC 2765)")),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b:1::10.0.0.1", Some("of local NAT64 (RFC 8215)")),
            ("100::1", Some("for discarding (RFC 6666)")),
            ("2001::1", Some("Teredo")),
            ("2001:2::1", Some("for benchmarks (RFC 5180)")),
            ("2001:db8::1", Some("for documentation")),
            ("2002:7f00:1::", Some("6to4")),
            ("3fff::1", Some("for documentation")),
            ("4000::1", Some("reserved")),
            ("5f00::1", Some("of segment routing (RFC 9602)")),
            ("e000::1", Some("reserved")),
            ("fc00::1", Some("unique local")),
            ("fd00:ec2::254", Some("cloud metadata")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("site-local")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(special(text.parse().unwrap()), kind, "{text}");
        }
    }

    /// A wider block before a narrower one of the same addresses would hide it.
    #[test]
    fn the_narrowest_block_counts() {
        for (n, block) in BLOCKS.iter().enumerate() {
            let hidden = BLOCKS[..n].iter().any(|b| b.range.contains(&block.range));
            assert!(!hidden, "{block:?}");
            assert_eq!(block.range.masked(), block.range, "{block:?}");
        }
    }

    #[test]
    fn ranges() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "1.2.3.4/32",
            "[2001:db8::]/32",
            "[::]/0",
        ] {
            assert_eq!(Range::parse(text).unwrap().to_string(), text);
        }
        let bare = Range::parse("fd00::/8").unwrap();
        assert_eq!(bare.to_string(), "[fd00::]/8");
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/-1",
            "0x0a.0.0.0/8",
            "10.0/8",
            "010.0.0.0/8",
            "[::/8",
            "fe80::%1/64",
            "[10.0.0.0]]/8",
            "::/129",
            "a/8",
        ] {
            assert_eq!(Range::parse(text), Err(RangeError::Malformed), "{text}");
        }
        let meant = Range::parse("10.0.0.0/8").unwrap();
        assert_eq!(Range::parse("10.1.2.3/8"), Err(RangeError::HostBits(meant)));
        for text in ["::ffff:10.0.0.0/104", "64:ff9b::/96", "::/96"] {
            assert_eq!(Range::parse(text), Err(RangeError::Carries), "{text}");
        }
        let (wide, narrow) = (meant, Range::parse("10.2.0.0/16").unwrap());
        assert!(wide.contains(&narrow) && wide.contains(&wide) && !narrow.contains(&wide));
        assert!(wide.has("10.255.0.1".parse().unwrap()) && !wide.has("11.0.0.0".parse().unwrap()));
        assert!(
            !Range::parse("0.0.0.0/0")
                .unwrap()
                .has("::1".parse().unwrap())
        );
    }
}
