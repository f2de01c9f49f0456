//! `creel policy check`: finds errors in policies, and lines without effect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use serde_json::json;

use super::report::{self, Finding, Severity};
use crate::cli::answer::{print, print_json};
use crate::cli::facts;
use crate::cli::failure::Failure;
use crate::cli::policies::PolicyArgs;
use creel_dialects::lint;
use creel_policy::error::PolicyError;
use creel_policy::file;
use creel_policy::layer::Rank;
use creel_policy::stack::{Clip, Stack};
use creel_session::Place;
use creel_session::exit::{FOUND, WRONG};
use creel_session::layers::{self, Expanded, Layers, Names, Put, Read, Source};

/// Find errors in policies, and lines without effect
#[derive(clap::Args)]
#[command(
    after_help = "Without FILE: check all layers that `creel run` would use in this directory. \
    Exit status: 0 no error; 1 a warning with --strict; 2 an error."
)]
pub struct CheckArgs {
    /// Check only these files, each separately
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["policy", "agent", "renter", "no_project"])]
    files: Vec<PathBuf>,

    #[command(flatten)]
    policies: PolicyArgs,

    /// Treat warnings as errors: exit with 1
    #[arg(long)]
    strict: bool,

    /// Also print findings of severity info; --json always includes them
    #[arg(long)]
    notes: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CheckArgs) -> Result<u8, Failure> {
    let (checked, findings) = match args.files.as_slice() {
        [] => of_this_place(&args.policies)?,
        files => each(files)?,
    };
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.json {
        true => print_json(&json!({
            "version": 1,
            "checked": checked,
            "findings": findings,
            "errors": errors,
            "warnings": warnings,
        }))?,
        false => {
            let number = |count: usize, noun: &str| match count {
                1 => format!("1 {noun}"),
                _ => format!("{count} {noun}s"),
            };
            let mut shown_findings = findings;
            shown_findings.retain(|finding| args.notes || finding.severity != Severity::Note);
            print(&format!(
                "{}{}: {}, {}\n",
                report::to_text(&shown_findings),
                checked.join(", "),
                number(errors, "error"),
                number(warnings, "warning"),
            ))?;
        }
    }
    Ok(match (errors, warnings) {
        (0, 0) => 0,
        (0, _) if args.strict => FOUND,
        (0, _) => 0,
        _ => WRONG,
    })
}

/// Checks each file alone, as an operator's layer.
fn each(files: &[PathBuf]) -> Result<(Vec<String>, Vec<Finding>), Failure> {
    let mut findings = vec![];
    for path in files {
        match layers::read(path) {
            Err(error) => findings.extend(report::faults(path, &error)),
            Ok(layer) => {
                let mut stack = Stack {
                    layers: vec![(Rank::Operator, layer)],
                };
                let expanded = Names::Here.expand(&mut stack, &Place::here().roots(None))?;
                findings.extend(linted(&stack, &expanded)?);
            }
        }
    }
    Ok((files.iter().map(|path| shown(path)).collect(), findings))
}

/// Checks all layers that `creel run` would read here, alone and combined.
fn of_this_place(args: &PolicyArgs) -> Result<(Vec<String>, Vec<Finding>), Failure> {
    let roots = Place::here().roots(None);
    let sources = layers::sources(&args.named(), &roots)?;
    let mut findings = vec![];
    for source in &sources {
        findings.extend(wrong(source)?);
    }
    if findings.is_empty() {
        let layers = Layers::of(&sources, &roots, Names::Here)?;
        let outcome = layers.resolve(&roots)?;
        findings.extend(clipped(&outcome.clips, &layers.stack));
        // `clipped` has reported these already.
        let linted = linted(&layers.stack, &layers.expanded)?.into_iter();
        findings.extend(linted.filter(|finding| finding.id != "layer-clipped"));
    }
    let named = |source: &Source| match source.rank {
        Rank::CommandLine => shown(&source.path),
        rank => format!("{} ({})", shown(&source.path), rank.name()),
    };
    Ok((sources.iter().map(named).collect(), findings))
}

/// Findings for grants that the layers above do not allow. All those that a layer has from one shipped policy
/// are one finding.
fn clipped(clips: &[Clip], stack: &Stack) -> Vec<Finding> {
    let preset = |clip: &Clip| {
        let origin = clip.excess.origin.as_ref()?;
        let shipped = origin.source.starts_with("preset:");
        shipped.then(|| (clip.rank, origin.source.to_string()))
    };
    let mut reused: BTreeMap<(Rank, String), Vec<&Clip>> = BTreeMap::new();
    let mut findings = vec![];
    for clip in clips {
        match preset(clip) {
            Some(key) => reused.entry(key).or_default().push(clip),
            None => findings.push(Finding::of_clip(clip)),
        }
    }
    for ((rank, source), clips) in reused {
        let layer = stack.layers.iter().find(|(of, _)| *of == rank);
        findings.push(match clips.as_slice() {
            [only] => Finding::of_clip(only),
            all => Finding::of_clips(all, &source, layer.map_or("", |(_, layer)| &layer.name)),
        });
    }
    findings
}

/// The findings of lint.
fn linted(stack: &Stack, expanded: &Expanded) -> Result<Vec<Finding>, Failure> {
    let roots = Place::here().roots(None);
    let outcome = stack.resolve(&layers::limits()?, &roots);
    let mut facts = facts::gather(stack, &outcome, &roots);
    facts.unmet = expanded.unmet.clone();
    let found = lint::lint(stack, &outcome, &roots, &facts);
    Ok(found.iter().map(Finding::of_lint).collect())
}

fn wrong(source: &Source) -> Result<Vec<Finding>, Failure> {
    // If the project's policy were a link, an error could quote any file of the caller's.
    if source.put == Put::Found && !layers::is_plain(&source.path) {
        source.read(&mut Read::default())?;
        return Ok(vec![]);
    }
    let read: Result<_, PolicyError> = match source.put {
        Put::Placed | Put::Named => layers::read(&source.path).map(|_| ()),
        Put::Found => layers::text(&source.path)
            .and_then(|text| file::read(&source.path.to_string_lossy(), &text))
            .map(|_| ()),
    };
    match read {
        Err(error) => Ok(report::faults(&source.path, &error)),
        // Checks the other restrictions on a project's policy.
        Ok(()) => {
            source.read(&mut Read::default())?;
            Ok(vec![])
        }
    }
}

/// The path with control characters escaped.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
