//! The seccomp program that `build.rs` compiled from `syscalls.txt`, and its installation.

use super::{Errno, Result};

static PROGRAM: &[libc::sock_filter] = include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

static DEBUG: &[libc::sock_filter] = include!(concat!(env!("OUT_DIR"), "/debug.rs"));

static RELAY: &[libc::sock_filter] = include!(concat!(env!("OUT_DIR"), "/relay.rs"));

/// Installs the relay's filter on this thread, for good; as [`install`].
pub fn install_for_relay() -> Result<()> {
    load(RELAY)
}

/// Instructions in the program.
pub fn length() -> usize {
    PROGRAM.len()
}

/// Answers `EPERM` to memfd_create(2) and allows everything else, because the other filter refuses the
/// foreign ABIs.
static NO_MEMFD: &[libc::sock_filter] = &[
    // The number of the call is the first word of struct seccomp_data.
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
    instruction(
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        0,
        1,
        libc::SYS_memfd_create as u32,
    ),
    instruction(
        libc::BPF_RET | libc::BPF_K,
        0,
        0,
        libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
    ),
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
];

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// Installs the filter on this thread; children inherit it and it cannot be removed. `no_new_privs` must be
/// set. Runs after clone.
pub fn install() -> Result<()> {
    load(PROGRAM)
}

/// As [`install`], with the rules that debuggers need: the table's lines that begin with `?`.
pub fn install_for_debuggers() -> Result<()> {
    load(DEBUG)
}

/// Refuses memfd_create(2) with `EPERM`, whatever [`install`] answers: of several filters the
/// strictest answer holds. Runs after clone.
pub fn refuse_memfd() -> Result<()> {
    load(NO_MEMFD)
}

fn load(program: &'static [libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from a static array and never writes to it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Whether the kernel knows the actions that the program returns, seccomp(2)
/// `SECCOMP_GET_ACTION_AVAIL`.
pub fn available() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: reads one u32, which outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        ) == 0
    }
}

/// The program as `(code, jt, jf, k)`, to check what it answers.
pub fn program() -> impl ExactSizeIterator<Item = (u16, u8, u8, u32)> {
    PROGRAM.iter().map(|i| (i.code, i.jt, i.jf, i.k))
}
