//! The resolver of the jail: granted names exist, no others.
//!
//! It answers on whatever resolver's address a program asks, from what the policy and [`names`] say.
//! No question leads to one outside: a name is resolved when it is dialled, by its canonical form. So
//! what a jail puts into its questions stays here; see [`resolve`] for what leaves then.
//!
//! [`names`]: super::names
//! [`resolve`]: super::resolve

pub mod answer;
pub mod wire;

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use self::answer::{Refused, Zone, answer};
use super::Way;
use super::gate::{Gate, Refusal};
use super::names::Addresses;
use crate::policy::Network;
use crate::policy::net::judge::Transport;
use crate::policy::net::{Answer, Host, Mode, Name, Why};
use crate::sys::{Errno, udp};

/// Where questions are asked.
const PORT: u16 = 53;
/// A question that is longer than this is none that can be answered.
const LONGEST: usize = 4096;
/// Connections at once; further ones wait.
const CLIENTS: usize = 32;
/// A connection with no whole question for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// After a failure that may last, such as want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers datagrams, for good. The socket receives what was sent to any resolver's address; an error
/// says that it cannot tell which.
pub async fn serve_udp(gate: Rc<Gate>, socket: UdpSocket) -> io::Result<()> {
    udp::tell_destination(socket.as_fd())?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let read = || Ok(udp::receive(socket.as_fd(), &mut buffer)?);
        let arrival = match socket.async_io(Interest::READABLE, read).await {
            Ok(arrival) => arrival,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODATA) => continue,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        let question = buffer.get(..arrival.bytes).unwrap_or_default();
        if let Some(bytes) = respond(&gate, question) {
            // A full buffer loses it, as a network would; the client asks again.
            let _ = udp::send(socket.as_fd(), &bytes, arrival.from, arrival.to);
        }
    }
}

/// Answers on connections, for good.
pub async fn serve_tcp(gate: Rc<Gate>, listener: TcpListener) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let gate = Rc::clone(&gate);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            let _ = converse(&gate, stream).await;
        });
    }
}

/// Questions and answers, each after its length (RFC 7766), until the client ends or is silent.
async fn converse(gate: &Gate, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let question = timeout(IDLE, async {
            let mut question = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut question).await?;
            io::Result::Ok(question)
        })
        .await??;
        let Some(bytes) = respond(gate, &question) else {
            return Ok(());
        };
        let mut message = u16::try_from(bytes.len())
            .unwrap_or_default()
            .to_be_bytes()
            .to_vec();
        message.extend(bytes);
        timeout(IDLE, stream.write_all(&message)).await??;
    }
}

/// The answer, with what it refuses on record.
fn respond(gate: &Gate, question: &[u8]) -> Option<Vec<u8>> {
    let reply = answer(question, &Granted(gate))?;
    match reply.refused {
        None => {}
        Some(Refused::Unknown(name)) => {
            let why = Refusal::Policy(why(&gate.policy, &name));
            gate.refuse(Way::Dns, name.as_str(), PORT, &why);
        }
        Some(Refused::NoName(said, why)) => {
            gate.refuse(Way::Dns, &said, PORT, &Refusal::NoHost(why.to_string()));
        }
        Some(Refused::TooMany(name)) => {
            gate.refuse(Way::Dns, name.as_str(), PORT, &Refusal::Limit("of names"));
        }
    }
    Some(reply.bytes)
}

/// What the policy grants, with the addresses that its names have.
struct Granted<'a>(&'a Gate);

impl Zone for Granted<'_> {
    fn knows(&self, name: &Name) -> bool {
        self.0.policy.knows(name)
    }

    fn addresses(&self, name: &Name) -> Option<Addresses> {
        self.0.names.borrow_mut().address(name)
    }

    fn name(&self, address: IpAddr) -> Option<Name> {
        self.0.names.borrow().name(address).cloned()
    }
}

/// Why a name does not exist.
fn why(policy: &Network, name: &Name) -> Why {
    if policy.mode == Mode::None {
        return Why::NoNetwork;
    }
    let host = Host::Name(name.clone());
    let denied = policy.ports().into_iter().find_map(|port| {
        match policy.judge(&host, port, Transport::Tcp) {
            Answer::Deny(why @ Why::Denied(_)) => Some(why),
            _ => None,
        }
    });
    denied.unwrap_or(Why::Unlisted)
}
