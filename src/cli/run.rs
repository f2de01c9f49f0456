//! `creel run`: one jail for one command. From the flags and all layers to the verdict.

mod ending;
mod git;
mod request;
pub mod start;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueHint;

pub use self::request::named_workspace;
use super::answer;
use super::authority;
use super::hint::{self, Failure, say};
use super::layers::{self, Layers, PolicyArgs};
use super::network;
use super::status::Status;
use creel_egress::relay;
use creel_jail::scope::Settled;
use creel_jail::{self as jail, Ready, WayOut, spawn};
use creel_plan::request::Publish;
use creel_plan::{self as plan, Act, Host, Plan, Request, ResolveError, Terminal, paths};
use creel_policy::effective::{self, Note, Weight};
use creel_policy::error::escaped_json;
use creel_policy::rights::Roots;
use creel_policy::stack::Outcome;
use creel_policy::{
    Bytes, Count, CpuShare, Degradable, Policy, Span, WorkspaceMode, preset, trees,
};
use creel_session::{self as supervise, Detail, SuperviseError, Verdict, judge, left, stream};
use creel_sys::{fd, host, process, startup};

pub const ABOUT: &str = "Run one command in a jail";

/// Run one command in a jail
#[derive(clap::Args, Default)]
#[command(
    after_help = "Exit status: the command's own; 128+N where signal N ended it; 124 time limit; \
    125 creel's own failure; 126 found but not executable, or denied; 127 not found. The verdict \
    (--status-fd, --status-file) says which without ambiguity."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub policies: PolicyArgs,

    /// The workspace, and `none`, `ro` or `rw` [default: the current directory, rw]
    #[arg(long, value_name = "DIR[:MODE]", value_hint = ValueHint::DirPath)]
    pub workspace: Option<OsString>,

    /// Also let the command read this file or directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub read: Vec<PathBuf>,

    /// Also let the command read and write this file or directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub write: Vec<PathBuf>,

    /// Also let the command read and execute this program, or what lies in this directory, which is then on its PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub exec: Vec<PathBuf>,

    /// Also let the command reach this host, at ports 80 and 443 unless told otherwise
    #[arg(long, value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub allow_net: Vec<String>,

    /// Set a variable, or pass the caller's own value of it
    #[arg(short, long, value_name = "K[=V]")]
    pub env: Vec<OsString>,

    /// Where the command starts [default: the workspace]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// Memory of the whole jail, e.g. 512MiB
    #[arg(short, long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub memory: Option<Bytes>,

    /// Processors, e.g. 1.5
    #[arg(long, value_name = "N", value_parser = CpuShare::parse)]
    pub cpus: Option<CpuShare>,

    /// Processes and threads at once
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    pub pids: Option<Count>,

    /// Wall time, e.g. 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub timeout: Option<Span>,

    /// Processor time of the whole jail, e.g. 10s
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub cpu_time: Option<Span>,

    /// Size of each writable tmpfs (/tmp, home, /dev/shm)
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub disk: Option<Bytes>,

    /// Bytes on stdout and stderr together
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub output_limit: Option<Bytes>,

    /// Hide since when the host is up: a time namespace, whose clocks start with the jail
    #[arg(long)]
    pub time_ns: bool,

    /// Write the verdict as JSON to this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub status_fd: Option<i32>,

    /// Write the verdict as JSON to this file, absent or regular; to a pipe or a device with --status-fd 3 3>PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub status_file: Option<PathBuf>,

    /// Let the host reach a server in the jail; the address is the host's loopback unless named
    #[arg(long, value_name = "[ADDR:]HOSTPORT[:PORT]", value_parser = network::publish)]
    pub publish: Vec<Publish>,

    /// Publish on other addresses than loopback too, where anybody may connect
    #[arg(long)]
    pub publish_anyway: bool,

    /// Look at all that the command left for the host to obey, however long it takes [default: for 5 ms]
    #[arg(long)]
    pub review_all: bool,

    /// Append a line of JSON to this file for each decision on the network
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log_net: Option<PathBuf>,

    /// Print the plan and run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// With --dry-run: the plan as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Go on where this layer cannot be had: cgroup, landlock, idmap
    #[arg(long, value_name = "LAYER", value_parser = degradable)]
    pub allow_degraded: Vec<Degradable>,

    /// Keep stdin open; it always is, and the flag is here for habit's sake
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal of its own [default: where stdin and stdout are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,

    /// Give it none
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,

    /// Say nothing about the end of the run
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say what was enforced and what was used
    #[arg(short, long)]
    pub verbose: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

pub fn degradable(name: &str) -> Result<Degradable, String> {
    let found = Degradable::ALL.into_iter().find(|d| d.name() == name);
    found.ok_or_else(|| {
        "only cgroup, landlock and idmap can be missed; every other layer is always in force".into()
    })
}

pub fn run(args: &RunArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    for (number, name) in [(1, "stdout"), (2, "stderr")] {
        if startup::was_closed(number) {
            return Err(Failure::new(format!(
                "{name} is closed, and what the command writes would be lost; redirect it, for example to /dev/null"
            )));
        }
    }
    if !startup::was_closed(0)
        && fd::stat(fd::fixed(0)).is_ok_and(|s| s.kind == fd::Kind::Directory)
    {
        return Err(Failure::new(
            "stdin is a directory, from which the command could walk over the host; redirect it, for example from /dev/null",
        ));
    }
    if !args.publish_anyway {
        network::only_loopback(&args.publish)?;
    }
    let mut status = Status::open(args.status_fd, args.status_file.as_deref())?;
    let id = host::random_id();
    match attempt(args, &id, started, &mut status) {
        Ok(Attempt::Planned) => Ok(0),
        Ok(Attempt::Judged(verdict, patience, remarks)) => {
            ending::announce(args, &verdict, &remarks);
            status.write(&verdict.to_json(), patience)?;
            Ok(verdict.exit_status)
        }
        Err(failure) => {
            let verdict = Verdict::setup_failed(id, failure.status, failure.text.clone());
            status.write(&verdict.to_json(), hint::PATIENCE)?;
            Err(failure)
        }
    }
}

enum Attempt {
    Planned,
    /// And how long who reads the verdict has for it.
    Judged(Box<Verdict>, Duration, ending::Remarks),
}

fn attempt(
    args: &RunArgs,
    id: &str,
    started: Instant,
    status: &mut Status,
) -> Result<Attempt, Failure> {
    let Declared {
        policy,
        mut request,
        outcome,
    } = declared(args, id)?;
    let (mut host, pins) = jail::probe(&policy, &request)?;
    let (mut plan, refused) = match args.dry_run {
        true => told(&policy, &mut request, &host)?,
        false => (plan::resolve(&policy, &request, &host)?, vec![]),
    };
    network::check_secrets(&plan)?;
    if let Some(path) = &args.status_file {
        network::check_status(path, &plan)
            .and_then(|place| status.settle(place))
            .inspect_err(|_| status.leave_file())?;
    }
    if args.dry_run {
        print_plan(&plan, args.json)?;
        // As a run ends.
        return match refused.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(Attempt::Planned),
        };
    }
    if jail::scope::settle(&mut host, id) == Settled::Anew {
        plan = plan::resolve(&policy, &request, &host)?;
    }
    let patience = Duration::from_millis(plan.command.watch.grace).max(supervise::LEAST_GRACE);
    let detail = match args.verbose || args.status_fd.is_some() || args.status_file.is_some() {
        true => Detail::Full,
        false => Detail::OfFailures,
    };
    let log = args
        .log_net
        .as_deref()
        .map(|path| network::open_log(path, &plan))
        .transpose()?;
    if !args.quiet {
        ending::unheld(args, &policy, &plan)
            .iter()
            .for_each(|line| hint::say(line));
    }
    let of_git = match args.quiet {
        true => vec![],
        false => git::notes(args, &policy, &request, &host, &plan),
    };
    let before = left::Before::of(&plan, &host, &pins, id)?;
    let mut verdict = execute(id, plan, &host, pins, log, started, detail)?;
    let extent = match args.review_all {
        true => left::Extent::Whole,
        false => left::Extent::Budget,
    };
    verdict.left = before.map(|before| before.look(extent));
    let refused = verdict.code.is_none() && verdict.exit_status == 126 && verdict.error.is_some();
    if let Some(outcome) = outcome.as_ref().filter(|_| refused)
        && let (workspace, _) = named_workspace(args)?
        && let Some(rule) = start::ruled_out(outcome, &roots(workspace.as_deref()), &args.command)
    {
        let name = args.command[0].to_string_lossy();
        verdict.error = Some(format!("{name} may not be executed: {rule}"));
    }
    if verdict.exit_status != 0 && verdict.limit.is_none() {
        of_git.iter().for_each(|line| say(line));
    }
    let remarks = ending::Remarks::of(args, &policy, outcome.as_ref(), &verdict);
    Ok(Attempt::Judged(Box::new(verdict), patience, remarks))
}

