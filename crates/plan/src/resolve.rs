//! `resolve(policy, request, host) -> Plan`: what a run means on one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::egress::Egress;
use super::host::{CgroupLayout, Host, IdMode};
use super::identity::Identity;
use super::paths;
use super::receipt::{Means, layers};
use super::refusal::ResolveError;
use super::request::{Clocks, Request, Terminal};
use super::seats;
use super::view::View;
use super::*;
use creel_policy::{Degradable, Execution, Limits, Policy};

/// The jail's user where the jail has a range of ids.
pub const JAIL_ID: u32 = 1000;
/// Bytes that a jail's processes may lock, for secrets that they keep.
const LOCKED_BYTES: u64 = 64 << 10;

/// Queued signals and POSIX timers. They count for the user who started creel too, whose other
/// programs have what is left of `ulimit -i`.
const PENDING_SIGNALS: u64 = 4096;
/// Of socket buffers beside the memory, with which a few connections are still quick.
const LEAST_SOCKET_BYTES: u64 = 16 << 20;

/// Turns a policy and a request into a plan for this host.
pub fn resolve(policy: &Policy, request: &Request, host: &Host) -> Result<Plan, ResolveError> {
    if request.command.is_empty() || request.command[0].is_empty() {
        return Err(ResolveError::NoCommand);
    }
    let limits = effective_limits(&policy.limits, request);
    let degraded: BTreeSet<Degradable> = policy
        .allow_degraded
        .iter()
        .chain(&request.allow_degraded)
        .copied()
        .collect();
    let home = paths::home(host);

    let egress = Egress::plan(&policy.network, &request.publish)?;
    let landlock = landlock(host, &degraded)?;
    let mut view = View::new(host, home.clone());
    view.identity = identity(policy, host);
    view.workspace(policy, request)?;
    view.grants(policy, request)?;
    view.programs(policy, &command_places(policy, request, host), landlock)?;
    view.confined(policy, request)?;
    if seats::writes(policy, request) {
        view.protect(&policy.filesystem.protect)?;
    }
    view.seats()?;
    view.obeyed(&request.unprotected)?;
    view.denials(&policy.filesystem.deny)?;
    view.patterns(&policy.filesystem)?;
    view.sockets();

    let ids = view.ids(&degraded)?;
    let (uid, gid) = match ids {
        Ids::Range { .. } | Ids::Shared { .. } => (JAIL_ID, JAIL_ID),
        Ids::Caller { uid, gid } => (uid, gid),
    };
    let cgroup = cgroup(host, &limits, &degraded)?;
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
    let (tree, disks) = view.tree(&limits, uid, gid, egress.as_ref())?;
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
        None => processes(&limits, host),
    };
    Ok(Plan {
        policy: PolicyRef {
            name: policy.name.clone(),
            digest: policy.digest.clone(),
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
                uncharged: socket_bytes(&limits),
                disks,
            },
        },
        command: CommandPlan {
            argv,
            candidates: candidates(request, &environment, &workdir),
            environment,
            terminal: request.terminal,
            acts: command_acts(request.terminal, &limits, processes, host, &workdir),
            workdir,
            watch: CommandWatch {
                timeout: limits.timeout.value.0,
                output: limits.output.value.0,
                grace: limits.grace.value.0,
            },
        },
    })
}

/// The layers that everybody in the jail is under.
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

/// What is the command's own.
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

fn effective_limits(policy: &Limits, request: &Request) -> Limits {
    let mut limits = policy.clone();
    let asked = &request.limits;
    if let Some(v) = asked.memory {
        limits.memory.value = v;
    }
    if let Some(v) = asked.cpus {
        limits.cpus.value = v;
    }
    if let Some(v) = asked.pids {
        limits.pids.value = v;
    }
    if let Some(v) = asked.timeout {
        limits.timeout.value = v;
    }
    if let Some(v) = asked.cpu_time {
        limits.cpu_time.value = v;
    }
    if let Some(v) = asked.disk {
        limits.disk.value = v;
    }
    if let Some(v) = asked.output {
        limits.output.value = v;
    }
    limits
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

/// What a jail may have in socket buffers that its memory limit does not count.
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
    let limit = |limit, soft, hard| Act::ResourceLimit { limit, soft, hard };
    let seconds = limits.cpu_time.value.0.div_ceil(1000).max(1);
    let size = limits.file_size.value.0;
    vec![
        // 1, not 0: a piped core_pattern ignores 0 but not 1 (core(5)), and no file is that small.
        limit(Resource::Core, 1, 1),
        limit(Resource::FileSize, size, size),
        limit(Resource::MemLock, LOCKED_BYTES, LOCKED_BYTES),
        // Queues are memory of the kernel's that no tmpfs limit counts.
        limit(Resource::MessageQueue, 0, 0),
        limit(Resource::PendingSignals, PENDING_SIGNALS, PENDING_SIGNALS),
        // A caller that may go before others (limits.conf(5), for sound) does not hand that on.
        limit(Resource::Nice, 0, 0),
        limit(Resource::RealTime, 0, 0),
        limit(Resource::Cpu, seconds, seconds.saturating_add(1)),
    ]
}

/// What building has open is closed by then, and does not count.
fn open_files(limits: &Limits, host: &Host) -> Act {
    let open = limits.open_files.value.0.min(host.open_files_ceiling);
    Act::ResourceLimit {
        limit: Resource::OpenFiles,
        soft: open,
        hard: open,
    }
}

