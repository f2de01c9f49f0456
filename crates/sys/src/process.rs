//! The state of one process: ids, prctl(2), the session keyring, exec, exit, wait.

use std::ffi::{CStr, c_char};
use std::os::fd::BorrowedFd;

use super::{Errno, Result};

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(done: libc::c_long) -> Result<()> {
    if done == -1 { Err(last()) } else { Ok(()) }
}

/// Takes `uid` and `gid` for good, without supplementary groups if the namespace allows dropping them. Raw
/// system calls, because glibc's wrappers signal other threads. Runs after clone.
pub fn become_ids(uid: u32, gid: u32, groups: Groups) -> Result<()> {
    // SAFETY: integers, and a null list of length 0.
    unsafe {
        if groups == Groups::Clear {
            check(libc::syscall(
                libc::SYS_setgroups,
                0,
                std::ptr::null::<u32>(),
            ))?;
        }
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

/// Whether the user namespace lets groups be dropped: a rootless one does not (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Supplementary groups are dropped.
    Clear,
    /// The caller's groups stay, since setgroups(2) is denied.
    Keep,
}

/// `PR_SET_NO_NEW_PRIVS`. Runs after clone.
pub fn no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true)
}

/// Makes this process not dumpable: no process without capabilities over the host can ptrace it, open its
/// `/proc/PID/exe` (CVE-2019-5736) or see it under `hidepid`. Runs after clone.
pub fn not_dumpable() -> Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Makes this process die with its parent (`PR_SET_PDEATHSIG`); a change of ids resets it. Runs after clone.
pub fn die_with_parent() -> Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
}

/// The opposite of [`not_dumpable`], for a program that its caller may execute but not read: execve(2) makes
/// such a process not dumpable, and then root owns its files in /proc.
pub fn dumpable() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // The value is valid, so it cannot fail.
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
}

/// Clears `PR_SET_CHILD_SUBREAPER`, so that orphaned descendants are no longer reparented to this process.
pub fn no_subreaper() {
    // SAFETY: prctl with integers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) };
}

/// Stops the timers that count this process's own processor time (setitimer(2)).
pub fn stop_own_timers() {
    for which in [libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: itimerval is plain data for which all zeroes is a value, which stops the timer.
        unsafe {
            let none: libc::itimerval = std::mem::zeroed();
            libc::setitimer(which, &raw const none, std::ptr::null_mut());
        }
    }
}

/// Sets the file mode creation mask and returns the one before, umask(2). Runs after clone.
pub fn set_mask(mask: u32) -> u32 {
    // SAFETY: takes and returns an integer.
    unsafe { libc::umask(mask) }
}

/// Leaves an inherited real-time or deadline policy and real-time I/O class (sched(7), ioprio_set(2)): CPU
/// limits hold for ordinary scheduling alone. Niceness, batch and idle stay. Runs after clone.
pub fn schedule_as_others() -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_REAL_TIME: libc::c_long = 1;
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: integers, and one parameter that outlives its call; 0 is the calling thread.
    unsafe {
        let policy = libc::syscall(libc::SYS_sched_getscheduler, 0);
        check(policy)?;
        // A process that may not raise its own priority may not clear this flag either.
        let flag = policy & libc::c_long::from(libc::SCHED_RESET_ON_FORK);
        let policy = policy & !flag;
        let ordinary = [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE];
        if !ordinary.map(libc::c_long::from).contains(&policy) {
            let mut parameter: libc::sched_param = std::mem::zeroed();
            parameter.sched_priority = 0;
            let set = libc::SYS_sched_setscheduler;
            check(libc::syscall(
                set,
                0,
                libc::c_long::from(libc::SCHED_OTHER) | flag,
                &raw const parameter,
            ))?;
        }
        // A kernel without block devices has no I/O classes.
        let class = libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) >> CLASS_SHIFT;
        if class == CLASS_REAL_TIME {
            check(libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, 0))?;
        }
    }
    Ok(())
}

/// Joins a new, empty session keyring (keyctl(2)): the caller's keys are not inherited. Runs after clone.
pub fn join_new_keyring() -> Result<()> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with a null name makes an anonymous keyring.
    let id = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<c_char>(),
        )
    };
    match check(id) {
        // A kernel without keyrings has none to leak.
        Err(Errno::NOSYS) => Ok(()),
        other => other,
    }
}

