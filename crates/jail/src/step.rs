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
    pub act: u32,
    pub work: W,
}

/// The number of the stdin step, which is no act: the plan does not know what stdin is.
pub const STDIN: u32 = u32::MAX - 1;

/// Options of a filesystem instance: key, value; an empty value is a flag.
pub type Options = Vec<(CString, CString)>;

/// A step that makes a jail. Paths are relative to the root under construction.
pub enum Build {
    Root {
        options: Options,
    },
    Directory {
        path: CString,
        mode: u32,
        owner: Option<(u32, u32)>,
    },
    Link {
        path: CString,
        target: CString,
    },
    File {
        path: CString,
        mode: u32,
        contents: Vec<u8>,
    },
    /// `over`: the inode that must be there, if the mount point comes from a granted tree.
    Tree {
        path: CString,
        at: Place,
        tree: Tree,
        attributes: u64,
        over: Option<Stat>,
    },
    Device {
        path: CString,
        source: CString,
        number: u64,
    },
    Instance {
        path: CString,
        at: Place,
        kind: CString,
        options: Options,
        attributes: u64,
    },
    Proc {
        options: Options,
        attributes: u64,
    },
    /// Files beneath the root, and what is written to each.
    UserCounts {
        files: [(&'static CStr, Vec<u8>); 2],
    },
    ReadOnly {
        path: CString,
    },
    Mask {
        path: CString,
        at: Place,
        node: Node,
        absent: IfAbsent,
        over: Option<Stat>,
    },
    /// Mounts a file of the jail's own over one of the host's.
    Trust {
        path: CString,
        at: Place,
        by: CString,
    },
    /// Covers the placeholder at `path`, which is `name` in `directory`.
    Withhold {
        path: CString,
        directory: CString,
        name: CString,
        by: StandIn,
        later: Later,
    },
    Hold {
        path: CString,
    },
    Stdin(Stdin),
    /// Opens the jail's own device in place of the host's.
    StdinDevice {
        path: CString,
        flags: OFlags,
    },
    Pivot,
    Seal,
    Hostname {
        name: CString,
    },
    Loopback,
    /// After `Loopback`: makes the relay's sockets in the jail's network and sends them to the relay.
    Egress(Sockets),
    /// After `Loopback`, whose helper shares this memory.
    Clocks,
    /// The parent has opened the `tasks` files.
    JoinCgroup,
    CgroupNamespace,
}

/// A step that a process takes to enter a jail. Paths are the jail's.
pub enum Enter {
    Keyring,
    Limit {
        limit: Resource,
        soft: u64,
        hard: u64,
    },
    Become {
        uid: u32,
        gid: u32,
    },
    Capabilities,
    NoNewPrivileges,
    NotDumpable,
    /// `anchors`: paths in the jail that have no inode before it exists.
    Landlock {
        rules: Option<Rules>,
        anchors: Vec<(CString, Rights, Node)>,
    },
    Terminal,
    /// For pid 1 only: waits until the relay serves its sockets.
    Served,
    Streams,
    Descriptors,
    Workdir {
        path: CString,
    },
    NoMemfd,
    Seccomp,
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
    Named { source: CString, stat: Stat },
    /// A control group, made after this step. It becomes one of the two above before the clone.
    Group(GroupView),
}

/// A command, for the process that becomes it.
pub struct Program {
    pub candidates: Vec<CString>,
    pub argv: CStrings,
    pub environment: CStrings,
    pub terminal: Terminal,
}

/// Pid 1's facts about the jail.
pub struct Household {
    /// The tmpfs mounts whose use is reported at the end.
    pub disks: Vec<CString>,
    /// Pid 1 reports the end here.
    pub board: Board,
    pub begins: Begins,
}

/// When pid 1 starts the first command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    AtOnce,
    /// When the janitor's watcher guards the denied names.
    WhenGuarded,
}
