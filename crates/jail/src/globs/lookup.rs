//! Questions about one entry of a directory, by the directory's descriptor.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{self as rx, Access, AtFlags, FileType};

/// Whether the name of a directory may be a link to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Refused,
}

/// The type of an entry, if its name can be looked up.
pub(super) fn kind_of(dir: BorrowedFd<'_>, name: &OsStr) -> Option<FileType> {
    let stat = rx::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// How an entry leads to a directory, if it does. Follows links, as for a path that a user wrote.
pub(super) fn leads(dir: BorrowedFd<'_>, name: &OsStr, kind: FileType) -> Option<Links> {
    let is_dir = |stat: rx::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    match kind {
        FileType::Directory => Some(Links::Refused),
        FileType::Symlink => {
            let target = rx::statat(dir, name, AtFlags::empty());
            target.is_ok_and(is_dir).then_some(Links::Followed)
        }
        _ => None,
    }
}

/// The type of an entry, looked up if the filesystem does not report it.
pub(super) fn resolved(kind: &mut FileType, dir: BorrowedFd<'_>, name: &OsStr) -> FileType {
    if *kind == FileType::Unknown
        && let Some(real) = kind_of(dir, name)
    {
        *kind = real;
    }
    *kind
}

/// Whether another spelling of an entry's name leads to the same inode.
pub(super) fn folds(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    let swap = |c: char| match c.is_lowercase() {
        true => c.to_uppercase().next().unwrap_or(c),
        false => c.to_lowercase().next().unwrap_or(c),
    };
    let Some(name) = name.to_str() else {
        return false;
    };
    let other: String = name.chars().map(swap).collect();
    let inode = |name: &str| {
        let stat = rx::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    other != name && inode(name).is_some() && inode(name) == inode(&other)
}

/// Whether this process may look names up in the directory.
pub(super) fn passable(dir: &Path) -> bool {
    rx::access(dir, Access::EXEC_OK).is_ok()
}
