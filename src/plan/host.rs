//! The machine as a value: what `jail::probe` found, or a fixture that describes another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Node;

/// Everything about a machine and a caller that a plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    pub id_mode: IdMode,
    pub uid: u32,
    pub gid: u32,
    /// The caller's home by the account database; `None` where the account is not in it.
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
}

/// Whether the caller may map ids and mounts for the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdMode {
    Privileged,
    Rootless,
}

/// How cgroups are mounted, and where this process may make its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "version", rename_all = "kebab-case")]
pub enum CgroupLayout {
    /// One v2 hierarchy; groups go below `parent`, which may not exist yet.
    V2 { parent: PathBuf },
    /// Controllers on v1 hierarchies; `unified`: a v2 one beside them, for kill and birth.
    V1 {
        root: PathBuf,
        unified: Option<PathBuf>,
    },
    /// None that this process may use, and why.
    Unusable { why: String },
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idmap {
    Unasked,
    Works,
    Refused,
}

impl Host {
    /// What is known of `path`; a path that was not asked for counts as absent.
    pub fn fact(&self, path: &Path) -> &Fact {
        self.paths.get(path).unwrap_or(&Fact::Absent)
    }
}
