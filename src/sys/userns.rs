//! User namespaces: writing the id maps of user_namespaces(7).

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::{Errno, Result, clone, process, procfs};

/// One line of an id map: `count` ids from `inside` on are `outside` and following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Writes both maps of a child in a new user namespace. Without privilege only the caller's own id
/// can be mapped, and only after `setgroups` is denied.
pub fn write_maps(pid: i32, uids: Range, gids: Range, groups: process::Groups) -> Result<()> {
    if groups == process::Groups::Keep {
        put(pid, "setgroups", "deny")?;
    }
    let line = |r: Range| format!("{} {} {}\n", r.inside, r.outside, r.count);
    put(pid, "gid_map", &line(gids))?;
    put(pid, "uid_map", &line(uids))
}

fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let file = procfs::open(&format!("{pid}/{file}"), OFlags::WRONLY)?;
    // user_namespaces(7): a map is written at once or not at all.
    match rustix::io::write(&file, text.as_bytes())? {
        n if n == text.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// A user namespace that nobody is in, for `mount_setattr`'s idmap: on disk `uids.inside`, shown as
/// `uids.outside`. It is the namespace of a child that has ended by the time its maps are written:
/// a zombie has all that is needed, and there is nothing to wait for.
pub fn for_idmap(uids: Range, gids: Range) -> Result<OwnedFd> {
    extern "C" fn leave(_: *mut libc::c_void) -> i32 {
        process::exit(0)
    }
    let mut room = [0u128; 512];
    let mut stack = clone::Stack::on(&mut room);
    // SAFETY: the child does nothing but exit_group.
    let pid = unsafe { clone::vfork(libc::CLONE_NEWUSER, &mut stack, leave, &mut ())? };
    let made = lent(pid, uids, gids);
    process::reap(pid)?;
    made
}

/// As [`for_idmap`], with the user namespace of a child of this process's that has no maps yet.
pub fn lent(pid: i32, uids: Range, gids: Range) -> Result<OwnedFd> {
    write_maps(pid, uids, gids, process::Groups::Clear)?;
    procfs::namespace(&pid.to_string(), "user")
}
