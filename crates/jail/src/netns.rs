//! Makes the jail's network namespace beside other work.
//!
//! `CLONE_NEWNET` and bringing loopback up cost as much as all mounts together and wait for host-wide locks.
//! So a helper makes the namespace and sends a socket of it: while the supervisor examines the host, if it
//! has the host's privileges ([`ahead`]), and the jail is then cloned in the namespace; else while pid 1
//! builds the tree ([`begin`]), because the namespace must belong to the jail's user namespace. The helper
//! shares the memory of who started it. It has its own descriptor table: a shared one would have to wait for
//! an RCU grace period whenever it grows. (pid 1 cannot join through a pidfd: a change of ids made the memory
//! undumpable.)
//!
//! If the jail has egress, the relay's sockets are made here and sent to it: by the supervisor while the jail
//! builds its tree, if the jail was cloned in its network namespace, else by pid 1.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use creel_plan::egress::{ALL, SERVED};
use creel_plan::egress::{Egress, Listener, OWN, PUBLISHED};
use creel_sys::clone::Helper;
use creel_sys::net::{Family, Transport};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, caps, clone, fd, net, process, procfs};

/// The helper's stack, in units of 16 bytes.
pub const ROOM: usize = 1024;

/// A running helper of pid 1.
pub struct Making {
    pid: i32,
    socket: OwnedFd,
}

/// A running helper of the supervisor. The drop waits for its end.
#[derive(Debug)]
pub struct Ahead {
    socket: OwnedFd,
    _helper: Helper,
}

/// Starts to make the network namespace of the next jail; `None` if only the jail itself may.
pub fn ahead() -> Option<Ahead> {
    // Bringing loopback up needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
    if !caps::privileged() || !caps::may_network() {
        return None;
    }
    // Opened here, since the helper shares this memory.
    procfs::descriptor()?;
    let (socket, theirs) = socket::pair().ok()?;
    let helper = Helper::start(0, make, theirs.as_raw_fd()).ok()?;
    Some(Ahead {
        socket,
        _helper: helper,
    })
}

impl Ahead {
    /// Waits for the namespace and moves this process into it; returns the previous one.
    pub fn enter(&self) -> Result<OwnedFd> {
        let outside = procfs::namespace("self", "net")?;
        net::enter_namespace_of(&made(&self.socket)?)?;
        Ok(outside)
    }
}

/// Starts the helper. Runs after clone, once, in pid 1 with capabilities over its user namespace.
pub fn begin(room: &'static mut [u128]) -> Result<Making> {
    let (socket, theirs) = socket::pair()?;
    let pid = clone::start_helper(0, room, make, theirs.as_raw_fd())?;
    Ok(Making { pid, socket })
}

/// Waits for the helper and joins the namespace that it made. Runs after clone.
pub fn join(making: &Making) -> Result<()> {
    let made = made(&making.socket);
    process::reap(making.pid)?;
    net::enter_namespace_of(&made?)
}

/// Waits for a socket of the namespace.
fn made(helper: &OwnedFd) -> Result<OwnedFd> {
    let mut errno = [0; 4];
    let (length, [namespace, ..]) = socket::receive(helper.as_fd(), &mut errno, Wait::Yes)?;
    match namespace {
        Some(socket) => Ok(socket),
        None if length == errno.len() => Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno))),
        None => Err(Errno::CHILD),
    }
}

extern "C" fn make(end: *mut std::ffi::c_void) -> i32 {
    let end = fd::fixed(clone::number(end));
    // If nobody waits any more, the namespace is not needed.
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
