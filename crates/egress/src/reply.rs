//! Replies of the proxies to refused clients: a status, and the reason in one line.

use hyper::StatusCode;

use super::refusal::{Failure, Refusal};
use super::resolve::ResolveError;

/// Header field that distinguishes creel's refusals from a server's errors.
pub const DENIED: &str = "x-creel-denied";

/// 400: the destination is malformed. 403: it is not granted. 502 and 504: it is granted, but cannot be
/// resolved or dialled.
pub fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoHost(_) => StatusCode::BAD_REQUEST,
        Refusal::Dial {
            failure: Failure::Late,
            ..
        }
        | Refusal::Unresolved(ResolveError::Late) => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Dial { .. } | Refusal::Unresolved(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::FORBIDDEN,
    }
}

/// The reason for a header: one line of printable ASCII, at most 512 characters.
pub fn line(refusal: &str) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    refusal.chars().map(printable).take(512).collect()
}

/// The value of `Proxy-Status` (RFC 9209).
pub fn proxy_status(refusal: &Refusal) -> String {
    let error = match refusal {
        Refusal::NoHost(_) => "http_request_error",
        Refusal::Special { .. } | Refusal::Own(_) => "destination_ip_prohibited",
        Refusal::Unresolved(_) => "dns_error",
        Refusal::Dial { failure, .. } => match failure {
            Failure::Refused => "connection_refused",
            Failure::Late => "connection_timeout",
            _ => "destination_unavailable",
        },
        Refusal::Limit { .. } => "connection_limit_reached",
        _ => "http_request_denied",
    };
    let details = line(&refusal.to_string()).replace(['"', '\\'], "'");
    format!("creel; error={error}; details=\"{details}\"")
}

/// A complete HTTP/1.1 response, for refusals before an HTTP server has the connection.
pub fn whole(status: StatusCode, refusal: &Refusal) -> String {
    let why = line(&refusal.to_string());
    let body = format!("creel: {why}\n");
    format!(
        "HTTP/1.1 {} {}\r\n{DENIED}: {why}\r\nProxy-Status: {}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        proxy_status(refusal),
        body.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_in_its_line() {
        let refusal = Refusal::NoHost("a\r\nSet-Cookie: b\u{202e}\"\\".into());
        let answer = whole(status(&refusal), &refusal);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(!answer.to_lowercase().contains("\nset-cookie"), "{answer}");
        assert!(answer.is_ascii());
    }
}
