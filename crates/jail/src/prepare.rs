//! Compiles a plan into steps: every name becomes a descriptor or a C string. Nothing is enforced yet.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build_steps::{self, Building, Means};
use super::cgroup::Group;
use super::covers::Covers;
use super::cstrings::absolute;
use super::enter_steps;
use super::error::JailError;
use super::janitor::{Duties, Guarding, Janitor, Mounts};
use super::names::Names;
use super::netns::{self, Ahead, Sockets};
use super::pins::Pins;
use super::step::{Begins, Build, Enter, Household, Program, Stays, Step};
use super::streams::Stdio;
use super::{slot, streams};
use creel_plan::resolve::JAIL_ID;
use creel_plan::{Act, CgroupLayout, CgroupLimits, Host, IdMode, Ids, Namespace, Plan};
use creel_sys::lease::Lease;
use creel_sys::shared::Board;
use creel_sys::signal::Held;
use creel_sys::userns::Idmap;
use creel_sys::{clone, fd, socket};

/// The objects that the relay provides to its jail.
#[derive(Debug)]
pub struct RelayLink {
    /// The relay receives its listening sockets here.
    pub sockets: OwnedFd,
    /// The certificate of the jail's own certificate authority (PEM), if the relay terminates TLS.
    pub authority: Option<String>,
}

/// A jail that is ready to be cloned.
pub struct Ready {
    /// Blocks signals from before the first process that outlives the start until handlers exist: the jail's
    /// first process and the janitor start with every signal blocked.
    pub(super) held: Held,
    pub(super) plan: Arc<Plan>,
    pub(super) flags: u64,
    pub(super) ids: Ids,
    /// The first host id of the jail's range.
    pub(super) first_id: u32,
    pub(super) cgroup: Option<(CgroupLayout, CgroupLimits)>,
    pub(super) lease: Option<Lease>,
    /// Already running, if it has duties.
    pub(super) janitor: Option<Janitor>,
    /// The network namespace in which the jail is cloned; `None` if the jail makes its own.
    pub(super) network: Option<Ahead>,
    /// The steps that make the jail.
    pub(super) build: Vec<Step<Build>>,
    /// The steps by which pid 1 enters it, before the first command.
    pub(super) enter: Vec<Step<Enter>>,
    pub(super) household: Household,
    pub(super) program: Program,
    pub(super) stdio: Stdio,
    pub(super) socket: (OwnedFd, OwnedFd),
    /// The relay receives its sockets here, if the jail has egress.
    pub(super) relay: Option<OwnedFd>,
    /// Those sockets, if the supervisor makes them.
    pub(super) sockets: Option<Sockets>,
    /// Their helpers end while the jail is made.
    pub(super) idmaps: Vec<Idmap>,
}

