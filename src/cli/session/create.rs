//! `creel create`: makes a session. A copy of this process becomes its keeper.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::exec::{self, Done};
use super::{failure, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::say;
use crate::cli::run::args::{JailArgs, RunArgs};
use crate::cli::run::{declared, lines};
use creel_jail::fault_point::{self, Point};
use creel_policy::Span;
use creel_session::declare::only_loopback;
use creel_session::keep::client::Client;
use creel_session::keep::store::{self, Claim, Directory, Store};
use creel_session::keep::wire::{Ask, ExecAsk, Tell};
use creel_session::keep::{KeepError, Record, Settings, keep, now};
use creel_session::workspace;
use creel_session::{Declared, SessionError, exit};
use creel_sys::clone::{self, Side};
use creel_sys::{fd, host, process};

pub const ABOUT: &str = "Make a session: a jail that stays, for commands of `creel exec`";

/// How long `--replace` waits for the end of the session before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which commands share a session
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of one agent and session key
    Session,
    /// Those of one agent
    Agent,
    /// All
    Shared,
}

/// Which session keys get a jail
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// None: every key is left on the host
    Off,
    /// All but agent:ID:main, the agent's conversation with its owner
    NonMain,
    /// All
    All,
}

impl Mode {
    /// Whether the key gets a jail. The whole key decides, with the agent's own name in it: one that only looks like
    /// the main one gets a jail.
    fn jails(self, key: &str, agent: Option<&str>) -> bool {
        let parts: Vec<&str> = key.split(':').collect();
        let is_main = matches!(parts[..], ["agent", id, "main"] if !id.is_empty() && agent.is_none_or(|a| a == id));
        match self {
            Mode::Off => false,
            Mode::NonMain => !is_main,
            Mode::All => true,
        }
    }
}

/// Make a session: a jail that stays, for commands of `creel exec`
#[derive(clap::Args, Default)]
#[command(
    after_help = "Exit status: 0; 1 if --mode leaves the key on the host, so that no session is made and no name \
    printed; 125 creel itself failed. Prints the session's name. A session of this name that was made the same way is kept; \
    one that was made otherwise is an error, or is ended first (--replace)."
)]
pub struct CreateArgs {
    /// The name: letters, digits, `.`, `_`, `-` [default: from --scope, else a random one]
    #[arg(value_name = "NAME", conflicts_with = "named")]
    pub name: Option<String>,

    /// The same, as a flag
    #[arg(id = "named", long = "name", value_name = "NAME")]
    pub named: Option<String>,

    /// The caller's key for a conversation, for a name that is the same for the same key
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub session: Option<String>,

    /// Derive the name from --agent and --session, or from less of them [default with --session: session]
    #[arg(long, value_enum)]
    pub scope: Option<Scope>,

    /// Which keys get a session; for another the exit status is 1 [default: all]
    #[arg(long, value_enum, requires = "session")]
    pub mode: Option<Mode>,

    /// A label, shown by `creel ps` and `creel inspect`
    #[arg(long, value_name = "K=V", value_parser = label)]
    pub label: Vec<(String, String)>,

    /// End the session when no command has run for this time
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub idle_timeout: Option<Span>,

    /// End the session after this time
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub max_age: Option<Span>,

    /// End a session of this name that was made otherwise
    #[arg(long)]
    pub replace: bool,

    #[command(flatten)]
    pub jail: JailArgs,

    /// Print nothing but the name
    #[arg(short, long)]
    pub quiet: bool,
}

/// A label as `NAME=VALUE`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a label is NAME=VALUE".into()),
    }
}

/// The keeper's message to the process that made it.
#[derive(Serialize, Deserialize)]
enum Birth {
    /// A session of this name is there.
    Ready,
    Failed {
        text: String,
        status: u8,
    },
}

pub fn run(args: &CreateArgs) -> Result<u8, Failure> {
    if let (Some(mode), Some(key)) = (args.mode, &args.session)
        && !mode.jails(key, args.jail.policies.agent.as_deref())
    {
        // Not with --quiet either: what runs without a jail is said.
        say(&format!(
            "no session is made: --mode leaves the key {key} on the host, where its commands run without a jail"
        ));
        return Ok(exit::FOUND);
    }
    let name = make(args)?;
    print_name(&name)
}

