//! Parses the ClientHello of a TLS client for its server name. Pure.
//!
//! Parses the bytes so far (RFC 8446, RFC 5246; server name: RFC 6066) and refuses ambiguous input: a server
//! must find the same name in these bytes. Malformed are a duplicate extension, two names, a name of an
//! unknown kind, another kind of record before or within the hello, bytes after the hello in its record, and
//! an SSLv2 hello, which some servers still accept and which has no name.
//!
//! Bytes after the first hello are not parsed. A server that takes another name from a second hello (after
//! its own HelloRetryRequest, or within the encryption) or from an encrypted request allows domain fronting,
//! which only TLS termination prevents.

use std::collections::HashSet;

/// Maximum handshake bytes of a hello. Real ones have less than 4 KiB, with post-quantum keys.
const MOST_HELLO: usize = 32 << 10;
/// Maximum bytes of a hello with its record headers: a record may have as few as 6 bytes.
pub const MOST: usize = 64 << 10;
/// Maximum bytes in a record (RFC 8446, 5.1).
const MOST_RECORD: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// encrypted_client_hello, its drafts since 8, and encrypted_server_name before those.
const ENCRYPTED: [u16; 7] = [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xffce];

/// The result for the bytes so far. More bytes never change it, except [`Reading::More`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// At least this many bytes in total are needed.
    More(usize),
    /// No server accepts this as TLS.
    NotTls,
    /// A complete hello.
    ClientHello(ClientHello),
    /// A hello that is refused.
    Malformed(Flaw),
}

/// The parts of a hello that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// As sent: it must be made canonical before it is compared.
    pub server_name: Option<Vec<u8>>,
    /// Whether the hello may hide another, encrypted name. A client without a key for it sends random bytes
    /// instead (GREASE), which are indistinguishable.
    pub encrypted: Encrypted,
    /// The protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
}

/// Whether a hello contains another, encrypted one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encrypted {
    /// No extension for an encrypted hello.
    #[default]
    No,
    /// An extension that has an encrypted hello, or random bytes.
    Maybe,
}

/// Why a hello is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A PROXY protocol header precedes it.
    #[error("a PROXY header precedes it, which names another client")]
    Proxy,
    /// White space precedes it.
    #[error("blanks precede it")]
    Blanks,
    /// The hello has the form of SSLv2.
    #[error("it is an SSLv2 hello")]
    Sslv2,
    /// Another kind of record precedes it or interrupts it.
    #[error("a record of another type interrupts it")]
    Record,
    /// A record has no bytes, or more than RFC 8446 allows.
    #[error("a record of it is empty or longer than 16 KiB")]
    RecordLength,
    /// The first handshake message is no hello.
    #[error("the handshake does not begin with it")]
    NotFirst,
    /// The hello has more bytes or records than creel reads.
    #[error("it is longer than 32 KiB, or in too many records")]
    Long,
    /// Its last record has more bytes.
    #[error("something follows it in its record")]
    Trailing,
    /// A length within it does not fit its bytes.
    #[error("its lengths do not agree")]
    Length,
    /// An extension occurs twice.
    #[error("it has an extension twice")]
    Twice,
    /// The server name extension has no name, several, or one of an unknown kind.
    #[error("it does not have exactly one host name")]
    Name,
}

/// Parses the bytes so far.
pub fn read(bytes: &[u8]) -> Reading {
    match kind(bytes) {
        Ok(()) => {}
        Err(reading) => return reading,
    }
    match handshake(bytes) {
        Ok(message) => match hello(&message) {
            Ok(hello) => Reading::ClientHello(hello),
            Err(flaw) => Reading::Malformed(flaw),
        },
        Err(reading) => reading,
    }
}

/// Checks that the bytes, as far as they go, begin like a TLS client's.
fn kind(bytes: &[u8]) -> Result<(), Reading> {
    match *bytes {
        [] => Err(Reading::More(1)),
        // Other kinds of record: OpenSSL accepts an alert before the hello, and Go a version below 3.
        [20..=24] => Err(Reading::More(2)),
        [HANDSHAKE, 3, ..] => Ok(()),
        [20..=24, 0..=15, ..] => Err(Reading::Malformed(Flaw::Record)),
        // SSLv2: length with the high bit, CLIENT-HELLO, version (2 or 3.x).
        [0x80..=0xff, ref rest @ ..] => match *rest {
            [_, 1, 0, 2, ..] | [_, 1, 3, _, ..] => Err(Reading::Malformed(Flaw::Sslv2)),
            [] | [_] | [_, 1] | [_, 1, 0 | 3] => Err(Reading::More(bytes.len() + 1)),
            _ => Err(Reading::NotTls),
        },
        _ => Err(Reading::NotTls),
    }
}

