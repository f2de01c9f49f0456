//! One complete policy, as `plan` resolves it.

use std::collections::{BTreeMap, BTreeSet};

use super::degradable::Degradable;
use super::grant::WorkspaceMode;
use super::limits::Limits;
use super::mapping::Mapping;
use super::net::network::Network;
use super::origin::Sourced;
use super::path_set::PathRule;

/// One complete policy: limits that the file does not set are the default policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The preset's name or the file's path.
    pub name: String,
    /// SHA-256 of the source text, lower-case hex.
    pub digest: String,
    /// Granted, denied and protected paths.
    pub filesystem: Filesystem,
    /// The programs that may execute.
    pub exec: Sourced<Execution>,
    /// The network access.
    pub network: Network,
    /// The jail's variables.
    pub environment: Environment,
    /// Every limit.
    pub limits: Limits,
    /// Whether debuggers may trace processes of the jail.
    pub debug: Sourced<bool>,
    /// Layers that may be missing; see [`Degradable`].
    pub allow_degraded: BTreeSet<Degradable>,
}

/// Granted, denied and protected paths. A denial removes from grants, and the innermost grant applies.
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
    /// The places of trees in the jail, of those whose places are not those of the host.
    pub mapped: BTreeSet<Mapping>,
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
