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
        /// The namespaces among the flags of clone3(2). The cgroup and the time namespace are acts of their
        /// own.
        which: Vec<Namespace>,
    },
    /// Writes the id maps of the user namespace, user_namespaces(7).
    MapIds(Ids),
    /// Makes the control group of the jail, with these limits.
    Cgroup(CgroupLimits),
    /// The jail's root: an empty tmpfs, not yet entered.
    Root {
        /// The `size` of tmpfs(5), bytes.
        bytes: u64,
        /// The `nr_inodes` of tmpfs(5).
        inodes: u64,
    },
    /// A directory of the jail's own. The jail's user owns it if it lies in that user's home; else its owner,
    /// in a jail with a range of ids, is an id that no process of the jail has.
    Directory {
        /// Absolute. The parent directory exists.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// Permission bits, inode(7).
        mode: u32,
        /// The owner in the jail.
        owner: DirOwner,
    },
    /// A symbolic link of the jail's own, symlink(7).
    Link {
        /// The link itself, absolute. Its parent directory exists.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The text of the link: absolute, or relative to the link's directory.
        #[serde(with = "lossless")]
        target: PathBuf,
    },
    /// A regular file of the jail's own, owned by the user that builds the jail.
    File {
        /// Absolute. The parent directory exists.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// Permission bits, inode(7).
        mode: u32,
        /// The whole contents. An empty file is a mount point.
        contents: String,
    },
    /// The client of a session, executable, and the socket at which the session's keeper hears it.
    Client {
        /// The program, absolute. Its directory exists, and no other file is in it.
        #[serde(with = "lossless")]
        program: PathBuf,
        /// The socket, absolute. Its directory exists.
        #[serde(with = "lossless")]
        socket: PathBuf,
    },
    /// The certificate of the jail's own authority, made when the relay starts, and a bundle of it with the
    /// host's certificates, once as PEM and once as a Java key store.
    Authority {
        /// The certificate of the authority, PEM.
        #[serde(with = "lossless")]
        certificate: PathBuf,
        /// The host's certificates, then that of the authority, PEM.
        #[serde(with = "lossless")]
        bundle: PathBuf,
        /// The certificates of `bundle` as a Java key store.
        #[serde(with = "lossless")]
        store: PathBuf,
    },
    /// A certificate file of the host, covered by one of these bundles.
    Trust {
        /// The host's file, by its path in the jail.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The jail's own bundle that is mounted over it: [`Act::Authority`].
        #[serde(with = "lossless")]
        by: PathBuf,
    },
    /// A tree or file of the host, at `target`.
    Bind {
        /// The real path on the host, absolute.
        #[serde(with = "lossless")]
        source: PathBuf,
        /// The mount point, absolute: the path of `source`, unless the policy or a flag maps that to another path.
        #[serde(with = "lossless")]
        target: PathBuf,
        /// The type of `source` and of the mount point.
        node: Node,
        /// The access through this mount.
        access: Access,
        /// The owners of its files, as the jail sees them.
        owner: Owner,
        /// Mounts in it that are left out, by their paths on the host; each is bound separately.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            with = "lossless::list"
        )]
        without: Vec<PathBuf>,
        /// A mount of the host in a granted tree, bound separately although no grant names it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unnamed: bool,
        /// If present, nothing that the jail writes reaches `source`: an overlay of it is mounted, and changes
        /// go to a layer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlay: Option<Overlay>,
        /// The grant; if several name the path, the one that gives most access.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A character device of the host, by its numbers.
    Device {
        /// The path of the device on the host and in the jail.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The major number, makedev(3). A device with other numbers at that path is an error.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A writable tmpfs of the jail's own: `/tmp`, `/dev/shm`, the home, a fresh workspace.
    Tmpfs {
        /// The mount point, absolute.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The `size` of tmpfs(5), bytes.
        bytes: u64,
        /// The `nr_inodes` of tmpfs(5).
        inodes: u64,
        /// Permission bits of its root directory. The jail's user owns it unless every user may write to it.
        mode: u32,
        /// Write access, and whether files in it may be executed.
        access: Access,
        /// The rule that makes it executable.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A devpts instance of the jail's own, on `/dev/pts`: pts(4).
    Devpts,
    /// The procfs of the jail's pid namespace, on `/proc`: proc(5).
    Proc,
    /// A control group, read-only, where programs look for their limits.
    GroupView {
        /// The mount point: `/sys/fs/cgroup` for v2, a controller's directory in it for v1.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The group whose directory is mounted there.
        group: GroupView,
    },
    /// Made read-only although its filesystem is writable.
    ReadOnly {
        /// The file or directory. Mounts beneath it become read-only, too.
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// `/proc/sys/user` of the jail's user namespace (namespaces(7)): limits for its users. They also count
    /// against the user who made the namespace.
    UserCounts {
        /// Instances for each user, `max_inotify_instances`: inotify(7).
        inotify_instances: u32,
        /// Watches for each user, `max_inotify_watches`.
        inotify_watches: u32,
    },
    /// Covered by an empty file or directory that no process may open.
    Mask {
        /// The covered path, absolute.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The type of the file at `path`, and of the cover.
        node: Node,
        /// The behaviour if no file is at `path`.
        absent: IfAbsent,
        /// The rule that denies or protects the path.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A name that is absent and that the jail cannot create: `by` is its read-only placeholder until the
    /// jail ends.
    Withhold {
        /// The absent name, absolute. Its parent directory exists.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The type of the placeholder. The placeholder of another run may have another type.
        by: StandIn,
        /// The treatment of a file that the host makes under this name while the jail runs.
        later: Later,
        /// The rule that denies or protects the name, or a path beneath it.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// A writable directory above a deny mount or a nested mount. It becomes a mount itself, so that the
    /// jail cannot rename it and put another in its place for the next run.
    Hold {
        /// The directory, absolute.
        #[serde(with = "lossless")]
        path: PathBuf,
        /// The rule of the deny mount or nested mount.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// pivot_root(2) into the jail's root, and detach the host's tree.
    Pivot,
    /// The root itself, read-only.
    Seal,
    /// Sets the host name of the UTS namespace, sethostname(2).
    Hostname {
        /// The host name: `creel`.
        name: String,
    },
    /// Brings up the loopback interface of the jail's network.
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
    /// Joins a new, empty session keyring, keyctl(2). The caller's keys are not inherited.
    Keyring,
    /// Sets a resource limit, setrlimit(2).
    ResourceLimit {
        /// The resource, which decides the unit of both limits.
        limit: Resource,
        /// The value that the kernel enforces.
        soft: u64,
        /// The ceiling to which a process may raise `soft`.
        hard: u64,
        /// The limit of the policy that it enforces.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rule")]
        rule: Option<Origin>,
    },
    /// Changes from the jail's root user to the user of the command.
    Become {
        /// The user id in the jail.
        uid: u32,
        /// The group id in the jail. Supplementary groups are cleared.
        gid: u32,
    },
    /// Empties all capability sets and locks the securebits, capabilities(7).
    Capabilities,
    /// Sets `no_new_privs`, `PR_SET_NO_NEW_PRIVS` of prctl(2).
    NoNewPrivileges,
    /// Clears the "dumpable" attribute, `PR_SET_DUMPABLE` of prctl(2): processes without capabilities over
    /// the host cannot trace the process.
    NotDumpable,
    /// `rules`: the access beneath each path; all other access is denied.
    Landlock {
        /// The ABI version, at least 1: that of the kernel, but at most `NEWEST_LANDLOCK_ABI`.
        abi: u32,
        /// Trees may overlap: a path has the rights of every rule above it.
        rules: Vec<LandlockRule>,
    },
    /// Opens a pseudoterminal in the jail's devpts, pty(7). `Descriptors` makes it the controlling terminal.
    Terminal,
    /// Sets up descriptors 0, 1 and 2 and leaves the others open. Only the self-test's weakened plans have
    /// it, in place of `Descriptors`.
    Streams,
    /// As `Streams`, and closes every other descriptor.
    Descriptors,
    /// Changes to the working directory, fchdir(2).
    Workdir {
        /// Absolute.
        #[serde(with = "lossless")]
        path: PathBuf,
    },
    /// memfd_create(2) is refused: its files lie on no mount, so neither noexec nor Landlock applies to
    /// them.
    NoMemfd,
    /// Installs the seccomp filter, an allowlist of system calls: seccomp(2).
    Seccomp,
    /// In place of `Seccomp`: the filter that lets debuggers trace, `process.debug`.
    SeccompDebug,
    /// Executes the command, execve(2): the candidates are tried in order, as execvp(3) does.
    Exec,
}

/// The place of the rule that asked for an act, of the acts that have one.
macro_rules! place_of_rule {
    ($act:expr) => {
        match $act {
            Act::Bind { rule, .. }
            | Act::Tmpfs { rule, .. }
            | Act::Mask { rule, .. }
            | Act::Withhold { rule, .. }
            | Act::Hold { rule, .. }
            | Act::ResourceLimit { rule, .. } => Some(rule),
            _ => None,
        }
    };
}

impl Act {
    /// The rule that asked for it.
    pub fn rule(&self) -> Option<&Origin> {
        place_of_rule!(self).and_then(Option::as_ref)
    }

    /// Forgets the rules that asked for it and for its parts.
    pub(super) fn forget_rules(&mut self) {
        match self {
            Act::Landlock { rules, .. } => rules.iter_mut().for_each(|one| one.rule = None),
            Act::Egress(egress) => egress.forget_rules(),
            act => {
                place_of_rule!(act).map(Option::take);
            }
        }
    }
}

/// A kind of namespace, namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// Ids and capabilities, user_namespaces(7).
    User,
    /// Mounts, mount_namespaces(7).
    Mount,
    /// Process ids, pid_namespaces(7). The first process in it is the jail's pid 1.
    Pid,
    /// Interfaces, routes, sockets: network_namespaces(7).
    Net,
    /// System V IPC and POSIX message queues, ipc_namespaces(7).
    Ipc,
    /// The host name, uts_namespaces(7).
    Uts,
}

/// The ids of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Ids {
    /// Ids 0 to `count`-1 map to a range of host ids that no other jail has.
    Range {
        /// The number of user ids, and of group ids.
        count: u32,
    },
    /// The jail's only ids are the caller's own.
    Caller {
        /// The caller's effective user id, in the jail and on the host.
        uid: u32,
        /// The caller's effective group id, in the jail and on the host.
        gid: u32,
    },
    /// Without idmapped mounts: the jail's user is the workspace's owner on the host.
    Shared {
        /// The owner's user id on the host.
        uid: u32,
        /// The owner's group id on the host.
        gid: u32,
    },
}

/// Cgroup limits, in bytes and thousandths of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// Bytes of memory: `memory.max`; v1: `memory.limit_in_bytes`.
    pub memory: u64,
    /// Bytes from which the kernel throttles and reclaims: `memory.high`. Not used with v1.
    pub memory_high: u64,
    /// Bytes of TCP and UDP socket buffers, if the kernel counts them separately from `memory`: cgroup v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    /// Thousandths of a processor: 1500 is one and a half.
    pub cpu_milli: u32,
    /// Processes and threads, with creel's own pid 1: `pids.max`.
    pub pids: u64,
}

/// The group that a jail sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum GroupView {
    /// The jail's own group in the v2 hierarchy.
    V2,
    /// The jail's own group in the v1 hierarchy of a controller.
    V1 {
        /// `memory`, `cpu` or `pids`.
        controller: String,
    },
    /// A shared group without a limit, in a v1 hierarchy in which jails have no group of their own.
    /// Runtimes assume that v1 is absent unless memory, cpu, cpuacct and cpuset are mounted, and fail if
    /// they have no group there.
    Shared {
        /// `cpuacct` or `cpuset`.
        controller: String,
    },
}

/// The type of a file, as far as mounts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// A directory.
    Directory,
    /// Any other file: a regular one, a socket, a device.
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
    /// The mask is left out.
    Skip,
    /// The jail is not made.
    Refuse,
}

