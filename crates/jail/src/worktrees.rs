//! Linked worktrees of a repository (git-worktree(1)): which files of the existing ones lead git to
//! configuration and hooks. The jail may make new ones; existing ones belong to others, and lie anywhere.

use std::fs::{DirEntry, FileType};
use std::io::Result;
use std::path::{Path, PathBuf};

/// Files in a worktree's own directory; the first two always exist.
const LEADING: [&str; 3] = ["commondir", "gitdir", "config.worktree"];
/// If there are more, none is examined: all of them stay as they are.
const MOST: usize = 64;

/// The paths in `.git/worktrees` that must stay as they are; `git` is the repository's own directory.
pub fn leading(git: &Path) -> Vec<PathBuf> {
    let all = git.join("worktrees");
    // git makes no link here, so its target is no worktree of this repository. The jail may have made it; the
    // next run must not fail.
    if all.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
        return vec![];
    }
    let Ok(entries) = std::fs::read_dir(&all) else {
        return vec![];
    };
    let entries: Result<Vec<DirEntry>> = entries.take(MOST + 1).collect();
    match entries {
        Ok(entries) if entries.len() <= MOST => {
            let is_one = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
            let worktrees = entries.iter().filter(|entry| is_one(entry));
            let paths = worktrees.map(|entry| entry.path());
            paths
                .filter(|path| is_plain(path))
                .flat_map(files)
                .collect()
        }
        _ => vec![all],
    }
}

fn files(worktree: PathBuf) -> impl Iterator<Item = PathBuf> {
    LEADING.iter().map(move |name| worktree.join(name))
}

/// git makes no links in a worktree's directory. One with links is not git's, and its maker may change it.
fn is_plain(worktree: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let plain = |path: PathBuf| match path.symlink_metadata() {
        Ok(meta) => FileType::is_file(&meta.file_type()) && meta.nlink() == 1,
        Err(_) => path.ends_with(LEADING[2]),
    };
    files(worktree.into()).all(plain)
}
