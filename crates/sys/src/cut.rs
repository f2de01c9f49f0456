//! A detached copy of a tree without some of the mounts in it.
//!
//! The kernel copies a tree of mounts whole, and changes the attributes of a detached copy at its root or
//! everywhere (open_tree(2), mount_setattr(2)). So the copy is made where the others are not: in a mount
//! namespace of a child that ends at once.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount as rx;

use super::{Errno, Result, clone, fd, mount, process};

/// The child's input and its result.
struct Task<'a> {
    path: &'a CStr,
    stat: fd::Stat,
    without: &'a [CString],
    copy: Result<i32>,
}

/// The tree at `path` with its submounts, but for those at `without`. `stat`: of the directory that is meant;
/// where the path leads to another by now, `ESTALE`.
pub fn copy_without(path: &Path, stat: fd::Stat, without: &[&Path]) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL);
    let without = without
        .iter()
        .map(|path| text(path))
        .collect::<Result<Vec<_>>>()?;
    let mut room = vec![0u128; 1024];
    let mut task = Task {
        path: &text(path)?,
        stat,
        without: &without,
        copy: Err(Errno::IO),
    };
    // A descriptor that the child opens is this process's.
    let flags = libc::CLONE_NEWNS | libc::CLONE_FILES;
    let child = clone::start_in(flags, &mut room, body, &mut task)?;
    process::reap(child)?;
    // SAFETY: the child has opened it in the table of descriptors that it shared, and nothing else owns it.
    task.copy.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

extern "C" fn body(task: *mut libc::c_void) -> i32 {
    // SAFETY: `copy_without` passes its task, which it does not touch until this child has ended.
    let task = unsafe { &mut *task.cast::<Task>() };
    task.copy = copy(task).map(IntoRawFd::into_raw_fd);
    process::exit(0)
}

fn copy(task: &Task<'_>) -> Result<OwnedFd> {
    mount::make_private()?;
    for place in task.without {
        let flags = rx::UnmountFlags::DETACH | rx::UnmountFlags::NOFOLLOW;
        rx::unmount(place.as_c_str(), flags)?;
        // Mounts that were hidden below it stay out too.
        while rx::unmount(place.as_c_str(), flags).is_ok() {}
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let tree = rustix::fs::openat2(
        CWD,
        task.path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )?;
    let now = fd::stat(tree.as_fd())?;
    if (now.dev, now.ino) != (task.stat.dev, task.stat.ino) {
        return Err(Errno::STALE);
    }
    mount::copy_tree(tree.as_fd(), c"")
}
