//! Plan to steps: every name becomes a descriptor or a C string, nothing is enforced yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cgroup::Group;
use super::copier::Copier;
use super::covers::Covers;
use super::janitor::{Duties, Guarding, Janitor, Mounts, Network};
use super::keystore;
use super::names::Names;
use super::netns::Sockets;
use super::probe::Pin;
use super::rights;
use super::stdin;
use super::step::{Begins, Place, Program, STDIN, Step, Tree, Work};
use super::streams;
use super::{JailError, Pins};
use creel_plan::order::Stage;
use creel_plan::paths::within;
use creel_plan::resolve::JAIL_ID;
use creel_plan::{
    Access, Act, CgroupLayout, CgroupLimits, Code, DirOwner, Host, IdMode, Ids, Namespace, Plan,
};
use creel_sys::landlock::Rules;
use creel_sys::lease::{self, Lease};
use creel_sys::process::CStrings;
use creel_sys::shared::Board;
use creel_sys::signal::Held;
use creel_sys::{Errno, caps, clone, fd, mount, socket};

/// The first of the host ids that jails get: above those of systemd's containers and below 2^31, a
/// stretch that systemd's own table (UIDS-GIDS.md) lists as unused.
pub(super) const FIRST_ID: u32 = 0x7000_0000;
/// Pseudoterminals of one jail.
const TERMINALS: &str = "256";
/// Jails at once: 4096 ranges of 65,536 ids end at 0x7fff_ffff.
const SLOTS: u32 = 4096;

/// The child's stdin, stdout and stderr; `None` leaves the caller's own.
#[derive(Debug, Default)]
pub struct Stdio(pub [Option<OwnedFd>; 3]);

/// What the relay of a jail asks of it, and gives it.
#[derive(Debug)]
pub struct WayOut {
    /// Where the relay awaits its listening sockets.
    pub sockets: OwnedFd,
    /// The certificate of the jail's own authority, PEM, where TLS is ended.
    pub authority: Option<String>,
}

/// A jail that is one clone away.
pub struct Ready {
    /// From before the first helper is made until there are handlers: the jail's first process and the
    /// helpers are born with every signal blocked.
    pub(super) held: Held,
    pub(super) plan: Arc<Plan>,
    pub(super) flags: u64,
    pub(super) ids: Ids,
    /// Host ids of the jail's range.
    pub(super) first_id: u32,
    pub(super) cgroup: Option<(CgroupLayout, CgroupLimits)>,
    pub(super) lease: Option<Lease>,
    /// At work already, where there is something for it.
    pub(super) janitor: Option<Janitor>,
    pub(super) steps: Vec<Step>,
    pub(super) program: Program,
    pub(super) stdio: Stdio,
    pub(super) socket: (OwnedFd, OwnedFd),
    /// Where the relay awaits its sockets, if there is a way out.
    pub(super) relay: Option<OwnedFd>,
    /// Those sockets, where the supervisor makes them.
    pub(super) sockets: Option<Sockets>,
}

