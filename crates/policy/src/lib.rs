//! The declared policy: what an operator grants, as types.
//!
//! Owns the vocabulary (grants, environment, limits, degradations), its file form ([`file`](mod@file)), its units
//! ([`units`]) and the policies that ship with creel ([`preset`]). Pure: it never looks at the machine;
//! `plan` decides what a path means there. It refuses unknown keys, wrong units and numbers that
//! overflow.
//!
//! Every value keeps its [`Origin`], so that an error, `--dry-run` and, later, `explain` can name the
//! file and line that set it.
//!
//! ```
//! use creel_policy::{Roots, file, preset};
//!
//! let roots = Roots { home: "/home/u".into(), workspace: "/home/u/work".into() };
//! let limits = preset::limits()?;
//! let policy = file::parse("agent.toml", "[filesystem]\nread = ['~/data']\n", &limits, &roots)?;
//! assert_eq!(policy.filesystem.read[0].path, "/home/u/data");
//! let error = file::parse("agent.toml", "[filesystem]\nraed = []\n", &limits, &roots).unwrap_err();
//! assert!(error.to_string().starts_with("agent.toml:2:1: "), "{error}");
//! # Ok::<(), creel_policy::PolicyError>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::dbg_macro
    )
)]

pub mod cases;
mod codes;
mod command;
pub mod compare;
pub mod compiled;
mod constraints;
mod containment;
pub mod decide;
pub mod effective;
pub mod effective_access;
pub mod error;
pub mod expand;
mod fault;
pub mod file;
pub mod gitconfig;
pub mod glob;
mod implied_protection;
mod lattice;
pub mod layer;
mod limits;
pub mod native;
pub mod net;
pub mod path_set;
pub mod preset;
pub mod protected_defaults;
mod quantity;
pub mod rights;
mod roots;
mod span;
pub mod stack;
pub mod tools;
pub mod tree;
pub mod units;
mod values;
pub mod words;
pub mod write;

pub use error::PolicyError;
pub use limits::Limits;
pub use net::{Name, Network};
pub use path_set::{AbsPath, PathRule};
pub use rights::Roots;
pub use units::{Bytes, Count, CpuShare, Percent, Span, UnitError};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The place where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// A file's path as the operator named it, `preset:NAME`, or `command line`.
    /// Shared, since every value of a file has it.
    pub source: Arc<str>,
    /// 1-based; 0 where the source has no lines.
    pub line: u32,
}

impl Origin {
    /// The origin of values that creel sets by default.
    pub fn creel() -> Origin {
        Origin {
            source: "creel".into(),
            line: 0,
        }
    }

    /// The origin of a value; creel's own if the value is not set.
    pub fn of<T>(said: Option<&Sourced<T>>) -> Origin {
        said.map_or_else(Origin::creel, |said| said.origin.clone())
    }

    /// Whether the value is built in: set by creel or by a policy that ships with it, not by a user.
    pub fn is_built_in(&self) -> bool {
        *self.source == *"creel" || self.source.starts_with("preset:")
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = self.source.escape_debug();
        match self.line {
            0 => write!(f, "{source}"),
            line => write!(f, "{source}:{line}"),
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Sourced<T> {
    pub fn new(value: T, origin: Origin) -> Sourced<T> {
        Sourced { value, origin }
    }

    /// A value that creel sets by default.
    pub fn creel(value: T) -> Sourced<T> {
        Sourced::new(value, Origin::creel())
    }
}

/// One complete policy: limits that the file does not set are the default policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The preset's name or the file's path.
    pub name: String,
    /// SHA-256 of the source text, lower-case hex.
    pub digest: String,
    pub filesystem: Filesystem,
    /// The programs that may execute.
    pub exec: Sourced<Execution>,
    pub network: Network,
    pub environment: Environment,
    pub limits: Limits,
    /// Whether debuggers may trace processes of the jail.
    pub debug: Sourced<bool>,
    /// Layers that may be missing; see [`Degradable`].
    pub allow_degraded: BTreeSet<Degradable>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Present, readable, not executable.
    pub read: Vec<PathRule>,
    /// Present, readable and writable; not executable unless `exec` has it too.
    pub write: Vec<PathRule>,
    /// Present, readable and mapped as code by programs that load it, as libraries are; not executable.
    pub load: Vec<PathRule>,
    /// Present, readable and executable.
    pub exec: Vec<PathRule>,
    /// Removed from a granted tree.
    pub deny: Vec<PathRule>,
    /// Cannot be changed, replaced, removed or created, although it lies in a writable tree.
    pub protect: Vec<PathRule>,
    /// Absolute patterns of denials; the names that they matched are in `deny`.
    pub deny_patterns: Vec<PathRule>,
    /// The same for `protect`.
    pub protect_patterns: Vec<PathRule>,
    /// The access to the workspace; `None` if the policy leaves it to the request.
    pub workspace: Option<Sourced<WorkspaceMode>>,
}

/// The programs that may execute in the jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution {
    /// Any program in an executable grant.
    Granted,
    /// The command that creel starts and what it loads; executable grants are only readable.
    Worker,
    /// These programs and what they load; executable grants are only readable.
    Only(Vec<PathRule>),
}

words::words! {
    /// The jail's access to the host's workspace directory.
    WorkspaceMode {
        /// Not present: a fresh directory of the jail's own takes its place.
        None = "none",
        ReadOnly = "ro",
        ReadWrite = "rw",
    }
}

/// A path as a layer has it: absolute, or beginning with `~` (the caller's home) or `$WORKSPACE`. When the
/// layer's rights are made, it becomes a [`PathRule`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub path: String,
    pub absent: Absent,
    pub origin: Origin,
    /// If the pattern of a grant matched the path: the directory above the pattern's first wildcard,
    /// absolute. The path must not lead out of it.
    pub base: Option<String>,
}

impl Grant {
    pub fn new(path: impl Into<String>, absent: Absent, origin: Origin) -> Grant {
        Grant {
            path: path.into(),
            absent,
            origin,
            base: None,
        }
    }
}

/// The behaviour if a granted path does not exist, the stricter first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absent {
    /// The run is refused.
    Refuse,
    /// `optional = true`: the grant is left out, and the plan says so.
    Skip,
}

impl Absent {
    /// The stricter of two values for the same path.
    pub fn stricter(self, other: Absent) -> Absent {
        self.min(other)
    }
}

/// The jail's complete environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Variables with their values. `~` is not expanded except as the first character of a value
    /// or after a `:` in it.
    pub set: BTreeMap<String, Sourced<String>>,
    /// Names copied from the caller where the caller has them.
    pub pass: Vec<Sourced<String>>,
    /// Whether the jail gets the operator's git name and address.
    pub git_identity: Sourced<bool>,
}

words::words! {
    /// Layers that a policy or `--allow-degraded` may allow to be missing. All others are mandatory.
    Degradable {
        /// Memory, cpu and pids limits by cgroup.
        Cgroup = "cgroup",
        /// A kernel without Landlock.
        Landlock = "landlock",
        /// A filesystem without idmapped mounts (privileged runs only).
        Idmap = "idmap",
    }
}

/// SHA-256, lower-case hex.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let nibble = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    let digest = Sha256::digest(bytes);
    let pairs = digest.iter().map(|byte| [byte >> 4, byte & 15]);
    pairs.flatten().map(nibble).collect()
}
