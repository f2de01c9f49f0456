//! `creel exec`: runs a command in a session.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::ValueHint;

use super::{client, failure, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::{self, say};
use crate::cli::run::request::variable;
use crate::cli::status::Status;
use creel_policy::{Bytes, Count, CpuShare, Span};
use creel_session::execute::{outlets, streams};
use creel_session::keep::client::{Client, ExecError, Outcome};
use creel_session::keep::wire::{Ask, ExecAsk, Tell};
use creel_session::{Verdict, exit};
use creel_sys::{fd, host, pty};

pub const ABOUT: &str = "Run a command in a session";

/// Run a command in a session
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: as of `creel run`. The command's descendants end with it. Without a session of \
    this name the status is 125."
)]
pub struct ExecArgs {
    /// Accepted for Docker compatibility; stdin is always open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command its own terminal [default: if stdin and stdout are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,

    /// Give the command no terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,

    /// Working directory [default: the session's]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// Set a variable, or pass the caller's value of it
    #[arg(short, long, value_name = "K[=V]")]
    pub env: Vec<OsString>,

    /// Set the variables in this file: NAME=VALUE, a line each; lines that begin with # are comments
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub env_file: Vec<PathBuf>,

    /// Limit for wall time, at most the policy's
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub timeout: Option<Span>,

    /// Limit for this command's memory
    #[arg(short, long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub memory: Option<Bytes>,

    /// Limit for this command's processors
    #[arg(long, value_name = "N", value_parser = CpuShare::parse)]
    pub cpus: Option<CpuShare>,

    /// Limit for this command's processes and threads
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    pub pids: Option<Count>,

    /// Do not wait: print the job's number; `creel logs` and `creel attach` have its output
    #[arg(short, long, conflicts_with = "status_fd")]
    pub detach: bool,

    /// Write the verdict as JSON to this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub status_fd: Option<i32>,

    /// Write the verdict as JSON to this file, which appears when the command has ended
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "detach")]
    pub status_file: Option<PathBuf>,

    /// Print nothing about the end of the command
    #[arg(short, long)]
    pub quiet: bool,

    /// The session
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

pub fn run(args: &ExecArgs) -> Result<u8, Failure> {
    streams::check()?;
    let mut status = Status::open(args.status_fd, args.status_file.as_deref())?;
    match attempt(args, &mut status) {
        Ok(Done::Job(number)) => {
            answer::print(&format!("{number}\n"))?;
            Ok(0)
        }
        Ok(Done::Ended(outcome)) => {
            // `--quiet` is about the end of a command, and one that did not start has none.
            if !args.quiet
                || !outcome.exited
                    && matches!(outcome.exit_status, exit::NOT_EXECUTABLE | exit::NOT_FOUND)
            {
                outcome.lines.iter().for_each(|line| say(line));
            }
            if let Some(verdict) = outcome.verdict {
                status.write(&verdict, hint::PATIENCE)?;
            }
            Ok(outcome.exit_status)
        }
        Err(failure) => {
            let (reason, text) = (failure.reason.clone(), failure.text.clone());
            let verdict = Verdict::setup_failed(host::random_id(), failure.status, reason, text);
            status.write(&verdict.to_json(), hint::PATIENCE)?;
            Err(failure)
        }
    }
}

/// The trees of the host that the session's commands may write.
fn written(client: &Client) -> Result<Vec<PathBuf>, Failure> {
    let told = client.ask(&Ask::Inspect).map_err(|e| failure(&e))?;
    let Tell::Inspected { session } = told else {
        return Err(Failure::new(
            "the keeper gave no description of the session",
        ));
    };
    let mounts = session["mounts"].as_array().into_iter().flatten();
    let written = mounts.filter(|mount| mount["write"] == true);
    let source = |mount: &serde_json::Value| {
        let text = mount["source"].as_str().unwrap_or_default();
        // A name that is not UTF-8 has lost its bytes, and is not found again.
        match text.contains(char::REPLACEMENT_CHARACTER) {
            true => Err(Failure::new(format!(
                "--status-file: the session may write {text}, whose name is not UTF-8; use --status-fd"
            ))),
            false => Ok(PathBuf::from(text)),
        }
    };
    written.map(source).collect()
}

