//! Datagrams to destinations that a rule grants with `protocol = "udp"`.
//!
//! A flow is a client's socket and a destination. Its first datagram is decided on as a connection is;
//! then it has a socket outside, connected to an address that was checked, so that nobody else's answers
//! are heard. A flow on which nothing moves for a minute ends. Where there are too many, or one's
//! datagrams come faster than they leave, the newest are lost, as in any network.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::Way;
use super::gate::{Direction, Gate, Pass, Refusal};
use super::transparent::destination;
use crate::policy::net::Host;
use crate::sys::{Errno, udp};

/// Flows of one port at once.
const FLOWS: usize = 256;
/// Datagrams of a flow that wait.
const WAITING: usize = 32;
const IDLE: Duration = Duration::from_secs(60);
/// For so long a destination that was refused is not asked for again.
const REFUSED: Duration = Duration::from_secs(1);
/// After a failure that may last.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: usize = 65_536;

/// Who, and the address that was meant.
type Key = (SocketAddr, IpAddr);

/// The flows of one socket in the jail.
struct Flows {
    gate: Rc<Gate>,
    inside: UdpSocket,
    port: u16,
    open: RefCell<HashMap<Key, Sender<Vec<u8>>>>,
    /// For what comes from outside.
    buffer: RefCell<Vec<u8>>,
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
        buffer: RefCell::new(vec![0; LONGEST]),
    });
    let mut buffer = vec![0; LONGEST];
    loop {
        let read = || Ok(udp::receive(flows.inside.as_fd(), &mut buffer)?);
        let arrival = match flows.inside.async_io(Interest::READABLE, read).await {
            Ok(arrival) => arrival,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODATA) => continue,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        let datagram = buffer.get(..arrival.bytes).unwrap_or_default().to_vec();
        flows.pass_on((arrival.from, arrival.to), datagram);
    }
}

impl Flows {
    /// Gives a datagram to its flow, which is begun where there is none.
    fn pass_on(self: &Rc<Self>, key: Key, datagram: Vec<u8>) {
        let mut open = self.open.borrow_mut();
        if let Some(flow) = open.get(&key) {
            let _ = flow.try_send(datagram);
            return;
        }
        if open.len() >= FLOWS {
            return;
        }
        let (give, take) = channel(WAITING);
        let _ = give.try_send(datagram);
        open.insert(key, give);
        let flows = Rc::clone(self);
        spawn_local(async move {
            flows.carry(key, take).await;
            flows.open.borrow_mut().remove(&key);
        });
    }

    /// One flow, until it is idle, refused, or nobody is there.
    async fn carry(&self, key: Key, mut datagrams: Receiver<Vec<u8>>) {
        let host = match destination(&self.gate, SocketAddr::new(key.1, self.port)) {
            Ok(host) => self.gate.admit(Way::Udp, host, self.port).await,
            Err(refusal) => {
                let said = Host::from(key.1).to_string();
                self.gate.refuse(Way::Udp, &said, self.port, &refusal);
                Err(refusal)
            }
        };
        let Ok(pass) = host else {
            return sleep(REFUSED).await;
        };
        let ended = match outside(&pass).await {
            Ok(outside) => self.relay(&pass, key, &outside, &mut datagrams).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = ended {
            pass.refuse(&refusal);
            drop(pass);
            sleep(REFUSED).await;
        }
    }

    async fn relay(
        &self,
        pass: &Pass,
        key: Key,
        outside: &UdpSocket,
        datagrams: &mut Receiver<Vec<u8>>,
    ) -> Result<(), Refusal> {
        loop {
            let next = async {
                tokio::select! {
                    datagram = datagrams.recv() => match datagram {
                        Some(datagram) => Some(datagram),
                        None => pending().await,
                    },
                    ready = outside.readable() => ready.ok().and(None),
                }
            };
            match timeout(IDLE, next).await {
                Err(_) => return Ok(()),
                Ok(Some(datagram)) => {
                    account(pass, Direction::Out, datagram.len()).await?;
                    let _ = outside.send(&datagram).await;
                }
                Ok(None) => {
                    let datagram = {
                        let mut buffer = self.buffer.borrow_mut();
                        match outside.try_recv(&mut buffer) {
                            Ok(bytes) => buffer.get(..bytes).unwrap_or_default().to_vec(),
                            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                            // Nobody listens there (udp(7)); the client hears nothing, and asks again.
                            Err(_) => continue,
                        }
                    };
                    account(pass, Direction::In, datagram.len()).await?;
                    let _ = udp::send(self.inside.as_fd(), &datagram, key.0, key.1);
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
