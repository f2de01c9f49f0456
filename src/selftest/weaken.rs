//! Layers, and a plan with one of them taken out: the suite's negative controls.
//!
//! The plan is edited as data and goes the usual way afterwards. A weakened plan may break
//! `plan::check_order` (without seccomp it does not end in the filter): that check is for plans that
//! `resolve` makes, and passes on those before they are weakened.

use std::path::Path;

use super::plant::{self, Planted};
use creel_plan::{Act, Code, Namespace, Node, Owner, Plan};

/// What can stop an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    PidNamespace,
    Network,
    IpcNamespace,
    UtsNamespace,
    CgroupNamespace,
    /// Paths that are not granted do not exist.
    Root,
    ReadOnly,
    Noexec,
    Seal,
    Masks,
    Environment,
    Descriptors,
    Keyring,
    Rlimits,
    Cgroup,
    /// Sizes of the jail's own tmpfs.
    Disk,
    /// The supervisor's limits of time and output.
    Supervisor,
    Capabilities,
    NoNewPrivileges,
    Landlock,
    Seccomp,
    // The rest cannot be taken out of a plan.
    /// The jail's user is no user of the host, and no file gives it a right.
    Ids,
    /// hidepid, and a pid 1 that is not dumpable.
    NotDumpable,
    /// A session of its own, without the caller's terminal.
    Session,
    /// The kernel refuses this to everybody, or to everybody without capabilities over the host.
    Kernel,
}

use Layer as L;

impl Layer {
    /// The layers that `--without` accepts.
    pub const WEAKENABLE: [Layer; 21] = [
        L::PidNamespace,
        L::Network,
        L::IpcNamespace,
        L::UtsNamespace,
        L::CgroupNamespace,
        L::Root,
        L::ReadOnly,
        L::Noexec,
        L::Seal,
        L::Masks,
        L::Environment,
        L::Descriptors,
        L::Keyring,
        L::Rlimits,
        L::Cgroup,
        L::Disk,
        L::Supervisor,
        L::Capabilities,
        L::NoNewPrivileges,
        L::Landlock,
        L::Seccomp,
    ];

    pub fn name(self) -> &'static str {
        match self {
            L::PidNamespace => "pid-namespace",
            L::Network => "network",
            L::IpcNamespace => "ipc-namespace",
            L::UtsNamespace => "uts-namespace",
            L::CgroupNamespace => "cgroup-namespace",
            L::Root => "root",
            L::ReadOnly => "read-only",
            L::Noexec => "noexec",
            L::Seal => "seal",
            L::Masks => "masks",
            L::Environment => "environment",
            L::Descriptors => "descriptors",
            L::Keyring => "keyring",
            L::Rlimits => "rlimits",
            L::Cgroup => "cgroup",
            L::Disk => "disk",
            L::Supervisor => "supervisor",
            L::Capabilities => "capabilities",
            L::NoNewPrivileges => "no-new-privileges",
            L::Landlock => "landlock",
            L::Seccomp => "seccomp",
            L::Ids => "ids",
            L::NotDumpable => "not-dumpable",
            L::Session => "session",
            L::Kernel => "kernel",
        }
    }

    /// By name, for `--without`.
    pub fn parse(name: &str) -> Option<Layer> {
        Self::WEAKENABLE
            .into_iter()
            .find(|layer| layer.name() == name)
    }

    /// All layers that are gone with this one, because some depend on it.
    pub fn gone(self) -> &'static [Layer] {
        match self {
            // Without no_new_privs the kernel accepts a filter and a ruleset only from a process that has
            // CAP_SYS_ADMIN over its user namespace.
            L::NoNewPrivileges => &[L::NoNewPrivileges, L::Capabilities],
            // The filter answers first; `--without seccomp` shows that this layer stops by itself.
            L::Keyring => &[L::Keyring, L::Seccomp],
            // Without a pid namespace the kernel mounts no /proc of the jail's own.
            L::PidNamespace => &[L::PidNamespace],
            L::Network => &[L::Network],
            L::IpcNamespace => &[L::IpcNamespace],
            L::UtsNamespace => &[L::UtsNamespace],
            L::CgroupNamespace => &[L::CgroupNamespace],
            L::Root => &[L::Root],
            L::ReadOnly => &[L::ReadOnly],
            L::Noexec => &[L::Noexec],
            L::Seal => &[L::Seal],
            L::Masks => &[L::Masks],
            L::Environment => &[L::Environment],
            L::Descriptors => &[L::Descriptors],
            L::Rlimits => &[L::Rlimits],
            L::Cgroup => &[L::Cgroup],
            L::Disk => &[L::Disk],
            L::Supervisor => &[L::Supervisor],
            L::Capabilities => &[L::Capabilities],
            L::Landlock => &[L::Landlock],
            L::Seccomp => &[L::Seccomp],
            L::Ids | L::NotDumpable | L::Session | L::Kernel => &[],
        }
    }
}