/// Compiles a plan. `relay_link`: the relay's, if there is egress. `network`: the namespace, if it was begun
/// [ahead](netns::ahead). `state`: the leases' directory, mode 0700.
pub fn prepare(
    plan: Plan,
    host: &Host,
    mut pins: Pins,
    stdio: Stdio,
    relay_link: Option<RelayLink>,
    network: Option<Ahead>,
    state: &Path,
) -> Result<Ready, JailError> {
    let held = Held::all().map_err(|source| JailError::System {
        what: "holding signals",
        source,
    })?;
    let (relay, authority) = match relay_link {
        Some(relay_link) => (Some(relay_link.sockets), relay_link.authority),
        None => (None, None),
    };
    let covers = Covers::of(&plan);
    let names = Names::of(&plan, &pins, covers.kept())?;
    // An unbound pin is the host's inode of a path where the jail has its own, such as /tmp: a Landlock rule
    // on it would allow the host's inode and not the jail's.
    let bound: Vec<PathBuf> = plan
        .acts()
        .filter_map(|act| match act {
            Act::Bind { source, .. } => Some(source.clone()),
            _ => None,
        })
        .collect();
    // A mapped tree is mounted over one of them.
    let points = plan.acts().filter_map(|act| match act {
        Act::Bind { target, .. } => plan.jail.point(target),
        _ => None,
    });
    let kept: BTreeSet<PathBuf> = points.chain(bound).collect();
    pins.retain(|path, _| kept.contains(path));
    if plan.has(&Act::NoMemfd) {
        check_stdin(&stdio, &plan, &pins)?;
    }
    let mut flags = 0;
    let mut ids = Ids::Caller {
        uid: host.uid,
        gid: host.gid,
    };
    let mut cgroup = None;
    for act in plan.acts() {
        match act {
            Act::Namespaces { which } => flags = which.iter().map(|ns| flag(*ns)).sum(),
            Act::MapIds(map) => ids = *map,
            Act::Cgroup(_) if matches!(host.cgroups, CgroupLayout::OnRequest { .. }) => {
                return Err(JailError::NotAsked);
            }
            Act::Cgroup(limits) => cgroup = Some((host.cgroups.clone(), *limits)),
            _ => {}
        }
    }
    let needs_slot = cgroup.is_some() || matches!(ids, Ids::Range { .. });
    let layout = cgroup.as_ref().map(|(layout, _)| layout);
    let lease = if needs_slot {
        Some(slot::take(state, layout)?)
    } else {
        None
    };
    let network = match plan.has(&Act::Loopback) {
        true => network.or_else(netns::ahead),
        false => None,
    };
    let guard = match (host.id_mode, covers.denied().next()) {
        (IdMode::Privileged, Some(_)) => Guarding::Wanted,
        _ => Guarding::No,
    };
    let first_id = slot::FIRST_ID + lease.as_ref().map_or(0, |l| l.slot) * 0x1_0000;
    streams::own(&stdio, ids, first_id + JAIL_ID, plan.command.terminal);
    let Building {
        steps: build,
        egress,
        sockets,
        idmaps,
    } = build_steps::prepare(Means {
        plan: &plan,
        host,
        pins: &pins,
        stdio: &stdio,
        born_in_network: network.is_some(),
        jail_user: matches!(ids, Ids::Range { .. }).then_some(first_id + JAIL_ID),
        authority,
    })?;
    // The root of an overlay is another inode than the host's: its Landlock rule is made by its path in the jail.
    for act in &plan.jail.build {
        if let Act::Bind {
            source,
            overlay: Some(_),
            ..
        } = act
        {
            pins.remove(source);
        }
    }
    let enter = enter_steps::prepare(&plan.jail, &plan.command, &pins, egress)?;
    let socket = socket::pair().map_err(|source| JailError::System {
        what: "socketpair",
        source,
    })?;
    let household = household(&plan, guard)?;
    let group = match (&cgroup, &lease) {
        (Some((layout, _)), Some(lease)) => Some(Group::new(layout, lease.slot).traces()),
        _ => None,
    };
    let idle = group.is_none() && names.is_empty() && covers.is_empty();
    // Last, since each page that this process writes to between two copies of it is copied once more.
    let janitor = match idle {
        true => None,
        false => Some(Janitor::start(Duties {
            lease: lease.as_ref().map(|lease| lease.file.as_fd()),
            group,
            names,
            covers,
            mounts: match host.id_mode {
                IdMode::Privileged => Mounts::Joinable,
                IdMode::Rootless => Mounts::OfUserNamespace,
            },
            guard,
        })?),
    };
    Ok(Ready {
        held,
        flags,
        ids,
        first_id,
        cgroup,
        lease,
        janitor,
        network,
        build,
        enter,
        household,
        program: enter_steps::program(&plan.command),
        stdio,
        socket,
        relay,
        sockets,
        idmaps,
        plan: Arc::new(plan),
    })
}

/// A file on stdin lies on the host's mount: reopened through /proc/self/fd it could be mapped as code, with
/// whatever contents it has then. Landlock forbids that outside of the granted trees, which it identifies by
/// inode.
fn check_stdin(stdio: &Stdio, plan: &Plan, pins: &Pins) -> Result<(), JailError> {
    use std::os::unix::fs::MetadataExt;
    let stdin = stdio.0[0].as_ref().map_or(fd::fixed(0), AsFd::as_fd);
    if !fd::stat(stdin).is_ok_and(|s| s.kind == fd::Kind::File)
        || fd::is_noexec(stdin).unwrap_or(false)
    {
        return Ok(());
    }
    let landlock = plan.acts().any(|act| matches!(act, Act::Landlock { .. }));
    let granted = |directory: &Path| match std::fs::metadata(directory) {
        Ok(meta) => pins
            .values()
            .any(|pin| (pin.stat.dev, pin.stat.ino) == (meta.dev(), meta.ino())),
        Err(_) => false,
    };
    match fd::path_of(stdin) {
        Ok(path) if landlock && !path.ancestors().any(granted) => Ok(()),
        _ => Err(JailError::LoadableStdin),
    }
}

fn flag(namespace: Namespace) -> u64 {
    match namespace {
        Namespace::User => clone::NEWUSER,
        Namespace::Mount => clone::NEWNS,
        Namespace::Pid => clone::NEWPID,
        // The jail is cloned in it, or a helper makes it and the Loopback step joins it.
        Namespace::Net => 0,
        Namespace::Ipc => clone::NEWIPC,
        Namespace::Uts => clone::NEWUTS,
    }
}

fn household(plan: &Plan, guard: Guarding) -> Result<Household, JailError> {
    let board = Board::new().map_err(|source| JailError::System {
        what: "sharing memory",
        source,
    })?;
    Ok(Household {
        board,
        begins: match guard {
            Guarding::Wanted => Begins::WhenGuarded,
            Guarding::No => Begins::AtOnce,
        },
        disks: (plan.jail.watch.disks.iter())
            .map(|path| absolute(path))
            .collect(),
        stays: match plan.command.argv.is_empty() {
            true => Stays::UntilEnded,
            false => Stays::WhileFirstRuns,
        },
    })
}
