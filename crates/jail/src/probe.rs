//! Examines the host once. Returns a [`Host`] for the plan, and a pinned descriptor for every path that the
//! policy or the request names. Later steps use the descriptors, never the names again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::JailError;
use super::learn::learn;
use super::loads::Search;
use super::pins::{Pins, is_own, look};
use super::{gitnames, hierarchy, mounts, obeyed, search_dirs, worktrees};
use creel_plan::granted::contained;
use creel_plan::paths::{self, HostPaths, OWN_TMPFS, within, workspace_mode};
use creel_plan::questions::ask;
use creel_plan::wanted::Purpose;
use creel_plan::{Fact, Found, Host, IdMode, Request};
use creel_policy::{Policy, WorkspaceMode};
use creel_sys::fd::{self};
use creel_sys::{Errno, bus, caps, host, landlock, procfs, rlimit, unix_sockets};

/// Examines the host for this policy and request.
pub fn probe(policy: &Policy, request: &Request) -> Result<(Host, Pins), JailError> {
    let mut host = facts()?;
    if needs_cwd(policy, request) && std::env::current_dir().is_err() {
        return Err(JailError::NoCwd);
    }
    let mut pins = Pins::new();
    let mut search = Search::default();
    host.found.search_dirs = request
        .search_dirs
        .iter()
        .map(|name| search_dirs::of(name))
        .collect();
    let mut links = vec![];
    ask(policy, request, &mut host, |want, host| {
        let git = match want.purpose {
            Purpose::Protect if want.path.ends_with(".git/commondir") => want.path.parent(),
            _ => None,
        };
        for path in git.map(worktrees::leading).unwrap_or_default() {
            let fact = look(&path, Purpose::Protect, host.id_mode, &mut pins)?;
            host.paths.entry(path.clone()).or_insert(fact);
            host.found.worktrees.insert(path);
        }
        links.extend(learn(want, &mut search, host, &mut pins)?);
        Ok::<(), JailError>(())
    })?;
    contained_bases(policy, request, &mut host)?;
    links_on_the_way(&mut host);
    obeyed::look(policy, request, links, &mut search, &mut host, &mut pins)?;
    if policy.environment.git_identity.value {
        let (identity, refused) = gitnames::identity(host.home.as_deref());
        host.found.identity = identity;
        host.found.unread.extend(refused);
    }
    one_spelling(&host)?;
    let place = paths::workspace(policy, request, &host);
    let mounts = mounts::all()?;
    mounts::no_kernel_trees(&mounts, &pins, |tree| own_places(&host, &place, tree))?;
    if host.id_mode == IdMode::Privileged {
        mounts::unmapped(&mounts, &mut host, &mut pins)?;
    }
    for socket in sockets(&pins)? {
        host.paths.entry(socket).or_insert(Fact::Special);
    }
    // Descriptors stay open: if more can be opened now, nothing above failed for lack of one.
    fd::room_for_some().map_err(|source| JailError::System {
        what: "opening the policy's paths",
        source,
    })?;
    Ok((host, pins))
}

