//! The walk over a writable tree, breadth first, so that what is near its top is seen in any case. It
//! follows no link and goes into no other filesystem.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, openat, openat2, statat, unlinkat,
};

use super::{Done, Seen, What};
use crate::policy::gitconfig::{self, Names};
use crate::policy::trust;
use crate::sys::placeholder;

/// What of a repository leads git to programs.
const LEADING: [&str; 5] = [
    "config",
    "config.worktree",
    "commondir",
    "info/attributes",
    "HEAD",
];

/// Of a repository's configuration, bytes that are read and keys that are told.
const MOST_CONFIGURATION: u64 = 64 << 10;
const MOST_KEYS: usize = 8;

/// Looks for names; returns how many plain files there are.
pub(super) fn names(place: &Path, tree: BorrowedFd<'_>, seen: &mut Seen) -> u64 {
    let mut files = 0;
    breadth_first(place, tree, seen, true, |dir, entries, seen| {
        files += entries
            .iter()
            .filter(|e| e.kind == FileType::RegularFile)
            .count() as u64;
        if dir.place == place {
            no_links(dir, entries, seen);
        }
        look(dir, entries, seen);
    });
    files
}

/// A link where a trust path has its directory would have the next run refused, since it cannot be held.
fn no_links(dir: &Dir, entries: &[Entry], seen: &mut Seen) {
    let links = entries.iter().filter(|e| e.kind == FileType::Symlink);
    for entry in links.filter(|e| e.name.to_str().is_some_and(trust::is_directory)) {
        if dir.is_new(&entry.name, seen) {
            seen.add(
                &dir.place.join(&entry.name),
                What::Link,
                remove(dir, &entry.name),
            );
        }
    }
}

/// Takes a link away.
pub(super) fn remove(dir: &Dir, name: &Path) -> Done {
    match unlinkat(&dir.fd, name, AtFlags::empty()) {
        Ok(()) => Done::Removed,
        Err(_) => Done::Failed,
    }
}

/// Looks at the mode of every file.
pub(super) fn modes(place: &Path, tree: BorrowedFd<'_>, seen: &mut Seen) {
    breadth_first(place, tree, seen, false, |dir, entries, seen| {
        for entry in entries.iter().filter(|e| e.kind == FileType::RegularFile) {
            let Some(stat) = dir.stat(&entry.name) else {
                continue;
            };
            let runs = stat.st_mode & 0o4000 != 0 || stat.st_mode & 0o2010 == 0o2010;
            if runs && is_new(&stat, seen) {
                seen.add(&dir.place.join(&entry.name), What::SetId, Done::Nothing);
            }
        }
    });
}

/// An open directory, and its path on the host.
pub(super) struct Dir {
    pub place: PathBuf,
    pub fd: OwnedFd,
}

impl Dir {
    pub fn stat(&self, name: impl AsRef<Path>) -> Option<Stat> {
        statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Whether an entry is there and of this run.
    pub fn is_new(&self, name: impl AsRef<Path>, seen: &Seen) -> bool {
        let name = name.as_ref();
        self.stat(name).is_some_and(|stat| {
            seen.is_new(stat.st_ctime, stat.st_ctime_nsec) && !self.is_placeholder(name, &stat)
        })
    }

    /// Another run's placeholder, which is gone when that run is; a directory with something in it is none.
    fn is_placeholder(&self, name: &Path, stat: &Stat) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        placeholder::marked(stat)
            && openat(&self.fd, name, flags, Mode::empty())
                .is_ok_and(|entry| placeholder::stands_for_nothing(entry.as_fd()))
    }
}

pub(super) struct Entry {
    pub name: PathBuf,
    pub kind: FileType,
}

fn is_new(stat: &Stat, seen: &Seen) -> bool {
    // Another run's placeholder is gone when that run is.
    !placeholder::marked(stat) && seen.is_new(stat.st_ctime, stat.st_ctime_nsec)
}

/// What is in a directory beneath `tree`, `relative` having no link in it.
pub(super) fn list(
    tree: BorrowedFd<'_>,
    place: &Path,
    relative: &Path,
) -> Option<(Dir, Vec<Entry>)> {
    let name = match relative.as_os_str().is_empty() {
        true => Path::new("."),
        false => relative,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let fd = openat2(tree, name, flags, Mode::empty(), resolve).ok()?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut raw = RawDir::new(fd.as_fd(), &mut buffer);
    let mut entries = vec![];
    while let Some(entry) = raw.next() {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push(Entry {
                name: OsStr::from_bytes(name).into(),
                kind: entry.file_type(),
            });
        }
    }
    let dir = Dir {
        place: beneath(place, relative),
        fd,
    };
    for entry in &mut entries {
        // Some filesystems do not say.
        if entry.kind == FileType::Unknown
            && let Some(stat) = dir.stat(&entry.name)
        {
            entry.kind = FileType::from_raw_mode(stat.st_mode);
        }
    }
    Some((dir, entries))
}

