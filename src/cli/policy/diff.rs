//! `creel policy diff`: what one policy allows that another does not. Made for code review.

use std::path::PathBuf;

use clap::ValueHint;
use serde_json::{Value, json};

use super::report::origin_json;
use crate::cli::answer::{print, print_json};
use crate::cli::failure::Failure;
use creel_policy::compare::{Excess, GONE, widened};
use creel_policy::layer::Rank;
use creel_policy::rights::{Rights, Roots};
use creel_policy::stack::Stack;
use creel_session::exit::FOUND;
use creel_session::layers;

/// Compare two policies: show what the new one allows that the old one did not, and the reverse
#[derive(clap::Args)]
#[command(
    after_help = "Each difference is one line, always in the same order. Exit status: 0 nothing widened; \
    1 something widened; 2 a policy cannot be read."
)]
pub struct DiffArgs {
    /// The old policy
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    old: PathBuf,

    /// The new policy
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    new: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DiffArgs) -> Result<u8, Failure> {
    let (old, new) = (rights(&args.old)?, rights(&args.new)?);
    let wider = shown(widened(&old, &new));
    let narrower = shown(widened(&new, &old))
        .into_iter()
        .map(added)
        .collect::<Vec<_>>();
    if args.json {
        let data = |list: &[Excess]| list.iter().map(as_json).collect::<Vec<_>>();
        print_json(&json!({
            "version": 1,
            "widened": data(&wider),
            "narrowed": data(&narrower),
        }))?;
    } else {
        let lines = |word: &str, list: &[Excess]| -> String {
            list.iter().map(|excess| line(word, excess)).collect()
        };
        print(&(lines("widened ", &wider) + &lines("narrowed", &narrower)))?;
    }
    Ok(if wider.is_empty() { 0 } else { FOUND })
}

/// The rights of a policy alone, independent of the host.
fn rights(source: &std::path::Path) -> Result<Rights, Failure> {
    let layer = layers::read(source)?;
    let stack = Stack {
        layers: vec![(Rank::Operator, layer)],
    };
    let outcome = stack.resolve(&layers::limits()?, &Roots::symbolic());
    Ok(outcome.rights)
}

/// Rewords a narrowing: the comparison ran with the policies swapped, so a denial marked as gone is new.
fn added(excess: Excess) -> Excess {
    match excess.item.strip_suffix(GONE) {
        Some(item) if excess.origin.is_none() => Excess {
            item: format!("{item} from now on"),
            ..excess
        },
        _ => excess,
    }
}

fn shown(list: Vec<Excess>) -> Vec<Excess> {
    let roots = Roots::symbolic();
    let list = list.into_iter().map(|excess| excess.shortened(&roots));
    let mut list: Vec<Excess> = list.collect();
    list.sort();
    list
}

/// One line, for example `widened  filesystem.exec: /opt (policy.toml:3)`.
fn line(word: &str, excess: &Excess) -> String {
    let item = excess.item.escape_debug();
    let origin = match &excess.origin {
        Some(origin) => format!(" ({origin})"),
        None => String::new(),
    };
    format!("{word} {}: {item}{origin}\n", excess.key)
}

fn as_json(excess: &Excess) -> Value {
    json!({
        "key": excess.key,
        "item": excess.item,
        "origin": excess.origin.as_ref().map(origin_json),
    })
}
