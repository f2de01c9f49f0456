//! Writes to and reads from a descriptor that other processes share, without waiting: pwritev2(2) with
//! `RWF_NOWAIT`, send(2) with `MSG_DONTWAIT`, and for a terminal an open file description of its own.
//!
//! `O_NONBLOCK` is a flag of the open file description: setting it would change the caller's own writes.
//! poll(2) alone is not enough: another writer can take the room that it reported.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{ReadWriteFlags, preadv2, pwritev2};
use rustix::net::{SendFlags, send};

use super::{Errno, Result, pty, readiness};

/// `PIPE_BUF`: a pipe that polls writable takes all of a write this long (pipe(7)).
const MOST: usize = 4096;

/// The retry interval, if poll(2) reports room that the write does not find.
const LOOK: Duration = Duration::from_millis(10);

/// A descriptor of the caller's, to write to.
pub struct Writer {
    fd: OwnedFd,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    /// A regular file: a write waits for no reader.
    Plain,
    /// A terminal that was opened again, with `O_NONBLOCK`.
    Own,
    Socket,
    /// A pipe or a device.
    Flagged,
    /// A terminal that cannot be opened again. If it has room for a part of a write, the kernel waits for the
    /// rest, so each write is a single byte.
    Bytewise,
}

impl Writer {
    /// A writer to the file of `shared`; the descriptor and its flags stay as they are.
    pub fn new(shared: BorrowedFd<'_>) -> Result<Writer> {
        let how = match FileType::from_raw_mode(fstat(shared)?.st_mode) {
            FileType::RegularFile => How::Plain,
            FileType::Socket => How::Socket,
            FileType::CharacterDevice if pty::is_terminal(shared) => {
                return Ok(match again(shared) {
                    Ok(fd) => Writer { fd, how: How::Own },
                    Err(_) => Writer::copy(shared, How::Bytewise)?,
                });
            }
            _ => How::Flagged,
        };
        Writer::copy(shared, how)
    }

    fn copy(shared: BorrowedFd<'_>, how: How) -> Result<Writer> {
        let fd = rustix::io::fcntl_dupfd_cloexec(shared, 3)?;
        Ok(Writer { fd, how })
    }

    /// Writes some of `bytes`, at least one, and returns their number; `EAGAIN` if it would have to wait.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        match self.how {
            How::Plain | How::Own => rustix::io::write(&self.fd, bytes),
            How::Socket => send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            How::Flagged => {
                let parts = [io::IoSlice::new(bytes)];
                // The offset -1 is the file's own position.
                match pwritev2(&self.fd, &parts, u64::MAX, ReadWriteFlags::NOWAIT) {
                    Err(errno) if unknown(errno) => self.write_polled(bytes, MOST),
                    done => done,
                }
            }
            How::Bytewise => self.write_polled(bytes, 1),
        }
    }

    /// Writes at most as many as there is room for if the kernel reports room.
    fn write_polled(&self, bytes: &[u8], most: usize) -> Result<usize> {
        match readiness::can_write(&self.fd) {
            true => rustix::io::write(&self.fd, &bytes[..bytes.len().min(most)]),
            false => Err(Errno::AGAIN),
        }
    }

    /// Writes all of `bytes`, or gives up at `until`, or when `ended` is readable:
    /// [`io::ErrorKind::TimedOut`]. What can be written at once is written in any case.
    pub fn write_all(
        &self,
        mut bytes: &[u8],
        until: Instant,
        ended: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut told_of_room = false;
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => (bytes, told_of_room) = (&bytes[written..], false),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // A terminal with room for one byte has none for a newline, which becomes two.
                    if told_of_room {
                        std::thread::sleep(LOOK);
                    }
                    self.wait(until, ended)?;
                    told_of_room = true;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits for room.
    fn wait(&self, until: Instant, ended: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let own = PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT);
        let mut fds = [own.clone(), own];
        let mut watched = 1;
        if let Some(ended) = ended {
            fds[1] = PollFd::from_borrowed_fd(ended, PollFlags::IN);
            watched = 2;
        }
        match poll(&mut fds[..watched], Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if watched == 2 && !fds[1].revents().is_empty() => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads what is available; `EAGAIN` if it would have to wait. It can still wait if the kernel does not
/// support `RWF_NOWAIT` for such a file: another reader can take what poll(2) reported.
pub fn read(shared: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let mut parts = [io::IoSliceMut::new(buffer)];
    match preadv2(shared, &mut parts, u64::MAX, ReadWriteFlags::NOWAIT) {
        Err(errno) if unknown(errno) => match readiness::can_read(shared) {
            true => rustix::io::read(shared, buffer),
            false => Err(Errno::AGAIN),
        },
        done => done,
    }
}

/// Whether such a file, or this kernel, does not support `RWF_NOWAIT`: pipes do since Linux 6.4, devices
/// seldom.
fn unknown(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE
    )
}

/// Opens the terminal again, as an open file description that no other process shares.
fn again(terminal: BorrowedFd<'_>) -> Result<OwnedFd> {
    // Opening a master again makes a new one (pts(4)).
    if rustix::pty::ptsname(terminal, vec![]).is_ok() {
        return Err(Errno::INVAL);
    }
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    openat(CWD, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;

    fn fill(writer: &Writer) {
        let full = loop {
            if let Err(errno) = writer.write(&[b'x'; 5000]) {
                break errno;
            }
        };
        assert_eq!(full, Errno::AGAIN);
    }

    /// Neither waits, and the flags of the open file stay.
    #[test]
    fn a_full_pipe_socket_and_terminal_keep_nobody_waiting() {
        let (reader, pipe) = rustix::pipe::pipe().unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (_master, terminal) = pty::open().unwrap();
        for full in [pipe.as_fd(), socket.as_fd(), terminal.as_fd()] {
            let before = rustix::fs::fcntl_getfl(full).unwrap();
            let writer = Writer::new(full).unwrap();
            fill(&writer);
            assert_eq!(rustix::fs::fcntl_getfl(full).unwrap(), before);
            // Bytes in a terminal are moved on by the kernel's own workers, which makes room.
            let late = (0..1000).find_map(|_| {
                fill(&writer);
                let until = Instant::now() + Duration::from_millis(20);
                let late = writer.write_all(b"late", until, None).err()?;
                assert!(Instant::now() >= until);
                Some(late.kind())
            });
            assert_eq!(late, Some(io::ErrorKind::TimedOut));
        }
        // An hour is cut short.
        let (ended, _held) = rustix::pipe::pipe().unwrap();
        drop(_held);
        let writer = Writer::new(pipe.as_fd()).unwrap();
        let until = Instant::now() + Duration::from_secs(3600);
        let late = writer.write_all(b"late", until, Some(ended.as_fd()));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // The control: once it is read there is room.
        let mut buffer = vec![0; 1 << 16];
        rustix::io::read(&reader, &mut buffer).unwrap();
        writer.write_all(b"late", until, None).unwrap();
    }

    #[test]
    fn a_file_and_a_device_take_all() {
        let file = tempfile::tempfile().unwrap();
        let null = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .unwrap();
        for fd in [file.as_fd(), null.as_fd()] {
            let writer = Writer::new(fd).unwrap();
            writer
                .write_all(&[b'x'; 10_000], Instant::now(), None)
                .unwrap();
        }
        assert_eq!(fd::stat(file.as_fd()).unwrap().kind, fd::Kind::File);
        assert_eq!(file.metadata().unwrap().len(), 10_000);
    }
}
