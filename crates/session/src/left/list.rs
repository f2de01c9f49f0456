//! Directories of a writable tree, read in parts: a long directory does not keep the search from the rest.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat, openat2, statat,
    unlinkat,
};

use super::{Done, Seen};
use creel_policy::protected_defaults;
use creel_sys::placeholder;

/// Approximate number of entries in one part.
const PART: usize = 256;
/// The most names at the top of a tree that are remembered.
const MOST_TOP: usize = 4096;

/// An open directory, and its path on the host.
pub(super) struct Dir {
    pub place: PathBuf,
    pub fd: OwnedFd,
    /// Every entry counts as new.
    pub moved: bool,
}

pub(super) struct Entry {
    pub name: PathBuf,
    pub kind: FileType,
    pub inode: u64,
}

/// A part of a directory.
#[derive(Default)]
pub(super) struct Part {
    /// The entries to keep.
    pub entries: Vec<Entry>,
    /// All plain files, kept or not.
    pub files: u64,
    /// There may be more entries.
    pub more: bool,
}

impl Part {
    /// Whether the directory had no more entries.
    pub fn is_end(&self) -> bool {
        self.entries.is_empty() && !self.more
    }
}

impl Dir {
    /// Opens a directory beneath `tree`; `None` if `relative` contains a link.
    pub fn open(tree: BorrowedFd<'_>, place: &Path, relative: &Path, moved: bool) -> Option<Dir> {
        let name = match relative.as_os_str().is_empty() {
            true => Path::new("."),
            false => relative,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let fd = openat2(tree, name, flags, Mode::empty(), resolve).ok()?;
        Some(Dir {
            place: beneath(place, relative),
            fd,
            moved,
        })
    }

    /// The directory that `name` leads to, also through a link.
    pub fn behind(&self, name: &str) -> Option<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(
            &self.fd,
            name,
            flags,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        )
        .ok()?;
        Some(Dir {
            place: self.place.join(name),
            fd,
            moved: false,
        })
    }

    /// Reads the next entries. `keep` selects the entries to return.
    pub fn part(&self, keep: impl Fn(&[u8], FileType) -> bool) -> Option<Part> {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut raw = RawDir::new(self.fd.as_fd(), &mut buffer);
        let mut part = Part::default();
        let mut count = 0;
        while let Some(entry) = raw.next() {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            count += 1;
            if name != b"." && name != b".." {
                let mut kind = entry.file_type();
                if kind == FileType::Unknown
                    // Some filesystems do not report the type.
                    && let Some(stat) = self.stat(OsStr::from_bytes(name))
                {
                    kind = FileType::from_raw_mode(stat.st_mode);
                }
                part.files += u64::from(kind == FileType::RegularFile);
                if keep(name, kind) {
                    part.entries.push(Entry {
                        name: OsStr::from_bytes(name).into(),
                        kind,
                        inode: entry.ino(),
                    });
                }
            }
            if count >= PART && raw.is_buffer_empty() {
                part.more = true;
                break;
            }
        }
        Some(part)
    }

    pub fn stat(&self, name: impl AsRef<Path>) -> Option<Stat> {
        statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Whether the directory's status changed: an entry was made or removed, or the directory was moved.
    pub fn changed(&self, seen: &Seen) -> bool {
        fstat(&self.fd).is_ok_and(|stat| seen.is_new(stat.st_ctime, stat.st_ctime_nsec))
    }

    /// Whether an entry exists and was made or changed in this run.
    pub fn is_new(&self, name: impl AsRef<Path>, seen: &Seen) -> bool {
        let name = name.as_ref();
        self.stat(name).is_some_and(|stat| {
            (self.moved || seen.is_new(stat.st_ctime, stat.st_ctime_nsec))
                && !self.is_placeholder(name, &stat)
        })
    }

    /// Whether an entry is another run's placeholder, which that run removes. An entry that is in use or
    /// has other content is not one.
    fn is_placeholder(&self, name: &Path, stat: &Stat) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        placeholder::marked(stat)
            && openat(&self.fd, name, flags, Mode::empty()).is_ok_and(|entry| {
                placeholder::stands(entry.as_fd(), protected_defaults::says(name))
            })
    }

    /// Removes a link.
    pub fn remove(&self, name: &Path) -> Done {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Done::Removed,
            Err(_) => Done::Failed,
        }
    }
}

/// Directories at the top of a tree, by name and inode, to recognise later those that were not moved there.
/// Empty if there are too many.
pub(super) fn top(tree: BorrowedFd<'_>) -> Vec<(PathBuf, u64)> {
    let mut all = vec![];
    let Some(dir) = Dir::open(tree, Path::new(""), Path::new(""), false) else {
        return all;
    };
    loop {
        let Some(part) = dir.part(|_, kind| kind == FileType::Directory) else {
            return vec![];
        };
        all.extend(
            part.entries
                .into_iter()
                .map(|entry| (entry.name, entry.inode)),
        );
        if all.len() > MOST_TOP {
            return vec![];
        }
        if !part.more {
            all.sort();
            return all;
        }
    }
}

/// `place` joined with `relative`; without a slash at the end if `relative` is empty.
pub(super) fn beneath(place: &Path, relative: &Path) -> PathBuf {
    match relative.as_os_str().is_empty() {
        true => place.into(),
        false => place.join(relative),
    }
}
