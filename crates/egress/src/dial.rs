//! Dials hosts, only at addresses that were checked.
//!
//! Happy Eyeballs (RFC 8305): address families alternate, each attempt has a short lead over the next, and
//! the first established connection is used.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::beyond;

/// Lead of one attempt over the next; after a failure the next begins at once.
const LEAD: Duration = Duration::from_millis(250);
/// Time limit of one attempt.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum addresses that are tried.
const MOST: usize = 16;

/// Returns the first established connection and its address. The error is that of the attempt that failed
/// last, and names its address.
pub async fn dial(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    // Most names have one address, which needs no task and no lead timer.
    if let [only] = addresses {
        return attempt(*only).await;
    }
    let mut left = order(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to dial");
    loop {
        let next = left.next();
        let any_left = next.is_some();
        if let Some(address) = next {
            attempts.spawn(attempt(address));
        }
        // Until an attempt ends, or the lead is over.
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = sleep(LEAD), if any_left => continue,
        };
        match ended {
            Some(Ok(Ok(dialled))) => return Ok(dialled),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => return Err(last),
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let connected = match timeout(PATIENCE, connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let stream =
        connected.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    stream.set_nodelay(true)?;
    Ok((stream, address))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    match TcpStream::connect(address).await {
        // Landlock: a port that the first rules do not have.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            let late = beyond::connect(socket.as_fd().try_clone_to_owned()?, address).await;
            late.map_err(|late| match late.kind() {
                io::ErrorKind::PermissionDenied => error,
                _ => late,
            })
        }
        connected => connected,
    }
}

/// The order of the attempts: families alternate, beginning with that of the first address.
fn order(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(addresses.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let turn = [one.next(), other.next()];
        if turn == [None, None] {
            break;
        }
        ordered.extend(turn.into_iter().flatten());
    }
    ordered.truncate(MOST);
    ordered
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Instant;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A port of `ip` at which nobody listens.
    async fn closed(ip: IpAddr) -> SocketAddr {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        listener.local_addr().unwrap()
    }

    /// A listener whose queue is full: who connects hears nothing.
    async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = vec![];
        while let Ok(stream) =
            timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queue.push(stream.unwrap());
            assert!(queue.len() < 16, "the queue of one has no end");
        }
        (listener, queue, address)
    }

    #[tokio::test]
    async fn the_first_that_answers_is_the_connection() {
        let (_listener, open) = listener().await;
        let refused = [
            closed(Ipv4Addr::LOCALHOST.into()).await,
            closed(Ipv6Addr::LOCALHOST.into()).await,
        ];
        let start = Instant::now();
        let (stream, address) = dial(&[refused[1], refused[0], open]).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), address), (open, open));
        assert!(stream.nodelay().unwrap());
        assert!(start.elapsed() < 2 * LEAD, "a refusal loses the lead");
    }

    #[tokio::test]
    async fn one_that_is_silent_delays_by_its_lead() {
        let (_listener, open) = listener().await;
        let (_silent, _queue, silent) = silent().await;
        let start = Instant::now();
        let (stream, _) = dial(&[silent, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(start.elapsed() >= LEAD);
        assert!(start.elapsed() < PATIENCE / 2);
    }

    #[tokio::test]
    async fn the_error_names_the_address_and_its_cause() {
        let refused = closed(Ipv4Addr::LOCALHOST.into()).await;
        let error = dial(&[refused]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            error.to_string().starts_with(&refused.to_string()),
            "{error}"
        );
        let error = dial(&[]).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no address to dial");
    }

    #[test]
    fn families_take_turns_and_the_first_address_begins() {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 443);
        let order_of = |texts: &[&str]| -> Vec<String> {
            let addresses: Vec<SocketAddr> = texts.iter().map(address).collect();
            let ordered = order(&addresses);
            ordered.iter().map(|a| a.ip().to_string()).collect()
        };
        assert_eq!(
            order_of(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"]),
            ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]
        );
        assert_eq!(order_of(&["1.1.1.1", "::1"]), ["1.1.1.1", "::1"]);
        assert_eq!(order_of(&["::1"]), ["::1"]);
        assert_eq!(order_of(&["1.1.1.1"; 40]).len(), MOST);
        assert!(order_of(&[]).is_empty());
    }
}