/// Compiles a plan. `way_out`: of the relay, if the plan has one. `state`: where leases live, a directory of mode 0700.
pub fn freeze(
    plan: Plan,
    host: &Host,
    mut pins: Pins,
    stdio: Stdio,
    way_out: Option<WayOut>,
    state: &Path,
) -> Result<Ready, JailError> {
    let held = Held::all().map_err(|source| JailError::System {
        what: "holding signals",
        source,
    })?;
    let (relay, mut authority) = match way_out {
        Some(way_out) => (Some(way_out.sockets), way_out.authority),
        None => (None, None),
    };
    let covers = Covers::of(&plan);
    let names = Names::of(&plan, &pins, covers.kept())?;
    // A pin that is not bound is the host's twin of something of the jail's own, such as /tmp: a
    // Landlock rule on it would open the host's inode and not the jail's.
    let bound: BTreeSet<&Path> = plan
        .acts()
        .filter_map(|act| match act {
            Act::Bind { source, .. } => Some(source.as_path()),
            _ => None,
        })
        .collect();
    pins.retain(|path, _| bound.contains(path.as_path()));
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
        Some(take_lease(state, layout)?)
    } else {
        None
    };
    let loopback = plan.has(&Act::Loopback);
    let network = match (loopback, host.id_mode) {
        // Loopback is brought up by CAP_NET_ADMIN over the user namespace that owns the network.
        (true, IdMode::Privileged) if caps::may_network() => Network::New,
        _ => Network::Kept,
    };
    let group = match (&cgroup, &lease) {
        (Some((layout, _)), Some(lease)) => Some(Group::new(layout, lease.slot).traces()),
        _ => None,
    };
    let guard = match (host.id_mode, covers.denied().next()) {
        (IdMode::Privileged, Some(_)) => Guarding::Wanted,
        _ => Guarding::No,
    };
    let idle = group.is_none() && names.is_empty() && covers.is_empty() && network == Network::Kept;
    let janitor = match idle {
        true => None,
        false => Some(Janitor::start(Duties {
            lease: lease.as_ref().map(|lease| lease.file.as_fd()),
            group,
            network,
            names,
            covers,
            mounts: match host.id_mode {
                IdMode::Privileged => Mounts::Joinable,
                IdMode::Rootless => Mounts::OfUserNamespace,
            },
            guard,
        })?),
    };
    let first_id = FIRST_ID + lease.as_ref().map_or(0, |l| l.slot) * 0x1_0000;
    streams::own(&stdio, ids, first_id + JAIL_ID, plan.command.terminal);
    let mut copier = Copier {
        jail_user: matches!(ids, Ids::Range { .. }).then_some(first_id + JAIL_ID),
        idmaps: BTreeMap::new(),
    };
    let mut steps = vec![];
    let mut sockets = None;
    let mut egress = None;
    let user = plan
        .acts()
        .find_map(|act| match act {
            Act::Become { uid, gid } => Some((*uid, *gid)),
            _ => None,
        })
        .unwrap_or((host.uid, host.gid));
    let made: BTreeSet<&Path> = plan
        .acts()
        .filter_map(|act| match act {
            Act::Directory { path, .. } | Act::File { path, .. } => Some(path.as_path()),
            _ => None,
        })
        // What such a mount lies on, nobody on the host sees.
        .chain(plan.acts().flat_map(|act| {
            match act {
                Act::Bind { without, .. } => without.as_slice(),
                _ => &[],
            }
            .iter()
            .map(PathBuf::as_path)
        }))
        .collect();
    let mut stdin = stdin::prepare(&stdio, &plan, host, &mut copier)?;
    let mut device = stdin::device(&stdio, &plan);
    for (number, act) in plan.acts().enumerate() {
        if *act == Act::Pivot {
            // With the tree there, and the host's mounts still.
            steps.extend(stdin.take().map(|stdin| Step {
                act: STDIN,
                work: Work::Stdin(stdin),
            }));
            steps.extend(device.take().map(|work| Step { act: STDIN, work }));
        }
        let work = match act {
            Act::Namespaces { .. } | Act::MapIds(_) | Act::Cgroup(_) | Act::Exec => continue,
            // The jail is born where it is up.
            Act::Loopback if network == Network::New => continue,
            Act::Authority {
                certificate,
                bundle,
                store,
            } => {
                let own = authority.take().unwrap_or_default().into_bytes();
                let both = [creel_sys::host::certificates(), own.clone()].concat();
                let java = keystore::of_pem(&both);
                for (path, contents) in [(certificate, own), (bundle, both), (store, java)] {
                    steps.push(Step {
                        act: number as u32,
                        work: Work::File {
                            path: relative(path),
                            mode: 0o444,
                            contents,
                        },
                    });
                }
                continue;
            }
            Act::Egress(way_out) => {
                egress = Some(number as u32);
                let made = Sockets::of(way_out);
                match network == Network::New {
                    true => {
                        sockets = Some(made);
                        continue;
                    }
                    false => Work::Egress(made),
                }
            }
            act => compile(act, &plan, host, &pins, user, &made, &mut copier)?,
        };
        if act.stage() == Stage::Descriptors
            && let Some(act) = egress.take()
        {
            // As late as it can be: the relay has its own things to do.
            steps.push(Step {
                act,
                work: Work::Served,
            });
        }
        steps.push(Step {
            act: number as u32,
            work,
        });
    }
    let socket = socket::pair().map_err(|source| JailError::System {
        what: "socketpair",
        source,
    })?;
    Ok(Ready {
        held,
        flags,
        ids,
        first_id,
        cgroup,
        lease,
        janitor,
        steps,
        program: program(&plan, guard)?,
        stdio,
        socket,
        relay,
        sockets,
        plan: Arc::new(plan),
    })
}

