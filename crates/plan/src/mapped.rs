//! Trees of the host that the jail has at other paths: path mapping.
//!
//! Everything up to the acts is in the host's names: grants, denials, protections and facts. A mapping moves a
//! granted tree as a whole, with every mount over a name in it, so a rule holds at the new place too, and the
//! tree has no second name in the jail. This module owns the translation in both directions, and refuses a
//! place that would hide or double a path that another rule is about.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::host::Fact;
use super::paths::{HostPaths, NEVER_BELOW, TOO_WIDE, within};
use super::refusal::ResolveError;
use super::request::Request;
use super::view::View;
use super::{Act, JailPlan};
use creel_policy::glob::Pattern;
use creel_policy::{Origin, PathRule, Policy, SYSTEM_TREES};

/// At its own path, the jail's directory would hide the host's, which may hold more than the grant is for.
const OWN: &str = "the jail has a directory of its own in place of this one, or of one in it; name a directory in it that contains none";

/// The places of mapped trees, by their paths on the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapped(BTreeMap<PathBuf, Place>);

/// The place of a tree in the jail, and the rule that asked for it.
#[derive(Debug, Clone)]
struct Place {
    at: PathBuf,
    origin: Origin,
}

/// A mapping of a policy or of the request.
pub(super) struct Asked<'a> {
    /// On the host, as it is named.
    path: PathBuf,
    at: &'a Path,
    origin: &'a Origin,
}

/// Every mapping. One beneath a home that the caller does not have is left out.
pub(super) fn asked<'a>(
    policy: &'a Policy,
    request: &'a Request,
    on_host: &HostPaths,
) -> Vec<Asked<'a>> {
    let rules = policy.filesystem.mapped.iter().filter_map(|mapping| {
        Some(Asked {
            path: on_host.at(&mapping.path)?.into_owned(),
            at: mapping.at.as_ref(),
            origin: &mapping.origin,
        })
    });
    let flags = request.mapped.iter().map(|flag| Asked {
        path: on_host.of_flag(&flag.path),
        at: &flag.at,
        origin: &flag.origin,
    });
    rules.chain(flags).collect()
}

impl Mapped {
    /// The mappings by the names that policy and request give to the trees.
    pub(super) fn named(policy: &Policy, request: &Request, on_host: &HostPaths) -> Mapped {
        let all = asked(policy, request, on_host).into_iter();
        Mapped(all.map(|one| (one.path.clone(), one.place())).collect())
    }

    /// The path in the jail of a path of the host.
    pub(super) fn inside<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        match self.around(path) {
            Some((tree, place)) => Cow::Owned(moved(path, tree, &place.at)),
            None => Cow::Borrowed(path),
        }
    }

    /// The path of the host that the jail has at `path`; `None` if the tree that has this name on the host is
    /// elsewhere in the jail.
    pub(super) fn on_host<'p>(&self, path: &'p Path) -> Option<Cow<'p, Path>> {
        let here = self.0.iter().filter(|(_, place)| within(path, &place.at));
        match here.max_by_key(|(_, place)| place.at.as_os_str().len()) {
            Some((tree, place)) => Some(Cow::Owned(moved(path, &place.at, tree))),
            None if self.around(path).is_some() => None,
            None => Some(Cow::Borrowed(path)),
        }
    }

    /// Whether this tree of the host is mapped, or lies in one that is.
    pub(super) fn moves(&self, path: &Path) -> bool {
        self.around(path).is_some()
    }

    /// The places for which a mount point in another tree of the host may be needed.
    pub(super) fn mount_points(&self) -> impl Iterator<Item = PathBuf> {
        self.0.keys().filter_map(|tree| self.mount_point(tree))
    }

    /// The path of the host at the place of `tree`, as if that were not mapped.
    fn mount_point(&self, tree: &Path) -> Option<PathBuf> {
        let mut others = self.clone();
        let place = others.0.remove(tree)?;
        others.on_host(&place.at).map(Cow::into_owned)
    }

    /// The innermost mapped tree that contains a path of the host.
    fn around(&self, path: &Path) -> Option<(&PathBuf, &Place)> {
        self.0.iter().rev().find(|(tree, _)| within(path, tree))
    }
}

impl Asked<'_> {
    fn place(&self) -> Place {
        Place {
            at: self.at.to_path_buf(),
            origin: self.origin.clone(),
        }
    }
}

/// `path` with `to` in place of `from`, in which it lies.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
        _ => to.to_path_buf(),
    }
}

impl JailPlan {
    /// The path of the host that a path of the jail leads to; `None` if it lies in no tree of the host.
    pub fn on_host(&self, path: &Path) -> Option<PathBuf> {
        let mounts = self.build.iter().filter_map(|act| match act {
            Act::Bind { source, target, .. } => Some((target, Some(source))),
            Act::Tmpfs { path, .. } => Some((path, None)),
            _ => None,
        });
        let (target, source) = mounts
            .filter(|(target, _)| within(path, target))
            .max_by_key(|(target, _)| target.as_os_str().len())?;
        Some(moved(path, target, source?))
    }

