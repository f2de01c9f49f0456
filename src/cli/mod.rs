//! The command line, one file per verb: converts flags to requests for `creel-session`, prints, and exits.

pub mod answer;
pub mod completions;
pub mod doctor;
pub mod facts;
pub mod failure;
pub mod flags;
pub mod hint;
pub mod import;
pub mod network;
pub mod policies;
pub mod policy;
pub mod run;
pub mod selftest;
pub mod session;
pub mod status;
mod usage;
pub mod workspace;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use creel_session::exit;
use creel_sys::startup;
use run::args::{self, RunArgs};
use session::exec::ExecArgs;
use session::{copy, create, docker, ends, exec, files, hook, look, net, shell, ssh};

/// A sandbox for AI agents, straight from the Linux kernel
#[derive(Parser)]
#[command(
    name = "creel",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Start with `creel doctor`, then `creel run -- CMD`."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(Box<RunArgs>),
    Create(Box<create::CreateArgs>),
    Exec(Box<exec::ExecArgs>),
    Ps(look::PsArgs),
    Inspect(look::InspectArgs),
    Jobs(look::JobsArgs),
    Logs(look::LogsArgs),
    Attach(look::AttachArgs),
    /// Wait until sessions have ended
    Wait(ends::NamesArgs),
    /// Stop every process of a session until `creel resume`
    Pause(session::NameArgs),
    /// Continue a paused session
    Resume(session::NameArgs),
    Stop(ends::StopArgs),
    Kill(ends::KillArgs),
    Rm(ends::RmArgs),
    File(files::FileArgs),
    Cp(copy::CpArgs),
    Diff(workspace::DiffArgs),
    Commit(workspace::CommitArgs),
    Discard(workspace::DiscardArgs),
    Snapshot(workspace::SnapshotArgs),
    Restore(workspace::RestoreArgs),
    Fork(workspace::ForkArgs),
    Net(net::NetArgs),
    Shell(shell::ShellArgs),
    Hook(hook::HookArgs),
    Gc(ends::GcArgs),
    Doctor(doctor::DoctorArgs),
    Policy(Box<policy::FamilyArgs>),
    Selftest(selftest::SelftestArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// The whole command line, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line, runs the verb and returns the exit status.
pub fn main() -> u8 {
    startup::prepare();
    hint::end_on_panic();
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let own = arguments.get(1..).unwrap_or_default();
    let called = match entry_point(&arguments) {
        Some("creel-sh") => Some(shell::called(own)),
        Some("creel-ssh") => Some(ssh::called(own)),
        Some("creel-docker") => Some(docker::called(own)),
        Some("creel-mcp") => {
            arguments = as_server(arguments);
            None
        }
        _ => None,
    };
    if let Some(done) = called {
        return done.unwrap_or_else(|failure| failure.report());
    }
    let done = match verb(&arguments) {
        Ok(Verb::Run(args)) => run::run(&args),
        Ok(Verb::Create(args)) => create::run(&args),
        Ok(Verb::Exec(args)) => exec::run(&args),
        Ok(Verb::Ps(args)) => look::ps(&args),
        Ok(Verb::Inspect(args)) => look::inspect(&args),
        Ok(Verb::Jobs(args)) => look::jobs(&args),
        Ok(Verb::Logs(args)) => look::logs(&args),
        Ok(Verb::Attach(args)) => look::attach(&args),
        Ok(Verb::Wait(args)) => ends::wait(&args),
        Ok(Verb::Pause(args)) => ends::pause(&args),
        Ok(Verb::Resume(args)) => ends::resume(&args),
        Ok(Verb::Stop(args)) => ends::stop(&args),
        Ok(Verb::Kill(args)) => ends::kill(&args),
        Ok(Verb::Rm(args)) => ends::rm(&args),
        Ok(Verb::File(args)) => files::file(&args),
        Ok(Verb::Cp(args)) => copy::cp(&args),
        Ok(Verb::Diff(args)) => workspace::diff(&args),
        Ok(Verb::Commit(args)) => workspace::commit(&args),
        Ok(Verb::Discard(args)) => workspace::discard(&args),
        Ok(Verb::Snapshot(args)) => workspace::snapshot(&args),
        Ok(Verb::Restore(args)) => workspace::restore(&args),
        Ok(Verb::Fork(args)) => workspace::fork(&args),
        Ok(Verb::Net(args)) => net::run(&args),
        Ok(Verb::Shell(args)) => shell::run(&args),
        Ok(Verb::Hook(args)) => hook::run(&args),
        Ok(Verb::Gc(args)) => ends::gc(&args),
        Ok(Verb::Doctor(args)) => doctor::run(&args),
        Ok(Verb::Policy(args)) => policy::run(&args),
        Ok(Verb::Selftest(args)) => selftest::run(&args),
        Ok(Verb::Completions(args)) => completions::completions(&args, command()),
        Ok(Verb::Man(args)) => completions::man(&args, command()),
        // A hook that does not understand its flags must not let the command through.
        Err(error) if hook::serves(&arguments) && error.use_stderr() => {
            not_understood(&error, &arguments);
            return hook::BLOCKS;
        }
        Err(error) => return not_understood(&error, &arguments),
    };
    done.unwrap_or_else(|failure| failure.report())
}

/// The name under which creel was called, for programs that take one word: `creel-sh`, `creel-ssh`,
/// `creel-docker`, `creel-mcp`.
fn entry_point(arguments: &[OsString]) -> Option<&str> {
    std::path::Path::new(arguments.first()?)
        .file_name()?
        .to_str()
}

/// `creel-mcp [FLAGS --] SERVER ...` as `creel run --quiet [FLAGS] -- SERVER ...`: a server of tools that speaks over
/// its stdin and stdout (MCP).
fn as_server(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter().skip(1).peekable();
    let mut all: Vec<OsString> = ["creel", "run", "--no-tty", "--quiet"]
        .map(OsString::from)
        .into();
    let has_flags = rest
        .peek()
        .is_some_and(|word| word.to_string_lossy().starts_with('-'));
    if !has_flags {
        all.push("--".into());
    }
    all.extend(rest);
    all
}

/// Parses the arguments. Those of `run` and `exec` are parsed without building the other verbs, because
/// every jail's or command's start pays for it.
fn verb(arguments: &[OsString]) -> Result<Verb, clap::Error> {
    if arguments.get(1).is_some_and(|word| word == "run") {
        let command = RunArgs::augment_args(clap::Command::new("creel run").bin_name("creel run"))
            .about(args::ABOUT)
            .max_term_width(100);
        let matches = command.try_get_matches_from(&arguments[1..])?;
        return RunArgs::from_arg_matches(&matches).map(|args| Verb::Run(Box::new(args)));
    }
    if arguments.get(1).is_some_and(|word| word == "exec") {
        let command =
            ExecArgs::augment_args(clap::Command::new("creel exec").bin_name("creel exec"))
                .about(exec::ABOUT)
                .max_term_width(100);
        let matches = command.try_get_matches_from(&arguments[1..])?;
        return ExecArgs::from_arg_matches(&matches).map(|args| Verb::Exec(Box::new(args)));
    }
    Cli::try_parse_from(arguments).map(|cli| cli.verb)
}

/// clap's text, in colour where [`hint::coloured`].
fn shown(error: &clap::Error) -> String {
    let text = error.render();
    match hint::coloured(1) {
        true => text.ansi().to_string(),
        false => text.to_string(),
    }
}

/// Prints help or version as an answer, and anything else as a failure in one sentence. Returns the exit status.
fn not_understood(error: &clap::Error, arguments: &[OsString]) -> u8 {
    use clap::error::ErrorKind as Kind;
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => match answer::print(&shown(error)) {
            Ok(()) => 0,
            Err(failure) => usage::of_verb(failure, arguments).report(),
        },
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            exit::OWN_FAILURE
        }
        _ => usage::failure(error, arguments, command).report(),
    }
}
