//! The canonical form of a host, made once, before it is matched, resolved or dialled.
//!
//! A host that matchers and resolvers may read differently is refused, not repaired: NUL and every other
//! character that names do not have, `%` (zone ids, escapes), blanks, empty and over-long labels, a name
//! whose last label is a number (inet_aton and browsers would read it as an address; the URL standard
//! refuses it too). An address is the same value in every spelling.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::range::{canonical, carried};

/// The name by which a jail reaches servers on the host's own loopback. `internal` is for private use
/// (ICANN's resolution of 29 July 2024). Only a rule with exactly this name grants it: no wildcard, mode
/// or range.
pub const HOST: &str = "host.creel.internal";

/// A name or an address, canonical.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name.
    Name(Name),
    /// Never IPv4-mapped, IPv4-compatible or NAT64: those become the IPv4 address that they carry.
    Address(IpAddr),
}

/// A DNS name: lower case, letters-digits-hyphens-underscores, A-labels, no trailing dot, at most 253
/// bytes, each label at most 63 (RFC 1035, RFC 5890). Its last label is not a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// Host names do not have this character.
    #[error("the character {0:?} is not allowed in a host name")]
    Character(char),
    /// A label or the name is too long, or a label is empty.
    #[error("a label is empty or longer than 63 bytes, or the name longer than 253")]
    Length,
    /// The name is not valid by UTS 46.
    #[error("it is not a valid internationalised name (UTS 46)")]
    Idn,
    /// A number as the last label, in a text that is not an IPv4 address.
    #[error("its last label is a number, but it is not an IPv4 address")]
    Number,
    /// `%ZONE` after an IPv6 address.
    #[error("an IPv6 address has a zone, which is valid on one machine only")]
    Zone,
    /// An IPv6 address and a port without brackets between them.
    #[error("an IPv6 address with a port needs brackets")]
    Brackets,
    /// The text after the last `:` is not a port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The text is neither a name nor an address.
    #[error("it is neither a name nor an address")]
    Neither,
}

/// The longest accepted input: a name of 253 bytes is shorter in UTF-8.
const MOST_BYTES: usize = 1024;
/// ASCII characters that labels do not have: all but letters, digits, hyphens, underscores and dots.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

impl Host {
    /// Parses text from a program or a policy, without a port: `Example.COM.`, `bücher.example`,
    /// `0x7f.1`, `::ffff:10.0.0.1`, `[::1]`.
    pub fn parse(text: &[u8]) -> Result<Host, HostError> {
        let text = readable(text)?;
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Character('['))?;
            return v6(inner).map(Host::Address);
        }
        if text.contains(':') {
            return v6(text).map(Host::Address);
        }
        let text = mapped(text)?;
        match numeric(&text) {
            true => v4(&text).map(|v4| Host::Address(v4.into())),
            false => named(text).map(Host::Name),
        }
    }

    /// Parses `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`, as in a CONNECT line or a Host header.
    pub fn parse_authority(text: &[u8]) -> Result<(Host, Option<u16>), HostError> {
        let text = readable(text)?;
        let (host, port) = match text.rfind(']') {
            Some(end) => match text.get(end + 1..) {
                None | Some("") => (text, None),
                Some(rest) => {
                    let port = rest.strip_prefix(':').ok_or(HostError::Neither)?;
                    (text.get(..=end).unwrap_or_default(), Some(port))
                }
            },
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(HostError::Brackets),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map(parse_port).transpose()?;
        Ok((Host::parse(host.as_bytes())?, port))
    }

    /// Like [`Host::parse_authority`], with `default` if no port is given.
    pub fn parse_with_port(text: &[u8], default: u16) -> Result<(Host, u16), HostError> {
        let (host, port) = Host::parse_authority(text)?;
        Ok((host, port.unwrap_or(default)))
    }

    /// `HOST:PORT`, with brackets around an IPv6 address.
    pub fn with_port(&self, port: u16) -> String {
        match self {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            host => format!("{host}:{port}"),
        }
    }
}

/// From an address in binary form: of a socket, or of a DNS answer.
impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        Host::Address(canonical(address))
    }
}

impl Name {
    /// Parses a name as [`Host::parse`] does; an address is an error.
    pub fn parse(text: &[u8]) -> Result<Name, HostError> {
        let text = mapped(readable(text)?)?;
        match numeric(&text) {
            true => Err(HostError::Number),
            false => named(text),
        }
    }

    /// The name, canonical, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name ends in `suffix` by whole labels and is longer.
    pub fn is_under(&self, suffix: &Name) -> bool {
        self.0
            .strip_suffix(&*suffix.0)
            .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether it is `localhost` or a name beneath it (RFC 6761), which always means the own machine: in
    /// a jail, the jail.
    pub fn is_localhost(&self) -> bool {
        let rest = self.0.strip_suffix("localhost");
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether it is [`HOST`].
    pub fn is_host(&self) -> bool {
        &*self.0 == HOST
    }

    /// The parent domains of this name, the longest first.
    pub fn parents(&self) -> impl Iterator<Item = Name> + '_ {
        let dots = self.0.match_indices('.');
        dots.filter_map(|(at, _)| Some(Name(self.0.get(at + 1..)?.into())))
    }
}

/// Parses a decimal port of at least 1.
pub fn parse_port(text: &str) -> Result<u16, HostError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(HostError::Port),
    }
}

