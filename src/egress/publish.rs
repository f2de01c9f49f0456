//! Ways in: connections to a published port of the host go on to a server on the jail's loopback.
//!
//! The relay lives in the host's network and cannot make sockets in the jail's. It has a store of them
//! instead, made in there before the jail was closed; one that was used is disconnected and used again.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as Listener};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::gate::Gate;
use super::record::{Entry, Event};
use super::{Way, accept};
use crate::plan::request::Publish;
use crate::policy::net::Host;
use crate::sys::net::{self, Family};

/// Sockets of the jail's network that nobody uses now.
#[derive(Default)]
pub struct Store {
    v4: RefCell<Vec<OwnedFd>>,
    v6: RefCell<Vec<OwnedFd>>,
    returned: Notify,
}

impl Store {
    pub fn put(&self, family: Family, socket: OwnedFd) {
        self.of(family).borrow_mut().push(socket);
        self.returned.notify_one();
    }

    fn of(&self, family: Family) -> &RefCell<Vec<OwnedFd>> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    async fn take(&self, family: Family) -> OwnedFd {
        loop {
            if let Some(socket) = self.of(family).borrow_mut().pop() {
                return socket;
            }
            self.returned.notified().await;
        }
    }

    /// The server in the jail, wherever on its loopback it listens.
    async fn connect(&self, port: u16) -> io::Result<(TcpStream, Family)> {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        match self.dial(Family::V4, v4).await {
            Ok(stream) => Ok((stream, Family::V4)),
            Err(refused) => {
                let no_v6 = self.v6.borrow().is_empty();
                match no_v6 {
                    true => Err(refused),
                    false => Ok((self.dial(Family::V6, v6).await?, Family::V6)),
                }
            }
        }
    }

    async fn dial(&self, family: Family, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.take(family).await;
        // A second descriptor of it: a connection that fails takes the first one along.
        let kept = socket.try_clone()?;
        let dialled = TcpSocket::from_std_stream(socket.into()).connect(to).await;
        match dialled {
            Ok(stream) => Ok(stream),
            Err(error) => {
                self.give_back(family, kept);
                Err(error)
            }
        }
    }

    fn give_back(&self, family: Family, socket: OwnedFd) {
        if net::disconnect(&socket).is_ok() {
            self.put(family, socket);
        }
    }
}

/// Listens on the host, before the relay is confined.
pub fn listen(publish: &[Publish]) -> Result<Vec<(Listener, u16)>, String> {
    let one = |published: &Publish| {
        let listener = Listener::bind(published.address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let told = |e| format!("--publish {}: {e}", published.address);
        listener.map(|l| (l, published.port)).map_err(told)
    };
    publish.iter().map(one).collect()
}

/// Accepts for good.
pub async fn serve(gate: Rc<Gate>, store: Rc<Store>, listener: TcpListener, port: u16) {
    loop {
        let (client, peer) = accept::client(&listener).await;
        let (gate, store) = (Rc::clone(&gate), Rc::clone(&store));
        tokio::task::spawn_local(async move {
            let host = Host::from(peer.ip());
            let mut entry = Entry::new(Way::Published, &host, port).allowed("--publish".into());
            if gate.records.write(&entry, Event::Open).is_err() {
                return;
            }
            match carry(&store, client, port).await {
                Ok((bytes_in, bytes_out)) => {
                    (entry.bytes_in, entry.bytes_out) = (bytes_in, bytes_out)
                }
                Err(error) => entry.refused = Some(error.to_string()),
            }
            let _ = gate.records.write(&entry, Event::Close);
        });
    }
}

async fn carry(store: &Store, mut client: TcpStream, port: u16) -> io::Result<(u64, u64)> {
    let (mut server, family) = store.connect(port).await?;
    let moved = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    if let Ok(server) = server.into_std() {
        store.give_back(family, server.into());
    }
    moved
}
