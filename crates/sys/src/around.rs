//! The environment of this process: a container, a filter, a chroot, a security module. It serves messages
//! only and grants or refuses nothing, so it is read from whatever is at /proc, and without openat2(2), which
//! a filter may block.

use std::path::Path;

use super::{fd, host, mount, userns};

/// The container runtime that started this process, if it left marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// A systemd service, not a container.
    Unit,
    /// A jail of creel.
    Creel,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// The container or unit, if one left marks.
    pub container: Option<Container>,
    /// A seccomp filter is in force (proc(5), `Seccomp: 2`).
    pub filtered: bool,
    /// The root directory is not the root of a mount; a chroot to a mount is not noticed.
    pub chrooted: bool,
    /// The user namespace is not the one that the host was booted in.
    pub user_namespace: bool,
    /// This process's own id is not mapped, because its user namespace maps none (user_namespaces(7)).
    pub unmapped: bool,
    /// The process is root without CAP_SETFCAP, so it cannot map itself into a user namespace (Linux 5.12).
    pub no_setfcap: bool,
    /// Something is mounted over a part of /proc, or /proc is read-only.
    pub proc_masked: bool,
    /// The AppArmor profile that confines this process.
    pub apparmor: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, Ubuntu's, is 1.
    pub apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone`, Debian's, is 0.
    pub clone_restricted: bool,
    /// `user.max_user_namespaces` is 0.
    pub no_user_namespaces: bool,
}

impl Around {
    /// Collects these facts.
    pub fn look() -> Around {
        let status = std::fs::read("/proc/self/status").unwrap_or_default();
        let set =
            |name: &str, value: i64| host::sysctl(&format!("/proc/sys/{name}")) == Some(value);
        let root = fd::pin(Path::new("/"));
        let begins = |root| mount::is_root_of_mount(std::os::fd::AsFd::as_fd(&root), c"");
        Around {
            container: container(),
            filtered: String::from_utf8_lossy(&status)
                .lines()
                .any(|line| line.strip_prefix("Seccomp:").map(str::trim) == Some("2")),
            chrooted: root.and_then(begins) == Ok(false),
            user_namespace: !userns::is_initial(),
            unmapped: std::fs::read("/proc/self/uid_map").is_ok_and(|map| map.is_empty()),
            no_setfcap: host::ids().0 == 0 && !has_setfcap(&status),
            proc_masked: std::fs::read("/proc/self/mountinfo").is_ok_and(|text| masks_proc(&text)),
            apparmor: profile(),
            apparmor_restricts: set("kernel/apparmor_restrict_unprivileged_userns", 1),
            clone_restricted: set("kernel/unprivileged_userns_clone", 0),
            no_user_namespaces: set("user/max_user_namespaces", 0),
        }
    }
}

/// Whether the effective set in /proc/PID/status, a hexadecimal number, has CAP_SETFCAP.
fn has_setfcap(status: &[u8]) -> bool {
    const CAP_SETFCAP: u32 = 31;
    let text = String::from_utf8_lossy(status);
    let set = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_none_or(|set| set & 1 << CAP_SETFCAP != 0)
}

fn container() -> Option<Container> {
    let set = |name: &str| std::env::var_os(name);
    let there = |path: &str| Path::new(path).exists();
    if set("CREEL").is_some_and(|value| value == "1") {
        return Some(Container::Creel);
    }
    if set("KUBERNETES_SERVICE_HOST").is_some() {
        return Some(Container::Kubernetes);
    }
    if there("/run/.containerenv") || set("container").is_some_and(|by| by == "podman") {
        return Some(Container::Podman);
    }
    // systemd.exec(5)
    if set("INVOCATION_ID").is_some() {
        return Some(Container::Unit);
    }
    there("/.dockerenv").then_some(Container::Docker)
}

/// The profile of this process, if it is enforced: `docker-default (enforce)`.
fn profile() -> Option<String> {
    let places = [
        "/proc/self/attr/apparmor/current",
        "/proc/self/attr/current",
    ];
    let text = places.iter().find_map(|place| std::fs::read(place).ok())?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    text.strip_suffix(" (enforce)").map(str::to_owned)
}

/// Whether a new /proc would show what this one hides, so that the kernel refuses it in a user namespace
/// (`mount_too_revealing` in fs/namespace.c). Mounts on directories that are made for mounts hide nothing.
fn masks_proc(mountinfo: &[u8]) -> bool {
    String::from_utf8_lossy(mountinfo).lines().any(|line| {
        let mut fields = line.split(' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else {
            return false;
        };
        let read_only = options.split(',').any(|option| option == "ro");
        (point == "/proc" && read_only)
            || (point.starts_with("/proc/") && point != "/proc/sys/fs/binfmt_misc")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proc_is_masked_by_what_lies_over_it() {
        let line = |point: &str, options: &str| {
            format!("1 2 0:5 / / rw - ext4 /dev/a rw\n9 8 0:5 / {point} {options} - proc proc rw\n")
        };
        for (point, options, masked) in [
            ("/proc", "rw,nosuid", false),
            ("/proc", "ro,nosuid", true),
            ("/proc/sys", "ro", true),
            ("/proc/kcore", "rw", true),
            ("/proc/sys/fs/binfmt_misc", "rw", false),
            ("/procedures", "ro", false),
        ] {
            assert_eq!(
                masks_proc(line(point, options).as_bytes()),
                masked,
                "{point}"
            );
        }
    }
}
