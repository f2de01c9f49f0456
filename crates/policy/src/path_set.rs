//! Sets of directory trees, and their intersections.
//!
//! A grant of `/usr` grants everything beneath it. So a grant is a tree, and a list of grants is a set of
//! trees of which none lies in another. If two layers grant trees of one kind, the result is their
//! intersection: of two nested trees, the inner one. Paths are absolute text without `.`, `..`, double or
//! trailing slashes; `plan` decides what they lead to on a machine.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::grant::Absent;
use super::origin::Origin;
pub use super::roots::AbsPath;

/// The grants of one kind in a layer: everything, or these trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSet {
    /// Not specified: the grants of the layers above stay.
    All,
    /// These trees.
    Of(Trees),
}

/// Trees of which none lies in another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trees {
    host: BTreeMap<AbsPath, PathRule>,
    /// The jail's own directories: each stands for itself, and lies in no tree of the host.
    jail: BTreeMap<AbsPath, PathRule>,
}

/// A rule for a path: a grant, a denial or a protection, expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// The expanded path.
    pub path: AbsPath,
    /// Whether it is a path of the host or of the jail alone.
    pub whose: Whose,
    /// The author's text, if it begins with `~` or `$WORKSPACE`.
    pub written: Option<Cow<'static, str>>,
    /// The behaviour if the path does not exist.
    pub absent: Absent,
    /// The place of the rule.
    pub origin: Origin,
    /// Directories that the path must not lead out of, through any link that exists when it is opened:
    /// another author can influence its name. Links in the directories' own names are followed.
    pub within: Vec<AbsPath>,
}

/// The directory that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// One of the host.
    Host,
    /// A directory that every jail has of its own: its home, `/tmp`.
    Jail,
}

impl PathRule {
    /// The stricter of two rules for the same path, with the earlier origin.
    pub fn merge(&self, other: &PathRule) -> PathRule {
        let first = match (&self.origin, &self.written) <= (&other.origin, &other.written) {
            true => self,
            false => other,
        };
        PathRule {
            absent: self.absent.stricter(other.absent),
            ..first.clone()
        }
    }

    /// The path as its author wrote it.
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.path)
    }
}

impl Trees {
    fn of(&self, whose: Whose) -> &BTreeMap<AbsPath, PathRule> {
        match whose {
            Whose::Host => &self.host,
            Whose::Jail => &self.jail,
        }
    }

    fn of_mut(&mut self, whose: Whose) -> &mut BTreeMap<AbsPath, PathRule> {
        match whose {
            Whose::Host => &mut self.host,
            Whose::Jail => &mut self.jail,
        }
    }

    /// The rule whose tree contains the tree of `rule`.
    fn around(&self, rule: &PathRule) -> Option<&PathRule> {
        match rule.whose {
            Whose::Host => covering(&rule.path, &self.host),
            Whose::Jail => self.jail.get(&rule.path),
        }
    }

    /// The rules, those of the host first, each by their paths.
    pub fn rules(&self) -> impl Iterator<Item = &PathRule> {
        self.host.values().chain(self.jail.values())
    }

    /// The rule for the host's tree at exactly this path.
    pub fn at(&self, path: &str) -> Option<&PathRule> {
        self.host.get(path)
    }
}

impl PathSet {
    /// The trees of these rules; a tree inside another one is left out.
    pub fn of(rules: impl IntoIterator<Item = PathRule>) -> PathSet {
        let mut all = Trees::default();
        for rule in rules {
            place_in(all.of_mut(rule.whose), rule);
        }
        let inner: Vec<AbsPath> = all
            .host
            .keys()
            .filter(|path| above(path).is_some_and(|above| covering(above, &all.host).is_some()))
            .cloned()
            .collect();
        inner.iter().for_each(|path| drop(all.host.remove(path)));
        PathSet::Of(all)
    }

    /// The empty set.
    pub fn none() -> PathSet {
        PathSet::Of(Trees::default())
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
        let mut both = Trees::default();
        for rule in these.rules() {
            if let Some(other) = those.around(rule) {
                let met = match other.path == rule.path {
                    true => rule.merge(other),
                    false => rule.clone(),
                };
                both.of_mut(rule.whose).insert(rule.path.clone(), met);
            }
        }
        for rule in those.rules() {
            if !both.of(rule.whose).contains_key(&rule.path) && these.around(rule).is_some() {
                place_in(both.of_mut(rule.whose), rule.clone());
            }
        }
        PathSet::Of(both)
    }

    /// Keeps only the trees of the host for which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if let PathSet::Of(trees) = self {
            trees.host.retain(|path, _| keep(path));
        }
    }

    /// The union.
    pub fn join(&self, other: &PathSet) -> PathSet {
        match (self, other) {
            (PathSet::All, _) | (_, PathSet::All) => PathSet::All,
            (these, those) => PathSet::of(these.rules().chain(those.rules()).cloned()),
        }
    }

    /// Whether the host's `path` lies in one of the trees.
    pub fn cover(&self, path: &str) -> bool {
        match self {
            PathSet::All => true,
            PathSet::Of(trees) => covering(path, &trees.host).is_some(),
        }
    }

    /// Whether the tree of `rule` lies in one of the trees.
    pub fn covers(&self, rule: &PathRule) -> bool {
        match self {
            PathSet::All => true,
            PathSet::Of(trees) => trees.around(rule).is_some(),
        }
    }

    /// The rules, those of the host first, each by their paths; none for [`Self::All`].
    pub fn rules(&self) -> impl Iterator<Item = &PathRule> {
        let trees = match self {
            PathSet::All => None,
            PathSet::Of(trees) => Some(trees),
        };
        trees.into_iter().flat_map(Trees::rules)
    }

    /// The rules for trees of the host.
    pub fn host(&self) -> impl Iterator<Item = &PathRule> {
        self.rules().filter(|rule| rule.whose == Whose::Host)
    }
}

/// Adds a rule to others, by its path.
pub(super) fn place_in(rules: &mut BTreeMap<AbsPath, PathRule>, rule: PathRule) {
    match rules.get_mut(&rule.path) {
        Some(known) => *known = known.merge(&rule),
        None => drop(rules.insert(rule.path.clone(), rule)),
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
fn covering<'t>(path: &str, trees: &'t BTreeMap<AbsPath, PathRule>) -> Option<&'t PathRule> {
    let mut prefix = path;
    loop {
        if let Some(found) = trees.get(prefix) {
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
    use crate::rights::Roots;

    fn trees(paths: &[&str]) -> PathSet {
        let origin = Origin {
            source: "test".into(),
            line: 1,
        };
        let rule = |path: &&str| {
            Roots::symbolic().rule((*path).to_owned(), Absent::Refuse, origin.clone())
        };
        PathSet::of(paths.iter().map(rule))
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
