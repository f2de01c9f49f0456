//! The walk over a writable tree: breadth first, and names with a leading dot before others, so that
//! entries near its top are always seen. A long directory is read in parts, after the short ones. The walk
//! follows no link and enters no other filesystem.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, statat};

use super::list::{Dir, Entry, Part, beneath};
use super::names::{At, is_asked, is_listed, look, no_links, of_repository, probed};
use super::{Done, Seen, Tree, What};
use creel_policy::protected_defaults;

/// The most long directories that are open at once.
const MOST_OPEN: usize = 128;
/// The most skipped directories whose status is read.
const MOST_ASKED: u64 = 256;
/// Directories that are read even after the time limit.
const FIRST: usize = 8;

/// Searches by name. Returns the number of regular files.
pub(super) fn names(tree: &Tree, seen: &mut Seen) -> u64 {
    let mut files = 0;
    no_links(tree, seen);
    let mut walk = Walk::new(tree, Looks::Names);
    walk.run(seen, |at, dir, part, seen| {
        files += part.files;
        look(at, dir, &part.entries, seen);
    });
    files
}

/// Checks the mode of every file.
pub(super) fn modes(tree: &Tree, seen: &mut Seen) {
    let mut walk = Walk::new(tree, Looks::Modes);
    walk.run(seen, |_, dir, part, seen| {
        for entry in part
            .entries
            .iter()
            .filter(|e| e.kind == FileType::RegularFile)
        {
            let Some(stat) = dir.stat(&entry.name) else {
                continue;
            };
            let runs = stat.st_mode & 0o4000 != 0 || stat.st_mode & 0o2010 == 0o2010;
            if runs && seen.is_new(stat.st_ctime, stat.st_ctime_nsec) {
                seen.add(&dir.place.join(&entry.name), What::SetId, Done::Nothing);
            }
        }
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Names,
    Modes,
}

struct Walk<'t> {
    tree: &'t Tree,
    looks: Looks,
    queue: VecDeque<At>,
    /// Long directories, read after the others.
    long: VecDeque<(At, Dir)>,
}

impl<'t> Walk<'t> {
    fn new(tree: &'t Tree, looks: Looks) -> Walk<'t> {
        let top = At {
            first: true,
            ..At::default()
        };
        Walk {
            tree,
            looks,
            queue: VecDeque::from([top]),
            long: VecDeque::new(),
        }
    }

    fn run(&mut self, seen: &mut Seen, mut each: impl FnMut(&At, &Dir, &Part, &mut Seen)) {
        let mut count = 0;
        loop {
            count += 1;
            if count > FIRST && seen.over() {
                return self.give_up(seen);
            }
            let (mut at, dir) = if let Some(at) = self.queue.pop_front() {
                let place = &self.tree.place;
                match Dir::open(self.tree.fd.as_fd(), place, &at.relative, at.moved) {
                    Some(dir) => (at, dir),
                    None => {
                        self.unseen(&at, seen);
                        continue;
                    }
                }
            } else if let Some(next) = self.long.pop_front() {
                next
            } else {
                return;
            };
            if at.first {
                self.place(&mut at, seen, &dir);
            }
            let all = at.of_repository || at.settings.is_some() || self.looks == Looks::Modes;
            let part = dir.part(|name, kind| all || kind == FileType::Directory || is_listed(name));
            let Some(mut part) = part else {
                self.unseen(&at, seen);
                continue;
            };
            if self.looks == Looks::Names && part.more && at.first {
                // The most important names are looked up; the rest is read after the other directories.
                probed(&dir, &mut part.entries);
            }
            let dir = Dir {
                moved: at.moved,
                ..dir
            };
            each(&at, &dir, &part, seen);
            self.further(&at, &dir, &part.entries, seen);
            if part.more {
                at.first = false;
                match self.long.len() < MOST_OPEN {
                    true => self.long.push_back((at, dir)),
                    false => self.unseen(&at, seen),
                }
            }
        }
    }

    /// Records whether a directory may have been moved to its place.
    fn place(&self, at: &mut At, seen: &Seen, dir: &Dir) {
        let changed = dir.changed(seen);
        at.moved |= at.above && changed;
        // For the directories beneath it.
        at.above = changed;
    }

    fn further(&mut self, at: &At, dir: &Dir, entries: &[Entry], seen: &Seen) {
        let repository = of_repository(entries);
        let top = at.relative.as_os_str().is_empty();
        // The object store contains no user files, and is large.
        let whole = seen.until.is_none() && self.looks == Looks::Modes;
        // An entry that was looked up by name also appears in a later part.
        let again = |e: &Entry| {
            !at.first && self.looks == Looks::Names && e.name.to_str().is_some_and(is_asked)
        };
        let below = entries
            .iter()
            .filter(|e| e.kind == FileType::Directory && !again(e));
        let below = below.filter(|e| !repository || whole || e.name != Path::new("objects"));
        let beneath = |entry: &Entry| {
            let known = top
                && self
                    .tree
                    .top
                    .binary_search(&(entry.name.clone(), entry.inode))
                    .is_ok();
            let name = entry.name.to_str().unwrap_or_default();
            let is_settings = protected_defaults::is_settings(&dir.place, name);
            let here = is_settings.then(|| dir.place.join(&entry.name));
            At {
                relative: at.relative.join(&entry.name),
                moved: at.moved,
                above: at.above && !known,
                settings: at.settings.clone().or(here),
                of_repository: repository && name == "hooks",
                first: true,
                known,
            }
        };
        let is_dotted = |entry: &Entry| entry.name.as_os_str().as_bytes().starts_with(b".");
        let (dotted, others): (Vec<&Entry>, Vec<&Entry>) = below.partition(|e| is_dotted(e));
        self.queue
            .extend(dotted.into_iter().chain(others).map(beneath));
    }

    fn unseen(&self, at: &At, seen: &mut Seen) {
        if self.looks == Looks::Modes {
            seen.left.modes = false;
            return;
        }
        if !seen.left.unseen_changed && seen.left.unseen < MOST_ASKED {
            let stat = statat(
                &self.tree.fd,
                name_of(&at.relative),
                AtFlags::SYMLINK_NOFOLLOW,
            );
            let changed = stat.is_ok_and(|stat| seen.is_new(stat.st_ctime, stat.st_ctime_nsec));
            seen.left.unseen_changed = at.moved || changed;
        }
        seen.unseen(&beneath(&self.tree.place, &at.relative));
    }

    fn give_up(&self, seen: &mut Seen) {
        let long = self.long.iter().map(|(at, _)| at);
        self.queue
            .iter()
            .chain(long)
            .for_each(|at| self.unseen(at, seen));
    }
}

fn name_of(relative: &Path) -> &OsStr {
    match relative.as_os_str() {
        name if name.is_empty() => OsStr::new("."),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::super::{Left, list};
    use super::*;
    use creel_sys::fd;

    fn left(dir: &Path, over: bool, since: i64) -> Left {
        let pinned = fd::pin(dir).unwrap();
        let tree = Tree {
            place: dir.into(),
            top: list::top(pinned.as_fd()),
            fd: pinned,
        };
        let mut seen = Seen {
            since: rustix::fs::Timespec {
                tv_sec: since,
                tv_nsec: 0,
            },
            until: over.then(Instant::now),
            left: Left::default(),
        };
        names(&tree, &mut seen);
        seen.left
    }

    /// However long directories are and however little time is left, what is at the top is seen.
    #[test]
    fn long_directories_hide_nothing_above_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["long", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for at in 0..1000 {
            fs::write(dir.path().join(format!("file-{at}")), "").unwrap();
            fs::write(dir.path().join(format!("long/file-{at}")), "").unwrap();
        }
        for name in [
            ".vscode",
            ".hg",
            ".jj/repo",
            "other/.git/objects",
            "other/.git/refs",
        ] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        for name in [
            ".envrc",
            ".hg/hgrc",
            ".jj/repo/config.toml",
            "long/.envrc",
            "other/.git/HEAD",
            "other/.git/config",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let paths = |left: &Left| -> Vec<String> {
            let short = |path: &str| {
                let path = Path::new(path).strip_prefix(dir.path()).unwrap();
                path.display().to_string()
            };
            let mut all: Vec<String> = left.found.iter().map(|one| short(&one.path)).collect();
            all.sort();
            all
        };
        let expected = [
            ".envrc",
            ".hg/hgrc",
            ".jj/repo/config.toml",
            ".vscode",
            "long/.envrc",
            "other/.git",
        ];
        let whole = left(dir.path(), false, 0);
        assert_eq!(paths(&whole), expected);
        assert_eq!((whole.unseen, whole.unseen_changed), (0, false));
        let hurried = left(dir.path(), true, 0);
        assert!(hurried.unseen > 0 && hurried.unseen_changed, "{hurried:?}");
        for name in [".envrc", ".vscode", ".hg/hgrc"] {
            assert!(
                paths(&hurried).iter().any(|path| path == name),
                "{name}: {hurried:?}"
            );
        }
        // The control: what is older is not said.
        let later = left(dir.path(), true, i64::MAX);
        assert_eq!((later.found.len(), later.unseen_changed), (0, false));
    }
}
