//! Expands a policy's patterns to the names that match on this host, once, before the plan is made.
//!
//! The walk follows no link under a `**` and is bounded. It fails if the result would be incomplete: at its
//! limits, at a directory of a denial that cannot be listed, at a name that is not text. It returns only
//! names; [`probe`](mod@super::probe) pins them like paths that a user wrote.

use std::fs::DirEntry;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{JailError, pins};
use creel_policy::expand::Wanted;
use creel_policy::glob::{Part, Pattern, Sense, seen};
use creel_policy::rights::Roots;
use creel_sys::Errno;

/// Names that one pattern may match: each is a mount.
pub const MOST_NAMES: usize = 256;
/// Directory entries that all patterns of a run may read.
pub const MOST_ENTRIES: usize = 100_000;
/// Nested directories that a `**` may match.
pub const MOST_LEVELS: usize = 32;

/// Expands patterns, within one limit for all of them.
#[derive(Debug, Default)]
pub struct Finder {
    entries: usize,
}

impl Finder {
    /// Returns the names that match, sorted; an error if the result would be incomplete.
    pub fn find(&mut self, wanted: &Wanted) -> Result<Vec<String>, JailError> {
        let pattern = Pattern::parse(&wanted.pattern);
        let own = Roots::symbolic();
        let base = pattern.base();
        if [&own.home, &own.workspace]
            .iter()
            .any(|root| Path::new(&base).starts_with(root))
        {
            let why = "the directory before its first wildcard has a name that is not UTF-8";
            return Err(refused(wanted, why, "use no pattern there"));
        }
        let mut walk = Walk {
            wanted,
            entries: &mut self.entries,
            found: vec![],
            base: Path::new(&base).canonicalize().ok(),
        };
        walk.along(Path::new("/"), pattern.parts(), 0)?;
        let mut names = walk.found;
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn refused(wanted: &Wanted, why: impl Into<String>, remedy: &'static str) -> JailError {
    JailError::Pattern {
        pattern: wanted.written.escape_debug().to_string(),
        origin: wanted.origin.clone(),
        why: why.into(),
        remedy,
    }
}

struct Walk<'a> {
    wanted: &'a Wanted,
    entries: &'a mut usize,
    found: Vec<String>,
    /// The real path of what precedes the first wildcard.
    base: Option<PathBuf>,
}

impl Walk<'_> {
    /// Matches `parts` beneath `dir`. `level`: directories that the `**` has matched so far.
    fn along(&mut self, dir: &Path, parts: &[Part], level: usize) -> Result<(), JailError> {
        let Some((part, rest)) = parts.split_first() else {
            return Ok(());
        };
        match part {
            Part::Name(name) => self.step(&dir.join(name), rest),
            Part::Wild(_) => {
                for entry in self.list(dir)? {
                    let name = entry.file_name();
                    let text = name.to_string_lossy();
                    let sense = self.wanted.sense;
                    // A denial matches every spelling that leads to a name; a grant only the written one.
                    let spelt = sense == Sense::Denial
                        && part.accepts_folded(&text, sense)
                        && folds(dir, &text);
                    if part.accepts(&text, sense) || spelt {
                        self.step(&dir.join(name), rest)?;
                    }
                }
                Ok(())
            }
            Part::Deep => {
                if level > MOST_LEVELS {
                    let why = format!("it leads through more than {MOST_LEVELS} directories");
                    return Err(self.refused(why, "write a longer path before the first wildcard"));
                }
                let before = self.found.len();
                self.along(dir, rest, 0)?;
                let met = self.found.get(before..).unwrap_or_default().to_vec();
                for entry in self.list(dir)? {
                    let path = entry.path();
                    // A directory that matches includes everything beneath it.
                    let whole = met.iter().any(|name| Path::new(name) == path);
                    let hidden = !seen(&entry.file_name().to_string_lossy(), self.wanted.sense);
                    if !whole && !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        self.along(&path, parts, level + 1)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Continues at `path` if it exists.
    fn step(&mut self, path: &Path, rest: &[Part]) -> Result<(), JailError> {
        match rest.is_empty() {
            // A dangling link is a name too.
            true if path.symlink_metadata().is_ok() => self.keep(path),
            true => Ok(()),
            // Follows links, as for a path that a user wrote.
            false if path.is_dir() => self.along(path, rest, 0),
            false => Ok(()),
        }
    }

    fn keep(&mut self, path: &Path) -> Result<(), JailError> {
        let text = path
            .to_str()
            .filter(|text| !text.contains(char::is_control));
        let Some(text) = text else {
            let why = format!(
                "it matches {}, whose name is not plain text",
                path.to_string_lossy().escape_debug()
            );
            return Err(self.refused(why, "rename that file, or list the paths"));
        };
        if self.found.len() == MOST_NAMES && !self.found.iter().any(|known| known == text) {
            let why = format!("it matches more than {MOST_NAMES} names");
            return Err(self.refused(why, "name the directory that contains them"));
        }
        // A process that can create files in a directory controls what a pattern matches there, so a target
        // elsewhere needs a path that the policy's author wrote. A dangling link grants nothing.
        let real = path.canonicalize().ok();
        if let (Sense::Grant, Some(base), Some(real)) = (self.wanted.sense, &self.base, real)
            && !real.starts_with(base)
        {
            let why = format!("{} is a symbolic link out of {}", text, base.display());
            return Err(self.refused(why, "grant its target by its full path, if it is meant"));
        }
        self.found.push(text.to_owned());
        Ok(())
    }

    fn list(&mut self, dir: &Path) -> Result<Vec<DirEntry>, JailError> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return self.unlisted(dir, &error).map(|()| vec![]),
        };
        let mut all = vec![];
        for entry in entries {
            *self.entries += 1;
            if *self.entries > MOST_ENTRIES {
                let why = format!(
                    "the patterns of this run look at more than {MOST_ENTRIES} files and directories"
                );
                return Err(self.refused(why, "write a longer path before the first wildcard"));
            }
            match entry {
                Ok(entry) => all.push(entry),
                Err(error) => self.unlisted(dir, &error)?,
            }
        }
        all.sort_by_key(DirEntry::file_name);
        Ok(all)
    }

    /// A grant ignores a directory that cannot be listed; a denial fails.
    fn unlisted(&self, dir: &Path, error: &std::io::Error) -> Result<(), JailError> {
        let gone = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        // This error is not about the directory, and a partial grant is not what the policy says.
        let own = Errno::from_io_error(error).is_some_and(pins::is_own);
        if own {
            let why = format!("{} cannot be listed ({error})", dir.display());
            return Err(self.refused(why, "raise creel's limit of open files: ulimit -n"));
        }
        if gone || self.wanted.sense == Sense::Grant || !passable(dir) {
            return Ok(());
        }
        let why = format!(
            "{} cannot be listed ({error})",
            PathBuf::from(dir).display()
        );
        Err(self.refused(why, "name the denied paths, or the directory itself"))
    }

    fn refused(&self, why: impl Into<String>, remedy: &'static str) -> JailError {
        refused(self.wanted, why, remedy)
    }
}

/// Whether another spelling of an entry's name leads to the same inode.
fn folds(dir: &Path, name: &str) -> bool {
    let swap = |c: char| match c.is_lowercase() {
        true => c.to_uppercase().next().unwrap_or(c),
        false => c.to_lowercase().next().unwrap_or(c),
    };
    let other: String = name.chars().map(swap).collect();
    let inode = |name: &str| {
        let meta = dir.join(name).symlink_metadata().ok()?;
        Some((meta.dev(), meta.ino()))
    };
    other != name && inode(name).is_some() && inode(name) == inode(&other)
}

/// Whether this process may look names up in the directory.
fn passable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_policy::Origin;

    fn wanted(dir: &Path, pattern: &str, sense: Sense) -> Wanted {
        Wanted {
            pattern: format!("{}/{pattern}", dir.display()),
            written: pattern.into(),
            sense,
            origin: Origin::creel(),
        }
    }

    fn found(dir: &Path, pattern: &str, sense: Sense) -> Result<Vec<String>, String> {
        let names = Finder::default().find(&wanted(dir, pattern, sense));
        let names = names.map_err(|error| error.to_string())?;
        let prefix = format!("{}/", dir.display());
        Ok(names.iter().map(|n| n.replace(&prefix, "")).collect())
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn the_walk_finds_what_the_pattern_meets() {
        let files = [
            "a.pem", "b.txt", ".env", "x/a.pem", "x/y/.env", ".h/a.pem", "x/[k]",
        ];
        let dir = tree(&files);
        let dir = dir.path();
        std::os::unix::fs::symlink("x", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("dangling.pem")).unwrap();
        let all = [
            "a.pem", "b.txt", ".env", "x", "x/a.pem", "x/y", "x/y/.env", ".h", ".h/a.pem",
        ];
        let all = all.into_iter().chain(["x/[k]", "link", "dangling.pem"]);
        let all: Vec<&str> = all.collect();
        for pattern in [
            "*.pem", "**/*.pem", "**/.env", "*", "x/*", "?.txt", "[a-b].*", "**/y/*",
        ] {
            for sense in [Sense::Grant, Sense::Denial] {
                let text = Pattern::parse(&format!("/{pattern}"));
                let mut expected: Vec<&str> = all.clone();
                expected.retain(|path| text.meets(&format!("/{path}"), sense));
                expected.sort_unstable();
                assert_eq!(
                    found(dir, pattern, sense).unwrap(),
                    expected,
                    "{pattern} {sense:?}"
                );
            }
        }
        std::os::unix::fs::symlink("/etc", dir.join("out")).unwrap();
        for pattern in ["*", "*/passwd", "o?t/*"] {
            let refused = found(dir, pattern, Sense::Grant).unwrap_err();
            assert!(refused.contains("is a symbolic link out of"), "{refused}");
            assert!(found(dir, pattern, Sense::Denial).is_ok());
        }
        std::fs::remove_file(dir.join("out")).unwrap();
        // Through a link by a single star, as by a name; never by two.
        let met = found(dir, "*/a.pem", Sense::Grant).unwrap();
        assert_eq!(met, ["link/a.pem", "x/a.pem"]);
        assert_eq!(found(dir, "x/[[]k]", Sense::Grant).unwrap(), ["x/[k]"]);
        assert!(found(dir, "nothing/*", Sense::Denial).unwrap().is_empty());
    }

    #[test]
    fn what_is_met_whole_is_not_entered() {
        let dir = tree(&["m/a/m/x", "m/b"]);
        assert_eq!(found(dir.path(), "**/m", Sense::Grant).unwrap(), ["m"]);
        assert_eq!(found(dir.path(), "**", Sense::Grant).unwrap(), ["m"]);
    }

    #[test]
    fn the_walk_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..MOST_NAMES {
            std::fs::write(dir.path().join(format!("{at}.k")), "").unwrap();
        }
        assert_eq!(
            found(dir.path(), "*", Sense::Denial).unwrap().len(),
            MOST_NAMES
        );
        std::fs::write(dir.path().join("more.k"), "").unwrap();
        let error = found(dir.path(), "*.k", Sense::Denial).unwrap_err();
        assert!(
            error.contains("more than 256 names; name the directory"),
            "{error}"
        );
        let deep = tempfile::tempdir().unwrap();
        let names = "d/".repeat(MOST_LEVELS + 2);
        std::fs::create_dir_all(deep.path().join(names)).unwrap();
        let error = found(deep.path(), "**/x", Sense::Denial).unwrap_err();
        assert!(error.contains("more than 32 directories"), "{error}");
        let mut finder = Finder {
            entries: MOST_ENTRIES - 3,
        };
        let error = finder.find(&wanted(dir.path(), "*.none", Sense::Grant));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("look at more than 100000")
        );
    }

    #[test]
    fn a_name_that_is_no_plain_text_is_refused() {
        let dir = tree(&["a\nb.pem", "ok.txt"]);
        let error = found(dir.path(), "*.pem", Sense::Grant).unwrap_err();
        assert!(error.contains("not plain text; rename"), "{error}");
        assert_eq!(
            found(dir.path(), "*.txt", Sense::Grant).unwrap(),
            ["ok.txt"]
        );
    }
}
