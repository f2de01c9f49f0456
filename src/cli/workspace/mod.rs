//! The changes of an overlay workspace: `creel diff`, `creel commit` and `creel discard`.

mod after;
mod lines;
mod snapshots;

pub use after::{When, after_run, check};
pub use snapshots::{ForkArgs, RestoreArgs, SnapshotArgs, fork, restore, snapshot};

use std::io::IsTerminal as _;
use std::path::{Component, PathBuf};

use clap::ValueHint;

use super::answer;
use super::failure::Failure;
use super::hint::say;
use creel_session::exit;
use creel_session::workspace::diff::{self, Entry};
use creel_session::workspace::text::Patches;
use creel_session::workspace::{
    Changes, Committed, Conflicts, Protected, Store, commit as commits, discard as discards,
};

/// Show what a session has changed in its overlay workspace
#[derive(clap::Args)]
#[command(
    after_help = "Without NAME: the sessions that have changes. A line has a letter as git's (A, M, D, T for another \
    kind of file, R for a new file with the contents of a removed one), `!` for a file that the host changed, too, `-` for one that a commit holds back, and the name."
)]
pub struct DiffArgs {
    /// The session
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// These files and directories alone, in the workspace
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,

    /// Sizes and modes before and after
    #[arg(long, conflicts_with_all = ["json", "text"])]
    stat: bool,

    /// As a patch for `git apply`: contents of text files and links, and whether a file can be executed
    #[arg(long, conflicts_with = "json")]
    text: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Bring a session's changes into its workspace: all, or those named
#[derive(clap::Args)]
#[command(
    after_help = "Names that the policy denies or protects, and files that the host would execute or obey later, are \
    held back. Nothing is committed if the host changed one of the files, too. A commit that was cut off is finished \
    by the next one, or by the next start of the session."
)]
pub struct CommitArgs {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,

    /// These files and directories alone, in the workspace
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,

    /// Replace files that the host changed, too
    #[arg(short, long)]
    force: bool,

    /// Commit protected names as well, such as git's hooks. Denied names never are
    #[arg(long)]
    include_protected: bool,

    /// Print nothing but what is held back
    #[arg(short, long)]
    quiet: bool,
}

/// Drop a session's changes: all, or those named
#[derive(clap::Args)]
pub struct DiscardArgs {
    /// The session, which has ended
    #[arg(value_name = "NAME")]
    name: String,

    /// These files and directories alone, in the workspace
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

/// The paths relative to the workspace. An absolute path must lie in it.
fn relative(changes: &Changes, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let place = &changes.record.workspace;
    let relative = |path: &PathBuf| {
        let inner = match path.is_absolute() {
            true => path.strip_prefix(place).ok(),
            false => Some(path.as_path()),
        };
        let plain = |part: &Component| matches!(part, Component::Normal(_) | Component::CurDir);
        let inner = inner.filter(|inner| inner.components().all(|part| plain(&part)));
        let Some(inner) = inner else {
            return Err(Failure::new(format!(
                "{} does not lie in the workspace {}; name a path relative to it",
                path.display(),
                place.display()
            )));
        };
        Ok(inner
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect())
    };
    paths.iter().map(relative).collect()
}

pub fn diff(args: &DiffArgs) -> Result<u8, Failure> {
    let store = Store::of_caller();
    let Some(name) = &args.name else {
        let names = store.names().into_iter();
        let names = names.filter(|name| store.has_changes(name));
        let text: String = names.map(|name| name + "\n").collect();
        answer::print(&text)?;
        return Ok(0);
    };
    let changes = store.open(name)?;
    let paths = relative(&changes, &args.paths)?;
    let mut entries = diff::diff(&changes)?;
    let is_named =
        |entry: &Entry| paths.is_empty() || paths.iter().any(|path| entry.path.starts_with(path));
    entries.retain(is_named);
    if args.json {
        answer::print_json(&lines::json(&changes, &entries))?;
    } else if args.text {
        let patches = Patches::of(&changes)?;
        let is_terminal = std::io::stdout().is_terminal();
        for entry in &entries {
            let text = patches.of_entry(entry);
            answer::print(&match is_terminal {
                true => lines::harmless(&text),
                false => text,
            })?;
        }
    } else {
        let line = match args.stat {
            true => lines::with_sizes,
            false => lines::line,
        };
        let text: String = entries.iter().map(|entry| line(entry) + "\n").collect();
        answer::print(&text)?;
    }
    Ok(0)
}

pub fn commit(args: &CommitArgs) -> Result<u8, Failure> {
    let mut changes = Store::of_caller().open(&args.name)?;
    let paths = relative(&changes, &args.paths)?;
    let conflicts = match args.force {
        true => Conflicts::Replace,
        false => Conflicts::Refuse,
    };
    let protected = match args.include_protected {
        true => Protected::Include,
        false => Protected::Hold,
    };
    let committed = commits(&mut changes, &paths, conflicts, protected)?;
    if !args.quiet {
        let text: String = committed
            .done
            .iter()
            .map(|entry| lines::line(entry) + "\n")
            .collect();
        answer::print(&text)?;
    }
    tell_rest(&committed);
    Ok(
        match committed.held.is_empty() && committed.skipped.is_empty() {
            true => 0,
            false => exit::FOUND,
        },
    )
}

/// Prints the changes that a commit left uncommitted, and why.
fn tell_rest(committed: &Committed) {
    for entry in &committed.held {
        let why = entry.held.map_or("", |why| why.word());
        say(&format!("held back, {why}: {}", lines::shown(&entry.path)));
    }
    for path in &committed.skipped {
        say(&format!(
            "not committed, the host changed it meanwhile: {}",
            lines::shown(path)
        ));
    }
}

pub fn discard(args: &DiscardArgs) -> Result<u8, Failure> {
    let mut changes = Store::of_caller().open(&args.name)?;
    let paths = relative(&changes, &args.paths)?;
    if paths.iter().any(|path| path.as_os_str().is_empty()) {
        discards(&mut changes, &[])?;
    } else {
        discards(&mut changes, &paths)?;
    }
    Ok(0)
}
