//! `creel policy`: what policies say, mean and allow, without running anything.
//!
//! One file a verb. Each exits with 0 where all is well, with 1 for what it was asked to find, and
//! with [`WRONG`] where a policy or the command line is wrong: a review must not take the one for the
//! other.

mod check;
mod diff;
mod explain;
mod inner;
mod list;
mod report;
mod schema;
mod show;
mod test;

use super::answer::{print, print_json};
use super::hint::Failure;
use super::import;
use creel_policy::Origin;

/// A policy that cannot be read, or a wrong command line.
pub const WRONG: u8 = 2;
/// What was looked for was found: a warning under `--strict`, something widened, a case that fails.
const FOUND: u8 = 1;

/// Check, explain, compare, test, print and import policies
#[derive(clap::Args)]
pub struct FamilyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
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
    done.map_err(|failure| failure.with_status(WRONG))
}

/// `{"file": "policy.toml", "line": 3}`; line 0 where there is none.
fn origin_json(origin: &Origin) -> serde_json::Value {
    serde_json::json!({ "file": &*origin.source, "line": origin.line })
}
