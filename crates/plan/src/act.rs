//! The acts that a plan is made of: kernel acts as data, in the words in which a plan is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{egress, lossless};
use creel_policy::trust::StandIn;

/// One act of the kernel. Paths are the jail's unless they are called `source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Act {
    /// clone3 with these.
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
    /// Owned by the jail's user where it lies in a tree of that user's, else by nobody who runs.
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
    /// The certificate of the jail's own authority, made when the relay starts, and the host's
    /// certificates together with it, once as PEM and once as Java reads them.
    Authority {
        #[serde(with = "lossless")]
        certificate: PathBuf,
        #[serde(with = "lossless")]
        bundle: PathBuf,
        #[serde(with = "lossless")]
        store: PathBuf,
    },
    /// A file of the host's certificates, covered by one of these.
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
        /// Places in it whose mounts do not come with it: each is bound by itself.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            with = "lossless::list"
        )]
        without: Vec<PathBuf>,
        /// A mount of the host's in a granted tree, bound by itself without a policy's word.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unnamed: bool,
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
    },
    Devpts,
    Proc,
    /// A control group, read-only, where programs look for their limits.
    GroupView {
        #[serde(with = "lossless")]
        path: PathBuf,
        group: GroupView,
    },
    /// Read-only although its filesystem is writable.
    ReadOnly {
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// Of the jail's user namespace, `/proc/sys/user` (namespaces(7)): what its users may have. They
    /// count for who made it too.
    UserCounts {
        inotify_instances: u32,
        inotify_watches: u32,
    },
    /// Covered by something empty that nobody may open.
    Mask {
        #[serde(with = "lossless")]
        path: PathBuf,
        node: Node,
        absent: IfAbsent,
    },
    /// A name that is absent and cannot be created: `by` stands for it until the jail ends, and is
    /// read-only.
    Withhold {
        #[serde(with = "lossless")]
        path: PathBuf,
        by: StandIn,
        /// What the host makes under this name while the jail runs.
        later: Later,
    },
    /// A writable directory above one that is covered or mounted: itself a mount, so that the jail
    /// cannot rename it and put another in its place for the next run.
    Hold {
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// Makes the root the root and lets the host's tree go.
    Pivot,
    /// The root itself, read-only.
    Seal,
    Hostname {
        name: String,
    },
    Loopback,
    /// Every address is local, and the relay listens: its sockets are made here and given to it.
    Egress(Box<egress::Egress>),
    /// A time namespace in which the monotonic and the boot clock start at zero.
    Clocks,
    /// cgroup v1: the child writes itself into its groups.
    JoinCgroup,
    /// A cgroup namespace: the groups that the child is in are the roots of what the jail is told
    /// (cgroup_namespaces(7)).
    CgroupNamespace,
    Keyring,
    ResourceLimit {
        limit: Resource,
        soft: u64,
        hard: u64,
    },
    /// From the jail's root user to the user that the command runs as.
    Become {
        uid: u32,
        gid: u32,
    },
    Capabilities,
    NoNewPrivileges,
    NotDumpable,
    /// `rules`: what may be done beneath each path; the rest is denied.
    Landlock {
        abi: u32,
        rules: Vec<LandlockRule>,
    },
    Terminal,
    /// 0, 1 and 2 are what the command gets; what else is open stays. Only the self-test's weakened
    /// plans have it, in the place of `Descriptors`.
    Streams,
    /// As `Streams`, and nothing else stays open.
    Descriptors,
    Workdir {
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// memfd_create(2) is refused: what it makes lies on no mount, and neither noexec nor Landlock
    /// reaches it.
    NoMemfd,
    Seccomp,
    /// In the place of `Seccomp`: the filter that lets debuggers trace, `process.debug`.
    SeccompDebug,
    Exec,
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

/// Which ids the jail has.
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

/// What the cgroup enforces; bytes, thousandths of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    pub memory: u64,
    pub memory_high: u64,
    /// Buffers of TCP and UDP sockets, where the kernel counts them beside `memory`: cgroup v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    pub cpu_milli: u32,
    pub pids: u64,
}

/// Which group a jail sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum GroupView {
    /// The jail's own, of the v2 hierarchy.
    V2,
    /// The jail's own, of the v1 hierarchy of a controller.
    V1 { controller: String },
    /// One that all jails are in, without a limit, of a v1 hierarchy in which none has its own: runtimes take
    /// v1 for absent unless memory, cpu, cpuacct and cpuset are mounted, and fail where they are in none.
    Shared { controller: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    Directory,
    File,
}

/// What becomes of a file that the host puts where a name is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Later {
    /// Covered: the name is denied.
    Denied,
    /// Read-only: the name is protected.
    ReadOnly,
}

/// What a mask on a path that is not there means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfAbsent {
    Skip,
    Refuse,
}

/// What a mount and its Landlock rule allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    pub write: bool,
    pub code: Code,
}

/// What the bytes of a file may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Neither executed nor mapped as code: its mount is noexec.
    Data,
    /// Mapped as code by a program that loads it; not executed (Landlock).
    Load,
    Execute,
}

/// Whose files a bound tree shows.
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
    /// Queued signals and POSIX timers of a user of the jail's user namespace.
    PendingSignals = 11,
    /// Processes and threads of the user at once, counted in the jail's own user namespace.
    Processes = 6,
    /// How far a process may better its nice value: to 20 less this.
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
}

/// What may be done beneath a path.
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

/// Who owns a directory that creel makes in the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirOwner {
    Root,
    User,
}
