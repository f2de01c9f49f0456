//! The order of acts as a table with reasons, and the checks that plans keep it.
//!
//! A plan is checked in two parts: the making of a jail ([`check_jail`]), and the start of a command in it
//! ([`check_command`]), from the first layer that a process enforces on itself.

use super::{Act, CommandPlan, JailPlan, Plan, Resource};

/// The position of an act in the making of a jail. Earlier variants come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The clone into new namespaces.
    Clone,
    /// The id maps of the user namespace.
    Ids,
    /// The control group and its limits.
    Cgroup,
    /// The tmpfs that becomes the root.
    Root,
    /// Directories, files and mounts on the root, and covers.
    Tree,
    /// The change of the root, and its sealing.
    Enter,
    /// Host name, network and clocks.
    System,
    /// The v1 groups and the cgroup namespace.
    JoinCgroup,
    /// The session keyring.
    Keyring,
    /// The resource limits, but for the number of descriptors.
    ResourceLimits,
    /// The change to the user of the command.
    Become,
    /// The end of all capabilities.
    Capabilities,
    /// `no_new_privs`.
    NoNewPrivileges,
    /// The "dumpable" attribute.
    NotDumpable,
    /// The Landlock ruleset.
    Landlock,
    /// The pseudoterminal.
    Terminal,
    /// Descriptors 0, 1 and 2, the end of all others, and the limit of their number.
    Descriptors,
    /// The working directory.
    Workdir,
    /// The seccomp filters.
    Seccomp,
    /// The execution of the command.
    Exec,
}

/// The process that does an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Pid 1, once, while it builds the jail. It is already done when a process joins from outside:
    /// setns(2).
    Jail,
    /// Each process that enters the jail does this once. Pid 1's commands inherit it; a process that joins
    /// from outside does it itself.
    Entry,
    /// The command's own process. Pid 1 does it for the jail's first command, whose limits, streams and
    /// working directory it shares; for a later command it is done after the fork.
    Command,
}

/// Every stage with the reason for its position.
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

impl Stage {
    /// The process that does the act.
    pub fn whose(self) -> Whose {
        match self {
            Stage::Clone
            | Stage::Ids
            | Stage::Cgroup
            | Stage::Root
            | Stage::Tree
            | Stage::Enter
            | Stage::System
            | Stage::JoinCgroup => Whose::Jail,
            Stage::Keyring
            | Stage::Become
            | Stage::Capabilities
            | Stage::NoNewPrivileges
            | Stage::NotDumpable
            | Stage::Landlock
            | Stage::Seccomp => Whose::Entry,
            Stage::ResourceLimits
            | Stage::Terminal
            | Stage::Descriptors
            | Stage::Workdir
            | Stage::Exec => Whose::Command,
        }
    }
}

impl Act {
    /// The process that does the act.
    pub fn whose(&self) -> Whose {
        self.stage().whose()
    }

    /// The stage of this act.
    pub fn stage(&self) -> Stage {
        match self {
            Act::Namespaces { .. } => Stage::Clone,
            Act::MapIds(_) => Stage::Ids,
            Act::Cgroup(_) => Stage::Cgroup,
            Act::Root { .. } => Stage::Root,
            Act::Directory { .. }
            | Act::Link { .. }
            | Act::File { .. }
            | Act::Client { .. }
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
///
/// In every variant, `at` is the index of the act among those that are checked together, from 0, and `act` is
/// its stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum OrderError {
    /// The act's stage is earlier than that of the act before it, `after`.
    #[error("act {at} ({act:?}) comes after {after:?}")]
    Late { at: usize, act: Stage, after: Stage },
    /// The act belongs to another process than the other acts of its list.
    #[error("act {at} ({act:?}) is in the wrong list")]
    Elsewhere { at: usize, act: Stage },
    /// A later act mounts over the place of this mount.
    #[error("act {at} mounts below a path that a later act covers")]
    Covered { at: usize },
    /// This stage is not where it must be: at the end.
    #[error("the plan does not end with {0:?}")]
    Unfinished(Stage),
}

creel_policy::codes!(OrderError {
    Self::Late { .. } => "order-late",
    Self::Covered { .. } => "order-covered",
    Self::Unfinished(_) => "order-unfinished",
    Self::Elsewhere { .. } => "order-elsewhere",
});

/// Checks the plan of a jail and of its first command against [`ORDER`].
pub fn check(plan: &Plan) -> Result<(), OrderError> {
    check_jail(&plan.jail)?;
    check_command(&plan.jail, &plan.command)
}

/// Checks the build of a jail: stages never go back, and no mount covers something that was built beneath
/// it before.
pub fn check_jail(jail: &JailPlan) -> Result<(), OrderError> {
    each(&jail.build, Whose::Jail)?;
    in_order(jail.build.iter())?;
    for (at, act) in jail.build.iter().enumerate() {
        let Some(built) = target(act) else { continue };
        let covered = jail.build[at + 1..]
            .iter()
            .any(|later| match (later, target(later)) {
                // A mask covers intentionally.
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
    Ok(())
}

/// Checks the start of a command: stages never go back, and the last two acts are the seccomp filter and
/// the execution.
pub fn check_command(jail: &JailPlan, command: &CommandPlan) -> Result<(), OrderError> {
    each(&jail.confine, Whose::Entry)?;
    each(&command.acts, Whose::Command)?;
    in_order(jail.entry(command))?;
    let stages: Vec<Stage> = jail.entry(command).map(Act::stage).collect();
    match stages.as_slice() {
        [.., Stage::Seccomp, Stage::Exec] => Ok(()),
        [.., Stage::Exec] => Err(OrderError::Unfinished(Stage::Seccomp)),
        _ => Err(OrderError::Unfinished(Stage::Exec)),
    }
}

fn each(acts: &[Act], whose: Whose) -> Result<(), OrderError> {
    match acts.iter().position(|act| act.whose() != whose) {
        Some(at) => Err(OrderError::Elsewhere {
            at,
            act: acts[at].stage(),
        }),
        None => Ok(()),
    }
}

pub(super) fn in_order<'a>(acts: impl Iterator<Item = &'a Act>) -> Result<(), OrderError> {
    let stages: Vec<Stage> = acts.map(Act::stage).collect();
    match stages.windows(2).position(|pair| pair[1] < pair[0]) {
        Some(at) => Err(OrderError::Late {
            at: at + 1,
            act: stages[at + 1],
            after: stages[at],
        }),
        None => Ok(()),
    }
}

/// Merges two ordered lists; within a stage, the acts of `first` come first.
pub(super) fn merged<'a>(first: &'a [Act], second: &'a [Act]) -> impl Iterator<Item = &'a Act> {
    let (mut first, mut second) = (first.iter().peekable(), second.iter().peekable());
    std::iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some(one), Some(other)) if other.stage() < one.stage() => second.next(),
        (Some(_), _) => first.next(),
        (None, _) => second.next(),
    })
}

/// Splits a list of acts into the three of a plan: the jail's, those of every process that enters, the
/// command's.
pub(super) fn split(acts: Vec<Act>) -> [Vec<Act>; 3] {
    let mut lists = [vec![], vec![], vec![]];
    for act in acts {
        lists[act.whose() as usize].push(act);
    }
    lists
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
            | Act::Client { .. }
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
        Act::Client { program, .. } => Some(program),
        Act::Devpts => Some("/dev/pts".as_ref()),
        Act::Proc => Some("/proc".as_ref()),
        _ => None,
    }
}
