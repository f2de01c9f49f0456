//! System calls of a process that shares its parent's memory and outlives it.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use rustix::thread::futex;

use super::{Errno, Result, clone, fd};

/// A path that both processes read; absent until it is put.
#[derive(Default)]
pub struct SharedPath(AtomicPtr<c_char>);

impl SharedPath {
    /// Puts it there for good: the other process may outlive this one, so it is never freed.
    pub fn put(&self, path: CString) {
        self.0.store(path.into_raw(), Ordering::SeqCst);
    }

    pub fn get(&self) -> Option<&'static CStr> {
        let path = self.0.load(Ordering::SeqCst);
        // SAFETY: what is not null came from a CString that was leaked in put.
        (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })
    }
}

/// A pidfd of this process itself; readable when it has ended (pidfd_open(2)).
pub fn own_pidfd() -> Result<OwnedFd> {
    rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
}

/// Starts `body(shared)` beside this process.
pub fn start<T: Sync>(
    stack: &'static mut clone::Stack<'static>,
    body: extern "C" fn(*mut libc::c_void) -> i32,
    shared: &'static T,
    state: &'static State,
) -> Result<i32> {
    // SAFETY: stack and argument are 'static; bodies started here call this module only, which
    // makes system calls that keep no state in thread-local storage.
    unsafe { clone::beside(stack, body, shared, &state.0) }
}

/// How far the process beside this one is with what it makes at first: a word that both see, which the
/// kernel sets to 0 when that process ends.
pub struct State(AtomicU32);

/// Not there yet.
const BUSY: u32 = 1;
/// Made.
const READY: u32 = 2;
/// Not to be had; the errno is added.
const FAILED: u32 = 0x1000;

impl Default for State {
    fn default() -> State {
        State(AtomicU32::new(BUSY))
    }
}

impl State {
    /// Says how it went, once.
    pub fn tell(&self, done: Result<()>) {
        let word = match done {
            Ok(()) => READY,
            Err(errno) => FAILED + errno.raw_os_error().unsigned_abs(),
        };
        self.0.store(word, Ordering::SeqCst);
        let _ = futex::wake(&self.0, futex::Flags::empty(), 1);
    }

    /// Waits for what was told; `CHILD`: the process ended before it could say.
    pub fn wait(&self) -> Result<()> {
        loop {
            match self.0.load(Ordering::SeqCst) {
                BUSY => match futex::wait(&self.0, futex::Flags::empty(), BUSY, None) {
                    Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                },
                READY => return Ok(()),
                0 => return Err(Errno::CHILD),
                failed => return Err(Errno::from_raw_os_error((failed - FAILED) as i32)),
            }
        }
    }
}

/// Leaves the caller's session, blocks signals and closes every descriptor but `kept`, which become
/// descriptors 0 and 1, and `more`, which stay where they are. None of them is a standard stream;
/// `more` is in ascending order.
pub fn keep_only(kept: [i32; 2], more: &[i32]) -> Result<()> {
    let _ = rustix::process::setsid();
    let _ = super::signal::block_all();
    let _ = rustix::thread::set_name(c"creel-janitor");
    for (number, fd) in kept.into_iter().enumerate() {
        fd::dup_to(fd::fixed(fd), number as i32)?;
    }
    let mut from = kept.len() as u32;
    for number in more {
        let number = *number as u32;
        if number > from {
            fd::close_between(from, number - 1)?;
        }
        from = from.max(number + 1);
    }
    fd::close_between(from, u32::MAX)
}

/// Returns when the process behind descriptor 0 has ended.
pub fn wait_for_end() {
    let pidfd = fd::fixed(0);
    let mut poll = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    while let Err(Errno::INTR | Errno::AGAIN) = rustix::event::poll(&mut poll, None) {}
}

/// Waits until a process has ended, ten seconds at most; at once where it is gone.
pub fn wait_for(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return;
    };
    let flags = rustix::process::PidfdFlags::empty();
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, flags) {
        let mut poll = [rustix::event::PollFd::new(
            &pidfd,
            rustix::event::PollFlags::IN,
        )];
        let most = rustix::event::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let _ = rustix::event::poll(&mut poll, Some(&most));
    }
}

/// rmdir(2). `BUSY` also where the directory has children.
pub fn remove_directory(path: &CStr) -> Result<()> {
    rustix::fs::unlinkat(rustix::fs::CWD, path, rustix::fs::AtFlags::REMOVEDIR)
}

/// Writes `1` to a file, if it is there.
pub fn write_one(path: &CStr) {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    if let Ok(file) = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, b"1");
    }
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
