//! The place of a granted tree in the jail, if it is not that of the host: path mapping.
//!
//! A mapping grants nothing. Every layer may add one for a path that it names, and `plan` moves the tree if
//! the layers together grant it by this path.

use super::glob::is_pattern;
use super::grant::Grant;
use super::layer::Files;
use super::origin::Origin;
use super::path_set::AbsPath;
use super::rights::Roots;
use std::collections::BTreeSet;

/// Trees in which the jail has no mapped tree: programs trust what is there.
pub const SYSTEM_TREES: [&str; 9] = [
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr",
];

/// A tree of the host, and its path in the jail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The tree, expanded.
    pub path: AbsPath,
    /// Its path in the jail.
    pub at: AbsPath,
    /// The place of the rule.
    pub origin: Origin,
}

/// Whether a text can be a path in the jail: absolute, or in the home.
pub fn is_place(text: &str) -> bool {
    let part = |part: &str| part == "..";
    let begins = text.starts_with('/') || text.starts_with("~/");
    let odd = |c: char| c.is_control() || c == '$';
    begins && !text.contains(odd) && !text.split('/').any(part) && !is_pattern(text)
}

/// The mappings of a layer.
pub(super) fn of(files: &Files, roots: &Roots) -> BTreeSet<Mapping> {
    let lists = files.lists().into_iter();
    let grants = lists.flat_map(|(_, list)| list.iter().flatten());
    let mapping = |grant: &Grant| {
        Some(Mapping {
            path: roots.expand(&grant.path),
            at: roots.expand(grant.at.as_deref()?),
            origin: grant.origin.clone(),
        })
    };
    let own = files.workspace_at.iter().map(|at| Mapping {
        path: roots.expand("$WORKSPACE"),
        at: roots.expand(&at.value),
        origin: at.origin.clone(),
    });
    grants.filter_map(mapping).chain(own).collect()
}
