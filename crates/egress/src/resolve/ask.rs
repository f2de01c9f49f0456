//! Queries to the host's resolvers: over UDP, and over TCP if an answer is truncated.
//!
//! Each query has its own connected socket, so the kernel chooses the port and only the server's datagrams
//! arrive. The query's id is random.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::error::ResolveError;
use super::message::{ALIASES, Extended, Kind, Said, question, read};
use creel_policy::net::Name;

/// How often each server is asked.
const ROUNDS: usize = 2;
/// Bytes of the receive buffer: answers longer than the query allows are read too.
const LONGEST: usize = 4096;

/// Addresses of a name, and their TTL in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The addresses, at most sixteen.
    pub addresses: Vec<IpAddr>,
    /// The smallest TTL of the records, in seconds.
    pub ttl: u32,
}

/// Queries one kind of address, and follows aliases that an answer does not resolve.
pub async fn ask(
    servers: &[SocketAddr],
    patience: Duration,
    name: &Name,
    kind: Kind,
) -> Result<Found, ResolveError> {
    let mut name = name.clone();
    let mut least = u32::MAX;
    for _ in 0..=ALIASES {
        match ask_each(servers, patience, &name, kind).await? {
            Said::Addresses(addresses, ttl) => {
                let ttl = ttl.min(least);
                return Ok(Found { addresses, ttl });
            }
            Said::Alias(target, ttl) => {
                least = least.min(ttl);
                name = target;
            }
            Said::NoName => return Err(ResolveError::NoName),
            _ => return Err(ResolveError::NoAddress),
        }
    }
    Err(ResolveError::Aliases)
}

/// Asks the servers in turn until one gives a definite answer.
async fn ask_each(
    servers: &[SocketAddr],
    patience: Duration,
    name: &Name,
    kind: Kind,
) -> Result<Said, ResolveError> {
    let mut last = ResolveError::NoResolver;
    let mut extended = Extended::Yes;
    for _ in 0..ROUNDS {
        for server in servers {
            let mut said = ask_one(*server, patience, name, kind, extended).await;
            if matches!(said, Ok(Said::Malformed)) && extended == Extended::Yes {
                extended = Extended::No;
                said = ask_one(*server, patience, name, kind, extended).await;
            }
            let why = match said {
                Ok(Said::Failed(why)) => why,
                Ok(Said::Malformed) => "it does not understand the question".into(),
                Ok(Said::Nothing | Said::Truncated) => "its answer is unreadable".into(),
                Ok(said) => return Ok(said),
                Err(error) => error.to_string(),
            };
            last = ResolveError::Server {
                server: *server,
                why,
            };
        }
    }
    Err(last)
}

/// From the kernel: with a guessed id, others could forge the resolver's answer.
fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

async fn ask_one(
    server: SocketAddr,
    patience: Duration,
    name: &Name,
    kind: Kind,
    extended: Extended,
) -> io::Result<Said> {
    let id = random_id()?;
    let bytes =
        question(id, name, kind, extended).ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    let said = timeout(
        patience,
        by_datagram(server, &bytes, |answer| read(answer, id, name, kind)),
    );
    match said.await {
        Ok(Ok(Said::Truncated)) => {}
        Ok(said) => return said,
        Err(_) => return Err(silent()),
    }
    let answer = timeout(patience, by_connection(server, &bytes)).await;
    let answer = answer.map_err(|_| silent())??;
    Ok(read(&answer, id, name, kind))
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
}

/// Ignores datagrams that do not answer this query.
async fn by_datagram(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Said,
) -> io::Result<Said> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(buffer.get(..length).unwrap_or_default()) {
            Said::Nothing => {}
            said => return Ok(said),
        }
    }
}

async fn by_connection(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(question);
    stream.write_all(&message).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
