//! `creel wait`, `pause`, `resume`, `stop`, `kill`, `rm` and `gc`.

use std::time::Duration;

use super::{NameArgs, client, failure, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint;
use creel_jail::fault_point::{self, Point};
use creel_policy::Span;
use creel_session::keep::client::Client;
use creel_session::keep::store::{self, Life, Store};
use creel_session::keep::wire::{Ask, Tell};
use creel_session::workspace::Store as Changes;
use creel_session::{SessionError, WorkspaceError};
use creel_sys::signal;

/// How long a keeper has to end its session when it is asked to do so at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// One or more sessions
#[derive(clap::Args)]
pub struct NamesArgs {
    /// The sessions
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// End sessions: SIGTERM to their commands, SIGKILL after the grace
#[derive(clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    sessions: NamesArgs,

    /// Time between SIGTERM and SIGKILL [default: the policy's grace]
    #[arg(short, long, value_name = "TIME", value_parser = Span::parse)]
    grace: Option<Span>,
}

/// End sessions at once, or send a signal to their commands
#[derive(clap::Args)]
pub struct KillArgs {
    #[command(flatten)]
    sessions: NamesArgs,

    /// Send this signal to the commands; the session stays
    #[arg(short, long, value_name = "SIGNAL", value_parser = number_of)]
    signal: Option<i32>,

    /// Send it to this job alone [default signal: KILL]
    #[arg(short, long, value_name = "JOB", value_parser = job)]
    job: Option<u32>,
}

/// Remove sessions: what has ended, and with --force what runs
#[derive(clap::Args)]
pub struct RmArgs {
    #[command(flatten)]
    sessions: NamesArgs,

    /// End them first
    #[arg(short, long)]
    force: bool,
}

/// Remove all sessions that have ended, and control groups that crashed jails have left
#[derive(clap::Args)]
pub struct GcArgs {}

fn number_of(text: &str) -> Result<i32, String> {
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    (1..=64)
        .find(|number| {
            number.to_string() == name
                || signal::name(*number).is_some_and(|n| n.strip_prefix("SIG") == Some(name))
        })
        .ok_or_else(|| "a signal is a name or a number, such as TERM or 15".into())
}

/// A job's number.
pub fn job(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "a job is a number; `creel jobs NAME` lists them".into())
}