/// A file that comes in as stdin lies on the host's mount: opened again through /proc/self/fd it
/// could be mapped as code, whatever it holds by then. Landlock forbids that outside the granted
/// trees, which it knows by their inodes.
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

/// A slot that no other jail holds and under whose name no group has processes.
fn take_lease(state: &Path, layout: Option<&CgroupLayout>) -> Result<Lease, JailError> {
    make_private_dir(state)?;
    let file = state.join("slots");
    // Start where the last run probably did not: neighbours in time spread out.
    let mut first = std::process::id() % SLOTS;
    for _ in 0..SLOTS {
        let lease = lease::take(&file, first, SLOTS).map_err(|source| match source {
            Errno::AGAIN => JailError::NoLease,
            source => JailError::State {
                path: file.clone(),
                source: source.into(),
            },
        })?;
        if layout.is_none_or(|layout| Group::new(layout, lease.slot).vacate()) {
            return Ok(lease);
        }
        first = (lease.slot + 1) % SLOTS;
    }
    Err(JailError::NoLease)
}

/// A directory of this user's alone. Anybody else's, or one that others may write, is refused
/// (CVE-2022-31214: a state directory that somebody else had prepared).
fn make_private_dir(dir: &Path) -> Result<(), JailError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let refuse = |source: std::io::Error| JailError::State {
        path: dir.into(),
        source,
    };
    let meta = match std::fs::symlink_metadata(dir) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let made = std::fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(dir);
            made.map_err(refuse)?;
            std::fs::symlink_metadata(dir).map_err(refuse)?
        }
        Err(e) => return Err(refuse(e)),
    };
    let (uid, _) = creel_sys::host::ids();
    if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o022 != 0 {
        return Err(refuse(std::io::Error::other(
            "it is not a directory of yours alone",
        )));
    }
    Ok(())
}

fn flag(namespace: Namespace) -> u64 {
    match namespace {
        Namespace::User => clone::NEWUSER,
        Namespace::Mount => clone::NEWNS,
        Namespace::Pid => clone::NEWPID,
        // Made by the janitor before the clone, or beside the tree and joined at the Loopback step.
        Namespace::Net => 0,
        Namespace::Ipc => clone::NEWIPC,
        Namespace::Uts => clone::NEWUTS,
    }
}

