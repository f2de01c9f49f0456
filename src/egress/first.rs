//! What a client speaks, told from its first bytes. Pure.
//!
//! Whatever a lenient server could take for TLS or for a request with a `Host` is told as such here, and
//! the strict readers have it; the rest is bytes.

use super::hello::{self, Flaw, Hello, Reading};
use super::http::Version;

/// A method longer than this is none.
const METHOD: usize = 64;
/// A first line longer than this is left to the reader of requests, which says how long they may be.
const LINE: usize = 8 << 10;

/// What the bytes so far are. More bytes never change it, once it is told.
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

/// Reads what came so far.
pub fn read(bytes: &[u8]) -> First {
    match hello::read(bytes) {
        Reading::More(_) => First::More,
        Reading::Hello(hello) => First::Tls(hello),
        Reading::Malformed(flaw) => First::Flawed(flaw),
        Reading::NotTls => request(bytes),
    }
}

/// What it is where nothing more will come.
pub fn read_all(bytes: &[u8]) -> First {
    match (read(bytes), bytes) {
        (First::More, [20..=24, ..]) => First::Flawed(Flaw::Length),
        (First::More, _) => First::Other,
        (told, _) => told,
    }
}

/// A line of a method, white space, and `HTTP/` somewhere, behind what servers skip.
fn request(bytes: &[u8]) -> First {
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t');
    let start = bytes.iter().position(|byte| !blank(byte));
    let Some(line) = start.and_then(|start| bytes.get(start..)) else {
        return match bytes.len() {
            0..LINE => First::More,
            _ => First::Other,
        };
    };
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    match line.get(method) {
        _ if method == 0 || method > METHOD => return First::Other,
        None => return First::More,
        Some(b' ' | b'\t') => {}
        Some(_) => return First::Other,
    }
    if line.starts_with(b"PRI * HTTP/2.0\r\n") {
        return First::Http(Version::Two);
    }
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) if says_http(&line[..end]) => First::Http(Version::One),
        Some(_) => First::Other,
        None if line.len() > LINE => First::Http(Version::One),
        None => First::More,
    }
}

fn says_http(line: &[u8]) -> bool {
    line.windows(5)
        .any(|five| five.eq_ignore_ascii_case(b"HTTP/"))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
