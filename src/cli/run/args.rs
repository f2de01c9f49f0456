//! The flags of `creel run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueHint;

use crate::cli::flags::FlagArgs;
use crate::cli::network;
use crate::cli::policies::PolicyArgs;
use crate::cli::workspace::When;
use creel_plan::request::Publish;

pub const ABOUT: &str = "Run one command in a jail";

/// The flags that make a jail: the same for `creel run` and `creel create`
#[derive(clap::Args, Default, Clone)]
pub struct JailArgs {
    #[command(flatten)]
    pub policies: PolicyArgs,

    #[command(flatten)]
    pub flags: FlagArgs,

    /// Working directory of commands [default: the workspace]
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub workdir: Option<PathBuf>,

    /// Hide the host's uptime: use a time namespace whose clocks start with the jail
    #[arg(long)]
    pub time_ns: bool,

    /// Let the host connect to a server in the jail [default address: the host's loopback]
    #[arg(long, value_name = "[ADDR:]HOSTPORT[:PORT]", value_parser = network::publish)]
    pub publish: Vec<Publish>,

    /// Allow --publish on addresses other than loopback, where other machines may connect
    #[arg(long)]
    pub publish_anyway: bool,
}

/// Run one command in a jail
#[derive(clap::Args, Default)]
#[command(
    after_help = "Exit status: the command's own; 128+N if signal N ended it; 124 time limit; \
    125 creel itself failed; 126 found but not executable, or denied; 127 not found. The verdict \
    (--status-fd, --status-file) is unambiguous."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub jail: JailArgs,

    /// Write the verdict as JSON to this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub status_fd: Option<i32>,

    /// Write the verdict as JSON to this new or regular file; for a pipe or a device use --status-fd 3 3>PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub status_file: Option<PathBuf>,

    /// Search all writable trees for files that host programs obey, without a time limit [default: 5 ms]
    #[arg(long)]
    pub review_all: bool,

    /// With an overlay workspace: what happens to the changes at the end [default: never]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub commit: Option<When>,

    /// Append a line of JSON to this file for each network decision
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log_net: Option<PathBuf>,

    /// Print the plan and run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// With --dry-run: print the plan as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Accepted for Docker compatibility; stdin is always open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command its own terminal [default: if stdin and stdout are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,

    /// Give the command no terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,

    /// Make a session and run the command in it detached; prints the session's name
    #[arg(short, long, conflicts_with_all = ["tty", "dry_run", "status_fd", "status_file", "log_net", "review_all", "commit"])]
    pub detach: bool,

    /// With --detach: the session's name [default: a random one]
    #[arg(long, value_name = "NAME", requires = "detach")]
    pub name: Option<String>,

    /// Print nothing about the end of the run
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print the enforced layers and the used resources
    #[arg(short, long)]
    pub verbose: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}