/// Takes `layer` out of `plan`.
pub fn weaken(plan: &mut Plan, layer: Layer, planted: &Planted) {
    match layer {
        L::PidNamespace => {
            drop_namespace(plan, Namespace::Pid);
            let proc = Path::new("/proc");
            plan.retain(|act| match act {
                Act::Proc | Act::UserCounts { .. } => false,
                Act::Mask { path, .. } | Act::ReadOnly { path } => !path.starts_with(proc),
                _ => true,
            });
        }
        L::Network => {
            drop_namespace(plan, Namespace::Net);
            plan.retain(|act| *act != Act::Loopback);
        }
        L::IpcNamespace => drop_namespace(plan, Namespace::Ipc),
        L::UtsNamespace => {
            drop_namespace(plan, Namespace::Uts);
            plan.retain(|act| !matches!(act, Act::Hostname { .. }));
        }
        L::CgroupNamespace => plan.retain(|act| *act != Act::CgroupNamespace),
        L::Root => plant::grant_outside(plan, planted),
        L::ReadOnly => regrant(plan, plant::READ_ONLY, |access| access.write = true),
        L::Noexec => regrant(plan, plant::NOEXEC, |access| access.code = Code::Execute),
        L::Seal => plan.retain(|act| *act != Act::Seal),
        L::Masks => plan.retain(|act| !matches!(act, Act::Mask { .. } | Act::ReadOnly { .. })),
        L::Environment => {
            plan.command
                .environment
                .insert(plant::VARIABLE.into(), b"canary".into());
        }
        L::Descriptors => {
            for act in plan.acts_mut().filter(|act| **act == Act::Descriptors) {
                *act = Act::Streams;
            }
        }
        L::Keyring => {
            plan.retain(|act| !matches!(act, Act::Keyring | Act::Seccomp | Act::SeccompDebug))
        }
        L::Rlimits => plan.retain(|act| !matches!(act, Act::ResourceLimit { .. })),
        L::Cgroup => plan.retain(|act| {
            !matches!(
                act,
                Act::Cgroup(_) | Act::JoinCgroup | Act::GroupView { .. }
            )
        }),
        L::Disk => {
            for act in plan.acts_mut() {
                if let Act::Tmpfs { bytes, inodes, .. } = act {
                    (*bytes, *inodes) = (512 << 20, 65_536);
                }
            }
        }
        L::Supervisor => {
            plan.command.watch.timeout = 3_600_000;
            plan.command.watch.output = 1 << 30;
        }
        L::Capabilities => plan.retain(|act| *act != Act::Capabilities),
        L::NoNewPrivileges => {
            plan.retain(|act| !matches!(act, Act::NoNewPrivileges | Act::Capabilities));
        }
        L::Landlock => plan.retain(|act| !matches!(act, Act::Landlock { .. })),
        L::Seccomp => plan.retain(|act| !matches!(act, Act::Seccomp | Act::SeccompDebug)),
        L::Ids | L::NotDumpable | L::Session | L::Kernel => {}
    }
}

fn drop_namespace(plan: &mut Plan, gone: Namespace) {
    for act in plan.acts_mut() {
        if let Act::Namespaces { which } = act {
            which.retain(|namespace| *namespace != gone);
        }
    }
}

fn regrant(plan: &mut Plan, place: &str, change: impl Fn(&mut creel_plan::Access)) {
    for act in plan.acts_mut() {
        if let Act::Bind {
            target,
            access,
            node: Node::Directory,
            owner: Owner::Host,
            ..
        } = act
            && target == Path::new(place)
        {
            change(access);
        }
    }
}
