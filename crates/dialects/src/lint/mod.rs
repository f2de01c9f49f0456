//! Lint: finds lines of a policy that are dangerous, useless or misleading.
//!
//! Owns the checks ([`CHECKS`]; `docs/lint.md` has a row for each) and decides them from values alone: the
//! layers as written, their combined result, and the caller's observations on the machine ([`Facts`]). It
//! refuses nothing: a finding is advice. An error of the file, or a clip of the stack, is reported elsewhere.

mod checks;
mod environment;
mod files;
mod idle;
mod layers;
mod limits;
mod network;
mod programs;
mod suspects;
mod tools;

pub use checks::{CHECKS, Check};
pub use suspects::is_secret_file;

use std::collections::{BTreeMap, BTreeSet};

use creel_policy::expand::Unmet;
use creel_policy::layer::{Command, Layer, Rank};
use creel_policy::reach::{Reach, reach};
use creel_policy::rights::Roots;
use creel_policy::stack::{Outcome, Stack};
use creel_policy::words::words;
use creel_policy::{Grant, Origin};

words! {
    /// How bad it is.
    Severity {
        /// The jail does not hold what the policy's reader would think.
        Critical = "critical",
        /// Probably a mistake.
        Warn = "warn",
        /// Worth knowing.
        Info = "info",
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The id of the check, see [`CHECKS`].
    pub id: &'static str,
    pub severity: Severity,
    /// The rule; `None` where a rule is missing, or the matter is not in a file.
    pub origin: Option<Origin>,
    /// One sentence on the case at hand.
    pub reason: String,
    /// The smallest change that ends it.
    pub fix: String,
}

/// Observations on the machine. Nothing is reported about a path that is not in here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The users that may change each policy file, by the name that its origins have.
    pub files: BTreeMap<String, Keeping>,
    /// The observations at paths that [`subjects`] names.
    pub paths: BTreeMap<String, Found>,
    /// Files in the workspace whose names are those of credentials, see [`is_secret_file`].
    pub secrets: BTreeSet<String>,
    /// Patterns of grants that met nothing.
    pub unmet: Vec<Unmet>,
}

/// The users that may change a policy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// root or the caller alone.
    Own,
    /// Its group or everybody may write to it.
    WritableByOthers,
    /// It belongs to somebody who is neither root nor the caller.
    Foreign,
}

/// The object at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Absent,
    /// root or the caller alone may write to it.
    There,
    /// Its group or everybody may write to it.
    WritableByOthers,
}

/// The findings, the worst first, and then as the files stand.
pub fn lint(stack: &Stack, outcome: &Outcome, roots: &Roots, facts: &Facts) -> Vec<Finding> {
    let mut lint = Lint {
        layers: &stack.layers,
        outcome,
        reach: reach(&outcome.rights, roots),
        roots,
        facts,
        found: vec![],
    };
    lint.programs();
    lint.tools();
    lint.files();
    lint.environment();
    lint.network();
    lint.idle();
    lint.limits();
    lint.layers();
    let mut found = lint.found;
    found.sort_by(|a, b| {
        let key = |f: &Finding| (f.severity, f.origin.clone(), f.id, f.reason.clone());
        key(a).cmp(&key(b))
    });
    found.dedup();
    found
}

/// The paths of which [`Facts::paths`] should speak: what is granted, where commands may lie, and what
/// is on PATH.
pub fn subjects(stack: &Stack, outcome: &Outcome, roots: &Roots) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (_, layer) in &stack.layers {
        for (_, grants) in granted(layer) {
            paths.extend(grants.iter().map(|grant| roots.expand(&grant.path)));
        }
        for settings in layer.tools.each.values() {
            for command in settings.commands.iter().flatten() {
                paths.extend(Command::paths(&command.program, roots));
            }
        }
    }
    if let Some(path) = outcome.effective.policy.environment.set.get("PATH") {
        paths.extend(
            environment::entries(&path.value)
                .filter(|entry| entry.starts_with(['/', '~']))
                .map(|entry| roots.expand(entry)),
        );
    }
    paths
}

/// The checks at work.
struct Lint<'a> {
    layers: &'a [(Rank, Layer)],
    outcome: &'a Outcome,
    /// The effective access: the part of the grants that the tools leave.
    reach: Reach,
    roots: &'a Roots,
    facts: &'a Facts,
    found: Vec<Finding>,
}

impl Lint<'_> {
    fn add(&mut self, check: &Check, origin: Option<&Origin>, reason: String, fix: String) {
        self.found.push(Finding {
            id: check.id,
            severity: check.severity,
            origin: origin.cloned(),
            reason,
            fix,
        });
    }

    /// With the general fix.
    fn say(&mut self, check: &Check, origin: Option<&Origin>, reason: String) {
        self.add(check, origin, reason, check.fix.to_owned());
    }

    /// The observation at the path, if it was looked at.
    fn found_at(&self, path: &str) -> Option<Found> {
        self.facts.paths.get(path).copied()
    }
}

/// A layer's lists of grants, by their keys.
fn granted(layer: &Layer) -> Vec<(&'static str, &[Grant])> {
    let lists = layer.filesystem.lists().into_iter();
    lists
        .filter_map(|(key, list)| Some((key, list.as_deref()?)))
        .collect()
}
