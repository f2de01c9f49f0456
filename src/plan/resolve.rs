//! `resolve(policy, request, host) -> Plan`: what a run means on one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::host::{CgroupLayout, Fact, Host, IdMode, Idmap};
use super::paths::{
    self, FRESH_WORKSPACE, NEVER_BELOW, NEVER_WRITABLE, OWN_TMPFS, TOO_WIDE, within,
};
use super::request::{Request, Terminal};
use super::*;
use crate::policy::{Absent, Degradable, Grant, Limits, Origin, Policy, WorkspaceMode};

/// The jail's user where the jail has a range of ids.
const JAIL_ID: u32 = 1000;
/// Ids in a jail's range: what programs expect to exist.
const ID_RANGE: u32 = 65_536;
/// Of the root tmpfs, which holds directories, links and a few small files.
const ROOT_BYTES: u64 = 1 << 20;
const ROOT_INODES: u64 = 1024;
/// Bytes that a jail's processes may lock, for secrets that they keep.
const LOCKED_BYTES: u64 = 64 << 10;

/// Why no plan can be made. The messages name the thing, who forbids it, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no command; write it after `--`: creel run -- CMD")]
    NoCommand,
    #[error("a NUL byte in {0} cannot be passed to a program")]
    Nul(&'static str),
    #[error("{place}: {path} does not exist; correct it, or mark it `optional = true`", place = place(.origin), path = .path.display())]
    Missing { path: PathBuf, origin: Origin },
    #[error("{place}: {path} may not be read by you, so it cannot be granted", place = place(.origin), path = .path.display())]
    Unreadable { path: PathBuf, origin: Origin },
    #[error("{place}: {path} is a socket, a device or a pipe, which no grant can bring in", place = place(.origin), path = .path.display())]
    Special { path: PathBuf, origin: Origin },
    #[error("{place}: {path} cannot be granted: {why}", place = place(.origin), path = .path.display())]
    Never {
        path: PathBuf,
        why: &'static str,
        origin: Origin,
    },
    #[error("{place}: {path} is too wide to be writable; name a directory in it", place = place(.origin), path = .path.display())]
    TooWide { path: PathBuf, origin: Origin },
    #[error("{place}: {path} has a `..` in it; write where it leads", place = place(.origin), path = .path.display())]
    Parent { path: PathBuf, origin: Origin },
    #[error("{place}: `~` means nothing here: user {uid} is not in /etc/passwd; write the path in full", place = place(.origin))]
    NoHome { uid: u32, origin: Origin },
    #[error("{place}: {path} does not exist yet, and a mount cannot cover what does not exist; create it, or mark it `optional = true`", place = place(.origin), path = .path.display())]
    DenyAbsent { path: PathBuf, origin: Origin },
    #[error("{place}: {path} leads through a symbolic link that the jail could change; deny where it leads, {real}, or take the link away", place = place(.origin), path = .path.display(), real = .real.display())]
    DenyLink {
        path: PathBuf,
        real: PathBuf,
        origin: Origin,
    },
    #[error("the workspace {0} does not exist; create it, or name another with --workspace DIR")]
    NoWorkspace(String),
    #[error("the workspace {0} is not a directory; name one with --workspace DIR")]
    WorkspaceNotDirectory(String),
    #[error("{path} leads through a symbolic link out of the writable tree {tree}, and the jail could turn it; grant where it leads, {real}", path = .path.display(), tree = .tree.display(), real = .real.display())]
    LinkOut {
        path: PathBuf,
        real: PathBuf,
        tree: PathBuf,
    },
    #[error("the workspace {link} is a symbolic link; name where it leads: --workspace {real}")]
    WorkspaceLink { link: String, real: String },
    #[error(
        "the workspace {0} is too wide to be handed to a jail; go into a project directory, name one with --workspace DIR, or use --workspace none"
    )]
    WorkspaceTooWide(String),
    #[error("the workspace {0} may not be opened by you; name another with --workspace DIR")]
    WorkspaceDenied(String),
    #[error("the workspace {path} cannot be used: {why}")]
    WorkspaceNever { path: String, why: &'static str },
    #[error(
        "the working directory {0} is not in the jail; name the workspace, /tmp, your home or a granted directory"
    )]
    WorkdirOutside(String),
    #[error(
        "the id layer needs idmapped mounts, which the filesystem of {path} does not have on kernel {kernel}; move it to ext4, xfs or btrfs, run as an ordinary user, or go on with --allow-degraded idmap"
    )]
    NoIdmap { path: String, kernel: String },
    #[error(
        "the id layer cannot share the owner of {0}, who is root: give the directory to an ordinary user, or move it to a filesystem with idmapped mounts"
    )]
    SharedRoot(String),
    #[error(
        "the kernel {kernel} has no Landlock, which the file layer needs; boot a kernel with CONFIG_SECURITY_LANDLOCK and `landlock` in lsm=, or go on with --allow-degraded landlock"
    )]
    NoLandlock { kernel: String },
    #[error(
        "no cgroup can be used for the limits: {why}; {remedy}, or go on without memory, cpu and pids limits with --allow-degraded cgroup"
    )]
    NoCgroup { why: String, remedy: &'static str },
    #[error("the environment variable {0} is reserved for creel")]
    Reserved(String),
}

