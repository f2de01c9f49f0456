//! Where in the mounted hierarchies this process is, and where it may make groups.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::{CgroupError, PARENT, Result, has_all, make_own_dir, write};
use crate::plan::CgroupLayout as Layout;
use crate::plan::host::Lacks;

const ROOT: &str = "/sys/fs/cgroup";
/// Where creel itself lives in a group that was made for it: one with processes of its own could not
/// give its children controllers (cgroup-v2.rst, "no internal process constraint").
const LEAF: &str = "supervisor";

/// Which layout this host has, for a process with or without privilege. `bus`: the address of the
/// user's bus, where there is one.
pub fn layout(privileged: bool, bus: Option<String>) -> Layout {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let magic = |path: &str| rustix::fs::statfs(path).map(|s| s.f_type);
    match magic(ROOT) {
        Ok(CGROUP2_SUPER_MAGIC) if privileged => Layout::V2 {
            parent: Path::new(ROOT).join(PARENT),
        },
        Ok(CGROUP2_SUPER_MAGIC) => delegated(Path::new(ROOT), bus),
        Ok(TMPFS_MAGIC) if privileged => {
            let unified = magic("/sys/fs/cgroup/unified") == Ok(CGROUP2_SUPER_MAGIC);
            Layout::V1 {
                root: ROOT.into(),
                unified: unified.then(|| Path::new(ROOT).join("unified")),
                beside: beside(),
            }
        }
        Ok(TMPFS_MAGIC) => Layout::Unusable {
            why: "cgroup v1 cannot be delegated to an ordinary user".into(),
            lacks: Lacks::V2,
        },
        Ok(_) => Layout::Unusable {
            why: "/sys/fs/cgroup is no cgroup filesystem".into(),
            lacks: Lacks::Hierarchy,
        },
        Err(_) => Layout::Unusable {
            why: "no cgroup filesystem is mounted".into(),
            lacks: Lacks::Hierarchy,
        },
    }
}

/// The v1 hierarchies, of those that programs look for, on which a jail has no group.
fn beside() -> Vec<String> {
    // A hierarchy may have several controllers and a name for each.
    let hierarchy = |name: &str| rustix::fs::stat(Path::new(ROOT).join(name)).map(|s| s.st_dev);
    let own = super::cgroup::CONTROLLERS.map(|name| hierarchy(name).ok());
    let apart = |name: &&str| hierarchy(name).is_ok_and(|device| !own.contains(&Some(device)));
    let names = ["cpuacct", "cpuset"].into_iter().filter(apart);
    names.map(str::to_owned).collect()
}

/// The nearest ancestor of this process's own group in which an ordinary user may make groups with
/// the controllers that a jail needs.
fn delegated(root: &Path, bus: Option<String>) -> Layout {
    let Some(mut dir) = own(root) else {
        return Layout::Unusable {
            why: "this process is in no v2 cgroup".into(),
            lacks: Lacks::Hierarchy,
        };
    };
    while dir.starts_with(root) && dir != root {
        let mine = rustix::fs::access(
            dir.join("cgroup.subtree_control"),
            rustix::fs::Access::WRITE_OK,
        );
        let enterable = rustix::fs::access(dir.join("cgroup.procs"), rustix::fs::Access::WRITE_OK);
        if mine.is_ok() && enterable.is_ok() && has_all(&dir.join("cgroup.controllers")) {
            // A group with processes of its own cannot give its children controllers, unless it
            // does so already.
            let empty = fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|p| p.is_empty());
            if empty || has_all(&dir.join("cgroup.subtree_control")) {
                return Layout::V2 {
                    parent: dir.join(PARENT),
                };
            }
        }
        match dir.parent() {
            Some(parent) => dir = parent.to_path_buf(),
            None => break,
        }
    }
    match bus {
        Some(bus) => Layout::OnRequest { bus },
        None => Layout::Unusable {
            why: "no cgroup is delegated to this user, and there is no user manager to ask".into(),
            lacks: Lacks::Manager,
        },
    }
}

/// This process's own v2 group.
fn own(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root.join(path))
}

/// Moves this process to a leaf of its own group, which must be the one called `name`: beside the
/// leaf there is room for jails.
pub fn make_room(name: &str) -> Result<()> {
    let group = own(Path::new(ROOT)).unwrap_or_default();
    if group.file_name().is_none_or(|last| last != name) {
        return Err(CgroupError {
            source: std::io::Error::other(format!("this process is not in {name}")),
            path: group,
        });
    }
    let leaf = group.join(LEAF);
    make_own_dir(&leaf)?;
    // 0: whoever writes.
    write(&leaf.join("cgroup.procs"), "0")
}