/// A plan to be looked at, also where a run would be refused for layers that this machine lacks: the plan is that
/// of a run that goes on without them, and the refusals come with it.
pub fn told(
    policy: &Policy,
    request: &mut Request,
    host: &Host,
) -> Result<(Plan, Vec<ResolveError>), ResolveError> {
    let mut refused = vec![];
    loop {
        match plan::resolve(policy, request, host) {
            Err(error) => match error.lacks() {
                Some(layer) if !request.allow_degraded.contains(&layer) => {
                    request.allow_degraded.push(layer);
                    refused.push(error);
                }
                _ => return Err(error),
            },
            Ok(plan) => return Ok((plan, refused)),
        }
    }
}

/// What is asked, in the words of all layers and of the command line.
pub struct Declared {
    pub policy: Policy,
    pub request: Request,
    /// What came of the layers; `None` for the default preset, which is not read.
    pub outcome: Option<Outcome>,
}

/// The policy that all layers make together, and what the command line asks beside it.
fn declared(args: &RunArgs, id: &str) -> Result<Declared, Failure> {
    let place = Place::here();
    let (workspace, _) = named_workspace(args)?;
    let layers = Layers::load(&args.policies, &place.roots(workspace.as_deref()))?;
    declared_by(args, id, layers.as_ref(), &place)
}

