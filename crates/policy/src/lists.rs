//! The lists of a layer as sets: of trees, of places and of names. Here the paths of a layer are expanded.

use std::collections::BTreeMap;

use super::grant::Grant;
use super::lattice::DenySet;
use super::origin::{Origin, Sourced};
use super::path_set::{PathRule, PathSet, place_in};
use super::roots::Roots;

/// The rules of a list of grants. Here a path is expanded, once.
pub(super) fn expanded<'g>(
    grants: &'g [Grant],
    roots: &'g Roots,
) -> impl Iterator<Item = PathRule> + 'g {
    grants
        .iter()
        .map(|grant| roots.rule(grant.path.clone(), grant.absent, grant.origin.clone()))
}

/// The trees of a list of grants. The jail's own directories are not the host's, and cover no host path.
pub(super) fn trees(grants: &Option<Vec<Grant>>, roots: &Roots) -> PathSet {
    let Some(grants) = grants else {
        return PathSet::All;
    };
    PathSet::of(expanded(grants, roots))
}

/// The rules of a list, by their paths.
pub(super) fn places(grants: &[Grant], roots: &Roots) -> DenySet {
    let mut places = DenySet::new();
    expanded(grants, roots).for_each(|rule| place_in(&mut places, rule));
    places
}

/// The same for patterns: wildcards in the roots' own paths are escaped.
pub(super) fn patterns(grants: &[Grant], roots: &Roots) -> DenySet {
    places(grants, &roots.escaped())
}

/// Names with the place of each.
pub(super) fn names(list: &[Sourced<String>]) -> BTreeMap<String, Origin> {
    let mut all: BTreeMap<String, Origin> = BTreeMap::new();
    for Sourced { value, origin } in list {
        // Keep the first of two equal names: a list is in the order of its lines.
        all.entry(value.clone()).or_insert_with(|| origin.clone());
    }
    all
}
