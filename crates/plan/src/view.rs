//! The jail's view of the filesystem: grants and denials, gathered and checked before they become acts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::granted::granted;
use super::host::{Fact, Host, Idmap};
use super::identity::Identity;
use super::mapped::Mapped;
use super::paths::{self, HostPaths, NEVER_BELOW, NEVER_WRITABLE, TOO_WIDE, beneath, within};
use super::refusal::ResolveError;
use super::request::{Request, Way};
use super::*;
use creel_policy::rights::FRESH_WORKSPACE;
use creel_policy::{Absent, Execution, Origin, Policy, WorkspaceMode};

/// The jail's view of the filesystem, gathered before it becomes acts.
pub(super) struct View<'a> {
    pub(super) host: &'a Host,
    pub(super) on_host: HostPaths<'a>,
    pub(super) home: PathBuf,
    pub(super) workspace: Workspace,
    /// Granted paths with their access, by the real path on the host. [`View::inside`] has the path in the jail.
    pub(super) binds: BTreeMap<PathBuf, Bound>,
    /// The jail's own tmpfs mounts that are executable.
    pub(super) executable: BTreeMap<PathBuf, Origin>,
    /// Grants that name a symbolic link: the link, and its target.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// Mounts in granted trees that are bound separately.
    pub(super) apart: Vec<Apart>,
    pub(super) masks: BTreeMap<PathBuf, Masked>,
    /// Sockets of the host in granted trees.
    pub(super) sockets: BTreeSet<PathBuf>,
    pub(super) skipped: Vec<String>,
    /// Names that are absent and that the jail cannot create.
    pub(super) withheld: BTreeMap<PathBuf, Withheld>,
    /// The number of protected paths that exist.
    pub(super) protected: usize,
    /// Paths that are protected because the host's git obeys them, with the setting or link that names
    /// them.
    pub(super) obeyed: Vec<String>,
    /// Description of what may be executed, for the receipt.
    pub(super) execution: String,
    /// The paths of the jail's control groups.
    pub(super) groups: Vec<(PathBuf, GroupView)>,
    pub(super) identity: Option<&'a Identity>,
    /// The trees that the jail has at other paths than the host.
    pub(super) mapped: Mapped,
    /// The text of the card, in a jail that stays.
    pub(super) card: Option<String>,
}

/// A mount without idmap support in a tree that is idmapped. The jail sees it with the owners of the host,
/// and read-only: a file made there would belong on the host to an id of the jail's range, which a later
/// jail gets too.
pub(super) struct Apart {
    pub(super) mount: PathBuf,
    pub(super) kind: String,
    /// It would be writable if it could be idmapped.
    pub(super) writable: bool,
    /// No grant names it.
    pub(super) unnamed: bool,
}

/// A path that is covered, and the rule that asked for it.
pub(super) struct Masked {
    pub(super) node: Node,
    pub(super) by: Origin,
}

/// A name that is absent and that the jail cannot create.
#[derive(Debug, Clone)]
pub(super) struct Withheld {
    pub(super) by: Origin,
    pub(super) later: Later,
    /// The protected path lies beneath this name.
    pub(super) above: bool,
}

pub(super) struct Workspace {
    pub(super) path: PathBuf,
    /// The caller's workspace directory, or the directory that a fresh workspace replaces.
    pub(super) callers: PathBuf,
    pub(super) fresh: bool,
    /// The layers over it, if the jail does not write to the host's files.
    pub(super) overlay: Option<Overlay>,
}

#[derive(Clone)]
pub(super) struct Bound {
    /// The rule that asked for it; of several, the one that gives most. `None` if no rule did.
    pub(super) by: Option<Origin>,
    pub(super) node: Node,
    pub(super) access: Access,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) idmap: Idmap,
}