    /// The path of the host that a mount point in a tree of the host is; `None` if it lies in none.
    pub fn point(&self, target: &Path) -> Option<PathBuf> {
        let (above, name) = (target.parent()?, target.file_name()?);
        Some(self.on_host(above)?.join(name))
    }

    /// The path in the jail of a path of the host; `None` if the jail does not have it.
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        let trees = self.build.iter().filter_map(|act| match act {
            Act::Bind { source, target, .. } => Some((source, target)),
            _ => None,
        });
        let (source, target) = trees
            .filter(|(source, _)| within(path, source))
            .max_by_key(|(source, _)| source.as_os_str().len())?;
        Some(moved(path, source, target))
    }
}

impl View<'_> {
    /// Gives the mapped trees their places, after everything else is known, and checks them.
    pub(super) fn map(&mut self, policy: &Policy, request: &Request) -> Result<(), ResolveError> {
        let own = self.own_tmpfs();
        let contains_own = |path: &Path| own.iter().any(|own| within(own, path));
        for one in asked(policy, request, &self.on_host) {
            if self.own_place(&one.path) {
                return Err(no_place(&one, OWN));
            }
            let real = match self.tree_of(&one.path) {
                Some(real) if self.binds.contains_key(&real) => real,
                Some(real) if self.shown_with(&real).is_some() => {
                    return Err(ResolveError::MapTwice {
                        path: real.clone(),
                        first: real.clone(),
                        second: one.at.to_path_buf(),
                        origin: one.origin.clone(),
                    });
                }
                // A fresh workspace takes its place.
                _ if self.workspace.fresh && one.path == self.workspace.callers => continue,
                _ => {
                    self.skipped.push(format!(
                        "{} is not granted, so the jail does not have {}",
                        one.path.display(),
                        one.at.display()
                    ));
                    continue;
                }
            };
            if contains_own(&real) {
                return Err(no_place(&one, OWN));
            }
            if let Some(why) = self.no_place(one.at) {
                return Err(no_place(&one, why));
            }
            let known = self.mapped.0.entry(real.clone());
            let known = known.or_insert_with(|| one.place());
            if known.at != one.at {
                return Err(ResolveError::MapTwice {
                    path: real.clone(),
                    first: known.at.clone(),
                    second: one.at.to_path_buf(),
                    origin: one.origin.clone(),
                });
            }
        }
        self.mapped.0.retain(|tree, place| *tree != place.at);
        if self.mapped.0.is_empty() {
            return Ok(());
        }
        for (tree, place) in &self.mapped.0 {
            self.has_one_name(tree, place)?;
            self.is_free(tree, place)?;
            self.hides_no_rule(policy, tree, place)?;
        }
        Ok(())
    }

    /// Why no tree can have this place.
    fn no_place(&self, at: &Path) -> Option<&'static str> {
        let odd = |part: Component| !matches!(part, Component::RootDir | Component::Normal(_));
        if !at.is_absolute() || at.components().any(odd) {
            return Some("write an absolute path without `..`");
        }
        if at.to_string_lossy().chars().any(char::is_control) {
            return Some("it has a control character");
        }
        if let Some((_, why)) = NEVER_BELOW.iter().find(|(tree, _)| at.starts_with(tree)) {
            return Some(why);
        }
        if SYSTEM_TREES.iter().any(|tree| at.starts_with(tree)) {
            return Some("programs expect files of the system there");
        }
        let own = self.own_tmpfs();
        if TOO_WIDE.iter().any(|wide| at == Path::new(wide)) || own.iter().any(|own| own == at) {
            return Some("the jail has a directory of its own there; name a directory in it");
        }
        let above = own.iter().any(|own| own.starts_with(at));
        above.then_some("it would hide a directory of the jail's own beneath it")
    }

    /// The real path of an existing tree that a rule or flag names. A path that was not looked up is not granted.
    fn tree_of(&self, path: &Path) -> Option<PathBuf> {
        match self.host.paths.get(path) {
            _ if path == self.workspace.path => Some(path.to_path_buf()),
            Some(Fact::Present { real, .. }) => Some(real.clone()),
            _ => None,
        }
    }

    /// The granted tree that shows this path, unless it is denied.
    fn shown_with(&self, path: &Path) -> Option<&PathBuf> {
        let denied = self.masks.keys().any(|mask| within(path, mask));
        self.bind_above(path)
            .map(|(tree, _)| tree)
            .filter(|_| !denied)
    }

    /// A tree that contains a mapped tree shows it under its old name too.
    fn has_one_name(&self, tree: &Path, place: &Place) -> Result<(), ResolveError> {
        let outer = self
            .binds
            .keys()
            .find(|bind| *bind != tree && within(tree, bind));
        match outer {
            None => Ok(()),
            Some(outer) => Err(ResolveError::MapTwice {
                path: tree.to_path_buf(),
                first: self
                    .mapped
                    .inside(outer)
                    .join(tree.strip_prefix(outer).unwrap_or(tree)),
                second: place.at.clone(),
                origin: place.origin.clone(),
            }),
        }
    }

    /// Nothing else of the host is at the place, and if it lies in another tree, a mount point exists there.
    fn is_free(&self, tree: &Path, place: &Place) -> Result<(), ResolveError> {
        let at = &place.at;
        let others = self.binds.keys().filter(|bind| !within(bind, tree));
        let others = others.chain(self.links.keys().filter(|link| {
            self.bind_above(link).is_none() && !self.mapped.moves(&self.links[*link])
        }));
        let mut nested = false;
        for other in others {
            let inside = self.mapped.inside(other);
            // That tree's own place is checked with it.
            let apart = self
                .mapped
                .around(other)
                .is_some_and(|(_, inner)| inner.at != *at);
            if within(&inside, at) && !(apart && *inside != **at) {
                return Err(ResolveError::MapOverlap {
                    path: tree.to_path_buf(),
                    at: at.clone(),
                    other: other.clone(),
                    origin: place.origin.clone(),
                });
            }
            let hidden = |own: &PathBuf| within(at, own) && within(own, &inside);
            nested |= within(at, &inside) && !self.own_tmpfs().iter().any(hidden);
        }
        if !nested {
            return Ok(());
        }
        let missing = |point: Option<PathBuf>| ResolveError::MapNoMountPoint {
            path: tree.to_path_buf(),
            at: at.clone(),
            point: point.unwrap_or_else(|| at.clone()),
            origin: place.origin.clone(),
        };
        let point = self.mapped.mount_point(tree).ok_or_else(|| missing(None))?;
        let kind = self.binds.get(tree).map(|bound| bound.node);
        let fits = match self.host.paths.get(&point) {
            Some(Fact::Present { real, node, .. }) => *real == point && Some(*node) == kind,
            _ => false,
        };
        match fits {
            true => Ok(()),
            false => Err(missing(Some(point))),
        }
    }

    /// Rules are in the host's names. One that names a path at the place of a mapped tree would be about
    /// another file than its author sees there; and a denied or protected path of the tree around must not be
    /// hidden.
    fn hides_no_rule(
        &self,
        policy: &Policy,
        tree: &Path,
        place: &Place,
    ) -> Result<(), ResolveError> {
        let at = &place.at;
        let files = &policy.filesystem;
        let hidden = |path: &Path, origin: &Origin| {
            Err(ResolveError::MapHidesRule {
                path: path.to_path_buf(),
                at: at.clone(),
                tree: tree.to_path_buf(),
                map: place.origin.clone(),
                origin: origin.clone(),
            })
        };
        let named = |rule: &PathRule| self.on_host.of_rule(rule).map(Cow::into_owned);
        for rule in files.deny.iter().chain(&files.protect) {
            let Some(path) = named(rule) else { continue };
            if within(&path, at) && !self.mapped.moves(&path) {
                return hidden(&path, &rule.origin);
            }
        }
        for rule in &files.deny {
            let Some(path) = named(rule) else { continue };
            if within(at, &path) && !self.mapped.moves(&path) {
                return hidden(&path, &rule.origin);
            }
        }
        for rule in files.deny_patterns.iter().chain(&files.protect_patterns) {
            let base = PathBuf::from(Pattern::parse(&rule.path).base());
            if within(&base, at) && !self.mapped.moves(&base) {
                return hidden(&base, &rule.origin);
            }
        }
        let Some(point) = self.mapped.mount_point(tree) else {
            return Ok(());
        };
        let masks = self.masks.iter().map(|(path, mask)| (path, &mask.by));
        let withheld = self.withheld.iter().map(|(path, held)| (path, &held.by));
        for (path, origin) in masks.chain(withheld) {
            if within(path, &point) || within(&point, path) {
                return hidden(path, origin);
            }
        }
        Ok(())
    }

    /// The trees with their places, for the receipt.
    pub(super) fn places(&self) -> impl Iterator<Item = String> {
        let places = self.mapped.0.iter();
        places.map(|(tree, place)| format!("{} at {}", tree.display(), place.at.display()))
    }

    /// The path in the jail of a path of the host.
    pub(super) fn inside<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        self.mapped.inside(path)
    }

    /// The mount points of mapped trees in other trees of the host, in the host's names.
    pub(super) fn nested(&self) -> impl Iterator<Item = (PathBuf, &Origin)> {
        self.mapped
            .0
            .iter()
            .filter_map(|(tree, place)| Some((self.mapped.mount_point(tree)?, &place.origin)))
    }
}

fn no_place(asked: &Asked, why: &'static str) -> ResolveError {
    ResolveError::MapPlace {
        path: asked.path.clone(),
        at: asked.at.to_path_buf(),
        why,
        origin: asked.origin.clone(),
    }
}
