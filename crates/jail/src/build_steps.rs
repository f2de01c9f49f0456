//! Compiles the acts that make a jail into steps: every name becomes a descriptor or a C string.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::copier::{Copier, pinned_layers};
use super::cstrings::{absolute, bytes, option, relative, text};
use super::error::JailError;
use super::netns::Sockets;
use super::pins::{Pin, Pins};
use super::step::{Build, Place, STDIN, Step, Tree};
use super::streams::Stdio;
use super::{keystore, mounts, rights, stdin};
use creel_plan::{Act, DirOwner, Host, IdMode, JailPlan, Plan};
use creel_sys::userns::Idmap;
use creel_sys::{Errno, mount};

/// Pseudoterminals of one jail, at most.
const TERMINALS: &str = "256";

/// The inputs of [`prepare`].
pub struct Means<'a> {
    pub plan: &'a Plan,
    pub host: &'a Host,
    pub pins: &'a Pins,
    pub stdio: &'a Stdio,
    /// The jail is cloned in a network namespace whose loopback is up.
    pub born_in_network: bool,
    /// The host id of the jail's user, if the jail has a range of ids.
    pub jail_user: Option<u32>,
    /// The certificate of the jail's own certificate authority (PEM).
    pub authority: Option<String>,
}

/// The steps that build a jail.
pub struct Building {
    pub steps: Vec<Step<Build>>,
    /// The number of the act that gives the relay its sockets.
    pub egress: Option<u32>,
    /// Those sockets, if the supervisor makes them.
    pub sockets: Option<Sockets>,
    /// Dropped late: a drop waits for the end of a helper.
    pub idmaps: Vec<Idmap>,
}

/// Compiles the acts that make a jail.
pub fn prepare(means: Means<'_>) -> Result<Building, JailError> {
    let Means {
        plan,
        host,
        pins,
        stdio,
        born_in_network,
        jail_user,
        mut authority,
    } = means;
    let jail = &plan.jail;
    let mut copier = Copier {
        jail_user,
        idmaps: BTreeMap::new(),
    };
    let mut all = Building {
        steps: vec![],
        egress: None,
        sockets: None,
        idmaps: vec![],
    };
    let user = jail.confine.iter().find_map(|act| match act {
        Act::Become { uid, gid } => Some((*uid, *gid)),
        _ => None,
    });
    let site = Site {
        jail,
        id_mode: host.id_mode,
        pins,
        user: user.unwrap_or((host.uid, host.gid)),
        made: made(jail),
    };
    let mut stdin = stdin::prepare(stdio, plan, host, &mut copier)?;
    let device = stdin::device(stdio, plan);
    let mut device = device.map(|(path, flags)| Build::StdinDevice { path, flags });
    let mut awaited = false;
    for (number, act) in (0..).zip(&jail.build) {
        let mut step = |work| all.steps.push(Step { act: number, work });
        match act {
            Act::Namespaces { .. } | Act::MapIds(_) | Act::Cgroup(_) => {}
            Act::Loopback if born_in_network => {}
            Act::Authority {
                certificate,
                bundle,
                store,
            } => {
                let own = authority.take().unwrap_or_default().into_bytes();
                let both = [creel_sys::host::certificates(), own.clone()].concat();
                let java = keystore::of_pem(&both);
                for (path, contents) in [(certificate, own), (bundle, both), (store, java)] {
                    step(Build::File {
                        path: relative(path),
                        mode: 0o444,
                        contents,
                    });
                }
            }
            Act::Egress(egress) => {
                all.egress = Some(number);
                let made = Sockets::of(egress);
                match born_in_network {
                    true => all.sockets = Some(made),
                    false => step(Build::Egress(made)),
                }
            }
            Act::Pivot => {
                // Stdin needs the finished tree and still the host's mounts.
                let stdin = stdin.take().map(Build::Stdin);
                for work in stdin.into_iter().chain(device.take()) {
                    all.steps.push(Step { act: STDIN, work });
                }
                all.steps.push(Step {
                    act: number,
                    work: Build::Pivot,
                });
            }
            act => {
                if matches!(act, Act::Withhold { .. }) && !awaited {
                    awaited = true;
                    step(Build::AwaitNames);
                }
                step(site.compile(act, &mut copier)?);
            }
        }
    }
    all.idmaps = copier.idmaps.into_values().collect();
    Ok(all)
}

/// Mount points that the jail makes itself, or that a mount hides on the host.
fn made(jail: &JailPlan) -> BTreeSet<PathBuf> {
    let without = jail.build.iter().flat_map(|act| match act {
        Act::Bind {
            source,
            target,
            without,
            ..
        } => without
            .iter()
            .filter_map(|path| Some(target.join(path.strip_prefix(source).ok()?)))
            .collect(),
        _ => vec![],
    });
    let own = jail.build.iter().filter_map(|act| match act {
        Act::Directory { path, .. } | Act::File { path, .. } => Some(path.clone()),
        _ => None,
    });
    own.chain(without).collect()
}

struct Site<'a> {
    jail: &'a JailPlan,
    id_mode: IdMode,
    pins: &'a Pins,
    /// The user and group that the command runs as, in the jail.
    user: (u32, u32),
    made: BTreeSet<PathBuf>,
}

