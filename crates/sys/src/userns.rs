//! User namespaces: writing the id maps of user_namespaces(7).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;

use super::clone::Helper;
use super::{Errno, Result, process, procfs};

/// Whether this process is in the host's initial user namespace; true if /proc does not tell.
pub fn is_initial() -> bool {
    // linux/nsfs.h, USER_NS_INIT_INO
    const INITIAL: u64 = 0xefff_fffd;
    let own = procfs::namespace("self", "user").and_then(rustix::fs::fstat);
    own.map_or(true, |stat| stat.st_ino == INITIAL)
}

/// Joins a user namespace, for good (setns(2)): its owner has every capability there.
pub fn enter(namespace: &OwnedFd) -> Result<()> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
}

/// One line of an id map: `count` ids from `inside` on map to `outside` and following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id inside the namespace.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// The number of ids.
    pub count: u32,
}

/// Writes both maps of a child in a new user namespace. Without privilege only the caller's own id
/// can be mapped, and only after `setgroups` is denied.
pub fn write_maps(pid: i32, uids: &[Range], gids: &[Range], groups: process::Groups) -> Result<()> {
    if groups == process::Groups::Keep {
        put(pid, "setgroups", "deny")?;
    }
    let line = |r: &Range| format!("{} {} {}\n", r.inside, r.outside, r.count);
    let lines = |ranges: &[Range]| ranges.iter().map(line).collect::<String>();
    put(pid, "gid_map", &lines(gids))?;
    put(pid, "uid_map", &lines(uids))
}

/// Writes the map of project ids. Every process may do that, but only once: after creel's own line no process
/// in the jail can.
pub fn close_projects(pid: i32) -> Result<()> {
    match put(pid, "projid_map", "0 0 1\n") {
        // creel itself runs in a user namespace without project ids: there are none to map.
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let file = procfs::open(&format!("{pid}/{file}"), OFlags::WRONLY)?;
    // user_namespaces(7): a map is written at once or not at all.
    match rustix::io::write(&file, text.as_bytes())? {
        n if n == text.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// A user namespace without processes, for `mount_setattr`'s idmap: an id that is `inside` on disk is shown
/// as `outside`. It is the namespace of a child that ends at once; a zombie has all that is needed.
#[derive(Debug)]
pub struct Idmap {
    /// The namespace, for `mount_setattr` (mount_setattr(2)).
    pub namespace: OwnedFd,
    /// Its end is awaited on drop.
    _child: Helper,
}

impl Idmap {
    /// Starts the child; this process does not wait for its end until the drop.
    pub fn new(uids: &[Range], gids: &[Range]) -> Result<Idmap> {
        extern "C" fn leave(_: *mut libc::c_void) -> i32 {
            process::exit(0)
        }
        let child = Helper::start(libc::CLONE_NEWUSER, leave, 0)?;
        write_maps(child.pid, uids, gids, process::Groups::Clear)?;
        Ok(Idmap {
            namespace: procfs::namespace(&child.pid.to_string(), "user")?,
            _child: child,
        })
    }
}
