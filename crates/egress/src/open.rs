//! The open connections, so that a change of the rules ends those that it no longer allows.
//!
//! A connection's task looks at its own [`Grip`]; the change is in force when each has let go.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::sync::Notify;

use super::Way;
use super::refusal::Refusal;
use creel_policy::net::Host;

/// All admitted connections that are open.
#[derive(Debug, Default)]
pub struct Open {
    all: RefCell<BTreeMap<u64, Rc<Grip>>>,
    last: Cell<u64>,
    closed: Notify,
}

/// One of them, by which it is ended.
#[derive(Debug)]
pub struct Grip {
    number: u64,
    /// How the destination was requested.
    pub way: Way,
    /// The destination.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The address on the host that the client connected to, if the port is published.
    pub entrance: Option<SocketAddr>,
    /// The address that was dialled last.
    pub address: Cell<Option<IpAddr>>,
    refusal: RefCell<Option<Refusal>>,
    ended: Notify,
}

impl Open {
    /// Notes a connection, which [`Open::forget`] ends.
    pub fn add(&self, way: Way, host: Host, port: u16, entrance: Option<SocketAddr>) -> Rc<Grip> {
        let number = self.last.get() + 1;
        self.last.set(number);
        let grip = Rc::new(Grip {
            number,
            way,
            host,
            port,
            entrance,
            address: Cell::new(None),
            refusal: RefCell::default(),
            ended: Notify::new(),
        });
        self.all.borrow_mut().insert(number, Rc::clone(&grip));
        grip
    }

    /// The connection is closed.
    pub fn forget(&self, grip: &Grip) {
        self.all.borrow_mut().remove(&grip.number);
        self.closed.notify_waiters();
    }

    /// Ends each connection for which `why` has a refusal.
    pub fn end(&self, why: impl Fn(&Grip) -> Option<Refusal>) {
        for grip in self.all.borrow().values() {
            if let Some(refusal) = why(grip) {
                grip.refusal.borrow_mut().get_or_insert(refusal);
                grip.ended.notify_waiters();
            }
        }
    }

    /// Returns when no connection is left that was ended.
    pub async fn all_ended(&self) {
        loop {
            let is_ended = |grip: &Rc<Grip>| grip.refusal.borrow().is_some();
            if !self.all.borrow().values().any(is_ended) {
                return;
            }
            // This thread alone closes connections, and none of them before this waits.
            self.closed.notified().await;
        }
    }
}

impl Grip {
    /// Why a change of the rules has ended the connection, if one has.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.borrow().clone()
    }

    /// Returns when a change of the rules ends the connection.
    pub async fn ended(&self) -> Refusal {
        loop {
            if let Some(refusal) = self.refusal() {
                return refusal;
            }
            self.ended.notified().await;
        }
    }
}
