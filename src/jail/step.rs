//! A plan's acts, compiled for a process that may not allocate or decide: C strings, descriptors,
//! numbers.

use std::ffi::CString;

use crate::plan::{IfAbsent, Node, Resource, Rights};
use crate::sys::fd::Stat;
use crate::sys::landlock::Rules;
use crate::sys::process::CStrings;

/// One act of the child's and which act of the plan it is.
pub struct Step {
    pub act: u32,
    pub work: Work,
}

/// Options of a filesystem instance: key, value; an empty value is a flag.
pub type Options = Vec<(CString, CString)>;

/// What to do. Paths are relative to the root under construction up to `Pivot`, absolute after it.
pub enum Work {
    Root { options: Options },
    Directory { path: CString, mode: u32, owner: Option<(u32, u32)> },
    Link { path: CString, target: CString },
    File { path: CString, mode: u32, contents: Vec<u8> },
    Tree { path: CString, tree: Tree, attributes: u64 },
    Device { path: CString, source: CString, number: u64 },
    Instance { path: CString, kind: CString, options: Options, attributes: u64 },
    ReadOnly { path: CString },
    Mask { path: CString, node: Node, absent: IfAbsent },
    Pivot,
    Seal,
    Hostname { name: CString },
    Loopback,
    JoinCgroup,
    Keyring,
    Limit { limit: Resource, soft: u64, hard: u64 },
    Become { uid: u32, gid: u32 },
    Capabilities,
    NoNewPrivileges,
    NotDumpable,
    /// `anchors`: paths in the jail that have no inode before it exists.
    Landlock { rules: Option<Rules>, anchors: Vec<(CString, Rights, Node)> },
    Terminal,
    Streams,
    Descriptors,
    Workdir { path: CString },
    Seccomp,
}

/// Where a bound tree comes from.
pub enum Tree {
    /// The parent, who may mount on the host, sends a detached mount of the pinned inode.
    Sent,
    /// The child resolves the name in its own copy of the mounts and compares it with what was
    /// pinned.
    Named { source: CString, stat: Stat },
}

/// What pid 1 executes.
pub struct Program {
    pub candidates: Vec<CString>,
    pub argv: CStrings,
    pub environment: CStrings,
    /// The tmpfs mounts whose use is reported at the end.
    pub disks: Vec<CString>,
}
