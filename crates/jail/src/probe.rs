//! The machine, looked at once: a [`Host`] for the plan, and a pinned descriptor for every path that
//! the policy or the request names. Later steps use the descriptors, never the names again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rx, OFlags};

use super::loads::{MOST_PROTECTED, Search, below};
use super::{JailError, gitnames, hierarchy, mounts, obeyed, seats, worktrees};
use creel_plan::host::{Idmap, Stood};
use creel_plan::paths::{self, OWN_TMPFS, within, workspace_mode};
use creel_plan::questions::{Purpose, Wanted, ask};
use creel_plan::{Fact, Found, Host, IdMode, Node, Request};
use creel_policy::{Policy, WorkspaceMode, trust};
use creel_sys::fd::{self, Kind, Stat};
use creel_sys::{Errno, bus, caps, host, landlock, mount, placeholder, procfs, rlimit};

/// An open inode and what it was when it was opened.
#[derive(Debug)]
pub struct Pin {
    pub fd: OwnedFd,
    pub stat: Stat,
}

/// By real path.
pub type Pins = BTreeMap<PathBuf, Pin>;

/// Looks at the machine for this policy and request.
pub fn probe(policy: &Policy, request: &Request) -> Result<(Host, Pins), JailError> {
    let mut host = facts()?;
    if needs_cwd(policy, request) && std::env::current_dir().is_err() {
        return Err(JailError::NoCwd);
    }
    let mut pins = Pins::new();
    let mut search = Search::default();
    host.found.seats = request.seats.iter().map(|name| seats::of(name)).collect();
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
    for one in &policy.filesystem.confined {
        let base = Path::new(&one.base);
        let link = match host.paths.get(Path::new(&one.path)) {
            Some(Fact::Present { real, .. }) => real != Path::new(&one.path),
            _ => false,
        };
        // After what is granted was opened: it is that which must lie there.
        if link && !host.found.bases.contains_key(base) {
            match fd::pin(base).and_then(|fd| fd::path_of(fd.as_fd())) {
                Ok(real) => drop(host.found.bases.insert(base.into(), real)),
                // What lies in it is refused.
                Err(errno) if !is_own(errno) => {}
                Err(source) => {
                    return Err(JailError::Open {
                        path: base.into(),
                        source,
                    });
                }
            }
        }
    }
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
    // What is open stays open: where some more can be opened now, nothing above failed for want of one.
    fd::room_for_some().map_err(|source| JailError::System {
        what: "opening what the policy names",
        source,
    })?;
    Ok((host, pins))
}

/// Looks at one path, and at what its purpose needs of it. Returns the links in what is protected.
pub(super) fn learn(
    want: Wanted,
    search: &mut Search,
    host: &mut Host,
    pins: &mut Pins,
) -> Result<Vec<PathBuf>, JailError> {
    let (fact, stood) = look_closely(&want.path, want.purpose, host.id_mode, pins)?;
    if let Some(stood) = stood {
        host.found.stood.insert(want.path.clone(), stood);
    }
    let mut links = vec![];
    if let Fact::Present { real, .. } = &fact {
        let real = real.clone();
        host.paths.insert(want.path.clone(), fact.clone());
        match want.purpose {
            Purpose::Program => {
                let image = search.image(&real, host, pins);
                host.found.programs.insert(real.clone(), image);
            }
            Purpose::Load => {
                let tree = search.tree(&real, host, pins);
                host.found.load_trees.insert(real.clone(), tree);
            }
            Purpose::Protect => {
                let all = below(&real, MOST_PROTECTED);
                if all.is_none() {
                    host.found.too_many.insert(real.clone());
                }
                let (files, inside) = all.unwrap_or_default();
                links = inside;
                for file in files {
                    if std::fs::symlink_metadata(&file).is_ok_and(|meta| meta.nlink() > 1) {
                        host.found.hard_linked.insert(file);
                    }
                }
            }
            Purpose::Read | Purpose::Write => {}
        }
        if pins
            .get(&real)
            .is_some_and(|pin| pin.stat.kind == Kind::File && pin.stat.links > 1)
        {
            host.found.hard_linked.insert(real);
        }
    }
    if want.path == host.cwd {
        still_here(&want.path, &fact, pins)?;
    }
    host.paths.insert(want.path, fact);
    Ok(links)
}

/// Whether the request names something by where this process is.
fn needs_cwd(policy: &Policy, request: &Request) -> bool {
    let mut named = request.read.iter().chain(&request.write);
    let own = match (workspace_mode(policy, request), &request.workspace) {
        (WorkspaceMode::None, _) => false,
        (_, Some(named)) => named.is_relative(),
        (_, None) => true,
    };
    own || named.any(|path| path.is_relative())
}

