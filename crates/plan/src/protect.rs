//! What stays as it is in a writable tree: paths that the host trusts later, such as git's hooks.
//!
//! What is there becomes a read-only mount over itself, and the directories above it are held. What
//! is absent is withheld: the first missing component of it cannot be created.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::host::Fact;
use super::paths;
use super::refusal::ResolveError;
use super::view::{Bound, View, Withheld};
use super::*;
use creel_policy::{Absent, Grant, Origin, trust};

/// What holding a name that does not exist means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenAbsent {
    /// It cannot be created: the first component of it that is missing cannot.
    Hold,
    /// As `Hold` where the directory that it belongs in exists. Otherwise it can be created, and the
    /// plan says so.
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
    pub(super) fn protect(&mut self, protect: &[Grant]) -> Result<(), ResolveError> {
        for Grant {
            path,
            absent,
            origin,
        } in protect
        {
            let Some(path) = paths::expand(path, self.host, &self.workspace.path) else {
                return Err(ResolveError::NoHome {
                    uid: self.host.uid,
                    origin: origin.clone(),
                });
            };
            let beneath = path.strip_prefix(&self.workspace.callers);
            let when = beneath.map_or(trust::When::Always, trust::when);
            let if_present = *origin == Origin::creel() && when == trust::When::Present;
            if if_present && self.host.paths.get(&path) == Some(&Fact::Absent) {
                continue;
            }
            match self.hold(&path, *absent, origin) {
                // The jail of an earlier run could make such a name, and would refuse every run after it.
                Err(error) if if_present && error.is_of_the_file() => {
                    let text = error.to_string();
                    let text = text.strip_prefix("creel: ").unwrap_or(&text);
                    self.skipped.push(format!("not held: {text}"));
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

    /// Adds what the host obeys there without a policy's word.
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
            // What was granted is not taken away whole: such a name says nothing of what is in it.
            let whole = |(bind, bound): (&PathBuf, &Bound)| {
                bound.access.write && bound.node == Node::Directory && bind.starts_with(path)
            };
            if self.binds.iter().any(whole) {
                let name = path.display();
                self.skipped.push(format!(
                    "{name} is obeyed ({origin}) and is not held: it is granted whole",
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
            // Links that go round lead nowhere, and nobody looked.
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

    /// Keeps `path` as it is, there or absent.
    pub(super) fn hold(
        &mut self,
        path: &Path,
        absent: Absent,
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        for (bind, bound) in &mut self.binds {
            if bind.starts_with(path) && bound.access.write {
                bound.access.write = false;
                self.protected += 1;
            }
        }
        if self.writable_tree(&self.behind_links(path)).is_none() {
            return Ok(());
        }
        match self.host.fact(path)? {
            Fact::Present { .. } => self.keep(path, absent, origin),
            // A socket, a device: covered, for nothing else can be said of it.
            Fact::Special => {
                self.masks.insert(path.into(), Node::File);
                Ok(())
            }
            Fact::Absent => self.withhold(path, absent.into(), Later::ReadOnly, origin),
            Fact::Denied => Err(ResolveError::Unlooked {
                path: path.into(),
                origin: origin.clone(),
            }),
        }
    }

    /// What is at `path` is read-only. Refused where the name leads elsewhere, or the content has
    /// another name.
    fn keep(&mut self, path: &Path, absent: Absent, origin: &Origin) -> Result<(), ResolveError> {
        let place = self.place_of(path, origin)?;
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
                "{}: too large to be searched for files that have another name, by which the jail could write to them",
                path.display()
            ));
        }
        let code = self
            .bind_above(&place)
            .map_or(Code::Data, |(_, bound)| bound.access.code);
        let access = Access { write: false, code };
        self.binds.entry(place).or_insert(Bound {
            node,
            access,
            uid,
            gid,
            idmap,
        });
        self.protected += 1;
        Ok(())
    }

    /// `path` is absent and lies in a writable tree.
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
                "{} is absent and not held: the jail can create it",
                path.display()
            ));
            return Ok(());
        }
        let directory = self.place_of(nearest, origin)?;
        match self.host.fact(nearest)? {
            // Nothing can be made beneath a file, as long as it is one.
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
                    let withheld = Withheld { later, above };
                    let known = self.withheld.entry(directory.join(name));
                    let known = known.or_insert(withheld);
                    // Denied by one and protected by another, it is denied.
                    known.later = known.later.min(later);
                    known.above |= above;
                }
                Ok(())
            }
        }
    }

    /// Where `path` is, no link of a writable tree being on the way.
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

    /// The first link on the way to `path`, which is one or leads through one.
    fn link_of(&self, path: &Path) -> PathBuf {
        let is_link = |above: &&Path| {
            let place = self.behind_links(above);
            matches!(self.host.paths.get(*above), Some(Fact::Present { real, .. }) if *real != place)
        };
        let links = path.ancestors().filter(is_link);
        links.last().unwrap_or(path).to_path_buf()
    }

    /// The tree of the host that `path` lies in, if the jail can write there.
    pub(super) fn writable_tree(&self, path: &Path) -> Option<PathBuf> {
        // The jail's own tmpfs may lie between, and what is on it is nobody's later.
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
