//! What the kernel may hold for a TCP socket (socket(7), tcp(7)): buffers of a fixed size, or as they come,
//! which it lets grow with the connection up to `net.ipv4.tcp_rmem` and `tcp_wmem`.

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

/// Gives a connected or listening socket receive and send buffers of so many bytes each; what a listener
/// has, those have that it accepts. The kernel takes no more than `net.core.rmem_max` and `wmem_max`, and
/// counts its own structures: it doubles the number.
pub fn bound(socket: impl AsFd, bytes: usize) -> Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_recv_buffer_size(socket, bytes)?;
    sockopt::set_socket_send_buffer_size(socket, bytes)
}

/// A connection of this process, by the number of its descriptor. Every act makes sure by the socket's
/// cookie that the number is not another's by now, and is `EBADF` where it is.
#[derive(Debug)]
pub struct Connection {
    number: i32,
    cookie: u64,
}

impl Connection {
    pub fn of(socket: impl AsFd) -> Result<Connection> {
        let socket = socket.as_fd();
        Ok(Connection {
            number: socket.as_raw_fd(),
            cookie: sockopt::socket_cookie(socket)?,
        })
    }

    /// As [`bound`] does. Data beyond it that the other side was allowed to send is dropped, and sent again.
    pub fn bound(&self, bytes: usize) -> Result<()> {
        let socket = self.socket()?;
        bound(socket, bytes)?;
        // It stays at what the first buffer had room for, where the buffer does not grow by itself.
        let clamp = libc::TCP_WINDOW_CLAMP;
        set_option(socket, libc::IPPROTO_TCP, clamp, bytes as i32)
    }

    /// Has the kernel choose the sizes again (`SO_BUF_LOCK`, Linux 5.14).
    pub fn unbound(&self) -> Result<()> {
        set_option(self.socket()?, libc::SOL_SOCKET, SO_BUF_LOCK, 0)
    }

    /// Bytes of memory that lie in its buffers.
    pub fn held(&self) -> Result<u64> {
        let socket = self.socket()?;
        let mut rows = [0u32; ROWS];
        let mut length = size_of_val(&rows) as u32;
        // SAFETY: the kernel writes at most `length` bytes of u32, for which all bits are values, into an
        // array of as many, which outlives the call.
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
        // SAFETY: numbers are used for the length of a call. One that is closed meanwhile is refused by
        // the kernel, and one that is another socket's is found out before anything is changed: this
        // process's connections are one thread's.
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
