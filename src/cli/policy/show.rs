//! `creel policy show`: all layers combined, as one policy file.

use crate::cli::answer::print;
use crate::cli::failure::Failure;
use crate::cli::policies::PolicyArgs;
use creel_policy::native;
use creel_session::Place;
use creel_session::layers::{self, Layers, Names};

/// Print all layers combined as one policy, each line with its source
#[derive(clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    policies: PolicyArgs,
}

pub fn run(args: &ShowArgs) -> Result<u8, Failure> {
    let roots = Place::here().roots(None);
    let sources = layers::sources(&args.policies.named(), &roots)?;
    let layers = Layers::of(&sources, &roots, Names::Here)?;
    let outcome = layers.resolve(&roots)?;
    let mut text = String::new();
    for note in &outcome.effective.notes {
        text += &format!("# {note}\n");
    }
    for clip in &outcome.clips {
        text += &format!("# {clip}\n");
    }
    text += &native::text(&outcome.rights, &outcome.effective, &roots);
    print(&text)?;
    Ok(0)
}
