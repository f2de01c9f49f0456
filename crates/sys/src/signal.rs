//! Signals: which are forwarded, and the masks that creel's processes start and wait with.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Errno, Result};

/// The numbers of signal(7) that creel itself sends or answers.
pub const CHLD: i32 = libc::SIGCHLD;
/// SIGCONT
pub const CONT: i32 = libc::SIGCONT;
/// SIGHUP
pub const HUP: i32 = libc::SIGHUP;
/// SIGIO
pub const IO: i32 = libc::SIGIO;
/// SIGINT
pub const INT: i32 = libc::SIGINT;
/// SIGKILL
pub const KILL: i32 = libc::SIGKILL;
/// SIGQUIT
pub const QUIT: i32 = libc::SIGQUIT;
/// SIGSTOP
pub const STOP: i32 = libc::SIGSTOP;
/// SIGTERM
pub const TERM: i32 = libc::SIGTERM;
/// SIGTSTP
pub const TSTP: i32 = libc::SIGTSTP;
/// SIGWINCH
pub const WINCH: i32 = libc::SIGWINCH;
/// SIGXCPU
pub const XCPU: i32 = libc::SIGXCPU;
/// SIGXFSZ
pub const XFSZ: i32 = libc::SIGXFSZ;

/// Signals that creel itself ignores: it gets an errno instead, or they must not end or stop it.
pub const IGNORED: [i32; 4] = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGXCPU, libc::SIGTTOU];

/// Ignores [`IGNORED`]. A write to a closed pipe, or beyond the caller's `ulimit -f`, is an error instead of
/// a signal. A soft `ulimit -t` ends the command and not its supervisor. A message to a terminal from the
/// background does not stop the supervisor, which would then hold no time limit.
pub fn ignore_errors() {
    for number in IGNORED {
        // SAFETY: SIG_IGN installs no code.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
}

/// Undoes an inherited SIG_IGN of SIGCHLD, with which the kernel reaps children by itself (sigaction(2)) and
/// sends no signal when they end.
pub fn take_children() {
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(CHLD, libc::SIG_DFL) };
}

/// Signals that a supervisor handles and forwards to the jail; TSTP and CONT stop and wake it.
pub const WATCHED: [i32; 10] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGTSTP,
    libc::SIGCONT,
    // From a timer that the caller had set before it became creel.
    libc::SIGALRM,
];

/// Whether this process was started with the signal ignored, as nohup(1) does.
pub fn is_ignored(number: i32) -> bool {
    // SAFETY: sigaction is plain data for which all zeroes is a value; a null new action only
    // reads the old one.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, std::ptr::null(), &raw mut old) == 0
            && old.sa_sigaction == libc::SIG_IGN
    }
}

/// Blocked signals ([`Held::all`]: every one): those sent to this process, and to children that it starts
/// meanwhile, stay pending. Drop restores the mask.
///
/// The kernel discards a signal with a default action that is sent to the first process of a pid namespace
/// (`pid_namespaces(7)`), unless that process blocks it. It blocks the signal in time only if it starts with
/// it blocked.
#[must_use]
pub struct Held {
    before: SigSet,
}

impl Held {
    /// Blocks every signal.
    pub fn all() -> Result<Held> {
        let mut before = SigSet::empty();
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut before)).map_err(errno)?;
        Ok(Held { before })
    }

    /// Blocks only the signals by which a terminal stops a process in the background, which then reads EIO
    /// (`job_control` in the kernel's n_tty.c).
    pub fn of_terminals() -> Result<Held> {
        let mut before = SigSet::empty();
        let both: SigSet = [Signal::SIGTTIN, Signal::SIGTTOU].into_iter().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&both), Some(&mut before)).map_err(errno)?;
        Ok(Held { before })
    }

    /// Unblocks every signal, also those that the caller had blocked: pending ones go to the handlers that
    /// are set by now.
    pub fn deliver(mut self) {
        self.before = SigSet::empty();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // With a valid set and a valid operation it cannot fail.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Blocks the signals that ask this process to end (SIGTERM, SIGINT, SIGHUP, SIGQUIT) and returns a
/// descriptor that is readable when one is pending, signalfd(2). Signals that the caller ignores (nohup(1))
/// are left out.
pub fn asked() -> Result<OwnedFd> {
    let asking = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    let heard = asking.into_iter().filter(|s| !is_ignored(*s as i32));
    let set: SigSet = heard.collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(errno)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)
        .map(OwnedFd::from)
        .map_err(errno)
}

