//! Bounds on clients that have not completed a request head or a ClientHello: their number and the bytes
//! that they hold. The relay's memory is outside of the jail's cgroup, so no limit of the jail counts it.
//!
//! A client without a slot waits, and the listener's backlog holds the clients behind it. Clients with
//! large heads draw from a shared 16 MiB budget; when it is used up, they are refused.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::{Bound, Refusal};

/// Proxy clients that have not named a destination, or name one with each request.
const SLOTS: usize = 1024;
/// Bytes that each client may hold outside of the shared budget; an ordinary head needs fewer.
const OWN: usize = 8 << 10;
/// Bytes of the shared budget.
const SHARED: usize = 16 << 20;
/// Capacity of a buffer at first, in bytes; it doubles as it fills.
pub const LEAST: usize = 4 << 10;

/// The slots, and the use of the shared budget.
#[derive(Debug)]
pub struct Admission {
    slots: Arc<Semaphore>,
    shared: Cell<usize>,
    sessions: Cell<u64>,
}

impl Default for Admission {
    fn default() -> Admission {
        Admission {
            slots: Arc::new(Semaphore::new(SLOTS)),
            shared: Cell::default(),
            sessions: Cell::default(),
        }
    }
}

/// A client's slot. Dropping it frees the slot.
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Waits for a free slot.
    pub async fn slot(&self) -> Slot {
        // The semaphore is never closed.
        Slot {
            _permit: Arc::clone(&self.slots).acquire_owned().await.ok(),
        }
    }
}

/// One client's share of the budget. Dropping it returns the bytes.
pub struct HeadBudget {
    admission: Rc<Admission>,
    shared: usize,
}

impl HeadBudget {
    /// A share without bytes.
    pub fn new(admission: &Rc<Admission>) -> HeadBudget {
        HeadBudget {
            admission: Rc::clone(admission),
            shared: 0,
        }
    }

    /// Grows `bytes` for the next read. Refuses when the budget is used up.
    pub fn reserve(&mut self, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        if bytes.len() < bytes.capacity() {
            return Ok(());
        }
        let admission = &self.admission;
        let target = (2 * bytes.capacity()).max(LEAST);
        let needed = target.saturating_sub(OWN);
        let more = needed.saturating_sub(self.shared);
        if admission.shared.get() + more > SHARED {
            let bound = Bound::Heads;
            return Err(Refusal::Limit { bound, rule: None });
        }
        admission.shared.set(admission.shared.get() + more);
        self.shared += more;
        bytes.reserve_exact(target - bytes.len());
        Ok(())
    }
}

impl Drop for HeadBudget {
    fn drop(&mut self) {
        let shared = &self.admission.shared;
        shared.set(shared.get().saturating_sub(self.shared));
    }
}

/// One client's HTTP session, counted until it is dropped.
pub struct Session(Rc<Admission>);

/// Buffer limits of one client's HTTP session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Bytes of a head, and of one read or write.
    pub buffer: usize,
    /// HTTP/2 flow-control windows in bytes, of a stream and of the connection.
    pub stream: u32,
    /// The window of the connection.
    pub connection: u32,
    /// Concurrent HTTP/2 streams.
    pub streams: u32,
}

impl Session {
    /// Counts a session.
    pub fn begin(admission: &Rc<Admission>) -> Session {
        admission.sessions.set(admission.sessions.get() + 1);
        Session(Rc::clone(admission))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let sessions = &self.0.sessions;
        sessions.set(sessions.get().saturating_sub(1));
    }
}

impl SessionLimits {
    /// Shrinks with the number of sessions, which bounds the memory of all together.
    pub fn of(admission: &Admission) -> SessionLimits {
        SessionLimits::among(admission.sessions.get())
    }

    fn among(sessions: u64) -> SessionLimits {
        let buffer = match sessions {
            0..=256 => 64 << 10,
            _ => 16 << 10,
        };
        let (stream, connection, streams) = match sessions {
            0..=16 => (256 << 10, 1 << 20, 100),
            _ => (32 << 10, 64 << 10, 20),
        };
        SessionLimits {
            buffer,
            stream,
            connection,
            streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ordinary_is_free_and_the_rest_is_shared() {
        let admission = Rc::new(Admission::default());
        let mut clients: Vec<(HeadBudget, Vec<u8>)> = vec![];
        let say = |client: &mut (HeadBudget, Vec<u8>), bytes: usize| {
            while client.1.len() < bytes {
                client.0.reserve(&mut client.1)?;
                let length = client.1.capacity();
                client.1.resize(length, 0);
            }
            Ok::<(), Refusal>(())
        };
        for _ in 0..SLOTS {
            let mut client = (HeadBudget::new(&admission), vec![]);
            say(&mut client, OWN).unwrap();
            clients.push(client);
        }
        assert_eq!(admission.shared.get(), 0);
        let long = SHARED / ((64 << 10) - OWN);
        for client in &mut clients[..long] {
            say(client, 64 << 10).unwrap();
        }
        let refused = say(&mut clients[long], 64 << 10).unwrap_err();
        assert!(matches!(refused, Refusal::Limit { .. }), "{refused}");
        let held: usize = clients.iter().map(|(_, bytes)| bytes.capacity()).sum();
        assert!(held <= SHARED + SLOTS * OWN, "{held}");
        // The share that one connection leaves goes to another.
        clients.remove(0);
        say(&mut clients[long - 1], 64 << 10).unwrap();
        drop(clients);
        assert_eq!(admission.shared.get(), 0);
    }

    #[test]
    fn many_sessions_have_less_each() {
        let (few, many) = (SessionLimits::among(1), SessionLimits::among(4096));
        assert!(
            many.buffer >= 8 << 10 && many.connection >= 65_535,
            "{many:?}"
        );
        assert!(few.buffer > many.buffer && few.stream > many.stream);
        assert!(many.buffer * 4096 <= 64 << 20, "{many:?}");
    }
}
