//! Renamed files: overlayfs leaves a new file and a whiteout, so a rename is a new file with exactly the contents of a
//! removed one.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, Stat};

use super::diff::{Change, Entry, Kind, same_bytes};
use super::tree;
use creel_sys::Errno;

/// Removed files that are compared with one new file, at most.
const TRIES: usize = 8;
/// Names of a removed directory that are looked at, at most.
const MOST: usize = 100_000;

/// Names the removed file of each new one that has its contents. Each removed file is named once.
pub(super) fn find(entries: &mut [Entry], upper: BorrowedFd<'_>, host: BorrowedFd<'_>) {
    let is_file = |kind: Kind, size: i64| kind == Kind::File && size > 0;
    let wants = |entry: &Entry| {
        entry.change == Change::Added && is_file(entry.kind, entry.size.cast_signed())
    };
    if !entries.iter().any(wants) {
        return;
    }
    let mut removed: HashMap<i64, Vec<(PathBuf, Stat)>> = HashMap::new();
    let gone = entries.iter().filter(|e| e.change == Change::Deleted);
    for entry in gone {
        for (path, stat) in statuses(host, &entry.path) {
            if is_file(Kind::of(&stat), stat.st_size) {
                removed.entry(stat.st_size).or_default().push((path, stat));
            }
        }
    }
    for entry in entries.iter_mut().filter(|entry| wants(entry)) {
        let Some(candidates) = removed.get_mut(&entry.size.cast_signed()) else {
            continue;
        };
        // A rename keeps the time.
        let modified = entry.upper.map(|upper| upper.modified());
        candidates.sort_by_key(|(_, stat)| {
            modified != Some((stat.st_mtime, stat.st_mtime_nsec.cast_signed()))
        });
        let same =
            |(path, _): &(PathBuf, Stat)| is_same(upper, &entry.path, host, path).unwrap_or(false);
        if let Some(at) = candidates.iter().take(TRIES).position(same) {
            entry.from = Some(candidates.swap_remove(at).0);
        }
    }
}

/// The files and links at a path of the host, or beneath it.
pub(super) fn all(host: BorrowedFd<'_>, path: &Path) -> Vec<(PathBuf, Kind)> {
    let all = statuses(host, path).into_iter();
    all.map(|(path, stat)| (path, Kind::of(&stat)))
        .filter(|(_, kind)| matches!(kind, Kind::File | Kind::Link))
        .collect()
}

fn statuses(host: BorrowedFd<'_>, path: &Path) -> Vec<(PathBuf, Stat)> {
    let mut found = vec![];
    let mut waiting = vec![path.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let Ok(Some(stat)) = tree::status_of(host, &path) else {
            continue;
        };
        if Kind::of(&stat) == Kind::Directory && found.len() < MOST {
            let names = tree::directory(host, &path).and_then(|dir| tree::names(&dir));
            let names = names.into_iter().flatten().rev();
            waiting.extend(names.map(|name| path.join(name)));
        }
        found.push((path, stat));
    }
    found
}

fn is_same(
    upper: BorrowedFd<'_>,
    new: &Path,
    host: BorrowedFd<'_>,
    old: &Path,
) -> Result<bool, Errno> {
    let new = tree::open(upper, new, OFlags::RDONLY)?;
    let old = tree::open(host, old, OFlags::RDONLY)?;
    same_bytes(new.as_fd(), old.as_fd())
}
