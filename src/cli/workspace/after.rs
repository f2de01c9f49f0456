//! The end of a run in an overlay workspace: its changes are kept, committed, or the user decides.

use std::io::{BufRead as _, stdin};
use std::path::Path;

use super::{lines, tell_rest};
use crate::cli::failure::Failure;
use crate::cli::hint::{is_answered, say};
use creel_session::workspace::diff::{self, Entry};
use creel_session::workspace::{
    Changes, Conflicts, Protected, Store, WorkspaceError, commit, discard,
};
use creel_sys::{fd, pty};

/// When the changes of a run are committed.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// Show them and ask: `y` commits, `d` discards, anything else keeps them
    Ask,
    /// If the command succeeded; what a commit holds back is kept
    Auto,
    /// Keep them for `creel commit`
    #[default]
    Never,
}

/// Refuses a `--commit` that could not work. `overlay`: whether the run has an overlay workspace.
pub fn check(when: Option<When>, overlay: bool) -> Result<(), Failure> {
    let can_ask = || pty::is_terminal(fd::fixed(0)) && pty::is_terminal(fd::fixed(2));
    match when {
        Some(_) if !overlay => Err(Failure::new(
            "--commit needs an overlay workspace: --workspace DIR:overlay",
        )),
        Some(When::Ask) if !can_ask() => Err(Failure::new(
            "--commit ask needs a terminal for the question; use --commit auto, or creel commit afterwards",
        )),
        _ => Ok(()),
    }
}

/// Settles the changes of a run. Layers without changes are removed. `status`: the run's exit status.
pub fn after_run(id: &str, when: When, status: u8) {
    let store = Store::of_caller();
    let Ok(mut changes) = store.open(id) else {
        return;
    };
    let entries = diff::diff(&changes);
    let count = entries.as_ref().map_or(1, Vec::len);
    let settled = match (&entries, when) {
        (Ok(entries), _) if entries.is_empty() => Ok(()),
        (Ok(_), When::Auto) if status == 0 => bring(&mut changes),
        (Ok(entries), When::Ask) => ask(&mut changes, entries),
        _ => Ok(()),
    };
    if let Err(error) = settled {
        say(&error.to_string());
    }
    // The change that was held back is still there.
    let left = diff::diff(&changes).map(|entries| entries.len()).ok();
    if left == Some(0) {
        let _ = store.remove(id);
        return;
    }
    let number = left.map_or_else(|| "its".to_owned(), |left| left.to_string());
    let place = lines::shown(Path::new(&changes.record.workspace));
    let state = match left.is_none_or(|left| left == count) {
        true => format!("the workspace {place} is unchanged; "),
        false => String::new(),
    };
    say(&format!(
        "{state}{number} changes are kept: creel diff {id}, creel commit {id}, creel discard {id}"
    ));
}

fn bring(changes: &mut Changes) -> Result<(), WorkspaceError> {
    let committed = commit(changes, &[], Conflicts::Refuse, Protected::Hold)?;
    tell_rest(&committed);
    Ok(())
}

fn ask(changes: &mut Changes, entries: &[Entry]) -> Result<(), WorkspaceError> {
    for entry in entries {
        say(&lines::with_sizes(entry));
    }
    // The command may have left something that was typed for it.
    let _ = pty::forget_input(fd::fixed(0));
    say("commit these changes? y: yes, d: discard them, anything else: keep them");
    let mut answer = String::new();
    // An end of input, an error and a signal keep them.
    if is_answered(fd::fixed(0)) {
        let _ = stdin().lock().read_line(&mut answer);
    }
    match answer.trim() {
        "y" | "yes" => bring(changes),
        "d" => discard(changes, &[]).map(drop),
        _ => Ok(()),
    }
}
