//! The verdict: the result of a run, as data. `docs/verdict.md` describes it and `docs/verdict.schema.json`
//! is its schema; a test keeps them consistent.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::egress::Traffic;
use super::left::Left;
use creel_egress::Way;
use creel_egress::reason::Reason;
use creel_plan::{Act, Layer, Plan, PolicyRef};
use creel_policy::Origin;
use creel_policy::error::escaped_json;

/// The version of this format. A field that changes its meaning raises it.
pub const VERSION: u32 = 2;

/// The end of one run. Bytes, microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// [`VERSION`].
    pub version: u32,
    /// Sixteen hexadecimal digits; `CREEL_ID` in the jail.
    pub id: String,
    /// The cause of the run's end.
    pub kind: Kind,
    /// The command's exit code, where it exited.
    pub code: Option<i32>,
    /// The signal that ended the command, by name.
    pub signal: Option<String>,
    /// The limit that ended it.
    pub limit: Option<Limit>,
    /// Limits that were reached and did not end it.
    pub limits_hit: Vec<Limit>,
    /// The exit status of `creel run`.
    pub exit_status: u8,
    /// The reason, if the kind alone does not give it.
    pub error: Option<String>,
    /// The same for programs; absent if a flag of the command line is wrong.
    pub reason: Option<Reason>,
    /// The resources that the run used.
    pub usage: Usage,
    /// Refusals, one for each destination. The kernel does not report its own refusals.
    pub denials: Vec<Denial>,
    /// Destinations reached through the relay; absent if the jail had no egress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Traffic>,
    /// Denied, protected or absent names that were replaced or removed from outside the jail while it ran,
    /// the first 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<Uncovered>,
    /// Why no process watched such names, if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwatched: Option<String>,
    /// New or changed files that the host obeys later; absent if the jail could write no tree of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// The enforced layers; `None` if no jail was made or nobody reads the verdict.
    pub receipt: Option<Receipt>,
}

/// Something that the jail was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The layer of the jail that refused it.
    pub layer: &'static str,
    /// The name or address; the text as sent if it is no host.
    pub host: String,
    /// 0 for several destinations together, or if none was read.
    pub port: u16,
    /// How the destination was requested the last time.
    pub way: Way,
    /// The reason of the last refusal.
    pub reason: Reason,
    /// The same, for people.
    pub text: String,
    /// How often it was refused.
    pub count: u64,
}

impl fmt::Display for Denial {
    /// `HOST:PORT: WHY`, without a port that is 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denial {
            host, port, text, ..
        } = self;
        match port {
            0 => write!(f, "{host}: {text}"),
            port => write!(f, "{host}:{port}: {text}"),
        }
    }
}

/// A cause of a run's end that no error of creel's describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The command is not in the jail.
    NotFound,
    /// The kernel does not execute the command's file.
    NotExecutable,
    /// A rule of the policy refuses the command.
    DeniedByRule,
    /// execve(2), or the creation of the command's process, failed for another reason than a missing file, a
    /// denial or a limit.
    NotExecuted,
    /// `EAGAIN`, although the pids limit refused nothing: the host has no process left for the command.
    NoProcess,
    /// `EAGAIN`: the pids limit leaves no room for the command.
    PidsLimit,
    /// A process that is not creel killed pid 1, and the cgroup counts no kill for lack of memory.
    FirstProcessKilled,
    /// SIGXCPU ended the command before its limit; any program can send it.
    ProcessorTimeSignal,
    /// SIGXFSZ ended the command: `file_size` was reached, or a program sent it.
    FileSizeSignal,
    /// creel ended the jail, because it could not restore a deny mount in time.
    Uncovered,
    /// creel ended the jail, because its janitor was killed.
    JanitorDied,
    /// The working directory of a command in a session cannot be entered.
    NoWorkdir,
    /// The session was ended while the command ran.
    SessionEnded,
    /// A stream of the caller failed, or its reader did not read in time.
    OutputLost,
}

creel_policy::codes!(Fault {
    Self::NotFound => "end-not-found",
    Self::NotExecutable => "end-not-executable",
    Self::DeniedByRule => "end-denied-by-rule",
    Self::NotExecuted => "end-not-executed",
    Self::NoProcess => "end-no-process",
    Self::PidsLimit => "end-pids-limit",
    Self::FirstProcessKilled => "end-first-process-killed",
    Self::ProcessorTimeSignal => "end-sigxcpu",
    Self::FileSizeSignal => "end-sigxfsz",
    Self::Uncovered => "end-uncovered",
    Self::JanitorDied => "end-janitor-died",
    Self::NoWorkdir => "end-no-workdir",
    Self::SessionEnded => "end-session",
    Self::OutputLost => "end-output-lost",
});

