//! The HTTP proxy: CONNECT and requests in absolute form.

use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Way;
use super::gate::{Gate, Refusal};
use super::head::{self, Head, HeadError};
use super::lobby::{Held, LEAST, Place};
use super::prefixed::Prefixed;
use super::{accept, http, reply, tunnel, windows};

/// For the first head.
const HEAD: Duration = Duration::from_secs(30);
/// For a client to read why it was refused.
const LINGER: Duration = Duration::from_secs(2);

/// Accepts for good.
pub async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let (client, _) = accept::client(&listener).await;
        let place = gate.meter.lobby.place().await;
        tokio::task::spawn_local(greet(Rc::clone(&gate), client, place));
    }
}

/// Why there is no head.
enum Wrong {
    Head(HeadError),
    NoRoom(Refusal),
}

/// Reads the first head of a client, and carries what it asks for.
async fn greet(gate: Rc<Gate>, mut client: TcpStream, place: Place) {
    let mut bytes = vec![];
    let mut held = Held::new(&gate);
    let head = match timeout(HEAD, first(&mut client, &mut bytes, &mut held)).await {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(_) => {
            drop((bytes, held));
            let refusal = Refusal::Closed("no request in 30 s");
            gate.refuse(Way::Connect, "", 0, &refusal);
            return refuse(client, StatusCode::REQUEST_TIMEOUT, &refusal).await;
        }
    };
    let (target, port, length) = match head {
        Ok(Head::Connect {
            target,
            port,
            length,
        }) => (target, port, length),
        Ok(Head::Request) => {
            drop(held);
            windows::bound_client(&client);
            // It may go on to what is not granted, so it keeps its place.
            let _place = place;
            return http::serve_proxy(gate, Prefixed::new(bytes, client)).await;
        }
        Err(error) => {
            drop((bytes, held));
            let (said, refusal) = match error {
                Wrong::NoRoom(refusal) => (String::new(), refusal),
                Wrong::Head(HeadError::Target { said, error }) => {
                    (said, Refusal::NoHost(error.to_string()))
                }
                Wrong::Head(HeadError::NoPort(said)) => {
                    (said, Refusal::NoHost("it has no port".into()))
                }
                Wrong::Head(error) => (String::new(), Refusal::Spoken(error.to_string())),
            };
            gate.refuse(Way::Connect, &said, 0, &refusal);
            return refuse(client, StatusCode::BAD_REQUEST, &refusal).await;
        }
    };
    let early = bytes.split_off(length);
    let host = gate.meant(target.host);
    let pass = match gate.admit(Way::Connect, host, port).await {
        Ok(pass) => pass,
        Err(refusal) => return refuse(client, reply::status(&refusal), &refusal).await,
    };
    drop((bytes, held, place));
    if let Err(refusal) = pass.prepare().await {
        pass.refuse(&refusal);
        return refuse(client, reply::status(&refusal), &refusal).await;
    }
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    if client.write_all(established).await.is_ok() {
        tunnel::carry(pass, client, early).await;
    }
}

/// The first head, and all bytes that came with it; `None` where the client went away.
async fn first(
    client: &mut TcpStream,
    bytes: &mut Vec<u8>,
    held: &mut Held,
) -> Option<Result<Head, Wrong>> {
    let mut seen = 0;
    loop {
        // A long head is read again only where a line of it has ended.
        let fresh = bytes.get(seen..).unwrap_or_default();
        if bytes.len() < LEAST || bytes.len() >= head::LONGEST || fresh.contains(&b'\n') {
            match head::read(bytes) {
                Ok(Some(head)) => return Some(Ok(head)),
                Ok(None) => {}
                Err(error) => return Some(Err(Wrong::Head(error))),
            }
        }
        seen = bytes.len();
        if let Err(refusal) = held.reserve(bytes) {
            return Some(Err(Wrong::NoRoom(refusal)));
        }
        match client.read_buf(bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Answers, and waits until the answer was read: what is closed with bytes unread is reset, and the
/// answer may be lost with it.
async fn refuse(mut client: TcpStream, status: StatusCode, refusal: &Refusal) {
    let answer = reply::whole(status, refusal);
    if client.write_all(answer.as_bytes()).await.is_ok() {
        linger(client).await;
    }
}

/// Closes this side, and takes what the other still sends, for a moment.
pub(super) async fn linger(mut client: TcpStream) {
    if client.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 1024];
    let drained = async { while matches!(client.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(LINGER, drained).await;
}