/// Reassembles the body of the hello from its records.
fn handshake(bytes: &[u8]) -> Result<Vec<u8>, Reading> {
    let malformed = |flaw| Err(Reading::Malformed(flaw));
    let mut message: Vec<u8> = vec![];
    let mut at = 0;
    loop {
        // Known once the message header is complete: type, 24 bits of length.
        let whole = match *message.as_slice() {
            [] => None,
            [CLIENT_HELLO, a, b, c, ..] => {
                Some(4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)))
            }
            [CLIENT_HELLO, ..] => None,
            _ => return malformed(Flaw::NotFirst),
        };
        match whole {
            Some(whole) if whole > MOST_HELLO => return malformed(Flaw::Long),
            Some(whole) if message.len() == whole => return Ok(message.split_off(4)),
            Some(whole) if message.len() > whole => return malformed(Flaw::Trailing),
            _ => {}
        }
        let record = bytes.get(at..).unwrap_or_default();
        if at + 5 > MOST {
            return malformed(Flaw::Long);
        }
        match *record {
            // Asks for one byte only: it may be one that no record begins with.
            [] => return Err(Reading::More(at + 1)),
            [HANDSHAKE] => return Err(Reading::More(at + 2)),
            [HANDSHAKE, 3, ..] => {}
            _ => return malformed(Flaw::Record),
        }
        let [_, _, _, high, low, ref rest @ ..] = *record else {
            return Err(Reading::More(at + 5));
        };
        let length = usize::from(high) << 8 | usize::from(low);
        if length == 0 || length > MOST_RECORD {
            return malformed(Flaw::RecordLength);
        }
        if at + 5 + length > MOST {
            return malformed(Flaw::Long);
        }
        let Some(fragment) = rest.get(..length) else {
            return Err(Reading::More(at + 5 + length));
        };
        message.extend_from_slice(fragment);
        at += 5 + length;
    }
}

/// Reads a hello's body (RFC 8446, 4.1.2).
fn hello(body: &[u8]) -> Result<ClientHello, Flaw> {
    let mut rest = Rest(body);
    rest.take(2 + 32)?; // version, random
    let session = rest.byte()?;
    rest.take(session.into())?;
    let suites = rest.block()?;
    let compressions = rest.byte()?;
    rest.take(compressions.into())?;
    if session > 32 || suites.0.is_empty() || suites.0.len() % 2 == 1 || compressions == 0 {
        return Err(Flaw::Length);
    }
    let mut hello = ClientHello::default();
    if rest.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = rest.block()?;
    rest.end()?;
    let mut seen = HashSet::new();
    while !extensions.0.is_empty() {
        let kind = extensions.short()?;
        let mut value = extensions.block()?;
        if !seen.insert(kind) {
            return Err(Flaw::Twice);
        }
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(&mut value)?.to_vec()),
            ALPN => hello.alpn = protocols(&mut value)?,
            _ if ENCRYPTED.contains(&kind) => hello.encrypted = Encrypted::Maybe,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066, 3: a list of names. All servers agree only on a list of exactly one host name.
fn server_name<'a>(value: &mut Rest<'a>) -> Result<&'a [u8], Flaw> {
    let mut list = value.block().map_err(|_| Flaw::Name)?;
    value.end().map_err(|_| Flaw::Name)?;
    let kind = list.byte().map_err(|_| Flaw::Name)?;
    let name = list.block().map_err(|_| Flaw::Name)?;
    match (kind, list.0, name.0) {
        (0, [], [_, ..]) => Ok(name.0),
        _ => Err(Flaw::Name),
    }
}

/// RFC 7301, 3.1.
fn protocols(value: &mut Rest<'_>) -> Result<Vec<Vec<u8>>, Flaw> {
    let mut list = value.block()?;
    value.end()?;
    let mut found = vec![];
    while !list.0.is_empty() {
        let length = list.byte()?;
        if length == 0 {
            return Err(Flaw::Length);
        }
        found.push(list.take(length.into())?.to_vec());
    }
    Ok(found)
}

/// The unparsed rest of the input.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Flaw::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Flaw> {
        match *self.take(1)? {
            [byte] => Ok(byte),
            _ => Err(Flaw::Length),
        }
    }

    fn short(&mut self) -> Result<u16, Flaw> {
        match *self.take(2)? {
            [high, low] => Ok(u16::from_be_bytes([high, low])),
            _ => Err(Flaw::Length),
        }
    }

    /// A block with a two-byte length.
    fn block(&mut self) -> Result<Rest<'a>, Flaw> {
        let length = self.short()?;
        self.take(length.into()).map(Rest)
    }

    fn end(&self) -> Result<(), Flaw> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Flaw::Length)
        }
    }
}
