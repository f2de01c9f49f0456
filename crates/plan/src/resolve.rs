//! `resolve(policy, request, host) -> Plan`: the plan of a run on one machine.

use std::collections::BTreeSet;
use std::path::Path;

use super::command::{argv, candidates, command_places, environment, find_client, identity};
use super::egress::Egress;
use super::host::{CgroupLayout, Host, IdMode};
use super::paths;
use super::receipt::{Means, layers};
use super::refusal::ResolveError;
use super::request::{Clocks, Request, Terminal};
use super::search_dirs;
use super::view::View;
use super::*;
use creel_policy::{Degradable, Execution, Limits, Origin, Policy};

/// The id of the jail's user if the jail has a range of ids.
pub const JAIL_ID: u32 = 1000;
/// Bytes that a jail's processes may lock, for secrets in memory.
const LOCKED_BYTES: u64 = 64 << 10;

/// On v1, processes of a session's group beyond the policy's limit, which holds for all of its commands together: a
/// command is forked in the session's group, and moves to that of the commands afterwards.
pub const HEADROOM: u64 = 8;

/// Queued signals and POSIX timers. They also count against the user who started creel, whose other
/// programs have the rest of `ulimit -i`.
const PENDING_SIGNALS: u64 = 4096;
/// The minimum for socket buffers in addition to the memory limit; a few connections are still fast with
/// it.
const LEAST_SOCKET_BYTES: u64 = 16 << 20;

/// Turns a policy and a request into a plan for this host.
pub fn resolve(policy: &Policy, request: &Request, host: &Host) -> Result<Plan, ResolveError> {
    match request.command.first() {
        Some(name) if !name.is_empty() => {}
        None if request.stays => {}
        _ => return Err(ResolveError::NoCommand),
    }
    let (limits, degraded) = (&policy.limits, &policy.allow_degraded);
    let home = paths::home(host);

    let egress = Egress::plan(&policy.network, &request.publish)?;
    let landlock = landlock(host, degraded)?;
    let on_host = paths::HostPaths::of(policy, request, host);
    let mut view = View::new(host, on_host, home.clone());
    view.identity = identity(policy, host);
    view.workspace(policy, request)?;
    view.grants(policy, request)?;
    view.programs(policy, &command_places(policy, request, host), landlock)?;
    view.contained(policy, request)?;
    if search_dirs::writes(policy, request) {
        view.protect(&policy.filesystem.protect)?;
    }
    view.search_dirs()?;
    view.obeyed(&request.unprotected)?;
    view.denials(&policy.filesystem.deny)?;
    view.patterns(&policy.filesystem)?;
    view.sockets();
    view.overlay_works()?;

    let ids = view.ids(degraded)?;
    view.map(policy, request)?;
    view.card = request.stays.then(|| card::card(policy, &view));
    let (uid, gid) = match ids {
        Ids::Range { .. } | Ids::Shared { .. } => (JAIL_ID, JAIL_ID),
        Ids::Caller { uid, gid } => (uid, gid),
    };
    let mut cgroup = cgroup(host, limits, degraded)?;
    let has_room = request.stays && matches!(host.cgroups, CgroupLayout::V1 { .. });
    if let Some(cgroup) = cgroup.as_mut().filter(|_| has_room) {
        cgroup.pids = cgroup.pids.saturating_add(HEADROOM);
    }
    let workdir = view.workdir(request)?;
    let environment = environment(policy, request, host)?;
    let argv = argv(request)?;

    let mut build = vec![
        Act::Namespaces {
            which: vec![
                Namespace::User,
                Namespace::Mount,
                Namespace::Pid,
                Namespace::Net,
                Namespace::Ipc,
                Namespace::Uts,
            ],
        },
        Act::MapIds(ids),
    ];
    build.extend(cgroup.map(Act::Cgroup));
    if cgroup.is_some() {
        view.groups(&policy.filesystem.deny);
    }
    let (tree, disks) = view.tree(limits, uid, gid, egress.as_ref())?;
    build.extend(tree);
    build.extend([
        Act::Pivot,
        Act::Seal,
        Act::Hostname {
            name: "creel".into(),
        },
        Act::Loopback,
    ]);
    build.extend(egress.clone().map(|egress| Act::Egress(Box::new(egress))));
    if request.clocks == Clocks::Jail {
        build.push(Act::Clocks);
    }
    if cgroup.is_some() && matches!(host.cgroups, CgroupLayout::V1 { .. }) {
        build.push(Act::JoinCgroup);
    }
    build.push(Act::CgroupNamespace);

    let processes = match cgroup {
        Some(_) => None,
        None => processes(limits, host),
    };
    Ok(Plan {
        policy: PolicyRef {
            name: policy.name.clone(),
            digest: policy.digest.clone(),
            flags: request.flags.clone(),
            notes: request.notes.clone(),
        },
        layers: layers(&Means {
            host,
            request,
            ids: &ids,
            cgroup: cgroup.as_ref(),
            processes,
            landlock,
            view: &view,
            egress: egress.as_ref(),
            debuggers: policy.debug.value,
        }),
        jail: JailPlan {
            build,
            confine: confine(policy, ids, (landlock, &view)),
            watch: JailWatch {
                cpu_time: limits.cpu_time.value.0,
                uncharged: socket_bytes(limits),
                disks,
            },
        },
        command: CommandPlan {
            argv,
            candidates: candidates(request, &environment, &workdir),
            environment,
            terminal: request.terminal,
            acts: command_acts(request.terminal, limits, processes, host, &workdir),
            workdir,
            watch: watch(limits),
        },
    })
}

