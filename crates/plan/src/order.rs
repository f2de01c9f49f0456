//! The order of acts, as a table with reasons, and the check that a plan keeps it.

use super::{Act, Plan, Resource};

/// Where in a jail's making an act belongs. Earlier variants come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Clone,
    Ids,
    Cgroup,
    Root,
    Tree,
    Enter,
    System,
    JoinCgroup,
    Keyring,
    ResourceLimits,
    Become,
    Capabilities,
    NoNewPrivileges,
    NotDumpable,
    Landlock,
    Terminal,
    Descriptors,
    Workdir,
    Seccomp,
    Exec,
}

/// Every stage with the reason why it stands where it does.
pub const ORDER: &[(Stage, &str)] = &[
    (
        Stage::Clone,
        "everything after it happens in the new namespaces",
    ),
    (
        Stage::Ids,
        "a file made by an unmapped id is an error (EOVERFLOW)",
    ),
    (
        Stage::Cgroup,
        "limits hold before the jail allocates anything",
    ),
    (Stage::Root, "the tree is built on it"),
    (
        Stage::Tree,
        "host paths resolve only while the host's tree is the root; parents first",
    ),
    (
        Stage::Enter,
        "from here on no path leads to the host; the root is sealed once entered",
    ),
    (
        Stage::System,
        "needs CAP_SYS_ADMIN and CAP_NET_ADMIN over the new namespaces",
    ),
    (
        Stage::JoinCgroup,
        "after the mounts: building is not charged to the jail's cpu quota; the root of the cgroup namespace is the group that its maker is in",
    ),
    (
        Stage::Keyring,
        "belongs to the session that the jail's user starts with",
    ),
    (
        Stage::ResourceLimits,
        "after the last file that building writes",
    ),
    (
        Stage::Become,
        "needs CAP_SETUID; resets the parent-death signal, which is set after it",
    ),
    (Stage::Capabilities, "nothing after it needs one"),
    (
        Stage::NoNewPrivileges,
        "Landlock and seccomp demand it of a process without capabilities",
    ),
    (Stage::NotDumpable, "a change of ids resets it"),
    (
        Stage::Landlock,
        "forbids mounting; its rules name paths of the finished tree",
    ),
    (
        Stage::Terminal,
        "opened in the jail's own devpts, under the jail's own rules",
    ),
    (
        Stage::Descriptors,
        "no descriptor of the host is left when a path is resolved for the caller",
    ),
    (
        Stage::Workdir,
        "after the sweep: /proc/self/fd leads nowhere (CVE-2024-21626)",
    ),
    (
        Stage::Seccomp,
        "last, so that it need not allow what building needs",
    ),
    (Stage::Exec, "the command"),
];

impl Act {
    /// Where this act belongs.
    pub fn stage(&self) -> Stage {
        match self {
            Act::Namespaces { .. } => Stage::Clone,
            Act::MapIds(_) => Stage::Ids,
            Act::Cgroup(_) => Stage::Cgroup,
            Act::Root { .. } => Stage::Root,
            Act::Directory { .. }
            | Act::Link { .. }
            | Act::File { .. }
            | Act::Authority { .. }
            | Act::Trust { .. }
            | Act::Bind { .. }
            | Act::Device { .. }
            | Act::Tmpfs { .. }
            | Act::Devpts
            | Act::Proc
            | Act::GroupView { .. }
            | Act::UserCounts { .. }
            | Act::ReadOnly { .. }
            | Act::Mask { .. }
            | Act::Withhold { .. }
            | Act::Hold { .. } => Stage::Tree,
            Act::Pivot | Act::Seal => Stage::Enter,
            Act::Hostname { .. } | Act::Loopback | Act::Egress(_) | Act::Clocks => Stage::System,
            Act::JoinCgroup | Act::CgroupNamespace => Stage::JoinCgroup,
            Act::Keyring => Stage::Keyring,
            Act::ResourceLimit {
                limit: Resource::OpenFiles,
                ..
            } => Stage::Descriptors,
            Act::ResourceLimit { .. } => Stage::ResourceLimits,
            Act::Become { .. } => Stage::Become,
            Act::Capabilities => Stage::Capabilities,
            Act::NoNewPrivileges => Stage::NoNewPrivileges,
            Act::NotDumpable => Stage::NotDumpable,
            Act::Landlock { .. } => Stage::Landlock,
            Act::Terminal => Stage::Terminal,
            Act::Streams | Act::Descriptors => Stage::Descriptors,
            Act::Workdir { .. } => Stage::Workdir,
            Act::NoMemfd | Act::Seccomp | Act::SeccompDebug => Stage::Seccomp,
            Act::Exec => Stage::Exec,
        }
    }
}

/// Why a plan is out of order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    #[error("act {at} ({act:?}) comes after {after:?}")]
    Late { at: usize, act: Stage, after: Stage },
    #[error("act {at} mounts below a path that a later act covers")]
    Covered { at: usize },
    #[error("the plan does not end with {0:?}")]
    Unfinished(Stage),
}

creel_policy::codes!(OrderError {
    Self::Late { .. } => "order-late",
    Self::Covered { .. } => "order-covered",
    Self::Unfinished(_) => "order-unfinished",
});

/// Checks a plan against [`ORDER`]: stages never go back, nothing that was built is covered by a
/// mount on one of its ancestors, and the last two acts are the filter and the command.
pub fn check(plan: &Plan) -> Result<(), OrderError> {
    let stages: Vec<Stage> = plan.acts.iter().map(Act::stage).collect();
    for (at, pair) in stages.windows(2).enumerate() {
        if pair[1] < pair[0] {
            return Err(OrderError::Late {
                at: at + 1,
                act: pair[1],
                after: pair[0],
            });
        }
    }
    for (at, act) in plan.acts.iter().enumerate() {
        let Some(built) = target(act) else { continue };
        let covered = plan.acts[at + 1..]
            .iter()
            .any(|later| match (later, target(later)) {
                // A mask covers on purpose.
                (
                    Act::Mask { .. } | Act::Directory { .. } | Act::Link { .. } | Act::File { .. },
                    _,
                ) => false,
                (_, Some(cover)) => built != cover && built.starts_with(cover) && mounts(act),
                _ => false,
            });
        if covered {
            return Err(OrderError::Covered { at });
        }
    }
    match stages.as_slice() {
        [.., Stage::Seccomp, Stage::Exec] => Ok(()),
        [.., Stage::Exec] => Err(OrderError::Unfinished(Stage::Seccomp)),
        _ => Err(OrderError::Unfinished(Stage::Exec)),
    }
}

fn mounts(act: &Act) -> bool {
    matches!(
        act,
        Act::Bind { .. }
            | Act::Tmpfs { .. }
            | Act::Device { .. }
            | Act::GroupView { .. }
            | Act::Mask { .. }
            | Act::Trust { .. }
    )
}

fn target(act: &Act) -> Option<&std::path::Path> {
    match act {
        Act::Bind { target, .. } => Some(target),
        Act::Tmpfs { path, .. }
        | Act::Device { path, .. }
        | Act::GroupView { path, .. }
        | Act::Mask { path, .. }
        | Act::Trust { path, .. } => Some(path),
        Act::Devpts => Some("/dev/pts".as_ref()),
        Act::Proc => Some("/proc".as_ref()),
        _ => None,
    }
}
