//! The jail's network namespace, made beside its tree.
//!
//! `CLONE_NEWNET` and bringing loopback up cost as much as all mounts together and wait for locks of
//! the whole host. So a helper that shares pid 1's memory makes the namespace while pid 1 builds the
//! tree, and sends a socket of it; pid 1 then joins the namespace that the socket is in. The helper
//! has descriptors of its own: a shared table would have to wait for an RCU grace period whenever it
//! grows. (Joining it through a pidfd is not to be had: a change of ids made the memory undumpable.)
//!
//! Where there is a way out, the relay's sockets are made here and given away: by the supervisor while the
//! jail builds its tree, where the jail is born in its network, else by pid 1.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use creel_plan::egress::{ALL, SERVED};
use creel_plan::egress::{Egress, Listener, OWN, PUBLISHED};
use creel_sys::net::{Family, Transport};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, clone, fd, net, process};

/// Room for the helper's stack, 16 bytes each.
pub const ROOM: usize = 1024;

/// The helper's end of the socket pair, for the helper.
static END: AtomicI32 = AtomicI32::new(-1);

/// The helper at work.
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
    // If nobody listens any more, nobody needs the namespace.
    let _ = match net::new_namespace().and_then(|()| net::loopback_up()) {
        Ok(socket) => {
            net::free_low_ports();
            socket::send(end, &[0; 4], &[socket.as_fd()])
        }
        Err(errno) => socket::send(end, &errno.raw_os_error().to_ne_bytes(), &[]),
    };
    process::exit(0)
}

/// What the relay gets of a jail's network.
#[derive(Debug)]
pub struct Sockets {
    /// Of its listeners, in their order.
    pub at: Vec<(SocketAddr, Transport)>,
    /// Unconnected ones of each family, for connections into the jail.
    pub spare: usize,
}

impl Sockets {
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

/// Makes every address of this network local, and gives `relay` a socket for each of its listeners, by
/// number, and the spare ones; where the kernel has no IPv6, none of that family. None of them stays here.
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

/// Waits until the relay serves what it was given. Its end is an error; its supervisor says why.
pub fn wait_for(relay: &OwnedFd) -> Result<()> {
    let mut answer = [0; 1];
    match socket::receive(relay.as_fd(), &mut answer, Wait::Yes)? {
        (1, _) if answer == *SERVED => Ok(()),
        _ => Err(Errno::PIPE),
    }
}
