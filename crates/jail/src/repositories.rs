//! Finds the repositories that git may find from a directory, looking upwards as git does (setup.c).
//!
//! [`super::gitnames`] reads their files and determines what git obeys.

use std::path::{Path, PathBuf};

use super::gitfile::{MOST_BYTES, contents, path, pointer};
use creel_policy::gitconfig;

/// Repositories that are returned, at most: the nearest one and those furthest up.
const MOST: usize = 32;
/// Bytes of a HEAD that git reads to validate it.
const SEEN_OF_HEAD: usize = 255;
/// Directories that git requires in a repository.
pub(super) const MARKS: [&str; 2] = ["objects", "refs"];

/// A possible repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The directory with its files; for a bare one its own directory.
    pub worktree: PathBuf,
    /// Its own directory, or that of a linked worktree.
    pub git: PathBuf,
    /// The directory that all worktrees share.
    pub common: PathBuf,
}

/// All that git may take for the repository of `start`, the nearest first, and whether some were left out. No
/// candidate ends the search, whatever git makes of it now: a jail can make, and later remove, what looks
/// like a repository and what git skips.
pub fn candidates(start: &Path) -> (Vec<Repository>, bool) {
    let mut all = vec![];
    for dir in start.ancestors() {
        let own = named(dir);
        // A valid repository in `.git` hides a bare one.
        let bare = !own.as_ref().is_some_and(is_one) && looks_bare(dir);
        all.extend(own);
        all.extend(bare.then(|| at(dir, dir.into())));
    }
    let more = all.len().saturating_sub(MOST);
    if more > 0 {
        all.drain(1..=more);
    }
    (all, more > 0)
}

/// The repository that git finds. git skips a `.git` directory that is not a repository, and stops at a `.git`
/// file that does not lead to one.
pub fn found(start: &Path) -> Option<Repository> {
    for dir in start.ancestors() {
        let file = dir.join(".git").metadata().is_ok_and(|meta| meta.is_file());
        match named(dir).filter(is_one) {
            Some(repository) => return Some(repository),
            None if file => return None,
            None => {}
        }
        let bare = at(dir, dir.into());
        if is_one(&bare) {
            return Some(bare);
        }
    }
    None
}

/// The repository that the name `.git` in a directory leads to.
fn named(dir: &Path) -> Option<Repository> {
    let git = dir.join(".git");
    let meta = git.metadata().ok()?;
    if meta.is_dir() {
        return Some(at(dir, git));
    }
    let text = pointer(&git).filter(|_| meta.is_file())?;
    let to = path(text.strip_prefix(b"gitdir:")?.trim_ascii());
    Some(at(dir, dir.join(to)))
}

fn at(worktree: &Path, git: PathBuf) -> Repository {
    Repository {
        worktree: worktree.into(),
        common: common(&git),
        git,
    }
}

/// Whether it looks like a bare repository. The contents of HEAD do not count: a jail may write it.
fn looks_bare(dir: &Path) -> bool {
    dir.join("HEAD").symlink_metadata().is_ok()
        && (MARKS.iter().all(|name| dir.join(name).is_dir()) || dir.join("commondir").is_file())
}

/// Whether git takes it for a repository (is_git_directory).
pub fn is_one(repository: &Repository) -> bool {
    let head = repository.git.join("HEAD");
    let valid = match head.read_link() {
        Ok(target) => target.starts_with("refs"),
        Err(_) => pointer(&head).is_some_and(|text| is_head(&text)),
    };
    valid
        && MARKS
            .iter()
            .all(|name| repository.common.join(name).is_dir())
}

/// Whether git accepts the text as a HEAD (validate_headref).
pub fn is_head(text: &[u8]) -> bool {
    let text = &text[..text.len().min(SEEN_OF_HEAD)];
    if let Some(rest) = text.strip_prefix(b"ref:") {
        let spaces = rest.iter().take_while(|b| b" \t\n\r".contains(b)).count();
        return rest[spaces..].starts_with(b"refs/");
    }
    text.iter().take_while(|b| b.is_ascii_hexdigit()).count() >= 40
}

