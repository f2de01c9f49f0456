//! `creel ps`, `inspect`, `jobs`, `logs` and `attach`: what there is, and what it has said.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{NameArgs, client, failure, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint;
use creel_policy::error::escaped;
use creel_session::SessionError;
use creel_session::keep::client::Client;
use creel_session::keep::now;
use creel_session::keep::store::{Life, Store};
use creel_session::keep::wire::{Ask, Tell};
use creel_sys::fd;

/// List the sessions
#[derive(clap::Args)]
pub struct PsArgs {
    /// Also list sessions that have ended
    #[arg(short, long)]
    all: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// List only sessions with this label; with several, those that have all
    #[arg(long, value_name = "K=V", value_parser = super::create::label)]
    label: Vec<(String, String)>,

    /// Print the names alone
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Print everything about a session as JSON
#[derive(clap::Args)]
pub struct InspectArgs {
    #[command(flatten)]
    name: NameArgs,
}

/// List the commands of a session that run, and the detached ones that have ended
#[derive(clap::Args)]
pub struct JobsArgs {
    #[command(flatten)]
    name: NameArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print the output of a detached command, or what happened in a session
#[derive(clap::Args)]
pub struct LogsArgs {
    #[command(flatten)]
    name: NameArgs,

    /// The number of the job [default: the session's events]
    #[arg(value_name = "JOB", value_parser = super::ends::job)]
    job: Option<u32>,

    /// Go on until the command or the session has ended
    #[arg(short, long)]
    follow: bool,
}

/// Print the output of a detached command to its end, and exit with its status
#[derive(clap::Args)]
pub struct AttachArgs {
    #[command(flatten)]
    name: NameArgs,