/// The `pids` limit of a jail without a cgroup, as `RLIMIT_NPROC`: creel's own pid 1 counts too, and its
/// process that watches covers from within the jail's user namespace.
/// `None` where that would be no limit, or the wrong one: the kernel exempts the host's root, and
/// before Linux 5.14 it counts what the user runs on the whole host (user_namespaces(7), ucounts).
fn processes(limits: &Limits, host: &Host) -> Option<u64> {
    (host.uid != 0 || host.id_mode == IdMode::Privileged)
        .then_some(limits.pids.value.0.saturating_add(2))
        .filter(|_| release(&host.kernel) >= (5, 14))
}

/// `6.18.44-x` as (6, 18); what is no release is older than any.
fn release(kernel: &str) -> (u32, u32) {
    let mut numbers = kernel
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn argv(request: &Request) -> Result<Vec<Vec<u8>>, ResolveError> {
    request
        .command
        .iter()
        .map(|arg| plain(arg.as_bytes(), "an argument"))
        .collect()
}

fn plain(bytes: &[u8], what: &'static str) -> Result<Vec<u8>, ResolveError> {
    match bytes.contains(&0) {
        true => Err(ResolveError::Nul(what)),
        false => Ok(bytes.to_vec()),
    }
}

/// Where the command of a run may be, in the jail and on the host alike: a granted path is the same
/// on both sides. Nothing where the request is one that [`resolve`] refuses.
pub(super) fn command_places(policy: &Policy, request: &Request, host: &Host) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let workdir = paths::workspace(policy, request, host)
        .join(request.workdir.as_deref().unwrap_or("".as_ref()));
    match environment(policy, request, host) {
        Ok(environment) if !request.command.is_empty() => {
            candidates(request, &environment, &workdir)
                .into_iter()
                .map(|bytes| {
                    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
                    paths::absolute(&path, host)
                })
                .collect()
        }
        _ => vec![],
    }
}

/// Where the command may be: the jail's own `PATH` decides, never the caller's.
fn candidates(
    request: &Request,
    environment: &BTreeMap<Vec<u8>, Vec<u8>>,
    workdir: &Path,
) -> Vec<Vec<u8>> {
    let name = request.command[0].as_bytes();
    if name.contains(&b'/') {
        return vec![
            workdir
                .join(Path::new(&request.command[0]))
                .as_os_str()
                .as_bytes()
                .to_vec(),
        ];
    }
    let path = environment
        .get(b"PATH".as_slice())
        .map_or(b"".as_slice(), Vec::as_slice);
    path.split(|b| *b == b':')
        // An empty element means the working directory to a shell; a jail has no such surprise.
        .filter(|dir| dir.first() == Some(&b'/'))
        .map(|dir| [dir, b"/", name].concat())
        .collect()
}

/// Whose commits the jail's are, where the policy says that it is told.
fn identity<'h>(policy: &Policy, host: &'h Host) -> Option<&'h Identity> {
    let wanted = policy.environment.git_identity.value;
    Some(&host.found.identity).filter(|identity| wanted && !identity.is_empty())
}

fn environment(
    policy: &Policy,
    request: &Request,
    host: &Host,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ResolveError> {
    let home = &paths::home(host);
    let mut all = BTreeMap::new();
    for name in &policy.environment.pass {
        let caller = request
            .caller_env
            .iter()
            .find(|(k, _)| k.as_bytes() == name.value.as_bytes());
        if let Some((name, value)) = caller {
            all.insert(
                name.as_bytes().to_vec(),
                plain(value.as_bytes(), "a variable")?,
            );
        }
    }
    for (name, value) in &policy.environment.set {
        let value = paths::expand_value(&value.value, home);
        all.insert(name.clone().into_bytes(), value.into_bytes());
    }
    let home = home.as_os_str().as_bytes();
    for (name, value) in [
        ("HOME", home),
        ("USER", b"agent"),
        ("LOGNAME", b"agent"),
        ("SHELL", b"/bin/sh"),
        // What a shell assumes; it finds only what is granted.
        ("PATH", b"/usr/local/bin:/usr/bin:/bin"),
    ] {
        all.entry(name.into()).or_insert_with(|| value.to_vec());
    }
    for (name, value) in Egress::environment(&policy.network) {
        all.entry(name.into()).or_insert_with(|| value.into_bytes());
    }
    if let Some(path) = all.get_mut(b"PATH".as_slice()) {
        find_granted(path, request, host);
    }
    if let Some(identity) = identity(policy, host) {
        identity.tell(&mut all);
    }
    for (name, value) in &request.env {
        if name.as_bytes().starts_with(b"CREEL") {
            return Err(ResolveError::Reserved(name.to_string_lossy().into_owned()));
        }
        all.insert(
            plain(name.as_bytes(), "a variable")?,
            plain(value.as_bytes(), "a variable")?,
        );
    }
    for (name, value) in Egress::placeholders(&policy.network) {
        all.insert(name.into(), value.into());
    }
    all.insert(b"CREEL".into(), b"1".into());
    all.insert(b"CREEL_ID".into(), request.id.clone().into_bytes());
    Ok(all)
}

/// Adds the directories of `--exec` to the end of a PATH: programs there start each other by name.
fn find_granted(path: &mut Vec<u8>, request: &Request, host: &Host) {
    for place in &request.exec {
        let place = paths::absolute(place, host);
        let bytes = place.as_os_str().as_bytes();
        let known = path.split(|b| *b == b':').any(|entry| entry == bytes);
        // Whether it is one nobody may have looked yet; a file there is no harm.
        let file = matches!(
            host.paths.get(&place),
            Some(Fact::Present {
                node: Node::File,
                ..
            })
        );
        if known || file || bytes.contains(&b':') {
            continue;
        }
        if !path.is_empty() {
            path.push(b':');
        }
        path.extend(bytes);
    }
}