/// A name whose deny mount in the jail was missing for a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uncovered {
    /// In the jail, absolute. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// False if the jail was ended instead.
    pub restored: bool,
    /// Microseconds since creel noticed.
    pub after_us: u32,
}

/// The cause of the run's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command exited; `code` has its exit code.
    Exited,
    /// A signal ended the command; `signal` has its name.
    Signaled,
    /// The run reached its limit of wall time.
    Timeout,
    /// The run reached its limit of processor time.
    CpuTime,
    /// The jail needed more memory than its limit.
    Oom,
    /// The pids limit left no room for the command itself.
    Pids,
    /// The command wrote more than its limit.
    Output,
    /// The command may not be executed, or a deny mount could not be restored.
    Denied,
    /// The command never ran.
    SetupFailed,
}

/// A limit by its name in the policy, and its value there (bytes, milliseconds or a count).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The key in the policy, as in `docs/verdict.md`.
    pub name: &'static str,
    /// Bytes for `memory`, `disk` and `output`, milliseconds for the two times, else a number.
    pub value: u64,
}

/// The resources that a run used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// From the start of `creel run` to the jail's end.
    pub wall_us: u64,
    /// Processor time in user mode of pid 1 and all processes that it reaped, wait4(2).
    pub user_us: u64,
    /// The same in the kernel; includes making the jail.
    pub system_us: u64,
    /// Peak memory of the whole jail if a cgroup counts it, else of its largest process.
    pub memory_peak: u64,
    /// Read from storage, getrusage(2).
    pub io_read: u64,
    /// Written to storage, getrusage(2).
    pub io_written: u64,
    /// Concurrent tasks at the peak, including creel's own pid 1; absent if no cgroup counts them.
    pub pids_peak: Option<u64>,
    /// Bytes on stdout and stderr.
    pub output: u64,
    /// How full each writable tmpfs was at the end, per mille of its bytes and of its inodes.
    pub disks: BTreeMap<String, [u32; 2]>,
}

/// The mechanisms that were enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The version of creel.
    pub creel: &'static str,
    /// The release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// 0 if Landlock is not in force.
    pub landlock_abi: u32,
    /// The name and digest of the policy, and the flags in addition.
    pub policy: PolicyRef,
    /// SHA-256 of the plan.
    pub plan: String,
    /// Each layer, in force or not.
    pub layers: Vec<Layer>,
}

impl Receipt {
    /// The receipt of a plan whose jail was made. `kernel`: the release.
    pub fn of(plan: &Plan, kernel: &str) -> Receipt {
        let landlock_abi = plan.acts().find_map(|act| match act {
            Act::Landlock { abi, .. } => Some(*abi),
            _ => None,
        });
        Receipt {
            creel: env!("CARGO_PKG_VERSION"),
            kernel: kernel.to_owned(),
            landlock_abi: landlock_abi.unwrap_or(0),
            policy: plan.policy.clone(),
            plan: plan.digest(),
            layers: plan.layers.clone(),
        }
    }
}

impl Verdict {
    /// The verdict of a run that did not start.
    pub fn setup_failed(
        id: String,
        exit_status: u8,
        reason: Option<Reason>,
        error: String,
    ) -> Verdict {
        Verdict {
            version: VERSION,
            id,
            kind: Kind::SetupFailed,
            code: None,
            signal: None,
            limit: None,
            limits_hit: vec![],
            exit_status,
            error: Some(error),
            reason,
            usage: Usage::default(),
            denials: vec![],
            network: None,
            uncovered: vec![],
            unwatched: None,
            left: None,
            receipt: None,
        }
    }

    /// Sets the error, for people and for programs.
    pub fn fail(&mut self, fault: Fault, rule: Option<&Origin>, text: impl Into<String>) {
        self.error = Some(text.into());
        self.reason = Some(Reason::of_error(fault.code(), rule));
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        // Numbers, text and maps with text keys: serialising them cannot fail.
        let mut json = escaped_json(serde_json::to_string(self).unwrap_or_default());
        json.push('\n');
        json
    }
}
