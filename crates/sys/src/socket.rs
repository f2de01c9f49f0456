//! The pair of sockets between a supervisor and the first process of its jail: SOCK_SEQPACKET, so that
//! messages arrive whole and the death of either side is the end of file.

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode};
use rustix::net as rx;

use super::Result;

/// Both ends, close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rx::socketpair(
        rx::AddressFamily::UNIX,
        rx::SocketType::SEQPACKET,
        rx::SocketFlags::CLOEXEC,
        None,
    )
}

/// A nonblocking socket that listens at a path beneath `directory`, for every user who can look the path up. `backlog`
/// connections wait. Changes to the directory, since an address has no descriptor (unix(7)). Runs after clone.
pub fn listen_beneath(directory: BorrowedFd<'_>, path: &CStr, backlog: i32) -> Result<OwnedFd> {
    let flags = rx::SocketFlags::CLOEXEC | rx::SocketFlags::NONBLOCK;
    let kind = rx::SocketType::SEQPACKET;
    let socket = rx::socket_with(rx::AddressFamily::UNIX, kind, flags, None)?;
    rustix::process::fchdir(directory)?;
    rx::bind(&socket, &rx::SocketAddrUnix::new(path)?)?;
    let all = Mode::from_raw_mode(0o666);
    rustix::fs::chmodat(directory, path, all, AtFlags::empty())?;
    rx::listen(&socket, backlog)?;
    Ok(socket)
}

/// Whether a descriptor is a socket that can be led elsewhere: all but connected streams of unix(7). connect(2) with
/// `AF_UNSPEC` dissolves a connection of TCP, and the next one begins in the network in which the socket was made.
pub fn leads_out(fd: BorrowedFd<'_>) -> bool {
    use rx::sockopt::{socket_domain, socket_type};
    match (socket_domain(fd), socket_type(fd)) {
        (Ok(rx::AddressFamily::UNIX), Ok(kind)) => {
            ![rx::SocketType::STREAM, rx::SocketType::SEQPACKET].contains(&kind)
        }
        (Err(super::Errno::NOTSOCK), _) => false,
        _ => true,
    }
}

/// Receives what there is, without waiting, whatever the mode of the socket: `EAGAIN` if there is nothing.
pub fn receive_now(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize> {
    rx::recv(socket, bytes, rx::RecvFlags::DONTWAIT).map(|(_, length)| length)
}

/// Sends one message, with descriptors if any (at most [`MAX_FDS`]). Runs after clone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_with(socket, bytes, fds, rx::SendFlags::NOSIGNAL)
}

/// As [`send`]; `EAGAIN` if the receiver has not read earlier messages.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let flags = rx::SendFlags::NOSIGNAL | rx::SendFlags::DONTWAIT;
    send_with(socket, bytes, fds, flags)
}

fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: rx::SendFlags,
) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = rx::SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(rx::SendAncillaryMessage::ScmRights(fds));
    }
    rx::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map(drop)
}

/// The most descriptors in one message.
pub const MAX_FDS: usize = 8;

/// The descriptors of a message.
pub type Fds = [Option<OwnedFd>; MAX_FDS];

/// Receives one message into `bytes`; the length is 0 when the other side is gone. Runs after
/// clone.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8], wait: Wait) -> Result<(usize, Fds)> {
    take(socket, bytes, wait).map(|(length, fds, _)| (length, fds))
}

/// As [`receive`]; `EMFILE` if this process has no descriptor left for one that came with the message (unix(7),
/// `MSG_CTRUNC`). The message is lost then.
pub fn receive_whole(socket: BorrowedFd<'_>, bytes: &mut [u8], wait: Wait) -> Result<(usize, Fds)> {
    match take(socket, bytes, wait)? {
        (_, _, flags) if flags.contains(rx::ReturnFlags::CTRUNC) => Err(super::Errno::MFILE),
        (length, fds, _) => Ok((length, fds)),
    }
}

fn take(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    wait: Wait,
) -> Result<(usize, Fds, rx::ReturnFlags)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = rx::RecvAncillaryBuffer::new(&mut space);
    let mut flags = rx::RecvFlags::CMSG_CLOEXEC;
    if wait == Wait::No {
        flags |= rx::RecvFlags::DONTWAIT;
    }
    let message = rx::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut fds = [const { None }; MAX_FDS];
    for part in control.drain() {
        if let rx::RecvAncillaryMessage::ScmRights(received) = part {
            for (slot, fd) in fds.iter_mut().zip(received) {
                *slot = Some(fd);
            }
        }
    }
    Ok((message.bytes, fds, message.flags))
}

/// From now on a message that arrives sends SIGIO to this process (fcntl(2), `F_SETOWN` and `O_ASYNC`). Runs after
/// clone.
pub fn signal_messages(socket: BorrowedFd<'_>) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: integers alone.
    let owned = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, libc::getpid()) };
    if owned == -1 {
        return Err(
            super::Errno::from_io_error(&std::io::Error::last_os_error())
                .unwrap_or(super::Errno::IO),
        );
    }
    let flags = rustix::fs::fcntl_getfl(socket)? | rustix::fs::OFlags::ASYNC;
    rustix::fs::fcntl_setfl(socket, flags)
}

/// Whether a call waits if it cannot proceed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It waits.
    Yes,
    /// It fails with `EAGAIN`.
    No,
}