fn place(origin: &Origin) -> String {
    match origin.line {
        0 => origin.source.clone(),
        line => format!("{}:{line}", origin.source),
    }
}

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

    let mut view = View::new(host, home.clone());
    view.workspace(policy, request)?;
    view.grants(policy, request)?;
    view.denials(
        &policy.filesystem.deny,
        request.workspace.as_deref(),
        policy,
        request,
    )?;
    view.sockets();

    let ids = view.ids(&degraded)?;
    let (uid, gid) = match ids {
        Ids::Range { .. } | Ids::Shared { .. } => (JAIL_ID, JAIL_ID),
        Ids::Caller { uid, gid } => (uid, gid),
    };
    let cgroup = cgroup(host, &limits, &degraded)?;
    let landlock = landlock(host, &degraded)?;
    let workdir = view.workdir(request)?;
    let environment = environment(policy, request, &home)?;
    let command = Command {
        argv: argv(request)?,
        candidates: candidates(request, &environment, &workdir),
        environment,
        workdir: workdir.clone(),
        terminal: request.terminal,
    };

    let mut acts = vec![
        Act::Namespaces {
            which: vec![
                Namespace::User,
                Namespace::Mount,
                Namespace::Pid,
                Namespace::Net,
                Namespace::Ipc,
                Namespace::Uts,
                Namespace::Cgroup,
            ],
        },
        Act::MapIds(ids),
    ];
    acts.extend(cgroup.map(Act::Cgroup));
    let (tree, disks) = view.tree(&limits, uid, gid);
    acts.extend(tree);
    acts.extend([
        Act::Pivot,
        Act::Seal,
        Act::Hostname {
            name: "creel".into(),
        },
        Act::Loopback,
    ]);
    if cgroup.is_some() && matches!(host.cgroups, CgroupLayout::V1 { .. }) {
        acts.push(Act::JoinCgroup);
    }
    acts.push(Act::Keyring);
    acts.extend(resource_limits(&limits, host));
    if !matches!(ids, Ids::Caller { .. }) {
        acts.push(Act::Become { uid, gid });
    }
    acts.extend([Act::Capabilities, Act::NoNewPrivileges, Act::NotDumpable]);
    if landlock > 0 {
        acts.push(Act::Landlock {
            abi: landlock,
            rules: view.rules(),
        });
    }
    if request.terminal == Terminal::Pty {
        acts.push(Act::Terminal);
    }
    acts.extend([
        Act::Descriptors,
        Act::Workdir { path: workdir },
        Act::Seccomp,
        Act::Exec,
    ]);

    Ok(Plan {
        policy: PolicyRef {
            name: policy.name.clone(),
            digest: policy.digest.clone(),
        },
        layers: layers(host, &ids, cgroup.as_ref(), landlock, &view),
        acts,
        command,
        watch: Watch {
            timeout: limits.timeout.value.0,
            cpu_time: limits.cpu_time.value.0,
            output: limits.output.value.0,
            grace: limits.grace.value.0,
            disks,
        },
    })
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

/// What the jail will see of the filesystem, gathered before it becomes acts.
struct View<'a> {
    host: &'a Host,
    home: PathBuf,
    workspace: Workspace,
    /// Real path on the host, and in the jail, with what is granted there.
    binds: BTreeMap<PathBuf, Bound>,
    /// The jail's own tmpfs that are executable.
    executable: BTreeSet<PathBuf>,
    /// Where a grant was named through a symbolic link: the name, and where it leads.
    links: BTreeMap<PathBuf, PathBuf>,
    masks: BTreeMap<PathBuf, Node>,
    /// Sockets of the host in granted trees.
    sockets: BTreeSet<PathBuf>,
    skipped: Vec<String>,
}

struct Workspace {
    path: PathBuf,
    fresh: bool,
}

#[derive(Clone, Copy)]
struct Bound {
    node: Node,
    access: Access,
    uid: u32,
    gid: u32,
    idmap: Idmap,
}

/// One way in which a grant opens a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
    Exec,
}

