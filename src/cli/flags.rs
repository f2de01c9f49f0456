//! The flags that grant or limit: the last layer of a run, the same for all verbs that take layers.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueHint;

use creel_policy::layer::Limits;
use creel_policy::{Bytes, Count, CpuShare, Degradable, Origin, Sourced, Span};

/// Grants and limits of the command line
#[derive(clap::Args, Debug, Clone, Default)]
pub struct FlagArgs {
    /// Workspace directory, its path in the jail, and its mode: `none`, `ro` or `rw` [default: the current directory at its own path, rw]
    #[arg(long, value_name = "DIR[:DST][:MODE]", value_hint = ValueHint::DirPath)]
    pub workspace: Option<OsString>,

    /// Also let the command read this file or directory, in the jail at its own path or at DST
    #[arg(long, value_name = "PATH[:DST]", value_hint = ValueHint::AnyPath)]
    pub read: Vec<PathBuf>,

    /// Also let the command read and write this file or directory
    #[arg(long, value_name = "PATH[:DST]", value_hint = ValueHint::AnyPath)]
    pub write: Vec<PathBuf>,

    /// As --write, or with `ro` as --read: Docker's form of a path in the jail
    #[arg(long, value_name = "SRC:DST[:ro]", value_hint = ValueHint::AnyPath)]
    pub volume: Vec<OsString>,

    /// Also let the command read and execute this program, or all programs in this directory, which is added to its PATH
    #[arg(long, value_name = "PATH[:DST]", value_hint = ValueHint::AnyPath)]
    pub exec: Vec<PathBuf>,

    /// Also let the command connect to this host [default ports: 80 and 443]
    #[arg(long, value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub allow_net: Vec<String>,

    /// Set a variable, or pass the caller's value of it
    #[arg(short, long, value_name = "K[=V]")]
    pub env: Vec<OsString>,

    /// Limit for the memory of the whole jail, e.g. 512MiB
    #[arg(short, long, value_name = "SIZE", value_parser = Bytes::parse)]
    pub memory: Option<Bytes>,

    /// Limit for processors, e.g. 1.5
    #[arg(long, value_name = "N", value_parser = CpuShare::parse)]
    pub cpus: Option<CpuShare>,

    /// Limit for processes and threads at once
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    pub pids: Option<Count>,

    /// Limit for the open descriptors of each process
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    pub open_files: Option<Count>,

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

    /// Run without this layer if the host lacks it: cgroup, landlock, idmap
    #[arg(long, value_name = "LAYER", value_parser = degradable)]
    pub allow_degraded: Vec<Degradable>,
}

impl FlagArgs {
    /// The limits, each with its flag as its origin.
    pub fn limits(&self) -> Limits {
        Limits {
            memory: of("--memory", self.memory),
            cpus: of("--cpus", self.cpus),
            pids: of("--pids", self.pids),
            open_files: of("--open-files", self.open_files),
            timeout: of("--timeout", self.timeout),
            cpu_time: of("--cpu-time", self.cpu_time),
            disk: of("--disk", self.disk),
            output: of("--output-limit", self.output_limit),
            ..Limits::default()
        }
    }
}

fn of<T>(flag: &str, value: Option<T>) -> Option<Sourced<T>> {
    value.map(|value| Sourced::new(value, Origin::flag(flag)))
}

pub fn degradable(name: &str) -> Result<Degradable, String> {
    let found = Degradable::ALL.into_iter().find(|d| d.name() == name);
    found.ok_or_else(|| {
        "only cgroup, landlock and idmap can be waived; every other layer is always in force".into()
    })
}
