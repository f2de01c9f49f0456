//! `creel policy list`: the shipped policies, and the layers that apply in this directory.

use serde_json::json;

use crate::cli::answer::{print, print_json};
use crate::cli::failure::Failure;
use crate::cli::policies::PolicyArgs;
use creel_policy::preset;
use creel_session::Place;
use creel_session::layers::{self, Put};

/// List the shipped policies, and the layers that apply in this directory
#[derive(clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    policies: PolicyArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ListArgs) -> Result<u8, Failure> {
    let sources = layers::sources(&args.policies.named(), &Place::here().roots(None))?;
    let path = |path: &std::path::Path| path.to_string_lossy().escape_debug().to_string();
    if args.json {
        let presets: Vec<_> = preset::names()
            .map(|name| json!({ "name": name, "for": purpose(name) }))
            .collect();
        let layers: Vec<_> = sources
            .iter()
            .map(|source| json!({ "rank": source.rank.name(), "source": path(&source.path) }))
            .collect();
        print_json(&json!({ "version": 1, "presets": presets, "layers": layers }))?;
        return Ok(0);
    }
    let mut text = String::from("presets\n");
    for name in preset::names() {
        text += &format!("  {name:16} {}\n", purpose(name));
    }
    text += "\nlayers here, from the widest authority to the narrowest\n";
    for source in &sources {
        let may = match source.put {
            Put::Found => "found in the workspace; narrows only",
            _ if source.rank <= creel_policy::layer::Rank::Operator => "grants",
            _ => "narrows",
        };
        let rank = source.rank.name();
        text += &format!("  {rank:16} {} ({may})\n", path(&source.path));
    }
    print(&text)?;
    Ok(0)
}

/// The first sentence of a preset's first comment.
fn purpose(name: &str) -> String {
    let text = preset::text(name).unwrap_or_default();
    let comment: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .map(str::trim)
        .collect();
    let comment = comment.join(" ");
    match comment.split_once(". ") {
        Some((first, _)) => first.to_owned(),
        None => comment.trim_end_matches('.').to_owned(),
    }
}
