//! HTTP schemes and versions, and what the server and client sides share.

use hyper::http::uri::Scheme as UriScheme;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a client's requests are carried, and how the relay forwards them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Requests without TLS.
    Http,
    /// The relay terminates the client's TLS, and opens TLS to the host with certificate verification.
    Https,
}

/// The HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// A bidirectional byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Scheme {
    /// The default port of the scheme.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// The scheme as it is in a URL.
    pub fn name(self) -> UriScheme {
        match self {
            Scheme::Http => UriScheme::HTTP,
            Scheme::Https => UriScheme::HTTPS,
        }
    }
}

/// Spawns tasks on the relay's single thread.
#[derive(Clone, Copy)]
pub struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
