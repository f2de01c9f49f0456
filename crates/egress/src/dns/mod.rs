//! The jail's DNS resolver: only granted names exist.
//!
//! It answers at every resolver address that a program queries, from the policy and [`names`]. No query is
//! forwarded: a name is resolved outside when it is dialled, by its canonical form. So a jail's queries
//! carry no data out; see [`resolve`] for what is sent at the dial.
//!
//! [`names`]: super::names
//! [`resolve`]: super::resolve

pub mod answer;
pub mod protocol;

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
use super::gate::Gate;
use super::names::Addresses;
use super::refusal::{Bound, Refusal};
use super::{Way, accept};
use creel_policy::Network;
use creel_policy::net::decide::Transport;
use creel_policy::net::{Answer, Host, Mode, Name, Why};
use creel_sys::{Errno, udp};

const PORT: u16 = 53;
/// Maximum bytes of a UDP query; a longer one cannot be answered.
const LONGEST: usize = 4096;
/// Maximum concurrent connections; further clients wait.
const CLIENTS: usize = 32;
/// A connection without a complete query for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Delay after a receive error that may persist.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers UDP queries, forever. The socket receives datagrams to any resolver's address; an error means
/// that it cannot report which.
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
            // If the send buffer is full the reply is lost, as in a network; the client asks again.
            let _ = udp::send(socket.as_fd(), &bytes, arrival.from, arrival.to);
        }
    }
}

/// Answers TCP queries, forever.
pub async fn serve_tcp(gate: Rc<Gate>, listener: TcpListener) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let (stream, _) = accept::client(&listener).await;
        let gate = Rc::clone(&gate);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            let _ = converse(&gate, stream).await;
        });
    }
}

/// Serves length-prefixed queries (RFC 7766) until the client closes or is idle.
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

/// Answers a query, and records what it refuses.
fn respond(gate: &Gate, question: &[u8]) -> Option<Vec<u8>> {
    let reply = answer(question, &Granted(gate))?;
    match reply.refused {
        None => {}
        Some(Refused::Unknown(name)) => {
            let why = Refusal::Policy(why(&gate.policy.now(), &name));
            gate.refuse(Way::Dns, name.as_str(), PORT, &why);
        }
        Some(Refused::NoName(said, why)) => {
            gate.refuse(Way::Dns, &said, PORT, &Refusal::NoHost(why.to_string()));
        }
        Some(Refused::TooMany(name)) => {
            let (bound, rule) = (Bound::Names, None);
            let refusal = Refusal::Limit { bound, rule };
            gate.refuse(Way::Dns, name.as_str(), PORT, &refusal);
        }
    }
    Some(reply.bytes)
}

/// The names that the policy grants, with their synthetic addresses.
struct Granted<'a>(&'a Gate);