/// The plan of a later command in `jail`, which was made under the same policy on this host.
pub fn command(
    policy: &Policy,
    request: &Request,
    host: &Host,
    jail: &JailPlan,
) -> Result<CommandPlan, ResolveError> {
    if request.command.first().is_none_or(|name| name.is_empty()) {
        return Err(ResolveError::NoCommand);
    }
    let limits = &policy.limits;
    let workdir = super::command::workdir_in(policy, request, host, jail)?;
    let mut environment = environment(policy, request, host)?;
    let is_client = |act: &Act| matches!(act, Act::Client { .. });
    if jail.build.iter().any(is_client) {
        find_client(&mut environment);
    }
    let counted = |act: &Act| matches!(act, Act::Cgroup(_));
    let processes = match jail.build.iter().any(counted) {
        true => None,
        false => processes(limits, host),
    };
    Ok(CommandPlan {
        argv: argv(request)?,
        candidates: candidates(request, &environment, &workdir),
        environment,
        terminal: request.terminal,
        acts: command_acts(request.terminal, limits, processes, host, &workdir),
        workdir,
        watch: watch(limits),
    })
}

fn watch(limits: &Limits) -> CommandWatch {
    CommandWatch {
        timeout: limits.timeout.value.0,
        output: limits.output.value.0,
        grace: limits.grace.value.0,
    }
}