/// The machine without any path.
pub fn facts() -> Result<Host, JailError> {
    let not_proc = |source| JailError::NotProc { source };
    procfs::open(".", OFlags::PATH).map_err(not_proc)?;
    // Id maps are written to processes by their number.
    if !procfs::is_of_this_namespace().map_err(not_proc)? {
        return Err(JailError::ForeignProc);
    }
    let privileged = caps::privileged();
    let (uid, gid) = host::ids();
    let cwd = match std::env::current_dir() {
        // It was removed, and only a relative name would need it; see `probe`.
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

/// The kernel says where this process is, but the name may lead elsewhere by now: somebody who can
/// write above it could hand the jail another directory.
fn still_here(path: &Path, fact: &Fact, pins: &Pins) -> Result<(), JailError> {
    let Fact::Present { real, .. } = fact else {
        return Ok(());
    };
    let fault = |source| JailError::Open {
        path: path.into(),
        source,
    };
    let here = fd::stat(fd::pin(Path::new(".")).map_err(fault)?.as_fd()).map_err(fault)?;
    match pins.get(real) {
        Some(pin) if (pin.stat.dev, pin.stat.ino) == (here.dev, here.ino) => Ok(()),
        _ => Err(JailError::Changed(path.into())),
    }
}

/// A plan compares paths as text. Where a filesystem folds case, one directory has many spellings, and
/// a denial in one would not be found within a grant in another.
fn one_spelling(host: &Host) -> Result<(), JailError> {
    let mut spelt: BTreeMap<String, &Path> = BTreeMap::new();
    for path in host.paths.keys() {
        for part in path.ancestors() {
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

/// Whether every name that led to the tree is one where the jail has a directory of its own, empty: of the
/// host's nothing comes in. A workspace is a grant of the host's wherever it lies.
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

/// Where in the pinned trees somebody of this network namespace listens on a socket. No read-only mount
/// stops connect(2) by path, and Landlock does from ABI 9 on.
fn sockets(pins: &Pins) -> Result<Vec<PathBuf>, JailError> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| JailError::Open { path, source }
    };
    let text = match procfs::read("net/unix") {
        // A kernel without CONFIG_UNIX has none.
        Err(Errno::NOENT) => return Ok(vec![]),
        read => read.map_err(fault(Path::new("/proc/net/unix")))?,
    };
    let mut found = vec![];
    for line in text.split(|b| *b == b'\n') {
        // "Num RefCount Protocol Flags Type St Inode Path": an abstract name begins with @.
        let Some(at) = line.iter().position(|b| *b == b'/') else {
            continue;
        };
        let path = Path::new(OsStr::from_bytes(&line[at..]));
        let socket = match fd::pin(path) {
            // Bound elsewhere: in another root, or gone.
            Err(errno) if !is_own(errno) => continue,
            socket => socket.map_err(fault(path))?,
        };
        let real = fd::path_of(socket.as_fd()).map_err(fault(path))?;
        if pins.keys().any(|tree| within(&real, tree)) {
            found.push(real);
        }
    }
    Ok(found)
}

/// Whether that errno says something of this process and not of a path: nothing was found out.
pub(super) fn is_own(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// What a path is; what is there is pinned.
pub(super) fn look(
    path: &Path,
    purpose: Purpose,
    ids: IdMode,
    pins: &mut Pins,
) -> Result<Fact, JailError> {
    look_closely(path, purpose, ids, pins).map(|(fact, _)| fact)
}

/// The same, and what stands there for a name that counts as absent.
fn look_closely(
    path: &Path,
    purpose: Purpose,
    ids: IdMode,
    pins: &mut Pins,
) -> Result<(Fact, Option<Stood>), JailError> {
    let absent = |errno| absent(path, errno).map(|fact| (fact, None));
    // Most paths have no link in them, and then one call says so.
    let plain = !path
        .components()
        .any(|c| c == std::path::Component::ParentDir);
    let (fd, real, link) = match fd::pin_exact(path) {
        Ok(fd) if plain => (fd, path.to_path_buf(), fd::Last::Itself),
        // With `..` in it a path has no link and still is not its own real name.
        Ok(_) | Err(Errno::LOOP) => match fd::pin_named(path) {
            Ok((fd, link)) => {
                let real = fd::path_of(fd.as_fd()).map_err(|source| JailError::Open {
                    path: path.into(),
                    source,
                })?;
                (fd, real, link)
            }
            Err(e) => return absent(e),
        },
        Err(e) => return absent(e),
    };
    let stat = fd::stat(fd.as_fd()).map_err(|source| JailError::Open {
        path: path.into(),
        source,
    })?;
    let node = match stat.kind {
        Kind::Directory | Kind::Placeholder => Node::Directory,
        Kind::File => Node::File,
        Kind::CharDevice | Kind::Other => return Ok((Fact::Special, None)),
    };
    // Another run's, which goes when that run does.
    if matches!(stat.kind, Kind::Placeholder | Kind::File)
        && placeholder::stands(fd.as_fd(), trust::says(&real))
    {
        let is_directory = rx::fstat(&fd)
            .is_ok_and(|stat| rx::FileType::from_raw_mode(stat.st_mode) == rx::FileType::Directory);
        let node = match is_directory {
            true => Node::Directory,
            false => Node::File,
        };
        return Ok((Fact::Absent, Some(Stood { real, node })));
    }
    let idmap = match (purpose, ids) {
        (Purpose::Write, IdMode::Privileged) if mount::can_idmap(fd.as_fd()) => Idmap::Works,
        (Purpose::Write, IdMode::Privileged) => Idmap::Refused,
        _ => Idmap::Unasked,
    };
    let fact = Fact::Present {
        // Only a workspace is asked for its own name.
        link: purpose == Purpose::Write && real != path && link == fd::Last::Link,
        real: real.clone(),
        node,
        uid: stat.uid,
        gid: stat.gid,
        idmap,
    };
    pins.insert(real, Pin { fd, stat });
    Ok((fact, None))
}

fn absent(path: &Path, error: Errno) -> Result<Fact, JailError> {
    match error {
        Errno::NOENT | Errno::NOTDIR => Ok(Fact::Absent),
        Errno::ACCESS | Errno::PERM => Ok(Fact::Denied),
        source => Err(JailError::Open {
            path: path.into(),
            source,
        }),
    }
}
