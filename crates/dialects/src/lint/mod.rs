//! Lint: what a policy says that is dangerous, useless, or other than it seems.
//!
//! Owns the checks ([`CHECKS`]; `docs/lint.md` has a row for each) and decides them from values
//! alone: the layers as written, what came of them, and what whoever asks saw on the machine
//! ([`Facts`]). It refuses nothing: a finding is advice, and what would be refused is an error of the
//! file or a clip of the stack already.

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
    /// Of the check, see [`CHECKS`].
    pub id: &'static str,
    pub severity: Severity,
    /// The rule; `None` where a rule is missing, or the matter is not in a file.
    pub origin: Option<Origin>,
    /// One sentence on the case at hand.
    pub reason: String,
    /// The smallest change that ends it.
    pub fix: String,
}

/// What was seen on the machine. What is not in here was not looked at, and nothing is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of each policy file, by the name that its origins have.
    pub files: BTreeMap<String, Keeping>,
    /// Of paths that [`subjects`] names.
    pub paths: BTreeMap<String, Found>,
    /// Files in the workspace whose names are those of credentials, see [`is_secret_file`].
    pub secrets: BTreeSet<String>,
    /// Patterns of grants that met nothing.
    pub unmet: Vec<Unmet>,
}

/// Who may change a policy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// root or the caller alone.
    Own,
    /// Its group or everybody may write to it.
    WritableByOthers,
    /// It belongs to somebody who is neither root nor the caller.
    Foreign,
}

/// What is at a path.
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
    /// What the tools leave of the grants.
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

    /// What was seen at the path, if somebody looked.
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