impl<'a> View<'a> {
    fn new(host: &'a Host, home: PathBuf) -> View<'a> {
        View {
            host,
            home,
            workspace: Workspace {
                path: PathBuf::new(),
                fresh: false,
            },
            binds: BTreeMap::new(),
            executable: BTreeSet::new(),
            links: BTreeMap::new(),
            masks: BTreeMap::new(),
            sockets: BTreeSet::new(),
            skipped: vec![],
        }
    }

    fn workspace(&mut self, policy: &Policy, request: &Request) -> Result<(), ResolveError> {
        let mode = paths::workspace_mode(policy, request);
        let named = paths::workspace(policy, request, self.host);
        if mode == WorkspaceMode::None {
            self.workspace = Workspace {
                path: FRESH_WORKSPACE.into(),
                fresh: true,
            };
            return Ok(());
        }
        let text = named.display().to_string();
        let Fact::Present {
            real,
            node,
            uid,
            gid,
            link,
            idmap,
        } = self.host.fact(&named)
        else {
            return Err(match self.host.fact(&named) {
                Fact::Absent => ResolveError::NoWorkspace(text),
                Fact::Denied => ResolveError::WorkspaceDenied(text),
                _ => ResolveError::WorkspaceNotDirectory(text),
            });
        };
        if *node != Node::Directory {
            return Err(ResolveError::WorkspaceNotDirectory(text));
        }
        if *link {
            return Err(ResolveError::WorkspaceLink {
                link: text,
                real: real.display().to_string(),
            });
        }
        if named
            .components()
            .any(|c| c == std::path::Component::ParentDir)
        {
            let why = "it has a `..` in it; write where it leads";
            return Err(ResolveError::WorkspaceNever { path: text, why });
        }
        if let Some(why) = never_below(real) {
            return Err(ResolveError::WorkspaceNever { path: text, why });
        }
        if self.too_wide(real) {
            return Err(ResolveError::WorkspaceTooWide(text));
        }
        let access = Access {
            write: mode == WorkspaceMode::ReadWrite,
            exec: false,
        };
        let bound = Bound {
            node: *node,
            access,
            uid: *uid,
            gid: *gid,
            idmap: *idmap,
        };
        self.binds.insert(real.clone(), bound);
        if *real != named {
            self.links.insert(named, real.clone());
        }
        self.workspace = Workspace {
            path: real.clone(),
            fresh: false,
        };
        Ok(())
    }

    /// Too wide to be writable: a directory of the system, or one that holds the caller's home.
    fn too_wide(&self, real: &Path) -> bool {
        TOO_WIDE.iter().any(|wide| real == Path::new(wide))
            || NEVER_WRITABLE
                .iter()
                .any(|tree| within(real, Path::new(tree)))
            || self
                .host
                .home
                .as_deref()
                .is_some_and(|home| home.starts_with(real))
    }

    fn grants(&mut self, policy: &Policy, request: &Request) -> Result<(), ResolveError> {
        let fs = &policy.filesystem;
        for (grants, way) in [
            (&fs.read, Way::Read),
            (&fs.write, Way::Write),
            (&fs.exec, Way::Exec),
        ] {
            for grant in grants {
                // A policy is a template: where there is no home, there is nothing under it.
                let Some(path) = paths::expand(&grant.path, self.host, &self.workspace.path) else {
                    if grant.absent == Absent::Skip {
                        continue;
                    }
                    return Err(ResolveError::NoHome {
                        uid: self.host.uid,
                        origin: grant.origin.clone(),
                    });
                };
                self.grant(&path, way, grant.absent, &grant.origin)?;
            }
        }
        let line = |flag: &str| Origin {
            source: flag.into(),
            line: 0,
        };
        for path in &request.read {
            self.grant(
                &paths::absolute(path, self.host),
                Way::Read,
                Absent::Refuse,
                &line("--read"),
            )?;
        }
        for path in &request.write {
            self.grant(
                &paths::absolute(path, self.host),
                Way::Write,
                Absent::Refuse,
                &line("--write"),
            )?;
        }
        self.no_links_out()
    }

    /// Whoever can write in a tree can turn a link in it, and the next run would be granted what it
    /// leads to then.
    fn no_links_out(&self) -> Result<(), ResolveError> {
        let writable = |path: &Path| {
            self.binds
                .iter()
                .find(|(tree, bound)| bound.access.write && within(path, tree))
        };
        for (path, real) in &self.links {
            if let Some((tree, _)) = writable(path)
                && !within(real, tree)
            {
                return Err(ResolveError::LinkOut {
                    path: path.clone(),
                    real: real.clone(),
                    tree: tree.clone(),
                });
            }
        }
        Ok(())
    }

    fn grant(
        &mut self,
        path: &Path,
        way: Way,
        absent: Absent,
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        if self.workspace.fresh && path == self.workspace.path {
            if way == Way::Exec {
                self.executable.insert(path.to_path_buf());
            }
            return Ok(());
        }
        if OWN_TMPFS.iter().any(|own| path == Path::new(own)) || path == self.home {
            match way {
                Way::Exec => drop(self.executable.insert(path.to_path_buf())),
                // Writable already.
                Way::Write => {}
                Way::Read => {
                    return Err(ResolveError::Never {
                        path: path.to_path_buf(),
                        why: "the jail has its own, empty; name a directory in it",
                        origin: origin.clone(),
                    });
                }
            }
            return Ok(());
        }
        if path
            .components()
            .any(|c| c == std::path::Component::ParentDir)
        {
            return Err(ResolveError::Parent {
                path: path.to_path_buf(),
                origin: origin.clone(),
            });
        }
        let (real, bound, link) = match self.host.fact(path) {
            Fact::Absent if absent == Absent::Skip => {
                self.skipped.push(format!("{} is absent", path.display()));
                return Ok(());
            }
            Fact::Absent => {
                return Err(ResolveError::Missing {
                    path: path.into(),
                    origin: origin.clone(),
                });
            }
            Fact::Denied if absent == Absent::Skip => {
                self.skipped
                    .push(format!("{} may not be read by the caller", path.display()));
                return Ok(());
            }
            Fact::Denied => {
                return Err(ResolveError::Unreadable {
                    path: path.into(),
                    origin: origin.clone(),
                });
            }
            Fact::Special => {
                return Err(ResolveError::Special {
                    path: path.into(),
                    origin: origin.clone(),
                });
            }
            Fact::Present {
                real,
                node,
                uid,
                gid,
                link,
                idmap,
            } => {
                let access = Access {
                    write: way == Way::Write,
                    exec: way == Way::Exec,
                };
                let bound = Bound {
                    node: *node,
                    access,
                    uid: *uid,
                    gid: *gid,
                    idmap: *idmap,
                };
                (real.clone(), bound, *link)
            }
        };
        for candidate in [path, &real] {
            if let Some(why) = never_below(candidate) {
                return Err(ResolveError::Never {
                    path: candidate.to_path_buf(),
                    why,
                    origin: origin.clone(),
                });
            }
        }
        if real == Path::new("/") {
            return Err(ResolveError::Never {
                path: real,
                why: "it is the whole host; name the directories that are needed",
                origin: origin.clone(),
            });
        }
        if way == Way::Write && self.too_wide(&real) {
            return Err(ResolveError::TooWide {
                path: real,
                origin: origin.clone(),
            });
        }
        let entry = self.binds.entry(real.clone()).or_insert(bound);
        entry.access.write |= bound.access.write;
        entry.access.exec |= bound.access.exec;
        if bound.access.write {
            entry.idmap = bound.idmap;
        }
        if link || real != path {
            self.links.insert(path.to_path_buf(), real);
        }
        Ok(())
    }

    fn denials(
        &mut self,
        deny: &[Grant],
        _workspace: Option<&Path>,
        _policy: &Policy,
        _request: &Request,
    ) -> Result<(), ResolveError> {
        for grant in deny {
            let Some(path) = paths::expand(&grant.path, self.host, &self.workspace.path) else {
                // No home, hence nothing granted beneath it.
                continue;
            };
            let (real, node) = match self.host.fact(&path) {
                Fact::Present { real, node, .. } => (real.clone(), *node),
                // Not a file that can be read; its name is covered all the same.
                Fact::Special => (path.clone(), Node::File),
                Fact::Absent | Fact::Denied => {
                    let granted = self.binds.keys().any(|bind| path.starts_with(bind));
                    if granted && grant.absent == Absent::Refuse {
                        return Err(ResolveError::DenyAbsent {
                            path,
                            origin: grant.origin.clone(),
                        });
                    }
                    if granted {
                        self.skipped
                            .push(format!("deny {}: absent, not covered", path.display()));
                    }
                    continue;
                }
            };
            // Whoever can write there turns the link, and the plan was made for what it led to.
            let named = self.behind_links(&path);
            if named != real
                && self
                    .bind_above(&named)
                    .is_some_and(|(_, bound)| bound.access.write)
            {
                return Err(ResolveError::DenyLink {
                    path,
                    real,
                    origin: grant.origin.clone(),
                });
            }
            // Deny wins: what is granted beneath a denied path goes, what surrounds it is covered.
            self.binds.retain(|bind, _| !bind.starts_with(&real));
            self.links.retain(|_, target| !target.starts_with(&real));
            if self.binds.keys().any(|bind| real.starts_with(bind)) {
                self.masks.insert(real, node);
            }
        }
        Ok(())
    }

    /// `path`, with the link by which a grant was named replaced by where it leads.
    fn behind_links(&self, path: &Path) -> PathBuf {
        let through = self.links.iter().rev().find_map(|(link, target)| {
            let rest = path.strip_prefix(link).ok()?;
            Some(if rest.as_os_str().is_empty() {
                target.clone()
            } else {
                target.join(rest)
            })
        });
        through.unwrap_or_else(|| path.to_path_buf())
    }

    /// No host socket is in a jail: what listens in a granted tree is covered, for no mount flag and
    /// no Landlock right up to ABI 7 stops connect(2) by path.
    fn sockets(&mut self) {
        let special = self
            .host
            .paths
            .iter()
            .filter(|(_, fact)| matches!(fact, Fact::Special));
        self.sockets = special
            .map(|(path, _)| path)
            .filter(|path| self.bind_above(path).is_some())
            .filter(|path| !self.masks.keys().any(|mask| path.starts_with(mask)))
            .cloned()
            .collect();
    }

    /// The directories of writable trees that lie above what is covered or mounted in them.
    fn held(&self) -> BTreeSet<PathBuf> {
        let nested = self
            .binds
            .iter()
            .filter(|(path, bound)| !self.covered(path, bound));
        let mut held = BTreeSet::new();
        for path in self.masks.keys().chain(nested.map(|(path, _)| path)) {
            let Some((tree, bound)) = path.parent().and_then(|parent| self.bind_above(parent))
            else {
                continue;
            };
            let hidden = self
                .own_tmpfs()
                .iter()
                .any(|own| own.starts_with(tree) && path.starts_with(own));
            if bound.access.write && !hidden {
                held.extend(
                    path.ancestors()
                        .skip(1)
                        .take_while(|above| above != tree)
                        .map(Path::to_path_buf),
                );
            }
        }
        held
    }

    fn ids(&self, degraded: &BTreeSet<Degradable>) -> Result<Ids, ResolveError> {
        if self.host.id_mode == IdMode::Rootless {
            return Ok(Ids::Caller {
                uid: self.host.uid,
                gid: self.host.gid,
            });
        }
        let refused = self
            .binds
            .iter()
            .find(|(_, b)| b.access.write && b.idmap == Idmap::Refused);
        match refused {
            None => Ok(Ids::Range { count: ID_RANGE }),
            Some((path, _)) if !degraded.contains(&Degradable::Idmap) => {
                Err(ResolveError::NoIdmap {
                    path: path.display().to_string(),
                    kernel: self.host.kernel.clone(),
                })
            }
            Some((path, bound)) if bound.uid == 0 || bound.gid == 0 => {
                Err(ResolveError::SharedRoot(path.display().to_string()))
            }
            Some((_, bound)) => Ok(Ids::Shared {
                uid: bound.uid,
                gid: bound.gid,
            }),
        }
    }

    /// The mount that a path in the jail would be found on, if creel made it from the host.
    fn bind_above(&self, path: &Path) -> Option<(&PathBuf, &Bound)> {
        self.binds
            .range(..=path.to_path_buf())
            .rev()
            .find(|(bind, _)| path.starts_with(bind))
    }

    /// True where an enclosing grant says the same already.
    fn covered(&self, path: &Path, bound: &Bound) -> bool {
        path.parent()
            .and_then(|parent| self.bind_above(parent))
            .is_some_and(|(above, outer)| {
                outer.access == bound.access
                    // The home tmpfs lies between and would hide it.
                    && !(within(&self.home, above) && within(path, &self.home))
            })
    }

    fn own_tmpfs(&self) -> Vec<PathBuf> {
        let mut own = vec![
            PathBuf::from("/tmp"),
            PathBuf::from("/dev/shm"),
            self.home.clone(),
        ];
        if self.workspace.fresh {
            own.push(self.workspace.path.clone());
        }
        own
    }

    /// The acts that build the tree, and the writable tmpfs among them.
    fn tree(&self, limits: &Limits, uid: u32, gid: u32) -> (Vec<Act>, Vec<PathBuf>) {
        let mut acts = vec![Act::Root {
            bytes: ROOT_BYTES,
            inodes: ROOT_INODES,
        }];
        let mut made = Made {
            directories: BTreeSet::new(),
            view: self,
        };
        made.directory("/dev".as_ref(), &mut acts);
        made.directory("/proc".as_ref(), &mut acts);
        made.directory("/etc".as_ref(), &mut acts);
        made.directory("/run".as_ref(), &mut acts);
        made.directory("/var".as_ref(), &mut acts);
        // A link is no place to mount anything at, and a workspace may well lie there.
        let var_tmp = Path::new("/var/tmp");
        let taken = |path: &PathBuf| path.starts_with(var_tmp);
        if !self
            .binds
            .keys()
            .chain(self.links.keys())
            .chain(&self.own_tmpfs())
            .any(taken)
        {
            acts.push(Act::Link {
                path: var_tmp.into(),
                target: "/tmp".into(),
            });
        }
        acts.extend(devices());
        made.directory("/dev/pts".as_ref(), &mut acts);
        acts.push(Act::Devpts);
        acts.push(Act::Proc);

        // All that needs nothing of the host comes first: meanwhile the parent prepares its trees.
        for (path, contents) in etc(uid, gid, &self.home) {
            // A grant of the host's own file takes its place.
            if self.binds.contains_key(Path::new(path)) {
                continue;
            }
            acts.push(Act::File {
                path: path.into(),
                mode: 0o444,
                contents,
            });
        }
        acts.extend(proc::READ_ONLY.iter().map(|(name, _)| Act::ReadOnly {
            path: Path::new("/proc").join(name),
        }));
        acts.extend(proc::MASKS.iter().map(|(name, node, _)| Act::Mask {
            path: Path::new("/proc").join(name),
            node: *node,
            absent: IfAbsent::Skip,
        }));

        // Mounts by depth, so that nothing is covered by what encloses it.
        enum Mount<'a> {
            Tmpfs,
            Bind(&'a Bound),
        }
        let own = self.own_tmpfs();
        let mut mounts: Vec<(&Path, Mount)> =
            own.iter().map(|p| (p.as_path(), Mount::Tmpfs)).collect();
        mounts.extend(
            self.binds
                .iter()
                .filter(|(path, bound)| !self.covered(path, bound))
                .map(|(path, bound)| (path.as_path(), Mount::Bind(bound))),
        );
        mounts.sort_by_key(|(path, _)| path.components().count());
        for (path, mount) in mounts {
            match mount {
                Mount::Tmpfs => {
                    made.directory(path, &mut acts);
                    acts.push(Act::Tmpfs {
                        path: path.into(),
                        bytes: limits.disk.value.0,
                        inodes: limits.inodes.value.0,
                        mode: if OWN_TMPFS.iter().any(|p| path == Path::new(p)) {
                            0o1777
                        } else {
                            0o700
                        },
                        access: Access {
                            write: true,
                            exec: self.executable.contains(path),
                        },
                    });
                }
                Mount::Bind(bound) => {
                    made.target(path, bound.node, &mut acts);
                    let theirs = bound.access.write || path == self.workspace.path;
                    let mapped = theirs && self.host.id_mode == IdMode::Privileged;
                    let owner = match mapped && bound.idmap == Idmap::Works {
                        true => Owner::Mapped {
                            uid: bound.uid,
                            gid: bound.gid,
                        },
                        false => Owner::Host,
                    };
                    acts.push(Act::Bind {
                        source: path.into(),
                        target: path.into(),
                        node: bound.node,
                        access: bound.access,
                        owner,
                    });
                }
            }
        }
        for (link, target) in &self.links {
            if self.bind_above(link).is_none() {
                if let Some(parent) = link.parent() {
                    made.directory(parent, &mut acts);
                }
                acts.push(Act::Link {
                    path: link.clone(),
                    target: target.clone(),
                });
            }
        }
        acts.extend(self.held().into_iter().map(|path| Act::Hold { path }));
        acts.extend(self.masks.iter().map(|(path, node)| Act::Mask {
            path: path.clone(),
            node: *node,
            absent: IfAbsent::Refuse,
        }));
        acts.extend(self.sockets.iter().map(|path| Act::Mask {
            path: path.clone(),
            node: Node::File,
            absent: IfAbsent::Skip,
        }));
        (acts, own)
    }

    fn rules(&self) -> Vec<LandlockRule> {
        let rule = |path: &Path, node, rights| LandlockRule {
            path: path.into(),
            node,
            rights,
        };
        let mut rules = vec![
            rule("/".as_ref(), Node::Directory, Rights::List),
            rule("/etc".as_ref(), Node::Directory, Rights::Read),
            rule("/dev".as_ref(), Node::Directory, Rights::Use),
            rule("/proc".as_ref(), Node::Directory, Rights::Use),
        ];
        for path in self.own_tmpfs() {
            let access = Access {
                write: true,
                exec: self.executable.contains(&path),
            };
            rules.push(rule(&path, Node::Directory, access.into()));
        }
        for (path, bound) in &self.binds {
            if !self.covered(path, bound) {
                rules.push(rule(path, bound.node, bound.access.into()));
            }
        }
        rules
    }

    /// The working directory in the jail: asked for, else the workspace.
    fn workdir(&self, request: &Request) -> Result<PathBuf, ResolveError> {
        let Some(asked) = &request.workdir else {
            return Ok(self.workspace.path.clone());
        };
        let path = match asked.is_absolute() {
            true => asked.clone(),
            false => self.workspace.path.join(asked),
        };
        let plain = !path
            .components()
            .any(|c| c == std::path::Component::ParentDir);
        let inside = self.own_tmpfs().iter().any(|own| path.starts_with(own))
            || self.bind_above(&path).is_some()
            || self.links.keys().any(|link| path.starts_with(link))
            || path == Path::new("/");
        match plain && inside {
            true => Ok(path),
            false => Err(ResolveError::WorkdirOutside(path.display().to_string())),
        }
    }
}

fn never_below(path: &Path) -> Option<&'static str> {
    NEVER_BELOW
        .iter()
        .find(|(tree, _)| path.starts_with(tree))
        .map(|(_, why)| *why)
}

