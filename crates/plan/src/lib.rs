//! The resolved plan: every kernel act of a run as data, in order.
//!
//! [`resolve`](fn@resolve) turns a policy, a request and a [`Host`] into a [`Plan`], which holds the plan of a jail
//! ([`JailPlan`]) and the plan of one command in it ([`CommandPlan`]). The function is pure: it touches
//! nothing, so a plan can be printed, compared and tested without root and for another machine. `jail` does
//! exactly what a plan says; nothing is decided after it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::dbg_macro
    )
)]

mod act;
pub mod card;
mod command;
mod containment;
mod covers;
pub mod egress;
pub mod explain;
mod form;
pub mod granted;
pub mod host;
pub mod identity;
mod ids;
pub mod lossless;
mod mapped;
pub mod order;
mod overlay;
mod own;
pub mod paths;
pub mod print;
pub mod proc;
mod programs;
mod protect;
pub mod questions;
mod receipt;
mod refusal;
pub mod request;
pub mod resolve;
mod rule;
pub mod search_dirs;
mod tree;
mod view;
pub mod wanted;

pub use act::*;
pub use host::{CgroupLayout, Fact, Found, Host, IdMode};
pub use order::{Stage, Whose, check as check_order};
pub use refusal::ResolveError;
pub use request::{Clocks, Request, Terminal};
pub use resolve::resolve;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The plan of a jail and of the first command in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "form::Form", into = "form::Form")]
pub struct Plan {
    /// The policy that the plan was made of.
    pub policy: PolicyRef,
    /// The part that a jail has once.
    pub jail: JailPlan,
    /// The first command. A jail that serves several has another [`CommandPlan`] for each.
    pub command: CommandPlan,
    /// One row for each mechanism, for the receipt.
    pub layers: Vec<Layer>,
}

/// A policy as the receipt names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// The preset's name or the file's path.
    pub name: String,
    /// SHA-256 of the policy's text, hex.
    pub digest: String,
    /// Flags that granted or limited beside the text. A variable is shown without its value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Keys of the policy that have no effect, or another effect than they seem to have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The part of a plan that a jail has once, however many commands it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailPlan {
    /// Makes the jail: acts of [`Whose::Jail`], in their order.
    pub build: Vec<Act>,
    /// The layers that apply to every process in the jail: acts of [`Whose::Entry`], in their order. Pid 1
    /// enforces them on itself, so the commands that it starts have them; a process that joins from outside
    /// enforces them on itself as well.
    pub confine: Vec<Act>,
    /// The limits that the supervisor enforces.
    pub watch: JailWatch,
}

/// One command in a jail. It refers to the jail only by paths in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandPlan {
    /// The arguments, the program's name first. No argument has a NUL byte. Empty in the plan of a jail that is
    /// made without a command.
    #[serde(with = "lossless::list")]
    pub argv: Vec<Vec<u8>>,
    /// The absolute paths to try, in order: one where the command has a slash, else one for each
    /// directory of the jail's `PATH`.
    #[serde(with = "lossless::list")]
    pub candidates: Vec<Vec<u8>>,
    /// The whole environment, environ(7): names and values. None is inherited beside it.
    #[serde(with = "lossless::map")]
    pub environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The working directory, absolute, in the jail.
    #[serde(with = "lossless")]
    pub workdir: PathBuf,
    /// The type of stdin, stdout and stderr.
    pub terminal: Terminal,
    /// The acts of the command's own process beside [`JailPlan::confine`]: acts of [`Whose::Command`], in
    /// their order.
    pub acts: Vec<Act>,
    /// The limits that the supervisor enforces.
    pub watch: CommandWatch,
}

/// The limits of a whole jail that need the supervisor's clock or count; the kernel does the rest by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailWatch {
    /// Processor time of all processes together, milliseconds.
    pub cpu_time: u64,
    /// Bytes that the kernel may hold for the jail and that no cgroup counts: unread answers in netlink
    /// sockets, and connections that no process has accepted.
    pub uncharged: u64,
    /// The writable tmpfs mounts, whose fill is reported at the end.
    #[serde(with = "lossless::list")]
    pub disks: Vec<PathBuf>,
}

