//! The machine as a value: what `jail::probe` found, or a fixture that describes another one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Node;
use super::identity::Identity;

/// Everything about a machine and a caller that a plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    pub id_mode: IdMode,
    pub uid: u32,
    pub gid: u32,
    /// The caller's home by the account database, or by `HOME` where the account is not in it and that counts
    /// ([`home_of`](creel_sys::host::home_of)).
    pub home: Option<PathBuf>,
    /// The caller's working directory.
    pub cwd: PathBuf,
    /// 0: the kernel has no Landlock.
    pub landlock_abi: u32,
    pub cgroups: CgroupLayout,
    /// The caller's own ceiling for `RLIMIT_NOFILE`.
    pub open_files_ceiling: u64,
    /// Every path that the policy and the request name.
    pub paths: BTreeMap<PathBuf, Fact>,
    pub found: Found,
}

/// What was read of the files that the policy names; only what it needs is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// By real path, what a program that may be executed is.
    pub programs: BTreeMap<PathBuf, Image>,
    /// By real path, what a tree that may be loaded from holds.
    pub load_trees: BTreeMap<PathBuf, LoadTree>,
    /// Files with a second name, which no mount over the first one covers.
    pub hard_linked: BTreeSet<PathBuf>,
    /// Files of linked worktrees that lead git to configuration and hooks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub worktrees: BTreeSet<PathBuf>,
    /// What git on the host obeys though no policy names it, and whose word leads there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub obeyed: BTreeMap<PathBuf, Obeyed>,
    /// Directories without which git takes another directory for the repository.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pinned: BTreeSet<PathBuf>,
    /// What could not be looked at of that, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// Protected trees with more entries than are looked at for such files.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub too_many: BTreeSet<PathBuf>,
    /// Where directories really are out of which a grant must not lead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<PathBuf, PathBuf>,
    /// By place, mounts in trees to be mapped that the kernel maps no owners of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unmapped: BTreeMap<PathBuf, Unmapped>,
    /// Whose commits a jail's are, where the policy asks.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
    /// Where the next run would look for policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<Seat>,
    /// Names that count as absent, by what is there: a placeholder of another run, or of who forged one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stood: BTreeMap<PathBuf, Stood>,
    /// What the policies' patterns meet, by [`creel_policy::expand::Wanted::key`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub globs: BTreeMap<String, Vec<String>>,
}

/// A directory in which policies are looked for, there or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Without links, as far as it is there.
    pub path: PathBuf,
    /// Links that its name leads through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PathBuf>,
}

/// What stands for an absent name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    pub real: PathBuf,
    pub node: Node,
}

/// A mount whose filesystem has no idmapped mounts, or that is an idmapped mount already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmapped {
    /// The filesystem's type.
    pub kind: String,
    pub node: Node,
}

/// Why a path is obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// The place that names it: `core.hookspath in /w/.git/config:5`, `the link /w/.git/hooks/x`.
    pub by: String,
    /// Links that the name leads through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PathBuf>,
    /// What may stand there while it is absent, so that who obeys it goes on: an empty file or directory.
    pub stands: Node,
}

/// What a program's file is, execve(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Image {
    /// `missing`: names of libraries that are nowhere.
    Elf {
        loads: Vec<Piece>,
        missing: Vec<String>,
    },
    /// `interpreter`: as its first line names it.
    Script { interpreter: PathBuf },
    /// Neither.
    Other,
    /// The caller may not read it.
    Unreadable,
}

/// A file that a program needs in order to start: its loader, a library, the loader's cache; and what
/// its libc opens later by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// As the loader finds it; a fact of the host's has where that leads.
    pub name: PathBuf,
    pub role: Role,
    pub named_by: NamedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Loader,
    Library,
    Cache,
    /// The directory of libc's converters, iconv(3).
    Converters,
}

/// Whose word led to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedBy {
    /// It lies where the system's loader looks.
    System,
    /// A path in the program or in a library of its.
    Program,
}