/// Directories made so far, so that each is made once and none in a tree of the host.
struct Made<'a> {
    directories: BTreeSet<PathBuf>,
    view: &'a View<'a>,
}

impl Made<'_> {
    fn directory(&mut self, path: &Path, acts: &mut Vec<Act>) {
        if path == Path::new("/") || self.directories.contains(path) || self.exists(path) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent, acts);
        }
        self.directories.insert(path.into());
        let in_home = path.starts_with(&self.view.home) && path != self.view.home;
        acts.push(Act::Directory {
            path: path.into(),
            mode: 0o755,
            owner: if in_home {
                DirOwner::User
            } else {
                DirOwner::Root
            },
        });
    }

    /// What a mount needs to be there before it.
    fn target(&mut self, path: &Path, node: Node, acts: &mut Vec<Act>) {
        match node {
            Node::Directory => self.directory(path, acts),
            Node::File => {
                if let Some(parent) = path.parent() {
                    self.directory(parent, acts);
                }
                if !self.exists(path) {
                    acts.push(Act::File {
                        path: path.into(),
                        mode: 0o444,
                        contents: String::new(),
                    });
                }
            }
        }
    }

    /// Whether a bound tree brings `path` with it: one that encloses it, with no tmpfs between.
    fn exists(&self, path: &Path) -> bool {
        let Some((bind, _)) = path.parent().and_then(|p| self.view.bind_above(p)) else {
            return false;
        };
        !self
            .view
            .own_tmpfs()
            .iter()
            .any(|own| within(own, bind) && within(path, own) && path != own)
    }
}

