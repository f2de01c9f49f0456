//! The entries of a directory that the host obeys by their names: repositories, hooks, settings.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, openat};

use super::list::{Dir, Entry};
use super::{Done, Seen, Tree, What};
use creel_policy::gitconfig::{self, Names};
use creel_policy::protected_defaults;

/// Files of a repository that lead git to programs.
const LEADING: [&str; 5] = [
    "config",
    "config.worktree",
    "commondir",
    "info/attributes",
    "HEAD",
];
/// Names without a leading dot that make a repository, or lie in one.
pub(crate) const OF_REPOSITORY: [&str; 8] = [
    "HEAD",
    "objects",
    "refs",
    "commondir",
    "config",
    "config.worktree",
    "hooks",
    "info",
];

/// Bytes of a repository's configuration that are read, and keys that are reported.
const MOST_CONFIGURATION: u64 = 64 << 10;
const MOST_KEYS: usize = 8;

/// Whether an entry of this name matters, whatever its type.
pub(super) fn is_listed(name: &[u8]) -> bool {
    name.starts_with(b".")
        || OF_REPOSITORY.iter().any(|known| known.as_bytes() == name)
        || str::from_utf8(name).is_ok_and(protected_defaults::is_name)
}

/// Names that are looked up in a directory that is not read at once.
fn asked() -> impl Iterator<Item = &'static str> {
    let systems = [".git", ".hg", ".jj"].into_iter();
    systems
        .chain(OF_REPOSITORY)
        .chain(protected_defaults::names())
}

/// Whether [`probed`] looks this name up.
pub(super) fn is_asked(name: &str) -> bool {
    asked().any(|known| known == name)
}

/// Adds the existing entries with names that matter, for a directory that was not read completely.
pub(super) fn probed(dir: &Dir, entries: &mut Vec<Entry>) {
    for name in asked() {
        let known = entries.iter().any(|entry| entry.name == Path::new(name));
        if let Some(stat) = dir.stat(name).filter(|_| !known) {
            entries.push(Entry {
                name: name.into(),
                kind: FileType::from_raw_mode(stat.st_mode),
                inode: stat.st_ino,
            });
        }
    }
}

/// Removes new links on the way to a protected path in a subdirectory (`.hg/hgrc`, `.jj/repo`). Such a path
/// could not be protected while the subdirectory was absent, and the link would make the next run fail.
pub(super) fn no_links(tree: &Tree, seen: &mut Seen) {
    let mut absent = BTreeSet::new();
    for row in protected_defaults::PATHS
        .iter()
        .filter(|row| row.path.contains('/'))
    {
        let mut above = PathBuf::new();
        let (mut moved, mut changed) = (false, true);
        for part in Path::new(row.path) {
            if absent.contains(&above.join(part)) {
                break;
            }
            let Some(dir) = Dir::open(tree.fd.as_fd(), &tree.place, &above, moved) else {
                break;
            };
            if above.components().count() > 0 {
                // As in the walk: it may have been moved there.
                let known = above.components().count() == 1 && tree.is_known(&above, &dir);
                let now = dir.changed(seen);
                moved |= changed && now && !known;
                changed = now;
            }
            let dir = Dir { moved, ..dir };
            let name = Path::new(part);
            let is_link =
                |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            match dir.stat(name) {
                None => {
                    absent.insert(above.join(part));
                    break;
                }
                Some(stat) if is_link(stat) => {
                    if dir.is_new(name, seen) {
                        let done = dir.remove(name);
                        seen.add(&dir.place.join(name), What::Link, done);
                    }
                    break;
                }
                Some(_) => above.push(part),
            }
        }
    }
}

/// Whether git recognises a repository, or the common directory of several worktrees,
/// gitrepository-layout(5).
pub(super) fn of_repository(entries: &[Entry]) -> bool {
    let has = |name: &str| entries.iter().any(|entry| entry.name == Path::new(name));
    let stores = has("objects") && has("refs");
    has("HEAD") && (stores || has("commondir")) || stores && has("config")
}

/// A directory to search.
#[derive(Debug, Clone, Default)]
pub(super) struct At {
    pub relative: PathBuf,
    /// It is new at its place, or may be, and so is everything in it.
    pub moved: bool,
    /// The directory above it changed too, as it does when something is moved there.
    pub above: bool,
    /// The settings directory that it is, or lies in.
    pub settings: Option<PathBuf>,
    /// It lies in a repository's own directory.
    pub of_repository: bool,
    /// No part of it was read yet.
    pub first: bool,
    /// It existed at the start, directly in the tree.
    pub known: bool,
}

