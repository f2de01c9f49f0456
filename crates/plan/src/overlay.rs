//! An overlay workspace: denied names are hidden by the layers, not by mounts, which the host could move away
//! (`mv d d.old; mkdir d` carries a mount along with the old directory).

use std::path::{Path, PathBuf};

use super::host::IdMode;
use super::paths::within;
use super::refusal::ResolveError;
use super::view::{Bound, View};

impl View<'_> {
    /// Whether an overlay is mounted there.
    pub(super) fn is_overlay(&self, path: &Path) -> bool {
        self.workspace.overlay.is_some() && path == self.workspace.path
    }

    /// Hides an absent denied name: the host may make it later. False if it lies in no overlay.
    pub(super) fn hides(&mut self, path: &Path) -> bool {
        let path = self.behind_links(path);
        let inside = self
            .bind_above(&path)
            .is_some_and(|(bind, _)| self.is_overlay(bind));
        let Some(overlay) = self.workspace.overlay.as_mut().filter(|_| inside) else {
            return false;
        };
        overlay.hidden.push(path);
        true
    }

    /// Turns deny mounts in the overlay into hidden names.
    pub(super) fn hide_masked(&mut self) {
        let top = self.workspace.path.clone();
        let Some(overlay) = &mut self.workspace.overlay else {
            return;
        };
        let inside = |path: &&PathBuf| within(path, &top) && **path != top;
        let masked: Vec<PathBuf> = self.masks.keys().filter(inside).cloned().collect();
        self.masks.retain(|path, _| !masked.contains(path));
        overlay.hidden.extend(masked);
        overlay.hidden.sort();
        overlay.hidden.dedup();
    }

    /// Refuses an overlay that could not work: one in which nothing can be changed, and one with grants beneath, whose
    /// mounts would show the host's files beside the layer's.
    pub(super) fn overlay_works(&self) -> Result<(), ResolveError> {
        let path = &self.workspace.path;
        let ids = (self.host.uid, self.host.gid);
        if let Some(bound) = self.binds.get(path).filter(|_| self.is_overlay(path))
            && self.host.id_mode == IdMode::Rootless
            && (bound.uid, bound.gid) != ids
        {
            return Err(ResolveError::OverlayOwner {
                path: path.clone(),
                uid: bound.uid,
                gid: bound.gid,
                own_uid: ids.0,
                own_gid: ids.1,
            });
        }
        let around = |(tree, bound): &(&PathBuf, &Bound)| {
            self.workspace.overlay.is_some() && bound.access.write && within(path, tree)
        };
        if let Some((tree, _)) = self.binds.iter().find(around) {
            return Err(ResolveError::OverlayInside {
                workspace: path.clone(),
                tree: tree.clone(),
            });
        }
        let nested = self.binds.iter().find(|(path, bound)| {
            let parent = path.parent().and_then(|parent| self.bind_above(parent));
            parent.is_some_and(|(above, _)| self.is_overlay(above)) && !self.covered(path, bound)
        });
        match nested {
            Some((path, _)) => Err(ResolveError::OverlayNested {
                path: path.clone(),
                workspace: self.workspace.path.clone(),
            }),
            None => Ok(()),
        }
    }
}
