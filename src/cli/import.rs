//! `creel policy import`: converts another tool's policy to creel TOML and reports the result for each key.
//!
//! Exit status: 0; 1 if a key is not honoured under `--strict`; 2 if the file cannot be converted.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use serde_json::json;

use super::answer;
use super::failure::Failure;
use super::hint::say;
use creel_dialects::import::{Choice, Dialect, Fate, Imported, Standing, read};
use creel_policy::file::decode;
use creel_policy::layer::{Command, Layer};
use creel_policy::tools::Tool;
use creel_policy::{Sourced, write};
use creel_session::exit::{FOUND, WRONG};
use creel_session::layers;

/// Convert another tool's policy to creel TOML; the result for each key goes to stderr
#[derive(clap::Args, Debug)]
pub struct ImportArgs {
    /// openclaw.json, exec-approvals.json, srt settings, Codex's config.toml or .rules, ...
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// Dialect of the file [default: detected from its keys]
    #[arg(long, value_name = "DIALECT", value_parser = names())]
    from: Option<String>,

    /// Convert the layer of this agent [default: the rules for all agents]
    #[arg(long, value_name = "ID")]
    agent: Option<String>,

    /// Also read this OpenClaw approvals document; the stricter rule applies
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    approvals: Option<PathBuf>,

    /// Write a layer that only narrows: no path grants and no preset
    #[arg(long)]
    narrow: bool,

    /// Write the policy to this file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    /// Exit with 1 if a key is not honoured
    #[arg(long)]
    strict: bool,

    /// Report only keys that are not honoured
    #[arg(short, long)]
    quiet: bool,
}

fn names() -> Vec<&'static str> {
    Dialect::ALL.iter().map(|dialect| dialect.name()).collect()
}

pub fn run(args: &ImportArgs) -> Result<u8, Failure> {
    let unreadable = |failure: Failure| failure.with_status(WRONG);
    let imported = imported(args).map_err(unreadable)?;
    let text = write::toml(&imported.layer);
    match &args.output {
        Some(path) => std::fs::write(path, &text)
            .map_err(|error| {
                Failure::new(format!("{}: {error}; name another file", path.display()))
            })
            .map_err(unreadable)?,
        None => answer::print(&text).map_err(unreadable)?,
    }
    match args.json {
        true => {
            let text = format!("{:#}\n", report(&imported));
            answer::print_beside(&text).map_err(unreadable)?;
        }
        false => tell(&imported, args.quiet),
    }
    let lost = imported
        .report
        .iter()
        .any(|entry| entry.fate == Fate::NotHonoured);
    Ok(if lost && args.strict { FOUND } else { 0 })
}

fn imported(args: &ImportArgs) -> Result<Imported, Failure> {
    let standing = match args.narrow {
        true => Standing::Narrows,
        false => Standing::Grants,
    };
    let dialect = |name: &String| Dialect::ALL.into_iter().find(|d| d.name() == name);
    let mut choice = Choice {
        dialect: args.from.as_ref().and_then(dialect),
        agent: args.agent.as_deref(),
        standing,
    };
    let one = |path: &Path, choice: &Choice| -> Result<Imported, Failure> {
        let name = path.to_string_lossy();
        let bytes = layers::bytes(path)?;
        Ok(read(&name, decode(&name, &bytes)?, choice)?)
    };
    let mut imported = one(&args.file, &choice)?;
    if let Some(path) = &args.approvals {
        choice.dialect = Some(Dialect::Approvals);
        // The rules for all agents apply to an agent without an entry.
        let approvals = match one(path, &choice) {
            Err(_) if choice.agent.is_some() => {
                choice.agent = None;
                one(path, &choice)?
            }
            approvals => approvals?,
        };
        approve(&mut imported.layer, approvals.layer);
        imported.report.extend(approvals.report);
    }
    Ok(imported)
}

/// Applies the stricter of the two rules for `exec`, as OpenClaw does.
fn approve(layer: &mut Layer, approvals: Layer) {
    let Some(theirs) = approvals.tools.each.get(&Tool::Exec).cloned() else {
        return;
    };
    let ours = layer.tools.each.entry(Tool::Exec).or_default();
    ours.security = least(ours.security.take(), theirs.security);
    ours.ask = least(ours.ask.take(), theirs.ask);
    let known: Option<Vec<Command>> = ours.commands.take();
    ours.commands = known.or(theirs.commands);
}

fn least<T: Ord>(a: Option<Sourced<T>>, b: Option<Sourced<T>>) -> Option<Sourced<T>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.value < a.value { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn tell(imported: &Imported, quiet: bool) {
    for entry in &imported.report {
        if !quiet || entry.fate == Fate::NotHonoured {
            say(&entry.to_string());
        }
    }
    let count = |fate| {
        imported
            .report
            .iter()
            .filter(|entry| entry.fate == fate)
            .count()
    };
    say(&format!(
        "read as {}: {} enforced, {} translated, {} not honoured",
        imported.dialect.name(),
        count(Fate::Enforced),
        count(Fate::Translated),
        count(Fate::NotHonoured)
    ));
    if !imported.agents.is_empty() && !quiet {
        say(&format!(
            "agents, each a layer by --agent: {}",
            imported.agents.join(", ")
        ));
    }
}

fn report(imported: &Imported) -> serde_json::Value {
    let entries: Vec<serde_json::Value> = imported
        .report
        .iter()
        .map(|entry| {
            json!({
                "key": entry.key,
                "file": &*entry.origin.source,
                "line": entry.origin.line,
                "fate": entry.fate.name(),
                "text": entry.text,
            })
        })
        .collect();
    json!({
        "dialect": imported.dialect.name(),
        "agents": imported.agents,
        "report": entries,
    })
}
