//! `creel selftest`: tests whether the jail's layers hold on this kernel.

use super::answer;
use super::failure::Failure;
use super::flags::degradable;
use crate::selftest::report::Detail;
use crate::selftest::{self, Layer, Options, inside, rows, spend};
use creel_policy::Degradable;
use creel_session::exit::FOUND;

/// Run the escape and compatibility tests on this kernel
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 if the expected layer stopped every attempt and all ordinary work \
    succeeded; 1 if not; 125 if no jail could be created. A run with --without exits 1: \
    it shows that the suite detects the missing layer."
)]
pub struct SelftestArgs {
    /// Remove this layer from the jail: attempts that only it stops must then succeed
    #[arg(long, value_name = "LAYER", value_parser = layer)]
    without: Option<Layer>,

    /// Run without this layer if the host lacks it: cgroup, landlock, idmap
    #[arg(long, value_name = "LAYER", value_parser = degradable)]
    allow_degraded: Vec<Degradable>,

    /// Print the suite and run nothing
    #[arg(long)]
    list: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print the reason for each row
    #[arg(short, long)]
    verbose: bool,

    /// The inner half, in the jail
    #[arg(long, hide = true, value_name = "TASK", exclusive = true)]
    inside: Option<String>,
}

fn layer(name: &str) -> Result<Layer, String> {
    Layer::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Layer::WEAKENABLE.iter().map(|layer| layer.name()).collect();
        format!("the layers are {}", names.join(", "))
    })
}

pub fn run(args: &SelftestArgs) -> Result<u8, Failure> {
    if let Some(task) = &args.inside {
        return Ok(inside::run(task)?);
    }
    if args.list {
        answer::print(&list())?;
        return Ok(0);
    }
    let options = Options {
        without: args.without,
        allow_degraded: args.allow_degraded.clone(),
    };
    let report = selftest::run(&options)?;
    let text = match (args.json, args.verbose) {
        (true, _) => serde_json::to_string_pretty(&report.json())? + "\n",
        (_, true) => report.text(Detail::Full),
        (_, false) => report.text(Detail::Lines),
    };
    answer::print(&text)?;
    Ok(if report.failed() == 0 { 0 } else { FOUND })
}

/// One line per row: group, name, and the layers that stop it.
fn list() -> String {
    let mut text = String::new();
    for row in rows::all() {
        let layers: Vec<String> = row
            .stops
            .iter()
            .map(|stop| match stop.since {
                0 => stop.layer.name().to_owned(),
                since => format!("{} ABI {since}", stop.layer.name()),
            })
            .collect();
        text += &format!(
            "{:11} {:42} stopped by {}: {}\n",
            row.group,
            row.name,
            layers.join(", "),
            row.why
        );
    }
    for row in spend::ROWS {
        let layers: Vec<&str> = row.layers.iter().map(|layer| layer.name()).collect();
        let instead = row.instead.map_or(String::new(), |layer| {
            format!(", without a cgroup by {}", layer.name())
        });
        text += &format!(
            "{:11} {:42} stopped by {}{instead}\n",
            "limits",
            row.name,
            layers.join(", ")
        );
    }
    for row in rows::works() {
        text += &format!("{:11} {:42} must work\n", row.group, row.name);
    }
    text
}
