//! The HTTP proxy: CONNECT and requests in absolute form.

use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Way;
use super::admission::{HeadBudget, LEAST, Slot};
use super::gate::Gate;
use super::refusal::Refusal;
use super::request_head::{self, Head, HeadError};
use super::rewind::Rewind;
use super::{accept, http, reply, tunnel, windows};

/// Time limit for the first request head.
const HEAD: Duration = Duration::from_secs(30);
/// Time that a refused client has to read the response.
const LINGER: Duration = Duration::from_secs(2);

/// Accepts clients forever.
pub async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let (client, _) = accept::client(&listener).await;
        let slot = gate.meter.admission.slot().await;
        tokio::task::spawn_local(greet(Rc::clone(&gate), client, slot));
    }
}

/// Why there is no head.
enum Wrong {
    Head(HeadError),
    NoRoom(Refusal),
}

/// Reads a client's first request head, and serves the tunnel or the requests.
async fn greet(gate: Rc<Gate>, mut client: TcpStream, slot: Slot) {
    let mut bytes = vec![];
    let mut held = HeadBudget::new(&gate.meter.admission);
    let head = match timeout(HEAD, first(&mut client, &mut bytes, &mut held)).await {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(_) => {
            drop((bytes, held));
            let refusal = Refusal::NoRequest;
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
            // Later requests may name destinations that are not granted, so the client keeps its slot.
            let _slot = slot;
            return http::serve_proxy(gate, Rewind::new(bytes, client)).await;
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
                Wrong::Head(error) => (String::new(), Refusal::Head(error)),
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
    drop((bytes, held, slot));
    if let Err(refusal) = pass.prepare().await {
        pass.refuse(&refusal);
        // The client has time to read the answer, and a change of the rules does not wait for it.
        drop(pass);
        return refuse(client, reply::status(&refusal), &refusal).await;
    }
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    if client.write_all(established).await.is_ok() {
        tunnel::carry(pass, client, early).await;
    }
}

/// Reads the first head, and any bytes that came with it; `None` if the client closed.
async fn first(
    client: &mut TcpStream,
    bytes: &mut Vec<u8>,
    held: &mut HeadBudget,
) -> Option<Result<Head, Wrong>> {
    let mut seen = 0;
    loop {
        // A long head is parsed again only after another of its lines has ended.
        let fresh = bytes.get(seen..).unwrap_or_default();
        if bytes.len() < LEAST || bytes.len() >= request_head::LONGEST || fresh.contains(&b'\n') {
            match request_head::read(bytes) {
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

/// Sends the refusal and waits until the client has read it: closing with unread bytes sends a reset, which
/// may discard the response.
async fn refuse(mut client: TcpStream, status: StatusCode, refusal: &Refusal) {
    let answer = reply::whole(status, refusal);
    if client.write_all(answer.as_bytes()).await.is_ok() {
        linger(client).await;
    }
}

/// Shuts down the write side, then discards what the client still sends, for a short time.
pub(super) async fn linger(mut client: TcpStream) {
    if client.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 1024];
    let drained = async { while matches!(client.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(LINGER, drained).await;
}
