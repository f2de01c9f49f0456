//! A process that outlives this one: a copy of it, with memory of its own, because the OOM killer ends every
//! process that shares its victim's memory.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};

use super::clone::{self, Side};
use super::{Errno, Result, fd, procfs};

/// Runs `body` in a copy of this process and returns its pid. `EBUSY` if this process has a second thread.
pub fn start(body: impl FnOnce()) -> Result<i32> {
    match clone::clone3_single_threaded(0, None)? {
        Side::Parent { pid, .. } => Ok(pid),
        Side::Child => {
            body();
            super::process::exit(0)
        }
    }
}

/// Leaves the caller's session, blocks signals and closes every descriptor but `kept`: Ctrl-C does not end
/// this process, and a reader that waits for the end of a pipe does not wait for it.
pub fn settle(kept: &mut [i32]) -> Result<()> {
    let _ = rustix::process::setsid();
    super::signal::block_all()?;
    // Only root may do this: the OOM killer then prefers other processes (proc(5)).
    if let Ok(score) = procfs::open("self/oom_score_adj", OFlags::WRONLY) {
        let _ = rustix::io::write(&score, b"-1000");
    }
    let _ = rustix::thread::set_name(c"creel-janitor");
    kept.sort_unstable();
    let mut from = 0;
    for number in kept.iter().map(|number| number.unsigned_abs()) {
        if number > from {
            fd::close_between(from, number - 1)?;
        }
        from = from.max(number + 1);
    }
    fd::close_between(from, u32::MAX)
}

/// Closes this process's copy of a descriptor that another process still uses; `fd` is not used again.
pub fn close(fd: &OwnedFd) {
    use std::os::fd::AsRawFd;
    let number = fd.as_raw_fd().unsigned_abs();
    let _ = fd::close_between(number, number);
}

/// A pipe whose first end reads the end of file when every copy of the second one is closed.
pub fn until_closed() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
}

/// Opens a file below `root` to write to it.
pub fn open(root: &OwnedFd, path: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    openat(root.as_fd(), relative(path), flags, Mode::empty())
}

/// Pins a directory below `root`.
pub fn open_directory(root: &OwnedFd, path: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(root.as_fd(), relative(path), flags, Mode::empty())
}

/// Pins the root of this process's mounts, for paths that must lead there after it has joined others.
pub fn root() -> Result<OwnedFd> {
    openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Waits until a process has ended, ten seconds at most.
pub fn wait_for(pidfd: &OwnedFd) {
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    let most = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    while let Err(Errno::INTR) = poll(&mut ended, Some(&most)) {}
}

/// Whether a process has ended.
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    wait_any([Some((pidfd.as_fd(), PollFlags::IN))], 0) == Ok([true])
}

/// Waits for one of `sources`, or for `milliseconds` (-1: for ever); returns which are ready.
pub fn wait_any<const N: usize>(
    sources: [Option<(BorrowedFd<'_>, PollFlags)>; N],
    milliseconds: i32,
) -> Result<[bool; N]> {
    use std::os::fd::AsRawFd;
    // poll(2) passes over a negative descriptor.
    let mut polled = sources.map(|source| match source {
        Some((fd, events)) => libc::pollfd {
            fd: fd.as_raw_fd(),
            events: events.bits() as i16,
            revents: 0,
        },
        None => libc::pollfd {
            fd: -1,
            events: 0,
            revents: 0,
        },
    });
    // SAFETY: the array is as long as said and outlives the call.
    match unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, milliseconds) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(polled.map(|one| one.revents != 0)),
    }
}

/// rmdir(2) of a path below `root`. `BUSY` also where the directory has children.
pub fn remove_directory(root: &OwnedFd, path: &CStr) -> Result<()> {
    unlinkat(root.as_fd(), relative(path), AtFlags::REMOVEDIR)
}

/// Removes the empty directories in a path below `root`, and those in them, `depth` levels.
pub fn remove_inside(root: &OwnedFd, path: &CStr, depth: u32) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(directory) = openat(root.as_fd(), relative(path), flags, Mode::empty()) {
        remove_in(&directory, depth);
    }
}

fn remove_in(directory: &OwnedFd, depth: u32) {
    let mut room = [std::mem::MaybeUninit::uninit(); 2048];
    let mut entries = rustix::fs::RawDir::new(directory, &mut room);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        let own = name.to_bytes().first() != Some(&b'.');
        if entry.file_type() != rustix::fs::FileType::Directory || !own {
            continue;
        }
        if unlinkat(directory.as_fd(), name, AtFlags::REMOVEDIR).is_err() && depth > 1 {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(inner) = openat(directory.as_fd(), name, flags, Mode::empty()) {
                remove_in(&inner, depth - 1);
            }
            let _ = unlinkat(directory.as_fd(), name, AtFlags::REMOVEDIR);
        }
    }
}

/// Writes `1` to a file below `root`, if it is there.
pub fn write_one(root: &OwnedFd, path: &CStr) {
    if let Ok(file) = open(root, path) {
        let _ = rustix::io::write(&file, b"1");
    }
}

/// An absolute path without its first slash.
fn relative(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    let rest = bytes.strip_prefix(b"/").unwrap_or(bytes);
    CStr::from_bytes_with_nul(rest).unwrap_or(path)
}

/// Sleeps: 100 microseconds at first, then a millisecond.
pub fn pause(attempt: u32) {
    let nanoseconds = if attempt < 20 { 100_000 } else { 1_000_000 };
    let time = rustix::thread::Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    };
    let _ = rustix::thread::nanosleep(&time);
}