/// Looks up the links on the way to the named paths: to an existing one if its real path is another, to an
/// absent one unless the directory that it would be in is known, and at its own real path. The links that a
/// distribution has in `/` (file-hierarchy(7)) are known.
fn links_on_the_way(host: &mut Host) {
    const KNOWN: [&str; 6] = ["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"];
    let leads = |name: &Path| match host.paths.get(name) {
        Some(Fact::Present { real, .. }) => Some(real != name),
        _ => None,
    };
    let named: Vec<PathBuf> = host
        .paths
        .iter()
        .filter(|(name, fact)| match fact {
            Fact::Present { .. } => {
                leads(name) == Some(true) && !KNOWN.iter().any(|known| *name == Path::new(known))
            }
            Fact::Absent => name.parent().and_then(leads) != Some(false),
            _ => false,
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in named {
        let way = search_dirs::of(&name);
        if !way.links.is_empty() {
            host.found.through.insert(name, way);
        }
    }
}

/// Looks up the directories that links in granted paths must not lead out of, after those paths were opened:
/// these must lie in them.
fn contained_bases(policy: &Policy, request: &Request, host: &mut Host) -> Result<(), JailError> {
    let mut bases = vec![];
    let at = HostPaths::of(policy, request, host);
    for one in contained(policy, request, &at) {
        if let Some(Fact::Present { real, .. }) = host.paths.get(&*one.path)
            && *real != one.path
        {
            bases.extend(one.within);
        }
    }
    for base in bases {
        let base: &Path = base.as_ref();
        if host.found.bases.contains_key(base) {
            continue;
        }
        match fd::pin(base).and_then(|fd| fd::path_of(fd.as_fd())) {
            Ok(real) => drop(host.found.bases.insert(base.into(), real)),
            // Paths in it are refused.
            Err(errno) if !is_own(errno) => {}
            Err(source) => {
                return Err(JailError::Open {
                    path: base.into(),
                    source,
                });
            }
        }
    }
    Ok(())
}

/// Whether the request depends on the current directory.
fn needs_cwd(policy: &Policy, request: &Request) -> bool {
    match (workspace_mode(policy), &request.workspace) {
        (WorkspaceMode::None, _) => false,
        (_, Some(named)) => named.is_relative(),
        (_, None) => true,
    }
}

/// The facts of the host that need no path.
pub fn facts() -> Result<Host, JailError> {
    let not_proc = |source| JailError::NotProc { source };
    procfs::open(".", OFlags::PATH).map_err(not_proc)?;
    // Id maps are written to processes by pid.
    if !procfs::is_of_this_namespace().map_err(not_proc)? {
        return Err(JailError::ForeignProc);
    }
    let privileged = caps::privileged();
    let (uid, gid) = host::ids();
    let cwd = match std::env::current_dir() {
        // The directory was removed. Only a relative path would need it; see `probe`.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => PathBuf::from("/"),
        cwd => cwd.map_err(|e| JailError::Open {
            path: ".".into(),
            source: Errno::from_io_error(&e).unwrap_or(Errno::NOENT),
        })?,
    };
    Ok(Host {
        kernel: host::kernel_release(),
        id_mode: if privileged {
            IdMode::Privileged
        } else {
            IdMode::Rootless
        },
        uid,
        gid,
        home: host::home_of(uid),
        cwd,
        landlock_abi: landlock::abi(),
        cgroups: hierarchy::layout(privileged, bus::find()),
        open_files_ceiling: rlimit::open_files_ceiling(),
        paths: BTreeMap::new(),
        found: Found::default(),
    })
}

/// A plan compares paths as text. On a filesystem that folds case one directory has many spellings, and a
/// denial in one would not match within a grant in another.
fn one_spelling(host: &Host) -> Result<(), JailError> {
    let mut spelt: BTreeMap<String, &Path> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for path in host.paths.keys() {
        for part in path.ancestors() {
            if !seen.insert(part.as_os_str()) {
                // With all that is above it.
                break;
            }
            let folded = part.to_string_lossy().to_lowercase();
            let known = *spelt.entry(folded).or_insert(part);
            if known == part {
                continue;
            }
            let inode = |path: &Path| {
                let stat = fd::stat(fd::pin_exact(path).ok()?.as_fd()).ok()?;
                Some((stat.dev, stat.ino))
            };
            let (one, other) = (inode(known), inode(part));
            if one.is_some() && one == other {
                return Err(JailError::Spellings {
                    one: known.into(),
                    other: part.into(),
                });
            }
        }
    }
    Ok(())
}

/// Whether the jail has an empty directory of its own at every name that led to the tree, so that nothing of
/// the host comes in. A workspace always comes from the host.
fn own_places(host: &Host, workspace: &Path, tree: &Path) -> bool {
    let home = paths::home(host);
    let mut names = host.paths.iter().filter_map(|(name, fact)| match fact {
        Fact::Present { real, .. } if real == tree => Some(name.as_path()),
        _ => None,
    });
    let own = |name: &Path| {
        name != workspace && (name == home || OWN_TMPFS.iter().any(|own| name == Path::new(own)))
    };
    match names.next() {
        Some(first) => own(first) && names.all(own),
        None => false,
    }
}

/// The paths in the pinned trees where a process of this network namespace listens on a socket. A read-only
/// mount does not stop connect(2) by path; Landlock does from ABI 9 on.
fn sockets(pins: &Pins) -> Result<Vec<PathBuf>, JailError> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| JailError::Open { path, source }
    };
    let bound = unix_sockets::bound().map_err(fault(Path::new("/proc/net/unix")))?;
    let mut found = vec![];
    for path in bound {
        let socket = match fd::pin(&path) {
            // Bound elsewhere: in another root, or gone.
            Err(errno) if !is_own(errno) => continue,
            socket => socket.map_err(fault(&path))?,
        };
        let real = fd::path_of(socket.as_fd()).map_err(fault(&path))?;
        if pins.keys().any(|tree| within(&real, tree)) {
            found.push(real);
        }
    }
    Ok(found)
}