/// What lies in a tree from which programs may load code. A loader executes whatever it can map, so
/// such a tree may hold libraries only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum LoadTree {
    /// `loads`: what they need from elsewhere.
    Libraries { loads: Vec<Piece> },
    /// The first program in it.
    Holds { program: PathBuf },
    /// More files than are looked at.
    TooLarge { most: usize },
}

/// Whether the caller may map ids and mounts for the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdMode {
    Privileged,
    Rootless,
}

/// How cgroups are mounted, and where this process may make its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version", rename_all = "kebab-case")]
pub enum CgroupLayout {
    /// One v2 hierarchy; groups go below `parent`, which may not exist yet.
    V2 { parent: PathBuf },
    /// Controllers on v1 hierarchies; `unified`: a v2 one beside them, for kill and birth.
    V1 {
        root: PathBuf,
        unified: Option<PathBuf>,
        /// Controllers on hierarchies of their own in which jails have no group, of those that
        /// programs look for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        beside: Vec<String>,
    },
    /// One v2 hierarchy, and none of its groups is the caller's; but there is a user's bus, at this
    /// D-Bus address, on which systemd's manager may be asked for a group when the jail is made.
    OnRequest { bus: String },
    /// None that this process may use, and why.
    Unusable {
        why: String,
        #[serde(default)]
        lacks: Lacks,
    },
}

/// The obstacle between a process and a cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lacks {
    /// A v2 hierarchy at the usual place.
    #[default]
    Hierarchy,
    /// The v1 hierarchies would have to be a v2 one: nobody can delegate them.
    V2,
    /// A manager of the user's that can be asked, or one that gives what it is asked for.
    Manager,
    /// The hierarchy is mounted read-only, as containers have it.
    Writable,
    /// The group of this container has processes of its own, and so gives its children no controllers.
    Leaf,
    /// The process is the host's root without its capabilities.
    Capabilities,
    /// The process is root, but not the host's: the groups are another's.
    HostsRoot,
}

impl Lacks {
    /// Words the remedy, for a user of this kind.
    pub fn remedy(self, id_mode: IdMode) -> &'static str {
        match (id_mode, self) {
            (_, Lacks::Writable) => {
                "have it mounted writable (docker run --privileged, podman run --security-opt unmask=/sys/fs/cgroup)"
            }
            (_, Lacks::Leaf) => {
                "move them to a group below it: mkdir /sys/fs/cgroup/init && xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs"
            }
            (_, Lacks::Capabilities) => "let it keep them: CAP_SYS_ADMIN and CAP_NET_ADMIN",
            (_, Lacks::HostsRoot) => "run creel outside of the container or user namespace",
            (IdMode::Privileged, _) | (IdMode::Rootless, Lacks::Hierarchy) => {
                "mount cgroup2 on /sys/fs/cgroup"
            }
            (IdMode::Rootless, Lacks::V2) => {
                "run it as root, or boot with systemd.unified_cgroup_hierarchy=1"
            }
            (IdMode::Rootless, Lacks::Manager) => {
                "let this user have a systemd manager with delegated controllers (a login session, or `loginctl enable-linger`)"
            }
        }
    }
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Fact {
    Absent,
    /// Exists, but this caller may not look.
    Denied,
    Present {
        /// With every symbolic link resolved.
        real: PathBuf,
        node: Node,
        uid: u32,
        gid: u32,
        /// The last component is a symbolic link.
        link: bool,
        idmap: Idmap,
    },
    /// A socket, a device, a pipe.
    Special,
}

/// Whether the filesystem of a path can be mounted with mapped owners. Looked up for writable
/// grants of a privileged run only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idmap {
    Unasked,
    Works,
    Refused,
}

/// Nobody looked at a path. It may be there or not: no plan is made on a guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "nobody looked at {} on this host, and the plan depends on it; a description of a host is for one policy: make it anew with this one. Without one, this is a defect of creel: please report it",
    path.display()
)]
pub struct Unasked {
    pub path: PathBuf,
}

impl Host {
    /// What is known of `path`, which must have been asked for.
    pub fn fact(&self, path: &Path) -> Result<&Fact, Unasked> {
        self.paths
            .get(path)
            .ok_or_else(|| Unasked { path: path.into() })
    }
}
