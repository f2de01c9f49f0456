//! Access to the kernel's own `/proc`, and to nothing mounted in its place: a write that was meant for the
//! kernel must not land in a file (CVE-2025-52881, CVE-2019-19921).

use std::io::BufRead as _;
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

/// Whether `/proc` shows this process under its own pid: a `/proc` of another pid namespace shows another
/// process there (pid_namespaces(7)).
pub fn is_of_this_namespace() -> Result<bool> {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    match rx::readlinkat(root()?, c"self", vec![]) {
        Ok(number) => Ok(number.to_bytes() == own.as_bytes()),
        // This process is not in that namespace at all.
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The number of this process's descriptor of `/proc`, if it has one already.
pub fn opened() -> Option<i32> {
    use std::os::fd::AsRawFd;
    ROOT.get().map(AsRawFd::as_raw_fd)
}

/// The number of this process's descriptor of `/proc`, for a process that keeps few.
pub fn descriptor() -> Option<i32> {
    use std::os::fd::AsRawFd;
    root().ok().map(AsRawFd::as_raw_fd)
}

/// Reads a whole file in `/proc`, whose length is unknown.
pub fn read(path: &str) -> Result<Vec<u8>> {
    read_all(open(path, OFlags::RDONLY)?)
}

/// Reads all of a file that the kernel generates while it is read, and whose length is thus unknown.
pub fn read_all(file: OwnedFd) -> Result<Vec<u8>> {
    const ROOM: usize = 16 << 10;
    let mut text = vec![];
    loop {
        text.reserve(ROOM);
        if rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))? == 0 {
            return Ok(text);
        }
    }
}

static ROOT: OnceLock<OwnedFd> = OnceLock::new();

/// `/proc`, opened and checked once: a later mount over it has no effect.
fn root() -> Result<&'static OwnedFd> {
    if let Some(root) = ROOT.get() {
        return Ok(root);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rx::openat(CWD, c"/proc", flags, Mode::empty())?;
    is(&root, PROC_SUPER_MAGIC)?;
    Ok(ROOT.get_or_init(|| root))
}

/// Opens a namespace of a process, by its name in `/proc/PID/ns`; `process` is a pid or `self`.
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

/// Unread bytes in the netlink sockets of a process's network namespace (proc_net_netlink in
/// net/netlink/af_netlink.c, the column Rmem); 0 if the process has ended.
pub fn netlink_unread(pid: i32) -> u64 {
    let text = read(&format!("{pid}/net/netlink")).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(4)?.parse::<u64>().ok())
        .sum()
}

/// The number of sockets in a process's network namespace, and the memory of all TCP sockets of the host,
/// which is no less than that of one namespace's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Sockets of every kind.
    pub count: u64,
    /// Bytes.
    pub tcp_bytes_of_host: u64,
}