/// Restores the default action of [`WATCHED`], for a process that supervises no more: tokio's handlers stay
/// when its loop has ended, and a SIGTERM would have no effect.
pub fn listen_no_more() {
    for number in WATCHED {
        if !is_ignored(number) {
            // SAFETY: SIG_DFL installs no code.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
}

/// Unblocks the signals of this process's own faults, for a process that started with every signal blocked
/// and stays so.
pub fn take_faults() -> Result<()> {
    let faults = [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGFPE,
        Signal::SIGABRT,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ];
    let faults: SigSet = faults.into_iter().collect();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&faults), None).map_err(errno)
}

/// Blocks every signal, so that [`wait`] takes them one at a time. Runs after clone.
pub fn block_all() -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(errno)
}

/// Unblocks every signal and restores the default action of [`IGNORED`], for a program about to be executed:
/// exec(2) itself resets handled signals. Signals that the caller ignores (nohup(1)) stay ignored. Runs after
/// clone.
pub fn reset() -> Result<()> {
    for number in IGNORED {
        // SAFETY: SIG_DFL installs no code.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(errno)
}

/// Takes the next signal; all must be blocked. Runs after clone.
pub fn wait() -> Result<i32> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; sigwaitinfo reads it and, with a null pointer,
    // writes nothing.
    let signal = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::sigwaitinfo(set.as_ptr(), std::ptr::null_mut())
    };
    match signal {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        signal => Ok(signal),
    }
}

/// Sends `signal` to a process; a negative `pid` means a process group, -1 every visible process. Runs after
/// clone.
pub fn send(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: two integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Sends `signal` through a pidfd, so that a recycled pid cannot be hit.
pub fn send_pidfd(pidfd: std::os::fd::BorrowedFd<'_>, signal: i32) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: integers and a null siginfo, pidfd_send_signal(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            0usize,
            0,
        )
    };
    match sent {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Ignores the signals that a terminal or a caller sends, because the supervisor handles them, and SIGPIPE,
/// because a broken connection is an errno.
pub fn ignore_what_callers_send() {
    use nix::sys::signal::{SigHandler, signal};
    for number in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGPIPE,
    ] {
        // SAFETY: SIG_IGN installs no code.
        let _ = unsafe { signal(number, SigHandler::SigIgn) };
    }
}

/// Stops this process as Ctrl-Z would have; returns after `SIGCONT`.
pub fn stop_self() -> Result<()> {
    nix::sys::signal::raise(Signal::SIGSTOP).map_err(errno)
}

/// A timer that sends this process SIGCONT, to end a stop in which nothing else of this process could run.
/// Drop deletes it.
#[must_use]
pub struct Alarm(libc::timer_t);

impl Alarm {
    /// Fires after `time` and then ten times a second, because the first signal can come before the stop that
    /// it has to end: timer_create(2). `EAGAIN`: the user has as many signals pending as RLIMIT_SIGPENDING
    /// allows, of which a timer takes one.
    pub fn after(time: std::time::Duration) -> Result<Alarm> {
        let last = || Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        // SAFETY: sigevent and itimerspec are plain data for which all zeroes is a value; they and the
        // timer outlive the calls, which write the timer alone.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = CONT;
            let mut timer: libc::timer_t = std::mem::zeroed();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                return Err(last());
            }
            let alarm = Alarm(timer);
            let mut when: libc::itimerspec = std::mem::zeroed();
            when.it_value.tv_sec = time.as_secs().try_into().unwrap_or(libc::time_t::MAX);
            // All zeroes would disarm it.
            when.it_value.tv_nsec = i64::from(time.subsec_nanos().max(1));
            when.it_interval.tv_nsec = 100_000_000;
            match libc::timer_settime(timer, 0, &raw const when, std::ptr::null_mut()) {
                0 => Ok(alarm),
                _ => Err(last()),
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: this is the one owner of the timer.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// The name of a signal number, `SIGKILL` for 9; `None` for a realtime one.
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}

fn errno(e: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(e as i32)
}
