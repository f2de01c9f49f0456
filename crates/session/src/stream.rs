//! The command's stdout and stderr: creel's own pipes, whose bytes are counted on their way to the caller.
//! Its stdin is the caller's, or the stdin relay ([`stdin_relay`](super::stdin_relay)).

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::stdin_relay::StdinRelay;
use creel_jail::Stdio;
use creel_sys::nowait::Writer;
use creel_sys::{Errno, fd, pty, readiness, socket};

/// Bytes per read, at first, and when a read has filled them: as many as a pipe holds (pipe(7)).
const CHUNK: usize = 4096;
const LARGE: usize = 64 << 10;

/// The interval at which a full descriptor is tried that cannot be polled.
const LOOK: Duration = Duration::from_millis(10);

/// Both ends of the streams, before the jail exists.
pub struct Pipes {
    /// For the child.
    pub theirs: Stdio,
    /// For the supervisor.
    pub ours: Ours,
}

impl Pipes {
    /// No pipe: a jail with a terminal of its own, or without a command.
    pub fn none() -> Pipes {
        Pipes {
            theirs: Stdio::default(),
            ours: Ours::default(),
        }
    }
}

/// Creel's ends of the streams.
#[derive(Default)]
pub struct Ours {
    /// Each pipe's reading end and the number of the caller's descriptor that it is copied to.
    pub written: Vec<(OwnedFd, i32)>,
    /// Carries the caller's input, if its stdin is a terminal, a socket of the network or, for a session, a file.
    /// Dropped at the end.
    pub typed: Option<Carrier>,
}

/// Copies the caller's input, and never returns.
pub type Carrier = Pin<Box<dyn Future<Output = Infallible>>>;

