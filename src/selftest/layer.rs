//! The layers of a jail, as the self-test tells them apart: what can stop an attempt.

/// A layer that can stop an attempt.
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
