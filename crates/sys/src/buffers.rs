//! Buffer sizes of TCP sockets (socket(7), tcp(7)): fixed or, by default, growing with the connection up to
//! `net.ipv4.tcp_rmem` and `tcp_wmem`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::sockopt;

use super::net::set_option;
use super::{Errno, Result};

// asm-generic/socket.h and linux/tcp.h.
const SO_MEMINFO: i32 = 55;
const SO_BUF_LOCK: i32 = 72;
/// Rows of `SO_MEMINFO` (linux/sock_diag.h): received and unread, sent and not acknowledged.
const RMEM_ALLOC: usize = 0;
const WMEM_QUEUED: usize = 5;
const ROWS: usize = 9;

/// Sets the receive and the send buffer of a connected or listening socket to so many bytes each; accepted
/// connections inherit a listener's sizes. The kernel caps the number at `net.core.rmem_max` and `wmem_max`,
/// and doubles it, to count its own structures.
pub fn bound(socket: impl AsFd, bytes: usize) -> Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_recv_buffer_size(socket, bytes)?;
    sockopt::set_socket_send_buffer_size(socket, bytes)
}

/// A connection of this process, by its descriptor number. Every method checks by the socket's cookie that
/// the number still refers to it, and returns `EBADF` if it does not.
#[derive(Debug)]
pub struct Connection {
    number: i32,
    cookie: u64,
}

impl Connection {
    /// Notes the descriptor's number and the socket's cookie.
    pub fn of(socket: impl AsFd) -> Result<Connection> {
        let socket = socket.as_fd();
        Ok(Connection {
            number: socket.as_raw_fd(),
            cookie: sockopt::socket_cookie(socket)?,
        })
    }

    /// As [`bound`] does. Data beyond the new size that the peer was already allowed to send is dropped, and
    /// sent again.
    pub fn bound(&self, bytes: usize) -> Result<()> {
        let socket = self.socket()?;
        bound(socket, bytes)?;
        // If a buffer does not grow by itself, the kernel leaves this clamp at the first buffer's room.
        let clamp = libc::TCP_WINDOW_CLAMP;
        set_option(socket, libc::IPPROTO_TCP, clamp, bytes as i32)
    }

    /// Lets the kernel choose the sizes again (`SO_BUF_LOCK`, Linux 5.14).
    pub fn unbound(&self) -> Result<()> {
        set_option(self.socket()?, libc::SOL_SOCKET, SO_BUF_LOCK, 0)
    }

    /// Bytes of memory that its buffers hold.
    pub fn held(&self) -> Result<u64> {
        let socket = self.socket()?;
        let mut rows = [0u32; ROWS];
        let mut length = size_of_val(&rows) as u32;
        // SAFETY: the kernel writes at most `length` bytes of u32, for which all bits are values, into an
        // array of that size, which outlives the call.
        let got = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                rows.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        match got {
            0 => Ok(u64::from(rows[RMEM_ALLOC]) + u64::from(rows[WMEM_QUEUED])),
            _ => Err(last()),
        }
    }

    fn socket(&self) -> Result<BorrowedFd<'_>> {
        // SAFETY: a number is used for one call only. The kernel refuses a number that was closed meanwhile,
        // and the cookie reveals a number that is another socket's before anything is changed: one thread has
        // all connections of this process.
        let socket = unsafe { BorrowedFd::borrow_raw(self.number) };
        match sockopt::socket_cookie(socket) {
            Ok(cookie) if cookie == self.cookie => Ok(socket),
            _ => Err(Errno::BADF),
        }
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
