//! The flags of `creel run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueHint;

use crate::cli::network;
use crate::cli::policies::PolicyArgs;
use creel_plan::request::Publish;
use creel_policy::{Bytes, Count, CpuShare, Degradable, Span};

pub const ABOUT: &str = "Run one command in a jail";

/// Run one command in a jail
#[derive(clap::Args, Default)]
#[command(
    after_help = "Exit status: the command's own; 128+N if signal N ended it; 124 time limit; \
    125 creel itself failed; 126 found but not executable, or denied; 127 not found. The verdict \
    (--status-fd, --status-file) is unambiguous."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub policies: PolicyArgs,

    /// Workspace directory and its mode: `none`, `ro` or `rw` [default: the current directory, rw]
    #[arg(long, value_name = "DIR[:MODE]", value_hint = ValueHint::DirPath)]
    pub workspace: Option<OsString>,

    /// Also let the command read this file or directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub read: Vec<PathBuf>,

    /// Also let the command read and write this file or directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub write: Vec<PathBuf>,

    /// Also let the command read and execute this program, or all programs in this directory, which is added to its PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub exec: Vec<PathBuf>,

    /// Also let the command connect to this host [default ports: 80 and 443]
    #[arg(long, value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub allow_net: Vec<String>,

    /// Set a variable, or pass the caller's value of it
    #[arg(short, long, value_name = "K[=V]")]
    pub env: Vec<OsString>,

    /// Working directory of the command [default: the workspace]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// Limit for the memory of the whole jail, e.g. 512MiB
    #[arg(short, long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub memory: Option<Bytes>,

    /// Limit for processors, e.g. 1.5
    #[arg(long, value_name = "N", value_parser = CpuShare::parse)]
    pub cpus: Option<CpuShare>,

    /// Limit for processes and threads at once
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    pub pids: Option<Count>,

    /// Limit for wall time, e.g. 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub timeout: Option<Span>,

    /// Limit for processor time of the whole jail, e.g. 10s
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub cpu_time: Option<Span>,

    /// Limit for the size of each writable tmpfs (/tmp, home, /dev/shm)
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub disk: Option<Bytes>,

    /// Limit for the output on stdout and stderr together
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub output_limit: Option<Bytes>,

    /// Hide the host's uptime: use a time namespace whose clocks start with the jail
    #[arg(long)]
    pub time_ns: bool,

    /// Write the verdict as JSON to this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub status_fd: Option<i32>,

    /// Write the verdict as JSON to this new or regular file; for a pipe or a device use --status-fd 3 3>PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub status_file: Option<PathBuf>,

    /// Let the host connect to a server in the jail [default address: the host's loopback]
    #[arg(long, value_name = "[ADDR:]HOSTPORT[:PORT]", value_parser = network::publish)]
    pub publish: Vec<Publish>,

    /// Allow --publish on addresses other than loopback, where other machines may connect
    #[arg(long)]
    pub publish_anyway: bool,

    /// Search all writable trees for files that host programs obey, without a time limit [default: 5 ms]
    #[arg(long)]
    pub review_all: bool,

    /// Append a line of JSON to this file for each network decision
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log_net: Option<PathBuf>,

    /// Print the plan and run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// With --dry-run: print the plan as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Run without this layer if the host lacks it: cgroup, landlock, idmap
    #[arg(long, value_name = "LAYER", value_parser = degradable)]
    pub allow_degraded: Vec<Degradable>,

    /// Accepted for Docker compatibility; stdin is always open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command its own terminal [default: if stdin and stdout are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,

    /// Give the command no terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,

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

pub fn degradable(name: &str) -> Result<Degradable, String> {
    let found = Degradable::ALL.into_iter().find(|d| d.name() == name);
    found.ok_or_else(|| {
        "only cgroup, landlock and idmap can be waived; every other layer is always in force".into()
    })
}