/// The limits of one command that need the supervisor's clock or count. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandWatch {
    /// Time from the start to SIGTERM.
    pub timeout: u64,
    /// Bytes on stdout and stderr together.
    pub output: u64,
    /// Time from SIGTERM to SIGKILL.
    pub grace: u64,
}

/// A layer of the jail for the receipt: what was asked, what is in force, and why they differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The mechanism that the row is about.
    pub name: MechanismName,
    /// False if the host lacks the mechanism, in part or whole, and the run goes on without.
    pub in_force: bool,
    /// Its form on this host (an ABI, a hierarchy, a range), or the property that the host lacks.
    pub detail: String,
}

/// A mechanism that a receipt has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MechanismName {
    /// Namespaces, namespaces(7).
    Namespaces,
    /// The jail's user and group ids: [`Ids`].
    Ids,
    /// Idmapped mounts, mount_setattr(2): files of the jail's user keep their owner on the host.
    Idmap,
    /// Limits of memory, processors and processes, cgroups(7).
    Cgroup,
    /// The jail's root: an empty tmpfs with the granted trees.
    Root,
    /// The programs that may be executed.
    Execution,
    /// Denied and protected paths.
    Masks,
    /// The network namespace and the relay.
    Network,
    /// The session keyring, session-keyring(7).
    Keyring,
    /// Resource limits, setrlimit(2).
    Rlimits,
    /// Empty capability sets, capabilities(7).
    Capabilities,
    /// `no_new_privs`: no set-user-ID program gains privileges.
    NoNewPrivileges,
    /// The Landlock ruleset, landlock(7).
    Landlock,
    /// The descriptors that the command inherits.
    Descriptors,
    /// The filter of system calls, seccomp(2).
    Seccomp,
}

/// Prefix of the placeholder that the jail gets in place of a secret; the rest is random.
pub const PLACEHOLDER: &[u8] = b"creel-secret-";

impl JailPlan {
    /// The acts of a process that enters the jail and becomes `command`, in their order: the layers of the
    /// jail and the command's own acts. Pid 1 does them, and so can a process that joins from outside.
    pub fn entry<'a>(&'a self, command: &'a CommandPlan) -> impl Iterator<Item = &'a Act> {
        order::merged(&self.confine, &command.acts)
    }
}

impl Plan {
    /// Every act, in the order in which they happen.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.jail.build.iter().chain(self.jail.entry(&self.command))
    }

    /// Whether the plan contains this act.
    pub fn has(&self, act: &Act) -> bool {
        self.acts().any(|other| other == act)
    }

    /// Every act, mutable, in no particular order.
    pub fn acts_mut(&mut self) -> impl Iterator<Item = &mut Act> {
        let Plan { jail, command, .. } = self;
        (jail.build.iter_mut())
            .chain(&mut jail.confine)
            .chain(&mut command.acts)
    }

    /// Removes the acts for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&Act) -> bool) {
        let Plan { jail, command, .. } = self;
        for acts in [&mut jail.build, &mut jail.confine, &mut command.acts] {
            acts.retain(&mut keep);
        }
    }

    /// SHA-256 of the plan as JSON, hex: identifies what was enforced. The jail's id is left out, so that
    /// the same policy, request and host have the same digest. So are the rules that asked for the acts: a
    /// policy whose lines move enforces the same. (Its own digest, in [`PolicyRef`], is that of its text.)
    pub fn digest(&self) -> String {
        let mut plan = self.clone();
        plan.acts_mut().for_each(Act::forget_rules);
        plan.command.environment.remove(b"CREEL_ID".as_slice());
        for value in plan.command.environment.values_mut() {
            if value.starts_with(PLACEHOLDER) {
                *value = PLACEHOLDER.to_vec();
            }
        }
        // A plan consists of maps with string keys, numbers and text, and bytes are written as text:
        // serialising it cannot fail.
        let json = serde_json::to_vec(&plan).unwrap_or_default();
        creel_policy::digest(&json)
    }
}
