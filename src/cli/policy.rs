//! `creel policy`: verbs about policies, none of which runs anything.

use clap::Subcommand;

use super::hint::Failure;
use super::import;

#[derive(clap::Args, Debug)]
#[command(about = "Work with policies")]
pub struct PolicyVerbArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Import(import::ImportArgs),
}

pub fn run(args: &PolicyVerbArgs) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Import(args) => import::run(args),
    }
}
