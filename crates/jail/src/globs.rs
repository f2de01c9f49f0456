//! Expands a policy's patterns to the names that match on this host, once, before the plan is made.
//!
//! All patterns share one walk (`walk`), so a tree is read once, however many patterns lead through it. The
//! walk follows no link under a `**`. It counts every entry and is bounded (`tally`). It fails if the result would
//! be incomplete: at its limits, at a directory of a denial that cannot be listed, at a name that is not
//! text. It returns only names; [`probe`](mod@super::probe) pins them like paths that a user wrote.

mod lookup;
mod places;
mod tally;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::JailError;
use creel_policy::expand::Wanted;
use creel_policy::glob::Pattern;
use creel_policy::rights::Roots;
use places::Sought;
use tally::Tally;

/// Names that one pattern may match: each is a mount.
pub const MOST_NAMES: usize = 256;
/// Directory entries that all patterns of a run may read.
pub const MOST_ENTRIES: usize = 100_000;
/// Nested directories that a `**` may match.
pub const MOST_LEVELS: usize = 32;

/// Expands patterns, within one limit for all of them.
#[derive(Debug, Default)]
pub struct Finder {
    tally: Tally,
    /// By [`Wanted::key`].
    known: BTreeMap<String, Vec<String>>,
}

impl Finder {
    /// Expands these patterns in one walk; an error if the result would be incomplete.
    pub fn of(wanted: &[Wanted]) -> Result<Finder, JailError> {
        let mut finder = Finder::default();
        let looked = finder.look(wanted)?;
        finder.known.extend(looked);
        Ok(finder)
    }

    /// Returns the names that match, sorted. A pattern that [`Finder::of`] did not get has a walk of its own.
    pub fn find(&mut self, wanted: &Wanted) -> Result<Vec<String>, JailError> {
        let key = wanted.key();
        if let Some(names) = self.known.get(&key) {
            return Ok(names.clone());
        }
        let looked = self.look(std::slice::from_ref(wanted))?;
        let names: Vec<String> = looked.into_iter().flat_map(|(_, names)| names).collect();
        self.known.insert(key, names.clone());
        Ok(names)
    }

    /// The number of directory entries that were read.
    pub fn entries(&self) -> usize {
        self.tally.entries()
    }

    /// The names that each pattern matches, by its key.
    fn look(&mut self, wanted: &[Wanted]) -> Result<Vec<(String, Vec<String>)>, JailError> {
        let mut sought: Vec<Sought<'_>> = vec![];
        let mut keys = BTreeSet::new();
        for one in wanted.iter().filter(|one| keys.insert(one.key())) {
            let pattern = Pattern::parse(&one.pattern);
            in_known_roots(one, &pattern)?;
            sought.push(Sought::new(one, &pattern));
        }
        let found = walk::walk(&sought, &mut self.tally)?;
        let keys = sought.iter().map(|one| one.wanted.key());
        Ok(keys.zip(found).collect())
    }
}

/// Refuses a pattern beneath a root whose path is not text, and so unknown here.
fn in_known_roots(wanted: &Wanted, pattern: &Pattern) -> Result<(), JailError> {
    let own = Roots::symbolic();
    let base = pattern.base();
    match [&own.home, &own.workspace]
        .iter()
        .any(|root| Path::new(&base).starts_with(root))
    {
        true => Err(refused(
            wanted,
            "the directory before its first wildcard has a name that is not UTF-8",
            "use no pattern there",
        )),
        false => Ok(()),
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

/// A path for a message.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.contains(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_policy::{Origin, glob::Sense};

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
            tally: Tally::after(MOST_ENTRIES - MOST_NAMES),
            ..Finder::default()
        };
        let error = finder.find(&wanted(dir.path(), "*.none", Sense::Grant));
        let error = error.unwrap_err().to_string();
        let told = format!(
            "the patterns of this run look at more than 100000 files and directories, 257 of them in {}; \
             write a longer path before the first wildcard",
            dir.path().display()
        );
        assert!(error.ends_with(&told), "{error}");
    }

    #[test]
    fn the_limit_names_the_pattern_that_looks_at_most() {
        let dir = tree(&["a/1", "a/2", "b/1", "b/c/1", "b/c/2", "b/c/3"]);
        let deny = |pattern| wanted(dir.path(), pattern, Sense::Denial);
        let all = [deny("a/*"), deny("**/x"), deny("**/*y"), deny("b/*")];
        // Each entry counts once, for however many patterns.
        let mut finder = Finder {
            tally: Tally::after(MOST_ENTRIES - 9),
            ..Finder::default()
        };
        assert!(finder.look(&all).is_ok());
        assert_eq!(finder.entries(), MOST_ENTRIES);
        let mut finder = Finder {
            tally: Tally::after(MOST_ENTRIES - 8),
            ..Finder::default()
        };
        let error = finder.look(&all).unwrap_err().to_string();
        assert!(error.contains(" **/x cannot be expanded"), "{error}");
        let fullest = format!(", 3 of them in {}/b/c;", dir.path().display());
        assert!(error.contains(&fullest), "{error}");
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
