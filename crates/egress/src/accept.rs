//! Accepting, for every listener of the relay. Accepts every connection; callers reject with a protocol error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// The delay if no descriptor or memory is free for another connection, until one is closed. The backlog
/// holds the others meanwhile, and refuses connections beyond it.
const PAUSE: Duration = Duration::from_millis(50);

/// The next client, and its own address.
pub async fn client(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(client) => return client,
            // It was gone before it was accepted (accept(2)).
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}
