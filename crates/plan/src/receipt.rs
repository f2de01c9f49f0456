//! The receipt's rows: each layer, whether it will be in force, and its details on this host.

use super::host::{CgroupLayout, Host};
use super::view::{Apart, View};
use super::*;

/// The number of list entries that a row writes out.
const SOME: usize = 8;

/// The parts of a plan that its receipt describes.
pub(super) struct Means<'a> {
    pub host: &'a Host,
    pub request: &'a Request,
    pub ids: &'a Ids,
    pub cgroup: Option<&'a CgroupLimits>,
    pub processes: Option<u64>,
    pub landlock: u32,
    pub view: &'a View<'a>,
    pub egress: Option<&'a egress::Egress>,
    pub debuggers: bool,
}

/// The receipt's rows: what this plan will enforce.
pub(super) fn layers(means: &Means<'_>) -> Vec<Layer> {
    let Means {
        host,
        request,
        ids,
        cgroup,
        processes,
        landlock,
        view,
        egress,
        debuggers,
    } = *means;
    let row = |name, in_force, detail: String| Layer {
        name,
        in_force,
        detail,
    };
    let idmap = match ids {
        Ids::Range { .. } => {
            let mut kept = "writable trees keep their host owner".to_owned();
            for apart in &view.apart {
                let Apart { mount, kind, .. } = apart;
                kept += &format!(
                    "; {} ({kind}) cannot be mapped: read-only, with the host's owners",
                    mount.display()
                );
            }
            let whole = !view.apart.iter().any(|apart| apart.writable);
            row(MechanismName::Idmap, whole, kept)
        }
        Ids::Caller { .. } => row(
            MechanismName::Idmap,
            true,
            "not needed: the jail has the caller's own id".into(),
        ),
        Ids::Shared { uid, .. } => row(
            MechanismName::Idmap,
            false,
            format!("the jail's user is host user {uid}"),
        ),
    };
    let ids_detail = match ids {
        Ids::Range { count } => format!("{count} ids of the jail's own"),
        Ids::Caller { uid, .. } => format!("the caller's own id {uid}"),
        Ids::Shared { uid, .. } => format!("shared with host user {uid}"),
    };
    let cgroup = match (&host.cgroups, cgroup) {
        (CgroupLayout::V2 { .. } | CgroupLayout::OnRequest { .. }, Some(_)) => (
            true,
            "v2: memory (high and max, no swap, killed as one), cpu, pids".to_owned(),
        ),
        (CgroupLayout::V1 { unified, .. }, Some(limits)) => {
            let sockets = limits.sockets.unwrap_or(0);
            let sum = limits.memory.saturating_add(sockets);
            let kill = match unified {
                Some(_) => "v2 beside it for kill",
                None => "no v2 beside it: killed through its pid namespace",
            };
            (
                true,
                format!(
                    "v1: memory (max, no swap; v1 has no high mark), beside it {sockets} bytes of socket buffers, {sum} in all; cpu, pids; {kill}"
                ),
            )
        }
        (CgroupLayout::Unusable { why, .. }, _) => (
            false,
            match processes {
                Some(_) => format!(
                    "no memory and cpu limits, pids by rlimit for each user of the jail's user namespace: {why}"
                ),
                None => format!("no memory, cpu and pids limits: {why}"),
            },
        ),
        (_, None) => (false, "not asked for".into()),
    };
    let landlock_detail = match landlock {
        0 => "the kernel has none".to_owned(),
        abi => {
            let mut lacks = vec![];
            if abi < 2 {
                lacks.push("rename across directories");
            }
            if abi < 3 {
                lacks.push("truncate");
            }
            if abi < 5 {
                lacks.push("ioctl on devices");
            }
            if abi < 6 {
                lacks.push("scopes for signals and abstract sockets");
            }
            if abi < 9 {
                lacks.push("connections to socket files");
            }
            match lacks.as_slice() {
                [] => format!("ABI {abi}"),
                lacks => format!("ABI {abi}; the kernel cannot restrict {}", lacks.join(", ")),
            }
        }
    };
    let mut masks = format!("{} paths", proc::MASKS.len() + view.masks.len());
    if view.protected > 0 {
        masks = format!("{masks}, {} protected", view.protected);
    }
    if !view.withheld.is_empty() {
        masks = format!("{masks}, {} absent names blocked", view.withheld.len());
    }
    if !view.obeyed.is_empty() {
        let some = &view.obeyed[..view.obeyed.len().min(SOME)];
        masks = format!("{masks}; obeyed by the host: {}", some.join(", "));
        if view.obeyed.len() > SOME {
            masks = format!("{masks} and {} more", view.obeyed.len() - SOME);
        }
    }
    let network = match egress {
        None => "none: loopback only".into(),
        Some(egress) => egress.detail(),
    };
    let told: Vec<String> = view.places().chain(view.skipped.iter().cloned()).collect();
    let root = match told.as_slice() {
        [] => "an empty tmpfs and the granted trees".to_owned(),
        told => format!("an empty tmpfs and the granted trees; {}", told.join(", ")),
    };
    vec![
        row(
            MechanismName::Namespaces,
            true,
            match request.clocks {
                Clocks::Host => "user, mount, pid, net, ipc, uts, cgroup".into(),
                Clocks::Jail => "user, mount, pid, net, ipc, uts, cgroup, time".into(),
            },
        ),
        row(MechanismName::Ids, true, ids_detail),
        idmap,
        row(MechanismName::Cgroup, cgroup.0, cgroup.1),
        row(MechanismName::Root, true, root),
        row(MechanismName::Execution, true, view.execution.clone()),
        row(MechanismName::Masks, true, masks),
        row(MechanismName::Network, true, network),
        row(
            MechanismName::Keyring,
            true,
            "a session keyring of its own".into(),
        ),
        row(
            MechanismName::Rlimits,
            true,
            match processes {
                Some(_) => {
                    "core, fsize, memlock, msgqueue, sigpending, nice, rtprio, cpu, nofile, nproc"
                        .into()
                }
                None => {
                    "core, fsize, memlock, msgqueue, sigpending, nice, rtprio, cpu, nofile".into()
                }
            },
        ),
        row(
            MechanismName::Capabilities,
            true,
            "all sets empty, securebits locked".into(),
        ),
        row(MechanismName::NoNewPrivileges, true, "set".into()),
        row(MechanismName::Landlock, landlock > 0, landlock_detail),
        row(MechanismName::Descriptors, true, "0, 1 and 2".into()),
        row(
            MechanismName::Seccomp,
            true,
            match debuggers {
                true => {
                    "an allowlist; debuggers may trace within the jail; foreign ABIs are killed"
                        .into()
                }
                false => "an allowlist; foreign ABIs are killed".into(),
            },
        ),
    ]
}
