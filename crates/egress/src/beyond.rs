//! Connects through the supervisor, at ports that were granted after the relay was confined: Landlock lets the relay
//! connect to the ports of its first rules alone, and a domain never widens. The supervisor checks the port again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::protocol::{self, FromRelay};
use creel_sys::Errno;

/// The relay's end of the control socket, and the connections that wait for an answer.
struct Line {
    control: OwnedFd,
    waiting: HashMap<u64, oneshot::Sender<i32>>,
    last: u64,
}

thread_local! {
    /// The relay has one thread.
    static LINE: RefCell<Option<Line>> = const { RefCell::new(None) };
}

/// Uses this socket to the supervisor from now on.
pub fn through(control: OwnedFd) {
    let line = Line {
        control,
        waiting: HashMap::new(),
        last: 0,
    };
    LINE.set(Some(line));
}

/// The supervisor has called connect(2), with this errno; 0 if it succeeded.
pub fn answered(number: u64, errno: i32) {
    let waits = LINE.with_borrow_mut(|line| line.as_mut()?.waiting.remove(&number));
    if let Some(waits) = waits {
        // The client may be gone.
        let _ = waits.send(errno);
    }
}

/// Connects a nonblocking TCP socket. `EACCES` if the port was not granted.
pub async fn connect(socket: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    let denied = || io::Error::from(Errno::ACCESS);
    let told = LINE.with_borrow_mut(|line| {
        let line = line.as_mut()?;
        line.last += 1;
        let (tell, told) = oneshot::channel();
        let dial = FromRelay::Dial {
            number: line.last,
            address: to,
        };
        protocol::send_with(line.control.as_fd(), &dial, &[socket.as_fd()]).ok()?;
        line.waiting.insert(line.last, tell);
        Some(told)
    });
    let errno = told.ok_or_else(denied)?.await.map_err(|_| denied())?;
    match Errno::from_raw_os_error(errno) {
        _ if errno == 0 => {}
        Errno::INPROGRESS => {}
        errno => return Err(errno.into()),
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        None => Ok(stream),
        Some(error) => Err(error),
    }
}