/// `sethostname(2)`. Runs after clone.
pub fn set_hostname(name: &CStr) -> Result<()> {
    rustix::system::sethostname(name.to_bytes())
}

/// Makes a process group of its own, in the foreground of `terminal` if there is one. Runs after clone, with
/// SIGTTOU blocked or ignored.
pub fn own_group(terminal: Option<BorrowedFd<'_>>) -> Result<()> {
    rustix::process::setpgid(None, None)?;
    match terminal {
        Some(terminal) => rustix::termios::tcsetpgrp(terminal, rustix::process::getpid()),
        None => Ok(()),
    }
}

/// Makes a session of its own. Runs after clone.
pub fn own_session() -> Result<()> {
    rustix::process::setsid().map(drop)
}

/// This process's session id in its pid namespace; 0 if the session's leader is outside of that namespace, as
/// in many containers (`credentials(7)`; `rustix::process::getsid` cannot return 0).
pub fn session_id() -> i32 {
    // SAFETY: takes no memory; for the caller itself it cannot fail.
    unsafe { libc::getsid(0) }
}

/// Overwrites the value of a variable in this process's environment, in the memory where the kernel put it at
/// exec, so that a copy of that memory does not have it.
pub fn forget_variable(name: &str) {
    unsafe extern "C" {
        static environ: *const *mut c_char;
    }
    // SAFETY: this process has one thread; environ is null-terminated, each entry is a C string in
    // memory of this process that may be written (execve(2) put it on the stack).
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = std::ffi::CStr::from_ptr(*entry).to_bytes();
            if let Some(value) = text
                .strip_prefix(name.as_bytes())
                .and_then(|t| t.strip_prefix(b"="))
            {
                let (start, length) = (text.len() - value.len(), value.len());
                (*entry).add(start).write_bytes(b'x' as _, length);
            }
            entry = entry.add(1);
        }
    }
}

/// A null-terminated array of C strings for `execve`, built before clone.
pub struct CStrings {
    _owned: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl CStrings {
    /// Adds the terminating null pointer to the pointers of `owned`.
    pub fn new(owned: Vec<std::ffi::CString>) -> CStrings {
        let mut pointers: Vec<_> = owned.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        CStrings {
            _owned: owned,
            pointers,
        }
    }
}

/// `execve(2)`; returns only on failure, with the errno. Runs after clone.
pub fn exec(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: both arrays end with a null pointer and own the strings that they point to.
    unsafe {
        libc::execve(
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    last()
}

/// Exits without running any code of libc's or Rust's. Runs after clone.
pub fn exit(code: i32) -> ! {
    // SAFETY: exit_group takes an integer and does not return.
    unsafe {
        libc::syscall(libc::SYS_exit_group, code);
        libc::_exit(code)
    }
}

/// The result of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// This signal stopped it.
    Stopped(i32),
    /// It continues after a stop.
    Continued,
}

/// The pid of a child whose state has changed; the change stays for [`take_change`]. Runs after clone.
pub fn changed() -> Option<i32> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: siginfo is plain data for which all zeroes is a value; waitid fills it in, and leaves it
    // where no child has changed.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let found = libc::waitid(libc::P_ALL, 0, &raw mut info, options) == 0;
        (found && info.si_pid() > 0).then(|| info.si_pid())
    }
}

/// Takes that child's change, without waiting, and what the child has used so far; `None` if there is none. Runs
/// after clone.
pub fn take_change(pid: i32) -> Option<(Change, Usage)> {
    let mut status = 0;
    // SAFETY: rusage is plain data for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = libc::WNOHANG | libc::WUNTRACED;
    // SAFETY: writes one int and one rusage, which outlive the call.
    let taken = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
    (taken > 0).then(|| (decode(status), Usage::of(&usage)))
}

