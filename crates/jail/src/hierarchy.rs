//! Finds this process in the mounted hierarchies, and where it may make groups.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::{CgroupError, PARENT, Result, has_all, make_own_dir, write};
use creel_plan::CgroupLayout as Layout;
use creel_plan::host::Lacks;
use creel_sys::{Errno, host, userns};

const ROOT: &str = "/sys/fs/cgroup";
/// The group of creel itself, in one made for it: a group with processes of its own cannot give its children
/// controllers (cgroup-v2.rst, "no internal process constraint").
const LEAF: &str = "supervisor";

/// The cgroup layout of this host, for a process with or without privilege. `bus`: the address of the user's
/// bus, if any.
pub fn layout(privileged: bool, bus: Option<String>) -> Layout {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let magic = |path: &str| rustix::fs::statfs(path).map(|s| s.f_type);
    match magic(ROOT) {
        Ok(CGROUP2_SUPER_MAGIC) if privileged => whole(Path::new(ROOT)),
        Ok(CGROUP2_SUPER_MAGIC) => delegated(Path::new(ROOT), bus),
        Ok(TMPFS_MAGIC) if privileged && read_only(&Path::new(ROOT).join("memory")) => {
            Layout::Unusable {
                why: "/sys/fs/cgroup/memory is read-only".into(),
                lacks: Lacks::Writable,
            }
        }
        Ok(TMPFS_MAGIC) if privileged => {
            let unified = magic("/sys/fs/cgroup/unified") == Ok(CGROUP2_SUPER_MAGIC);
            Layout::V1 {
                root: ROOT.into(),
                unified: unified.then(|| Path::new(ROOT).join("unified")),
                beside: beside(),
            }
        }
        Ok(TMPFS_MAGIC) if host::ids().0 == 0 => hosts_roots(),
        Ok(TMPFS_MAGIC) => Layout::Unusable {
            why: "cgroup v1 cannot be delegated to an ordinary user".into(),
            lacks: Lacks::V2,
        },
        Ok(_) => Layout::Unusable {
            why: "/sys/fs/cgroup is not a cgroup filesystem".into(),
            lacks: Lacks::Hierarchy,
        },
        Err(_) => Layout::Unusable {
            why: "no cgroup filesystem is mounted".into(),
            lacks: Lacks::Hierarchy,
        },
    }
}

/// The layout for the host's root, or for a container's root with the same rights.
fn whole(root: &Path) -> Layout {
    if read_only(root) {
        return Layout::Unusable {
            why: format!("{} is read-only", root.display()),
            lacks: Lacks::Writable,
        };
    }
    let full = |file: &str| fs::read_to_string(root.join(file)).is_ok_and(|text| !text.is_empty());
    // Only the host's root group lacks that file, and it is exempt from the constraint.
    if root.join("cgroup.type").exists()
        && full("cgroup.procs")
        && !has_all(&root.join("cgroup.subtree_control"))
    {
        return Layout::Unusable {
            why: format!(
                "the cgroup {} contains processes, so it cannot enable controllers for its children",
                root.display()
            ),
            lacks: Lacks::Leaf,
        };
    }
    Layout::V2 {
        parent: root.join(PARENT),
    }
}

fn read_only(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK) == Err(Errno::ROFS)
}

fn hosts_roots() -> Layout {
    if userns::is_initial() {
        return Layout::Unusable {
            why: "root needs all its capabilities to create a cgroup".into(),
            lacks: Lacks::Capabilities,
        };
    }
    Layout::Unusable {
        why: "the cgroups belong to the host's root, and this process is root in a user namespace only".into(),
        lacks: Lacks::HostsRoot,
    }
}

/// The v1 hierarchies that programs look for and on which a jail has no group.
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
        None if host::ids().0 == 0 => hosts_roots(),
        None => Layout::Unusable {
            why: "no cgroup is delegated to this user, and no systemd user manager runs for it"
                .into(),
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

/// Moves this process to a leaf of its own group, which must be named `name`. Jails then get groups beside
/// the leaf.
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
    // 0 is the writing process.
    write(&leaf.join("cgroup.procs"), "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container's own group on a pure v2 host: files as the kernel has them.
    #[test]
    fn a_group_with_processes_of_its_own_gives_no_controllers() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        let put = |name: &str, text: &str| fs::write(root.join(name), text).expect("write");
        let parent = root.join(PARENT);
        put("cgroup.procs", "1\n");
        put("cgroup.subtree_control", "");
        assert_eq!(
            whole(root),
            Layout::V2 {
                parent: parent.clone()
            }
        );
        put("cgroup.type", "domain\n");
        let Layout::Unusable { lacks, .. } = whole(root) else {
            panic!("it is taken for the host's root group");
        };
        assert_eq!(lacks, Lacks::Leaf);
        put("cgroup.procs", "");
        assert_eq!(whole(root), Layout::V2 { parent });
    }
}
