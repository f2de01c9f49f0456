//! Explains what prevents a jail on this host and how to remove it, in the terms of the program that set the
//! restriction. Lists no option that is already set. Pure.

use creel_sys::Errno;
use creel_sys::around::{Around, Container};

/// The remedy if new namespaces, or rights in them, are refused.
pub fn namespaces(around: &Around, errno: Option<Errno>) -> String {
    if around.no_user_namespaces || matches!(errno, Some(Errno::NOSPC | Errno::USERS)) {
        return "allow user namespaces: sysctl -w user.max_user_namespaces=65536".into();
    }
    if errno == Some(Errno::NOSYS) && !around.filtered {
        return "boot Linux 5.14 or newer".into();
    }
    if around.container == Some(Container::Creel) && around.filtered {
        return within_creel();
    }
    if around.chrooted {
        return "this process is in a chroot, where the kernel refuses user namespaces: enter the \
                tree with pivot_root(2) (systemd-nspawn -D DIR, bwrap --bind DIR /), or run creel outside"
            .into();
    }
    if around.unmapped {
        return "this user namespace maps no ids, so it cannot map any for a jail: create it with unshare -r (--map-root-user)"
            .into();
    }
    if around.no_setfcap && errno == Some(Errno::PERM) {
        return "root without CAP_SETFCAP may not map its own id into a user namespace: keep that capability \
                (docker, podman: --cap-add SETFCAP), or run creel as another user"
            .into();
    }
    if around.apparmor_restricts {
        return "AppArmor restricts user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, \
                or install a profile for creel with `userns,`"
            .into();
    }
    if around.clone_restricted {
        return "allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1".into();
    }
    if around.filtered {
        let way = match way(around, true) {
            Some(way) => way,
            None => "in Docker and Podman: --security-opt seccomp=unconfined".into(),
        };
        return format!("a seccomp filter around creel forbids it; {way}");
    }
    if let Some(profile) = &around.apparmor {
        return format!(
            "AppArmor's profile {profile} forbids it; in Docker and Podman: --security-opt apparmor=unconfined"
        );
    }
    "no filter is in force, so a security module forbids it, or this process is in a chroot; the kernel's log names the security module (journalctl -k)"
        .into()
}

/// The remedy if the jail's own /proc is refused.
pub fn proc_mount(around: &Around) -> String {
    match around.proc_masked {
        true => format!(
            "a part of /proc around creel is masked or read-only, and the kernel then refuses to mount a new one in a user namespace; {}",
            way(around, false).unwrap_or_else(|| {
                "run the container with an unmasked /proc (docker: --security-opt systempaths=unconfined, \
                 podman: --security-opt unmask=ALL)"
                    .into()
            })
        ),
        false => "the kernel refuses to mount proc: a security module forbids it, or the /proc around creel hides processes (hidepid)"
            .into(),
    }
}

/// The remedy if openat2(2), with which creel opens every path, is not available.
pub fn openat2(around: &Around) -> String {
    match (around.container, around.filtered) {
        (Some(Container::Creel), true) => within_creel(),
        (_, true) => format!(
            "a seccomp filter around creel hides openat2(2); {}",
            way(around, true).unwrap_or_else(|| {
                "in Docker and Podman: --security-opt seccomp=unconfined".into()
            })
        ),
        (_, false) => "boot Linux 5.14 or newer".into(),
    }
}

/// The remedy if a seccomp filter may hide a system call of this kernel. `None` without a filter.
pub fn hidden(around: &Around) -> Option<String> {
    around.filtered.then(|| match way(around, true) {
        Some(way) => format!("a seccomp filter around creel hides it; {way}"),
        None => "a seccomp filter around creel hides it".into(),
    })
}

fn within_creel() -> String {
    "creel runs in a jail here, and a jail cannot make another; start that jail from outside".into()
}

