//! The queue of changes from a keeper to its relay. The loop of the jail, which has the relay's socket, takes them one
//! by one and brings the answers back.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;

use tokio::sync::{Notify, oneshot};

use creel_egress::protocol::Change;

/// A change for the relay.
pub struct Order {
    pub change: Change,
    pub fds: Vec<OwnedFd>,
    /// Gets the relay's answer; dropped without one if the relay has ended.
    pub done: oneshot::Sender<Option<u32>>,
}

/// The changes that wait.
#[derive(Default)]
pub struct Desk {
    waiting: RefCell<VecDeque<Order>>,
    came: Notify,
    closed: Cell<bool>,
    give_up: Notify,
    /// TCP ports that the relay may connect to through its supervisor, beside those of its first rules.
    pub ports: RefCell<BTreeSet<u16>>,
}

impl Desk {
    /// Has the relay make a change; returns once it is in force, with the number of a name if that was asked for. The
    /// outer `None`: the relay has ended.
    pub async fn ask(&self, change: Change, fds: Vec<OwnedFd>) -> Option<Option<u32>> {
        if self.closed.get() {
            return None;
        }
        let (done, told) = oneshot::channel();
        let order = Order { change, fds, done };
        self.waiting.borrow_mut().push_back(order);
        self.came.notify_one();
        told.await.ok()
    }

    /// Ends the relay: it does not answer, and what it lets through is not known.
    pub fn give_up(&self) {
        self.close();
        self.give_up.notify_one();
    }

    /// The relay has ended, or will.
    pub fn close(&self) {
        self.closed.set(true);
        self.waiting.borrow_mut().clear();
    }

    /// Whether the relay has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The next change; may be dropped and called again.
    pub async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.waiting.borrow_mut().pop_front() {
                return order;
            }
            self.came.notified().await;
        }
    }

    /// Returns when the relay is to be ended.
    pub async fn given_up(&self) {
        self.give_up.notified().await;
    }
}
