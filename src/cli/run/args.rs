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
    after_help = "Exit status: the command's own; 128+N where signal N ended it; 124 time limit; \
    125 creel's own failure; 126 found but not executable, or denied; 127 not found. The verdict \
    (--status-fd, --status-file) says which without ambiguity."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub policies: PolicyArgs,

    /// The workspace, and `none`, `ro` or `rw` [default: the current directory, rw]
    #[arg(long, value_name = "DIR[:MODE]", value_hint = ValueHint::DirPath)]
    pub workspace: Option<OsString>,

    /// Also let the command read this file or directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub read: Vec<PathBuf>,

    /// Also let the command read and write this file or directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub write: Vec<PathBuf>,

    /// Also let the command read and execute this program, or what lies in this directory, which is then on its PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub exec: Vec<PathBuf>,

    /// Also let the command reach this host, at ports 80 and 443 unless told otherwise
    #[arg(long, value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub allow_net: Vec<String>,

    /// Set a variable, or pass the caller's own value of it
    #[arg(short, long, value_name = "K[=V]")]
    pub env: Vec<OsString>,

    /// Where the command starts [default: the workspace]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// Memory of the whole jail, e.g. 512MiB
    #[arg(short, long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub memory: Option<Bytes>,

    /// Processors, e.g. 1.5
    #[arg(long, value_name = "N", value_parser = CpuShare::parse)]
    pub cpus: Option<CpuShare>,

    /// Processes and threads at once
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    pub pids: Option<Count>,

    /// Wall time, e.g. 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub timeout: Option<Span>,

    /// Processor time of the whole jail, e.g. 10s
    #[arg(long, value_name = "TIME", value_parser = Span::parse_limit)]
    pub cpu_time: Option<Span>,

    /// Size of each writable tmpfs (/tmp, home, /dev/shm)
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub disk: Option<Bytes>,

    /// Bytes on stdout and stderr together
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub output_limit: Option<Bytes>,

    /// Hide since when the host is up: a time namespace, whose clocks start with the jail
    #[arg(long)]
    pub time_ns: bool,

    /// Write the verdict as JSON to this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub status_fd: Option<i32>,

    /// Write the verdict as JSON to this file, absent or regular; to a pipe or a device with --status-fd 3 3>PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub status_file: Option<PathBuf>,

    /// Let the host reach a server in the jail; the address is the host's loopback unless named
    #[arg(long, value_name = "[ADDR:]HOSTPORT[:PORT]", value_parser = network::publish)]
    pub publish: Vec<Publish>,

    /// Publish on other addresses than loopback too, where anybody may connect
    #[arg(long)]
    pub publish_anyway: bool,

    /// Look at all that the command left for the host to obey, however long it takes [default: for 5 ms]
    #[arg(long)]
    pub review_all: bool,

    /// Append a line of JSON to this file for each decision on the network
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log_net: Option<PathBuf>,

    /// Print the plan and run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// With --dry-run: the plan as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Go on where this layer cannot be had: cgroup, landlock, idmap
    #[arg(long, value_name = "LAYER", value_parser = degradable)]
    pub allow_degraded: Vec<Degradable>,

    /// Keep stdin open; it always is, and the flag is here for habit's sake
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal of its own [default: where stdin and stdout are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,

    /// Give it none
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,

    /// Say nothing about the end of the run
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say what was enforced and what was used
    #[arg(short, long)]
    pub verbose: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

pub fn degradable(name: &str) -> Result<Degradable, String> {
    let found = Degradable::ALL.into_iter().find(|d| d.name() == name);
    found.ok_or_else(|| {
        "only cgroup, landlock and idmap can be missed; every other layer is always in force".into()
    })
}
