//! HTTP, request by request: each is judged, and what was judged is what is sent.

use tokio::io::{AsyncRead, AsyncWrite};

use super::gate::Pass;

/// What carries the requests of a client, and how they go on outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// TLS was ended here; outside it is begun anew, with the host's certificate checked.
    Https,
}

/// Which versions the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// Serves one client to its end. `client` yields the bytes that were looked at already first.
pub async fn serve<C>(_pass: Pass, _client: C, _scheme: Scheme, _version: Version)
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
}
