//! `creel snapshot`, `creel restore` and `creel fork`.

use std::time::Duration;

use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::session::{self, NameArgs, ends};
use creel_session::keep::wire::{Ask, Tell};
use creel_session::workspace::{Changes, Still, Store, WorkspaceError};

/// How often, and how long apart, a session is asked whether all its processes are frozen.
const ASKS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// Keep a copy of a session's changes under a name
#[derive(clap::Args)]
#[command(
    after_help = "Without SNAPSHOT: lists those of the session. The changes in the workspace are copied, no processes. \
    A session that runs is paused meanwhile. `creel rm --force` removes the snapshots with the session."
)]
pub struct SnapshotArgs {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,

    /// The snapshot's name
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// Remove the snapshot
    #[arg(long, requires = "snapshot")]
    remove: bool,
}

/// Bring a session's changes back to those of a snapshot
#[derive(clap::Args)]
#[command(
    after_help = "The session has ended; the next of its name begins with these changes. Its present changes are \
    lost: `creel snapshot` keeps them. What was committed stays in the workspace."
)]
pub struct RestoreArgs {
    /// The session, which has ended
    #[arg(value_name = "NAME")]
    name: String,

    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
}

/// Copy a session's changes for a session of another name
#[derive(clap::Args)]
#[command(
    after_help = "`creel create --name NEW` with the same overlay workspace goes on with the copy. A session that runs \
    is paused meanwhile."
)]
pub struct ForkArgs {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,

    /// The name of a session that has no changes yet
    #[arg(value_name = "NEW")]
    new: String,
}

pub fn snapshot(args: &SnapshotArgs) -> Result<u8, Failure> {
    let mut changes = Store::of_caller().open(&args.name)?;
    match &args.snapshot {
        None => {
            let names = changes.snapshots().into_iter();
            let text: String = names.map(|name| name + "\n").collect();
            answer::print(&text)?;
        }
        Some(name) if args.remove => changes.forget_snapshot(name)?,
        Some(name) => quietly(&mut changes, |changes, still| changes.snapshot(name, still))?,
    }
    Ok(0)
}

pub fn restore(args: &RestoreArgs) -> Result<u8, Failure> {
    Store::of_caller()
        .open(&args.name)?
        .restore(&args.snapshot)?;
    Ok(0)
}

pub fn fork(args: &ForkArgs) -> Result<u8, Failure> {
    let store = Store::of_caller();
    let mut changes = store.open(&args.name)?;
    quietly(&mut changes, |changes, still| {
        changes.fork(&store, &args.new, still)
    })?;
    Ok(0)
}

/// Copies changes to which nobody writes: a session that runs is frozen meanwhile.
fn quietly(
    changes: &mut Changes,
    copy: impl FnOnce(&mut Changes, Still) -> Result<(), WorkspaceError>,
) -> Result<(), Failure> {
    if !changes.is_live() {
        return Ok(copy(changes, Still::Ended)?);
    }
    let live = || WorkspaceError::Live {
        name: changes.name.clone(),
    };
    let args = NameArgs {
        name: changes.name.clone(),
    };
    let was = state(&args.name)?;
    // Without a control group a command could ignore the signal that pauses it.
    if was["frozen"].is_null() {
        return Err(live().into());
    }
    ends::pause(&args)?;
    let frozen = (0..ASKS).any(|_| match state(&args.name) {
        Ok(state) if state["frozen"] == true => true,
        _ => {
            std::thread::sleep(PAUSE);
            false
        }
    });
    let done = match frozen {
        true => copy(changes, Still::Frozen),
        false => Err(live()),
    };
    if was["state"] != "paused" {
        ends::resume(&args)?;
    }
    Ok(done?)
}

/// The session as `creel inspect` shows it.
fn state(name: &str) -> Result<serde_json::Value, Failure> {
    let store = session::store()?;
    let told = session::client(&store, name)?.ask(&Ask::Inspect);
    match told.map_err(|e| session::failure(&e))? {
        Tell::Inspected { session } => Ok(session),
        _ => Ok(serde_json::Value::Null),
    }
}
