//! `creel policy`: checks, explains and converts policies, one file per verb.
//!
//! Exit status: 0 nothing found; 1 the verb found what it looks for; [`WRONG`](exit::WRONG) a policy or the
//! command line is wrong, so that a script can tell a finding from a fault.

mod check;
mod diff;
mod explain;
mod inner;
mod list;
mod report;
mod schema;
mod show;
mod test;

use super::failure::Failure;
use super::import;
use creel_session::exit;

/// Check, explain, compare, test, print and import policies
#[derive(clap::Args)]
pub struct FamilyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Check(check::CheckArgs),
    Explain(Box<explain::ExplainArgs>),
    Diff(diff::DiffArgs),
    Test(test::TestArgs),
    Show(show::ShowArgs),
    List(list::ListArgs),
    Import(import::ImportArgs),
    Schema(schema::SchemaArgs),
}

pub fn run(args: &FamilyArgs) -> Result<u8, Failure> {
    let done = match &args.verb {
        Verb::Check(args) => check::run(args),
        Verb::Explain(args) => explain::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Show(args) => show::run(args),
        Verb::List(args) => list::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Schema(args) => schema::run(args),
    };
    done.map_err(|failure| failure.with_status(exit::WRONG))
}
