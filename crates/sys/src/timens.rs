//! A time namespace whose clocks start anew, time_namespaces(7).

use std::io::{Cursor, Write};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::time::{ClockId, clock_gettime};

use super::{Errno, Result};

/// Joins a new namespace in which CLOCK_MONOTONIC and CLOCK_BOOTTIME are below one second now. The
/// offsets can be written only as long as nobody is in it, so it is made for children first and
/// joined then. Runs after clone, in the only thread that uses this memory, with capabilities over
/// its user namespace and that namespace's procfs on `/proc`.
pub fn start_anew() -> Result<()> {
    // SAFETY: unshare takes flags; CLONE_NEWTIME changes nothing for this process itself.
    if unsafe { libc::unshare(libc::CLONE_NEWTIME) } == -1 {
        return Err(last());
    }
    // An undumpable process may not even write to its own files in /proc (proc(5)).
    let before = dumpable_behavior()?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let done = write_offsets().and_then(|()| join());
    set_dumpable_behavior(before).and(done)
}

fn write_offsets() -> Result<()> {
    let mut room = [0u8; 96];
    let mut text = Cursor::new(&mut room[..]);
    // Whole seconds: an offset to before zero is refused.
    for (name, clock) in [
        ("monotonic", ClockId::Monotonic),
        ("boottime", ClockId::Boottime),
    ] {
        let seconds = clock_gettime(clock).tv_sec;
        writeln!(text, "{name} -{seconds} 0").map_err(|_| Errno::NOSPC)?;
    }
    let length = text.position() as usize;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/self/timens_offsets", flags, Mode::empty())?;
    rustix::io::write(&file, &room[..length]).map(drop)
}

fn join() -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = openat(
        CWD,
        c"/proc/self/ns/time_for_children",
        flags,
        Mode::empty(),
    )?;
    use std::os::fd::AsRawFd;
    // SAFETY: setns takes a descriptor, which is open, and a flag.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWTIME) } {
        -1 => Err(last()),
        _ => Ok(()),
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