/// The text, if it is UTF-8 and short enough.
fn readable(text: &[u8]) -> Result<&str, HostError> {
    match text.len() {
        0 => Err(HostError::Empty),
        1..=MOST_BYTES => std::str::from_utf8(text).map_err(|_| HostError::Neither),
        _ => Err(HostError::Length),
    }
}

/// Lower case and A-labels, without the trailing dot; only characters that names have.
fn mapped(text: &str) -> Result<Cow<'_, str>, HostError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if let Some(c) = text.chars().find(|c| c.is_ascii() && !legal(*c as u8)) {
        return Err(HostError::Character(c));
    }
    let a_label = |label: &str| {
        label
            .get(..4)
            .is_some_and(|l| l.eq_ignore_ascii_case("xn--"))
    };
    let text = match text.is_ascii() && !text.split('.').any(a_label) {
        true => Cow::Borrowed(text),
        // Hyphens in third and fourth position are in use, and have a meaning only after `xn`.
        false => Uts46::new()
            .to_ascii(text.as_bytes(), DENIED, Hyphens::Allow, DnsLength::Ignore)
            .map_err(|_| HostError::Idn)?,
    };
    let upper = text.bytes().any(|b| b.is_ascii_uppercase());
    let text = match upper {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => text,
    };
    Ok(match text.strip_suffix('.') {
        Some(rest) => Cow::Owned(rest.to_owned()),
        None => text,
    })
}

/// Checks a mapped text as a name.
fn named(text: Cow<'_, str>) -> Result<Name, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    let length = |label: &str| (1..=63).contains(&label.len());
    if text.len() > 253 || !text.split('.').all(length) {
        return Err(HostError::Length);
    }
    Ok(Name(text.into()))
}

/// Whether the last label makes it an address or invalid (the URL standard's "ends in a number").
fn numeric(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    let hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    match last.strip_prefix("0x") {
        Some(digits) => hex(digits),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Parses one to four numbers, decimal, octal (`0…`) or hexadecimal (`0x…`), the last of which fills the
/// remaining bytes: inet_aton(3).
fn v4(text: &str) -> Result<Ipv4Addr, HostError> {
    let parts: Vec<u64> = text
        .split('.')
        .map(number)
        .collect::<Option<_>>()
        .ok_or(HostError::Number)?;
    let (last, first) = parts.split_last().ok_or(HostError::Empty)?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return Err(HostError::Number);
    }
    let left = 8 * (4 - first.len() as u32);
    if *last >= 1 << left {
        return Err(HostError::Number);
    }
    let shifted = first.iter().zip([24, 16, 8]).map(|(part, by)| part << by);
    let bits: u64 = shifted.chain([*last]).sum();
    u32::try_from(bits)
        .map(Ipv4Addr::from)
        .map_err(|_| HostError::Number)
}

fn number(part: &str) -> Option<u64> {
    let (digits, radix) = match part.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if part.starts_with('0') => (part, 8),
        None => (part, 10),
    };
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    let digits = digits.trim_start_matches('0');
    match (valid, digits) {
        (false, _) => None,
        (true, "") => Some(0),
        (true, digits) => u64::from_str_radix(digits, radix).ok(),
    }
}

