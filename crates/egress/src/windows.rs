//! Kernel buffers of the relay's connections. The relay is in no group of the jail, so no limit covers the data in
//! its sockets' buffers that a jail or a server does not read.
//!
//! The first connections are wide: the kernel lets their buffers grow as far as the way to the other side
//! asks for, megabytes where that is long. The others begin with a fixed share, which is less the more are
//! open. One that has carried something asks for a place among the wide; where all are taken, one that was
//! still and has next to nothing in its buffers gives up its own. One whose buffers are full keeps its place,
//! so that nobody collects full ones. What the jail does not read is held back besides, by its listener
//! ([`net::serve_at`](creel_sys::net::serve_at)).

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use creel_sys::Result;
use creel_sys::buffers::{self, Connection};

/// Connections whose buffers grow.
const WIDE: usize = 8;
/// The bytes that a connection carries before it asks for a place.
const MUCH: u64 = 64 << 10;
/// How long a wide one is still before another may have its place.
const STILL: Duration = Duration::from_secs(1);
/// Between two looks for a place, where there was none.
const PAUSE: Duration = Duration::from_millis(100);

/// The bytes of each of a socket's two buffers, of which the kernel takes twice as many.
fn share(connections: u64) -> usize {
    match connections {
        0..=64 => 256 << 10,
        65..=512 => 64 << 10,
        _ => 32 << 10,
    }
}

/// Bounds the jail's side of a connection that is one of so many, until it joins a window.
pub fn bound_inside(socket: impl AsFd, connections: u64) {
    if connections > WIDE as u64 {
        // If the kernel refuses, the buffers stay as before.
        let _ = buffers::bound(socket, share(connections));
    }
}

/// Bounds a client that may ask for one destination after the other.
pub fn bound_client(socket: impl AsFd) {
    let _ = buffers::bound(socket, share(1));
}

/// The windows of one relay.
#[derive(Debug, Default)]
pub struct Windows {
    wide: RefCell<Vec<Weak<Window>>>,
    /// Not before then is a place looked for.
    again: Cell<Option<Instant>>,
}

/// The window of one connection.
#[derive(Debug)]
pub struct Window {
    outside: Connection,
    inside: OnceCell<Connection>,
    share: usize,
    carried: Cell<u64>,
    wide: Cell<bool>,
    last: Cell<Instant>,
}

impl Window {
    /// Joins the jail's side to that outside.
    pub fn join(&self, inside: impl AsFd) {
        let Ok(inside) = Connection::of(inside) else {
            return;
        };
        let _ = match self.wide.get() {
            true => inside.unbound(),
            false => inside.bound(self.share),
        };
        // Nobody joins twice.
        let _ = self.inside.set(inside);
    }

    fn sides(&self) -> impl Iterator<Item = &Connection> {
        [Some(&self.outside), self.inside.get()]
            .into_iter()
            .flatten()
    }

    /// Narrows one that was still and is as good as empty, or gone.
    fn give_up(&self, now: Instant) -> bool {
        let full = |side: &Connection| side.held().is_ok_and(|b| b > self.share as u64);
        if now.saturating_duration_since(self.last.get()) < STILL || self.sides().any(full) {
            return false;
        }
        self.carried.set(0);
        self.wide.set(false);
        // One that is gone holds nothing.
        let _ = self.each(|side| side.bound(self.share));
        true
    }

    fn each(&self, act: impl Fn(&Connection) -> Result<()>) -> Result<()> {
        self.sides().try_for_each(act)
    }
}

impl Windows {
    /// The window of a new connection, one of so many; `None` if the kernel refuses.
    pub fn open(&self, outside: impl AsFd, connections: u64) -> Option<Rc<Window>> {
        let mut wide = self.wide.borrow_mut();
        wide.retain(|other| other.strong_count() > 0);
        let window = Rc::new(Window {
            outside: Connection::of(outside).ok()?,
            inside: OnceCell::new(),
            share: share(connections),
            carried: Cell::new(0),
            wide: Cell::new(wide.len() < WIDE),
            last: Cell::new(Instant::now()),
        });
        match window.wide.get() {
            true => wide.push(Rc::downgrade(&window)),
            false => window.outside.bound(window.share).ok()?,
        }
        Some(window)
    }

