//! The acts of a plan: kernel acts as data, in the form in which a plan is stored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{egress, lossless, rule};
use creel_policy::Origin;
use creel_policy::protected_defaults::StandIn;

/// One kernel act. Paths are paths in the jail, except `source`. `rule` is the line of a policy, or the flag,
/// that asked for the act; it is `None` for what every jail has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// clone3 with these namespaces.
    Namespaces {
        which: Vec<Namespace>,
    },
    MapIds(Ids),
    Cgroup(CgroupLimits),
    /// The jail's root: an empty tmpfs, not yet entered.
    Root {
        bytes: u64,
        inodes: u64,
    },
    /// Owned by the jail's user if it lies in a tree of that user, else by an id that no process of the
    /// jail has.
    Directory {
        #[serde(with = "lossless")]
        path: PathBuf,
        mode: u32,
        owner: DirOwner,
    },
    Link {
        #[serde(with = "lossless")]
        path: PathBuf,
        #[serde(with = "lossless")]
        target: PathBuf,
    },
    File {
        #[serde(with = "lossless")]
        path: PathBuf,
        mode: u32,
        contents: String,
    },
    /// The certificate of the jail's own authority, made when the relay starts, and a bundle of it with the
    /// host's certificates, once as PEM and once as a Java key store.
    Authority {
        #[serde(with = "lossless")]
        certificate: PathBuf,
        #[serde(with = "lossless")]
        bundle: PathBuf,
        #[serde(with = "lossless")]
        store: PathBuf,
    },
    /// A certificate file of the host, covered by one of these bundles.
    Trust {
        #[serde(with = "lossless")]
        path: PathBuf,
        #[serde(with = "lossless")]
        by: PathBuf,
    },
    /// A tree or file of the host, at `target`.
    Bind {
        #[serde(with = "lossless")]
        source: PathBuf,
        #[serde(with = "lossless")]
        target: PathBuf,
        node: Node,
        access: Access,
        owner: Owner,
        /// Mounts in it that are left out; each is bound separately.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            with = "lossless::list"
        )]
        without: Vec<PathBuf>,
        /// A mount of the host in a granted tree, bound separately although no grant names it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unnamed: bool,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A character device of the host, by its numbers.
    Device {
        #[serde(with = "lossless")]
        path: PathBuf,
        major: u32,
        minor: u32,
    },
    Tmpfs {
        #[serde(with = "lossless")]
        path: PathBuf,
        bytes: u64,
        inodes: u64,
        mode: u32,
        access: Access,
        /// The rule that makes it executable.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    Devpts,
    Proc,
    /// A control group, read-only, where programs look for their limits.
    GroupView {
        #[serde(with = "lossless")]
        path: PathBuf,
        group: GroupView,
    },
    /// Made read-only although its filesystem is writable.
    ReadOnly {
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// `/proc/sys/user` of the jail's user namespace (namespaces(7)): limits for its users. They also count
    /// against the user who made the namespace.
    UserCounts {
        inotify_instances: u32,
        inotify_watches: u32,
    },
    /// Covered by an empty file or directory that no process may open.
    Mask {
        #[serde(with = "lossless")]
        path: PathBuf,
        node: Node,
        absent: IfAbsent,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A name that is absent and that the jail cannot create: `by` is its read-only placeholder until the
    /// jail ends.
    Withhold {
        #[serde(with = "lossless")]
        path: PathBuf,
        by: StandIn,
        /// The treatment of a file that the host makes under this name while the jail runs.
        later: Later,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A writable directory above a deny mount or a nested mount. It becomes a mount itself, so that the
    /// jail cannot rename it and put another in its place for the next run.
    Hold {
        #[serde(with = "lossless")]
        path: PathBuf,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// pivot_root(2) into the jail's root, and detach the host's tree.
    Pivot,
    /// The root itself, read-only.
    Seal,
    Hostname {
        name: String,
    },
    Loopback,
    /// Makes every address local and starts the relay: its sockets are made in the jail and passed to it.
    Egress(Box<egress::Egress>),
    /// A time namespace in which the monotonic and the boot clock start at zero.
    Clocks,
    /// cgroup v1: the child writes itself into its groups.
    JoinCgroup,
    /// A cgroup namespace: the child's groups become the roots of the hierarchies that the jail sees
    /// (cgroup_namespaces(7)).
    CgroupNamespace,
    Keyring,
    ResourceLimit {
        limit: Resource,
        soft: u64,
        hard: u64,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// Changes from the jail's root user to the user of the command.
    Become {
        uid: u32,
        gid: u32,
    },
    Capabilities,
    NoNewPrivileges,
    NotDumpable,
    /// `rules`: the access beneath each path; all other access is denied.
    Landlock {
        abi: u32,
        rules: Vec<LandlockRule>,
    },
    Terminal,
    /// Sets up descriptors 0, 1 and 2 and leaves the others open. Only the self-test's weakened plans have
    /// it, in place of `Descriptors`.
    Streams,
    /// As `Streams`, and closes every other descriptor.
    Descriptors,
    Workdir {
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// memfd_create(2) is refused: its files lie on no mount, so neither noexec nor Landlock applies to
    /// them.
    NoMemfd,
    Seccomp,
    /// In place of `Seccomp`: the filter that lets debuggers trace, `process.debug`.
    SeccompDebug,
    Exec,
}

impl Act {
    /// The rule that asked for it.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            Act::Bind { rule, .. }
            | Act::Tmpfs { rule, .. }
            | Act::Mask { rule, .. }
            | Act::Withhold { rule, .. }
            | Act::Hold { rule, .. }
            | Act::ResourceLimit { rule, .. } => rule.as_ref(),
            _ => None,
        }
    }

    /// Forgets the rules that asked for it and for its parts.
    pub(super) fn forget_rules(&mut self) {
        match self {
            Act::Bind { rule, .. }
            | Act::Tmpfs { rule, .. }
            | Act::Mask { rule, .. }
            | Act::Withhold { rule, .. }
            | Act::Hold { rule, .. }
            | Act::ResourceLimit { rule, .. } => *rule = None,
            Act::Landlock { rules, .. } => rules.iter_mut().for_each(|one| one.rule = None),
            Act::Egress(egress) => egress.forget_rules(),
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    User,
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
}

/// The ids of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Ids {
    /// Ids 0 to `count`-1 map to a range of host ids that no other jail has.
    Range { count: u32 },
    /// The jail's only ids are the caller's own.
    Caller { uid: u32, gid: u32 },
    /// Without idmapped mounts: the jail's user is the workspace's owner on the host.
    Shared { uid: u32, gid: u32 },
}

/// Cgroup limits, in bytes and thousandths of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    pub memory: u64,
    pub memory_high: u64,
    /// Bytes of TCP and UDP socket buffers, if the kernel counts them separately from `memory`: cgroup v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    pub cpu_milli: u32,
    pub pids: u64,
}

/// The group that a jail sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum GroupView {
    /// The jail's own group in the v2 hierarchy.
    V2,
    /// The jail's own group in the v1 hierarchy of a controller.
    V1 { controller: String },
    /// A shared group without a limit, in a v1 hierarchy in which jails have no group of their own.
    /// Runtimes assume that v1 is absent unless memory, cpu, cpuacct and cpuset are mounted, and fail if
    /// they have no group there.
    Shared { controller: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    Directory,
    File,
}

/// The treatment of a file that the host creates under a withheld name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Later {
    /// Covered: the name is denied.
    Denied,
    /// Read-only: the name is protected.
    ReadOnly,
}

/// The behaviour if the path of a mask is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfAbsent {
    Skip,
    Refuse,
}

/// The access that a mount and its Landlock rule allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    pub write: bool,
    pub code: Code,
}

/// How the contents of a file may be used as code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Neither executed nor mapped as code: its mount is noexec.
    Data,
    /// Mapped as code by a program that loads it; not executed (Landlock).
    Load,
    Execute,
}

