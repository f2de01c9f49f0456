//! The SOCKS5 proxy (RFC 1928): CONNECT by name or address.
//!
//! Every process of the jail may use it, so no login is needed; a client that insists on a
//! name and a password (RFC 1929) may send any. UDP ASSOCIATE, BIND and SOCKS4 are refused.

pub mod wire;

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use self::wire::{Method, Read, Reply, SocksError};
use super::Way;
use super::connect::linger;
use super::gate::{Gate, Refusal};
use super::lobby::Place;
use super::{accept, tunnel};

/// For all that comes before the tunnel.
const GREETING: Duration = Duration::from_secs(30);

/// Accepts for good.
pub async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let (client, _) = accept::client(&listener).await;
        let place = gate.meter.lobby.place().await;
        tokio::task::spawn_local(greet(Rc::clone(&gate), client, place));
    }
}

/// The client's bytes so far, and the connection to it.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// Why there is no request.
enum Ended {
    /// The client is gone: nobody is there to be told.
    Gone,
    Wrong(SocksError),
}

async fn greet(gate: Rc<Gate>, stream: TcpStream, place: Place) {
    let mut client = Client {
        stream,
        bytes: vec![],
    };
    let asked = match timeout(GREETING, client.asks()).await {
        Ok(asked) => asked,
        Err(_) => {
            let refusal = Refusal::Closed("no request in 30 s");
            return gate.refuse(Way::Socks5, "", 0, &refusal);
        }
    };
    let (host, port) = match asked {
        Ok(asked) => asked,
        Err(Ended::Gone) => return,
        Err(Ended::Wrong(error)) => {
            let said = error.said().to_owned();
            let refusal = match &error {
                SocksError::Host { error, .. } => Refusal::NoHost(error.to_string()),
                error => Refusal::Spoken(error.to_string()),
            };
            gate.refuse(Way::Socks5, &said, 0, &refusal);
            return client.close(error.answer()).await;
        }
    };
    let host = gate.meant(host);
    let pass = match gate.admit(Way::Socks5, host, port).await {
        Ok(pass) => pass,
        Err(refusal) => return client.close(&reply(&refusal).bytes()).await,
    };
    drop(place);
    if let Err(refusal) = pass.prepare().await {
        pass.refuse(&refusal);
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
        Refusal::Dial(why) if why.contains("refused") => Reply::Refused,
        Refusal::Dial(_) => Reply::Unreachable,
        _ => Reply::NotAllowed,
    }
}

impl Client {
    /// Everything up to the request, whose bytes are taken.
    async fn asks(&mut self) -> Result<(creel_policy::net::Host, u16), Ended> {
        let method = self.next(wire::greeting).await?;
        self.say(&method.answer()).await?;
        if method == Method::Password {
            self.next(wire::password).await?;
            self.say(&wire::WELCOME).await?;
        }
        let request = self.next(wire::request).await?;
        Ok((request.host, request.port))
    }

    /// Reads until a message is whole.
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
