//! The jail's network namespace: loopback, up.
//!
//! Everything here runs after clone.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Errno, Result, procfs};

/// `unshare(CLONE_NEWNET)`: an empty network namespace for this process.
pub fn new_namespace() -> Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // Not libc's: a helper shares its errno with the process that it runs beside.
    // SAFETY: unshare of a namespace concerns no memory and no descriptor table.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// `SIOCSIFFLAGS` with `IFF_UP` on `lo` (netdevice(7)); the kernel adds 127.0.0.1 and ::1 itself. Returns the
/// socket that it used, which is in the namespace.
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

/// Lets every process in this network namespace bind ports below 1024 there (ip(7), Linux 4.11): it has no
/// neighbours to impersonate. No effect if `/proc/sys` cannot be written.
pub fn free_low_ports() {
    let name = "sys/net/ipv4/ip_unprivileged_port_start";
    if let Ok(file) = procfs::open(name, rustix::fs::OFlags::WRONLY) {
        let _ = rustix::io::write(&file, b"0");
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

/// Makes every address local (`ip route add local default dev lo`), IPv4, and IPv6 if the kernel has it, so
/// that each connection is answered in this namespace. `own`: addresses of loopback beside 127.0.0.1 and ::1;
/// without them a resolver that returns only reachable families (`AI_ADDRCONFIG`, getaddrinfo(3)) would see
/// no network at all. Needs `CAP_NET_ADMIN` over the namespace.
pub fn route_everything_here(own: (Ipv4Addr, Ipv6Addr)) -> Result<()> {
    // NETLINK_ROUTE is protocol 0.
    let kind = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
    add_address(&socket, libc::AF_INET, &own.0.octets())?;
    add_local_default(&socket, libc::AF_INET)?;
    let v6 = add_address(&socket, libc::AF_INET6, &own.1.octets());
    match v6.and_then(|()| add_local_default(&socket, libc::AF_INET6)) {
        // No IPv6 in this kernel, or switched off: nothing to answer.
        Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::ACCESS | Errno::NODEV) => Ok(()),
        other => other,
    }
}

/// The loopback device is the first of every namespace (net/core/dev.c).
const LOOPBACK: u32 = 1;

/// `struct ifaddrmsg`, then `IFA_LOCAL` and `IFA_ADDRESS` (rtnetlink(7)).
fn add_address(socket: &OwnedFd, family: i32, address: &[u8]) -> Result<()> {
    let bits = address.len() as u8 * 8;
    let mut body = vec![family as u8, bits, 0, libc::RT_SCOPE_UNIVERSE];
    body.extend(LOOPBACK.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        body.extend(attribute(kind, address));
    }
    route_request(socket, libc::RTM_NEWADDR, &body)
}

/// `struct rtmsg`, then `RTA_OIF`.
fn add_local_default(socket: &OwnedFd, family: i32) -> Result<()> {
    let mut body = vec![
        family as u8,
        0,
        0,
        0,
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
    ];
    body.extend([0; 4]);
    body.extend(attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes()));
    route_request(socket, libc::RTM_NEWROUTE, &body)
}

/// `struct rtattr`; every value passed here is a multiple of four bytes long.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}

/// Sends one request after its `struct nlmsghdr`, and waits for the kernel's answer.
fn route_request(socket: &OwnedFd, kind: u16, body: &[u8]) -> Result<()> {
    let length = 16 + body.len() as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE) as u16;
    let (sequence, port) = (1u32.to_ne_bytes(), 0u32.to_ne_bytes());
    let header = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
    ]
    .concat();
    let request = [&header[..], &sequence, &port, body].concat();
    rustix::net::send(socket, &request, rustix::net::SendFlags::empty())?;
    let mut answer = [0u8; 256];
    let (read, _) = rustix::net::recv(socket, &mut answer[..], rustix::net::RecvFlags::empty())?;
    // struct nlmsgerr follows the header: an errno, negative, or 0.
    match answer[..read].get(16..20) {
        Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(-errno)),
        },
        _ => Err(Errno::PROTO),
    }
}

