//! Accepts connections for every listener of the relay. Callers reject clients with a protocol error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Delay after a failed accept, such as for lack of descriptors or memory. Further clients wait in the
/// listen backlog; the kernel refuses those beyond it.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits for the next client; returns its connection and its address.
pub async fn client(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(client) => return client,
            // The client closed before it was accepted (accept(2)).
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}