/// The same with these layers, in another place.
pub fn declared_by(
    args: &RunArgs,
    id: &str,
    layers: Option<&Layers>,
    place: &Place,
) -> Result<Declared, Failure> {
    let (workspace, mode) = named_workspace(args)?;
    let roots = place.roots(workspace.as_deref());
    let Some(layers) = layers else {
        let mut policy = preset::default()?;
        if mode == Some(WorkspaceMode::None) {
            // `$WORKSPACE` is a fresh directory then. The caller's may be granted all the same.
            for held in &mut policy.filesystem.protect {
                held.path = roots.expand(&held.path);
            }
        }
        let mut request = request::request(args, id, &policy, workspace, mode)?;
        request.seats = layers::seats(&roots);
        network::grant(&mut policy.network, &request.allow_net);
        return Ok(Declared {
            policy,
            request,
            outcome: None,
        });
    };
    if !args.quiet {
        layers
            .read
            .lost
            .iter()
            .for_each(|key| say(&key.to_string()));
    }
    layers.expanded.all_met()?;
    if layers.ceiling
        && let Some(mode) = mode
    {
        let most = layers.resolve(&roots)?.effective.policy;
        authority::check_workspace(mode, &most)?;
    }
    let outcome = layers.resolve_in(&roots, mode)?;
    let open = |note: &&Note| note.weight == Weight::Open && !args.quiet;
    for note in outcome.effective.notes.iter().filter(open) {
        say(&note.to_string());
    }
    let mut policy = outcome.effective.policy.clone();
    let argv: Vec<String> = args
        .command
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    effective::admit(&mut policy, &outcome.rights, &roots, &argv);
    layers.read.protect(&mut policy)?;
    let mut request = request::request(args, id, &policy, workspace, mode)?;
    request.seats = layers::seats(&roots);
    let excepted = outcome.rights.unprotect.iter().flatten();
    request.unprotected = excepted.map(|(path, _)| path.into()).collect();
    let notes = outcome.effective.notes.iter().map(ToString::to_string);
    request.notes = notes
        .chain(outcome.clips.iter().map(ToString::to_string))
        .collect();
    if layers.ceiling {
        authority::check(&request, &outcome.rights, &policy, &roots)?;
    } else {
        network::grant(&mut policy.network, &request.allow_net);
    }
    Ok(Declared {
        policy,
        request,
        outcome: Some(outcome),
    })
}

/// Where a command is asked for.
pub struct Place {
    home: PathBuf,
    cwd: PathBuf,
}

impl Place {
    /// This process's own.
    pub fn here() -> Place {
        Place {
            home: paths::jail_home(host::home_of(host::ids().0).as_deref()),
            // As the machine is described, where it was removed (`jail::probe`).
            cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        }
    }

