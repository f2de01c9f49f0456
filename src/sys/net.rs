//! The jail's network namespace: loopback, up.
//!
//! Everything here runs after clone.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Errno, Result};

/// `unshare(CLONE_NEWNET)`: an empty network namespace for this process.
pub fn new_namespace() -> Result<()> {
    // SAFETY: unshare of a namespace concerns no memory and no descriptor table.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(last()),
    }
}

/// `SIOCSIFFLAGS` with `IFF_UP` on `lo` (netdevice(7)); the kernel adds 127.0.0.1 and ::1 itself. The
/// socket that it took, which is in the namespace, is handed out.
pub fn loopback_up() -> Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the ioctl reads an ifreq, which outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(socket),
        _ => Err(last()),
    }
}

/// Joins the network namespace that a socket was made in (`SIOCGSKNS`, Linux 4.9; needs
/// `CAP_NET_ADMIN` there).
pub fn enter_namespace_of(socket: &OwnedFd) -> Result<()> {
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    // SAFETY: the ioctl takes no argument and returns a new descriptor.
    let namespace = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if namespace < 0 {
        return Err(last());
    }
    // SAFETY: the descriptor is new and nothing else owns it.
    enter(&unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Joins a network namespace; needs `CAP_SYS_ADMIN` over it.
pub fn enter(namespace: &OwnedFd) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
