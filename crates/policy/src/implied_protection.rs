//! Implied protections inside what a layer makes writable.
//!
//! Owns one rule: within one layer the inner rule applies, while between layers lists only shrink. It
//! refuses nothing and grants nothing; it adds protections.

use super::grant::{Absent, WorkspaceMode};
use super::layer::Files;
use super::lists::expanded;
use super::path_set::{PathRule, PathSet, place_in, within};
use super::rights::{DenySet, Lattice, Rights, Roots};
use super::tools::Tool;

impl Rights {
    /// A path that a layer grants for reading, loading or executing inside its own writable tree is
    /// read-only; so is a workspace there whose mode is not `rw`. Another layer may not repeat the inner
    /// rule, so it becomes a protection that cannot be lost.
    pub(super) fn hold(&mut self, files: &Files, roots: &Roots) {
        let place = &roots.workspace;
        let mode = files.workspace.as_ref();
        let shown = mode.filter(|mode| mode.value != WorkspaceMode::ReadWrite);
        let wrote = |path: &str| match &self.write {
            PathSet::All => false,
            PathSet::Of(trees) => trees.at(path).is_some(),
        };
        let mut held = DenySet::new();
        if let Some(mode) = shown
            && self.write.cover(place)
            && !wrote(place)
        {
            place_in(&mut held, roots.workspace_rule(mode.origin.clone()));
        }
        let lists = [&files.read, &files.load, &files.exec];
        let inner = lists.into_iter().flatten();
        let inner = inner.flat_map(|list| expanded(list, roots));
        let commands = self.constraints(Tool::Exec).commands.iter().flatten();
        let programs = commands.map(|(_, allowed)| allowed.rule.clone());
        for rule in inner.chain(programs) {
            let path = &rule.path;
            let named = self.write != PathSet::All && self.write.cover(path);
            let by_mode = shown.is_none() && path != place && within(path, place);
            if (named || by_mode) && !wrote(path) {
                let rule = PathRule {
                    absent: Absent::Skip,
                    ..rule
                };
                place_in(&mut held, rule);
            }
        }
        self.protect = std::mem::take(&mut self.protect).met(held);
    }
}