    /// That of a caller on a machine that was described.
    pub fn of(host: &Host) -> Place {
        Place {
            home: paths::home(host),
            cwd: host.cwd.clone(),
        }
    }

    /// What `~` and `$WORKSPACE` stand for there.
    pub fn roots(&self, workspace: Option<&Path>) -> Roots {
        // A name that is not text cannot be written in a policy either: it stands for itself.
        let own = Roots::symbolic();
        let text = |path: &Path, unnamed: &str| match path.to_str() {
            Some(text) => trees::clean(text),
            None => unnamed.to_owned(),
        };
        let workspace = workspace.map_or(self.cwd.clone(), |named| self.cwd.join(named));
        Roots {
            home: text(&self.home, &own.home),
            workspace: text(&workspace, &own.workspace),
        }
    }
}

/// What `~` and `$WORKSPACE` stand for in this run.
pub fn roots(workspace: Option<&Path>) -> Roots {
    Place::here().roots(workspace)
}

/// Plan to verdict, on this machine.
pub fn execute(
    id: &str,
    mut plan: Plan,
    host: &Host,
    pins: jail::Pins,
    log: Option<File>,
    started: Instant,
    detail: Detail,
) -> Result<Verdict, Failure> {
    let pipes = match plan.command.terminal {
        Terminal::Pty => stream::Pipes {
            theirs: Default::default(),
            ours: Default::default(),
        },
        Terminal::Pipes => {
            stream::pipes().map_err(|e| Failure::new(format!("no pipe could be made: {e}")))?
        }
    };
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let state = spawn::state_dir(host.uid, runtime_dir.as_deref());
    let egress = plan.acts().find_map(|act| match act {
        Act::Egress(egress) => Some(egress),
        _ => None,
    });
    let secrets = egress.map_or_else(Vec::new, |egress| network::secret_variables(egress));
    let mut relay = egress
        .map(|egress| relay::start(id, egress, log))
        .transpose()
        .map_err(|error| Failure::of(&error))?;
    let terminates = egress.is_some_and(|egress| egress.terminates());
    let mut made = relay::Made::default();
    if let Some(relay) = relay.as_ref().filter(|_| terminates) {
        made = relay.ready().map_err(|error| Failure::of(&error))?;
        for (name, value) in made.placeholders {
            let environment = &mut plan.command.environment;
            environment.insert(name.into_bytes(), value.into_bytes());
        }
        // The relay has its own copy; the jail's first process begins as a copy of this one.
        secrets
            .iter()
            .for_each(|name| process::forget_variable(name));
    }
    let way_out = relay.as_mut().and_then(|relay| {
        Some(WayOut {
            sockets: relay.sockets.take()?,
            authority: made.authority,
        })
    });
    let live = jail::freeze(plan, host, pins, pipes.theirs, way_out, &state).and_then(Ready::spawn);
    if let Some(relay) = relay.as_ref().filter(|_| !terminates) {
        // Nothing of the relay's is in such a jail: the two are built side by side. Where it failed, the
        // jail failed of that.
        relay.ready().map_err(|error| Failure::of(&error))?;
    }
    let live = live?;
    // Judged by the plan that ran; the live jail is consumed by its supervision.
    let plan = Arc::clone(&live.plan);
    let supervised = supervise::run(live, relay, pipes.ours, started, detail);
    hint::hear_signals();
    match supervised {
        Ok(exited) => {
            hint::wait_at_most(exited.patience);
            if let supervise::Ended::Setup(error) = &exited.end {
                return Err(Failure::of(error));
            }
            let mut verdict = judge(id.to_owned(), &plan, &host.kernel, &exited, detail);
            if let supervise::Ended::NotExecuted(errno) = &exited.end
                && verdict.uncovered.is_empty()
                && exited.lost.is_none()
                && let Some(text) = start::why_not(&plan, *errno)
            {
                verdict.error = Some(text);
            }
            Ok(verdict)
        }
        Err(SuperviseError::Jail(error)) => Err(Failure::of(&error)),
        Err(error) => Err(Failure::of(&error)),
    }
}

fn print_plan(plan: &Plan, json: bool) -> Result<(), Failure> {
    let text = match json {
        true => escaped_json(serde_json::to_string_pretty(plan)?) + "\n",
        false => plan.to_text(),
    };
    answer::print(&text)
}
