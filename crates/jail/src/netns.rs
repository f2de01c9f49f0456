//! Makes the jail's network namespace while its tree is built.
//!
//! `CLONE_NEWNET` and bringing loopback up cost as much as all mounts together and wait for host-wide locks.
//! So a helper that shares pid 1's memory makes the namespace while pid 1 builds the tree, and sends a socket
//! of it; pid 1 then joins the socket's namespace. The helper has its own descriptor table: a shared one
//! would have to wait for an RCU grace period whenever it grows. (pid 1 cannot join through a pidfd: a change
//! of ids made the memory undumpable.)
//!
//! If the jail has egress, the relay's sockets are made here and sent to it: by the supervisor while the jail
//! builds its tree, if the jail was cloned in its network namespace, else by pid 1.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use creel_plan::egress::{ALL, SERVED};
use creel_plan::egress::{Egress, Listener, OWN, PUBLISHED};
use creel_sys::net::{Family, Transport};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, clone, fd, net, process};

/// The helper's stack, in units of 16 bytes.
pub const ROOM: usize = 1024;

/// The helper's end of the socket pair, for the helper.
static END: AtomicI32 = AtomicI32::new(-1);

/// A running helper.
pub struct Making {
    pid: i32,
    socket: OwnedFd,
}

/// Starts the helper. Runs after clone, once, in pid 1 with capabilities over its user namespace.
pub fn begin(room: &'static mut [u128]) -> Result<Making> {
    let (socket, theirs) = socket::pair()?;
    END.store(theirs.as_raw_fd(), Ordering::SeqCst);
    let pid = clone::start_helper(0, room, make, &END)?;
    Ok(Making { pid, socket })
}

/// Waits for the helper and joins the namespace that it made. Runs after clone.
pub fn join(making: &Making) -> Result<()> {
    let mut errno = [0; 4];
    let (length, [namespace, ..]) = socket::receive(making.socket.as_fd(), &mut errno, Wait::Yes)?;
    process::reap(making.pid)?;
    match namespace {
        Some(socket) => net::enter_namespace_of(&socket),
        None if length == errno.len() => Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno))),
        None => Err(Errno::CHILD),
    }
}

extern "C" fn make(end: *mut std::ffi::c_void) -> i32 {
    let end: &AtomicI32 = clone::argument(end);
    let end = fd::fixed(end.load(Ordering::SeqCst));
    // If pid 1 is gone, the namespace is not needed.
    let _ = match net::new_namespace().and_then(|()| net::loopback_up()) {
        Ok(socket) => {
            net::free_low_ports();
            socket::send(end, &[0; 4], &[socket.as_fd()])
        }
        Err(errno) => socket::send(end, &errno.raw_os_error().to_ne_bytes(), &[]),
    };
    process::exit(0)
}

/// The sockets that the relay gets in a jail's network.
#[derive(Debug)]
pub struct Sockets {
    /// Those of its listeners, in their order.
    pub at: Vec<(SocketAddr, Transport)>,
    /// Number of unconnected ones per family, for connections into the jail.
    pub spare: usize,
}

impl Sockets {
    /// The sockets for the plan's egress. Spare ones exist only if a port of the jail is published.
    pub fn of(egress: &Egress) -> Sockets {
        let of_one = |listener: &Listener| {
            let transport = match listener.serves.is_datagram() {
                true => Transport::Datagram,
                false => Transport::Stream,
            };
            (listener.address, transport)
        };
        Sockets {
            at: egress.listeners.iter().map(of_one).collect(),
            spare: match egress.publish.is_empty() {
                true => 0,
                false => PUBLISHED,
            },
        }
    }
}

/// Makes every address of this network local, and sends `relay` a socket for each of its listeners, by
/// number, and the spare ones; without IPv6 in the kernel, none of that family. This process keeps none.
pub fn give(relay: &OwnedFd, sockets: &Sockets) -> Result<()> {
    let relay = relay.as_fd();
    if !sockets.at.is_empty() {
        net::route_everything_here(OWN)?;
    }
    for (number, (address, transport)) in sockets.at.iter().enumerate() {
        if let Some(made) = net::serve_at(*address, *transport)? {
            socket::send(relay, &(number as u32).to_le_bytes(), &[made.as_fd()])?;
        }
    }
    for family in [Family::V4, Family::V6] {
        for _ in 0..sockets.spare {
            if let Some(made) = net::unconnected(family)? {
                socket::send(relay, &family.number().to_le_bytes(), &[made.as_fd()])?;
            }
        }
    }
    socket::send(relay, ALL, &[])
}

/// Waits until the relay serves its sockets. `EPIPE` if the relay ends; its supervisor reports why.
pub fn wait_for(relay: &OwnedFd) -> Result<()> {
    let mut answer = [0; 1];
    match socket::receive(relay.as_fd(), &mut answer, Wait::Yes)? {
        (1, _) if answer == *SERVED => Ok(()),
        _ => Err(Errno::PIPE),
    }
}