/// The session is there, whether its name can be printed or not.
fn print_name(name: &str) -> Result<u8, Failure> {
    match answer::print(&format!("{name}\n")) {
        Ok(()) => Ok(0),
        Err(failure) => Err(Failure {
            text: format!(
                "{}; the session {name} runs: `creel rm --force {name}` removes it",
                failure.text
            ),
            ..failure
        }),
    }
}

/// `creel run --detach`: makes a session and starts the command in it.
pub fn run_detached(args: &RunArgs) -> Result<u8, Failure> {
    let args_of_session = CreateArgs {
        name: args.name.clone(),
        jail: args.jail.clone(),
        quiet: args.quiet,
        ..CreateArgs::default()
    };
    let name = make(&args_of_session)?;
    let command = args.command.iter();
    let ask = ExecAsk {
        command: command.map(|word| word.as_bytes().to_vec()).collect(),
        offered: exec::offered(),
        detach: true,
        ..ExecAsk::default()
    };
    let client = Client::connect(&store()?, &name).map_err(|e| failure(&e))?;
    match exec::detached(&client, ask)? {
        Done::Job(_) => print_name(&name),
        Done::Ended(outcome) => {
            outcome.lines.iter().for_each(|line| say(line));
            Ok(outcome.exit_status)
        }
    }
}

/// Makes the session, or finds the one that is there; returns its name.
pub fn make(args: &CreateArgs) -> Result<String, Failure> {
    if !args.jail.publish_anyway {
        only_loopback(&args.jail.publish)?;
    }
    let name = name(args);
    store::check(&name).map_err(|e| failure(&e))?;
    let store = store()?;
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match clone::clone3_single_threaded(0, None)? {
        Side::Child => {
            drop(told);
            let status = keeper(args, &name, &store, tell);
            process::exit(i32::from(status))
        }
        Side::Parent { pid, .. } => {
            drop(tell);
            fault_point::reach(Point::MakerWaits);
            let mut text = String::new();
            let read = std::fs::File::from(told).read_to_string(&mut text);
            match read.ok().and_then(|_| serde_json::from_str(&text).ok()) {
                Some(Birth::Ready) => {
                    fault_point::reach(Point::MakerHeard);
                    Ok(name)
                }
                Some(Birth::Failed { text, status }) => {
                    let _ = process::reap(pid);
                    Err(Failure::new(text).with_status(status))
                }
                None => Err(Failure::new(
                    "the session's keeper ended before the session was made; run it again",
                )),
            }
        }
    }
}

fn name(args: &CreateArgs) -> String {
    if let Some(name) = args.name.as_ref().or(args.named.as_ref()) {
        return name.clone();
    }
    let agent = args.jail.policies.agent.as_deref().unwrap_or("main");
    let key = args.session.as_deref().unwrap_or("main");
    let hashed = |kind: &str, text: String| {
        let digest = creel_policy::digest(text.as_bytes());
        format!("{kind}-{}", digest.get(..24).unwrap_or(&digest))
    };
    let scope = args
        .scope
        .or(args.session.is_some().then_some(Scope::Session));
    match scope {
        Some(Scope::Session) => hashed("session", format!("{agent}\0{key}")),
        Some(Scope::Agent) => hashed("agent", agent.to_owned()),
        Some(Scope::Shared) => "shared".to_owned(),
        None => host::random_id(),
    }
}

/// The process that becomes the keeper. Returns its exit status.
fn keeper(args: &CreateArgs, name: &str, store: &Store, tell: OwnedFd) -> u8 {
    // Ctrl-C ends the caller's job, and this process is none of it. A lock or a pipe of the caller's must not stay
    // for as long as the session.
    let _ = process::own_session();
    let _ = fd::close_all_but(&[tell.as_raw_fd()]);
    fault_point::reach(Point::KeeperBorn);
    let mut tell = Some(std::fs::File::from(tell));
    let mut say = |birth: &Birth| {
        let text = serde_json::to_vec(birth).unwrap_or_default();
        tell.take()
            .is_some_and(|mut pipe| pipe.write_all(&text).is_ok())
    };
    match born(args, name, store, &mut say) {
        Ok(()) => 0,
        Err(failure) => {
            let status = failure.status;
            say(&Birth::Failed {
                text: failure.text,
                status,
            });
            status
        }
    }
}

