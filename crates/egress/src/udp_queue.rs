//! Queues of datagrams in the relay, and the bound on all of them together. The relay's memory is outside of
//! the jail's cgroup, so no limit of the jail counts it.
//!
//! Each flow has a small allowance of its own and draws the rest from a shared budget. When the budget is
//! used up, the newest datagram is dropped, as in any network. A flow whose destination is not decided yet
//! queues at most four datagrams and uses at most half of the budget, which leaves the rest to open flows.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

/// Concurrent flows over all ports.
const FLOWS: usize = 2048;
/// Queued datagrams of an open flow, and of one that is not decided yet.
const WAITING: usize = 32;
const EARLY: usize = 4;
/// Bytes that each flow may hold, and bytes of the shared budget.
const OWN: usize = 2 << 10;
const SHARED: usize = 16 << 20;
/// Overhead of a queued datagram in bytes.
const KEEPING: usize = 64;

/// The use of the budget by all flows of a jail.
#[derive(Debug, Default)]
pub struct Budget {
    flows: Cell<usize>,
    shared: Cell<usize>,
}

impl Budget {
    /// Bytes in use beyond the flows' own allowances.
    pub fn shared(&self) -> usize {
        self.shared.get()
    }
}

/// The datagrams of one flow.
pub struct Queue {
    held: Rc<Budget>,
    stage: Cell<Stage>,
    waiting: RefCell<VecDeque<Box<[u8]>>>,
    more: Notify,
    /// Bytes in the queue and in [`Datagram`]s that were taken from it, and the part from the budget.
    bytes: Cell<usize>,
    shared: Cell<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The destination is not decided yet.
    Early,
    Open,
    /// Datagrams are dropped.
    Closed,
}

/// A datagram, counted until it is dropped.
pub struct Datagram {
    /// The bytes of the datagram.
    pub bytes: Box<[u8]>,
    queue: Rc<Queue>,
}

impl Queue {
    /// The queue of a new flow; `None` at the limit of flows.
    pub fn new(held: &Rc<Budget>) -> Option<Rc<Queue>> {
        let flows = &held.flows;
        if flows.get() >= FLOWS {
            return None;
        }
        flows.set(flows.get() + 1);
        Some(Rc::new(Queue {
            held: Rc::clone(held),
            stage: Cell::new(Stage::Early),
            waiting: RefCell::default(),
            more: Notify::new(),
            bytes: Cell::default(),
            shared: Cell::default(),
        }))
    }

    /// The destination is allowed and dialled.
    pub fn open(&self) {
        self.stage.set(Stage::Open);
    }

    /// Drops what is queued and what arrives later.
    pub fn close(&self) {
        self.stage.set(Stage::Closed);
        let waiting = self.waiting.take();
        self.release(waiting.iter().map(|datagram| cost(datagram)).sum());
    }

    /// Queues a datagram for [`next`](Queue::next), or drops it.
    pub fn push(&self, datagram: &[u8]) {
        let mut waiting = self.waiting.borrow_mut();
        let most = match self.stage.get() {
            Stage::Early => EARLY,
            Stage::Open => WAITING,
            Stage::Closed => 0,
        };
        if waiting.len() < most && self.reserve(cost(datagram)) {
            waiting.push_back(datagram.into());
            self.more.notify_one();
        }
    }

    /// Waits for the oldest datagram and takes it.
    pub async fn next(self: &Rc<Self>) -> Datagram {
        loop {
            let oldest = self.waiting.borrow_mut().pop_front();
            if let Some(bytes) = oldest {
                let queue = Rc::clone(self);
                return Datagram { bytes, queue };
            }
            self.more.notified().await;
        }
    }

    /// Counts a datagram of the other direction; `None` drops it: the budget is used up.
    pub fn hold(self: &Rc<Self>, datagram: &[u8]) -> Option<Datagram> {
        self.reserve(cost(datagram)).then(|| Datagram {
            bytes: datagram.into(),
            queue: Rc::clone(self),
        })
    }

