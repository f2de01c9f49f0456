//! From grants to the acts that build the jail's tree, parents first, and the Landlock rules that enforce
//! the same access again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::egress::Egress;
use super::host::{Fact, IdMode, Idmap};
use super::paths::{OWN_TMPFS, within};
use super::view::{Bound, View, Withheld};
use super::*;
use creel_policy::Limits;
use creel_policy::protected_defaults::{self, StandIn};
use creel_policy::rights::GROUPS;

/// Size of the root tmpfs, which holds directories, links and a few small files.
const ROOT_BYTES: u64 = 1 << 20;
/// Size if it also holds the host's trusted certificates, in two forms.
const ROOT_BYTES_WITH_CERTIFICATES: u64 = 4 << 20;
/// The inode limit is a multiple of this, with half of it to spare.
const ROOT_INODES: u64 = 1024;
/// From this length on, the target of a symbolic link takes a page (128, `shmem_symlink`).
const LONG_LINK: usize = 100;
const PAGE: u64 = 4096;

/// A quarter of the host's default per user; a program that watches files takes one instance.
const INOTIFY_INSTANCES: u32 = 32;
const INOTIFY_WATCHES: u32 = 65_536;

/// The tmpfs that these acts fill. Each mount point is an inode of it, and a policy may have hundreds of
/// patterns, each with hundreds of names.
fn root(bytes: u64, acts: &[Act]) -> Act {
    let (mut made, mut long) = (0, 0);
    for act in acts {
        match act {
            Act::Link { target, .. } if target.as_os_str().len() >= LONG_LINK => long += 1,
            Act::Directory { .. } | Act::File { .. } | Act::Link { .. } => made += 1,
            _ => {}
        }
    }
    Act::Root {
        bytes: bytes + long * PAGE,
        inodes: (made + long + ROOT_INODES / 2).next_multiple_of(ROOT_INODES),
    }
}

