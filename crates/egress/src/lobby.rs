//! Admission: the places and bytes that clients may use in the relay before their request is complete. The bytes are those
//! of heads and hellos. The relay's memory is not charged to the jail, and no limit of the jail includes it.
//!
//! A client without a place waits, and the backlog holds those behind it. One whose words are long shares
//! a room with all others whose words are, and is refused where that is full.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gate::{Gate, Refusal};

/// Clients of the proxies that have not said whereto, or say it anew with each request.
const PLACES: usize = 1024;
/// Bytes that each client may hold, which an ordinary head or hello does not need.
const OWN: usize = 8 << 10;
/// Bytes that all together may hold above that.
const SHARED: usize = 16 << 20;
/// Bytes that there is room for at first; then twice as many each time.
pub const LEAST: usize = 4 << 10;

/// The places, and what is held.
#[derive(Debug)]
pub struct Lobby {
    places: Arc<Semaphore>,
    shared: Cell<usize>,
    sessions: Cell<u64>,
}

impl Default for Lobby {
    fn default() -> Lobby {
        Lobby {
            places: Arc::new(Semaphore::new(PLACES)),
            shared: Cell::default(),
            sessions: Cell::default(),
        }
    }
}

/// A client's place, until it is dropped.
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lobby {
    /// A place, as soon as there is one.
    pub async fn place(&self) -> Place {
        // The semaphore is never closed.
        Place {
            _permit: Arc::clone(&self.places).acquire_owned().await.ok(),
        }
    }
}

/// The bytes that one client holds, until it is dropped.
pub struct Held {
    gate: Rc<Gate>,
    shared: usize,
}

impl Held {
    pub fn new(gate: &Rc<Gate>) -> Held {
        Held {
            gate: Rc::clone(gate),
            shared: 0,
        }
    }

    /// Makes room for what is read next.
    pub fn reserve(&mut self, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        if bytes.len() < bytes.capacity() {
            return Ok(());
        }
        let lobby = &self.gate.meter.lobby;
        let target = (2 * bytes.capacity()).max(LEAST);
        let needed = target.saturating_sub(OWN);
        let more = needed.saturating_sub(self.shared);
        if lobby.shared.get() + more > SHARED {
            return Err(Refusal::Limit(
                "of heads and hellos that are not said to their end",
            ));
        }
        lobby.shared.set(lobby.shared.get() + more);
        self.shared += more;
        bytes.reserve_exact(target - bytes.len());
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let shared = &self.gate.meter.lobby.shared;
        shared.set(shared.get().saturating_sub(self.shared));
    }
}

/// One client's requests, counted until it is dropped.
pub struct Session(Rc<Gate>);

/// The bytes that one client's requests may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of a head, and of what is read or written at once.
    pub buffer: usize,
    /// Bytes of one stream of HTTP/2 on their way, and of all of a connection's.
    pub stream: u32,
    pub connection: u32,
    /// Streams at once.
    pub streams: u32,
}

impl Session {
    pub fn begin(gate: &Rc<Gate>) -> Session {
        let sessions = &gate.meter.lobby.sessions;
        sessions.set(sessions.get() + 1);
        Session(Rc::clone(gate))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let sessions = &self.0.meter.lobby.sessions;
        sessions.set(sessions.get().saturating_sub(1));
    }
}

impl Room {
    /// Less for each where there are many: the bound is on all of them.
    pub fn of(gate: &Gate) -> Room {
        Room::among(gate.meter.lobby.sessions.get())
    }

    fn among(sessions: u64) -> Room {
        let buffer = match sessions {
            0..=256 => 64 << 10,
            _ => 16 << 10,
        };
        let (stream, connection, streams) = match sessions {
            0..=16 => (256 << 10, 1 << 20, 100),
            _ => (32 << 10, 64 << 10, 20),
        };
        Room {
            buffer,
            stream,
            connection,
            streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pinning::gate;
    use super::super::resolve::Resolver;
    use super::*;

    #[test]
    fn what_is_ordinary_is_free_and_the_rest_is_shared() {
        let gate = gate(vec![], Resolver::with(vec![]));
        let mut clients: Vec<(Held, Vec<u8>)> = vec![];
        let say = |client: &mut (Held, Vec<u8>), bytes: usize| {
            while client.1.len() < bytes {
                client.0.reserve(&mut client.1)?;
                let length = client.1.capacity();
                client.1.resize(length, 0);
            }
            Ok::<(), Refusal>(())
        };
        for _ in 0..PLACES {
            let mut client = (Held::new(&gate), vec![]);
            say(&mut client, OWN).unwrap();
            clients.push(client);
        }
        assert_eq!(gate.meter.lobby.shared.get(), 0);
        let long = SHARED / ((64 << 10) - OWN);
        for client in &mut clients[..long] {
            say(client, 64 << 10).unwrap();
        }
        let refused = say(&mut clients[long], 64 << 10).unwrap_err();
        assert!(matches!(refused, Refusal::Limit(_)), "{refused}");
        let held: usize = clients.iter().map(|(_, bytes)| bytes.capacity()).sum();
        assert!(held <= SHARED + PLACES * OWN, "{held}");
        // Bytes that one client releases are free for another.
        clients.remove(0);
        say(&mut clients[long - 1], 64 << 10).unwrap();
        drop(clients);
        assert_eq!(gate.meter.lobby.shared.get(), 0);
    }

    #[test]
    fn many_sessions_have_less_each() {
        let (few, many) = (Room::among(1), Room::among(4096));
        assert!(
            many.buffer >= 8 << 10 && many.connection >= 65_535,
            "{many:?}"
        );
        assert!(few.buffer > many.buffer && few.stream > many.stream);
        assert!(many.buffer * 4096 <= 64 << 20, "{many:?}");
    }
}