    /// Notes that a connection carried so many bytes.
    pub fn carried(&self, window: &Rc<Window>, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let now = Instant::now();
        window.last.set(now);
        if window.wide.get() {
            return;
        }
        window.carried.set(window.carried.get() + bytes);
        if window.carried.get() >= MUCH && self.again.get().is_none_or(|again| now >= again) {
            self.widen(window, now);
        }
    }

    fn widen(&self, window: &Rc<Window>, now: Instant) {
        let mut wide = self.wide.borrow_mut();
        wide.retain(|other| other.strong_count() > 0);
        if wide.len() >= WIDE {
            let gives_up = |other: &Weak<Window>| other.upgrade().is_some_and(|o| o.give_up(now));
            match wide.iter().position(gives_up) {
                Some(index) => drop(wide.swap_remove(index)),
                None => return self.again.set(Some(now + PAUSE)),
            }
        }
        if window.each(Connection::unbound).is_ok() {
            window.wide.set(true);
            wide.push(Rc::downgrade(window));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use rustix::net::sockopt;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (here, listener.accept().unwrap().0)
    }

    fn size(socket: &TcpStream) -> usize {
        sockopt::socket_recv_buffer_size(socket).unwrap()
    }

    #[test]
    fn places_are_for_those_who_carry() {
        let windows = Windows::default();
        let bound = 2 * share(1).min(size_limit());
        let pairs: Vec<_> = (0..=WIDE).map(|_| pair()).collect();
        let opened = |n: usize| windows.open(&pairs[n].0, 1).unwrap();
        let mut wide: Vec<_> = (0..WIDE).map(opened).collect();
        let late = opened(WIDE);
        assert!(wide.iter().all(|window| window.wide.get()) && !late.wide.get());
        assert_eq!(size(&pairs[WIDE].0), bound);
        assert_ne!(size(&pairs[0].0), bound);
        // All were busy just now.
        windows.carried(&late, MUCH);
        assert!(!late.wide.get());
        // One was still, and its buffer is full: it keeps its place. Another is empty.
        let still = Instant::now() - 2 * STILL;
        let full = &mut &pairs[3].1;
        full.set_nonblocking(true).unwrap();
        wide[3].outside.bound(4 << 20).unwrap();
        while full.write(&[0; 64 << 10]).is_ok() {}
        wide[3].last.set(still);
        windows.again.set(None);
        windows.carried(&late, 1);
        assert!(!late.wide.get() && wide[3].wide.get());
        wide[5].last.set(still);
        windows.again.set(None);
        windows.carried(&late, 1);
        assert!(late.wide.get() && !wide[5].wide.get());
        assert_eq!(size(&pairs[5].0), bound);
        // Bound as it is, it carries as before.
        (&pairs[5].1).write_all(b"hello").unwrap();
        let mut got = [0; 5];
        (&pairs[5].0).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        // One that ends leaves its place; it is asked for again once something was carried.
        drop(wide.swap_remove(0));
        windows.again.set(None);
        windows.carried(&wide[5], MUCH);
        assert!(wide.iter().all(|window| window.wide.get()));
    }

    #[test]
    fn a_number_that_is_anothers_by_now_is_left_alone() {
        let windows = Windows::default();
        let (here, there) = pair();
        let window = windows.open(&here, 1).unwrap();
        drop(here);
        assert!(window.give_up(Instant::now() + 2 * STILL));
        assert!(window.outside.held().is_err() && window.outside.bound(1).is_err());
        drop(there);
    }

    fn size_limit() -> usize {
        let text = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        text.trim().parse().unwrap()
    }
}