/// `place` itself where nothing is beneath it: no slash at its end.
fn beneath(place: &Path, relative: &Path) -> PathBuf {
    match relative.as_os_str().is_empty() {
        true => place.into(),
        false => place.join(relative),
    }
}

fn breadth_first(
    place: &Path,
    tree: BorrowedFd<'_>,
    seen: &mut Seen,
    names: bool,
    mut each: impl FnMut(&Dir, &[Entry], &mut Seen),
) {
    let mut queue = VecDeque::from([PathBuf::new()]);
    let mut count = 0;
    while let Some(relative) = queue.pop_front() {
        count += 1;
        // The first directories are seen in any case.
        if count > 8 && seen.over() {
            match names {
                true => {
                    seen.unseen(&beneath(place, &relative));
                    queue.iter().for_each(|path| seen.unseen(&place.join(path)));
                }
                false => seen.left.modes = false,
            }
            return;
        }
        let Some((dir, entries)) = list(tree, place, &relative) else {
            match names {
                true => seen.unseen(&beneath(place, &relative)),
                false => seen.left.modes = false,
            }
            continue;
        };
        let repository = is_repository(&entries);
        each(&dir, &entries, seen);
        let below = entries.iter().filter(|e| e.kind == FileType::Directory);
        // What a repository stores is no file of anybody's, and is much.
        let whole = seen.until.is_none() && !names;
        let below = below.filter(|e| !repository || whole || e.name != Path::new("objects"));
        queue.extend(below.map(|e| relative.join(&e.name)));
    }
}

/// What git takes for one, gitrepository-layout(5).
fn is_repository(entries: &[Entry]) -> bool {
    let has = |name: &str| entries.iter().any(|entry| entry.name == Path::new(name));
    has("HEAD") && (has("objects") && has("refs") || has("commondir"))
}

/// The keys of a repository's configuration that lead git to programs.
fn runs(dir: &Dir) -> Vec<String> {
    let mut all = vec![];
    for name in ["config", "config.worktree"] {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(&dir.fd, name, flags, Mode::empty()) else {
            continue;
        };
        let mut text = vec![];
        // Whatever it is: a pipe that nobody writes to is at its end.
        let mut file = std::fs::File::from(file).take(MOST_CONFIGURATION);
        if file.read_to_end(&mut text).is_err() {
            continue;
        }
        let entries = gitconfig::parse(&text).into_iter();
        let leading = entries.filter(|entry| match entry.names() {
            Some(Names::Marked) => entry.value.starts_with(b"!") || entry.value.contains(&b'/'),
            Some(Names::Path | Names::Worktree) | None => false,
            Some(Names::Include | Names::Hooks | Names::Command) => true,
        });
        all.extend(leading.map(|entry| entry.name()));
    }
    all.sort();
    all.dedup();
    all.truncate(MOST_KEYS);
    all
}

fn look(dir: &Dir, entries: &[Entry], seen: &mut Seen) {
    let stat = |name: &str| dir.stat(name);
    if is_repository(entries) {
        let leads = LEADING.iter().any(|name| dir.is_new(name, seen));
        let marks = ["objects", "refs"].iter().any(|name| {
            // Used or made? What was made has no entries from before.
            stat(name).is_some_and(|s| is_new(&s, seen) && s.st_nlink <= 2)
        });
        let own = dir.place.ends_with(".git");
        // HEAD of a repository in use changes with every checkout.
        let config = LEADING.iter().filter(|name| **name != "HEAD");
        let config = config.clone().any(|name| dir.is_new(name, seen));
        match own {
            true if config => {
                seen.add_running(&dir.place, What::Repository, Done::Nothing, runs(dir));
            }
            false if leads || marks => {
                seen.add_running(&dir.place, What::BareRepository, Done::Nothing, runs(dir));
            }
            _ => {}
        }
    }
    if dir.place.ends_with("hooks") {
        let samples = |entry: &&Entry| !entry.name.as_os_str().as_bytes().ends_with(b".sample");
        for entry in entries.iter().filter(samples) {
            let of_git = dir
                .place
                .parent()
                .is_some_and(|above| above.join("HEAD").exists());
            if of_git && dir.is_new(&entry.name, seen) {
                seen.add(&dir.place.join(&entry.name), What::Hook, Done::Nothing);
            }
        }
    }
    for entry in entries {
        if entry.name == Path::new(".git") && entry.kind != FileType::Directory {
            // What was taken away is new no more.
            if dir.is_new(&entry.name, seen) {
                seen.add(&dir.place.join(".git"), What::Repository, Done::Nothing);
            }
        } else if entry.name.to_str().is_some_and(trust::is_settings)
            // Nobody reads it; a placeholder whose mode the host changed is one, too.
            && entry.kind != FileType::Socket
            && dir.is_new(&entry.name, seen)
        {
            seen.add(&dir.place.join(&entry.name), What::Settings, Done::Nothing);
        }
    }
}