    fn reserve(&self, bytes: usize) -> bool {
        let held = &self.held;
        let own = self.bytes.get() + bytes;
        let shared = own.saturating_sub(OWN);
        let all = held.shared.get() - self.shared.get() + shared;
        let most = match self.stage.get() {
            Stage::Open => SHARED,
            Stage::Early | Stage::Closed => SHARED / 2,
        };
        // A flow's own allowance is never refused.
        if shared > 0 && all > most {
            return false;
        }
        self.bytes.set(own);
        self.shared.set(shared);
        held.shared.set(all);
        true
    }

    fn release(&self, bytes: usize) {
        let held = &self.held;
        let own = self.bytes.get().saturating_sub(bytes);
        let shared = own.saturating_sub(OWN);
        held.shared
            .set(held.shared.get() - self.shared.get() + shared);
        self.bytes.set(own);
        self.shared.set(shared);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
        let flows = &self.held.flows;
        flows.set(flows.get().saturating_sub(1));
    }
}

impl Drop for Datagram {
    fn drop(&mut self) {
        self.queue.release(cost(&self.bytes));
    }
}

fn cost(datagram: &[u8]) -> usize {
    datagram.len() + KEEPING
}

#[cfg(test)]
mod tests {
    use super::*;

    static LONG: [u8; 60_000] = [0; 60_000];

    fn held(queues: &[Rc<Queue>]) -> usize {
        let of = |queue: &Rc<Queue>| {
            let waiting = queue.waiting.borrow();
            waiting.iter().map(|datagram| datagram.len()).sum::<usize>()
        };
        queues.iter().map(of).sum()
    }

    #[test]
    fn what_all_flows_hold_is_bounded_and_a_little_is_each_ones_own() {
        let all = Rc::new(Budget::default());
        let flows = || -> Vec<_> { std::iter::from_fn(|| Queue::new(&all)).collect() };
        let early = flows();
        assert_eq!(early.len(), FLOWS);
        for queue in &early {
            (0..100).for_each(|_| queue.push(&LONG));
        }
        let half = SHARED / 2;
        assert!(all.shared() <= half);
        // The control: that much there is room for.
        assert!(held(&early) > half - LONG.len(), "{}", held(&early));
        assert!(held(&early) < half + FLOWS * OWN, "{}", held(&early));
        // A few of each, and nobody has so many.
        assert!(early.iter().all(|q| q.waiting.borrow().len() <= EARLY));
        // The control: beside all these an ordinary one has what it needs, once its way is found.
        let last = &early[FLOWS - 1];
        assert!(last.waiting.borrow().is_empty());
        last.push(&[1; 1400]);
        assert_eq!(held(std::slice::from_ref(last)), 1400);
        last.open();
        (0..10).for_each(|_| last.push(&LONG));
        assert_eq!(last.waiting.borrow().len(), 11);
        // All of them open: the whole budget, and no more.
        for queue in &early {
            queue.open();
            (0..100).for_each(|_| queue.push(&LONG));
        }
        let whole = SHARED + FLOWS * OWN;
        assert!(held(&early) <= whole, "{}", held(&early));
        assert!(all.shared() <= SHARED);
        assert!(early.iter().all(|q| q.waiting.borrow().len() <= WAITING));
        let first = &early[0];
        first.close();
        assert_eq!(held(std::slice::from_ref(first)), 0);
        first.push(b"lost");
        assert_eq!(first.bytes.get(), 0);
        drop(early);
        assert_eq!(all.shared(), 0);
        assert_eq!(flows().len(), FLOWS);
    }

    #[tokio::test]
    async fn a_datagram_counts_until_it_has_left() {
        let all = Rc::new(Budget::default());
        let queue = Queue::new(&all).unwrap();
        queue.open();
        queue.push(&LONG);
        queue.push(b"");
        let shared = all.shared();
        assert!(shared > LONG.len() - OWN, "{shared}");
        let first = queue.next().await;
        assert_eq!(first.bytes.len(), LONG.len());
        assert_eq!(all.shared(), shared);
        let back = queue.hold(&LONG).unwrap();
        assert_eq!(all.shared(), shared + cost(&LONG));
        drop((first, back));
        // One without bytes is kept as well, at its price.
        assert_eq!((all.shared(), queue.bytes.get()), (0, KEEPING));
        assert!(queue.next().await.bytes.is_empty());
        assert_eq!(queue.bytes.get(), 0);
    }
}
