//! Bytes both ways between two connections: without a copy where they are many.
//!
//! A direction is a [`Half`]. It reads what is there by recv(2) into a buffer that all connections
//! share; once that comes back full it has much to carry, and moves pages through a pipe with
//! splice(2) until little comes again. What the other side does not take is held, and nothing more is
//! read until it is gone: a slow reader slows its writer, and a direction never holds more than a pipe.
//! Pipes are lent while bytes are in them, so that a connection that waits costs its two sockets.
//!
//! The end of one direction is passed on and the other goes on (half-close). A reset is passed on as a
//! reset, and so is the reaching of a limit.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::gate::{Direction, Pass, Refusal};
use creel_sys::splice::{self as sys, Pipe};

/// Bytes that one copying read takes.
const FEW: usize = 16 << 10;
/// Less than this at once is not worth a pipe.
const LITTLE: usize = 4 << 10;
/// Bytes that fill a new pipe (pipe(7)).
const FULL: usize = 64 << 10;
/// Bytes that one splice moves.
const MANY: usize = 1 << 20;
/// Bytes that a direction moves before others have their turn.
const TURN: usize = 4 << 20;
/// Empty pipes that are kept for the next who needs one.
const PIPES: usize = 32;

/// Why a relay ends before both sides said that they are done.
enum Stop {
    /// One side is gone, or was told so.
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
    /// Much was there when it was last read.
    many: bool,
    at: At,
    /// Bytes read, in all.
    moved: u64,
    /// Reads and writes that moved something.
    stirs: u64,
    /// Until the bandwidth has room.
    pause: Option<Pin<Box<Sleep>>>,
    /// Bytes that were reserved of it.
    reserved: usize,
}

/// Bytes that were read and not yet written.
enum Held {
    Nothing,
    Bytes { bytes: Vec<u8>, sent: usize },
    Piped { pipe: Pipe, left: usize },
}

/// How far a direction is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Open,
    /// The end was read, and is to be passed on behind what is held.
    End,
    Done,
}

impl Half {
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

    /// With bytes that were read and counted already, to be written first.
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

    /// Whether anything came this way.
    pub fn has_moved(&self) -> bool {
        self.moved > 0
    }

    /// How often anything was read or written.
    pub fn stirs(&self) -> u64 {
        self.stirs
    }

    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Moves what can be moved: ready when this direction is done.
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

    /// Writes what is held.
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

    /// How much may be read: what the bandwidth has room for, once there is something to read.
    fn allowance(
        &mut self,
        cx: &mut Context<'_>,
        pass: &Pass,
        from: &TcpStream,
    ) -> Poll<Result<usize, Stop>> {
        let Some(pace) = pass.pace(self.direction) else {
            return Poll::Ready(Ok(MANY));
        };
        if self.reserved == 0 {
            ready!(from.poll_read_ready(cx))?;
            self.reserved = pace.turn();
            let wait = pace.reserve(self.reserved);
            self.pause = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(Ok(self.reserved))
    }

    /// Reads what is there, at most so much, counts it, and holds it unless `to` takes it at once.
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
                    // Less than was asked for: nothing is left, and the next will be an edge of its own
                    // (epoll(7)). So this reads as what it is, without another call to be told.
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
        if let Some(pace) = pass.pace(self.direction) {
            pace.give_back(self.reserved.saturating_sub(bytes));
            self.reserved = 0;
        }
        pass.count(self.direction, bytes as u64)
            .map_err(|refusal| Stopped::By(Stop::Refused(refusal)))
    }

    /// Whether there is a pipe, empty: without descriptors left there is none, and bytes are copied.
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

    /// Gives an empty pipe back.
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

/// State that the relay's connections share; it has one thread.
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

/// Relays until both sides are done, one is gone, nothing moves for too long, or a limit is reached.
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
    let stop = poll_fn(|cx| {
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
                return Poll::Ready(Err(Stop::Refused(IDLE)));
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

/// Moves one direction alone, until it is done. What it says it was refused for ends the connection.
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

/// Why a silent connection is closed.
pub const IDLE: Refusal = Refusal::Closed("nothing moved for as long as network.limits.idle says");

/// Closes a connection so that the other side fails at once.
pub fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}