/// Does it for each session, once all names are known to be names; the first failure is the verb's, after all have been tried.
fn each(
    names: &[String],
    mut act: impl FnMut(&Store, &str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let store = store()?;
    for name in names {
        store::check(name).map_err(|e| failure(&e))?;
    }
    let mut failed = None;
    for name in names {
        if let Err(failure) = act(&store, name)
            && let Some(earlier) = failed.replace(failure)
        {
            let _ = Failure::report(earlier);
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

fn ask(store: &Store, name: &str, ask: &Ask) -> Result<Tell, Failure> {
    client(store, name)?.ask(ask).map_err(|e| failure(&e))
}

/// Ends a session at once. A keeper that does not answer is killed, and its session with it.
fn end_now(store: &Store, name: &str) -> Result<(), Failure> {
    let client = client(store, name)?;
    fault_point::reach(Point::RemoveConnected);
    match client.ask_within(&Ask::Kill, PATIENCE) {
        // It has ended before it answered.
        Ok(Some(_)) | Err(SessionError::Silent { .. }) => {}
        Ok(None) => client.kill_keeper().map_err(|e| failure(&e))?,
        Err(error) => return Err(failure(&error)),
    }
    until_over(store, name);
    Ok(())
}

/// Waits until the keeper has gone: the files of the end are written then.
pub fn until_over(store: &Store, name: &str) {
    for _ in 0..10_000 {
        if store.life(name).ok().flatten() != Some(Life::Alive) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn wait(args: &NamesArgs) -> Result<u8, Failure> {
    each(&args.names, |store, name| {
        match store.life(name).map_err(|e| failure(&e))? {
            None => return Err(failure(&SessionError::None { name: name.into() })),
            Some(Life::Over) => return Ok(()),
            Some(Life::Alive) => {}
        }
        match Client::connect(store, name).and_then(|client| client.ask(&Ask::Wait)) {
            // It is ending: its keeper does not listen any more.
            Ok(_) | Err(SessionError::Ended { .. } | SessionError::Silent { .. }) => {}
            Err(error) => return Err(failure(&error)),
        }
        until_over(store, name);
        Ok(())
    })
}

pub fn pause(args: &NameArgs) -> Result<u8, Failure> {
    ask(&store()?, &args.name, &Ask::Pause).map(|_| 0)
}

pub fn resume(args: &NameArgs) -> Result<u8, Failure> {
    ask(&store()?, &args.name, &Ask::Resume).map(|_| 0)
}

pub fn stop(args: &StopArgs) -> Result<u8, Failure> {
    let grace = args.grace.map(|span| span.0);
    each(&args.sessions.names, |store, name| {
        match client(store, name)?.ask(&Ask::Stop { grace }) {
            Ok(_) | Err(SessionError::Silent { .. }) => {}
            Err(error) => return Err(failure(&error)),
        }
        until_over(store, name);
        Ok(())
    })
}

pub fn kill(args: &KillArgs) -> Result<u8, Failure> {
    let store = store()?;
    for name in &args.sessions.names {
        // `creel kill NAME 1` means a job: nothing is ended before every name is known.
        if store.life(name).map_err(|e| failure(&e))?.is_none() {
            let remedy = match name.parse::<u32>() {
                Ok(job) => format!("; a job is killed by `creel kill --job {job} NAME`"),
                Err(_) => String::new(),
            };
            let none = failure(&SessionError::None { name: name.clone() });
            return Err(Failure {
                text: none.text + &remedy,
                ..none
            });
        }
    }
    each(&args.sessions.names, |store, name| {
        if let Some(job) = args.job {
            let number = args.signal.unwrap_or(signal::KILL);
            return ask(store, name, &Ask::SignalJob { job, number }).map(drop);
        }
        match args.signal {
            Some(number) => {
                ask(store, name, &Ask::SignalAll { number })?;
            }
            None => end_now(store, name)?,
        }
        Ok(())
    })
}

pub fn rm(args: &RmArgs) -> Result<u8, Failure> {
    each(&args.sessions.names, |store, name| {
        // Something else of this name is removed, if it is a link.
        let alive = matches!(store.life(name), Ok(Some(Life::Alive)));
        if !args.force {
            changes_kept(name)?;
        }
        if alive && args.force {
            // It may end by itself meanwhile.
            let _ = end_now(store, name);
            fault_point::reach(Point::RemoveOver);
        } else if alive {
            return Err(Failure::new(format!(
                "the session {name} runs; `creel stop {name}` ends it, `creel rm --force {name}` does both"
            )));
        }
        // A session that is not there needs no removal.
        store.remove(name).map(|_| ()).map_err(|e| failure(&e))?;
        Ok(Changes::of_caller().remove(name)?)
    })
}

/// Changes of an overlay workspace are the user's work: without --force they stay, and the session with them.
fn changes_kept(name: &str) -> Result<(), Failure> {
    match Changes::of_caller().has_work(name) {
        true => Err(WorkspaceError::Uncommitted { name: name.into() }.into()),
        false => Ok(()),
    }
}

pub fn gc(_: &GcArgs) -> Result<u8, Failure> {
    let store = store()?;
    let mut removed = String::new();
    for name in store.names().map_err(|e| failure(&e))? {
        if matches!(store.life(&name), Ok(Some(Life::Alive))) {
            continue;
        }
        // The changes outlive what is removed here; without any, their layers go, too.
        let changes = Changes::of_caller();
        if !changes.has_work(&name) {
            let _ = changes.remove(&name);
        }
        match store.remove(&name) {
            Ok(true) => {
                removed += &name;
                removed.push('\n');
            }
            Ok(false) => {}
            Err(error) => hint::say(&error.to_string()),
        }
    }
    // Groups of jails whose processes were all killed.
    let host = creel_jail::probe::facts()?;
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let state = creel_jail::spawn::state_dir(host.uid, runtime_dir.as_deref());
    if state.join("slots").exists() {
        creel_jail::slot::sweep(&state, &host.cgroups)?;
    }
    answer::print(&removed)?;
    Ok(0)
}