fn compile(
    act: &Act,
    plan: &Plan,
    host: &Host,
    pins: &Pins,
    user: (u32, u32),
    made: &BTreeSet<&Path>,
    copier: &mut Copier,
) -> Result<Work, JailError> {
    Ok(match act {
        Act::Root { bytes, inodes } => Work::Root {
            options: vec![
                option("mode", "0755"),
                option("size", &bytes.to_string()),
                option("nr_inodes", &inodes.to_string()),
            ],
        },
        Act::Directory { path, mode, owner } => Work::Directory {
            path: relative(path),
            mode: *mode,
            owner: (*owner == DirOwner::User).then_some(user),
        },
        Act::Link { path, target } => Work::Link {
            path: relative(path),
            target: absolute(target),
        },
        Act::File {
            path,
            mode,
            contents,
        } => Work::File {
            path: relative(path),
            mode: *mode,
            contents: contents.clone().into_bytes(),
        },
        Act::Bind {
            source,
            target,
            access,
            owner,
            without,
            ..
        } => {
            let attributes = attributes(*access) | mount::NODEV;
            let pin = pinned(pins, source)?;
            let tree = match host.id_mode {
                IdMode::Privileged => {
                    Tree::Held(copier.copy(source, pin, attributes, *owner, without)?)
                }
                IdMode::Rootless => Tree::Named {
                    source: absolute(source),
                    stat: pin.stat,
                },
            };
            let over = (!made.contains(target.as_path())).then_some(pin.stat);
            Work::Tree {
                path: relative(target),
                at: place(plan, target),
                tree,
                attributes,
                over,
            }
        }
        Act::Device { path, major, minor } => Work::Device {
            path: relative(path),
            source: absolute(path),
            number: rustix::fs::makedev(*major, *minor),
        },
        Act::Tmpfs {
            path,
            bytes,
            inodes,
            mode,
            access,
        } => {
            let mut options = vec![
                option("mode", &format!("{mode:o}")),
                option("size", &bytes.to_string()),
                option("nr_inodes", &inodes.to_string()),
            ];
            if mode & 0o002 == 0 {
                options.push(option("uid", &user.0.to_string()));
                options.push(option("gid", &user.1.to_string()));
            }
            Work::Instance {
                path: relative(path),
                at: place(plan, path),
                kind: c"tmpfs".into(),
                options,
                attributes: attributes(*access) | mount::NODEV,
            }
        }
        Act::Devpts => Work::Instance {
            path: c"dev/pts".into(),
            at: Place::Own,
            kind: c"devpts".into(),
            options: vec![
                option("newinstance", ""),
                option("ptmxmode", "0666"),
                option("mode", "0600"),
                // All instances share kernel.pty.max, 4096.
                option("max", TERMINALS),
            ],
            attributes: mount::NOSUID | mount::NOEXEC,
        },
        Act::Proc => Work::Proc {
            options: vec![option("hidepid", "invisible")],
            attributes: mount::NOSUID | mount::NODEV | mount::NOEXEC,
        },
        Act::UserCounts {
            inotify_instances,
            inotify_watches,
        } => Work::UserCounts {
            files: [
                (c"proc/sys/user/max_inotify_instances", inotify_instances),
                (c"proc/sys/user/max_inotify_watches", inotify_watches),
            ]
            .map(|(file, count)| (file, count.to_string().into_bytes())),
        },
        Act::ReadOnly { path } => Work::ReadOnly {
            path: relative(path),
        },
        Act::Mask { path, node, absent } => {
            let over = pins.get(path).map(|pin| pin.stat);
            Work::Mask {
                path: relative(path),
                at: place(plan, path),
                node: *node,
                absent: *absent,
                over,
            }
        }
        Act::Trust { path, by } => Work::Trust {
            path: relative(path),
            at: place(plan, path),
            by: relative(by),
        },
        Act::Withhold { path, by, later } => Work::Withhold {
            path: relative(path),
            directory: relative(path.parent().unwrap_or(path)),
            name: bytes(path.file_name().unwrap_or_default().as_bytes().to_vec()),
            by: *by,
            later: *later,
        },
        Act::Hold { path } => Work::Hold {
            path: relative(path),
        },
        Act::Pivot => Work::Pivot,
        Act::Seal => Work::Seal,
        Act::Hostname { name } => Work::Hostname { name: text(name) },
        Act::Loopback => Work::Loopback,
        Act::Clocks => Work::Clocks,
        Act::GroupView { path, group } => Work::Tree {
            path: relative(path),
            at: Place::Own,
            tree: Tree::Group(group.clone()),
            attributes: mount::INERT,
            over: None,
        },
        Act::JoinCgroup => Work::JoinCgroup,
        Act::CgroupNamespace => Work::CgroupNamespace,
        Act::Keyring => Work::Keyring,
        Act::ResourceLimit { limit, soft, hard } => Work::Limit {
            limit: *limit,
            soft: *soft,
            hard: *hard,
        },
        Act::Become { uid, gid } => Work::Become {
            uid: *uid,
            gid: *gid,
        },
        Act::Capabilities => Work::Capabilities,
        Act::NoNewPrivileges => Work::NoNewPrivileges,
        Act::NotDumpable => Work::NotDumpable,
        Act::Landlock { abi, rules } => {
            let mut set = Rules::new(*abi).map_err(|source| JailError::Landlock { source })?;
            let mut anchors = vec![];
            for rule in rules {
                // A host tree's inode is the same on both sides of the mount.
                match pins.get(&rule.path) {
                    Some(pin) => {
                        let access = rights::access(rule.rights, rule.node, set.abi());
                        set.allow(pin.fd.as_fd(), access)
                            .map_err(|source| JailError::Landlock { source })?;
                    }
                    None => anchors.push((absolute(&rule.path), rule.rights, rule.node)),
                }
            }
            Work::Landlock {
                rules: Some(set),
                anchors,
            }
        }
        Act::Terminal => Work::Terminal,
        Act::Streams => Work::Streams,
        Act::Descriptors => Work::Descriptors,
        Act::Workdir { path } => Work::Workdir {
            path: absolute(path),
        },
        Act::NoMemfd => Work::NoMemfd,
        Act::Seccomp => Work::Seccomp,
        Act::SeccompDebug => Work::SeccompDebug,
        Act::Namespaces { .. }
        | Act::MapIds(_)
        | Act::Cgroup(_)
        | Act::Authority { .. }
        | Act::Egress(_)
        | Act::Exec => {
            return Err(JailError::System {
                what: "compiling a plan",
                source: Errno::INVAL,
            });
        }
    })
}