/// The layers over a tree of the host: overlayfs, Documentation/filesystems/overlayfs.rst.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The directory on the host that has the layers: `upper` with the changes, `work` for the kernel, `denied`
    /// with a whiteout for each hidden name. Empty in a plan that is only displayed.
    #[serde(with = "lossless")]
    pub changes: PathBuf,
    /// Denied names beneath the tree, absolute. Each is absent in the jail, whatever the host renames.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        with = "lossless::list"
    )]
    pub hidden: Vec<PathBuf>,
}

/// The access that a mount and its Landlock rule allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    /// Whether files may be written, made and removed.
    pub write: bool,
    /// Whether files may be executed or mapped as code.
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
    /// Executed, or mapped as code.
    Execute,
}

/// The owners of files in a bound tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// As on the host; owners outside the jail's range show as nobody.
    Host,
    /// The owner of the granted directory is the jail's user, by an idmapped mount.
    Mapped {
        /// The owner's user id on the host.
        uid: u32,
        /// The owner's group id on the host.
        gid: u32,
    },
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

/// A rule of a Landlock ruleset, landlock_add_rule(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRule {
    /// Absolute, in the jail. [`JailPlan::on_host`](super::JailPlan::on_host) has its path on the host.
    #[serde(with = "lossless")]
    pub path: PathBuf,
    /// The type of `path`. A file gets only the rights that apply to files.
    pub node: Node,
    /// The access that the rule adds.
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
    /// The user that builds the jail: its root user, or its only user if it has no range of ids.
    Root,
    /// The user of the command.
    User,
}
