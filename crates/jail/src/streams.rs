//! Lets the jail's user reopen the pipes of its standard streams. /dev/stdin, /dev/stdout and /dev/stderr are
//! links to /proc/self/fd, and an open checks the permissions of the inode (proc(5)). A pipe belongs to the
//! user that made it, and without this only its descriptor works.
//!
//! A process without a descriptor of the pipe gets no access: the pipe has no other name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as rx, FileType, Gid, Mode, Uid};

use creel_plan::{Ids, Terminal};
use creel_sys::fd;

/// The child's stdin, stdout and stderr; `None` leaves the caller's own.
#[derive(Debug, Default)]
pub struct Stdio(pub [Option<OwnedFd>; 3]);

/// The filesystem of unnamed pipes, pipe(7), linux/magic.h.
const PIPEFS: i64 = 0x5049_5045;

/// Lets the jail's user open the pipes; `user` is its host id if the jail has a range of ids. Errors are
/// ignored: the descriptors still work.
pub fn own(stdio: &Stdio, ids: Ids, user: u32, terminal: Terminal) {
    let (uid, gid) = match ids {
        Ids::Range { .. } => (user, user),
        Ids::Shared { uid, gid } => (uid, gid),
        // The caller made them.
        Ids::Caller { .. } => return,
    };
    if terminal == Terminal::Pty {
        return;
    }
    for own in stdio.0.iter().flatten() {
        if rx::fstat(own).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
        {
            let _ = rx::fchown(own, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
    if stdio.0[0].is_none() {
        let _ = let_read(fd::fixed(0), gid);
    }
}

/// The caller's own pipe on stdin: its owner stays, and the jail's group gets the unused group permissions,
/// for reading. Not for writing: other processes may read from it, for example a shell's loop.
fn let_read(stdin: BorrowedFd<'_>, gid: u32) -> creel_sys::Result<()> {
    if rx::fstatfs(stdin)?.f_type != PIPEFS {
        return Ok(());
    }
    let mode = Mode::from_raw_mode(rx::fstat(stdin)?.st_mode);
    if mode.intersects(Mode::RWXG) && rx::fstat(stdin)?.st_gid < super::slot::FIRST_ID {
        return Ok(());
    }
    rx::fchown(stdin.as_fd(), None, Some(Gid::from_raw(gid)))?;
    rx::fchmod(stdin, (mode & !Mode::RWXG) | Mode::RGRP)
}
