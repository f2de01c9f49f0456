//! Sockets: address families that are refused, and the network, which is absent.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};

use super::{attempts, call};
use crate::selftest::Tried;
use creel_sys::attempt::{at, c};

const AF_TIPC: i32 = 30;
const AF_SMC: i32 = 43;
const AF_XDP: i32 = 44;
const MPTCP: i32 = 262;
const TCP_ULP: usize = 31;

fn socket(family: i32, kind: i32, protocol: i32) -> Tried {
    call(
        c::SYS_socket,
        &[family as usize, kind as usize, protocol as usize],
    )
}

attempts! { ROWS, "network";
    "a listener on the host's loopback" [Network: ECONNREFUSED]
        "servers on loopback trust every client"
        |s| Ok(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], s.port))).map(drop)?);
    "an abstract socket of the host" [Network: ECONNREFUSED, Landlock 6: EPERM]
        "CVE-2020-15257: containerd's shim" |s| {
            let address = UnixAddr::from_abstract_name(&s.abstract_name)?;
            Ok(UnixStream::connect_addr(&address).map(drop)?)
        };
    "connect to the internet" [Network: ENETUNREACH]
        needs "IPv4 route"
        // TEST-NET-1 of RFC 5737, UDP: not a packet is sent.
        "a way out" |_| { let socket = UdpSocket::bind("0.0.0.0:0")?; Ok(socket.connect("192.0.2.1:9")?) };
    "connect to a cloud's metadata service" [Network: ENETUNREACH]
        needs "IPv4 route"
        "credentials of the machine" |_| { let socket = UdpSocket::bind("0.0.0.0:0")?; Ok(socket.connect("169.254.169.254:80")?) };
    "connect over IPv6" [Network: ENETUNREACH]
        needs "IPv6 route"
        "a way out" |_| { let socket = UdpSocket::bind("[::]:0")?; Ok(socket.connect("[2001:db8::1]:9")?) };
    "a raw IPv4 socket" [Seccomp: EPERM, Capabilities: EPERM] "forged packets" |_| socket(c::AF_INET, c::SOCK_RAW, 1);
    "a raw IPv6 socket" [Seccomp: EPERM, Capabilities: EPERM] "forged packets" |_| socket(c::AF_INET6, c::SOCK_RAW, 58);
    "a ping socket" [Seccomp: EACCES, Kernel: EACCES] "CVE-2015-3636" |_| socket(c::AF_INET, c::SOCK_DGRAM, 1);
    "a packet socket" [Seccomp: EAFNOSUPPORT, Capabilities: EPERM|EAFNOSUPPORT] "CVE-2020-14386" |_| socket(c::AF_PACKET, c::SOCK_RAW, 0);
    "SCTP" [Seccomp: EINVAL] "CVE-2021-23133" |_| socket(c::AF_INET, c::SOCK_STREAM, c::IPPROTO_SCTP);
    "MPTCP" [Seccomp: EINVAL] "young code" |_| socket(c::AF_INET, c::SOCK_STREAM, MPTCP);
    "UDP-Lite" [Seccomp: EINVAL] "old code" |_| socket(c::AF_INET, c::SOCK_DGRAM, 136);
    "netlink of generic families" [Seccomp: EAFNOSUPPORT] "hundreds of parsers" |_| socket(c::AF_NETLINK, c::SOCK_RAW, 16);
    "netlink of kernel events" [Seccomp: EAFNOSUPPORT] "the host's devices" |_| socket(c::AF_NETLINK, c::SOCK_RAW, 15);
    "the kernel's crypto" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "parsers of the kernel, and its keys" |_| socket(c::AF_ALG, 5 | c::SOCK_NONBLOCK, 9);
    "vsock" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "CVE-2021-26708" |_| socket(c::AF_VSOCK, c::SOCK_RAW, 99);
    "TIPC" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "CVE-2021-43267" |_| socket(AF_TIPC, c::SOCK_RAW, 99);
    "SMC" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "young code" |_| socket(AF_SMC, c::SOCK_RAW, 99);
    "XDP" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT|EPERM] "packets past the stack" |_| socket(AF_XDP, c::SOCK_RAW, 0);
    "Bluetooth" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "CVE-2020-12351" |_| socket(c::AF_BLUETOOTH, c::SOCK_RAW, 99);
    "CAN" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "CVE-2021-32606" |_| socket(c::AF_CAN, c::SOCK_RAW, 99);
    "RDS" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT] "CVE-2010-3904" |_| socket(c::AF_RDS, c::SOCK_RAW, 99);
    "key management sockets" [Seccomp: EAFNOSUPPORT, Kernel: EAFNOSUPPORT|EPERM] "the host's IPsec keys" |_| socket(c::AF_KEY, c::SOCK_RAW, 2);
    "a socket pair of another family" [Seccomp: EAFNOSUPPORT]
        "unix is the one that programs use"
        |_| call(c::SYS_socketpair, &[c::AF_INET as usize, c::SOCK_STREAM as usize, 0, at(&[0i32; 2])]);
    "TLS in the kernel" [Seccomp: EPERM] "CVE-2023-0461" |_| {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let number = listener.as_raw_fd() as usize;
        call(c::SYS_setsockopt, &[number, c::IPPROTO_TCP as usize, TCP_ULP, at(c"absent"), 6])
    };
}