/// Makes the pipes. If the caller's stdout and stderr are one file, so are the jail's: output that is
/// written in order arrives in order.
///
/// stdin is the caller's own, unless that is a terminal, or a socket with which the jail could reach the caller's
/// network.
pub fn pipes() -> creel_sys::Result<Pipes> {
    let (input, typed): (Option<OwnedFd>, Option<Carrier>) = match StdinRelay::split()? {
        Some((theirs, relay)) => (Some(theirs), Some(Box::pin(relay.carry()))),
        None if socket::leads_out(fd::fixed(0)) => {
            let (theirs, pipe) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            (Some(theirs), Some(Box::pin(carry(copy_socket(pipe)))))
        }
        None => (None, None),
    };
    let (out_read, out_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let same = match (fd::stat(fd::fixed(1)), fd::stat(fd::fixed(2))) {
        (Ok(out), Ok(err)) => (out.dev, out.ino) == (err.dev, err.ino),
        _ => false,
    };
    if same {
        let err_write = rustix::io::fcntl_dupfd_cloexec(&out_write, 3)?;
        return Ok(Pipes {
            theirs: Stdio([input, Some(out_write), Some(err_write)]),
            ours: Ours {
                written: vec![(out_read, 1)],
                typed,
            },
        });
    }
    let (err_read, err_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok(Pipes {
        theirs: Stdio([input, Some(out_write), Some(err_write)]),
        ours: Ours {
            written: vec![(out_read, 1), (err_read, 2)],
            typed,
        },
    })
}

/// As [`pipes`], for a command in a session: a file or a device on stdin is read here and passed on through a
/// pipe, since a descriptor of a file would lead the jail to the host.
pub fn pipes_of_session() -> creel_sys::Result<Pipes> {
    let mut pipes = pipes()?;
    if pipes.theirs.0[0].is_none() {
        let stdin = fd::fixed(0);
        let is_stream = fd::stat(stdin)?.kind == fd::Kind::Other;
        pipes.theirs.0[0] = Some(match is_stream {
            true => rustix::io::fcntl_dupfd_cloexec(stdin, 3)?,
            false => {
                let (theirs, pipe) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                pipes.ours.typed = Some(Box::pin(carry(copy_file(pipe))));
                theirs
            }
        });
    }
    Ok(pipes)
}

/// Copies stdin into a pipe. Never returns; an error ends the jail's stdin.
async fn carry(copy: impl Future<Output = io::Result<()>>) -> Infallible {
    let _ = copy.await;
    std::future::pending().await
}

async fn copy_file(pipe: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let pipe = readiness::to_write(pipe)?;
    let mut buffer = vec![0; LARGE];
    loop {
        let length = rustix::io::read(fd::fixed(0), &mut buffer)?;
        let rest = buffer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        write_all(&pipe, rest).await?;
    }
}

/// The same for a socket, whose mode is shared with other processes and stays.
async fn copy_socket(pipe: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let pipe = readiness::to_write(pipe)?;
    let input = readiness::to_read(rustix::io::fcntl_dupfd_cloexec(fd::fixed(0), 3)?)?;
    let mut buffer = vec![0; LARGE];
    loop {
        let read = |fd: &OwnedFd| Ok(socket::receive_now(fd.as_fd(), &mut buffer)?);
        let length = input.async_io(Interest::READABLE, read).await?;
        if length == 0 {
            return Ok(());
        }
        write_all(&pipe, buffer.get(..length).unwrap_or_default()).await?;
    }
}

async fn write_all(pipe: &AsyncFd<OwnedFd>, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let write = |fd: &OwnedFd| Ok(rustix::io::write(fd, rest)?);
        let written = pipe.async_io(Interest::WRITABLE, write).await?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Runs every stream to its end. Returns the first error that lost a part of one, if any.
pub async fn relay_all(pipes: Vec<(OwnedFd, i32)>, budget: &Budget) -> Option<io::Error> {
    let mut pipes = pipes.into_iter();
    let mut next = || {
        let pipe = pipes.next();
        async {
            match pipe {
                Some((from, to)) => relay(from, to, budget).await,
                None => End::Complete,
            }
        }
    };
    let (first, second) = tokio::join!(next(), next());
    [first, second].into_iter().find_map(End::loss)
}

/// The bytes that may still pass, over all streams of a run.
pub struct Budget {
    limit: u64,
    passed: Cell<u64>,
    cut: Cell<bool>,
    exceeded: tokio::sync::Notify,
    ended: Cell<bool>,
    end: tokio::sync::Notify,
    hurried: Cell<Option<Hurry>>,
    hurry: tokio::sync::Notify,
}

/// Why creel no longer waits for a reader of the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurry {
    /// The grace after a run that a limit or a signal ended is over.
    Grace,
    /// A signal to creel after the jail had ended.
    Asked,
}

impl From<Hurry> for io::Error {
    fn from(hurry: Hurry) -> io::Error {
        let why = match hurry {
            Hurry::Grace => "its reader did not read it in time after the end",
            Hurry::Asked => "its reader did not read it before the caller asked creel to end",
        };
        io::Error::new(io::ErrorKind::TimedOut, why)
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Budget {
        let (passed, cut) = (Cell::new(0), Cell::new(false));
        Budget {
            limit,
            passed,
            cut,
            exceeded: tokio::sync::Notify::new(),
            ended: Cell::new(false),
            end: tokio::sync::Notify::new(),
            hurried: Cell::new(None),
            hurry: tokio::sync::Notify::new(),
        }
    }

    /// The bytes that have passed.
    pub fn passed(&self) -> u64 {
        self.passed.get()
    }

    /// The jail has ended: the pipes get no more data. A copy of a writing end that the jail sent out by
    /// SCM_RIGHTS delays nothing.
    pub fn jail_ended(&self) {
        self.ended.set(true);
        self.end.notify_waiters();
    }

    async fn after_the_end(&self) {
        if !self.ended.get() {
            self.end.notified().await;
        }
    }

    /// From now on, output that the caller does not take at once is given up.
    pub fn hurry(&self, why: Hurry) {
        self.hurried.set(Some(why));
        self.hurry.notify_waiters();
    }

    /// Why output was to be given up, if it was.
    pub fn hurried(&self) -> Option<Hurry> {
        self.hurried.get()
    }

    async fn until_hurried(&self) -> Hurry {
        loop {
            match self.hurried.get() {
                Some(why) => return why,
                None => self.hurry.notified().await,
            }
        }
    }

    /// Returns when a stream was cut.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Whether a stream was cut.
    pub fn was_exceeded(&self) -> bool {
        self.cut.get()
    }

    /// How many of `wanted` bytes may pass.
    fn take(&self, wanted: usize) -> usize {
        let left = self.limit - self.passed.get();
        let granted = (wanted as u64).min(left);
        self.passed.set(self.passed.get() + granted);
        if granted < wanted as u64 {
            self.cut.set(true);
            self.exceeded.notify_one();
        }
        granted as usize
    }
}

/// How a stream ended.
#[derive(Debug)]
pub enum End {
    /// The command closed it, and all data arrived.
    Complete,
    /// The reader is gone (`EPIPE`); the command notices that as it would without a jail.
    NobodyReads,
    /// The output limit cut it.
    Cut,
    /// The caller's side failed: a full disk, an I/O error.
    Lost(io::Error),
}

impl End {
    /// The error that lost a part of the stream, if any.
    pub fn loss(self) -> Option<io::Error> {
        match self {
            End::Lost(e) => Some(e),
            End::Complete | End::NobodyReads | End::Cut => None,
        }
    }
}

/// Copies all data from a pipe of the jail's to the caller's descriptor `to`.
pub async fn relay(from: OwnedFd, to: i32, budget: &Budget) -> End {
    match copy(from, to, budget).await {
        Ok(end) => end,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => End::NobodyReads,
        Err(e) => End::Lost(e),
    }
}

async fn copy(from: OwnedFd, to: i32, budget: &Budget) -> io::Result<End> {
    rustix::io::ioctl_fionbio(&from, true)?;
    let from = readiness::to_read(from)?;
    let to = Sink::new(to)?;
    let mut buffer = vec![0; CHUNK];
    let mut end = End::Complete;
    loop {
        let more = tokio::select! {
            biased;
            more = from.async_io(Interest::READABLE, |fd| read(fd, &mut buffer)) => Some(more),
            () = budget.after_the_end() => None,
        };
        // The second borrow of the buffer must wait for the end of the first.
        let length = match more.unwrap_or_else(|| read(from.get_ref(), &mut buffer)) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(end),
            Ok(0) => return Ok(end),
            Ok(length) => length,
            // EIO: a pseudoterminal whose other side is gone (pty(7)).
            Err(e) if e.raw_os_error() == Some(5) => return Ok(end),
            Err(e) => return Err(e),
        };
        let granted = budget.take(length);
        let was_full = length == buffer.len();
        to.write_all(&buffer[..granted], budget).await?;
        if granted < length {
            // Continue to read without passing data: a closed pipe would race SIGPIPE against the coming
            // kill.
            end = End::Cut;
            if budget.ended.get() {
                return Ok(end);
            }
        }
        if was_full {
            buffer.resize(LARGE, 0);
        }
    }
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buffer)?)
}