fn v6(text: &str) -> Result<IpAddr, HostError> {
    if text.contains('%') {
        return Err(HostError::Zone);
    }
    let address = text.parse::<Ipv6Addr>();
    match address {
        Ok(address) => Ok(carried(address).map_or(IpAddr::V6(address), IpAddr::V4)),
        Err(_) => Err(HostError::Neither),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    /// As in a URL's authority, but without brackets around an IPv6 address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => name.fmt(f),
            Host::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, HostError> {
        Host::parse(text.as_bytes()).map(|host| match &host {
            Host::Name(name) => format!("name {name}"),
            Host::Address(address) => address.to_string(),
        })
    }

    #[test]
    fn one_form_of_each_host() {
        for (text, form) in [
            ("example.com", "name example.com"),
            ("Example.COM.", "name example.com"),
            ("a_b._tcp.example", "name a_b._tcp.example"),
            ("r3---sn-x.example", "name r3---sn-x.example"),
            ("localhost", "name localhost"),
            ("0x7f.1.example", "name 0x7f.1.example"),
            ("1.2.3.4x", "name 1.2.3.4x"),
            ("0xg", "name 0xg"),
            ("bücher.example", "name xn--bcher-kva.example"),
            ("BÜCHER.example", "name xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "name xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "name xn--bcher-kva.example"),
            ("faß.example", "name xn--fa-hia.example"),
            ("ｅxample.com", "name example.com"),
            ("example。com", "name example.com"),
            ("exam\u{ad}ple.com", "name example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0X7F.0.0.1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("10.1.65535", "10.1.255.255"),
            ("00000000000000000000000000177.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"),
            ("１２７.0.0.１", "127.0.0.1"),
            ("169.254.169.254", "169.254.169.254"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("::", "::"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::FFFF:a00:1", "10.0.0.1"),
            ("::10.0.0.1", "10.0.0.1"),
            ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
            ("64:ff9b:1::a00:1", "64:ff9b:1::a00:1"),
            ("2002:a00:1::", "2002:a00:1::"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(form), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_host() {
        use HostError::*;
        let long = "a".repeat(64);
        let longer = "abcdefg.".repeat(32);
        let longest = "a".repeat(5000);
        for (text, error) in [
            ("", Empty),
            (".", Empty),
            ("..", Length),
            ("a..b", Length),
            (".a", Length),
            ("a..", Length),
            (long.as_str(), Length),
            (longer.as_str(), Length),
            (longest.as_str(), Length),
            ("a\0.example", Character('\0')),
            ("a b", Character(' ')),
            (" a", Character(' ')),
            ("a\r\nb", Character('\r')),
            ("a\tb", Character('\t')),
            ("a%00.example", Character('%')),
            ("a@b", Character('@')),
            ("a/b", Character('/')),
            ("a\\b", Character('\\')),
            ("a,b", Character(',')),
            ("*.a", Character('*')),
            ("a\u{7f}", Character('\u{7f}')),
            ("a\u{2100}b", Idn),
            ("a\u{202e}b", Idn),
            ("a\u{fffd}b", Idn),
            ("xn--", Idn),
            ("xn--a", Idn),
            ("xn--zzzzzzzzzz\u{e4}", Idn),
            ("1.2.3.4.5", Number),
            ("256.1.1.1", Number),
            ("1.2.3.256", Number),
            ("1.2.65536", Number),
            ("4294967296", Number),
            ("99999999999999999999999", Number),
            ("08", Number),
            ("1..2", Number),
            ("0x", Number),
            ("example.1", Number),
            ("example.0x7f", Number),
            ("fe80::1%eth0", Zone),
            ("[fe80::1%25eth0]", Zone),
            ("[::1", Character('[')),
            ("[127.0.0.1]", Neither),
            ("[example.com]", Neither),
            ("[]", Neither),
            (":", Neither),
            ("::1::", Neither),
            ("example.com:80", Neither),
        ] {
            assert_eq!(shown(text), Err(error), "{text:?}");
        }
        assert_eq!(Host::parse(b"a\xff"), Err(Neither));
        assert_eq!(Name::parse(b"127.0.0.1"), Err(Number));
    }

    #[test]
    fn a_form_is_its_own_form() {
        for text in ["Bücher.Example.", "0x7f.1", "::ffff:1.2.3.4", "2001:db8::1"] {
            let host = Host::parse(text.as_bytes()).unwrap();
            assert_eq!(Host::parse(host.to_string().as_bytes()), Ok(host));
        }
    }

    #[test]
    fn authorities() {
        let parsed = |text: &str| {
            Host::parse_authority(text.as_bytes()).map(|(host, port)| (host.to_string(), port))
        };
        for (text, host, port) in [
            ("a.example", "a.example", None),
            ("A.example.:443", "a.example", Some(443)),
            ("[::1]", "::1", None),
            ("[2001:db8::1]:8443", "2001:db8::1", Some(8443)),
            ("0x7f.1:080", "127.0.0.1", Some(80)),
        ] {
            assert_eq!(parsed(text), Ok((host.to_owned(), port)), "{text}");
        }
        for (text, error) in [
            ("a:", HostError::Port),
            ("a:0", HostError::Port),
            ("a:+80", HostError::Port),
            ("a:65536", HostError::Port),
            ("a: 80", HostError::Port),
            ("a:80\0", HostError::Port),
            (":80", HostError::Empty),
            ("::1", HostError::Brackets),
            ("::1:80", HostError::Brackets),
            ("a:1:2", HostError::Brackets),
            ("[::1]80", HostError::Neither),
            ("u@a:80", HostError::Character('@')),
            ("[::1%lo]:80", HostError::Zone),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
        let v6 = Host::parse(b"::1").unwrap();
        assert_eq!(v6.with_port(80), "[::1]:80");
    }

    #[test]
    fn whole_labels() {
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        let suffix = name("example.com");
        for (text, under) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("evilexample.com", false),
            ("example.com.evil.org", false),
            ("com", false),
        ] {
            assert_eq!(name(text).is_under(&suffix), under, "{text}");
            assert_eq!(name(text).parents().any(|n| n == suffix), under, "{text}");
        }
    }
}