    /// The number of the job
    #[arg(value_name = "JOB", value_parser = super::ends::job)]
    job: u32,
}

pub fn ps(args: &PsArgs) -> Result<u8, Failure> {
    let store = store()?;
    let mut all = vec![];
    for name in store.names().map_err(|e| failure(&e))? {
        match look(&store, &name) {
            Ok(session) => all.extend(session),
            // Something else in the directory does not hide the sessions.
            Err(failure) => hint::say(&failure.text),
        }
    }
    all.retain(|session| args.all || session["state"] != "ended");
    all.retain(|session| {
        let labels = &session["record"]["labels"];
        args.label
            .iter()
            .all(|(name, value)| labels[name] == **value)
    });
    if args.json {
        answer::print_json(&json!({ "version": 1, "sessions": all }))?;
        return Ok(0);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    if args.quiet {
        let names = all.iter().map(|s| text(&s["record"]["name"]) + "\n");
        answer::print(&names.collect::<String>())?;
        return Ok(0);
    }
    let mut rows =
        vec![["NAME", "STATE", "AGE", "COMMANDS", "POLICY", "WORKDIR"].map(String::from)];
    for session in &all {
        let record = &session["record"];
        let running = session["commands"].as_array().map_or(0, |commands| {
            commands.iter().filter(|c| c["state"] == "running").count()
        });
        rows.push([
            text(&record["name"]),
            text(&session["state"]),
            age(record["created"].as_u64()),
            running.to_string(),
            text(&record["policy"]),
            text(&record["workdir"]),
        ]);
    }
    answer::print(&table(&rows))?;
    Ok(0)
}

/// How long a keeper has to describe its session.
const PATIENCE: Duration = Duration::from_secs(2);

/// A session that lives by its keeper's words, another by its files. `None` if it was removed meanwhile.
fn look(store: &Store, name: &str) -> Result<Option<Value>, Failure> {
    let life = store.life(name).map_err(|e| failure(&e))?;
    if life == Some(Life::Alive)
        && let Ok(client) = Client::connect(store, name)
        && let Ok(Some(Tell::Inspected { mut session })) =
            client.ask_within(&Ask::Inspect, PATIENCE)
    {
        session["record"]["name"] = json!(name);
        return Ok(Some(session));
    }
    if life.is_none() {
        return Ok(None);
    }
    let Some(directory) = store.open(name).map_err(|e| failure(&e))? else {
        return Ok(None);
    };
    let read =
        |file: &str| -> Option<Value> { serde_json::from_slice(&directory.read(file).ok()?).ok() };
    let (mut record, end) = (read("record").unwrap_or(json!({})), read("end"));
    // The file is the session's, the name the directory's.
    record["name"] = json!(name);
    let state = match life {
        Some(Life::Alive) if directory.open("record").is_err() => "starting",
        Some(Life::Alive) => "unresponsive",
        _ => "ended",
    };
    Ok(Some(json!({
        "version": 1,
        "state": state,
        "record": record,
        "commands": [],
        "cause": end.as_ref().map(|end| end["cause"].clone()),
        "verdict": end.map(|mut end| end["verdict"].take()),
    })))
}

pub fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let name = &args.name.name;
    match look(&store()?, name)? {
        Some(session) => answer::print_json(&session)?,
        None => return Err(failure(&SessionError::None { name: name.clone() })),
    }
    Ok(0)
}

pub fn jobs(args: &JobsArgs) -> Result<u8, Failure> {
    let client = client(&store()?, &args.name.name)?;
    let Tell::Inspected { session } = client.ask(&Ask::Inspect).map_err(|e| failure(&e))? else {
        return Err(Failure::new(
            "the keeper gave no description of the session",
        ));
    };
    let commands = &session["commands"];
    if args.json {
        answer::print_json(&json!({ "version": 1, "jobs": commands }))?;
        return Ok(0);
    }
    let mut rows = vec![["JOB", "STATE", "STATUS", "AGE", "DETACHED", "COMMAND"].map(String::from)];
    for job in commands.as_array().into_iter().flatten() {
        let words = job["command"].as_array().into_iter().flatten();
        let words: Vec<String> = words
            .filter_map(|w| Some(hint::quoted(w.as_str()?)))
            .collect();
        let status = job["exit_status"]
            .as_u64()
            .map_or("-".into(), |s| s.to_string());
        rows.push([
            job["number"].to_string(),
            job["state"].as_str().unwrap_or("-").into(),
            status,
            age(job["began"].as_u64()),
            if job["detached"] == true { "yes" } else { "no" }.into(),
            words.join(" ").chars().take(200).collect(),
        ]);
    }
    answer::print(&table(&rows))?;
    Ok(0)
}

/// Milliseconds since 1970 as an age: `12s`, `5m`, `3h`, `2d`.
pub(super) fn age(since: Option<u64>) -> String {
    let Some(since) = since else {
        return "-".into();
    };
    let seconds = now().saturating_sub(since) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// Columns, two spaces apart. Text of a jail must not send sequences to the terminal.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let clean: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.clone().map(|cell| escaped(cell.chars()).to_string()))
        .collect();
    let width = |at: usize| clean.iter().map(|row| row[at].chars().count()).max();
    let mut text = String::new();
    for row in &clean {
        for (at, cell) in row.iter().enumerate() {
            let width = if at + 1 < N {
                width(at).unwrap_or(0) + 2
            } else {
                0
            };
            let _ = write!(text, "{cell:width$}");
        }
        text.push('\n');
    }
    text
}

pub fn logs(args: &LogsArgs) -> Result<u8, Failure> {
    let store = store()?;
    let name = &args.name.name;
    let file = match args.job {
        Some(job) => format!("job-{job}"),
        None => "events".into(),
    };
    let directory = store.of(name).map_err(|e| failure(&e))?;
    let ask = match (args.follow, args.job) {
        (false, _) => None,
        (true, Some(number)) => Some(Ask::AwaitJob { number }),
        (true, None) => Some(Ask::Wait),
    };
    let alive = store.life(name).map_err(|e| failure(&e))?;
    if alive.is_none() {
        return Err(failure(&SessionError::None { name: name.clone() }));
    }
    let awaited = ask.filter(|_| alive == Some(Life::Alive));
    let opened = match (directory.open(&file), args.job) {
        (Err(_), Some(number)) => return Err(failure(&SessionError::NoJob { number })),
        (opened, _) => opened?,
    };
    follow(&store, name, opened, awaited).map(|_| 0)
}

pub fn attach(args: &AttachArgs) -> Result<u8, Failure> {
    let store = store()?;
    let name = &args.name.name;
    // A session that lives knows the job's end.
    client(&store, name)?;
    let number = args.job;
    let directory = store.of(name).map_err(|e| failure(&e))?;
    let opened = directory.open(&format!("job-{number}"));
    let opened = opened.map_err(|_| failure(&SessionError::NoJob { number }))?;
    let status = follow(&store, name, opened, Some(Ask::AwaitJob { number }))?;
    // The keeper is gone, and the job with it.
    status.ok_or_else(|| failure(&SessionError::Silent { name: name.clone() }))
}

/// Prints a file, and goes on until the keeper has answered `awaited`.
fn follow(
    store: &Store,
    name: &str,
    mut file: File,
    awaited: Option<Ask>,
) -> Result<Option<u8>, Failure> {
    let waiting = match awaited {
        Some(ask) => Some(client(store, name)?.begin(&ask).map_err(|e| failure(&e))?),
        None => None,
    };
    let (mut status, mut last) = (None, vec![]);
    loop {
        // Asked before the file is read: what is written before the end is read after it.
        let ended = match &waiting {
            None => true,
            Some(client) => match client.answer(Duration::from_millis(50)) {
                Ok(None) => false,
                Ok(Some(Tell::Ended { exit_status, lines })) => {
                    last = lines;
                    status = Some(exit_status);
                    true
                }
                Ok(Some(_)) | Err(SessionError::Silent { .. }) => true,
                Err(error) => return Err(failure(&error)),
            },
        };
        let mut bytes = vec![];
        file.read_to_end(&mut bytes)?;
        match hint::deliver(fd::fixed(1), &bytes, hint::LONGEST) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(status),
            delivered => delivered?,
        }
        if ended {
            last.iter().for_each(|line| hint::say(line));
            return Ok(status);
        }
    }
}
