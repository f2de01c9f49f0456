//! Datagrams that wait in the relay, and the bound on all of them together. The relay's memory is not the
//! jail's, and no limit of the jail's counts it.
//!
//! Every flow may hold a little, whatever the others do; what is more is of one budget, and the newest
//! datagram is lost where that is used up, as in any network. A flow whose way is not found yet keeps a few
//! datagrams at most, and takes of half of the budget: what goes nowhere leaves room for what does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use super::gate::Gate;

/// Flows of all ports at once.
const FLOWS: usize = 2048;
/// Datagrams of a flow that wait, and of one whose way is not found yet.
const WAITING: usize = 32;
const EARLY: usize = 4;
/// The bytes that each flow may hold, and all of them together beyond that.
const OWN: usize = 2 << 10;
const SHARED: usize = 16 << 20;
/// The bytes to keep a datagram, besides its content.
const KEEPING: usize = 64;

/// The bytes that all flows of a jail hold.
#[derive(Debug, Default)]
pub struct Held {
    flows: Cell<usize>,
    shared: Cell<usize>,
}

impl Held {
    /// Bytes beyond what each flow has of its own.
    pub fn shared(&self) -> usize {
        self.shared.get()
    }
}

/// The datagrams of one flow.
pub struct Queue {
    gate: Rc<Gate>,
    stage: Cell<Stage>,
    waiting: RefCell<VecDeque<Box<[u8]>>>,
    more: Notify,
    /// The bytes in its queue and in use, and the part of them that is charged to the shared budget.
    bytes: Cell<usize>,
    shared: Cell<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody knows yet whether it goes anywhere.
    Early,
    Open,
    /// Further datagrams are lost.
    Closed,
}

/// A datagram on its way, which counts until it is dropped.
pub struct Datagram {
    pub bytes: Box<[u8]>,
    queue: Rc<Queue>,
}

impl Queue {
    /// For another flow, where there may be one.
    pub fn new(gate: &Rc<Gate>) -> Option<Rc<Queue>> {
        let flows = &gate.meter.datagrams.flows;
        if flows.get() >= FLOWS {
            return None;
        }
        flows.set(flows.get() + 1);
        Some(Rc::new(Queue {
            gate: Rc::clone(gate),
            stage: Cell::new(Stage::Early),
            waiting: RefCell::default(),
            more: Notify::new(),
            bytes: Cell::default(),
            shared: Cell::default(),
        }))
    }

    /// Its way is found.
    pub fn open(&self) {
        self.stage.set(Stage::Open);
    }

    /// It goes nowhere: what waits is lost, and what comes.
    pub fn close(&self) {
        self.stage.set(Stage::Closed);
        let waiting = self.waiting.take();
        self.release(waiting.iter().map(|datagram| cost(datagram)).sum());
    }

    /// Keeps a datagram for [`next`](Queue::next), or loses it.
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

    /// The oldest that waits, as soon as there is one.
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

    /// One that came the other way; `None`: there is no room, and it is lost.
    pub fn hold(self: &Rc<Self>, datagram: &[u8]) -> Option<Datagram> {
        self.reserve(cost(datagram)).then(|| Datagram {
            bytes: datagram.into(),
            queue: Rc::clone(self),
        })
    }

    fn reserve(&self, bytes: usize) -> bool {
        let held = &self.gate.meter.datagrams;
        let own = self.bytes.get() + bytes;
        let shared = own.saturating_sub(OWN);
        let all = held.shared.get() - self.shared.get() + shared;
        let most = match self.stage.get() {
            Stage::Open => SHARED,
            Stage::Early | Stage::Closed => SHARED / 2,
        };
        // Bytes within the flow's own share are never refused.
        if shared > 0 && all > most {
            return false;
        }
        self.bytes.set(own);
        self.shared.set(shared);
        held.shared.set(all);
        true
    }

    fn release(&self, bytes: usize) {
        let held = &self.gate.meter.datagrams;
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
        let flows = &self.gate.meter.datagrams.flows;
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
    use super::super::pinning::gate;
    use super::super::resolve::Resolver;
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
        let gate = gate(vec![], Resolver::with(vec![]));
        let flows = || -> Vec<_> { std::iter::from_fn(|| Queue::new(&gate)).collect() };
        let early = flows();
        assert_eq!(early.len(), FLOWS);
        for queue in &early {
            (0..100).for_each(|_| queue.push(&LONG));
        }
        let half = SHARED / 2;
        assert!(gate.meter.datagrams.shared() <= half);
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
        assert!(gate.meter.datagrams.shared() <= SHARED);
        assert!(early.iter().all(|q| q.waiting.borrow().len() <= WAITING));
        let first = &early[0];
        first.close();
        assert_eq!(held(std::slice::from_ref(first)), 0);
        first.push(b"lost");
        assert_eq!(first.bytes.get(), 0);
        drop(early);
        assert_eq!(gate.meter.datagrams.shared(), 0);
        assert_eq!(flows().len(), FLOWS);
    }

    #[tokio::test]
    async fn a_datagram_counts_until_it_has_left() {
        let gate = gate(vec![], Resolver::with(vec![]));
        let queue = Queue::new(&gate).unwrap();
        queue.open();
        queue.push(&LONG);
        queue.push(b"");
        let shared = gate.meter.datagrams.shared();
        assert!(shared > LONG.len() - OWN, "{shared}");
        let first = queue.next().await;
        assert_eq!(first.bytes.len(), LONG.len());
        assert_eq!(gate.meter.datagrams.shared(), shared);
        let back = queue.hold(&LONG).unwrap();
        assert_eq!(gate.meter.datagrams.shared(), shared + cost(&LONG));
        drop((first, back));
        // One without bytes is kept as well, at its price.
        assert_eq!(
            (gate.meter.datagrams.shared(), queue.bytes.get()),
            (0, KEEPING)
        );
        assert!(queue.next().await.bytes.is_empty());
        assert_eq!(queue.bytes.get(), 0);
    }
}