/// Records new entries.
pub(super) fn look(at: &At, dir: &Dir, entries: &[Entry], seen: &mut Seen) {
    if at.first && of_repository(entries) {
        repository(dir, entries, seen);
    } else if at.first && !at.known && dir.place.ends_with(".git") && dir.changed(seen) {
        // Not a repository yet, but it may become one.
        seen.add(&dir.place, What::Repository, Done::Nothing);
    }
    if at.of_repository {
        hooks(dir, entries, seen);
    }
    if let Some(settings) = &at.settings
        && entries
            .iter()
            .any(|entry| says_something(&entry.name) && dir.is_new(&entry.name, seen))
    {
        seen.add_once(settings, What::Settings, Done::Nothing);
    }
    for entry in entries {
        let name = entry.name.to_str().unwrap_or_default();
        // An entry that was looked up by name also appears in a later part.
        if !at.first && is_asked(name) {
            continue;
        }
        if name == ".git" && entry.kind != FileType::Directory {
            // A removed link is no longer new.
            if dir.is_new(&entry.name, seen) {
                seen.add(&dir.place.join(".git"), What::Repository, Done::Nothing);
            }
        } else if (protected_defaults::is_settings(&dir.place, name)
            || entry.kind != FileType::Directory && protected_defaults::is_deeper(&dir.place, name))
            // A socket is not read as settings. A placeholder whose mode the host changed is a socket, too.
            && entry.kind != FileType::Socket
            && dir.is_new(&entry.name, seen)
            && !(entry.kind == FileType::Directory && is_copy(dir, name))
        {
            seen.add_once(&dir.place.join(&entry.name), What::Settings, Done::Nothing);
        }
    }
}

/// Whether a file in a settings directory has an effect: `.gitignore` is only for git, and creel's own
/// placeholders contain it, which may have been copied.
fn says_something(name: &Path) -> bool {
    name != Path::new(".gitignore")
}

/// Whether a settings directory is a copy of a placeholder.
fn is_copy(dir: &Dir, name: &str) -> bool {
    let held = dir.behind(name).and_then(|held| held.part(|_, _| true));
    held.is_some_and(|part| matches!(&part.entries[..], [one] if !says_something(&one.name)))
}

fn repository(dir: &Dir, entries: &[Entry], seen: &mut Seen) {
    let linked = |name: &str| {
        let mut entries = entries.iter();
        entries.any(|e| e.kind == FileType::Symlink && e.name == Path::new(name))
    };
    let leads = |name: &&str| dir.is_new(name, seen);
    // HEAD of a repository in use changes with every checkout.
    let config = LEADING.iter().filter(|name| **name != "HEAD").any(leads)
        || linked("info") && dir.is_new("info", seen);
    let marks = ["objects", "refs"].iter().any(|name| {
        // A new directory has no subdirectories from before; a used one has.
        dir.is_new(name, seen) && dir.stat(name).is_some_and(|stat| stat.st_nlink <= 2)
    });
    let what = match dir.place.ends_with(".git") {
        true if config => Some(What::Repository),
        false if config || marks || leads(&"HEAD") => Some(What::BareRepository),
        _ => None,
    };
    if let Some(what) = what {
        seen.add_running(&dir.place, what, Done::Nothing, runs(dir));
    }
    if linked("hooks") {
        match dir.is_new("hooks", seen) {
            true => seen.add(&dir.place.join("hooks"), What::Hook, Done::Nothing),
            // Whichever side made the link, the jail can change its target.
            false => {
                let behind = dir.behind("hooks");
                let part = behind.as_ref().and_then(|dir| dir.part(|_, _| true));
                if let (Some(dir), Some(part)) = (behind, part) {
                    hooks(&dir, &part.entries, seen);
                }
            }
        }
    }
}

fn hooks(dir: &Dir, entries: &[Entry], seen: &mut Seen) {
    let is_sample = |entry: &&Entry| entry.name.as_os_str().as_bytes().ends_with(b".sample");
    for entry in entries.iter().filter(|entry| !is_sample(entry)) {
        if dir.is_new(&entry.name, seen) {
            seen.add(&dir.place.join(&entry.name), What::Hook, Done::Nothing);
        }
    }
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
        // It may be of any type: a pipe without a writer is at its end.
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
