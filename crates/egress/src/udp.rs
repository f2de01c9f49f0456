//! Datagrams to destinations that a rule grants with `protocol = "udp"`.
//!
//! A flow is a client's socket and a destination. Its first datagram is decided on like a connection; then
//! the flow has an outside socket, connected to a checked address, so that it receives only that peer's
//! datagrams. A flow ends after a minute without traffic. With too many flows, or datagrams that arrive
//! faster than they leave, the newest are dropped: the queues are bounded ([`udp_queue`](super::udp_queue)).

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::Way;
use super::gate::{Direction, Gate, Pass};
use super::refusal::{Failure, Refusal};
use super::transparent::destination;
use super::udp_queue::Queue;
use creel_policy::net::Host;
use creel_sys::{Errno, udp};

/// Maximum concurrent flows of one port.
const FLOWS: usize = 256;
const IDLE: Duration = Duration::from_secs(60);
/// How long a refused flow drops datagrams before its destination is decided on again.
const REFUSED: Duration = Duration::from_secs(1);
/// Delay after a receive error that may persist.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: usize = 65_536;

/// The client's address, and the address that it sent to.
type Key = (SocketAddr, IpAddr);

/// The flows of one socket in the jail.
struct Flows {
    gate: Rc<Gate>,
    inside: UdpSocket,
    port: u16,
    open: RefCell<HashMap<Key, Rc<Queue>>>,
}

thread_local! {
    /// The receive buffer of all flows; the relay has one thread.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST].into());
}

/// Relays the datagrams of a port, forever. The socket receives datagrams to any address; an error means
/// that it cannot report which.
pub async fn serve(gate: Rc<Gate>, inside: UdpSocket) -> io::Result<()> {
    udp::tell_destination(inside.as_fd())?;
    let flows = Rc::new(Flows {
        port: inside.local_addr()?.port(),
        gate,
        inside,
        open: RefCell::default(),
    });
    loop {
        let read = || flows.receive();
        match flows.inside.async_io(Interest::READABLE, read).await {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODATA) => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

impl Flows {
    /// Receives a datagram from the jail and passes it to its flow, which is created if there is none.
    fn receive(self: &Rc<Self>) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| {
            let arrival = udp::receive(self.inside.as_fd(), buffer)?;
            let datagram = buffer.get(..arrival.bytes).unwrap_or_default();
            self.pass_on((arrival.from, arrival.to), datagram);
            Ok(())
        })
    }

    fn pass_on(self: &Rc<Self>, key: Key, datagram: &[u8]) {
        let mut open = self.open.borrow_mut();
        if let Some(flow) = open.get(&key) {
            return flow.push(datagram);
        }
        if open.len() >= FLOWS {
            return;
        }
        let Some(queue) = Queue::new(&self.gate.meter.datagrams) else {
            return;
        };
        queue.push(datagram);
        open.insert(key, Rc::clone(&queue));
        let flows = Rc::clone(self);
        spawn_local(async move {
            // Boxed, so that its memory is freed before the delay of a refused flow.
            let carried = Box::pin(flows.carry(key, &queue)).await;
            queue.close();
            if carried.is_err() {
                sleep(REFUSED).await;
            }
            flows.open.borrow_mut().remove(&key);
        });
    }

    /// Serves one flow until it is idle, refused, or unreachable.
    async fn carry(&self, key: Key, queue: &Rc<Queue>) -> Result<(), Refusal> {
        let host = destination(&self.gate, SocketAddr::new(key.1, self.port));
        let host = host.inspect_err(|refusal| {
            let said = Host::from(key.1).to_string();
            self.gate.refuse(Way::Udp, &said, self.port, refusal);
        })?;
        let pass = self.gate.admit(Way::Udp, host, self.port).await?;
        let relayed = async {
            let outside = outside(&pass).await?;
            queue.open();
            self.relay(&pass, key, &outside, queue).await
        };
        let ended = tokio::select! {
            biased;
            refusal = pass.grip().ended() => Err(refusal),
            ended = relayed => ended,
        };
        ended.inspect_err(|refusal| pass.refuse(refusal))
    }

    async fn relay(
        &self,
        pass: &Pass,
        key: Key,
        outside: &UdpSocket,
        queue: &Rc<Queue>,
    ) -> Result<(), Refusal> {
        loop {
            let next = async {
                tokio::select! {
                    datagram = queue.next() => Some(datagram),
                    ready = outside.readable() => ready.ok().and(None),
                }
            };
            match timeout(IDLE, next).await {
                Err(_) => return Ok(()),
                Ok(Some(datagram)) => {
                    account(pass, Direction::Out, datagram.bytes.len()).await?;
                    let _ = outside.send(&datagram.bytes).await;
                }
                Ok(None) => {
                    let received = BUFFER.with_borrow_mut(|buffer| {
                        let bytes = outside.try_recv(buffer).ok()?;
                        queue.hold(buffer.get(..bytes).unwrap_or_default())
                    });
                    // Spurious readiness, no listener at the address (udp(7)), or no room in the budget: the
                    // client gets nothing, and asks again.
                    let Some(datagram) = received else {
                        continue;
                    };
                    account(pass, Direction::In, datagram.bytes.len()).await?;
                    let _ = udp::send(self.inside.as_fd(), &datagram.bytes, key.0, key.1);
                }
            }
        }
    }
}

/// Counts a datagram before it moves, and waits until the bandwidth limit allows it.
async fn account(pass: &Pass, direction: Direction, bytes: usize) -> Result<(), Refusal> {
    pass.count(direction, bytes as u64)?;
    if let Some(limit) = pass.rate_limit(direction) {
        sleep(limit.reserve(bytes)).await;
    }
    Ok(())
}

/// A socket connected to the first checked address that has a route.
async fn outside(pass: &Pass) -> Result<UdpSocket, Refusal> {
    let mut failed = Refusal::Dial {
        failure: Failure::Unreachable,
        text: "the name has no address".into(),
    };
    for address in pass.addresses().await? {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let connected = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await.map(|()| socket)
        };
        match connected.await {
            Ok(socket) => {
                pass.reached(address.ip());
                return Ok(socket);
            }
            Err(error) => failed = Refusal::dial(&error),
        }
    }
    Err(failed)
}
