//! Protocol detection: the protocol of a client, from its first bytes. Pure.
//!
//! Whatever a lenient server could take for TLS or for a request with a `Host` is told as such here, and
//! the strict readers have it, which refuse what is odd; the rest is bytes. Only a first word that has in
//! it what no method has is bytes at once, since who speaks so may wait for an answer before any line's
//! end.

use super::hello::{self, Flaw, Hello, Reading};
use super::http::Version;

/// A first line longer than this is left to the reader of requests, which says how long they may be.
const LINE: usize = 8 << 10;

/// The protocol of the bytes so far. More bytes never change it, once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// Not told yet.
    More,
    Tls(Hello),
    /// TLS that is refused.
    Flawed(Flaw),
    Http(Version),
    /// Neither; what the client said may be nothing at all.
    Other,
}

/// How a header of the PROXY protocol begins, by which a balancer says whose connection it passes on: version 2
/// (haproxy.org's proxy-protocol.txt, section 2.2), and version 1 (section 2.1).
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY_LINE: &[u8] = b"PROXY";

/// Reads what came so far.
pub fn read(bytes: &[u8]) -> First {
    if bytes.starts_with(PROXY) {
        return First::Flawed(Flaw::Proxy);
    }
    if !bytes.is_empty() && PROXY.starts_with(bytes) {
        return First::More;
    }
    match hello::read(bytes) {
        Reading::More(_) => First::More,
        Reading::Hello(hello) => First::Tls(hello),
        Reading::Malformed(flaw) => First::Flawed(flaw),
        Reading::NotTls => request(bytes),
    }
}

/// The protocol if no more bytes come.
pub fn read_all(bytes: &[u8]) -> First {
    match (read(bytes), bytes) {
        (First::More, [20..=24, ..]) => First::Flawed(Flaw::Length),
        // The end ends the line too.
        (First::More, _) if says_http(bytes) => First::Http(Version::One),
        (First::More, _) => First::Other,
        (told, _) => told,
    }
}

/// A line of a method, white space, and `HTTP/` somewhere, behind what servers skip. `GET` needs no
/// version: Python's server takes that for HTTP/0.9, and reads fields behind it all the same.
fn request(bytes: &[u8]) -> First {
    let start = bytes.iter().position(|byte| !is_blank(*byte));
    let Some(line) = start.and_then(|start| bytes.get(start..)) else {
        return match bytes.len() {
            0..LINE => First::More,
            _ => First::Http(Version::One),
        };
    };
    if start > Some(0) {
        match line {
            [20..=24] => return First::More,
            [20..=24, 3, ..] => return First::Flawed(Flaw::Blanks),
            _ => {}
        }
    }
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    match line.get(method) {
        _ if method == 0 => return First::Other,
        Some(byte) if !is_blank(*byte) => return First::Other,
        Some(_) if line[..method].eq_ignore_ascii_case(PROXY_LINE) => {
            return First::Flawed(Flaw::Proxy);
        }
        _ => {}
    }
    if line.starts_with(b"PRI * HTTP/2.0\r\n") {
        return First::Http(Version::Two);
    }
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) if &line[..method] == b"GET" || says_http(&line[..end]) => {
            First::Http(Version::One)
        }
        Some(_) => First::Other,
        None if line.len() > LINE => First::Http(Version::One),
        None => First::More,
    }
}

fn says_http(line: &[u8]) -> bool {
    line.windows(5)
        .any(|five| five.eq_ignore_ascii_case(b"HTTP/"))
}

/// Characters that servers skip or split at: the most lenient is Python, which reads a line as Latin-1 and takes
/// for white space what Unicode does.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=b' ' | 0x85 | 0xa0)
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