/// The caller's descriptor. Creel does not change its flags, because it may be shared. Writability is
/// awaited if the kernel can report it, and assumed for regular files.
struct Sink {
    writer: Writer,
    ready: Option<AsyncFd<OwnedFd>>,
    /// Its number, if it is a terminal.
    terminal: Option<i32>,
}

impl Sink {
    fn new(number: i32) -> io::Result<Sink> {
        let writer = Writer::new(fd::fixed(number))?;
        let copy = rustix::io::fcntl_dupfd_cloexec(&writer, 3)?;
        Ok(Sink {
            writer,
            ready: readiness::to_write(copy).ok(),
            terminal: pty::is_terminal(fd::fixed(number)).then_some(number),
        })
    }

    /// Writes all bytes, or as many as the caller takes before creel is in a [`Hurry`].
    async fn write_all(&self, mut bytes: &[u8], budget: &Budget) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = tokio::select! {
                biased;
                written = self.some(bytes) => written?,
                why = budget.until_hurried() => match self.is_elsewhere() {
                    true => return Err(why.into()),
                    false => match self.writer.write(bytes) {
                        Err(Errno::AGAIN) => return Err(why.into()),
                        written => written?,
                    },
                },
            };
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Whether it is a terminal that stops background writers (`stty tostop`), and creel is in the
    /// background.
    fn is_elsewhere(&self) -> bool {
        self.terminal
            .is_some_and(|number| pty::stops_writers(fd::fixed(number)))
    }

    async fn some(&self, bytes: &[u8]) -> io::Result<usize> {
        // A stopped creel could not enforce the time limit.
        while self.is_elsewhere() {
            tokio::time::sleep(super::stdin_relay::LOOK).await;
        }
        let write = || Ok::<_, io::Error>(self.writer.write(bytes)?);
        if let Some(ready) = &self.ready {
            return ready.async_io(Interest::WRITABLE, |_| write()).await;
        }
        loop {
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(LOOK).await;
                }
                written => return written,
            }
        }
    }
}
