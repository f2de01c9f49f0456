//! The kernel's own `/proc`, and nothing that somebody put in its place: a write that was meant for
//! the kernel must not land in a file (CVE-2025-52881, CVE-2019-19921).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{self as rx, CWD, Mode, OFlags, ResolveFlags};

use super::{Errno, Result};

// linux/magic.h
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Opens `path`, relative to `/proc`. A `/proc` of another type is refused with `ENODEV`, a file in
/// it that something is mounted over with `EXDEV` (openat2(2)).
pub fn open(path: &str, flags: OFlags) -> Result<OwnedFd> {
    let root = root()?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    rx::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), how)
}

/// The descriptor by which `/proc` is known here, for a process that keeps few.
pub fn descriptor() -> Option<i32> {
    use std::os::fd::AsRawFd;
    root().ok().map(AsRawFd::as_raw_fd)
}

/// The text of a file in `/proc`, which has no length to ask for.
pub fn read(path: &str) -> Result<Vec<u8>> {
    super::fd::read_all(open(path, OFlags::RDONLY)?)
}

/// `/proc`, opened and checked once: what is mounted over it later is not looked at.
fn root() -> Result<&'static OwnedFd> {
    static ROOT: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(root) = ROOT.get() {
        return Ok(root);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rx::openat(CWD, c"/proc", flags, Mode::empty())?;
    is(&root, PROC_SUPER_MAGIC)?;
    Ok(ROOT.get_or_init(|| root))
}

/// A namespace of a process, by its name in `/proc/PID/ns`; this process's own as `self`.
pub fn namespace(process: &str, name: &str) -> Result<OwnedFd> {
    let directory = open(&format!("{process}/ns"), OFlags::PATH | OFlags::DIRECTORY)?;
    let namespace = rx::openat(
        directory,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    is(&namespace, NSFS_MAGIC)?;
    Ok(namespace)
}

/// Bytes that wait in the netlink sockets of a process's network namespace (proc_net_netlink in
/// net/netlink/af_netlink.c, the column Rmem); 0 of one that has ended.
pub fn netlink_unread(pid: i32) -> u64 {
    let text = read(&format!("{pid}/net/netlink")).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(4)?.parse::<u64>().ok())
        .sum()
}

/// Refuses with `ENODEV` what is not on a filesystem of that type.
fn is(fd: impl AsFd, magic: i64) -> Result<()> {
    match rx::fstatfs(fd)?.f_type as i64 == magic {
        true => Ok(()),
        false => Err(Errno::NODEV),
    }
}