fn born(
    args: &CreateArgs,
    name: &str,
    store: &Store,
    say: &mut dyn FnMut(&Birth) -> bool,
) -> Result<(), Failure> {
    let run = as_run(args);
    let id = host::random_id();
    let mut declared = declared(&run, &id, true)?;
    workspace::Store::of_caller().assign(name, &mut declared);
    let digest = digest(args, &declared);
    let Some(claim) = claim(store, name, &digest, args.replace)? else {
        say(&Birth::Ready);
        return Ok(());
    };
    fault_point::reach(Point::KeeperClaimed);
    let made = declared
        .plan()
        .and_then(|planned| planned.settle(&declared));
    let prepared = match made {
        Ok(prepared) => prepared,
        Err(error) => {
            claim.discard();
            return Err(error.into());
        }
    };
    fault_point::reach(Point::KeeperPlanned);
    let record = Record {
        name: name.into(),
        id,
        creel: env!("CARGO_PKG_VERSION").into(),
        created: now(),
        digest,
        policy: prepared.plan.policy.name.clone(),
        flags: prepared.plan.policy.flags.clone(),
        workdir: prepared.plan.command.workdir.display().to_string(),
        labels: args.label.iter().cloned().collect(),
        idle_timeout: args.idle_timeout.map(|span| span.0),
        max_age: args.max_age.map(|span| span.0),
    };
    fd::no_streams()?;
    let settings = Settings {
        claim,
        record,
        lines,
    };
    let ready = || {
        // A session must not keep a directory of its maker's busy.
        let _ = std::env::set_current_dir("/");
        say(&Birth::Ready)
    };
    let kept = keep(prepared, declared, settings, ready);
    let has_ended = |directory: Directory| directory.open("end").is_ok();
    if kept.is_err() && !store.open(name).ok().flatten().is_some_and(has_ended) {
        // Nothing of it was a session.
        let _ = store.remove(name);
    }
    match kept {
        Ok(_) => Ok(()),
        Err(KeepError::Execute(error)) => Err(Failure::of(&error)),
        Err(KeepError::Session(error)) => Err(failure(&error)),
        Err(error) => Err(Failure::of(&error)),
    }
}

/// The claim on the name; `None` if a session is there that was made the same way.
fn claim(store: &Store, name: &str, digest: &str, replace: bool) -> Result<Option<Claim>, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let busy = match store.claim(name) {
            Ok(claim) => return Ok(Some(claim)),
            Err(error @ SessionError::Busy { .. }) => error,
            Err(error) => return Err(failure(&error)),
        };
        let same = |client: &Client| match client.ask(&Ask::Inspect) {
            Ok(Tell::Inspected { session }) => Some(session["record"]["digest"] == *digest),
            _ => None,
        };
        match Client::connect(store, name).ok().as_ref().and_then(same) {
            Some(true) => return Ok(None),
            Some(false) if !replace => {
                return Err(failure(&SessionError::Differs { name: name.into() }));
            }
            Some(false) => {
                // It may have ended by itself meanwhile.
                if let Ok(client) = Client::connect(store, name) {
                    let _ = client.ask(&Ask::Stop { grace: None });
                }
            }
            // It is being made, or it is ending.
            None => {}
        }
        if Instant::now() >= until {
            return Err(failure(&busy));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Identifies the way in which a session is made: policy, flags, workspace and labels, but not the machine.
fn digest(args: &CreateArgs, declared: &Declared) -> String {
    let (policy, request) = (&declared.policy, &declared.request);
    let labels: BTreeMap<_, _> = args.label.iter().cloned().collect();
    let env: Vec<String> = request.env.iter().map(|pair| format!("{pair:?}")).collect();
    let here = std::env::current_dir().unwrap_or_default();
    let workspace = request.workspace.as_deref().map(|path| here.join(path));
    let text = format!(
        "{}\n{}\n{:?}\n{env:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{labels:?}\n{:?}\n{:?}",
        policy.name,
        policy.digest,
        request.flags,
        workspace.unwrap_or(here),
        request.workdir,
        request.publish,
        request.clocks,
        args.idle_timeout.map(|span| span.0),
        args.max_age.map(|span| span.0),
    );
    creel_policy::digest(text.as_bytes())
}

/// The policy and the request of a session that is not made yet.
pub fn declare(args: &CreateArgs) -> Result<Declared, Failure> {
    declared(&as_run(args), &host::random_id(), true)
}

/// The flags as those of `creel run`.
fn as_run(args: &CreateArgs) -> RunArgs {
    RunArgs {
        jail: args.jail.clone(),
        no_tty: true,
        quiet: args.quiet,
        ..RunArgs::default()
    }
}
