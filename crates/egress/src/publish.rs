//! Published ports: forwards connections to a port of the host to a server on the jail's loopback.
//!
//! The relay runs in the host's network namespace and cannot create sockets in the jail's. It has a pool of
//! sockets that were created there at the jail's start; a used socket is disconnected and reused.
//!
//! The limits apply to published ports too: bytes count as for egress, and an idle connection is closed.
//! Clients beyond the limit wait in the listen backlog, not in the relay.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as Listener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::gate::{Direction, Gate, Pass};
use super::refusal::Refusal;
use super::splice::{self, Half, reset};
use super::{accept, beyond};
use creel_plan::egress::PUBLISHED;
use creel_plan::request::Publish;
use creel_sys::net::{self, Family};

/// Maximum clients over all ports that are served or wait for a socket. Each port accepts one more; the
/// others wait in the backlogs.
const PLACES: usize = 2 * PUBLISHED;

/// The pool of unused sockets of the jail's network namespace.
pub struct Store {
    v4: Shelf,
    v6: Shelf,
    places: Arc<Semaphore>,
}

/// The sockets of one address family.
#[derive(Default)]
struct Shelf {
    sockets: RefCell<Vec<OwnedFd>>,
    /// The family has sockets, even if all are in use now.
    stocked: Cell<bool>,
    returned: Notify,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            v4: Shelf::default(),
            v6: Shelf::default(),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }
}

/// A borrowed socket. Dropping it disconnects the socket and returns it to the pool.
struct Lent {
    store: Rc<Store>,
    family: Family,
    socket: Option<OwnedFd>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take()
            && net::disconnect(&socket).is_ok()
        {
            self.store.put(self.family, socket);
        }
    }
}

impl Store {
    /// Adds an unused socket of the jail's network namespace.
    pub fn put(&self, family: Family, socket: OwnedFd) {
        let shelf = self.shelf(family);
        shelf.sockets.borrow_mut().push(socket);
        shelf.stocked.set(true);
        shelf.returned.notify_one();
    }

    fn shelf(&self, family: Family) -> &Shelf {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    async fn take(self: &Rc<Self>, family: Family) -> Lent {
        let shelf = self.shelf(family);
        loop {
            let socket = shelf.sockets.borrow_mut().pop();
            if socket.is_some() {
                let store = Rc::clone(self);
                return Lent {
                    store,
                    family,
                    socket,
                };
            }
            shelf.returned.notified().await;
        }
    }

    /// Connects to the server in the jail, at 127.0.0.1 or else at ::1.
    async fn connect(self: &Rc<Self>, port: u16) -> io::Result<(Lent, TcpStream)> {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        match self.dial(Family::V4, v4).await {
            Err(_) if self.v6.stocked.get() => self.dial(Family::V6, v6).await,
            dialled => dialled,
        }
    }

    async fn dial(
        self: &Rc<Self>,
        family: Family,
        to: SocketAddr,
    ) -> io::Result<(Lent, TcpStream)> {
        let lent = self.take(family).await;
        // A duplicate descriptor: a failed connect closes the one that it has.
        let socket = lent.socket.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let own = || io::Result::Ok(TcpSocket::from_std_stream(socket.try_clone()?.into()));
        let stream = match own()?.connect(to).await {
            // Landlock: a port that was published after the relay was confined.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                beyond::connect(socket.try_clone()?, to).await?
            }
            connected => connected?,
        };
        Ok((lent, stream))
    }
}

/// Listens on the host, before the relay is confined. Returns each listener with its ports.
pub fn listen(publish: &[Publish]) -> Result<Vec<(Listener, Publish)>, String> {
    let one = |published: &Publish| {
        let listener = Listener::bind(published.address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let told = |e| format!("--publish {}: {e}", published.address);
        listener.map(|l| (l, *published)).map_err(told)
    };
    publish.iter().map(one).collect()
}

/// Accepts clients forever: those of `entrance` on the host, for this port in the jail.
pub async fn serve(
    gate: Rc<Gate>,
    store: Rc<Store>,
    listener: TcpListener,
    (entrance, port): (SocketAddr, u16),
) {
    loop {
        let (client, peer) = accept::client(&listener).await;
        let place = store.place().await;
        let (gate, store) = (Rc::clone(&gate), Rc::clone(&store));
        tokio::task::spawn_local(async move {
            let _place = place;
            match gate.welcome(peer.ip(), port, entrance) {
                Ok(pass) => {
                    let ended = tokio::select! {
                        biased;
                        ended = carry(&store, &pass, client) => ended,
                        refusal = pass.grip().ended() => Err(refusal),
                    };
                    if let Err(refusal) = ended {
                        pass.refuse(&refusal);
                    }
                }
                Err(_) => reset(client),
            }
        });
    }
}

async fn carry(store: &Rc<Store>, pass: &Pass, client: TcpStream) -> Result<(), Refusal> {
    // A server that does not accept counts as idle, like one that sends nothing.
    let (lent, server) = match timeout(pass.gate().idle(), store.connect(pass.port)).await {
        Ok(Ok(connected)) => connected,
        failed => {
            reset(client);
            return Err(match failed {
                Ok(Err(error)) => Refusal::dial(&error),
                _ => pass.idle_refusal(),
            });
        }
    };
    pass.bound_outside(&client);
    let (out, back) = (Half::new(Direction::Out), Half::new(Direction::In));
    let ended = splice::relay(pass, server, client, out, back).await;
    drop(lent);
    ended
}