/// Whether the directory that a `.git` file names points back, as git makes it for a linked worktree
/// (`gitdir`) or a submodule (`core.worktree`), and lies where git puts one: in `worktrees` of the common
/// directory, or in `modules` of a repository. The file alone proves nothing: any process that can write
/// there can make it.
pub fn leads_back(repository: &Repository) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let back = |path: &Path, to: &Path| real(path).is_some() && real(path) == real(to);
    let (Some(git), Some(common)) = (real(&repository.git), real(&repository.common)) else {
        return false;
    };
    if git != common {
        let text = pointer(&git.join("gitdir")).unwrap_or_default();
        let file = git.join(path(text.trim_ascii()));
        return git.parent() == Some(&common.join("worktrees"))
            && back(&file, &repository.worktree.join(".git"));
    }
    let config = contents(&git.join("config"), MOST_BYTES);
    let entries = gitconfig::parse(&config.ok().flatten().unwrap_or_default());
    let mut said = entries.iter().filter(|e| e.name() == "core.worktree");
    let back = said
        .next_back()
        .is_some_and(|entry| back(&git.join(path(&entry.value)), &repository.worktree));
    let modules = git.ancestors().filter(|dir| dir.ends_with("modules"));
    let mut supers = modules.filter_map(Path::parent);
    back && supers.any(|dir| is_one(&at(dir, dir.into())))
}

/// Whether all of it that leads git belongs to `uid`, and is not world-writable.
pub fn is_of(repository: &Repository, uid: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Repository { git, common, .. } = repository;
    let own = |dir: &Path, name: &str| match dir.join(name).symlink_metadata() {
        Ok(meta) => meta.uid() == uid && (meta.is_symlink() || meta.mode() & 0o002 == 0),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let names = ["", "HEAD", "gitdir", "commondir", "config"];
    names.iter().all(|name| own(git, name) && own(common, name))
        && MARKS.iter().all(|name| own(common, name))
}

fn common(git: &Path) -> PathBuf {
    match pointer(&git.join("commondir")) {
        // The text `.`, of another run's placeholder, means the same as an absent file.
        Some(text) if text.trim_ascii() != b"." => git.join(path(text.trim_ascii())),
        _ => git.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    const HEAD: &str = "ref: refs/heads/x\n";

    #[test]
    fn a_repository_is_found_where_git_finds_it_and_what_is_above_is_told() {
        let dir = made(&[
            (".git/HEAD", HEAD),
            (".git/objects/x", ""),
            (".git/refs/x", ""),
            ("sub/x", ""),
            ("empty/.git/x", ""),
            ("nowhere/.git", "gitdir: ../none\n"),
            ("junk/.git", "junk"),
            ("files/HEAD", HEAD),
            ("files/objects", ""),
            ("files/refs", ""),
            ("apart/.git", "gitdir: ../own\n"),
            ("own/HEAD", HEAD),
            ("own/commondir", "../.git\n"),
            ("bare/HEAD", HEAD),
            ("bare/objects/x", ""),
            ("bare/refs/x", ""),
            ("bare/.git/x", ""),
        ]);
        let short = |repository: Repository| {
            let place = repository.git;
            let rest = place.strip_prefix(dir.path()).unwrap().to_owned();
            rest.display().to_string()
        };
        for (name, takes, told) in [
            ("sub", Some(".git"), &[".git"][..]),
            ("empty", Some(".git"), &["empty/.git", ".git"]),
            ("nowhere", None, &["nowhere/../none", ".git"]),
            ("junk", None, &[".git"]),
            ("files", Some(".git"), &[".git"]),
            ("apart", Some("apart/../own"), &["apart/../own", ".git"]),
            ("own", Some("own"), &["own", ".git"]),
            ("bare", Some("bare"), &["bare/.git", "bare", ".git"]),
        ] {
            let start = dir.path().join(name);
            assert_eq!(found(&start).map(short).as_deref(), takes, "{name}");
            let (all, more) = candidates(&start);
            let all: Vec<String> = all.into_iter().map(short).collect();
            assert_eq!(
                (all, more),
                (told.iter().map(|t| t.to_string()).collect(), false)
            );
        }
    }

    /// However many are forged between them, the nearest and the furthest are told.
    #[test]
    fn the_bound_leaves_out_what_is_between() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().to_path_buf();
        for _ in 0..MOST + 3 {
            std::fs::create_dir(deep.join(".git")).unwrap();
            deep.push("d");
            std::fs::create_dir(&deep).unwrap();
        }
        let (all, more) = candidates(&deep);
        assert_eq!((all.len(), more), (MOST, true));
        assert_eq!(Some(all[0].worktree.as_path()), deep.parent());
        assert_eq!(all[MOST - 1].worktree, dir.path());
    }
}