impl Way {
    fn access(self) -> Access {
        Access {
            write: self == Way::Write,
            code: match self {
                Way::Read | Way::Write => Code::Data,
                Way::Load => Code::Load,
                Way::Exec => Code::Execute,
            },
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn new(host: &'a Host, on_host: HostPaths<'a>, home: PathBuf) -> View<'a> {
        View {
            host,
            on_host,
            home,
            workspace: Workspace {
                path: PathBuf::new(),
                callers: PathBuf::new(),
                fresh: false,
                overlay: None,
            },
            binds: BTreeMap::new(),
            executable: BTreeMap::new(),
            links: BTreeMap::new(),
            apart: vec![],
            masks: BTreeMap::new(),
            sockets: BTreeSet::new(),
            skipped: vec![],
            withheld: BTreeMap::new(),
            protected: 0,
            obeyed: vec![],
            execution: "programs in executable grants".into(),
            groups: vec![],
            identity: None,
            mapped: Mapped::default(),
            card: None,
        }
    }

    pub(super) fn workspace(
        &mut self,
        policy: &Policy,
        request: &Request,
    ) -> Result<(), ResolveError> {
        let mode = paths::workspace_mode(policy);
        let named = paths::workspace(policy, request, self.host);
        if mode == WorkspaceMode::None {
            self.workspace = Workspace {
                path: FRESH_WORKSPACE.into(),
                callers: paths::callers_workspace(request, self.host),
                fresh: true,
                overlay: None,
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
        } = self.host.fact(&named)?
        else {
            return Err(match self.host.fact(&named)? {
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
            let why = "it contains `..`; write the path that it leads to";
            return Err(ResolveError::WorkspaceNever { path: text, why });
        }
        if let Some(why) = never_below(real) {
            return Err(ResolveError::WorkspaceNever { path: text, why });
        }
        if self.too_wide(real) {
            return Err(ResolveError::WorkspaceTooWide(text));
        }
        // To the host's files an overlay is a read-only tree.
        let overlay = (mode == WorkspaceMode::Overlay).then(|| Overlay {
            changes: request.changes.clone().unwrap_or_default(),
            hidden: vec![],
        });
        let access = Access {
            write: mode == WorkspaceMode::ReadWrite,
            code: Code::Data,
        };
        let mode = policy.filesystem.workspace.as_ref();
        let bound = Bound {
            by: mode.map(|mode| mode.origin.clone()),
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
            callers: real.clone(),
            fresh: false,
            overlay,
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

    pub(super) fn grants(
        &mut self,
        policy: &Policy,
        request: &Request,
    ) -> Result<(), ResolveError> {
        // If programs are named one by one, a granted tree of programs is read-only data.
        let limited = policy.exec.value != Execution::Granted;
        for grant in granted(policy, request, &self.on_host) {
            let (flag, origin) = (grant.origin.is_flag(), grant.origin);
            let Some(path) = grant.path else {
                // A policy is a template: without a home, `~` paths do not exist.
                if grant.absent == Absent::Skip {
                    continue;
                }
                return Err(ResolveError::NoHome {
                    uid: self.host.uid,
                    origin: origin.clone(),
                });
            };
            let way = match grant.way {
                Way::Exec if limited && flag => {
                    let path = path.into_owned();
                    return Err(ResolveError::ExecByName { path });
                }
                Way::Exec if limited && self.is_own(Some(&path)) => continue,
                Way::Exec if limited => Way::Read,
                Way::Write if flag && self.own_place(&path) => {
                    return Err(ResolveError::Never {
                        path: path.into_owned(),
                        why: "the jail has its own, which is empty at the start, writable and gone at the end; name a directory in it",
                        origin: origin.clone(),
                    });
                }
                way => way,
            };
            self.grant(&path, way, grant.absent, origin)?;
        }
        Ok(())
    }

    /// A process that can write in a tree can replace a link in it, and the next run would be granted the
    /// new target.
    pub(super) fn no_links_out(&self) -> Result<(), ResolveError> {
        let writable = |path: &Path| {
            self.binds.iter().find(|(tree, bound)| {
                (bound.access.write || self.is_overlay(tree)) && within(path, tree)
            })
        };
        for (path, real) in &self.links {
            // A link lies where it is found, and not where the name says that leads through it.
            let on_way = self.host.found.through.get(path);
            let on_way = on_way.into_iter().flat_map(|way| &way.links);
            for link in std::iter::once(path).chain(on_way) {
                if let Some((tree, _)) = writable(link)
                    && !within(real, tree)
                {
                    return Err(ResolveError::LinkOut {
                        path: link.clone(),
                        real: real.clone(),
                        tree: tree.clone(),
                    });
                }
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
        if self.workspace.fresh && path == self.workspace.path && way != Way::Load {
            if way == Way::Exec {
                self.executable.insert(path.to_path_buf(), origin.clone());
            }
            return Ok(());
        }
        if self.own_place(path) {
            match way {
                Way::Exec => drop(
                    self.executable
                        .insert(path.to_path_buf(), origin.clone()),
                ),
                Way::Write => self.skipped.push(format!(
                    "{} is the jail's own and writable without a grant; it contains no files of the host",
                    path.display()
                )),
                Way::Read | Way::Load => {
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
        let (real, bound, link) = match self.host.fact(path)? {
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
                    .push(format!("the caller may not read {}", path.display()));
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
                let bound = Bound {
                    by: Some(origin.clone()),
                    node: *node,
                    access: way.access(),
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
        let (mut access, idmap) = (bound.access, bound.idmap);
        // Writes to an overlay go to its layer, whoever grants them.
        access.write &= !self.is_overlay(&real);
        let entry = self.binds.entry(real.clone()).or_insert(bound);
        if access.write && !entry.access.write || access.code > entry.access.code {
            entry.by = Some(origin.clone());
        }
        entry.access.write |= access.write;
        entry.access.code = entry.access.code.max(access.code);
        if access.write {
            entry.idmap = idmap;
        }
        if link || real != path {
            self.links.insert(path.to_path_buf(), real);
        }
        Ok(())
    }

    /// `path`, with the link that a grant names replaced by its target.
    pub(super) fn behind_links(&self, path: &Path) -> PathBuf {
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

    /// The mount of the host's that contains `path` in the jail, if any.
    pub(super) fn bind_above(&self, path: &Path) -> Option<(&PathBuf, &Bound)> {
        // The binds that enclose a path form a chain, and the deepest comes last.
        let lies = beneath(path);
        self.binds.iter().rev().find(|(bind, _)| lies(bind))
    }

    /// True if an enclosing grant gives the same access already.
    pub(super) fn covered(&self, path: &Path, bound: &Bound) -> bool {
        let apart = self.apart.iter().any(|apart| apart.mount == path);
        path.parent()
            .and_then(|parent| self.bind_above(parent))
            .is_some_and(|(above, outer)| {
                // If its owner unmounts it, the directory beneath is writable.
                let mut all = self.apart.iter();
                let loose = all.any(|one| one.unnamed && one.writable && one.mount == *above);
                // The home tmpfs lies between and would hide it.
                let hidden = within(&self.home, above) && within(path, &self.home);
                !apart && !loose && !hidden && outer.access == bound.access
            })
    }
}

pub(super) fn never_below(path: &Path) -> Option<&'static str> {
    NEVER_BELOW
        .iter()
        .find(|(tree, _)| path.starts_with(tree))
        .map(|(_, why)| *why)
}