pub(super) fn place(plan: &Plan, path: &Path) -> Place {
    let inside = plan.acts().any(|act| match act {
        Act::Bind { target, .. } => within(path, target) && path != target,
        _ => false,
    });
    if inside { Place::Granted } else { Place::Own }
}

fn pinned<'a>(pins: &'a Pins, path: &Path) -> Result<&'a Pin, JailError> {
    pins.get(path)
        .ok_or_else(|| JailError::Changed(path.to_path_buf()))
}

/// Mount attributes of a granted tree; set-user-ID never works in a jail.
pub(super) fn attributes(access: Access) -> u64 {
    let write = if access.write { 0 } else { mount::RDONLY };
    let exec = match access.code {
        Code::Data => mount::NOEXEC,
        Code::Load | Code::Execute => 0,
    };
    mount::NOSUID | write | exec
}

fn program(plan: &Plan, guard: Guarding) -> Result<Program, JailError> {
    let command = &plan.command;
    let environment = command.environment.iter().map(|(name, value)| {
        let mut line = name.clone();
        line.push(b'=');
        line.extend(value);
        bytes(line)
    });
    let board = Board::new().map_err(|source| JailError::System {
        what: "sharing memory",
        source,
    })?;
    Ok(Program {
        board,
        begins: match guard {
            Guarding::Wanted => Begins::WhenGuarded,
            Guarding::No => Begins::AtOnce,
        },
        candidates: command.candidates.iter().cloned().map(bytes).collect(),
        argv: CStrings::new(command.argv.iter().cloned().map(bytes).collect()),
        environment: CStrings::new(environment.collect()),
        disks: plan.jail.watch.disks.iter().map(|p| absolute(p)).collect(),
    })
}

fn option(key: &str, value: &str) -> (CString, CString) {
    (text(key), text(value))
}

fn relative(path: &Path) -> CString {
    let path = path.as_os_str().as_bytes();
    bytes(path.strip_prefix(b"/").unwrap_or(path).to_vec())
}

fn absolute(path: &Path) -> CString {
    bytes(path.as_os_str().as_bytes().to_vec())
}

fn text(text: &str) -> CString {
    bytes(text.as_bytes().to_vec())
}

/// `resolve` has refused every NUL in what callers write, and the kernel gives none in paths.
fn bytes(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap_or_default()
}
