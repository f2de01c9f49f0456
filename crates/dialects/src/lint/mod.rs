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

use creel_policy::effective_access::{EffectiveAccess, reach};
use creel_policy::expand::Unmet;
use creel_policy::layer::{Command, Layer, Rank};
use creel_policy::rights::Roots;
use creel_policy::stack::{Outcome, Stack};
use creel_policy::words::words;
use creel_policy::{Grant, Origin};

words! {
    /// How bad it is.
    Severity {
        /// The jail does not enforce what a reader of the policy would expect.
        Critical = "critical",
        /// Probably a mistake.
        Warn = "warn",
        /// Worth knowing.
        Info = "info",
    }
}

/// A result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The id of the check, see [`CHECKS`].
    pub id: &'static str,
    /// As in the row of the check.
    pub severity: Severity,
    /// The rule; `None` if a rule is missing, or the problem is not in a file.
    pub origin: Option<Origin>,
    /// One sentence on the case at hand.
    pub reason: String,
    /// The smallest change that resolves it.
    pub fix: String,
}

/// Observations on the machine. A path that is not in here gets no findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The users that may change each policy file, by the file name in its origins.
    pub files: BTreeMap<String, Keeping>,
    /// The observations at paths from [`subjects`].
    pub paths: BTreeMap<String, Found>,
    /// Files in the workspace whose names suggest credentials, see [`is_secret_file`].
    pub secrets: BTreeSet<String>,
    /// Patterns of grants that matched nothing.
    pub unmet: Vec<Unmet>,
}

/// The users that may change a policy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Only root or the caller.
    Own,
    /// Its group or every user may write to it.
    WritableByOthers,
    /// It belongs to a user other than root and the caller.
    Foreign,
}

/// The object at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No file has the path.
    Absent,
    /// Only root or the caller may write to it.
    There,
    /// Its group or every user may write to it.
    WritableByOthers,
}

/// The findings, the most severe first, then in the order of the files.
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

/// The paths that [`Facts::paths`] should cover: granted paths, possible locations of commands, and the
/// directories on PATH.
pub fn subjects(stack: &Stack, outcome: &Outcome, roots: &Roots) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (_, layer) in &stack.layers {
        for (_, grants) in granted(layer) {
            paths.extend(
                grants
                    .iter()
                    .map(|grant| roots.expand(&grant.path).to_string()),
            );
        }
        for settings in layer.tools.each.values() {
            for command in settings.commands.iter().flatten() {
                let all = Command::paths(&command.program, roots);
                paths.extend(all.iter().map(ToString::to_string));
            }
        }
    }
    if let Some(path) = outcome.effective.policy.environment.set.get("PATH") {
        paths.extend(
            environment::entries(&path.value)
                .filter(|entry| entry.starts_with(['/', '~']))
                .map(|entry| roots.expand(entry).to_string()),
        );
    }
    paths
}

/// The state of a run of the checks.
struct Lint<'a> {
    layers: &'a [(Rank, Layer)],
    outcome: &'a Outcome,
    /// The effective access: the grants that the tools' rules leave.
    reach: EffectiveAccess,
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

    /// Adds a finding with the general fix.
    fn say(&mut self, check: &Check, origin: Option<&Origin>, reason: String) {
        self.add(check, origin, reason, check.fix.to_owned());
    }

    /// The observation at the path; `None` if the path was not examined.
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
