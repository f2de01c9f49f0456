//! Grants and denials: too wide, duplicate, or without effect.

use super::checks::*;
use super::suspects::{danger, is_project_work};
use super::{Found, Lint, granted};
use creel_policy::glob::{Pattern, escape};
use creel_policy::layer::Layer;
use creel_policy::path_set::{PathSet, within};
use creel_policy::rights::{GROUPS, Roots};
use creel_policy::tools::Tool;
use creel_policy::{Absent, Grant, Origin, WorkspaceMode};

impl Lint<'_> {
    pub(super) fn files(&mut self) {
        let layers = self.layers;
        for (_, layer) in layers {
            for (key, grants) in granted(layer) {
                self.each_grant(key, grants);
                self.twice(key, grants);
            }
            self.denials(layer);
            for grant in &layer.filesystem.unprotect {
                let (check, reason) = match is_project_work(&grant.path) {
                    true => (
                        &UNPROTECT_BUILD,
                        format!("every user who builds the project runs {}", grant.path),
                    ),
                    false => (
                        &UNPROTECT,
                        format!("the host executes files at {}", grant.path),
                    ),
                };
                self.say(check, Some(&grant.origin), reason);
            }
            self.workspace(layer);
        }
        let Roots { home, workspace } = self.roots;
        if within(home, workspace) {
            let reason = format!("the workspace is {workspace}, which contains the home");
            self.say(&WORKSPACE_HOME, None, reason);
        }
        self.secrets();
        self.path_patterns();
    }

    fn path_patterns(&mut self) {
        let unmet = self.facts.unmet.iter();
        for one in unmet.filter(|one| one.absent == Absent::Refuse) {
            let reason = format!(
                "{} matches no path here, so creel refuses every run",
                one.written
            );
            self.say(&PATTERN_UNMET, Some(&one.origin), reason);
        }
        let rights = &self.outcome.rights;
        let kept = rights.deny_patterns.iter().chain(&rights.protect_patterns);
        for (text, leaf) in kept.filter(|(_, leaf)| leaf.absent == Absent::Refuse) {
            let pattern = Pattern::parse(text);
            let written = self.reach.write.host().map(|rule| rule.path.as_str());
            let workspace = &*self.roots.workspace;
            let own = self.reach.writes_at(workspace, self.roots);
            let tree = written
                .chain(own.then_some(workspace))
                .find(|tree| pattern.reaches_beneath(tree));
            if let Some(tree) = tree {
                let reason = format!(
                    "{} is a pattern, and the jail could create a matching name in {}, so creel refuses every run",
                    self.roots.shorten(text),
                    self.roots.shorten(tree)
                );
                self.say(&PATTERN_LATER, Some(&leaf.origin), reason);
            }
        }
    }

    fn each_grant(&mut self, key: &str, grants: &[Grant]) {
        for grant in grants {
            let path = self.roots.expand(&grant.path);
            // `~`, `/tmp` and `/dev/shm` are directories of the jail's own.
            if self.roots.is_own(&path) {
                continue;
            }
            let origin = Some(&grant.origin);
            let home = &self.roots.home;
            if within(home, &path) {
                let reason = format!("'{key}' grants {}, which contains the home", grant.path);
                self.say(&GRANT_HOME, origin, reason);
            } else if let Some(what) = danger(&path, home) {
                let reason = format!("'{key}' grants {}: {what}", grant.path);
                self.say(&GRANT_DANGEROUS, origin, reason);
            }
            if grant.absent == Absent::Refuse && self.found_at(&path) == Some(Found::Absent) {
                let reason = format!("{} does not exist, so creel refuses every run", grant.path);
                let fix = format!(
                    "correct the path, or write {{ path = \"{}\", optional = true }}",
                    grant.path
                );
                self.add(&GRANT_ABSENT, origin, reason, fix);
            }
            let place = self.reach.deny.iter().find(|(p, _)| within(&path, p));
            if let Some((place, leaf)) = place {
                let reason = format!(
                    "the grant of {} has no effect: {place} is denied at {}:{}",
                    grant.path, leaf.origin.source, leaf.origin.line
                );
                self.say(&DENY_HIDES, origin, reason);
            }
        }
    }

    /// Reports a grant inside another one of the same list.
    fn twice(&mut self, key: &str, grants: &[Grant]) {
        let roots = self.roots;
        let expand = |grant: &Grant| roots.expand(&grant.path);
        for (at, inner) in grants.iter().enumerate() {
            let path = expand(inner);
            let covers = |(other_at, other): (usize, &Grant)| {
                let other_path = expand(other);
                // The later one of two equal grants is reported; the jail's own directories contain no
                // host paths.
                match other_path == path {
                    true => other_at < at,
                    false => within(&path, &other_path) && !roots.is_own(&other_path),
                }
            };
            let outer = grants.iter().enumerate().find(|(i, g)| covers((*i, g)));
            if let Some((_, outer)) = outer {
                let reason = format!("'{key}' has {} twice: {} covers it", inner.path, outer.path);
                self.say(&GRANT_TWICE, Some(&inner.origin), reason);
            }
        }
    }

    fn denials(&mut self, layer: &Layer) {
        let files = &layer.filesystem;
        let all: Vec<&Grant> = files
            .deny
            .iter()
            .chain(layer.tools.each.values().flat_map(|s| &s.denied_paths))
            .collect();
        for (at, deny) in all.iter().enumerate() {
            let path = self.roots.expand(&deny.path);
            let outer = files.deny.iter().enumerate().find(|(i, other)| {
                let other = self.roots.expand(&other.path);
                match other == path {
                    true => *i < at,
                    false => within(&path, &other),
                }
            });
            if let Some((_, outer)) = outer {
                let reason = format!("{} is already denied with {}", deny.path, outer.path);
                self.say(&DENY_SHADOWED, Some(&deny.origin), reason);
            } else if !self.touches(&path) && !within(&path, GROUPS) && !within(GROUPS, &path) {
                let reason = format!(
                    "no grant covers {}, so it does not exist in the jail anyway",
                    deny.path
                );
                self.say(&DENY_IDLE, Some(&deny.origin), reason);
            }
        }
    }

    /// Whether anything at, beneath or above the path is granted.
    fn touches(&self, path: &str) -> bool {
        let rights = &self.outcome.rights;
        let near = |trees: &PathSet| {
            trees.cover(path) || trees.host().any(|rule| within(&rule.path, path))
        };
        let workspace = &self.roots.workspace;
        [&rights.read, &rights.write, &rights.load, &rights.exec]
            .into_iter()
            .any(near)
            || within(path, workspace)
            || within(workspace, path)
    }

    fn workspace(&mut self, layer: &Layer) {
        let Some(asked) = &layer.filesystem.workspace else {
            return;
        };
        let tools = &self.outcome.rights.tools;
        let holds = match asked.value {
            WorkspaceMode::None => return,
            _ if !tools.allows(Tool::Read) => ("none", "read"),
            WorkspaceMode::ReadWrite if !tools.allows(Tool::Write) => ("ro", "write"),
            _ => return,
        };
        let (mode, tool) = holds;
        let reason = format!(
            "the workspace is \"{mode}\", not \"{}\": the tool {tool} is not allowed",
            asked.value.name()
        );
        let fix = format!("write workspace = \"{mode}\", or allow {tool}");
        self.add(&WORKSPACE_IDLE, Some(&asked.origin), reason, fix);
    }

    fn secrets(&mut self) {
        let mode = self.reach.workspace.as_ref().map(|mode| mode.value);
        if mode == Some(WorkspaceMode::None) {
            return;
        }
        let denied = |path: &str| self.reach.deny.keys().any(|place| within(path, place));
        let seen: Vec<String> = self
            .facts
            .secrets
            .iter()
            .filter(|path| within(path, &self.roots.workspace) && !denied(path))
            .map(|path| self.roots.shorten(path))
            .collect();
        for path in seen {
            let reason = format!("{path} looks like a credential, and the jail can read it");
            let named = escape(&path);
            let fix = format!(
                "add \"{named}\" to filesystem.deny, or move the file out of the workspace"
            );
            self.add(&SECRET_IN_WORKSPACE, None::<&Origin>, reason, fix);
        }
    }
}