/// The owners of files in a bound tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// As on the host; owners outside the jail's range show as nobody.
    Host,
    /// The owner of the granted directory is the jail's user, by an idmapped mount.
    Mapped { uid: u32, gid: u32 },
}

/// The kernel's names without their prefix, and its numbers: setrlimit(2), asm-generic/resource.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u32)]
pub enum Resource {
    /// Seconds of processor time of one process; SIGXCPU at the soft, SIGKILL at the hard limit.
    Cpu = 0,
    /// Bytes of one file; SIGXFSZ.
    FileSize = 1,
    /// Descriptors.
    OpenFiles = 7,
    /// Bytes of a core dump.
    Core = 4,
    /// Bytes of locked memory.
    MemLock = 8,
    /// Bytes in POSIX message queues.
    MessageQueue = 12,
    /// Queued signals and POSIX timers of a user in the jail's user namespace.
    PendingSignals = 11,
    /// Processes and threads of the user at once, counted in the jail's own user namespace.
    Processes = 6,
    /// The best nice value that a process may set: 20 minus this.
    Nice = 13,
    /// The highest real-time priority that a process may take.
    RealTime = 14,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRule {
    #[serde(with = "lossless")]
    pub path: PathBuf,
    pub node: Node,
    pub rights: Rights,
    /// The rule of the policy that it comes from; `None` for what every jail has.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
    pub rule: Option<Origin>,
}

/// The access allowed beneath a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rights {
    /// List directories; nothing else.
    List,
    /// Read files and list directories.
    Read,
    /// `Read`, and execute.
    Execute,
    /// Everything but execute and device nodes.
    Write,
    /// `Write`, and execute.
    WriteExecute,
    /// `Read`, write to what exists, and ioctl on devices: `/dev`, `/proc`.
    Use,
    /// Connect and send to a socket (Landlock ABI 9); nothing else.
    Connect,
}

impl From<Access> for Rights {
    fn from(access: Access) -> Rights {
        match (access.write, access.code) {
            (false, Code::Data | Code::Load) => Rights::Read,
            (false, Code::Execute) => Rights::Execute,
            (true, Code::Data | Code::Load) => Rights::Write,
            (true, Code::Execute) => Rights::WriteExecute,
        }
    }
}

/// The owner of a directory that creel makes in the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirOwner {
    Root,
    User,
}
