//! Raw system calls for the self-test, which makes each attempt in a process that ends with it, and the
//! canaries that its outer half plants on the host.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use libc as c;

use super::{Errno, Result, clone, process};

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Makes any system call by its number, in a process that does nothing but this one attempt. Arguments are
/// numbers, null, or addresses ([`at`]) of values that outlive the call.
pub fn call(number: libc::c_long, arguments: &[usize]) -> Result<usize> {
    let a = |n: usize| arguments.get(n).copied().unwrap_or(0);
    // SAFETY: the callers pass integers, null pointers and addresses of values that outlive the
    // call and are as large as the kernel expects; the process ends after its attempt, so nothing
    // relies on what a call that was meant to be refused has changed in it.
    match unsafe { libc::syscall(number, a(0), a(1), a(2), a(3), a(4), a(5)) } {
        -1 => Err(last()),
        value => Ok(value as usize),
    }
}

/// The address of a value, as an argument of [`call`].
pub fn at<T: ?Sized>(value: &T) -> usize {
    (&raw const *value).cast::<u8>() as usize
}

/// `getpid` through the i386 entry, `int 0x80`, whose number for it is 20.
#[cfg(target_arch = "x86_64")]
pub fn foreign_getpid() -> Result<usize> {
    let answer: u64;
    // SAFETY: the interrupt takes its number and gives its answer in eax; getpid reads nothing. The
    // kernel clears r8 to r11 on the way back. rbx is untouched, as getpid has no argument.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") 20u64 => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match answer as i32 {
        errno if errno < 0 => Err(Errno::from_raw_os_error(-errno)),
        pid => Ok(pid as usize),
    }
}

/// Runs `body` in a copy of this process, which exits with the value that `body` returns. Returns the copy's
/// pid. `EBUSY` if this process has, or may have, a second thread: the copy would inherit locks that are
/// never released.
pub fn fork(body: impl FnOnce() -> i32) -> Result<i32> {
    if !single_threaded() {
        return Err(Errno::BUSY);
    }
    // SAFETY: this is the only thread, so that no lock is held elsewhere, and none can be started
    // before the call.
    match unsafe { libc::fork() } {
        -1 => Err(last()),
        0 => {
            // SAFETY: integers. An attempt does not outlive its runner.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            process::exit(body())
        }
        pid => Ok(pid),
    }
}

/// Whether this process has one thread for certain.
fn single_threaded() -> bool {
    // Some self-test jails have no /proc; there libc's flag decides, which errs towards "no".
    clone::alone().unwrap_or_else(libc_says_single)
}

#[cfg(target_env = "gnu")]
fn libc_says_single() -> bool {
    unsafe extern "C" {
        // glibc 2.32, sys/single_threaded.h.
        static __libc_single_threaded: libc::c_char;
    }
    // SAFETY: only libc writes this char, and sets it to false only in a call by which this thread starts
    // another one.
    unsafe { (&raw const __libc_single_threaded).read_volatile() != 0 }
}

#[cfg(not(target_env = "gnu"))]
fn libc_says_single() -> bool {
    false
}

/// Waits for a signal that ends the process.
pub fn pause() {
    // SAFETY: takes nothing.
    unsafe { libc::pause() };
}

/// Sends this process SIGALRM, which kills it, after so many seconds; 0 cancels it.
pub fn alarm(seconds: u32) {
    // SAFETY: an integer.
    unsafe { libc::alarm(seconds) };
}

/// Ignores a signal.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Copies a descriptor to a number of 64 or above, without close-on-exec.
pub fn inheritable(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD takes integers.
    match unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD, 64) } {
        -1 => Err(last()),
        // SAFETY: the descriptor is new and nothing else owns it.
        number => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
    }
}

/// A System V message queue that every user may use, removed on drop.
#[derive(Debug)]
pub struct Queue {
    /// The key by which other processes find it.
    pub key: i32,
    id: i32,
}

impl Queue {
    /// Creates the queue, msgget(2). `EEXIST`: the key is taken.
    pub fn new(key: i32) -> Result<Queue> {
        // SAFETY: integers.
        match unsafe { libc::msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o666) } {
            -1 => Err(last()),
            id => Ok(Queue { key, id }),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID reads no buffer.
        unsafe { libc::msgctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// Looks up an existing queue by its key.
pub fn find_queue(key: i32) -> Result<()> {
    // SAFETY: integers.
    match unsafe { libc::msgget(key, 0) } {
        -1 => Err(last()),
        _ => Ok(()),
    }
}

/// Adds a key to this process's session keyring, where a kernel has keyrings.
pub fn add_key(description: &std::ffi::CStr) -> Result<()> {
    let session = libc::KEY_SPEC_SESSION_KEYRING as isize as usize;
    let kind = c"user";
    call(
        libc::SYS_add_key,
        &[at(kind), at(description), at(description), 1, session],
    )
    .map(drop)
}

/// Allocates memory and touches all of it; it stays allocated until the process ends.
pub fn take_memory(bytes: usize) -> Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        Err(last())
    } else {
        Ok(())
    }
}

/// Maps the file `fd` (-1: anonymous memory), writes a byte if `protection` allows it, and unmaps.
pub fn map(fd: i32, bytes: usize, flags: i32, protection: i32) -> Result<()> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0) };
    if memory == libc::MAP_FAILED {
        return Err(last());
    }
    if protection & libc::PROT_WRITE != 0 {
        // SAFETY: the mapping is writable, at least one byte long and not shared with Rust.
        unsafe { memory.cast::<u8>().write_volatile(1) };
    }
    // SAFETY: the whole of the mapping made above.
    match unsafe { libc::munmap(memory, bytes) } {
        0 => Ok(()),
        _ => Err(last()),
    }
}

/// A resource's soft and hard limit.
pub fn limit(resource: u32) -> Result<(u64, u64)> {
    // SAFETY: rlimit is plain data for which all zeroes is a value.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rlimit, which outlives the call.
    match unsafe { libc::getrlimit(resource, &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(last()),
    }
}

/// Sets a soft and hard limit of this process.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: reads one rlimit, which outlives the call.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(last()),
    }
}

/// Installs a handler for a signal and raises the signal; `ETIMEDOUT` if the handler did not run.
pub fn catch(signal: i32) -> Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static SEEN: AtomicBool = AtomicBool::new(false);
    extern "C" fn see(_: i32) {
        SEEN.store(true, Ordering::SeqCst);
    }
    // SAFETY: the handler stores one atomic, which is async-signal-safe.
    unsafe {
        libc::signal(signal, see as *const () as libc::sighandler_t);
        libc::raise(signal);
    }
    if SEEN.load(Ordering::SeqCst) {
        Ok(())
    } else {
        Err(Errno::TIMEDOUT)
    }
}

/// The name of an errno: `EACCES` for 13.
pub fn errno_name(number: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(number))
}