/// A nonblocking socket in this namespace for the relay: listening, or for datagrams with the address that
/// each was sent to (`IP_PKTINFO`). `None` if the kernel has no IPv6.
pub fn serve_at(address: std::net::SocketAddr, transport: Transport) -> Result<Option<OwnedFd>> {
    let family = match address {
        std::net::SocketAddr::V4(_) => AddressFamily::INET,
        std::net::SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match transport {
        Transport::Stream => SocketType::STREAM,
        Transport::Datagram => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(family, kind, flags, None) {
        Err(Errno::AFNOSUPPORT) if family == AddressFamily::INET6 => return Ok(None),
        other => other?,
    };
    let on: libc::c_int = 1;
    if let Transport::Datagram = transport {
        match family {
            AddressFamily::INET => set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, on)?,
            _ => set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, on)?,
        }
    }
    match bind(&socket, address) {
        Err(Errno::ADDRNOTAVAIL) if family == AddressFamily::INET6 => return Ok(None),
        other => other?,
    }
    if let Transport::Stream = transport {
        listen(&socket)?;
    }
    Ok(Some(socket))
}

/// Binds a socket of the jail's network, which this process need not be in (bind(2)): the kernel looks at the
/// network that the socket was made in.
pub fn bind(socket: &OwnedFd, address: std::net::SocketAddr) -> Result<()> {
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(socket, true)?;
        // The address is local by a route and on no device.
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?;
    }
    rustix::net::bind(socket, &address)
}

/// Listens on a bound TCP socket, for the relay.
pub fn listen(socket: &OwnedFd) -> Result<()> {
    // Accepted connections inherit it. The path to the jail has no bottleneck; BBR, which may be the
    // host's default, would spend timers on probing for one. Each kernel has Reno, and lets every process
    // use it (tcp(7)).
    rustix::net::sockopt::set_tcp_congestion(socket, "reno")?;
    hold_back(socket)?;
    rustix::net::listen(socket, BACKLOG)
}

/// The address family of an unconnected socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The number that goes with such a socket, in the place of a listener's.
    pub fn number(self) -> u32 {
        match self {
            Family::V4 => u32::MAX,
            Family::V6 => u32::MAX - 1,
        }
    }
}

/// A nonblocking TCP socket of this namespace, wherever it is used. `None` if the kernel has no IPv6.
pub fn unconnected(family: Family) -> Result<Option<OwnedFd>> {
    let (domain, flags) = match family {
        Family::V4 => (
            AddressFamily::INET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        ),
        Family::V6 => (
            AddressFamily::INET6,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        ),
    };
    match socket_with(domain, SocketType::STREAM, flags, None) {
        Err(Errno::AFNOSUPPORT) if family == Family::V6 => Ok(None),
        made => {
            let made = made?;
            hold_back(&made)?;
            Ok(Some(made))
        }
    }
}

/// Ends the connection of a socket, which can then be connected anew (connect(2), `AF_UNSPEC`).
pub fn disconnect(socket: impl AsFd) -> Result<()> {
    rustix::net::connect_unspec(socket)
}

/// Bounds the unsent bytes in a connection's send buffer, for a jail that does not read (`TCP_NOTSENT_LOWAT`,
/// tcp(7)); a send buffer of a fixed size is slower by half. Accepted connections inherit it.
fn hold_back(socket: &OwnedFd) -> Result<()> {
    const UNSENT: libc::c_int = 256 << 10;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, UNSENT)
}

/// Connections that wait to be accepted; the kernel takes the smaller of this and `somaxconn`.
const BACKLOG: i32 = 4096;

/// The type of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// Sets an option that is an int (setsockopt(2)).
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: libc::c_int) -> Result<()> {
    // SAFETY: the option is an int, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(last()),
    }
}