impl Zone for Granted<'_> {
    fn knows(&self, name: &Name) -> bool {
        self.0.policy.now().knows(name)
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::RecordType;

    use super::*;
    use crate::outside::{locally, question};
    use crate::pinning::{gate, name, rule};
    use crate::resolve::Resolver;
    use creel_policy::net::To;

    fn granted() -> Rc<Gate> {
        let rules = vec![rule(To::Name(name("granted.example")), 443)];
        gate(rules, Resolver::default())
    }

    async fn ask(from: IpAddr, server: SocketAddr, message: &Message) -> Message {
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        // Connected: an answer from any other address would not be heard.
        socket.connect(server).await.unwrap();
        socket.send(&message.to_vec().unwrap()).await.unwrap();
        let mut buffer = [0; 512];
        let heard = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await;
        let length = heard.expect("an answer").unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    #[tokio::test]
    async fn the_answer_comes_from_the_address_that_was_asked() {
        locally(async {
            for (listens, asks) in [
                (V4, "127.0.0.1"),
                (V4, "127.9.8.7"),
                (V6, "::1"),
                (V6, "127.0.0.1"),
                (V6, "127.9.8.7"),
            ] {
                let socket = UdpSocket::bind((listens, 0)).await.unwrap();
                let port = socket.local_addr().unwrap().port();
                let server = tokio::task::spawn_local(serve_udp(granted(), socket));
                let asks: IpAddr = asks.parse().unwrap();
                let from = if asks.is_ipv4() { V4 } else { V6 };
                let message = question("granted.example", RecordType::A);
                let told = ask(from, SocketAddr::new(asks, port), &message).await;
                assert_eq!(told.answers[0].data.to_string(), "198.18.1.0", "{asks}");
                server.abort();
            }
        })
        .await;
    }

    /// In a network namespace of its own whose every address is local, as a jail's is.
    #[test]
    fn any_resolver_is_this_one() {
        let inside = std::thread::spawn(|| {
            if let Err(error) = creel_sys::net::new_namespace() {
                eprintln!("skipped: a network namespace needs privilege: {error}");
                return;
            }
            creel_sys::net::loopback_up().unwrap();
            for family in ["-4", "-6"] {
                let mut ip = std::process::Command::new("ip");
                ip.args([family, "route", "add", "local", "default", "dev", "lo"]);
                assert!(ip.status().expect("ip").success());
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(locally(async {
                for (listens, asks) in [
                    (V4, "8.8.8.8"),
                    (V6, "9.9.9.9"),
                    (V6, "2001:4860:4860::8888"),
                    (V6, "fd00::53"),
                ] {
                    let socket = UdpSocket::bind((listens, PORT)).await.unwrap();
                    let server = tokio::task::spawn_local(serve_udp(granted(), socket));
                    let asks: IpAddr = asks.parse().unwrap();
                    let from = if asks.is_ipv4() { V4 } else { V6 };
                    let server_address = SocketAddr::new(asks, PORT);
                    let message = question("granted.example", RecordType::A);
                    let told = ask(from, server_address, &message).await;
                    assert_eq!(told.answers[0].data.to_string(), "198.18.1.0", "{asks}");
                    let message = question("other.example", RecordType::A);
                    let told = ask(from, server_address, &message).await;
                    assert_eq!(
                        told.metadata.response_code,
                        ResponseCode::NXDomain,
                        "{asks}"
                    );
                    server.abort();
                    let _ = server.await;
                }
            }));
        });
        inside.join().unwrap();
    }

    async fn exchange(stream: &mut TcpStream, message: &Message) -> io::Result<Message> {
        let bytes = message.to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await?;
        stream.write_all(&bytes).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(Message::from_vec(&answer).unwrap())
    }

    #[tokio::test]
    async fn a_connection_carries_several_questions() {
        locally(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::task::spawn_local(serve_tcp(granted(), listener));
            let mut stream = TcpStream::connect(address).await.unwrap();
            for (asked, code) in [
                ("granted.example", ResponseCode::NoError),
                ("other.example", ResponseCode::NXDomain),
                ("granted.example", ResponseCode::NoError),
            ] {
                let message = question(asked, RecordType::A);
                let told = exchange(&mut stream, &message).await.unwrap();
                assert_eq!(told.metadata.response_code, code);
            }
            // Nonsense ends it, and nothing else.
            let mut other = TcpStream::connect(address).await.unwrap();
            other.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
            assert_eq!(other.read(&mut [0; 8]).await.unwrap(), 0);
            let message = question("granted.example", RecordType::A);
            exchange(&mut stream, &message).await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn no_question_leaves_and_what_is_refused_is_on_record() {
        locally(async {
            let outside = crate::outside::Outside::with(&["A granted.example 192.0.2.1"]).await;
            let rules = vec![rule(To::Name(name("granted.example")), 443)];
            let gate = gate(rules, outside.resolver());
            for asked in [
                "granted.example",
                "c2VjcmV0.example",
                "c2VjcmV0.example",
                "*.example",
            ] {
                let message = question(asked, RecordType::A).to_vec().unwrap();
                respond(&gate, &message).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(outside.asked().is_empty(), "{:?}", outside.asked());
            // The control: the same name leaves when it is resolved.
            gate.resolver
                .resolve(&name("granted.example"))
                .await
                .unwrap();
            assert!(!outside.asked().is_empty());
            let summary = gate.records.summary();
            let refused: Vec<_> = summary
                .iter()
                .map(|d| {
                    (
                        d.host.as_str(),
                        d.port,
                        d.refused,
                        d.why.as_ref().map_or("", |why| why.reason.code.as_str()),
                    )
                })
                .collect();
            assert_eq!(refused.len(), 2, "{refused:?}");
            assert_eq!(
                (refused[0].0, refused[0].1, refused[0].2),
                ("*.example", 53, 1)
            );
            assert_eq!(refused[1], ("c2vjcmv0.example", 53, 2, "net-unlisted"));
        })
        .await;
    }
}
