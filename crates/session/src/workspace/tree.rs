//! Files beneath a descriptor: no path leaves the tree, and no link is followed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, openat2, statat,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use creel_sys::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// The identity of an inode and of its contents. A rename changes only its status time, so that is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ident {
    device: u64,
    inode: u64,
    size: i64,
    mode: u32,
    modified: (i64, i64),
}

impl From<&Stat> for Ident {
    fn from(stat: &Stat) -> Ident {
        Ident {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => 0,
                _ => stat.st_size,
            },
            mode: stat.st_mode,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        }
    }
}

impl Ident {
    /// When the contents changed: seconds and nanoseconds.
    pub fn modified(self) -> (i64, i64) {
        self.modified
    }

    /// Whether it is the same file with the same contents; of a directory, the same one, whatever is in it.
    pub fn is_same(self, other: Ident) -> bool {
        let is_directory = FileType::from_raw_mode(self.mode) == FileType::Directory;
        match is_directory {
            true => (self.device, self.inode) == (other.device, other.inode),
            false => self == other,
        }
    }

    /// Whether it is the same inode, whatever it contains.
    pub fn is_inode(self, stat: &Stat) -> bool {
        (self.device, self.inode) == (stat.st_dev, stat.st_ino)
    }
}

/// When the status of a file changed: seconds and nanoseconds.
pub fn changed(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime, stat.st_ctime_nsec as i64)
}

/// The clock of file timestamps, which lags behind the precise clock: seconds and nanoseconds.
pub fn clock() -> (i64, i64) {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec as i64)
}

/// Opens a directory beneath `root`; an empty path means `root` itself.
pub fn directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a file beneath `root`, without waiting for the other end of a pipe.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    // openat2(2) refuses the others with O_PATH.
    let more = match flags.contains(OFlags::PATH) {
        true => OFlags::empty(),
        false => OFlags::NONBLOCK | OFlags::NOCTTY,
    };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    loop {
        match openat2(root, path, flags, Mode::empty(), how) {
            // A rename elsewhere was in the way (openat2(2)).
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The directory that has the last name of `path`, and that name.
pub fn parent<'p>(root: BorrowedFd<'_>, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let above = path.parent().unwrap_or(Path::new(""));
    Ok((directory(root, above)?, name))
}

/// The status of a name, which may be a link; `None` if it is absent.
pub fn status(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The status of a path beneath `root`; `None` if it, or a directory above it, is absent.
pub fn status_of(root: BorrowedFd<'_>, path: &Path) -> Result<Option<Stat>> {
    match parent(root, path) {
        Ok((dir, name)) => status(dir.as_fd(), name),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether this process may make, move and remove names in a directory.
pub fn is_writable(dir: BorrowedFd<'_>) -> Result<()> {
    use rustix::fs::{Access, accessat};
    accessat(
        dir,
        ".",
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    )
}

/// The names in a directory, sorted.
pub fn names(dir: &OwnedFd) -> Result<Vec<PathBuf>> {
    let mut names = vec![];
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(PathBuf::from(OsStr::from_bytes(&name)));
        }
    }
    names.sort();
    Ok(names)
}

/// overlayfs's mark of a directory that hides the lower one's entries.
pub const OPAQUE: &str = "user.overlay.opaque";

/// Whether a directory hides the entries of the host's.
pub fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut room = [0u8; 8];
    match fgetxattr(directory, OPAQUE, &mut room) {
        Ok(length) => room.get(..length) == Some(b"y"),
        Err(_) => false,
    }
}

/// Whether it is a whiteout: a character device 0:0.
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
