//! `HOST[:PORT]`, as CONNECT, an absolute URL, `Host` and `:authority` write it. Pure.
//!
//! Parsed once, here, into the canonical form that is judged and dialled. Ambiguous forms are refused: user
//! names, an IPv6 address without brackets, an empty port, a port with a leading zero.

use std::fmt;

use creel_policy::net::{Host, HostError};

/// Maximum bytes. A name has at most 253, somewhat more in UTF-8 before IDNA, plus port and brackets.
const LONGEST: usize = 1024;

/// A parsed destination; without a port, the scheme's default applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The canonical name or address.
    pub host: Host,
    /// The port, if one was written.
    pub port: Option<u16>,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The host is no valid name or address.
    #[error("{0}")]
    Host(#[from] HostError),
    /// The port is not a number from 1 to 65535, or has a leading zero.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// A user name and `@` precede the host.
    #[error("it has a user name")]
    User,
    /// More than one colon outside brackets.
    #[error("it has too many colons; write an IPv6 address in brackets")]
    Colon,
    /// The brackets have no IPv6 address, or are not closed.
    #[error("the text in brackets is not an IPv6 address")]
    Brackets,
    /// The text is longer than 1024 bytes.
    #[error("it is longer than 1024 bytes")]
    Length,
}

creel_policy::codes!(TargetError {
    Self::Host(_) => "target-host",
    Self::Port => "target-port",
    Self::User => "target-user",
    Self::Colon => "target-colon",
    Self::Brackets => "target-brackets",
    Self::Length => "target-length",
});

impl Target {
    /// Parses the text into its canonical form.
    pub fn parse(text: &[u8]) -> Result<Target, TargetError> {
        if text.len() > LONGEST {
            return Err(TargetError::Length);
        }
        if text.contains(&b'@') {
            return Err(TargetError::User);
        }
        let (host, port) = match text.strip_prefix(b"[") {
            Some(rest) => {
                let end = rest.iter().position(|b| *b == b']');
                let end = end.ok_or(TargetError::Brackets)?;
                let (inner, after) = (&rest[..end], &rest[end + 1..]);
                let port = match after {
                    [] => None,
                    [b':', port @ ..] => Some(port),
                    _ => return Err(TargetError::Brackets),
                };
                if !inner.contains(&b':') {
                    return Err(TargetError::Brackets);
                }
                match Host::parse(inner)? {
                    host @ Host::Address(_) => (host, port),
                    Host::Name(_) => return Err(TargetError::Brackets),
                }
            }
            None => match text.iter().position(|b| *b == b':') {
                Some(at) if text[at + 1..].contains(&b':') => return Err(TargetError::Colon),
                Some(at) => (Host::parse(&text[..at])?, Some(&text[at + 1..])),
                None => (Host::parse(text)?, None),
            },
        };
        let port = port.map(read_port).transpose()?;
        Ok(Target { host, port })
    }
}

fn read_port(text: &[u8]) -> Result<u16, TargetError> {
    let digits = !text.is_empty() && text.len() <= 5 && text.iter().all(u8::is_ascii_digit);
    if !digits || text[0] == b'0' {
        return Err(TargetError::Port);
    }
    let number = text
        .iter()
        .fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    u16::try_from(number).map_err(|_| TargetError::Port)
}

impl fmt::Display for Target {
    /// Writes the canonical form, with brackets where needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) if address.is_ipv6() => write!(f, "[{address}]")?,
            host => write!(f, "{host}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_the_same_way() {
        for (text, canonical) in [
            ("Example.ORG", "example.org"),
            ("example.org:443", "example.org:443"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::1]", "[::1]"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1"),
            ("example.org:65535", "example.org:65535"),
        ] {
            let target = Target::parse(text.as_bytes());
            let target = target.unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(target.to_string(), canonical);
            assert_eq!(Target::parse(canonical.as_bytes()), Ok(target));
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (text, error) in [
            ("example.org:", TargetError::Port),
            ("example.org:0", TargetError::Port),
            ("example.org:080", TargetError::Port),
            ("example.org:65536", TargetError::Port),
            ("example.org:+80", TargetError::Port),
            ("example.org:80 ", TargetError::Port),
            ("me@example.org:80", TargetError::User),
            ("good.example:80@evil.example:80", TargetError::User),
            ("::1", TargetError::Colon),
            ("example.org:80:81", TargetError::Colon),
            ("[::1", TargetError::Brackets),
            ("[::1]x", TargetError::Brackets),
            ("[127.0.0.1]:80", TargetError::Brackets),
            ("[example.org]:80", TargetError::Brackets),
            ("", TargetError::Host(HostError::Empty)),
            (":80", TargetError::Host(HostError::Empty)),
        ] {
            assert_eq!(Target::parse(text.as_bytes()), Err(error), "{text:?}");
        }
        let long = [b'a'; LONGEST + 1];
        assert_eq!(Target::parse(&long), Err(TargetError::Length));
    }
}
