//! The messages of SOCKS5 (RFC 1928, RFC 1929). Pure.
//!
//! Each reader takes the bytes so far and returns the message and its length, or `None` if more are needed.
//! No message has more than 513 bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use creel_policy::net::{Host, HostError};

/// The authentication method of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// No authentication.
    None,
    /// Name and password; any are accepted.
    Password,
}

impl Method {
    /// The server's choice of method, in two bytes.
    pub fn answer(self) -> [u8; 2] {
        match self {
            Method::None => [5, 0],
            Method::Password => [5, 2],
        }
    }
}

/// The reply to any name and password: success.
pub const WELCOME: [u8; 2] = [1, 0];

/// The requested destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name or address.
    pub host: Host,
    /// The port, from 1.
    pub port: u16,
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The connection is established.
    Granted = 0,
    /// General failure.
    Failure = 1,
    /// The rules do not allow it.
    NotAllowed = 2,
    /// The host is unreachable.
    Unreachable = 4,
    /// The host refused the connection.
    Refused = 5,
    /// The command is not supported.
    NoCommand = 7,
    /// The address type is not supported.
    NoAddressType = 8,
}

impl Reply {
    /// The reply's bytes. The bound address is all zeros: no address would mean anything in the jail.
    pub fn bytes(self) -> [u8; 10] {
        [5, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }

    fn answer(self) -> &'static [u8] {
        match self {
            Reply::NotAllowed => &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0],
            Reply::NoCommand => &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
            Reply::NoAddressType => &[5, 8, 0, 1, 0, 0, 0, 0, 0, 0],
            _ => &[5, 1, 0, 1, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Why a client is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocksError {
    /// The client speaks SOCKS4.
    #[error("this is SOCKS4, which cannot name a host: use socks5h")]
    Four,
    /// The first byte is this, not 5.
    #[error("this is not SOCKS5: it begins with the byte {0:#04x}")]
    Version(u8),
    /// The client offers no method that creel has.
    #[error("the client offers neither no authentication nor a password")]
    NoMethod,
    /// The message with name and password is malformed.
    #[error("the password message is malformed")]
    Password,
    /// The command is not CONNECT.
    #[error("SOCKS5 BIND and UDP ASSOCIATE are not served")]
    Command,
    /// The address type is unknown.
    #[error("SOCKS5 has no address of this type")]
    AddressType,
    /// The reserved byte is not 0.
    #[error("the reserved byte of a SOCKS5 request is not 0")]
    Reserved,
    /// The host is not valid.
    #[error("{said:?} is not a host: {error}")]
    Host {
        /// The host as the client wrote it.
        said: String,
        /// Why it is none.
        error: HostError,
    },
    /// The port is 0; the host as the client wrote it.
    #[error("port 0 is not valid")]
    Port(String),
}

creel_policy::codes!(SocksError {
    Self::Four => "socks-four",
    Self::Version(_) => "socks-version",
    Self::NoMethod => "socks-no-method",
    Self::Password => "socks-password",
    Self::Command => "socks-command",
    Self::AddressType => "socks-address-type",
    Self::Reserved => "socks-reserved",
    Self::Host { .. } => "socks-host",
    Self::Port(_) => "socks-port",
});

impl SocksError {
    /// The bytes to send before the connection is closed.
    pub fn answer(&self) -> &'static [u8] {
        match self {
            // "Request rejected or failed", in SOCKS4's own form.
            SocksError::Four => &[0, 0x5b, 0, 0, 0, 0, 0, 0],
            SocksError::Version(_) => &[],
            SocksError::NoMethod => &[5, 0xff],
            SocksError::Password => &[1, 1],
            SocksError::Command => Reply::NoCommand.answer(),
            SocksError::AddressType => Reply::NoAddressType.answer(),
            SocksError::Reserved => Reply::Failure.answer(),
            SocksError::Host { .. } | SocksError::Port(_) => Reply::NotAllowed.answer(),
        }
    }

    /// The host as the client wrote it; empty if none was read.
    pub fn said(&self) -> &str {
        match self {
            SocksError::Host { said, .. } | SocksError::Port(said) => said,
            _ => "",
        }
    }
}

/// A message and its length; `None` if more bytes are needed.
pub type Read<T> = Result<Option<(T, usize)>, SocksError>;

/// Version, number of methods, methods.
pub fn greeting(bytes: &[u8]) -> Read<Method> {
    let Some(version) = bytes.first() else {
        return Ok(None);
    };
    version_is_five(*version)?;
    let Some(count) = bytes.get(1) else {
        return Ok(None);
    };
    let length = 2 + usize::from(*count);
    let Some(methods) = bytes.get(2..length) else {
        return Ok(None);
    };
    if methods.contains(&0) {
        Ok(Some((Method::None, length)))
    } else if methods.contains(&2) {
        Ok(Some((Method::Password, length)))
    } else {
        Err(SocksError::NoMethod)
    }
}

/// Version, name, password; name and password are ignored.
pub fn password(bytes: &[u8]) -> Read<()> {
    if bytes.first().is_some_and(|version| *version != 1) {
        return Err(SocksError::Password);
    }
    let Some(name) = bytes.get(1) else {
        return Ok(None);
    };
    let name = 2 + usize::from(*name);
    let Some(password) = bytes.get(name) else {
        return Ok(None);
    };
    let length = name + 1 + usize::from(*password);
    Ok((bytes.len() >= length).then_some(((), length)))
}

/// Version, command, reserved, address type, address, port.
pub fn request(bytes: &[u8]) -> Read<Request> {
    let Some(version) = bytes.first() else {
        return Ok(None);
    };
    version_is_five(*version)?;
    let [_, command, reserved, kind, rest @ ..] = bytes else {
        return Ok(None);
    };
    if *command != 1 {
        return Err(SocksError::Command);
    }
    if *reserved != 0 {
        return Err(SocksError::Reserved);
    }
    let (start, length) = match kind {
        1 => (0, 4),
        4 => (0, 16),
        3 => match rest.first() {
            Some(length) => (1, usize::from(*length)),
            None => return Ok(None),
        },
        _ => return Err(SocksError::AddressType),
    };
    let end = start + length;
    let (Some(address), Some(port)) = (rest.get(start..end), rest.get(end..end + 2)) else {
        return Ok(None);
    };
    let port = u16::from_be_bytes([port[0], port[1]]);
    let host = host(address, *kind)?;
    if port == 0 {
        return Err(SocksError::Port(host.to_string()));
    }
    Ok(Some((Request { host, port }, 4 + end + 2)))
}

fn host(address: &[u8], kind: u8) -> Result<Host, SocksError> {
    let error = |error| SocksError::Host {
        said: String::from_utf8_lossy(address).into_owned(),
        error,
    };
    let number: Option<IpAddr> = match (kind, <[u8; 4]>::try_from(address)) {
        (1, Ok(v4)) => Some(Ipv4Addr::from(v4).into()),
        (4, _) => <[u8; 16]>::try_from(address)
            .ok()
            .map(|v6| Ipv6Addr::from(v6).into()),
        _ => None,
    };
    match number {
        // Parses the text form, so that there is one canonical form.
        Some(number) => Host::parse(number.to_string().as_bytes()).map_err(error),
        None => Host::parse(address).map_err(error),
    }
}

fn version_is_five(version: u8) -> Result<(), SocksError> {
    match version {
        5 => Ok(()),
        4 => Err(SocksError::Four),
        other => Err(SocksError::Version(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(kind: u8, address: &[u8], port: u16) -> Vec<u8> {
        let mut bytes = vec![5, 1, 0, kind];
        if kind == 3 {
            bytes.push(address.len().try_into().unwrap());
        }
        bytes.extend_from_slice(address);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes
    }

    #[test]
    fn each_message_waits_for_its_last_byte() {
        let hello = [5, 2, 2, 0, 9];
        assert_eq!(greeting(&hello), Ok(Some((Method::None, 4))));
        let login = [1, 2, b'm', b'e', 1, b'x', 9];
        assert_eq!(password(&login), Ok(Some(((), 6))));
        let name = asks(3, b"Example.org", 443);
        let Ok(Some((asked, length))) = request(&name) else {
            panic!("{:?}", request(&name));
        };
        assert_eq!(
            (asked.host.to_string().as_str(), asked.port),
            ("example.org", 443)
        );
        assert_eq!(length, name.len());
        for cut in 0..name.len() {
            assert_eq!(request(&name[..cut]), Ok(None), "{cut}");
        }
        for cut in 0..4 {
            assert_eq!(greeting(&hello[..cut]), Ok(None), "{cut}");
        }
        for cut in 0..6 {
            assert_eq!(password(&login[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn an_address_has_one_form_whatever_its_type() {
        let v4 = Host::Address(Ipv4Addr::new(10, 0, 0, 1).into());
        let mapped: Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
        for bytes in [
            asks(1, &[10, 0, 0, 1], 80),
            asks(4, &mapped.octets(), 80),
            asks(3, b"10.0.0.1", 80),
        ] {
            let asked = request(&bytes).unwrap().unwrap().0;
            assert_eq!(asked.host, v4);
        }
    }

    #[test]
    fn what_is_not_served_is_answered_in_its_own_form() {
        let refused = |error: SocksError, answer: &[u8]| assert_eq!(error.answer(), answer);
        refused(
            greeting(&[4, 1, 0, 80]).unwrap_err(),
            &[0, 0x5b, 0, 0, 0, 0, 0, 0],
        );
        refused(greeting(b"GET /").unwrap_err(), b"");
        refused(greeting(&[5, 1, 1]).unwrap_err(), &[5, 0xff]);
        refused(greeting(&[5, 0]).unwrap_err(), &[5, 0xff]);
        for (command, code) in [(2, 7), (3, 7), (0, 7)] {
            let mut bytes = asks(1, &[10, 0, 0, 1], 80);
            bytes[1] = command;
            assert_eq!(request(&bytes).unwrap_err().answer()[1], code);
        }
        assert_eq!(request(&[5, 1, 0, 2, 0]).unwrap_err().answer()[1], 8);
        assert_eq!(request(&[5, 1, 1, 1, 0]).unwrap_err().answer()[1], 1);
        let code = |address: &[u8], port| request(&asks(3, address, port)).unwrap_err().answer()[1];
        assert_eq!(code(b"", 80), 2);
        assert_eq!(code(b"example.org", 0), 2);
    }
}