impl View<'_> {
    /// The acts that build the tree, and the paths of its writable tmpfs mounts.
    pub(super) fn tree(
        &self,
        limits: &Limits,
        uid: u32,
        gid: u32,
        egress: Option<&Egress>,
    ) -> Result<(Vec<Act>, Vec<PathBuf>), ResolveError> {
        let mut acts = vec![];
        let placed: BTreeSet<PathBuf> = self.binds.keys().map(|p| self.at(p)).collect();
        let mut made = Made {
            directories: BTreeSet::new(),
            placed: &placed,
            view: self,
        };
        made.directory("/dev".as_ref(), &mut acts);
        made.directory("/proc".as_ref(), &mut acts);
        made.directory("/etc".as_ref(), &mut acts);
        made.directory("/run".as_ref(), &mut acts);
        made.directory("/var".as_ref(), &mut acts);
        // A link cannot be a mount point, and a workspace may lie in `/var/tmp`.
        let var_tmp = Path::new("/var/tmp");
        let taken = |path: &PathBuf| path.starts_with(var_tmp);
        if !placed
            .iter()
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

        // Acts that need nothing of the host come first: meanwhile the parent prepares its trees.
        let resolver = egress
            .filter(|e| !e.listeners.is_empty())
            .map(|_| ("/etc/resolv.conf", Egress::resolv_conf()));
        for (path, contents) in etc(uid, gid, &self.home).into_iter().chain(resolver) {
            // A grant of the host's file takes precedence.
            if self.binds.contains_key(Path::new(path)) {
                continue;
            }
            acts.push(Act::File {
                path: path.into(),
                mode: 0o444,
                contents,
            });
        }
        if let Some(card) = self.card.as_ref().filter(|_| self.shows_card()) {
            made.directory(card::DIRECTORY.as_ref(), &mut acts);
            acts.push(Act::File {
                path: card::CARD.into(),
                mode: 0o444,
                contents: card.clone(),
            });
            made.directory(card::PROGRAMS.as_ref(), &mut acts);
            acts.push(Act::Client {
                program: card::CLIENT.into(),
                socket: card::SOCKET.into(),
            });
        }
        if let Some(identity) = self.identity {
            let named = |path: &Path| placed.contains(path) || self.links.contains_key(path);
            let other_owner = self.host.id_mode == IdMode::Privileged;
            acts.extend(identity.files(other_owner, named));
        }
        if egress.is_some_and(Egress::terminates) {
            acts.push(Act::Authority {
                certificate: egress::CERTIFICATE.into(),
                bundle: egress::BUNDLE.into(),
                store: egress::STORE.into(),
            });
        }
        for (path, group) in &self.groups {
            made.directory(path, &mut acts);
            acts.push(Act::GroupView {
                path: path.clone(),
                group: group.clone(),
            });
        }
        // Written through the jail's own /proc/sys, before that is read-only.
        acts.push(Act::UserCounts {
            inotify_instances: INOTIFY_INSTANCES,
            inotify_watches: INOTIFY_WATCHES,
        });
        acts.extend(proc::READ_ONLY.iter().map(|(name, _)| Act::ReadOnly {
            path: Path::new("/proc").join(name),
        }));
        acts.extend(proc::MASKS.iter().map(|(name, node, _)| Act::Mask {
            path: Path::new("/proc").join(name),
            node: *node,
            absent: IfAbsent::Skip,
            rule: None,
        }));

        // Mounts in order of depth, so that no mount covers an earlier one beneath it.
        enum Mount<'a> {
            Tmpfs,
            /// The path on the host.
            Bind(&'a Path, &'a Bound),
        }
        let own = self.own_tmpfs();
        let mut mounts: Vec<(Cow<Path>, Mount)> = own
            .iter()
            .map(|p| (p.as_path().into(), Mount::Tmpfs))
            .collect();
        mounts.extend(
            self.binds
                .iter()
                .filter(|(path, bound)| !self.covered(path, bound))
                .map(|(path, bound)| (self.inside(path), Mount::Bind(path, bound))),
        );
        mounts.sort_by_key(|(path, _)| path.components().count());
        for (path, mount) in &mounts {
            let path: &Path = path;
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
                            code: self.own_code(path),
                        },
                        rule: self.executable.get(path).cloned(),
                    });
                }
                Mount::Bind(source, bound) => {
                    made.target(path, bound.node, &mut acts);
                    let owner = self.owner(source, bound);
                    let without = match owner {
                        Owner::Mapped { .. } => self.apart_in(source),
                        Owner::Host => vec![],
                    };
                    acts.push(Act::Bind {
                        source: source.to_path_buf(),
                        target: path.into(),
                        node: bound.node,
                        access: self.access(source, bound),
                        owner,
                        without,
                        unnamed: self.unnamed(source),
                        overlay: self
                            .workspace
                            .overlay
                            .clone()
                            .filter(|_| self.is_overlay(source)),
                        rule: bound.by.clone(),
                    });
                }
            }
        }
        for (link, target) in &self.links {
            // A link that exists through another link or through a bound tree need not be made.
            let along = self
                .links
                .keys()
                .any(|above| above != link && within(link, above));
            // A mapped tree has no other name in the jail than its place.
            let moved = self.mapped.moves(target);
            if !along && !moved && self.bind_above(link).is_none() {
                if let Some(parent) = link.parent() {
                    made.directory(parent, &mut acts);
                }
                acts.push(Act::Link {
                    path: link.clone(),
                    target: target.clone(),
                });
            }
        }
        let held = self.held().into_iter();
        acts.extend(held.map(|(path, rule)| Act::Hold {
            path: self.at(&path),
            rule,
        }));
        acts.extend(self.masks.iter().map(|(path, mask)| Act::Mask {
            path: self.at(path),
            node: mask.node,
            absent: IfAbsent::Refuse,
            rule: Some(mask.by.clone()),
        }));
        if egress.is_some_and(Egress::terminates) {
            acts.extend(self.trusted()?);
        }
        acts.extend(self.withheld.iter().map(|(path, withheld)| Act::Withhold {
            path: self.at(path),
            by: self.stand_in(path, withheld),
            later: withheld.later,
            rule: Some(withheld.by.clone()),
        }));
        acts.extend(self.sockets.iter().map(|path| Act::Mask {
            path: self.at(path),
            node: Node::File,
            absent: IfAbsent::Skip,
            rule: None,
        }));
        let bytes = match egress.is_some_and(Egress::terminates) {
            true => ROOT_BYTES_WITH_CERTIFICATES,
            false => ROOT_BYTES,
        };
        acts.insert(0, root(bytes, &acts));
        Ok((acts, own))
    }

    /// The placeholder for a withheld name. The placeholder of a denied name reveals nothing, so it is not
    /// a directory.
    fn stand_in(&self, path: &Path, withheld: &Withheld) -> StandIn {
        let obeyed = self.host.found.obeyed.get(path).map(|obeyed| obeyed.stands);
        let readable = withheld.later == Later::ReadOnly;
        let directory = withheld.above || protected_defaults::is_looked_into(path);
        match (protected_defaults::stand_in(path), obeyed) {
            (StandIn::Socket, Some(Node::File)) => StandIn::File(""),
            (StandIn::Socket, Some(Node::Directory)) => {
                protected_defaults::stand_in_directory(path)
            }
            (StandIn::Socket, None) if readable && directory => {
                protected_defaults::stand_in_directory(path)
            }
            (other, _) => other,
        }
    }

    /// If the jail sees the host's certificates, they are covered by the bundle that also has the jail's
    /// authority.
    fn trusted(&self) -> Result<impl Iterator<Item = Act>, ResolveError> {
        let own = self.own_tmpfs();
        // Several names may lead to one file.
        let mut places: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        for (path, by) in egress::USUAL {
            let Fact::Present {
                real,
                node: Node::File,
                ..
            } = self.host.fact(Path::new(path))?
            else {
                continue;
            };
            let seen = self.bind_above(real).is_some_and(|(_, b)| !b.access.write);
            let hidden = self.masks.keys().chain(&own).any(|over| within(real, over));
            if seen && !hidden {
                places.insert(real.clone(), PathBuf::from(by));
            }
        }
        let place = |(path, by): (PathBuf, PathBuf)| Act::Trust {
            path: self.at(&path),
            by,
        };
        Ok(places.into_iter().map(place))
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.inside(path).into_owned()
    }

    /// The owner of a mount's files. A mount inside a tree of the jail's user belongs to that user, too.
    pub(super) fn owner(&self, path: &Path, bound: &Bound) -> Owner {
        let outer = path
            .ancestors()
            .filter_map(|above| self.binds.get_key_value(above))
            .filter(|(above, outer)| outer.access.write || **above == self.workspace.path)
            .last();
        let (_, whose) = outer.unwrap_or((&self.home, bound));
        let theirs = outer.is_some() && self.host.id_mode == IdMode::Privileged;
        let mut strange = self.host.found.unmapped.keys();
        let mappable = bound.idmap == Idmap::Works || !strange.any(|mount| within(path, mount));
        match theirs && mappable && whose.idmap == Idmap::Works {
            true => Owner::Mapped {
                uid: whose.uid,
                gid: whose.gid,
            },
            false => Owner::Host,
        }
    }

    /// The mounts in a tree that are bound separately.
    fn apart_in(&self, tree: &Path) -> Vec<PathBuf> {
        let inside = self.apart.iter().map(|apart| &apart.mount);
        let inside = inside.filter(|mount| *mount != tree && within(mount, tree));
        inside.cloned().collect()
    }

    /// Whether it is such a mount and no grant names it.
    fn unnamed(&self, path: &Path) -> bool {
        let mut apart = self.apart.iter();
        apart.any(|apart| apart.unnamed && apart.mount == *path)
    }

    /// Whether one of the jail's own tmpfs mounts is executable.
    fn own_code(&self, path: &Path) -> Code {
        match self.executable.contains_key(path) {
            true => Code::Execute,
            false => Code::Data,
        }
    }

    /// The access through the mount: an overlay is writable.
    fn access(&self, path: &Path, bound: &Bound) -> Access {
        Access {
            write: bound.access.write || self.is_overlay(path),
            code: bound.access.code,
        }
    }

    /// Whether the card has a place of its own: not where the policy grants the host's directory.
    fn shows_card(&self) -> bool {
        let place = Path::new(card::DIRECTORY);
        let meets = |path: &PathBuf| within(place, path) || within(path, place);
        !self.binds.keys().chain(self.links.keys()).any(meets)
    }

    pub(super) fn rules(&self) -> Vec<LandlockRule> {
        let rule = |path: &Path, node, rights| LandlockRule {
            path: path.into(),
            node,
            rights,
            rule: None,
        };
        let mut rules = vec![
            rule("/".as_ref(), Node::Directory, Rights::List),
            rule("/etc".as_ref(), Node::Directory, Rights::Read),
            rule("/dev".as_ref(), Node::Directory, Rights::Use),
            rule("/proc".as_ref(), Node::Directory, Rights::Use),
        ];
        if self.card.is_some() && self.shows_card() {
            let directory = Path::new(card::DIRECTORY);
            // The client is the only file in it that is on an executable mount.
            rules.push(rule(directory, Node::Directory, Rights::Execute));
            rules.push(rule(card::SOCKET.as_ref(), Node::File, Rights::Connect));
        }
        if !self.groups.is_empty() {
            rules.push(rule(GROUPS.as_ref(), Node::Directory, Rights::Read));
        }
        for path in self.own_tmpfs() {
            let access = Access {
                write: true,
                code: self.own_code(&path),
            };
            rules.push(LandlockRule {
                rule: self.executable.get(&path).cloned(),
                ..rule(&path, Node::Directory, access.into())
            });
        }
        // The rule of the enclosing tree grants the same, and the kernel may not be able to look up the
        // root of a FUSE server.
        for (path, bound) in &self.binds {
            if !self.covered(path, bound) && !self.unnamed(path) {
                rules.push(LandlockRule {
                    rule: bound.by.clone(),
                    ..rule(
                        &self.inside(path),
                        bound.node,
                        self.access(path, bound).into(),
                    )
                });
            }
        }
        rules
    }
}

/// Directories made so far, so that each is made once and none is made in a tree of the host.
struct Made<'a> {
    directories: BTreeSet<PathBuf>,
    /// The paths in the jail of all trees of the host.
    placed: &'a BTreeSet<PathBuf>,
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

    /// Makes the mount point.
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

    /// Whether `path` exists through a bound tree: one that encloses it, with no tmpfs between.
    fn exists(&self, path: &Path) -> bool {
        let mut above = path.ancestors().skip(1);
        let Some(bind) = above.find_map(|above| self.placed.get(above)) else {
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

/// The synthetic `/etc`: the jail's user and its loopback, no data of the host.
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
