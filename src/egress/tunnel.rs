//! One admitted connection, from its first bytes on: what is spoken is found out, judged, and carried.

use tokio::net::TcpStream;

use super::gate::Pass;

/// Carries the client's connection. `early` was read from it already.
pub async fn carry(_pass: Pass, _client: TcpStream, _early: Vec<u8>) {}
