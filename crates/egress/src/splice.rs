//! Relays bytes in both directions between two connections, without a copy for bulk data.
//!
//! A direction is a [`Half`]. It reads with recv(2) into a buffer that all connections share. After a read
//! that fills the buffer it moves pages through a pipe with splice(2), until a call moves little. Bytes that
//! the other side does not accept are held, and nothing more is read until they are written: a slow reader
//! slows its writer, and a direction never holds more than a pipe. It borrows a pipe only while bytes are in
//! it, so a waiting connection costs its two sockets.
//!
//! The end of one direction is passed on and the other continues (half-close). A reset is passed on as a
//! reset; a reached limit also resets both sides.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::gate::{Direction, Pass};
use super::refusal::Refusal;
use creel_sys::splice::{self as sys, Pipe};

/// Maximum bytes of one recv(2).
const FEW: usize = 16 << 10;
/// A direction with fewer bytes per call stops using a pipe.
const LITTLE: usize = 4 << 10;
/// Capacity of a new pipe in bytes (pipe(7)).
const FULL: usize = 64 << 10;
/// Maximum bytes of one splice(2).
const MANY: usize = 1 << 20;
/// Bytes that a direction moves before it yields to others.
const TURN: usize = 4 << 20;
/// Maximum empty pipes that are kept for reuse.
const PIPES: usize = 32;

/// Why a relay ends before both directions are done.
enum Stop {
    /// One side is gone.
    Reset,
    Refused(Refusal),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Stop {
        Stop::Reset
    }
}

/// One direction of a connection.
pub struct Half {
    direction: Direction,
    held: Held,
    /// The last read returned much, so the next uses a pipe.
    many: bool,
    at: At,
    /// Total bytes read.
    moved: u64,
    /// Reads and writes that moved something.
    stirs: u64,
    /// Delay until the bandwidth limit allows a read.
    pause: Option<Pin<Box<Sleep>>>,
    /// Bytes that are reserved of the bandwidth.
    reserved: usize,
}

/// Bytes that were read and not yet written.
enum Held {
    Nothing,
    Bytes { bytes: Vec<u8>, sent: usize },
    Piped { pipe: Pipe, left: usize },
}

/// The state of a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Open,
    /// The end was read, and is passed on after the held bytes.
    End,
    Done,
}

impl Half {
    /// A direction without bytes.
    pub fn new(direction: Direction) -> Half {
        Half {
            direction,
            held: Held::Nothing,
            many: false,
            at: At::Open,
            moved: 0,
            stirs: 0,
            pause: None,
            reserved: 0,
        }
    }

    /// A direction with bytes that were read and counted already, to be written first.
    pub fn holding(direction: Direction, bytes: Vec<u8>) -> Half {
        let held = match bytes.is_empty() {
            true => Held::Nothing,
            false => Held::Bytes { bytes, sent: 0 },
        };
        Half {
            held,
            ..Half::new(direction)
        }
    }

    /// Whether any bytes were read.
    pub fn has_moved(&self) -> bool {
        self.moved > 0
    }

    /// Number of reads and writes that moved something.
    pub fn stirs(&self) -> u64 {
        self.stirs
    }

