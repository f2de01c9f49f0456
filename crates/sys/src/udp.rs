//! Datagrams on a socket that serves many addresses: their destination addresses, and replies from those
//! (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_PKTINFO`).
//!
//! A dual-stack socket sees IPv4 addresses as IPv4-mapped IPv6 ones, destination addresses included.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket as nx;

use super::{Errno, Result};

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its length in bytes, at most the buffer's; the rest is lost.
    pub bytes: usize,
    /// The sender's address and port.
    pub from: SocketAddr,
    /// The address that it was sent to.
    pub to: IpAddr,
}

/// Makes the kernel report each datagram's destination address, and lets a reply leave from it although no
/// interface has it (`IPV6_FREEBIND`, Linux 4.15; IPv4 needs only the route).
pub fn tell_destination(socket: BorrowedFd<'_>) -> Result<()> {
    match rustix::net::getsockname(socket)?.address_family() {
        rustix::net::AddressFamily::INET => {
            nx::setsockopt(&socket, nx::sockopt::Ipv4PacketInfo, &true).map_err(errno)
        }
        _ => {
            nx::setsockopt(&socket, nx::sockopt::Ipv6RecvPacketInfo, &true).map_err(errno)?;
            rustix::net::sockopt::set_ipv6_freebind(socket, true)
        }
    }
}

/// Receives one datagram. `EAGAIN`: there is none. `ENODATA`: the kernel did not report its destination or
/// source.
pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<Arrival> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let mut slices = [IoSliceMut::new(into)];
    let message = nx::recvmsg::<nx::SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        nx::MsgFlags::MSG_DONTWAIT,
    )
    .map_err(errno)?;
    let mut to = None;
    for part in message.cmsgs().map_err(errno)? {
        match part {
            nx::ControlMessageOwned::Ipv4PacketInfo(info) => {
                to = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(
                    info.ipi_addr.s_addr,
                ))));
            }
            nx::ControlMessageOwned::Ipv6PacketInfo(info) => {
                to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
            }
            _ => {}
        }
    }
    let from = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().copied();
        let v6 = address.as_sockaddr_in6().copied();
        let v4 = v4.map(|a| SocketAddr::V4(SocketAddrV4::from(a)));
        v4.or_else(|| v6.map(|a| SocketAddr::V6(SocketAddrV6::from(a))))
    });
    match (from, to) {
        (Some(from), Some(to)) => Ok(Arrival {
            bytes: message.bytes,
            from,
            to,
        }),
        _ => Err(Errno::NODATA),
    }
}

/// Sends one datagram with the source address `from`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], to: SocketAddr, from: IpAddr) -> Result<()> {
    let v4;
    let v6;
    let source = match from {
        IpAddr::V4(from) => {
            let address = libc::in_addr {
                s_addr: u32::from(from).to_be(),
            };
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: address,
            };
            nx::ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(from) => {
            v6 = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            nx::ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    nx::sendmsg(
        socket.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes)],
        &[source],
        nx::MsgFlags::MSG_DONTWAIT | nx::MsgFlags::MSG_NOSIGNAL,
        Some(&nx::SockaddrStorage::from(to)),
    )
    .map(drop)
    .map_err(errno)
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
