//! Protected paths in writable trees: paths that the host trusts later, such as git's hooks.
//!
//! An existing path becomes a read-only mount over itself, and the directories above it are pinned. An
//! absent path is withheld: its first missing component cannot be created.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::host::Fact;
use super::paths::within;
use super::refusal::ResolveError;
use super::view::{Bound, Masked, View, Withheld};
use super::*;
use creel_policy::{Absent, Origin, PathRule, protected_defaults};

/// The meaning of protection for an absent name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenAbsent {
    /// Its first missing component cannot be created.
    Hold,
    /// As `Hold` if its parent directory exists. Otherwise it can be created, and the plan notes that.
    HoldName,
}

impl From<Absent> for WhenAbsent {
    fn from(absent: Absent) -> WhenAbsent {
        match absent {
            Absent::Refuse => WhenAbsent::Hold,
            Absent::Skip => WhenAbsent::HoldName,
        }
    }
}

impl View<'_> {
    /// Adds the protected paths, after all grants are known.
    pub(super) fn protect(&mut self, protect: &[PathRule]) -> Result<(), ResolveError> {
        for rule in protect {
            let (absent, origin) = (rule.absent, &rule.origin);
            let Some(path) = self.on_host.of_rule(rule) else {
                return Err(ResolveError::NoHome {
                    uid: self.host.uid,
                    origin: origin.clone(),
                });
            };
            let beneath = path.strip_prefix(&self.workspace.callers);
            let when = beneath.map_or(protected_defaults::When::Always, protected_defaults::when);
            let if_present =
                *origin == Origin::creel() && when == protected_defaults::When::Present;
            if if_present && self.host.paths.get(&*path) == Some(&Fact::Absent) {
                continue;
            }
            match self.hold(&path, absent, origin) {
                // An earlier jail could have made such a file, which would then make every later run fail.
                Err(error) if if_present && error.is_of_the_file() => {
                    let text = error.to_string();
                    let text = text.strip_prefix("creel: ").unwrap_or(&text);
                    self.skipped.push(format!("not protected: {text}"));
                }
                held => held?,
            }
        }
        let host = self.host;
        for path in &host.found.worktrees {
            self.hold(path, Absent::Skip, &Origin::creel())?;
        }
        Ok(())
    }

    /// Protects paths that the host's git obeys although no policy names them.
    pub(super) fn obeyed(&mut self, unprotected: &BTreeSet<PathBuf>) -> Result<(), ResolveError> {
        let host = self.host;
        self.skipped.extend(host.found.unread.iter().cloned());
        for (path, obeyed) in &host.found.obeyed {
            if unprotected.contains(path) {
                continue;
            }
            let origin = Origin {
                source: obeyed.by.clone().into(),
                line: 0,
            };
            // A grant is not revoked as a whole: a path that encloses a granted tree does not say which
            // files in it matter.
            let whole = |(bind, bound): (&PathBuf, &Bound)| {
                bound.access.write && bound.node == Node::Directory && bind.starts_with(path)
            };
            if self.binds.iter().any(whole) {
                let name = path.display();
                self.skipped.push(format!(
                    "{name} is not protected, although the host obeys it ({origin}): it is granted as a whole",
                    origin = obeyed.by
                ));
                continue;
            }
            for link in &obeyed.links {
                if self.writable_tree(link).is_some() {
                    return Err(ResolveError::ObeyedLink {
                        link: link.clone(),
                        real: path.clone(),
                        origin,
                    });
                }
            }
            // A loop of links has no target and was not looked up.
            if !host.paths.contains_key(path) {
                continue;
            }
            let before = (self.protected, self.withheld.len());
            self.hold(path, Absent::Refuse, &origin)?;
            if before != (self.protected, self.withheld.len()) {
                self.obeyed
                    .push(format!("{} ({})", path.display(), obeyed.by));
            }
        }
        Ok(())
    }

    /// Protects `path`, whether it exists or not.
    pub(super) fn hold(
        &mut self,
        path: &Path,
        absent: Absent,
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        let way = self.host.found.through.get(path);
        let place = way.map_or(path, |way| &way.path);
        for (bind, bound) in &mut self.binds {
            let held = within(bind, path) || within(bind, place);
            if held && bound.access.write {
                bound.access.write = false;
                self.protected += 1;
            }
        }
        if self.writable_tree(&self.behind_links(path)).is_none() {
            return self.hold_elsewhere(path, absent, origin);
        }
        match self.host.fact(path)? {
            Fact::Present { .. } => self.keep(path, absent, origin),
            // A socket or device cannot be made read-only, so it is covered.
            Fact::Special => {
                let by = origin.clone();
                let node = Node::File;
                self.masks.insert(path.into(), Masked { node, by });
                Ok(())
            }
            Fact::Absent => self.withhold(path, absent.into(), Later::ReadOnly, origin),
            // The workspace itself may not be entered.
            Fact::Denied if path.parent() == Some(&self.workspace.path) => Err(
                ResolveError::WorkspaceDenied(self.workspace.path.display().to_string()),
            ),
            Fact::Denied => Err(ResolveError::Unlooked {
                path: path.into(),
                origin: origin.clone(),
            }),
        }
    }

    /// Protects a path that leads through links which no grant names, if the jail can write to its place by
    /// another name.
    fn hold_elsewhere(
        &mut self,
        path: &Path,
        absent: Absent,
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        let Some(way) = self.host.found.through.get(path) else {
            return Ok(());
        };
        if self.writable_tree(&way.path).is_none() {
            return Ok(());
        }
        let turned = way
            .links
            .iter()
            .find(|link| self.writable_tree(link).is_some());
        match (self.host.fact(path)?, turned) {
            (Fact::Present { real, .. }, Some(link)) => Err(ResolveError::ProtectLink {
                path: path.into(),
                link: link.clone(),
                real: real.clone(),
                origin: origin.clone(),
            }),
            (Fact::Present { real, .. }, None) => self.keep_at(real.clone(), path, absent, origin),
            _ => Err(self.elsewhere(path, origin)),
        }
    }

    /// The error for an absent path which the jail can create by another name.
    pub(super) fn elsewhere(&self, path: &Path, origin: &Origin) -> ResolveError {
        let way = self.host.found.through.get(path);
        ResolveError::AbsentElsewhere {
            path: path.into(),
            real: way.map_or_else(|| path.into(), |way| way.path.clone()),
            origin: origin.clone(),
        }
    }

    /// Makes an existing `path` read-only. Returns an error if it leads through a link, or if a file in it
    /// has another hard link.
    fn keep(&mut self, path: &Path, absent: Absent, origin: &Origin) -> Result<(), ResolveError> {
        let place = self.place_of(path, origin)?;
        self.keep_at(place, path, absent, origin)
    }

    /// The same for a path at this place.
    fn keep_at(
        &mut self,
        place: PathBuf,
        path: &Path,
        absent: Absent,
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        let Fact::Present {
            node,
            uid,
            gid,
            idmap,
            ..
        } = self.host.fact(path)?.clone()
        else {
            return Ok(());
        };
        let linked = &self.host.found.hard_linked;
        if let Some(file) = linked.iter().find(|file| file.starts_with(&place)) {
            return Err(ResolveError::HardLink {
                path: file.clone(),
                tree: self.writable_tree(&place).unwrap_or_default(),
                origin: origin.clone(),
            });
        }
        if self.host.found.too_many.contains(&place) {
            if absent == Absent::Refuse {
                return Err(ResolveError::ProtectLarge {
                    path: path.into(),
                    origin: origin.clone(),
                });
            }
            self.skipped.push(format!(
                "{} has too many files to search for hard links, through which the jail could write to them",
                path.display()
            ));
        }
        let code = self
            .bind_above(&place)
            .map_or(Code::Data, |(_, bound)| bound.access.code);
        let access = Access { write: false, code };
        self.binds.entry(place).or_insert(Bound {
            by: Some(origin.clone()),
            node,
            access,
            uid,
            gid,
            idmap,
        });
        self.protected += 1;
        Ok(())
    }

    /// Blocks the creation of `path`, which is absent and lies in a writable tree.
    pub(super) fn withhold(
        &mut self,
        path: &Path,
        when_absent: WhenAbsent,
        later: Later,
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        let mut missing = path;
        let nearest = loop {
            let Some(parent) = missing.parent() else {
                return Ok(());
            };
            match self.host.fact(parent)? {
                Fact::Absent if self.bind_above(parent).is_none_or(|(b, _)| b != parent) => {
                    missing = parent;
                }
                _ => break parent,
            }
        };
        let leave = match when_absent {
            WhenAbsent::Hold => false,
            WhenAbsent::HoldName => missing != path,
        };
        if leave {
            self.skipped.push(format!(
                "{} is absent and not protected: the jail can create it",
                path.display()
            ));
            return Ok(());
        }
        let directory = self.place_of(nearest, origin)?;
        match self.host.fact(nearest)? {
            // Nothing can be created beneath a file while it remains a file.
            Fact::Present {
                node: Node::File, ..
            } => self.keep(nearest, Absent::Refuse, origin),
            Fact::Denied => Err(ResolveError::Unlooked {
                path: nearest.into(),
                origin: origin.clone(),
            }),
            _ => {
                if let Some(name) = missing.file_name() {
                    let above = missing != path;
                    let known = self.withheld.entry(directory.join(name));
                    let known = known.or_insert_with(|| Withheld {
                        by: origin.clone(),
                        later,
                        above,
                    });
                    // If one rule denies the name and another protects it, it is denied.
                    if later < known.later {
                        (known.later, known.by) = (later, origin.clone());
                    }
                    known.above |= above;
                }
                Ok(())
            }
        }
    }

    /// The place of `path`. Returns an error if it leads through a link.
    fn place_of(&self, path: &Path, origin: &Origin) -> Result<PathBuf, ResolveError> {
        let place = self.behind_links(path);
        match self.host.fact(path)? {
            Fact::Present { real, .. } if *real != place => Err(ResolveError::ProtectLink {
                path: path.into(),
                link: self.link_of(path),
                real: real.clone(),
                origin: origin.clone(),
            }),
            _ => Ok(place),
        }
    }

    /// The first link on the way to `path`, which may be `path` itself.
    fn link_of(&self, path: &Path) -> PathBuf {
        let is_link = |above: &&Path| {
            let place = self.behind_links(above);
            matches!(self.host.paths.get(*above), Some(Fact::Present { real, .. }) if *real != place)
        };
        let links = path.ancestors().filter(is_link);
        links.last().unwrap_or(path).to_path_buf()
    }

    /// The host's tree that contains `path`, if the jail can write there.
    pub(super) fn writable_tree(&self, path: &Path) -> Option<PathBuf> {
        // A tmpfs of the jail may lie between; its contents disappear with the jail.
        let (tree, bound) = self.bind_above(path)?;
        if !bound.access.write || tree == path {
            return None;
        }
        let hidden = self
            .own_tmpfs()
            .iter()
            .any(|own| own.starts_with(tree) && own != tree && path.starts_with(own));
        (!hidden).then(|| tree.clone())
    }
}
