//! Deny mounts over parts of granted trees: denied paths, the host's sockets, and the directories above
//! both, which the jail could rename.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::host::Fact;
use super::refusal::ResolveError;
use super::view::{Bound, Masked, View};
use super::*;
use creel_policy::glob::Pattern;
use creel_policy::{Absent, Filesystem, Origin, PathRule};

impl View<'_> {
    /// Removes denied paths from the granted trees, after all grants are known.
    pub(super) fn denials(&mut self, deny: &[PathRule]) -> Result<(), ResolveError> {
        for grant in deny {
            let Some(path) = self.on_host.of_rule(grant).map(Cow::into_owned) else {
                // The home is unknown, and it may lie in a granted tree.
                return Err(ResolveError::NoHome {
                    uid: self.host.uid,
                    origin: grant.origin.clone(),
                });
            };
            let (real, node) = match self.host.fact(&path)? {
                Fact::Present { real, node, .. } => (real.clone(), *node),
                // A socket or device cannot be read as a file; its name is covered all the same.
                Fact::Special => (path.clone(), Node::File),
                Fact::Absent if self.writable_tree(&self.behind_links(&path)).is_some() => {
                    let when = grant.absent.into();
                    self.withhold(&path, when, Later::Denied, &grant.origin)?;
                    continue;
                }
                // Another run's placeholder stands there. It may be put to use meanwhile, so a mount covers
                // it.
                // Hidden all the same: the host may make it later.
                Fact::Absent if self.hides(&path) => continue,
                Fact::Absent if let Some(stood) = self.host.found.stood.get(&path) => {
                    (stood.real.clone(), stood.node)
                }
                Fact::Absent
                    if let Some(way) = self.host.found.through.get(&path)
                        && self.writable_tree(&way.path).is_some() =>
                {
                    return Err(self.elsewhere(&path, &grant.origin));
                }
                Fact::Absent | Fact::Denied => {
                    let way = self.host.found.through.get(&path);
                    let place = way.map_or(&path, |way| &way.path);
                    let granted = self.binds.keys().any(|bind| place.starts_with(bind));
                    if granted && grant.absent == Absent::Refuse {
                        return Err(ResolveError::DenyAbsent {
                            path,
                            origin: grant.origin.clone(),
                        });
                    }
                    if granted {
                        self.skipped
                            .push(format!("deny {}: absent, not covered", path.display()));
                    }
                    continue;
                }
            };
            // A process that can write there can replace the link, and the plan was made for its old
            // target.
            let named = self.behind_links(&path);
            if named != real
                && self
                    .bind_above(&named)
                    .is_some_and(|(_, bound)| bound.access.write)
            {
                return Err(ResolveError::DenyLink {
                    path,
                    real,
                    origin: grant.origin.clone(),
                });
            }
            // Deny wins: grants beneath a denied path are removed, and the path is covered in the tree
            // around it.
            self.binds.retain(|bind, _| !bind.starts_with(&real));
            self.links.retain(|_, target| !target.starts_with(&real));
            self.withheld.retain(|name, _| !name.starts_with(&real));
            if self.binds.keys().any(|bind| real.starts_with(bind)) {
                let by = grant.origin.clone();
                self.masks.insert(real, Masked { node, by });
            }
        }
        // Paths beneath a mask are already hidden.
        let covers: BTreeSet<PathBuf> = self.masks.keys().cloned().collect();
        let beneath = |path: &Path| path.ancestors().skip(1).any(|above| covers.contains(above));
        self.masks.retain(|path, _| !beneath(path));
        self.hide_masked();
        Ok(())
    }

    /// Names that deny patterns match now are covered. No mount covers a name that is created later: if the
    /// jail could create one, the plan is refused unless the policy accepts that (`absent`).
    pub(super) fn patterns(&mut self, fs: &Filesystem) -> Result<(), ResolveError> {
        for grant in fs.deny_patterns.iter().chain(&fs.protect_patterns) {
            let pattern = self.behind_base(Pattern::parse(&grant.path))?;
            let reached: Vec<(&PathBuf, &Bound)> = self
                .binds
                .iter()
                // A path that is not UTF-8 may contain names that the pattern matches.
                .filter(|(tree, _)| tree.to_str().is_none_or(|t| pattern.reaches_beneath(t)))
                .collect();
            let writable = reached.iter().find(|(_, bound)| bound.access.write);
            match (writable, grant.absent) {
                (Some((tree, _)), Absent::Refuse) => {
                    return Err(ResolveError::PatternLater {
                        pattern: grant.path.escape_debug().to_string(),
                        tree: tree.to_path_buf(),
                        origin: grant.origin.clone(),
                    });
                }
                (None, _) if reached.is_empty() => {}
                _ => {
                    let by = match writable {
                        Some(_) => "is created",
                        None => "the host creates",
                    };
                    self.skipped.push(format!(
                        "{}: a matching name that {by} later is not covered",
                        grant.path.escape_debug()
                    ));
                }
            }
        }
        Ok(())
    }

    /// The pattern, with its base directory under the path that it has in the jail.
    fn behind_base(&self, pattern: Pattern) -> Result<Pattern, ResolveError> {
        let base = PathBuf::from(pattern.base());
        if base == Path::new("/") {
            return Ok(pattern);
        }
        let real = match self.host.fact(&base)? {
            Fact::Present { real, .. } => real.clone(),
            _ => match self.host.found.through.get(&base) {
                Some(way) => way.path.clone(),
                None => self.behind_links(&base),
            },
        };
        Ok(match real.to_str() {
            Some(real) => pattern.rebased(real),
            None => pattern,
        })
    }

    /// Host sockets do not exist in a jail: each one in a granted tree is covered, because no mount flag
    /// stops connect(2) by path, and only Landlock from ABI 9 on does.
    pub(super) fn sockets(&mut self) {
        let special = self
            .host
            .paths
            .iter()
            .filter(|(_, fact)| matches!(fact, Fact::Special));
        self.sockets = special
            .map(|(path, _)| path)
            // A socket of an overlay's lower tree answers ECONNREFUSED.
            .filter(|path| {
                let bind = self.bind_above(path);
                bind.is_some_and(|(bind, _)| !self.is_overlay(bind))
            })
            .filter(|path| !self.masks.keys().any(|mask| path.starts_with(mask)))
            .cloned()
            .collect();
    }

    /// The directories of writable trees that lie above deny mounts or nested mounts.
    /// Each with the rule that asked for what lies beneath it.
    pub(super) fn held(&self) -> BTreeMap<PathBuf, Option<Origin>> {
        let nested = self
            .binds
            .iter()
            .filter(|(path, bound)| !self.covered(path, bound));
        let mut held = BTreeMap::new();
        let masks = self.masks.iter().map(|(path, mask)| (path, Some(&mask.by)));
        let withheld = self.withheld.iter();
        let withheld = withheld.map(|(path, withheld)| (path, Some(&withheld.by)));
        let pinned = self.host.found.pinned.iter().map(|path| (path, None));
        let nested = nested.map(|(path, bound)| (path, bound.by.as_ref()));
        let points: Vec<(PathBuf, &Origin)> = self.nested().collect();
        let points = points.iter().map(|(path, by)| (path, Some(*by)));
        let all = masks.chain(withheld).chain(pinned).chain(nested);
        for (path, by) in all.chain(points) {
            let Some((tree, bound)) = path.parent().and_then(|parent| self.bind_above(parent))
            else {
                continue;
            };
            let hidden = self
                .own_tmpfs()
                .iter()
                .any(|own| own.starts_with(tree) && path.starts_with(own));
            if bound.access.write && !hidden {
                let itself = self.host.found.pinned.contains(path);
                let above = path.ancestors().skip(1);
                let above = above.take_while(|above| above != tree);
                for path in itself.then_some(path.as_path()).into_iter().chain(above) {
                    held.entry(path.to_path_buf())
                        .or_insert_with(|| by.cloned());
                }
            }
        }
        held
    }
}
