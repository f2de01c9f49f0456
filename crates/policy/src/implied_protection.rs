//! Implied protections inside what a layer makes writable.
//!
//! Owns one rule: within one layer the inner rule applies, while between layers lists only shrink. It
//! refuses nothing and grants nothing; it adds protections.

use std::borrow::Cow;

use super::layer::Files;
use super::path_set::{PathRule, PathSet, within};
use super::rights::{DenySet, Lattice, Rights, Roots, place_in};
use super::tools::Tool;
use super::{Absent, WorkspaceMode};

impl Rights {
    /// Within one layer the inner rule applies: what the layer lets be read, loaded or executed, or shows
    /// read-only, inside a writable tree is not writable. Another layer may not repeat the inner rule, so
    /// it becomes a protection that cannot be lost.
    pub(super) fn hold(&mut self, files: &Files, roots: &Roots) {
        let place = &roots.workspace;
        let mode = files.workspace.as_ref();
        let shown = mode.filter(|mode| mode.value != WorkspaceMode::ReadWrite);
        let wrote = |path: &str| match &self.write {
            PathSet::All => false,
            PathSet::Of(trees) => trees.contains_key(path),
        };
        let mut held = DenySet::new();
        if let Some(mode) = shown
            && self.write.cover(place)
            && !wrote(place)
        {
            let leaf = PathRule::new(Absent::Skip, mode.origin.clone());
            place_in(&mut held, place, &leaf);
        }
        let inner = [&files.read, &files.load, &files.exec]
            .into_iter()
            .flatten()
            .flatten();
        let inner = inner.map(|grant| (Cow::Owned(roots.expand(&grant.path)), &grant.origin));
        let commands = self.constraints(Tool::Exec).commands.iter().flatten();
        let programs = commands.map(|(path, allowed)| (Cow::Borrowed(path), &allowed.origin));
        for (path, origin) in inner.chain(programs) {
            let named = self.write != PathSet::All && self.write.cover(&path);
            let by_mode = shown.is_none() && *path != *place && within(&path, place);
            if (named || by_mode) && !wrote(&path) {
                let leaf = PathRule::new(Absent::Skip, origin.clone());
                place_in(&mut held, &path, &leaf);
            }
        }
        self.protect = std::mem::take(&mut self.protect).met(held);
    }
}
