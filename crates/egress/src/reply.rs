//! The answer to a proxy client about a refusal: one line that names the reason, and a status.

use hyper::StatusCode;

use super::gate::Refusal;

/// The field that tells creel's own refusals from a server's.
pub const DENIED: &str = "x-creel-denied";

/// 400: it cannot be read in one way. 403: it is not granted. 502 and 504: it is, and nobody answers.
pub fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoHost(_) => StatusCode::BAD_REQUEST,
        Refusal::Dial(why) if why.contains("timed out") => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Unresolved(why) if why.contains("timed out") => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Dial(_) | Refusal::Unresolved(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::FORBIDDEN,
    }
}

/// The reason in printable ASCII, in one line: it goes into a header.
pub fn line(refusal: &str) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    refusal.chars().map(printable).take(512).collect()
}

/// The value of `Proxy-Status` (RFC 9209).
pub fn proxy_status(refusal: &Refusal) -> String {
    let error = match refusal {
        Refusal::NoHost(_) => "http_request_error",
        Refusal::Special { .. } => "destination_ip_prohibited",
        Refusal::Unresolved(_) => "dns_error",
        Refusal::Dial(why) if why.contains("refused") => "connection_refused",
        Refusal::Dial(why) if why.contains("timed out") => "connection_timeout",
        Refusal::Dial(_) => "destination_unavailable",
        Refusal::Limit(_) => "connection_limit_reached",
        _ => "http_request_denied",
    };
    let details = line(&refusal.to_string()).replace(['"', '\\'], "'");
    format!("creel; error={error}; details=\"{details}\"")
}

/// A whole answer of HTTP/1.1, for what is refused before there is any HTTP.
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
