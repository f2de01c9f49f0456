//! Linked worktrees of a repository (git-worktree(1)): which files of those that are there lead git to
//! configuration and hooks. New ones may be made; these are other people's, and lie anywhere.

use std::fs::{DirEntry, FileType};
use std::io::Result;
use std::path::{Path, PathBuf};

/// In a worktree's own directory; the first two are always there.
const LEADING: [&str; 3] = ["commondir", "gitdir", "config.worktree"];
/// More are not told apart: all of them stay as they are.
const MOST: usize = 64;

/// What of `.git/worktrees` is to stay as it is, `git` being the repository's own directory.
pub fn leading(git: &Path) -> Vec<PathBuf> {
    let all = git.join("worktrees");
    // A link is not git's, and what it leads to is no worktree of this repository: the jail may have
    // made it, and the next run goes on.
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

/// What has links in it was not made by git, and whoever made it may change it.
fn is_plain(worktree: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let plain = |path: PathBuf| match path.symlink_metadata() {
        Ok(meta) => FileType::is_file(&meta.file_type()) && meta.nlink() == 1,
        Err(_) => path.ends_with(LEADING[2]),
    };
    files(worktree.into()).all(plain)
}
