//! The machine as a value: the result of `jail::probe`, or a fixture that describes another machine.

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
    /// The rights of the caller over ids and mounts.
    pub id_mode: IdMode,
    /// The caller's effective user id.
    pub uid: u32,
    /// The caller's effective group id.
    pub gid: u32,
    /// The caller's home from the account database. If the account is not in it, `HOME` is used where it
    /// can be trusted (`home_of` of creel-sys).
    pub home: Option<PathBuf>,
    /// The caller's working directory.
    pub cwd: PathBuf,
    /// 0 if the kernel has no Landlock.
    pub landlock_abi: u32,
    /// The cgroup hierarchies, and the place for the jail's group.
    pub cgroups: CgroupLayout,
    /// The caller's own ceiling for `RLIMIT_NOFILE`.
    pub open_files_ceiling: u64,
    /// Every path that the policy and the request name.
    pub paths: BTreeMap<PathBuf, Fact>,
    /// The results of the other lookups.
    pub found: Found,
}

/// Facts about the files that the policy names; only those that it needs are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Executable programs, by real path.
    pub programs: BTreeMap<PathBuf, Image>,
    /// Contents of trees that programs may load from, by real path.
    pub load_trees: BTreeMap<PathBuf, LoadTree>,
    /// Files with a second hard link, which a mount over the first name does not cover.
    pub hard_linked: BTreeSet<PathBuf>,
    /// Files of linked worktrees that point git to configuration and hooks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub worktrees: BTreeSet<PathBuf>,
    /// Paths that git on the host obeys though no policy names them, and the setting or link that names
    /// them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub obeyed: BTreeMap<PathBuf, Obeyed>,
    /// Directories that git needs to recognise a repository; without them it takes another directory for
    /// it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pinned: BTreeSet<PathBuf>,
    /// Obeyed paths that could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// Protected trees with too many entries to search them for hard-linked files.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub too_many: BTreeSet<PathBuf>,
    /// The real paths of the base directories that a grant must not leave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<PathBuf, PathBuf>,
    /// Mounts in trees to be idmapped that the kernel cannot idmap, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unmapped: BTreeMap<PathBuf, Unmapped>,
    /// The git identity of a jail's commits, if the policy asks for it.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
    /// The directories in which the next run would look for policies.
    #[serde(default, alias = "seats", skip_serializing_if = "Vec::is_empty")]
    pub search_dirs: Vec<SearchDir>,
    /// Named paths that lead through symbolic links: the place of each, and the links on the way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub through: BTreeMap<PathBuf, SearchDir>,
    /// Names that count as absent although a placeholder is there: one of another run, or a forged one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stood: BTreeMap<PathBuf, Stood>,
    /// Names that the policies' patterns match, by [`creel_policy::expand::Wanted::key`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub globs: BTreeMap<String, Vec<String>>,
    /// The number of directory entries that were read to find these names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob_entries: Option<usize>,
}

/// A policy search directory, or another named path, which may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchDir {
    /// The path with links resolved, as far as it exists.
    pub path: PathBuf,
    /// Links on the way to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PathBuf>,
}

/// The placeholder of an absent name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// The placeholder's path on the host with links resolved.
    pub real: PathBuf,
    /// The type of the placeholder; a socket counts as a file.
    pub node: Node,
}

/// A mount whose filesystem does not support idmapped mounts, or that is an idmapped mount already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmapped {
    /// The filesystem's type.
    pub kind: String,
    /// The type of the mount's root.
    pub node: Node,
}

/// Why the host's git obeys a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// The setting or link that names it: `core.hookspath in /w/.git/config:5`, `the link /w/.git/hooks/x`.
    pub by: String,
    /// Links on the way to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PathBuf>,
    /// The placeholder while it is absent, with which git keeps working: an empty file or directory.
    pub stands: Node,
}

/// The type of a program's file, execve(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Image {
    /// A 64-bit ELF file.
    Elf {
        /// The files that it needs, directly or through its libraries.
        loads: Vec<Piece>,
        /// Libraries as the ELF files name them, `libx.so.1`, or the path of the loader.
        missing: Vec<String>,
    },
    /// A script with a `#!` line.
    Script {
        /// The interpreter as the first line names it.
        interpreter: PathBuf,
    },
    /// Neither an ELF file nor a script.
    Other,
    /// The caller may not read it.
    Unreadable,
}

/// A file that a program needs in order to start (its loader, a library, the loader's cache), or that its
/// libc opens later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The path at which the loader finds it; the fact for that path has its real path.
    pub name: PathBuf,
    /// The use that the program has for it.
    pub role: Role,
    /// The way in which the lookup found it.
    pub named_by: NamedBy,
}

/// The use of a file that a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The dynamic loader, the `PT_INTERP` of elf(5): ld.so(8).
    Loader,
    /// A shared library.
    Library,
    /// The loader's cache, `/etc/ld.so.cache`: ldconfig(8).
    Cache,
    /// The directory of libc's character-set converters, iconv(3).
    Converters,
}

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedBy {
    /// It lies in a directory that the system's loader searches.
    System,
    /// A path in the program or in one of its libraries names it.
    Program,
}

