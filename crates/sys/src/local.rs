//! Tells whether an address is this machine's own, on any device or by a route (rtnetlink(7), `RTN_LOCAL`).
//!
//! The kernel is asked each time, because addresses change, and without privilege: datagram sockets are bound
//! and connected, and nothing is sent. Neither call is enough alone. A socket connected to a local address
//! has that address as its own, unless it is a second address of its network. bind(2) works for these too,
//! but is no proof if the machine lets every process bind to any address (`ip_nonlocal_bind`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::{Errno, Result};

/// Addresses that no machine has (RFC 1112, 4; RFC 6666).
const NOBODYS: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1),
);
/// The discard port: a datagram socket must be connected to some port.
const PORT: u16 = 9;

/// Whether a packet sent to `address` comes back to this machine. An unreachable address is not local.
pub fn is_local(address: IpAddr) -> Result<bool> {
    let Some(socket) = datagrams(address)? else {
        return Ok(false);
    };
    let own = bind(&socket, &SocketAddr::new(address, 0)).is_ok();
    if own && !binds_anything(address)? {
        return Ok(true);
    }
    let Some(socket) = datagrams(address)? else {
        return Ok(false);
    };
    match connect(&socket, &SocketAddr::new(address, PORT)) {
        Ok(()) => {}
        // Unreachable, for TCP too.
        Err(
            Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::ADDRNOTAVAIL
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::NETDOWN,
        ) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let from = SocketAddr::try_from(rustix::net::getsockname(&socket)?);
    if from.is_ok_and(|from| from.ip() == address) {
        return Ok(true);
    }
    // An IPv6 address can be local by a route alone, without a device. The route leads to loopback, whose MTU
    // is larger than that of any network (RFC 8200, 4.5: a packet is at most 65,575 bytes long).
    match address {
        IpAddr::V4(_) => Ok(false),
        IpAddr::V6(_) => Ok(sockopt::ipv6_mtu(&socket)? > u32::from(u16::MAX)),
    }
}

/// Whether this machine lets a socket bind to an address that is not its own.
fn binds_anything(like: IpAddr) -> Result<bool> {
    let nobodys: IpAddr = match like {
        IpAddr::V4(_) => NOBODYS.0.into(),
        IpAddr::V6(_) => NOBODYS.1.into(),
    };
    Ok(match datagrams(like)? {
        Some(socket) => bind(&socket, &SocketAddr::new(nobodys, 0)).is_ok(),
        None => false,
    })
}

/// A datagram socket; `None` if the kernel lacks the address family.
fn datagrams(address: IpAddr) -> Result<Option<OwnedFd>> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match socket_with(family, SocketType::DGRAM, flags, None) {
        Err(Errno::AFNOSUPPORT) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_what_nobody_has_is_not() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("240.0.0.1", false),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(text.parse().unwrap()), Ok(expected), "{text}");
        }
    }
}
