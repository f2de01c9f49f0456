//! Detects the protocol of a client from its first bytes. Pure.
//!
//! Bytes that a lenient server could read as TLS or as a request with a `Host` count as TLS or HTTP, and
//! go to the strict parsers, which refuse malformed input. All else is opaque. A first word with a byte
//! that no method can have is opaque at once: such a client may wait for a reply before it ends a line.

use super::client_hello::{self, ClientHello, Flaw, Reading};
use super::http::version::Version;

/// A longer first line goes to the request parser, which bounds the length of heads.
const LINE: usize = 8 << 10;

/// The protocol of the bytes so far. More bytes never change it, except [`Detected::More`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// Undecided: more bytes are needed.
    More,
    /// TLS, by a complete hello.
    Tls(ClientHello),
    /// TLS that is refused.
    Flawed(Flaw),
    /// An HTTP request of this version.
    Http(Version),
    /// Neither TLS nor HTTP; also a client that sent nothing.
    Other,
}

/// Start of a PROXY protocol header, by which a load balancer names the client it forwards: version 2
/// (haproxy.org's proxy-protocol.txt, section 2.2), and version 1 (section 2.1).
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY_LINE: &[u8] = b"PROXY";

/// Detects the protocol of the bytes so far.
pub fn read(bytes: &[u8]) -> Detected {
    if bytes.starts_with(PROXY) {
        return Detected::Flawed(Flaw::Proxy);
    }
    if !bytes.is_empty() && PROXY.starts_with(bytes) {
        return Detected::More;
    }
    match client_hello::read(bytes) {
        Reading::More(_) => Detected::More,
        Reading::ClientHello(hello) => Detected::Tls(hello),
        Reading::Malformed(flaw) => Detected::Flawed(flaw),
        Reading::NotTls => request(bytes),
    }
}

/// Detects the protocol of a client that will send no more.
pub fn read_all(bytes: &[u8]) -> Detected {
    match (read(bytes), bytes) {
        (Detected::More, [20..=24, ..]) => Detected::Flawed(Flaw::Length),
        // The end ends the line too.
        (Detected::More, _) if says_http(bytes) => Detected::Http(Version::One),
        (Detected::More, _) => Detected::Other,
        (told, _) => told,
    }
}

/// A method, white space and `HTTP/` in the first line, after leading bytes that servers skip. `GET` needs
/// no version: Python's server reads it as HTTP/0.9, and reads header fields all the same.
fn request(bytes: &[u8]) -> Detected {
    let start = bytes.iter().position(|byte| !is_blank(*byte));
    let Some(line) = start.and_then(|start| bytes.get(start..)) else {
        return match bytes.len() {
            0..LINE => Detected::More,
            _ => Detected::Http(Version::One),
        };
    };
    if start > Some(0) {
        match line {
            [20..=24] => return Detected::More,
            [20..=24, 3, ..] => return Detected::Flawed(Flaw::Blanks),
            _ => {}
        }
    }
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    match line.get(method) {
        _ if method == 0 => return Detected::Other,
        Some(byte) if !is_blank(*byte) => return Detected::Other,
        Some(_) if line[..method].eq_ignore_ascii_case(PROXY_LINE) => {
            return Detected::Flawed(Flaw::Proxy);
        }
        _ => {}
    }
    if line.starts_with(b"PRI * HTTP/2.0\r\n") {
        return Detected::Http(Version::Two);
    }
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) if &line[..method] == b"GET" || says_http(&line[..end]) => {
            Detected::Http(Version::One)
        }
        Some(_) => Detected::Other,
        None if line.len() > LINE => Detected::Http(Version::One),
        None => Detected::More,
    }
}

fn says_http(line: &[u8]) -> bool {
    line.windows(5)
        .any(|five| five.eq_ignore_ascii_case(b"HTTP/"))
}

/// Bytes that servers skip or split at. Python is the most lenient: it reads a line as Latin-1 and splits at
/// Unicode white space.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=b' ' | 0x85 | 0xa0)
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
