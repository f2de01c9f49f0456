//! Datagrams to destinations that a rule grants with `protocol = "udp"`.
//!
//! A flow is a client's socket and a destination. Its first datagram is decided on as a connection is;
//! then it has a socket outside, connected to an address that was checked, so that nobody else's answers
//! are heard. A flow on which nothing moves for a minute ends. Where there are too many, or
//! datagrams come faster than they leave, the newest are lost: what waits is in bounds ([`queue`](super::queue)).

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
use super::gate::{Direction, Gate, Pass, Refusal};
use super::queue::Queue;
use super::transparent::destination;
use creel_policy::net::Host;
use creel_sys::{Errno, udp};

/// Flows of one port at once.
const FLOWS: usize = 256;
const IDLE: Duration = Duration::from_secs(60);
/// For so long a destination that was refused is not asked for again.
const REFUSED: Duration = Duration::from_secs(1);
/// After a failure that may last.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: usize = 65_536;

/// The client, and the address that it meant.
type Key = (SocketAddr, IpAddr);

/// The flows of one socket in the jail.
struct Flows {
    gate: Rc<Gate>,
    inside: UdpSocket,
    port: u16,
    open: RefCell<HashMap<Key, Rc<Queue>>>,
}

thread_local! {
    /// The buffer for all datagrams; the relay has one thread.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST].into());
}

/// Relays the datagrams of a port for good. The socket receives what was sent to any address; an error
/// says that it cannot tell which.
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
    /// Receives one from the jail and gives it to its flow, which is begun where there is none.
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
        let Some(queue) = Queue::new(&self.gate) else {
            return;
        };
        queue.push(datagram);
        open.insert(key, Rc::clone(&queue));
        let flows = Rc::clone(self);
        spawn_local(async move {
            // A refused flow does not keep the state of a live one.
            let carried = Box::pin(flows.carry(key, &queue)).await;
            queue.close();
            if carried.is_err() {
                sleep(REFUSED).await;
            }
            flows.open.borrow_mut().remove(&key);
        });
    }

    /// One flow, until it is idle, refused, or nobody is there.
    async fn carry(&self, key: Key, queue: &Rc<Queue>) -> Result<(), Refusal> {
        let host = destination(&self.gate, SocketAddr::new(key.1, self.port));
        let host = host.inspect_err(|refusal| {
            let said = Host::from(key.1).to_string();
            self.gate.refuse(Way::Udp, &said, self.port, refusal);
        })?;
        let pass = self.gate.admit(Way::Udp, host, self.port).await?;
        let ended = match outside(&pass).await {
            Ok(outside) => {
                queue.open();
                self.relay(&pass, key, &outside, queue).await
            }
            Err(refusal) => Err(refusal),
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
                    // Nothing came after all, or nobody listens there (udp(7)): the client hears nothing,
                    // and asks again. Or there is no room for it.
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

/// Counts a datagram before it moves, and waits until the bandwidth has room for it.
async fn account(pass: &Pass, direction: Direction, bytes: usize) -> Result<(), Refusal> {
    pass.count(direction, bytes as u64)?;
    if let Some(pace) = pass.pace(direction) {
        sleep(pace.reserve(bytes)).await;
    }
    Ok(())
}

/// A socket that speaks with the first of the checked addresses that there is a route to.
async fn outside(pass: &Pass) -> Result<UdpSocket, Refusal> {
    let mut failed = Refusal::Dial("the name has no address".into());
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
            Err(error) => failed = Refusal::Dial(error.to_string()),
        }
    }
    Err(failed)
}