/// The contents of a tree from which programs may load code. A loader executes anything that it can map, so
/// such a tree may hold libraries only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum LoadTree {
    /// No ELF program lies in it.
    Libraries {
        /// Files that the libraries need from elsewhere.
        loads: Vec<Piece>,
    },
    /// An ELF program lies in it.
    Holds {
        /// The first program that the search found.
        program: PathBuf,
    },
    /// More files than the limit for a search.
    TooLarge {
        /// The number of files up to which a tree is searched.
        most: usize,
    },
}

/// Whether the caller may map ids and mounts for the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdMode {
    /// CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID in the initial user namespace: a jail gets a range of ids,
    /// and mounts can be idmapped.
    Privileged,
    /// Any other caller: the jail's only ids are the caller's own.
    Rootless,
}

/// How cgroups are mounted, and where this process may make groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version", rename_all = "kebab-case")]
pub enum CgroupLayout {
    /// One v2 hierarchy; groups are made below `parent`, which may not exist yet.
    V2 {
        /// The directory of the parent group, absolute.
        parent: PathBuf,
    },
    /// Controllers on v1 hierarchies; `unified`: a v2 hierarchy beside them, for cgroup.kill and clone3
    /// into a group.
    V1 {
        /// The directory in which each hierarchy has a mount point: `/sys/fs/cgroup`.
        root: PathBuf,
        /// The mount point of the v2 hierarchy.
        unified: Option<PathBuf>,
        /// Controllers that programs look for and that have their own hierarchies, in which jails have no
        /// group.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        beside: Vec<String>,
    },
    /// One v2 hierarchy in which the caller has no group. A user bus exists at this D-Bus address, on which
    /// systemd's manager may be asked for a group when the jail is made.
    OnRequest {
        /// The address in the form of the D-Bus specification: `unix:path=/run/user/1000/bus`.
        bus: String,
    },
    /// No group that this process may use, and why.
    Unusable {
        /// The end of the sentence "no cgroup can be used for the limits: ...".
        why: String,
        /// The kind of obstacle, for the remedy.
        #[serde(default)]
        lacks: Lacks,
    },
}

/// Why a process cannot use a cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lacks {
    /// No v2 hierarchy at the usual path.
    #[default]
    Hierarchy,
    /// The hierarchies are v1, which cannot be delegated; v2 would be needed.
    V2,
    /// No systemd manager of the user, or one without delegated controllers.
    Manager,
    /// The hierarchy is mounted read-only, as in containers.
    Writable,
    /// The group of this container has processes itself, so it enables no controllers for its children.
    Leaf,
    /// The process is the host's root without the capabilities.
    Capabilities,
    /// The process is root in a user namespace and not on the host: it does not own the groups.
    HostsRoot,
}

impl Lacks {
    /// The remedy, for a user of this kind.
    pub fn remedy(self, id_mode: IdMode) -> &'static str {
        match (id_mode, self) {
            (_, Lacks::Writable) => {
                "mount it writable (docker run --privileged, podman run --security-opt unmask=/sys/fs/cgroup)"
            }
            (_, Lacks::Leaf) => {
                "move the processes to a cgroup below it: mkdir /sys/fs/cgroup/init && xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs"
            }
            (_, Lacks::Capabilities) => "let it keep CAP_SYS_ADMIN and CAP_NET_ADMIN",
            (_, Lacks::HostsRoot) => "run creel outside of the container or user namespace",
            (IdMode::Privileged, _) | (IdMode::Rootless, Lacks::Hierarchy) => {
                "mount cgroup2 on /sys/fs/cgroup"
            }
            (IdMode::Rootless, Lacks::V2) => {
                "run creel as root, or boot with systemd.unified_cgroup_hierarchy=1"
            }
            (IdMode::Rootless, Lacks::Manager) => {
                "start a systemd user manager with delegated controllers for this user (a login session, or `loginctl enable-linger`)"
            }
        }
    }
}

/// The result of a lookup of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Fact {
    /// No file has the path, or a part of it is not a directory. A placeholder counts as absent.
    Absent,
    /// The caller may not look it up.
    Denied,
    /// A directory or a regular file.
    Present {
        /// The path with every symbolic link resolved.
        real: PathBuf,
        /// The type of the file at `real`.
        node: Node,
        /// The owner's user id on the host.
        uid: u32,
        /// The owner's group id on the host.
        gid: u32,
        /// The last component is a symbolic link.
        link: bool,
        /// Support for idmapped mounts at `real`.
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
    /// Not looked up: another purpose than writing, or a caller without privilege.
    Unasked,
    /// mount_setattr(2) can idmap a mount of it.
    Works,
    /// The kernel cannot idmap mounts of this filesystem, or the mount is idmapped already.
    Refused,
}

/// A path was not looked up. A plan is never made on a guess about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the host description has no entry for {}, which the plan needs; a description fits one policy: create it again with this one (--print-host), or report this as a bug if you did not use --host",
    path.display()
)]
pub struct Unasked {
    /// The path as the plan looked it up, absolute.
    pub path: PathBuf,
}

impl Host {
    /// The fact about `path`, or [`Unasked`] if it was not looked up.
    pub fn fact(&self, path: &Path) -> Result<&Fact, Unasked> {
        self.paths
            .get(path)
            .ok_or_else(|| Unasked { path: path.into() })
    }
}
