//! A plan's acts, compiled for a process that may not allocate or decide: C strings, descriptors,
//! numbers.
//!
//! Two lists, as in the plan: [`Build`] steps make a jail, [`Enter`] steps bring a process into one, where it
//! becomes a command.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::OFlags;

use super::netns::Sockets;
use super::stdin::Stdin;
use creel_plan::paths::within;
use creel_plan::{Act, GroupView, IfAbsent, JailPlan, Later, Node, Resource, Rights, Terminal};
use creel_policy::protected_defaults::StandIn;
use creel_sys::fd::Stat;
use creel_sys::landlock::Rules;
use creel_sys::process::CStrings;
use creel_sys::shared::Board;

/// One act of the child and its number in the plan.
pub struct Step<W> {
    /// The number of the act in the plan, or [`STDIN`].
    pub act: u32,
    /// The compiled act: [`Build`] or [`Enter`].
    pub work: W,
}

/// The number of the stdin step, which is no act: the plan does not know what stdin is.
pub const STDIN: u32 = u32::MAX - 1;

/// Options of a filesystem instance: key, value; an empty value is a flag.
pub type Options = Vec<(CString, CString)>;

/// A step that makes a jail. Paths are relative to the root under construction.
pub enum Build {
    /// Makes the root: a tmpfs, attached on `/` and not yet entered.
    Root {
        /// `mode`, `size` in bytes, and `nr_inodes`.
        options: Options,
    },
    /// Makes a directory, mkdir(2).
    Directory {
        /// The parent exists already.
        path: CString,
        /// Permission bits, from which the umask of creel (022) is taken.
        mode: u32,
        /// User and group in the jail; `None` leaves the ids with which the root is built.
        owner: Option<(u32, u32)>,
    },
    /// Makes a symbolic link.
    Link {
        /// The place of the link.
        path: CString,
        /// Absolute, as seen inside the jail.
        target: CString,
    },
    /// Makes a regular file.
    File {
        /// The parent exists already.
        path: CString,
        /// Permission bits, from which the umask of creel (022) is taken.
        mode: u32,
        /// Written in one call; `ENOSPC` if the root has no room for them.
        contents: Vec<u8>,
    },
    /// Makes the client of a session and its socket, and sends the socket to the supervisor.
    Client {
        /// The program, which this step makes.
        program: CString,
        /// The socket, which this step makes.
        socket: CString,
    },
    /// `over`: the inode that must be there, if the mount point comes from a granted tree.
    Tree {
        /// The mount point, which exists.
        path: CString,
        /// The owner of the directory of the mount point.
        at: Place,
        /// The source of the mount.
        tree: Tree,
        /// `MOUNT_ATTR_*` of mount_setattr(2), for every mount in the tree.
        attributes: u64,
        /// See the variant; `ESTALE` if the mount point is another inode.
        over: Option<Stat>,
    },
    /// Mounts an overlay of a tree of the host, for a process that maps no ids.
    Overlay {
        /// The mount point, which exists.
        path: CString,
        /// The owner of the directory of the mount point.
        at: Place,
        /// The lower tree on the host, and its pinned inode; `ESTALE` if it leads to another.
        lower: (CString, Stat),
        /// The directory of the layers, and its pinned inode.
        layers: (CString, Stat),
        /// `MOUNT_ATTR_*` of fsmount(2).
        attributes: u64,
        /// The inode that must be there, if the mount point comes from a granted tree.
        over: Option<Stat>,
    },
    /// Mounts a character device of the host over an empty file.
    Device {
        /// The place of the file, which this step makes.
        path: CString,
        /// The device on the host, absolute.
        source: CString,
        /// The device number, makedev(3); `ENODEV` if `source` leads to another object.
        number: u64,
    },
    /// Mounts a new filesystem instance: a tmpfs or devpts.
    Instance {
        /// The mount point, which exists.
        path: CString,
        /// The owner of the directory of the mount point.
        at: Place,
        /// The type of the filesystem, filesystems(5).
        kind: CString,
        /// The options of the filesystem, tmpfs(5).
        options: Options,
        /// `MOUNT_ATTR_*` of mount_setattr(2).
        attributes: u64,
    },
    /// Makes the sources of the covers, and mounts a new procfs over them on `proc`.
    Proc {
        /// The options of the filesystem, proc(5).
        options: Options,
        /// `MOUNT_ATTR_*` of mount_setattr(2).
        attributes: u64,
    },
    /// Files beneath the root, and what is written to each.
    UserCounts {
        /// Path and text. A file that the kernel does not have is skipped.
        files: [(&'static CStr, Vec<u8>); 2],
    },
    /// Mounts the tree at a path over itself: read-only, nosuid, nodev and noexec.
    ReadOnly {
        /// A path in a mount that an earlier step made.
        path: CString,
    },
    /// Covers a path by an empty file or directory that no process can open.
    Mask {
        /// The path to hide.
        path: CString,
        /// The owner of the directory of the path.
        at: Place,
        /// The type of the path, and of its cover.
        node: Node,
        /// The reaction to an absent path: no cover, or `ENOENT`.
        absent: IfAbsent,
        /// The inode that must be there, if the path was pinned; else `ESTALE`.
        over: Option<Stat>,
    },
    /// Mounts a file of the jail's own over one of the host's.
    Trust {
        /// The file to cover.
        path: CString,
        /// The owner of the directory of the file.
        at: Place,
        /// The file of the jail, which an earlier step made.
        by: CString,
    },
    /// Waits until the janitor has made the placeholders of all absent names.
    AwaitNames,
    /// Covers the placeholder at `path`, which is `name` in `directory`.
    Withhold {
        /// The name to cover.
        path: CString,
        /// The parent of `path`.
        directory: CString,
        /// The last component of `path`.
        name: CString,
        /// The planned form of the placeholder. The placeholder on the host may have another.
        by: StandIn,
        /// The access to a file that the host makes under this name while the jail runs.
        later: Later,
    },
    /// Mounts a directory over itself, so that the jail cannot rename or remove it (`EBUSY`).
    Hold {
        /// A writable directory above a cover or a nested mount.
        path: CString,
    },
    /// Reopens the caller's file on stdin and sends the new descriptor to the supervisor.
    Stdin(Stdin),
    /// Opens the jail's own device in place of the host's.
    StdinDevice {
        /// The device in the jail, which an earlier step made.
        path: CString,
        /// The access mode of the caller's descriptor, with `O_CLOEXEC` and `O_NOCTTY`.
        flags: OFlags,
    },
    /// Enters the root and detaches the host's tree, pivot_root(2).
    Pivot,
    /// After `Pivot`: makes the mount of the root read-only.
    Seal,
    /// Sets the host name, sethostname(2).
    Hostname {
        /// At most 64 bytes.
        name: CString,
    },
    /// Joins the network namespace that a helper made, with loopback up.
    Loopback,
    /// After `Loopback`: makes the relay's sockets in the jail's network and sends them to the relay.
    Egress(Sockets),
    /// After `Loopback`, whose helper shares this memory.
    Clocks,
    /// The parent has opened the `tasks` files.
    JoinCgroup,
    /// Makes a cgroup namespace, whose roots are the groups of this process (cgroup_namespaces(7)).
    CgroupNamespace,
}

/// A step that a process takes to enter a jail. Paths are the jail's.
pub enum Enter {
    /// Joins a new, empty session keyring, keyctl(2).
    Keyring,
    /// Sets a resource limit, setrlimit(2).
    Limit {
        /// The resource, which determines the unit of both values.
        limit: Resource,
        /// The limit that the kernel enforces.
        soft: u64,
        /// The most to which a process of the jail can raise `soft`.
        hard: u64,
    },
    /// Changes to the user of the command and drops all supplementary groups; capabilities stay.
    Become {
        /// The user, in the jail.
        uid: u32,
        /// The group, in the jail.
        gid: u32,
    },
    /// Empties every capability set, capabilities(7).
    Capabilities,
    /// Sets `PR_SET_NO_NEW_PRIVS`, prctl(2).
    NoNewPrivileges,
    /// Makes this process not dumpable (`PR_SET_DUMPABLE`): the jail can neither trace nor inspect it.
    NotDumpable,
    /// `anchors`: paths in the jail that have no inode before it exists.
    Landlock {
        /// The rules for the pinned paths, to which the step adds the rest; `None` after the step.
        rules: Option<Rules>,
        /// Path, allowed access, and type.
        anchors: Vec<(CString, Rights, Node)>,
    },
    /// Opens a pseudoterminal of the jail's devpts, with the size of the caller's.
    Terminal,
    /// For pid 1 only: waits until the relay serves its sockets.
    Served,
    /// Sets descriptors 0 to 2, and moves the supervisor's socket to 3. Other descriptors stay open.
    Streams,
    /// As `Streams`, and closes every descriptor above 3.
    Descriptors,
    /// Changes to a directory. `ELOOP` for a magic link such as /proc/self/fd/7.
    Workdir {
        /// Absolute.
        path: CString,
    },
    /// Refuses memfd_create(2) with `EPERM`, by a seccomp filter.
    NoMemfd,
    /// Installs the seccomp filter of the jail, seccomp(2).
    Seccomp,
    /// As `Seccomp`, with the system calls that debuggers need.
    SeccompDebug,
}

/// The owner of the directory of a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This process made it, or it is procfs: no other process can have put a link there.
    Own,
    /// It is in a tree of the host, where another process could (CVE-2021-30465).
    Granted,
}

impl Place {
    /// The kind of place that `path` is in the plan.
    pub fn of(jail: &JailPlan, path: &Path) -> Place {
        let inside = jail.build.iter().any(|act| match act {
            Act::Bind { target, .. } => within(path, target) && path != target,
            _ => false,
        });
        if inside { Place::Granted } else { Place::Own }
    }
}

/// The source of a bound tree.
pub enum Tree {
    /// The parent, which may mount on the host, has made a detached mount of the pinned inode.
    Held(OwnedFd),
    /// The child resolves the name in its own copy of the mounts and compares it with what was
    /// pinned.
    Named {
        /// On the host, absolute.
        source: CString,
        /// The pinned inode; `ESTALE` if `source` leads to another.
        stat: Stat,
    },
    /// A control group, made after this step. It becomes one of the two above before the clone.
    Group(GroupView),
}

/// A command, for the process that becomes it.
pub struct Program {
    /// The absolute paths in the jail to execute, in order; absent ones are skipped, execvp(3).
    pub candidates: Vec<CString>,
    /// The arguments, from the name of the program on.
    pub argv: CStrings,
    /// `NAME=VALUE`; no other variable is passed on.
    pub environment: CStrings,
    /// Whether the streams are pipes or a terminal of the jail's own.
    pub terminal: Terminal,
}

/// Pid 1's facts about the jail.
pub struct Household {
    /// The tmpfs mounts whose use is reported at the end.
    pub disks: Vec<CString>,
    /// Pid 1 reports the end here.
    pub board: Board,
    /// When pid 1 starts the first command.
    pub begins: Begins,
    /// The end of the jail.
    pub stays: Stays,
}

/// How long a jail stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// It ends with its first command.
    WhileFirstRuns,
    /// It has no first command: it takes requests for commands until the supervisor ends it.
    UntilEnded,
}

/// When pid 1 starts the first command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// After the last step.
    AtOnce,
    /// When the janitor's watcher guards the denied names.
    WhenGuarded,
}
