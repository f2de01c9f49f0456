//! Parses the first request head of a client of the HTTP proxy, to tell CONNECT from other requests. Pure.

use super::target::{Target, TargetError};

/// Maximum bytes of a head.
pub const LONGEST: usize = 64 << 10;
/// Maximum fields of a head.
const FIELDS: usize = 100;

/// The client's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A tunnel; bytes after the first `length` belong to the tunnel.
    Connect {
        /// The destination of the tunnel.
        target: Target,
        /// Its port.
        port: u16,
        /// Bytes of the head.
        length: usize,
    },
    /// Another request, which the HTTP server parses again and judges.
    Request,
}

/// Why a head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The bytes are no HTTP/1 head.
    #[error("this is not an HTTP request: {0}")]
    Malformed(httparse::Error),
    /// The client begins with TLS.
    #[error("this is TLS, but the proxy expects plain HTTP: write http:// in its URL")]
    Tls,
    /// More than 64 KiB or 100 fields.
    #[error("the head has more than 64 KiB or more than 100 fields")]
    TooLong,
    /// The target of CONNECT is no destination.
    #[error("CONNECT {said:?}: {error}")]
    Target {
        /// The target, at most 256 characters.
        said: String,
        /// Why it is none.
        error: TargetError,
    },
    /// CONNECT without a port; the target, at most 256 characters.
    #[error("CONNECT {0:?}: it needs a port")]
    NoPort(String),
    /// CONNECT with another destination in `Host`; its value, at most 256 characters.
    #[error("CONNECT has the Host of another destination, {0:?}")]
    Host(String),
    /// CONNECT with several `Host` fields.
    #[error("CONNECT has more than one Host")]
    Hosts,
    /// CONNECT with a body.
    #[error("CONNECT has a body")]
    Body,
}

creel_policy::codes!(HeadError {
    Self::Malformed(_) => "http-malformed",
    Self::Tls => "http-tls",
    Self::TooLong => "http-too-long",
    Self::Target { .. } => "http-target",
    Self::NoPort(_) => "http-no-port",
    Self::Host(_) => "http-host",
    Self::Hosts => "http-hosts",
    Self::Body => "http-body",
});

/// Reads a head from the bytes so far; `None`: more are needed.
pub fn read(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    // A handshake record of any version of TLS.
    if bytes.starts_with(&[0x16]) {
        return Err(HeadError::Tls);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= LONGEST => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
        Err(error) => return Err(HeadError::Malformed(error)),
    };
    if request.method != Some("CONNECT") {
        return Ok(Some(Head::Request));
    }
    let said = request.path.unwrap_or_default();
    let target = Target::parse(said.as_bytes()).map_err(|error| HeadError::Target {
        said: excerpt(said.as_bytes()),
        error,
    })?;
    let Some(port) = target.port else {
        return Err(HeadError::NoPort(excerpt(said.as_bytes())));
    };
    let mut hosts = 0;
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
            let other = || HeadError::Host(excerpt(field.value));
            let host = Target::parse(field.value).map_err(|_| other())?;
            if host.host != target.host || host.port.is_some_and(|own| own != port) {
                return Err(other());
            }
        }
        // A body has no meaning in CONNECT (RFC 9110, 9.3.6), so such a request is ambiguous.
        if is("transfer-encoding") || is("content-length") && field.value != b"0" {
            return Err(HeadError::Body);
        }
    }
    if hosts > 1 {
        return Err(HeadError::Hosts);
    }
    Ok(Some(Head::Connect {
        target,
        port,
        length,
    }))
}

/// At most 256 characters, for the record.
fn excerpt(said: &[u8]) -> String {
    String::from_utf8_lossy(said).chars().take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> HeadError {
        match read(text.as_bytes()) {
            Err(error) => error,
            Ok(head) => panic!("{text:?}: {head:?}"),
        }
    }

    #[test]
    fn a_tunnel_is_read_and_the_bytes_after_it_are_left() {
        let head = b"CONNECT Example.org:443 HTTP/1.1\r\nHost: example.ORG:443\r\n\r\n";
        let mut text = head.to_vec();
        text.extend_from_slice(b"\x16\x03\x01");
        let Ok(Some(Head::Connect {
            target,
            port,
            length,
        })) = read(&text)
        else {
            panic!("{:?}", read(&text));
        };
        assert_eq!(
            (target.to_string().as_str(), port),
            ("example.org:443", 443)
        );
        assert_eq!(length, head.len());
        for cut in 0..head.len() {
            assert_eq!(read(&head[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn other_requests_are_left_to_others() {
        for text in [
            "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "connect example.org:443 HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Ok(Some(Head::Request)), "{text}");
        }
    }

    #[test]
    fn what_is_no_tunnel_is_refused() {
        let target = |text: &str| matches!(error(text), HeadError::Target { .. });
        assert!(target("CONNECT http://example.org/ HTTP/1.1\r\n\r\n"));
        assert!(target("CONNECT me@example.org:443 HTTP/1.1\r\n\r\n"));
        assert!(target("CONNECT :443 HTTP/1.1\r\n\r\n"));
        let no_port = error("CONNECT example.org HTTP/1.1\r\n\r\n");
        assert!(matches!(no_port, HeadError::NoPort(_)));
        for malformed in [
            "CONNECT exam ple.org:443 HTTP/1.1\r\n\r\n",
            "CONNECT example.org\0:443 HTTP/1.1\r\n\r\n",
            "CONNECT example.org:443\r\nX: HTTP/1.1\r\n\r\n",
            "CONNECT example.org:443 HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "CONNECT example.org:443 HTTP/1.1\r\nA : b\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let error = error(malformed);
            assert!(
                matches!(error, HeadError::Malformed(_)),
                "{malformed:?} {error}"
            );
        }
        assert_eq!(error("\x16\x03\x01\x02"), HeadError::Tls);
    }

    #[test]
    fn the_fields_of_a_tunnel_say_the_same_or_nothing() {
        let with = |field: &str| format!("CONNECT a.example:443 HTTP/1.1\r\n{field}\r\n\r\n");
        for good in [
            "Host: A.example",
            "Host: a.example:443",
            "Content-Length: 0",
        ] {
            assert!(read(with(good).as_bytes()).is_ok(), "{good}");
        }
        for other in [
            "Host: b.example:443",
            "Host: a.example:80",
            "Host: a@a.example",
        ] {
            assert!(matches!(error(&with(other)), HeadError::Host(_)), "{other}");
        }
        assert_eq!(
            error(&with("Host: a.example\r\nHost: a.example")),
            HeadError::Hosts
        );
        for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            assert_eq!(error(&with(body)), HeadError::Body);
        }
    }

    #[test]
    fn a_head_is_bounded() {
        let long = format!(
            "CONNECT a.example:443 HTTP/1.1\r\nA: {}",
            "b".repeat(LONGEST)
        );
        assert_eq!(error(&long), HeadError::TooLong);
        let many = format!(
            "CONNECT a.example:443 HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS + 1)
        );
        assert_eq!(error(&many), HeadError::TooLong);
    }
}
