//! Header fields: removes those of a single connection, and reads those that creel depends on.

use hyper::header::{
    self, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::mask::Mask;

/// Hop-by-hop fields (RFC 9110, 7.6.1), removed even if `Connection` does not list them.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// Fields that `Connection` must not list: without them a request has another meaning.
const NEEDED: [&str; 5] = [
    "host",
    "content-length",
    "content-type",
    "authorization",
    "cookie",
];

/// Approximate bytes of a head's fields as sent.
pub fn length(headers: &HeaderMap) -> u64 {
    let fields = headers.iter();
    let sum: usize = fields.map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    sum as u64
}

/// The value of a field; an error if there is more than one.
pub fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(format!("the request has more than one {name}")),
    }
}

/// Whether `Transfer-Encoding` delimits the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Chunks delimit the body.
    Chunked,
    /// `Content-Length` delimits the body, or there is none.
    Other,
}

/// The framing of a request; an error if it is ambiguous or unsupported.
pub fn framing(headers: &HeaderMap) -> Result<Framing, String> {
    let length = single(headers, &CONTENT_LENGTH)?;
    let Some(encoding) = single(headers, &TRANSFER_ENCODING)? else {
        return Ok(Framing::Other);
    };
    if length.is_some() {
        return Err("the request has both Content-Length and Transfer-Encoding".into());
    }
    match encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        true => Ok(Framing::Chunked),
        false => Err("the request has a Transfer-Encoding other than chunked".into()),
    }
}

/// Removes hop-by-hop fields; `TE: trailers` is written anew for the next hop.
pub fn strip(headers: &mut HeaderMap) -> Result<(), String> {
    let listed: Vec<String> = tokens(headers, &CONNECTION)
        .map(|token| token.to_ascii_lowercase())
        .collect();
    let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    for name in listed {
        if NEEDED.contains(&name.as_str()) {
            return Err(format!("its Connection lists {name}"));
        }
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// Whether a request or response switches to WebSocket (RFC 6455), and to nothing else.
pub fn websocket(headers: &HeaderMap) -> bool {
    let mut protocols = tokens(headers, &UPGRADE);
    let one = protocols
        .next()
        .is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    one && protocols.next().is_none()
        && tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Sets the fields that switch a connection to WebSocket (RFC 6455).
pub fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Requests whole, uncompressed responses from a host with a secret, so that the mask finds the secret.
pub fn ask_for_plain(headers: &mut HeaderMap) {
    for name in [
        header::RANGE,
        header::IF_RANGE,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        headers.remove(name);
    }
    let identity = HeaderValue::from_static("identity");
    headers.insert(header::ACCEPT_ENCODING, identity);
}

/// Whether a response's body has no encoding but chunks.
pub fn is_plain(headers: &HeaderMap) -> bool {
    let both = [&header::CONTENT_ENCODING, &TRANSFER_ENCODING];
    let mut values = both.into_iter().flat_map(|name| headers.get_all(name));
    let mut encodings = both.into_iter().flat_map(|name| tokens(headers, name));
    values.all(|value| value.to_str().is_ok())
        && encodings.all(|token| {
            ["identity", "chunked"]
                .iter()
                .any(|t| token.eq_ignore_ascii_case(t))
        })
}

/// Masks secrets in every field's value, and removes fields with a secret in their name.
pub fn mask(headers: &mut HeaderMap, mask: &Mask) {
    for value in headers.values_mut() {
        if let Some(masked) = mask.whole(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&masked)
                .unwrap_or_else(|_| HeaderValue::from_static("masked"));
        }
    }
    let named = |name: &HeaderName| mask.whole(name.as_str().as_bytes()).is_some();
    let names: Vec<HeaderName> = headers.keys().filter(|name| named(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The value of `Host`, of which there must be exactly one.
pub fn host(headers: &HeaderMap) -> Result<&HeaderValue, String> {
    single(headers, &HOST)?.ok_or_else(|| "the request has no Host".into())
}

/// The elements of a comma-separated field.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let parts = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    parts.map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_the_connections_own_goes_no_further() {
        let mut sent = headers(&[
            ("connection", "keep-alive, X-Own"),
            ("connection", "close"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic Zm9vOmJhcg=="),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("accept", "*/*"),
        ]);
        strip(&mut sent).unwrap();
        assert_eq!(sent, headers(&[("te", "trailers"), ("accept", "*/*")]));
        for needed in NEEDED {
            let mut sent = headers(&[("host", "a.example")]);
            sent.insert(CONNECTION, HeaderValue::from_static(needed));
            assert!(strip(&mut sent).is_err(), "{needed}");
        }
    }

    #[test]
    fn a_body_has_one_end() {
        assert_eq!(framing(&headers(&[])), Ok(Framing::Other));
        let length = headers(&[("content-length", "5")]);
        assert_eq!(framing(&length), Ok(Framing::Other));
        let chunked = headers(&[("transfer-encoding", "Chunked")]);
        assert_eq!(framing(&chunked), Ok(Framing::Chunked));
        for fields in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "xchunked")],
        ] {
            assert!(framing(&headers(fields)).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn only_websocket_changes_the_protocol() {
        let asked = |protocol: &'static str, connection: &'static str| {
            websocket(&headers(&[
                ("upgrade", protocol),
                ("connection", connection),
            ]))
        };
        assert!(asked("WebSocket", "keep-alive, Upgrade"));
        assert!(!asked("websocket", "keep-alive"));
        assert!(!asked("h2c", "upgrade"));
        assert!(!asked("websocket, h2c", "upgrade"));
    }
}