/// Reads `/proc/PID/net/sockstat` (net/ipv4/proc.c); zeroes if the process has ended.
pub fn sockets(pid: i32) -> Sockets {
    const PAGE: u64 = 4096;
    let text = read(&format!("{pid}/net/sockstat")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let value = |line: &str, name: &str| {
        let mut words = text.lines().find_map(|l| l.strip_prefix(line))?.split(' ');
        words.find(|word| *word == name)?;
        words.next()?.parse::<u64>().ok()
    };
    Sockets {
        count: value("sockets:", "used").unwrap_or(0),
        tcp_bytes_of_host: value("TCP:", "mem").unwrap_or(0).saturating_mul(PAGE),
    }
}

/// The largest size in bytes that the receive buffer of one TCP socket can reach: by itself
/// (`net.ipv4.tcp_rmem`, the last number), or at a program's request (`net.core.rmem_max`, which the kernel
/// doubles). `u64::MAX` if these cannot be read.
pub fn largest_receive_buffer() -> u64 {
    let last = |path| {
        let text = String::from_utf8(read(path).ok()?).ok()?;
        text.split_ascii_whitespace().last()?.parse::<u64>().ok()
    };
    match (last("sys/net/ipv4/tcp_rmem"), last("sys/net/core/rmem_max")) {
        (Some(itself), Some(asked)) => itself.max(asked.saturating_mul(2)),
        _ => u64::MAX,
    }
}

/// The bytes that [`ownerless`] counts for a TCP socket itself: no less than `struct tcp6_sock` and its
/// parts.
pub const SOCKET: u64 = 3 << 10;

/// Bytes of TCP sockets in a process's network namespace that no process owns: connections not accepted yet,
/// and closed ones that still have something to send (proc_net_tcp.txt: inode 0). Stops counting beyond
/// `most`. Costs a walk over the host's table of connections: milliseconds.
pub fn ownerless(pid: i32, most: u64) -> u64 {
    let mut bytes = 0;
    for family in ["tcp", "tcp6"] {
        // A process that has ended has none.
        let _ = each_line(&format!("{pid}/net/{family}"), |line| {
            bytes += of_ownerless(line).unwrap_or(0);
            bytes <= most
        });
    }
    bytes
}

/// The bytes of one line of that table; `None` if a process owns its socket.
fn of_ownerless(line: &str) -> Option<u64> {
    // linux/net/ipv4/tcp_ipv4.c: the timer of a closed connection's remnant, which takes 250 bytes;
    // `tcp_max_tw_buckets` bounds the number of these.
    const TIME_WAIT: &str = "03:";
    // linux/net/tcp_states.h; a listener has an owner, and its queues count connections.
    const LISTEN: &str = "0A";
    let mut words = line.split_ascii_whitespace().skip(3);
    let state = words.next()?;
    let (sending, received) = words.next()?.split_once(':')?;
    let timer = words.next()?;
    let inode = words.nth(3)?;
    if inode != "0" || state == LISTEN || timer.starts_with(TIME_WAIT) {
        return None;
    }
    let bytes = |text| u64::from_str_radix(text, 16).ok();
    Some(SOCKET + bytes(sending)? + bytes(received)?)
}

/// Reads a file in `/proc` line by line, until `then` returns false.
fn each_line(path: &str, mut then: impl FnMut(&str) -> bool) -> Result<()> {
    let file = open(path, OFlags::RDONLY)?;
    let mut lines = std::io::BufReader::with_capacity(16 << 10, std::fs::File::from(file));
    let mut line = String::new();
    loop {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(1..) if then(&line) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

/// `ENODEV` if the descriptor's filesystem is not of that type.
fn is(fd: impl AsFd, magic: i64) -> Result<()> {
    match rx::fstatfs(fd)?.f_type as i64 == magic {
        true => Ok(()),
        false => Err(Errno::NODEV),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_nobody_count() {
        let line = |state, queues, timer, inode| {
            format!(
                "   5: 0100007F:A885 0100007F:E714 {state} {queues} {timer}:00000000 00000000     0        0 {inode} 1 0 20 8 0 10 -1\n"
            )
        };
        let of = |state, queues, inode| of_ownerless(&line(state, queues, "00", inode));
        let remnant = |state| of_ownerless(&line(state, "00000000:00000000", "03", "0"));
        assert_eq!(of("01", "00000000:0001F3E5", "0"), Some(SOCKET + 0x1f3e5));
        assert_eq!(of("04", "00000010:00000000", "0"), Some(SOCKET + 0x10));
        assert_eq!(of("01", "00000000:0001F3E5", "4711"), None);
        assert_eq!((remnant("06"), remnant("05")), (None, None));
        assert_eq!(of("0A", "00000000:00000003", "0"), None);
        assert_eq!(
            of_ownerless("  sl  local_address rem_address   st tx_queue"),
            None
        );
        assert_eq!(of_ownerless(""), None);
    }

    #[test]
    fn the_hosts_bounds_are_read() {
        // Entries that every machine has, and no number of another file.
        assert!((64 << 10..1 << 40).contains(&largest_receive_buffer()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(sockets(std::process::id() as i32).count > 0);
        drop(listener);
    }
}
