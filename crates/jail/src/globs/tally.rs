//! The count of directory entries that the patterns of a run read, and its limit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{MOST_ENTRIES, shown};

/// The entries that were read, by directory.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: usize,
    directories: Vec<(PathBuf, usize)>,
}

/// The limit is exceeded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exceeded;

impl Tally {
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Begins the count of a directory.
    pub fn begin(&mut self, directory: &Path) {
        self.directories.push((directory.into(), 0));
    }

    /// Counts one entry of the last directory.
    pub fn count(&mut self) -> Result<(), Exceeded> {
        self.entries += 1;
        if let Some((_, entries)) = self.directories.last_mut() {
            *entries += 1;
        }
        match self.entries > MOST_ENTRIES {
            true => Err(Exceeded),
            false => Ok(()),
        }
    }

    /// Why the limit is exceeded, with the directory to leave out.
    pub fn told(&self) -> String {
        let why = format!(
            "the patterns of this run look at more than {MOST_ENTRIES} files and directories"
        );
        match self.fullest() {
            Some((directory, entries)) => {
                format!("{why}, {entries} of them in {}", shown(&directory))
            }
            None => why,
        }
    }

    /// The directory to leave out: the fullest beneath the one that contains all entries, and from there down
    /// while one directory contains more than half of its parent's.
    fn fullest(&self) -> Option<(PathBuf, usize)> {
        let mut beneath: BTreeMap<&Path, usize> = BTreeMap::new();
        for (directory, entries) in &self.directories {
            for above in directory.ancestors() {
                *beneath.entry(above).or_default() += entries;
            }
        }
        let mut at: (&Path, usize) = beneath.first_key_value().map(|(path, n)| (*path, *n))?;
        loop {
            let children = beneath
                .iter()
                .filter(|(path, _)| path.parent() == Some(at.0));
            // The first of two that are equal.
            let Some((path, entries)) = children.rev().max_by_key(|(_, entries)| **entries) else {
                break;
            };
            if at.1 < self.entries && entries * 2 <= at.1 {
                break;
            }
            at = (path, *entries);
        }
        Some((at.0.into(), at.1))
    }
}

#[cfg(test)]
impl Tally {
    /// As if this number of entries had been read.
    pub fn after(entries: usize) -> Tally {
        Tally {
            entries,
            ..Tally::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(directories: &[(&str, usize)]) -> String {
        let directories: Vec<(PathBuf, usize)> = directories
            .iter()
            .map(|(path, entries)| ((*path).into(), *entries))
            .collect();
        let tally = Tally {
            entries: directories.iter().map(|(_, entries)| entries).sum(),
            directories,
        };
        tally.told()
    }

    #[test]
    fn the_directory_that_contains_most_is_named() {
        for (directories, named) in [
            // One tree has most of the entries, one directory of it few.
            (
                &[
                    ("/w", 3),
                    ("/w/a", 10),
                    ("/w/b", 2),
                    ("/w/b/x", 85),
                    ("/w/b/y", 85),
                ][..],
                ", 172 of them in /w/b",
            ),
            (
                &[("/w", 1), ("/w/b", 1), ("/w/b/x", 90)],
                ", 90 of them in /w/b/x",
            ),
            // None has: the fullest beneath the base.
            (
                &[("/w", 3), ("/w/a", 20), ("/w/b", 21), ("/w/c", 20)],
                ", 21 of them in /w/b",
            ),
            (
                &[("/w", 2), ("/w/a", 20), ("/w/b", 20)],
                ", 20 of them in /w/a",
            ),
            (&[("/w", 20)], ", 20 of them in /w"),
            (&[("/w\n", 20)], ", 20 of them in /w\\n"),
            (&[], "files and directories"),
        ] {
            let told = told(directories);
            assert!(told.ends_with(named), "{told}");
        }
    }
}