/// A started command.
pub enum Done {
    /// It is detached, and has this number.
    Job(u32),
    /// It has ended, or did not start.
    Ended(Outcome),
}

fn attempt(args: &ExecArgs, status: &mut Status) -> Result<Done, Failure> {
    let ask = asked(args)?;
    let store = store()?;
    let client = client(&store, &args.name)?;
    if let (Some(path), Some(directory)) = (&args.status_file, status.directory()) {
        // A connection serves one command.
        let written = written(&super::client(&store, &args.name)?)?;
        outlets::check_status_beside(path, directory, &written)
            .map_err(Failure::from)
            .and_then(|place| status.settle(place))
            .inspect_err(|_| status.leave_file())?;
    }
    match args.detach {
        true => detached(&client, ask),
        false => attached(client, ask).map(Done::Ended),
    }
}

/// Starts a detached command. One that does not start has ended.
pub fn detached(client: &Client, ask: ExecAsk) -> Result<Done, Failure> {
    let told = client.ask(&Ask::Exec(Box::new(ask)));
    match told.map_err(|e| failure(&e))? {
        Tell::Job { number } => Ok(Done::Job(number)),
        Tell::Verdict {
            exit_status,
            exited,
            lines,
            verdict,
        } => Ok(Done::Ended(Outcome {
            exit_status,
            exited,
            lines,
            verdict,
        })),
        _ => Err(Failure::new("the keeper gave no job")),
    }
}

/// Runs a command with this process's streams, to its end.
pub fn attached(client: Client, ask: ExecAsk) -> Result<Outcome, Failure> {
    client.exec(ask).map_err(|error| match error {
        ExecError::Session(error) => failure(&error),
        ExecError::Execute(error) => Failure::of(&error),
        error => Failure::of(&error),
    })
}

fn asked(args: &ExecArgs) -> Result<ExecAsk, Failure> {
    let mut env = std::collections::BTreeMap::new();
    for file in &args.env_file {
        for (number, line) in lines_of(file)? {
            let place = format!("{}:{number}: ", file.display());
            let (name, value) = variable(&line).map_err(|failure| Failure {
                text: place + &failure.text.replace("--env ", ""),
                ..failure
            })?;
            env.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
    }
    for text in &args.env {
        let (name, value) = variable(text)?;
        env.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    let both = pty::is_terminal(fd::fixed(0)) && pty::is_terminal(fd::fixed(1));
    let terminal = args.tty || both && !args.no_tty;
    if args.detach && args.tty {
        return Err(Failure::new(
            "--tty and --detach exclude each other: a detached command has no terminal",
        ));
    }
    let size = || pty::size_of([fd::fixed(0), fd::fixed(1)]).unwrap_or([24, 80]);
    Ok(ExecAsk {
        command: args
            .command
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect(),
        env,
        offered: offered(),
        workdir: (args.workdir.iter())
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .collect(),
        terminal: (terminal && !args.detach).then(size),
        detach: args.detach,
        timeout: args.timeout.map(|span| span.0),
        memory: args.memory.map(|bytes| bytes.0),
        cpu_milli: args.cpus.map(|share| share.0),
        pids: args.pids.map(|count| count.0),
        full: args.status_fd.is_some() || args.status_file.is_some(),
    })
}

/// The caller's variables of a terminal: the command runs on the caller's, not on that of the session's maker.
pub fn offered() -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let names = ["TERM", "COLORTERM", "NO_COLOR", "TZ"];
    let of = |name| Some((Vec::from(name), std::env::var_os(name)?.as_bytes().to_vec()));
    names.into_iter().filter_map(of).collect()
}

/// The lines of a file with variables, without comments and empty ones.
pub fn lines_of(file: &PathBuf) -> Result<Vec<(usize, OsString)>, Failure> {
    use std::os::unix::ffi::OsStringExt as _;
    let text = std::fs::read(file).map_err(|error| {
        Failure::new(format!("--env-file {}: {error}", file.display()))
            .with_status(exit::OWN_FAILURE)
    })?;
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok((1..)
        .zip(lines)
        .filter(|(_, line)| !line.is_empty() && line[0] != b'#')
        .map(|(number, line)| (number, OsString::from_vec(line.to_vec())))
        .collect())
}
