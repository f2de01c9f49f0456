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
pub mod status;
mod usage;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use creel_session::exit;
use creel_sys::startup;
use run::args::{self, RunArgs};

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
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let done = match verb(&arguments) {
        Ok(Verb::Run(args)) => run::run(&args),
        Ok(Verb::Doctor(args)) => doctor::run(&args),
        Ok(Verb::Policy(args)) => policy::run(&args),
        Ok(Verb::Selftest(args)) => selftest::run(&args),
        Ok(Verb::Completions(args)) => completions::completions(&args, command()),
        Ok(Verb::Man(args)) => completions::man(&args, command()),
        Err(error) => return not_understood(&error, &arguments),
    };
    done.unwrap_or_else(|failure| failure.report())
}

/// Parses the arguments. Those of `run` are parsed without building the other verbs, because every jail's
/// start pays for it.
fn verb(arguments: &[OsString]) -> Result<Verb, clap::Error> {
    if arguments.get(1).is_some_and(|word| word == "run") {
        let command = RunArgs::augment_args(clap::Command::new("creel run").bin_name("creel run"))
            .about(args::ABOUT)
            .max_term_width(100);
        let matches = command.try_get_matches_from(&arguments[1..])?;
        return RunArgs::from_arg_matches(&matches).map(|args| Verb::Run(Box::new(args)));
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
