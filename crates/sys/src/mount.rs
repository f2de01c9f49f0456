//! Mounts, through the API of Linux 5.2 and `mount_setattr(2)` of 5.12: descriptors, not strings.
//!
//! Everything here runs after clone as well as before.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount as rx;

use super::{Errno, Result};

// linux/mount.h
/// `MOUNT_ATTR_RDONLY`: nothing is written through the mount.
pub const RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`: set-id bits and file capabilities have no effect.
pub const NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`: device files cannot be opened.
pub const NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`: files are neither executed nor mapped as code.
pub const NOEXEC: u64 = 0x8;
/// Attributes of a mount that can only be looked at.
pub const INERT: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
const IDMAP: u64 = 0x0010_0000;
const AT_RECURSIVE: u32 = 0x8000;

/// `struct mount_attr` of Linux 5.12.
#[repr(C)]
struct MountAttr {
    set: u64,
    clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Whether a change includes submounts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The mount alone.
    This,
    /// The mount and all mounts below it (`AT_RECURSIVE`).
    Below,
}

/// A detached copy of the mount that `path` is on, with `path` as its root and with its submounts.
pub fn copy_tree(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    use rx::OpenTreeFlags as F;
    let empty = if path.is_empty() {
        F::AT_EMPTY_PATH
    } else {
        F::empty()
    };
    rx::open_tree(
        dir,
        path,
        F::OPEN_TREE_CLONE
            | F::OPEN_TREE_CLOEXEC
            | F::AT_RECURSIVE
            | F::AT_SYMLINK_NOFOLLOW
            | empty,
    )
}

/// A detached copy of one mount without its submounts.
pub fn copy_one(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    use rx::OpenTreeFlags as F;
    let empty = if path.is_empty() {
        F::AT_EMPTY_PATH
    } else {
        F::empty()
    };
    let flags = F::OPEN_TREE_CLONE | F::OPEN_TREE_CLOEXEC | F::AT_SYMLINK_NOFOLLOW;
    rx::open_tree(dir, path, flags | empty)
}

/// Sets mount attributes and makes propagation private.
pub fn set(mount: BorrowedFd<'_>, attributes: u64, reach: Reach) -> Result<()> {
    setattr(
        mount,
        reach,
        &MountAttr {
            set: attributes,
            clr: 0,
            propagation: libc::MS_PRIVATE,
            userns_fd: 0,
        },
    )
}

/// Makes one mount read-only; other attributes and propagation stay.
pub fn seal(mount: BorrowedFd<'_>) -> Result<()> {
    setattr(
        mount,
        Reach::This,
        &MountAttr {
            set: RDONLY,
            clr: 0,
            propagation: 0,
            userns_fd: 0,
        },
    )
}

/// Makes the files of a detached mount executable, and the mount read-only.
pub fn make_executable(mount: BorrowedFd<'_>) -> Result<()> {
    setattr(
        mount,
        Reach::This,
        &MountAttr {
            set: RDONLY,
            clr: NOEXEC,
            propagation: 0,
            userns_fd: 0,
        },
    )
}

/// Maps the owners of a detached mount through `userns` (Linux 5.12; a filesystem without support
/// answers `EINVAL`).
pub fn idmap(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> Result<()> {
    setattr(
        mount,
        Reach::Below,
        &MountAttr {
            set: IDMAP,
            clr: 0,
            propagation: 0,
            userns_fd: userns.as_raw_fd() as u64,
        },
    )
}

fn setattr(mount: BorrowedFd<'_>, reach: Reach, attr: &MountAttr) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH as u32
        | match reach {
            Reach::This => 0,
            Reach::Below => AT_RECURSIVE,
        };
    // SAFETY: the path is an empty C string, attr is a valid mount_attr of the size passed; both
    // outlive the call, which only reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const *attr,
            size_of::<MountAttr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_raw_os_error(errno()))
    }
}

fn errno() -> i32 {
    // SAFETY: glibc's errno location is valid in every thread, and in a child of clone3.
    unsafe { *libc::__errno_location() }
}

/// Attaches a detached mount at `path` under `dir`. An empty path means `dir` itself.
pub fn attach(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    use rx::MoveMountFlags as F;
    let to = if path.is_empty() {
        F::MOVE_MOUNT_T_EMPTY_PATH
    } else {
        F::empty()
    };
    rx::move_mount(mount, c"", dir, path, F::MOVE_MOUNT_F_EMPTY_PATH | to)
}

/// A new filesystem instance by type, detached. `options`: keys and values as in its manual page;
/// an empty value is a flag.
pub fn new<'a>(
    kind: &CStr,
    options: impl Iterator<Item = (&'a CStr, &'a CStr)>,
    attributes: u64,
) -> Result<OwnedFd> {
    let fs = rx::fsopen(kind, rx::FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            rx::fsconfig_set_flag(fs.as_fd(), key)?;
        } else {
            rx::fsconfig_set_string(fs.as_fd(), key, value)?;
        }
    }
    rx::fsconfig_create(fs.as_fd())?;
    // The attribute bits of fsmount(2) are those of mount_setattr(2).
    let attributes = rx::MountAttrFlags::from_bits_retain(attributes as u32);
    rx::fsmount(fs.as_fd(), rx::FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Joins a mount namespace (setns(2)); the working directory and the root become its root.
pub fn enter(namespace: &OwnedFd) -> Result<()> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
}

/// Whether `path` is the root of a mount (statx(2), `STATX_ATTR_MOUNT_ROOT`, Linux 5.8). A symbolic link at
/// its end is not followed; an empty path means `dir` itself. The filesystem is not asked, because its server
/// may be gone or closed to this process (fuse(4)).
pub fn is_root_of_mount(dir: BorrowedFd<'_>, path: &CStr) -> Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let flags = flags | AtFlags::STATX_DONT_SYNC;
    let stat = statx(dir, path, flags, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The id of the mount that `path` is on (statx(2), `STATX_MNT_ID`, Linux 5.8). An empty path means `dir`
/// itself.
pub fn id(dir: BorrowedFd<'_>, path: &CStr) -> Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    Ok(statx(dir, path, flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Cuts propagation between this mount namespace and the one it was copied from.
pub fn make_private() -> Result<()> {
    rx::mount_change(
        c"/",
        rx::MountPropagationFlags::PRIVATE | rx::MountPropagationFlags::REC,
    )
}

/// Makes the mount `root` the root of this mount namespace and detaches the old tree.
pub fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    // pivot_root(2): with both arguments ".", the old root ends up stacked on the new one, and the detach
    // removes it without a directory to hold it.
    rustix::process::pivot_root(c".", c".")?;
    rx::unmount(c".", rx::UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Attaches `mount` on `/`. Paths still resolve in the old root until [`pivot`].
pub fn attach_on_root(mount: BorrowedFd<'_>) -> Result<()> {
    attach(mount, CWD, c"/")
}

/// Whether the filesystem under an open directory supports idmapped mounts, by its type and the kernel's
/// release. A trial would cost a user namespace. If this table is wrong, [`idmap`] fails and the run is
/// refused.
pub fn can_idmap(dir: BorrowedFd<'_>) -> bool {
    use crate::host::kernel_at_least;
    // linux/magic.h, and the release in which the filesystem got FS_ALLOW_IDMAP.
    const SUPPORT: [(i64, (u32, u32)); 7] = [
        (0xef53, (5, 12)),      // ext4
        (0x5846_5342, (5, 12)), // xfs
        (0x9123_683e, (5, 15)), // btrfs
        (0xf2f5_2010, (5, 18)), // f2fs
        (0x0102_1994, (6, 3)),  // tmpfs
        (0x4d44, (5, 12)),      // vfat
        (0x2011_bab0, (6, 8)),  // exfat
    ];
    let Ok(stat) = rustix::fs::fstatfs(dir) else {
        return false;
    };
    SUPPORT
        .iter()
        .any(|(magic, since)| stat.f_type == *magic && kernel_at_least(*since))
}

/// Whether `/` is the kernel's initial ramfs, which pivot_root(2) refuses to leave: only there the topmost
/// mount at `/` has the type rootfs.
pub fn root_is_rootfs() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let root = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(1) == Some("/"));
    root.is_some_and(|line| line.split(' ').nth(2) == Some("rootfs"))
}