    /// Whether its end was passed on.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Moves what can be moved; ready when this direction is done.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pass: &Pass,
        from: &TcpStream,
        to: &TcpStream,
    ) -> Poll<Result<(), Stop>> {
        let turn = self.moved + TURN as u64;
        loop {
            ready!(self.write(cx, to))?;
            match self.at {
                At::Done => return Poll::Ready(Ok(())),
                At::End => {
                    // If the other side is gone already, its own direction reports that.
                    let _ = sys::shutdown_write(to);
                    self.at = At::Done;
                    return Poll::Ready(Ok(()));
                }
                At::Open if self.moved >= turn => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                At::Open => {}
            }
            let most = ready!(self.allowance(cx, pass, from))?;
            match self.read(pass, from, to, most) {
                Ok(0) => self.at = At::End,
                Ok(_) => {}
                Err(Stopped::Empty) => {
                    if let Held::Piped { .. } = self.held {
                        self.put_back();
                    }
                    ready!(from.poll_read_ready(cx))?;
                }
                Err(Stopped::By(stop)) => return Poll::Ready(Err(stop)),
            }
        }
    }

    /// Writes the held bytes.
    fn write(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Result<(), Stop>> {
        loop {
            let written = match &mut self.held {
                Held::Bytes { bytes, sent } if *sent < bytes.len() => {
                    let rest = &bytes[*sent..];
                    to.try_io(Interest::WRITABLE, || sys::send(to, rest))
                        .map(|n| *sent += n)
                }
                Held::Piped { pipe, left } if *left > 0 => to
                    .try_io(Interest::WRITABLE, || pipe.drain(to, *left))
                    .map(|n| *left -= n.min(*left)),
                Held::Bytes { .. } => {
                    self.held = Held::Nothing;
                    return Poll::Ready(Ok(()));
                }
                Held::Nothing | Held::Piped { .. } => return Poll::Ready(Ok(())),
            };
            match written {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(to.poll_write_ready(cx))?;
                }
                other => {
                    other?;
                    self.stirs += 1;
                }
            }
        }
    }

    /// Maximum bytes to read under the bandwidth limit, once there is something to read.
    fn allowance(
        &mut self,
        cx: &mut Context<'_>,
        pass: &Pass,
        from: &TcpStream,
    ) -> Poll<Result<usize, Stop>> {
        let Some(limit) = pass.rate_limit(self.direction) else {
            return Poll::Ready(Ok(MANY));
        };
        if self.reserved == 0 {
            ready!(from.poll_read_ready(cx))?;
            self.reserved = limit.turn();
            let wait = limit.reserve(self.reserved);
            self.pause = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(Ok(self.reserved))
    }

    /// Reads at most `most` bytes and counts them; holds those that `to` does not accept at once. Returns
    /// the bytes read, 0 at the end.
    fn read(
        &mut self,
        pass: &Pass,
        from: &TcpStream,
        to: &TcpStream,
        most: usize,
    ) -> Result<usize, Stopped> {
        if self.many && self.borrow_pipe() {
            self.splice(pass, from, most)
        } else {
            self.copy(pass, from, to, most)
        }
    }

    fn splice(&mut self, pass: &Pass, from: &TcpStream, most: usize) -> Result<usize, Stopped> {
        let Held::Piped { pipe, left } = &mut self.held else {
            return Err(Stopped::Empty);
        };
        let moved = from.try_io(Interest::READABLE, || pipe.fill(from, most.min(MANY)))?;
        *left = moved;
        if moved >= FULL {
            pipe.raise();
        }
        self.many = moved >= LITTLE;
        self.count(pass, moved)?;
        if moved == 0 {
            self.put_back();
        }
        Ok(moved)
    }

    fn copy(
        &mut self,
        pass: &Pass,
        from: &TcpStream,
        to: &TcpStream,
        most: usize,
    ) -> Result<usize, Stopped> {
        self.put_back();
        SHARED.with_borrow_mut(|shared| {
            let buffer = &mut shared.buffer[..most.min(FEW)];
            let whole = buffer.len();
            let mut read = 0;
            let result = from.try_io(Interest::READABLE, || {
                read = sys::recv(from, buffer)?;
                match read {
                    // After a short read the socket is empty, and new data is a new edge (epoll(7)).
                    // WouldBlock clears the readiness, which saves another recv(2).
                    1.. if read < whole => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match (read, result) {
                (0, Err(e)) => return Err(e.into()),
                (0, Ok(())) => return Ok(0),
                _ => {}
            }
            self.many = read == FEW;
            self.count(pass, read)?;
            let bytes = &buffer[..read];
            let sent = match to.try_io(Interest::WRITABLE, || sys::send(to, bytes)) {
                Ok(sent) => sent,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                Err(e) => return Err(e.into()),
            };
            if sent < read {
                let bytes = bytes[sent..].to_vec();
                self.held = Held::Bytes { bytes, sent: 0 };
            }
            Ok(read)
        })
    }

    fn count(&mut self, pass: &Pass, bytes: usize) -> Result<(), Stopped> {
        self.moved += bytes as u64;
        self.stirs += 1;
        if let Some(limit) = pass.rate_limit(self.direction) {
            limit.give_back(self.reserved.saturating_sub(bytes));
            self.reserved = 0;
        }
        pass.count(self.direction, bytes as u64)
            .map_err(|refusal| Stopped::By(Stop::Refused(refusal)))
    }

    /// Takes an empty pipe; `false` if no descriptors are left, and bytes are copied instead.
    fn borrow_pipe(&mut self) -> bool {
        if let Held::Piped { .. } = self.held {
            return true;
        }
        let kept = SHARED.with_borrow_mut(|shared| shared.pipes.pop());
        match kept.map_or_else(Pipe::new, Ok) {
            Ok(pipe) => {
                self.held = Held::Piped { pipe, left: 0 };
                true
            }
            Err(_) => false,
        }
    }

    /// Returns an empty pipe for reuse.
    fn put_back(&mut self) {
        if let Held::Piped { pipe, left: 0 } = std::mem::replace(&mut self.held, Held::Nothing) {
            SHARED.with_borrow_mut(|shared| {
                if shared.pipes.len() < PIPES {
                    shared.pipes.push(pipe);
                }
            });
        }
    }
}

/// Why nothing was read.
enum Stopped {
    /// Nothing is there yet.
    Empty,
    By(Stop),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        match error.kind() {
            io::ErrorKind::WouldBlock => Stopped::Empty,
            _ => Stopped::By(Stop::Reset),
        }
    }
}

/// State that all connections share; the relay has one thread.
struct Shared {
    buffer: Box<[u8]>,
    pipes: Vec<Pipe>,
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::new(Shared {
        buffer: vec![0; FEW].into(),
        pipes: vec![],
    });
}

/// Relays until both directions are done, a side is gone, the connection is idle, or a limit is reached.
pub async fn relay(
    pass: &Pass,
    inside: TcpStream,
    outside: TcpStream,
    mut out: Half,
    mut back: Half,
) -> Result<(), Refusal> {
    pass.join(&inside);
    let idle = pass.gate().idle();
    let mut last = Instant::now();
    let mut timer = pin!(sleep_until(last + idle));
    let mut ended = pin!(pass.grip().ended());
    let stop = poll_fn(|cx| {
        if let Poll::Ready(refusal) = ended.as_mut().poll(cx) {
            return Poll::Ready(Err(Stop::Refused(refusal)));
        }
        let before = out.stirs + back.stirs;
        let gone = out.poll(cx, pass, &inside, &outside)?;
        let come = back.poll(cx, pass, &outside, &inside)?;
        if gone.is_ready() && come.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if out.stirs + back.stirs > before {
            last = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let until = last + idle;
            if Instant::now() >= until {
                return Poll::Ready(Err(Stop::Refused(pass.idle_refusal())));
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await;
    match stop {
        Ok(()) => Ok(()),
        Err(stop) => {
            reset(inside);
            reset(outside);
            match stop {
                Stop::Reset => Ok(()),
                Stop::Refused(refusal) => Err(refusal),
            }
        }
    }
}

/// Relays one direction until it is done. An error ends the connection; `None` if a side is gone.
pub async fn carry_half(
    pass: &Pass,
    from: &TcpStream,
    to: &TcpStream,
    half: &mut Half,
) -> Result<(), Option<Refusal>> {
    let done = poll_fn(|cx| half.poll(cx, pass, from, to)).await;
    done.map_err(|stop| match stop {
        Stop::Reset => None,
        Stop::Refused(refusal) => Some(refusal),
    })
}

/// Closes a connection with a reset, so that the peer fails at once.
pub fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}
