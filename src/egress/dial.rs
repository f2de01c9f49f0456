//! Dialling outside: the addresses that were checked, no others.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// The first that answers (RFC 8305).
pub async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    TcpStream::connect(addresses).await
}