impl Site<'_> {
    fn compile(&self, act: &Act, copier: &mut Copier) -> Result<Build, JailError> {
        let Site {
            jail,
            id_mode,
            pins,
            user,
            ref made,
        } = *self;
        Ok(match act {
            Act::Root { bytes, inodes } => Build::Root {
                options: vec![
                    option("mode", "0755"),
                    option("size", &bytes.to_string()),
                    option("nr_inodes", &inodes.to_string()),
                ],
            },
            Act::Directory { path, mode, owner } => Build::Directory {
                path: relative(path),
                mode: *mode,
                owner: (*owner == DirOwner::User).then_some(user),
            },
            Act::Link { path, target } => Build::Link {
                path: relative(path),
                target: absolute(target),
            },
            Act::File {
                path,
                mode,
                contents,
            } => Build::File {
                path: relative(path),
                mode: *mode,
                contents: contents.clone().into_bytes(),
            },
            Act::Bind {
                source,
                target,
                access,
                owner,
                overlay: Some(overlay),
                ..
            } => {
                mounts::none_beneath(source)?;
                let attributes = rights::attributes(*access) | mount::NODEV;
                let pin = pinned(pins, source)?;
                let over = (!made.contains(target.as_path())).then_some(pin.stat);
                let (path, at) = (relative(target), Place::of(jail, target));
                let layers = &overlay.changes;
                if id_mode == IdMode::Privileged {
                    let held = copier.overlay((source, pin), layers, attributes, *owner)?;
                    return Ok(Build::Tree {
                        path,
                        at,
                        tree: Tree::Held(held),
                        attributes,
                        over,
                    });
                }
                Build::Overlay {
                    path,
                    at,
                    lower: (absolute(source), pin.stat),
                    layers: (absolute(layers), pinned_layers(layers)?.stat),
                    attributes,
                    over,
                }
            }
            Act::Bind {
                source,
                target,
                access,
                owner,
                without,
                ..
            } => {
                let attributes = rights::attributes(*access) | mount::NODEV;
                let pin = pinned(pins, source)?;
                let tree = match id_mode {
                    IdMode::Privileged => {
                        Tree::Held(copier.copy(source, pin, attributes, *owner, without)?)
                    }
                    IdMode::Rootless => Tree::Named {
                        source: absolute(source),
                        stat: pin.stat,
                    },
                };
                // A tree at another path than on the host covers a directory or file of the tree around it.
                let point = match jail.point(target) {
                    Some(point) if point != *source => pinned(pins, &point)?,
                    _ => pin,
                };
                let over = (!made.contains(target.as_path())).then_some(point.stat);
                Build::Tree {
                    path: relative(target),
                    at: Place::of(jail, target),
                    tree,
                    attributes,
                    over,
                }
            }
            Act::Device { path, major, minor } => Build::Device {
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
                ..
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
                Build::Instance {
                    path: relative(path),
                    at: Place::of(jail, path),
                    kind: c"tmpfs".into(),
                    options,
                    attributes: rights::attributes(*access) | mount::NODEV,
                }
            }
            Act::Devpts => Build::Instance {
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
            Act::Proc => Build::Proc {
                options: vec![option("hidepid", "invisible")],
                attributes: mount::NOSUID | mount::NODEV | mount::NOEXEC,
            },
            Act::UserCounts {
                inotify_instances,
                inotify_watches,
            } => Build::UserCounts {
                files: [
                    (c"proc/sys/user/max_inotify_instances", inotify_instances),
                    (c"proc/sys/user/max_inotify_watches", inotify_watches),
                ]
                .map(|(file, count)| (file, count.to_string().into_bytes())),
            },
            Act::ReadOnly { path } => Build::ReadOnly {
                path: relative(path),
            },
            Act::Mask {
                path, node, absent, ..
            } => {
                let host = jail.on_host(path);
                let over = host.and_then(|path| pins.get(&path)).map(|pin| pin.stat);
                Build::Mask {
                    path: relative(path),
                    at: Place::of(jail, path),
                    node: *node,
                    absent: *absent,
                    over,
                }
            }
            Act::Client { program, socket } => Build::Client {
                program: relative(program),
                socket: relative(socket),
            },
            Act::Trust { path, by } => Build::Trust {
                path: relative(path),
                at: Place::of(jail, path),
                by: relative(by),
            },
            Act::Withhold {
                path, by, later, ..
            } => Build::Withhold {
                path: relative(path),
                directory: relative(path.parent().unwrap_or(path)),
                name: bytes(path.file_name().unwrap_or_default().as_bytes().to_vec()),
                by: *by,
                later: *later,
            },
            Act::Hold { path, .. } => Build::Hold {
                path: relative(path),
            },
            Act::Pivot => Build::Pivot,
            Act::Seal => Build::Seal,
            Act::Hostname { name } => Build::Hostname { name: text(name) },
            Act::Loopback => Build::Loopback,
            Act::Clocks => Build::Clocks,
            Act::GroupView { path, group } => Build::Tree {
                path: relative(path),
                at: Place::Own,
                tree: Tree::Group(group.clone()),
                attributes: mount::INERT,
                over: None,
            },
            Act::JoinCgroup => Build::JoinCgroup,
            Act::CgroupNamespace => Build::CgroupNamespace,
            _ => {
                return Err(JailError::System {
                    what: "compiling a plan",
                    source: Errno::INVAL,
                });
            }
        })
    }
}

fn pinned<'a>(pins: &'a Pins, path: &Path) -> Result<&'a Pin, JailError> {
    pins.get(path)
        .ok_or_else(|| JailError::Changed(path.to_path_buf()))
}
