//! Sets of directory trees, and their intersections.
//!
//! A grant of `/usr` grants everything beneath it. So a grant is a tree, and a list of grants is a set of
//! trees of which none lies in another. If two layers grant trees of one kind, the result is their
//! intersection: of two nested trees, the inner one. Paths are absolute text without `.`, `..`, double or
//! trailing slashes; `plan` decides what they lead to on a machine.

use std::collections::BTreeMap;

use super::grant::{Absent, Grant};
use super::origin::Origin;

/// The grants of one kind in a layer: everything, or these trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSet {
    /// Not specified: the grants of the layers above stay.
    All,
    /// These trees, by their absolute paths.
    Of(BTreeMap<String, PathRule>),
}

/// The properties of one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// The behaviour if the path does not exist.
    pub absent: Absent,
    /// The place of the rule.
    pub origin: Origin,
}

impl PathRule {
    /// A rule that was written at `origin`.
    pub fn new(absent: Absent, origin: Origin) -> PathRule {
        PathRule { absent, origin }
    }

    /// The tree at `path` as a grant.
    pub fn grant(&self, path: &str) -> Grant {
        Grant::new(path, self.absent, self.origin.clone())
    }

    /// The stricter of two entries for the same path, with the earlier origin.
    pub fn merge(&self, other: &PathRule) -> PathRule {
        PathRule {
            absent: self.absent.stricter(other.absent),
            origin: self.origin.clone().min(other.origin.clone()),
        }
    }
}

impl PathSet {
    /// The trees of grants with expanded paths; a tree inside another one is left out.
    pub fn of(grants: impl IntoIterator<Item = Grant>) -> PathSet {
        let mut all: BTreeMap<String, PathRule> = BTreeMap::new();
        for grant in grants {
            let leaf = PathRule::new(grant.absent, grant.origin);
            match all.get_mut(&grant.path) {
                Some(known) => *known = known.merge(&leaf),
                None => drop(all.insert(grant.path, leaf)),
            }
        }
        let inner: Vec<String> = all
            .keys()
            .filter(|path| above(path).is_some_and(|above| covering(above, &all).is_some()))
            .cloned()
            .collect();
        inner.iter().for_each(|path| drop(all.remove(path)));
        PathSet::Of(all)
    }

    /// The empty set.
    pub fn none() -> PathSet {
        PathSet::Of(BTreeMap::new())
    }

    /// Like [`Self::meet`], but consumes both.
    pub fn met(self, other: PathSet) -> PathSet {
        match (self, other) {
            (PathSet::All, trees) | (trees, PathSet::All) => trees,
            (these, those) => these.meet(&those),
        }
    }

    /// The intersection.
    pub fn meet(&self, other: &PathSet) -> PathSet {
        let (these, those) = match (self, other) {
            (PathSet::All, trees) | (trees, PathSet::All) => return trees.clone(),
            (PathSet::Of(these), PathSet::Of(those)) => (these, those),
        };
        let mut both = BTreeMap::new();
        for (path, leaf) in these {
            if let Some((outer, other)) = covering(path, those) {
                let leaf = match outer == path {
                    true => leaf.merge(other),
                    false => leaf.clone(),
                };
                both.insert(path.clone(), leaf);
            }
        }
        for (path, leaf) in those {
            if !both.contains_key(path) && covering(path, these).is_some() {
                both.insert(path.clone(), leaf.clone());
            }
        }
        PathSet::Of(both)
    }

    /// Keeps only the trees for which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if let PathSet::Of(trees) = self {
            trees.retain(|path, _| keep(path));
        }
    }

    /// The union.
    pub fn join(&self, other: &PathSet) -> PathSet {
        match (self, other) {
            (PathSet::All, _) | (_, PathSet::All) => PathSet::All,
            (these, those) => PathSet::of(these.grants().into_iter().chain(those.grants())),
        }
    }

    /// Whether `path` lies in one of the trees.
    pub fn cover(&self, path: &str) -> bool {
        match self {
            PathSet::All => true,
            PathSet::Of(trees) => covering(path, trees).is_some(),
        }
    }

    /// As grants, in the order of their paths; empty for [`Self::All`].
    pub fn grants(&self) -> Vec<Grant> {
        match self {
            PathSet::All => vec![],
            PathSet::Of(trees) => trees
                .iter()
                .map(|(path, leaf)| Grant::new(path.clone(), leaf.absent, leaf.origin.clone()))
                .collect(),
        }
    }
}

/// The parent directory; `None` if the path has none.
fn above(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        _ if path == "/" => None,
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// The tree that contains `path`. There is at most one, because no tree lies in another.
fn covering<'t>(
    path: &str,
    trees: &'t BTreeMap<String, PathRule>,
) -> Option<(&'t String, &'t PathRule)> {
    let mut prefix = path;
    loop {
        if let Some(found) = trees.get_key_value(prefix) {
            return Some(found);
        }
        prefix = above(prefix)?;
    }
}

/// Whether `path` is `tree` or beneath it.
pub fn within(path: &str, tree: &str) -> bool {
    match path.strip_prefix(tree) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || tree == "/",
        None => false,
    }
}

/// `text` without `.` and redundant slashes. `..` stays, so that the caller can refuse it.
pub fn clean(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for part in text.split('/').filter(|p| !p.is_empty() && *p != ".") {
        path.push('/');
        path.push_str(part);
    }
    match path.is_empty() {
        true => "/".into(),
        false => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees(paths: &[&str]) -> PathSet {
        PathSet::of(paths.iter().map(|path| {
            Grant::new(
                *path,
                Absent::Refuse,
                Origin {
                    source: "test".into(),
                    line: 1,
                },
            )
        }))
    }

    #[test]
    fn of_two_trees_the_inner_one_is_common() {
        let (usr, bin) = (trees(&["/usr", "/etc/ssl"]), trees(&["/usr/bin", "/etc"]));
        assert_eq!(usr.meet(&bin), trees(&["/usr/bin", "/etc/ssl"]));
        assert_eq!(bin.meet(&usr), usr.meet(&bin));
        assert_eq!(usr.meet(&PathSet::All), usr);
        assert_eq!(usr.meet(&trees(&[])), trees(&[]));
        assert_eq!(trees(&["/"]).meet(&bin), bin);
    }

    #[test]
    fn a_name_that_begins_alike_is_another_tree() {
        assert!(!trees(&["/usr"]).cover("/usrlocal"));
        assert!(trees(&["/usr"]).cover("/usr/local"));
        assert!(trees(&["/"]).cover("/usr"));
        assert_eq!(trees(&["/usr"]).meet(&trees(&["/usr2"])), trees(&[]));
    }

    #[test]
    fn what_lies_in_another_is_left_out() {
        assert_eq!(
            trees(&["/usr", "/usr/bin", "/usr-x"]),
            trees(&["/usr", "/usr-x"])
        );
    }

    #[test]
    fn paths_are_cleaned_of_what_says_nothing() {
        assert_eq!(clean("//usr/./bin/"), "/usr/bin");
        assert_eq!(clean("/"), "/");
    }
}