/// The devices of a jail: memory(4), random(4), tty(4).
fn devices() -> impl Iterator<Item = Act> {
    const DEVICES: [(&str, u32, u32); 6] = [
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/random", 1, 8),
        ("/dev/urandom", 1, 9),
        ("/dev/tty", 5, 0),
    ];
    const LINKS: [(&str, &str); 5] = [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ];
    let nodes = DEVICES.iter().map(|(path, major, minor)| Act::Device {
        path: path.into(),
        major: *major,
        minor: *minor,
    });
    let links = LINKS.iter().map(|(path, target)| Act::Link {
        path: path.into(),
        target: target.into(),
    });
    nodes.chain(links)
}

/// The synthetic `/etc`: the jail's user and its loopback, nothing of the host.
fn etc(uid: u32, gid: u32, home: &Path) -> [(&'static str, String); 4] {
    let home = home.display();
    let root = if uid == 0 {
        ""
    } else {
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    };
    let root_group = if gid == 0 { "" } else { "root:x:0:\n" };
    [
        (
            "/etc/passwd",
            format!(
                "{root}agent:x:{uid}:{gid}:agent:{home}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        (
            "/etc/group",
            format!("{root_group}agent:x:{gid}:\nnogroup:x:65534:\n"),
        ),
        (
            "/etc/hosts",
            "127.0.0.1 localhost creel\n::1 localhost creel\n".into(),
        ),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".into(),
        ),
    ]
}

fn cgroup(
    host: &Host,
    limits: &Limits,
    degraded: &BTreeSet<Degradable>,
) -> Result<Option<CgroupLimits>, ResolveError> {
    match &host.cgroups {
        CgroupLayout::Unusable { .. } if degraded.contains(&Degradable::Cgroup) => Ok(None),
        CgroupLayout::Unusable { why } => Err(ResolveError::NoCgroup {
            why: why.clone(),
            remedy: match host.id_mode {
                IdMode::Privileged => "mount cgroup2 on /sys/fs/cgroup",
                IdMode::Rootless => "run it under `systemd-run --user --scope -p Delegate=yes`",
            },
        }),
        _ => Ok(Some(CgroupLimits {
            memory: limits.memory.value.0,
            memory_high: limits.memory.value.0 / 100 * u64::from(limits.memory_high.value.0),
            cpu_milli: limits.cpus.value.0,
            // creel's own pid 1 is in the group too.
            pids: limits.pids.value.0.saturating_add(1),
        })),
    }
}

fn landlock(host: &Host, degraded: &BTreeSet<Degradable>) -> Result<u32, ResolveError> {
    match host.landlock_abi {
        0 if !degraded.contains(&Degradable::Landlock) => Err(ResolveError::NoLandlock {
            kernel: host.kernel.clone(),
        }),
        abi => Ok(abi.min(NEWEST_LANDLOCK_ABI)),
    }
}

/// The newest Landlock ABI that creel has rules for (Linux 6.15).
pub const NEWEST_LANDLOCK_ABI: u32 = 7;

fn resource_limits(limits: &Limits, host: &Host) -> Vec<Act> {
    let limit = |limit, soft, hard| Act::ResourceLimit { limit, soft, hard };
    let seconds = limits.cpu_time.value.0.div_ceil(1000).max(1);
    let open = limits.open_files.value.0.min(host.open_files_ceiling);
    let size = limits.file_size.value.0;
    vec![
        // 1, not 0: a piped core_pattern ignores 0 but not 1 (core(5)), and no file is that small.
        limit(Resource::Core, 1, 1),
        limit(Resource::FileSize, size, size),
        limit(Resource::MemLock, LOCKED_BYTES, LOCKED_BYTES),
        // Queues are memory of the kernel's that no tmpfs limit counts.
        limit(Resource::MessageQueue, 0, 0),
        limit(Resource::Cpu, seconds, seconds.saturating_add(1)),
        limit(Resource::OpenFiles, open, open),
    ]
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

fn environment(
    policy: &Policy,
    request: &Request,
    home: &Path,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ResolveError> {
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
    ] {
        all.entry(name.into()).or_insert_with(|| value.to_vec());
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
    all.insert(b"CREEL".into(), b"1".into());
    all.insert(b"CREEL_ID".into(), request.id.clone().into_bytes());
    Ok(all)
}

/// The receipt's rows: what this plan will put in force.
fn layers(
    host: &Host,
    ids: &Ids,
    cgroup: Option<&CgroupLimits>,
    landlock: u32,
    view: &View,
) -> Vec<Layer> {
    let row = |name, in_force, detail: String| Layer {
        name,
        in_force,
        detail,
    };
    let idmap = match ids {
        Ids::Range { .. } => row(
            LayerName::Idmap,
            true,
            "writable trees keep their host owner".into(),
        ),
        Ids::Caller { .. } => row(
            LayerName::Idmap,
            true,
            "not needed: the jail has the caller's own id".into(),
        ),
        Ids::Shared { uid, .. } => row(
            LayerName::Idmap,
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
        (CgroupLayout::V2 { .. }, Some(_)) => (
            true,
            "v2: memory (high and max, no swap, killed as one), cpu, pids".to_owned(),
        ),
        (CgroupLayout::V1 { unified, .. }, Some(_)) => {
            let kill = match unified {
                Some(_) => "v2 beside it for kill",
                None => "no v2 beside it: killed through its pid namespace",
            };
            (
                true,
                format!("v1: memory (max, no swap; v1 has no high mark), cpu, pids; {kill}"),
            )
        }
        (CgroupLayout::Unusable { why }, _) => {
            (false, format!("no memory, cpu and pids limits: {why}"))
        }
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
            match lacks.as_slice() {
                [] => format!("ABI {abi}"),
                lacks => format!("ABI {abi}; the kernel cannot restrict {}", lacks.join(", ")),
            }
        }
    };
    let skipped = match view.skipped.as_slice() {
        [] => "an empty tmpfs and the granted trees".to_owned(),
        skipped => format!(
            "an empty tmpfs and the granted trees; {}",
            skipped.join(", ")
        ),
    };
    vec![
        row(
            LayerName::Namespaces,
            true,
            "user, mount, pid, net, ipc, uts, cgroup".into(),
        ),
        row(LayerName::Ids, true, ids_detail),
        idmap,
        row(LayerName::Cgroup, cgroup.0, cgroup.1),
        row(LayerName::Root, true, skipped),
        row(
            LayerName::Masks,
            true,
            format!("{} paths", proc::MASKS.len() + view.masks.len()),
        ),
        row(LayerName::Network, true, "none: loopback only".into()),
        row(
            LayerName::Keyring,
            true,
            "a session keyring of its own".into(),
        ),
        row(
            LayerName::Rlimits,
            true,
            "core, fsize, memlock, msgqueue, cpu, nofile".into(),
        ),
        row(
            LayerName::Capabilities,
            true,
            "all sets empty, securebits locked".into(),
        ),
        row(LayerName::NoNewPrivileges, true, "set".into()),
        row(LayerName::Landlock, landlock > 0, landlock_detail),
        row(LayerName::Descriptors, true, "0, 1 and 2".into()),
        row(
            LayerName::Seccomp,
            true,
            "an allowlist; foreign ABIs are killed".into(),
        ),
    ]
}