/// The options with which to start the container, in its own syntax. Lists all that are missing: after fixing
/// one, a user would meet the next. `filtered`: whether the filter is an obstacle.
fn way(around: &Around, filtered: bool) -> Option<String> {
    let mut words = vec![];
    let start = match around.container? {
        Container::Docker => {
            if filtered {
                words.push("--security-opt seccomp=unconfined");
            }
            if around.proc_masked {
                words.push("--security-opt systempaths=unconfined");
            }
            if around.apparmor.is_some() {
                words.push("--security-opt apparmor=unconfined");
            }
            "start the container with docker run"
        }
        Container::Podman => {
            if filtered {
                words.push("--security-opt seccomp=unconfined");
            }
            if around.proc_masked {
                words.push("--security-opt unmask=ALL");
            }
            if around.apparmor.is_some() {
                words.push("--security-opt apparmor=unconfined");
            }
            "start the container with podman run"
        }
        Container::Kubernetes => {
            if filtered {
                words.push("seccompProfile: {type: Unconfined}");
            }
            if around.proc_masked {
                words.push("procMount: Unmasked (with hostUsers: false)");
            }
            if around.apparmor.is_some() {
                words.push("appArmorProfile: {type: Unconfined}");
            }
            "in the pod's securityContext:"
        }
        Container::Unit => {
            if filtered {
                words.push("RestrictNamespaces=, SystemCallFilter= and other options that install a filter");
            }
            if around.proc_masked {
                words.push(
                    "ProtectKernelTunables=, ProtectKernelLogs= and InaccessiblePaths=/proc/...",
                );
            }
            "remove from its unit:"
        }
        Container::Creel => return None,
    };
    let between = match around.container? {
        Container::Docker | Container::Podman => " ",
        _ => ", ",
    };
    (!words.is_empty()).then(|| format!("{start} {}", words.join(between)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(container: Container) -> Around {
        Around {
            container: Some(container),
            ..Around::default()
        }
    }

    /// Ubuntu's sysctl: clone(2) works, and the process has no right in what it made.
    #[test]
    fn ubuntus_restriction_is_named_whatever_it_refuses() {
        let ubuntu = Around {
            apparmor_restricts: true,
            ..Around::default()
        };
        for errno in [Errno::PERM, Errno::ACCESS] {
            let said = namespaces(&ubuntu, Some(errno));
            assert!(
                said.contains("apparmor_restrict_unprivileged_userns=0"),
                "{said}"
            );
        }
        let debian = Around {
            clone_restricted: true,
            ..Around::default()
        };
        let said = namespaces(&debian, Some(Errno::PERM));
        assert!(said.contains("unprivileged_userns_clone=1"), "{said}");
    }

    #[test]
    fn what_maps_and_capabilities_forbid_is_no_security_module() {
        let bare = Around {
            unmapped: true,
            ..Around::default()
        };
        assert!(namespaces(&bare, Some(Errno::PERM)).contains("unshare -r"));
        let dropped = Around {
            no_setfcap: true,
            ..Around::default()
        };
        assert!(namespaces(&dropped, Some(Errno::PERM)).contains("CAP_SETFCAP"));
    }

    #[test]
    fn a_remedy_is_in_the_words_of_who_can_apply_it() {
        for (container, filter, proc) in [
            (
                Container::Docker,
                "docker run --security-opt seccomp=unconfined",
                "docker run --security-opt systempaths=unconfined",
            ),
            (
                Container::Podman,
                "podman run --security-opt seccomp=unconfined",
                "podman run --security-opt unmask=ALL",
            ),
            (
                Container::Kubernetes,
                "seccompProfile: {type: Unconfined}",
                "procMount: Unmasked",
            ),
            (
                Container::Unit,
                "RestrictNamespaces=",
                "ProtectKernelTunables=",
            ),
        ] {
            let mut around = within(container);
            around.filtered = true;
            let said = namespaces(&around, Some(Errno::PERM));
            assert!(said.contains(filter) && !said.contains(proc), "{said}");
            around.proc_masked = true;
            assert!(namespaces(&around, Some(Errno::PERM)).contains(filter));
            around.filtered = false;
            let said = proc_mount(&around);
            assert!(said.contains(proc) && !said.contains(filter), "{said}");
        }
    }

    /// Nothing is advised that is done already.
    #[test]
    fn without_a_filter_nobody_is_told_to_take_one_away() {
        for container in [Container::Docker, Container::Podman, Container::Unit] {
            let said = namespaces(&within(container), Some(Errno::PERM));
            assert!(!said.contains("seccomp"), "{said}");
            assert_eq!(hidden(&within(container)), None);
        }
        let mut chroot = within(Container::Docker);
        (chroot.filtered, chroot.chrooted) = (true, true);
        assert!(namespaces(&chroot, Some(Errno::PERM)).contains("in a chroot"));
        let mut confined = within(Container::Docker);
        confined.apparmor = Some("docker-default".into());
        let said = namespaces(&confined, Some(Errno::ACCESS));
        assert!(said.contains("profile docker-default"), "{said}");
        let mut inner = within(Container::Creel);
        inner.filtered = true;
        for said in [namespaces(&inner, Some(Errno::NOSYS)), openat2(&inner)] {
            assert!(said.contains("start that jail from outside"), "{said}");
        }
    }

    #[test]
    fn an_old_kernel_is_no_filter() {
        let plain = Around::default();
        assert_eq!(namespaces(&plain, Some(Errno::NOSYS)), openat2(&plain));
        let full = namespaces(&plain, Some(Errno::NOSPC));
        assert!(full.contains("max_user_namespaces"), "{full}");
    }
}
