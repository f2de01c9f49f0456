//! The unix sockets of this network namespace that connect(2) or send(2) can reach by a path, by sock_diag(7): it
//! takes a part of the time of `/proc/net/unix`, where the kernel writes a line for each socket, also for the
//! pairs without a name, of which every jail has some.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::{Errno, Result, procfs};

/// linux/sock_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// linux/unix_diag.h
const UDIAG_SHOW_NAME: u32 = 1;
const UNIX_DIAG_NAME: u16 = 0;
/// Every state of a socket (net/tcp_states.h), and the one of a connection: such a stream cannot be reached. A
/// datagram socket can, in each state: it has this one from the first client that connects to it on, for good
/// (unix_dgram_connect in net/unix/af_unix.c).
const ALL_STATES: u32 = u32::MAX;
const ESTABLISHED: u8 = 1;
/// The lengths of `struct nlmsghdr` and `struct unix_diag_msg`.
const HEADER: usize = 16;
const MESSAGE: usize = 16;
/// The kernel fills at most this much of a datagram (`NLMSG_GOODSIZE` doubled, af_netlink.c).
const ROOM: usize = 32 << 10;

/// The absolute paths at which sockets were bound; another socket or none may be there now.
pub fn bound() -> Result<Vec<PathBuf>> {
    // Without CONFIG_UNIX_DIAG, or netlink at all.
    match told() {
        Err(_) => read(),
        told => told,
    }
}

fn told() -> Result<Vec<PathBuf>> {
    let kind = (AddressFamily::NETLINK, SocketType::RAW);
    let diag = Some(netlink::SOCK_DIAG);
    let socket = rustix::net::socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, diag)?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    answers(&socket)
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request() -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut all = vec![];
    all.extend((HEADER as u32 + 24).to_ne_bytes());
    all.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    all.extend(flags.to_ne_bytes());
    all.extend([0; 8]);
    all.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    // States, inode, what is shown, and no cookie.
    for word in [ALL_STATES, 0, UDIAG_SHOW_NAME, u32::MAX, u32::MAX] {
        all.extend(word.to_ne_bytes());
    }
    all
}

fn answers(socket: &OwnedFd) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    let mut room = vec![0; ROOM];
    loop {
        let (_, length) = rustix::net::recv(socket, &mut room[..], RecvFlags::TRUNC)?;
        // A longer one was cut.
        let mut rest = room.get(..length).ok_or(Errno::MSGSIZE)?;
        while let Some((kind, body, after)) = message(rest) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(found),
                libc::NLMSG_ERROR => return Err(Errno::OPNOTSUPP),
                _ => found.extend(reachable(body).map(PathBuf::from)),
            }
            rest = after;
        }
    }
}

/// The first message of netlink: its type, its body and what follows.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((
        kind,
        body,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// The path of a socket by which others reach it.
fn reachable(body: &[u8]) -> Option<&Path> {
    let (kind, state) = (*body.get(1)?, *body.get(2)?);
    if state == ESTABLISHED && i32::from(kind) != libc::SOCK_DGRAM {
        return None;
    }
    body.get(MESSAGE..).and_then(name)
}

/// The name among a socket's attributes (`struct nlattr`), if it is an absolute path: an abstract one begins
/// with a zero byte.
fn name(mut attributes: &[u8]) -> Option<&Path> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == UNIX_DIAG_NAME {
            let end = value.iter().position(|byte| *byte == 0);
            let path = Path::new(OsStr::from_bytes(&value[..end.unwrap_or(value.len())]));
            return path.is_absolute().then_some(path);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// The same from `/proc/net/unix`, which has the other sockets too.
fn read() -> Result<Vec<PathBuf>> {
    let text = match procfs::read("net/unix") {
        // A kernel without CONFIG_UNIX has none.
        Err(Errno::NOENT) => return Ok(vec![]),
        read => read?,
    };
    // "Num RefCount Protocol Flags Type St Inode Path": an abstract name begins with @.
    let path = |line: &[u8]| {
        let at = line.windows(2).position(|pair| pair == b" /")?;
        Some(PathBuf::from(OsStr::from_bytes(&line[at + 1..])))
    };
    Ok(text.split(|byte| *byte == b'\n').filter_map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn both_lists_have_what_a_path_leads_to() {
        let place = tempfile::tempdir().expect("a directory");
        let (listens, takes) = (
            place.path().join("listens"),
            place.path().join("takes letters"),
        );
        let _one = UnixListener::bind(&listens).expect("bound");
        let _two = UnixDatagram::bind(&takes).expect("bound");
        let _unnamed = UnixDatagram::pair().expect("a pair");
        for all in [
            told().expect("sock_diag(7)"),
            read().expect("/proc/net/unix"),
            bound().expect("one"),
        ] {
            assert!(all.contains(&listens) && all.contains(&takes), "{all:?}");
            assert!(all.iter().all(|path| path.is_absolute()), "{all:?}");
        }
    }

    /// A client changes the state of the server that it connects to.
    #[test]
    fn a_server_of_datagrams_is_one_with_clients_too() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("log");
        let _server = UnixDatagram::bind(&path).expect("bound");
        let listed = || told().expect("sock_diag(7)").contains(&path);
        assert!(listed());
        let client = UnixDatagram::unbound().expect("a socket");
        client.connect(&path).expect("connected");
        assert!(listed());
        drop(client);
        assert!(listed());
    }

    #[test]
    fn many_names_come_in_several_parts() {
        let place = tempfile::tempdir().expect("a directory");
        let path = |number: usize| place.path().join(format!("{number:0>64}"));
        let all: Vec<_> = (0..800)
            .map(|number| UnixDatagram::bind(path(number)))
            .collect();
        assert!(all.iter().all(|one| one.is_ok()));
        let told = told().expect("sock_diag(7)");
        assert!((0..800).all(|number| told.contains(&path(number))));
    }
}