/// Makes orphans among this process's descendants its children (`PR_SET_CHILD_SUBREAPER`, kept over execve(2)). Runs
/// after clone.
pub fn adopt_orphans() {
    // SAFETY: prctl with integers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The children of pid 1, for pid 1 itself, as many as fit (proc_pid_task_children(5)). Runs after clone.
pub fn children_of_first(pids: &mut [i32]) -> Result<usize> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    let file = rustix::fs::openat(rustix::fs::CWD, c"/proc/self/task/1/children", flags, mode)?;
    let mut text = [0u8; 4096];
    let length = rustix::io::read(&file, &mut text)?;
    let mut count = 0;
    let mut number: i32 = 0;
    for byte in text.iter().take(length) {
        match byte {
            b'0'..=b'9' => {
                number = number
                    .saturating_mul(10)
                    .saturating_add(i32::from(byte - b'0'))
            }
            _ if number > 0 && count < pids.len() => {
                pids[count] = number;
                (count, number) = (count + 1, 0);
            }
            _ => number = 0,
        }
    }
    Ok(count)
}

/// Detaches from a stopped child that has made this process its tracer (`PTRACE_TRACEME`), and gives it the
/// signal that it stopped for. False if this process is not its tracer. Runs after clone.
pub fn let_go(pid: i32, stopped_for: i32) -> bool {
    // SIGTRAP marks the end of an execve(2) under a tracer; no process sent it.
    let number = match stopped_for {
        libc::SIGTRAP => 0,
        number => number,
    };
    // SAFETY: integers alone; a process that is not traced by this one is an error.
    unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_DETACH, pid, 0, number) == 0 }
}

/// CPU time that a process has used, in milliseconds, by the clock of RLIMIT_CPU: the ticks at which the
/// process ran, which getrusage(2) does not show. Works also for a process that has ended and is not waited
/// for yet. Runs after clone.
pub fn processor_time(pid: i32) -> u32 {
    // `CPUCLOCK_PROF` of a process, in the kernel's form of clock_getcpuclockid(3).
    let clock = !pid << 3;
    // SAFETY: timespec is plain data for which all zeroes is a value; the call writes one. A raw system call,
    // because the vDSO has no such clock.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        match libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) {
            0 => {
                let milliseconds = time.tv_sec.saturating_mul(1000) + time.tv_nsec / 1_000_000;
                u32::try_from(milliseconds).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }
}

fn decode(status: i32) -> Change {
    if libc::WIFEXITED(status) {
        Change::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFCONTINUED(status) {
        Change::Continued
    } else {
        Change::Signaled(libc::WTERMSIG(status))
    }
}

/// Resources that a child and all that it reaped used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Microseconds.
    pub user: u64,
    /// Microseconds.
    pub system: u64,
    /// Bytes; the largest single process.
    pub peak_rss: u64,
    /// 512-byte blocks.
    pub blocks_in: u64,
    /// 512-byte blocks.
    pub blocks_out: u64,
}

impl Usage {
    fn of(usage: &libc::rusage) -> Usage {
        let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
        Usage {
            user: micros(usage.ru_utime),
            system: micros(usage.ru_stime),
            peak_rss: usage.ru_maxrss as u64 * 1024,
            blocks_in: usage.ru_inblock as u64,
            blocks_out: usage.ru_oublock as u64,
        }
    }
}

/// Waits for the child `pid` to end, wait4(2). `__WALL`: also for one without an exit signal.
pub fn reap(pid: i32) -> Result<(Change, Usage)> {
    let mut status = 0;
    // SAFETY: rusage is plain data for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one int and one rusage, which outlive the call.
    while unsafe { libc::wait4(pid, &raw mut status, libc::__WALL, &raw mut usage) } == -1 {
        match last() {
            Errno::INTR => {}
            other => return Err(other),
        }
    }
    Ok((decode(status), Usage::of(&usage)))
}

/// Bytes used, bytes in all, inodes used and inodes in all on the filesystem at `path`, statfs(2). Runs after
/// clone.
pub fn filesystem_use(path: &CStr) -> Result<[u64; 4]> {
    let s = rustix::fs::statfs(path)?;
    let block = s.f_bsize as u64;
    Ok([
        (s.f_blocks - s.f_bfree) * block,
        s.f_blocks * block,
        s.f_files - s.f_ffree,
        s.f_files,
    ])
}