/// The layers that apply to every process in the jail.
fn confine(policy: &Policy, ids: Ids, (abi, view): (u32, &View<'_>)) -> Vec<Act> {
    let mut acts = vec![Act::Keyring];
    if !matches!(ids, Ids::Caller { .. }) {
        acts.push(Act::Become {
            uid: JAIL_ID,
            gid: JAIL_ID,
        });
    }
    acts.extend([Act::Capabilities, Act::NoNewPrivileges, Act::NotDumpable]);
    if abi > 0 {
        acts.push(Act::Landlock {
            abi,
            rules: view.rules(),
        });
    }
    if policy.exec.value != Execution::Granted {
        acts.push(Act::NoMemfd);
    }
    acts.push(match policy.debug.value {
        true => Act::SeccompDebug,
        false => Act::Seccomp,
    });
    acts
}

/// The acts of the command's own process.
fn command_acts(
    terminal: Terminal,
    limits: &Limits,
    processes: Option<u64>,
    host: &Host,
    workdir: &Path,
) -> Vec<Act> {
    let mut acts = resource_limits(limits);
    acts.extend(processes.map(|most| Act::ResourceLimit {
        limit: Resource::Processes,
        soft: most,
        hard: most,
        rule: Some(limits.pids.origin.clone()),
    }));
    if terminal == Terminal::Pty {
        acts.push(Act::Terminal);
    }
    acts.extend([
        Act::Descriptors,
        open_files(limits, host),
        Act::Workdir {
            path: workdir.into(),
        },
        Act::Exec,
    ]);
    acts
}

fn cgroup(
    host: &Host,
    limits: &Limits,
    degraded: &BTreeSet<Degradable>,
) -> Result<Option<CgroupLimits>, ResolveError> {
    match &host.cgroups {
        CgroupLayout::Unusable { .. } if degraded.contains(&Degradable::Cgroup) => Ok(None),
        CgroupLayout::Unusable { why, lacks } => Err(ResolveError::NoCgroup {
            why: why.clone(),
            remedy: lacks.remedy(host.id_mode),
        }),
        layout => Ok(Some(CgroupLimits {
            memory: limits.memory.value.0,
            memory_high: limits.memory.value.0 / 100 * u64::from(limits.memory_high.value.0),
            sockets: matches!(layout, CgroupLayout::V1 { .. }).then(|| socket_bytes(limits)),
            cpu_milli: limits.cpus.value.0,
            // creel's own pid 1 is in the group too.
            pids: limits.pids.value.0.saturating_add(1),
        })),
    }
}

/// Bytes of socket buffers that a jail may use and that its memory limit does not count.
fn socket_bytes(limits: &Limits) -> u64 {
    (limits.memory.value.0 / 4).max(LEAST_SOCKET_BYTES)
}

fn landlock(host: &Host, degraded: &BTreeSet<Degradable>) -> Result<u32, ResolveError> {
    match host.landlock_abi {
        0 if !degraded.contains(&Degradable::Landlock) => Err(ResolveError::NoLandlock {
            kernel: host.kernel.clone(),
        }),
        abi => Ok(abi.min(NEWEST_LANDLOCK_ABI)),
    }
}

/// The newest Landlock ABI that creel has rules for (Linux 7.2).
pub const NEWEST_LANDLOCK_ABI: u32 = 10;

fn resource_limits(limits: &Limits) -> Vec<Act> {
    let by = |limit, soft, hard, rule: Option<&Origin>| Act::ResourceLimit {
        limit,
        soft,
        hard,
        rule: rule.cloned(),
    };
    let limit = |limit, soft, hard| by(limit, soft, hard, None);
    let seconds = limits.cpu_time.value.0.div_ceil(1000).max(1);
    let size = limits.file_size.value.0;
    let (cpu, file) = (&limits.cpu_time.origin, &limits.file_size.origin);
    vec![
        // 1, not 0: a piped core_pattern ignores 0 but not 1 (core(5)), and no file is that small.
        limit(Resource::Core, 1, 1),
        by(Resource::FileSize, size, size, Some(file)),
        limit(Resource::MemLock, LOCKED_BYTES, LOCKED_BYTES),
        // Queues use kernel memory that no tmpfs limit counts.
        limit(Resource::MessageQueue, 0, 0),
        limit(Resource::PendingSignals, PENDING_SIGNALS, PENDING_SIGNALS),
        // A caller with raised priority (limits.conf(5), for sound) does not pass it on.
        limit(Resource::Nice, 0, 0),
        limit(Resource::RealTime, 0, 0),
        by(Resource::Cpu, seconds, seconds.saturating_add(1), Some(cpu)),
    ]
}

/// The descriptors of the build are closed by then and do not count.
fn open_files(limits: &Limits, host: &Host) -> Act {
    let open = limits.open_files.value.0.min(host.open_files_ceiling);
    Act::ResourceLimit {
        limit: Resource::OpenFiles,
        soft: open,
        hard: open,
        rule: Some(limits.open_files.origin.clone()),
    }
}

/// The `pids` limit of a jail without a cgroup, as `RLIMIT_NPROC`. Two more: creel's own pid 1, and creel's
/// process that watches deny mounts from within the jail's user namespace. `None` if the limit would have
/// no effect or a wrong one: the kernel exempts the host's root, and before Linux 5.14 it counts all
/// processes of the user on the host (user_namespaces(7), ucounts).
fn processes(limits: &Limits, host: &Host) -> Option<u64> {
    (host.uid != 0 || host.id_mode == IdMode::Privileged)
        .then_some(limits.pids.value.0.saturating_add(2))
        .filter(|_| release(&host.kernel) >= (5, 14))
}

/// `6.18.44-x` as (6, 18). Text that is not a release is (0, 0), older than any.
fn release(kernel: &str) -> (u32, u32) {
    let mut numbers = kernel
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
