//! The SOCKS5 proxy (RFC 1928): CONNECT by name or address.
//!
//! The proxy requires no authentication: every program in the jail may use it. A client that insists on a
//! name and a password (RFC 1929) may send any. UDP ASSOCIATE, BIND and SOCKS4 are refused.

pub mod protocol;

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use self::protocol::{Method, Read, Reply, SocksError};
use super::Way;
use super::admission::Slot;
use super::connect::linger;
use super::gate::Gate;
use super::refusal::{Failure, Refusal};
use super::{accept, tunnel};

/// Time limit up to the end of the request.
const GREETING: Duration = Duration::from_secs(30);

/// Accepts clients forever.
pub async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let (client, _) = accept::client(&listener).await;
        let slot = gate.meter.admission.slot().await;
        tokio::task::spawn_local(greet(Rc::clone(&gate), client, slot));
    }
}

/// A client's connection, and its bytes that are not parsed yet.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// Why there is no request.
enum Ended {
    /// The client closed the connection.
    Gone,
    Wrong(SocksError),
}

async fn greet(gate: Rc<Gate>, stream: TcpStream, slot: Slot) {
    let mut client = Client {
        stream,
        bytes: vec![],
    };
    let asked = match timeout(GREETING, client.asks()).await {
        Ok(asked) => asked,
        Err(_) => {
            let refusal = Refusal::NoRequest;
            return gate.refuse(Way::Socks5, "", 0, &refusal);
        }
    };
    let (host, port) = match asked {
        Ok(asked) => asked,
        Err(Ended::Gone) => return,
        Err(Ended::Wrong(error)) => {
            let answer = error.answer();
            let said = error.said().to_owned();
            let refusal = match error {
                SocksError::Host { error, .. } => Refusal::NoHost(error.to_string()),
                error => Refusal::Socks(error),
            };
            gate.refuse(Way::Socks5, &said, 0, &refusal);
            return client.close(answer).await;
        }
    };
    let host = gate.meant(host);
    let pass = match gate.admit(Way::Socks5, host, port).await {
        Ok(pass) => pass,
        Err(refusal) => return client.close(&reply(&refusal).bytes()).await,
    };
    drop(slot);
    if let Err(refusal) = pass.prepare().await {
        pass.refuse(&refusal);
        drop(pass);
        return client.close(&reply(&refusal).bytes()).await;
    }
    let granted = Reply::Granted.bytes();
    if client.stream.write_all(&granted).await.is_ok() {
        tunnel::carry(pass, client.stream, client.bytes).await;
    }
}

fn reply(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Unresolved(_) => Reply::Unreachable,
        Refusal::Dial {
            failure: Failure::Refused,
            ..
        } => Reply::Refused,
        Refusal::Dial { .. } => Reply::Unreachable,
        _ => Reply::NotAllowed,
    }
}

impl Client {
    /// Performs the handshake and reads the request; later bytes stay in `bytes`.
    async fn asks(&mut self) -> Result<(creel_policy::net::Host, u16), Ended> {
        let method = self.next(protocol::greeting).await?;
        self.say(&method.answer()).await?;
        if method == Method::Password {
            self.next(protocol::password).await?;
            self.say(&protocol::WELCOME).await?;
        }
        let request = self.next(protocol::request).await?;
        Ok((request.host, request.port))
    }

    /// Reads until `read` returns a message, and removes its bytes.
    async fn next<T>(&mut self, read: fn(&[u8]) -> Read<T>) -> Result<T, Ended> {
        loop {
            if let Some((message, length)) = read(&self.bytes).map_err(Ended::Wrong)? {
                self.bytes.drain(..length);
                return Ok(message);
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return Err(Ended::Gone),
                Ok(_) => {}
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|_| Ended::Gone)
    }

    async fn close(mut self, answer: &[u8]) {
        if self.stream.write_all(answer).await.is_ok() {
            linger(self.stream).await;
        }
    }
}
