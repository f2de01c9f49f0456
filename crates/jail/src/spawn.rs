//! Starts a jail: the group, the clone, and what only the parent can do for the child.
//!
//! Objects that need the host's privileges (detached mounts of pinned trees, groups) are made before the clone. The
//! child inherits them and waits once, for its id maps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::branch;
use super::cgroup::Group;
use super::error::JailError;
use super::fault_point::{self, Point};
use super::janitor::{Janitor, Leaving, Told};
use super::netns::{self, Ahead};
use super::prepare::Ready;
use super::protocol::{HELD, MAPPED, Request};
use super::step::{Build, Stays, Step, Tree};
use super::streams::{self, Stdio};
use super::walk::{Child, Start, walk};
use creel_plan::resolve::JAIL_ID;
use creel_plan::{CgroupLayout, Ids, Plan, Terminal};
use creel_sys::clone::{self, Side};
use creel_sys::lease::Lease;
use creel_sys::process::{self, Change, Groups, Usage};
use creel_sys::shared::Board;
use creel_sys::signal::Held;
use creel_sys::userns::{self, Range};
use creel_sys::{Errno, fd, mount, net, procfs, signal, socket};

/// A running jail. Dropping it kills it.
pub struct Live {
    /// The plan from which the jail was made.
    pub plan: Arc<Plan>,
    /// The jail's first process: poll(2) reports it readable when the process has ended, pidfd_open(2).
    pub pidfd: OwnedFd,
    /// Carries the messages of [`protocol`](super::protocol).
    pub socket: OwnedFd,
    /// The jail's first process reports here how the command ended.
    pub board: Board,
    /// The control group of the jail; `None` if the plan has none.
    pub group: Option<Group>,
    /// Held until handlers exist; see [`Ready`].
    pub held: Option<Held>,
    ids: Ids,
    first_id: u32,
    pid: i32,
    /// `None` if a janitor has nothing to make, watch or remove.
    pub janitor: Option<Janitor>,
    /// Held as long as the jail exists: it reserves the ids and the group's name.
    _lease: Option<Lease>,
    reaped: bool,
}

impl Ready {
    /// Clones the jail's first process and serves it until it can go on alone.
    pub fn spawn(mut self) -> Result<Live, JailError> {
        let mut group = None;
        let mut tasks = vec![];
        if let (Some((layout, limits)), Some(lease)) = (&self.cgroup, &self.lease) {
            let mut made = Group::new(layout, lease.slot);
            made.create()?;
            made.limit(limits)?;
            if self.household.stays == Stays::UntilEnded {
                made.kill_one_for_memory()?;
            }
            if matches!(layout, CgroupLayout::V1 { .. }) {
                tasks = made.open_tasks()?;
            }
            let copies = match self.ids {
                Ids::Caller { .. } => Copies::Child,
                Ids::Range { .. } | Ids::Shared { .. } => Copies::Parent,
            };
            show(&made, &mut self.build, copies)?;
            group = Some(made);
        }
        fault_point::reach(Point::GroupMade);
        let networked = |step: &Step<Build>| matches!(step.work, Build::Loopback);
        let room = self
            .build
            .iter()
            .any(networked)
            .then(|| &mut *Box::leak(vec![0u128; netns::ROOM].into_boxed_slice()));
        let (ours, theirs) = self.socket;
        let birthplace = group.as_ref().and_then(Group::birthplace);
        // The clone below is refused (`EBUSY`) if this process has a second thread.
        let outside = self.network.as_ref().map(Ahead::enter).transpose();
        let outside = outside.map_err(|source| JailError::System {
            what: "making the network namespace",
            source,
        })?;
        let born = clone::clone3_single_threaded(self.flags, birthplace);
        if let (Err(_), Some(outside)) = (&born, &outside) {
            // Only the first error is reported.
            let _ = net::enter(outside);
        }
        let side = born.map_err(|source| JailError::Clone { source })?;
        let (pid, pidfd) = match side {
            Side::Parent { pid, pidfd } => (pid, pidfd),
            Side::Child => walk(Child {
                build: &mut self.build,
                enter: &mut self.enter,
                household: &self.household,
                program: &self.program,
                stdio: &self.stdio,
                tasks: &tasks,
                socket: theirs,
                supervisors: ours,
                ids: match self.ids {
                    Ids::Range { .. } => Start::JailRoot,
                    Ids::Shared { .. } => Start::JailUser(JAIL_ID),
                    Ids::Caller { .. } => Start::Caller,
                },
                room,
                relay: self.relay,
            }),
        };
        // The child has its own copies; ours would keep its pipes and its socket open.
        drop((theirs, self.stdio));
        let mut live = Live {
            plan: self.plan,
            pidfd,
            socket: ours,
            board: self.household.board,
            group,
            held: Some(self.held),
            ids: self.ids,
            first_id: self.first_id,
            pid,
            janitor: self.janitor,
            _lease: self.lease,
            reaped: false,
        };
        // From here on an error drops `live`, which kills the jail and cleans up.
        fault_point::reach(Point::FirstCloned);
        live.hand_over()?;
        fault_point::reach(Point::JanitorHolds);
        live.map_ids(self.ids, self.first_id)?;
        fault_point::reach(Point::IdsMapped);
        let given = match (&self.relay, &self.sockets) {
            // While the jail builds its tree.
            (Some(relay), Some(sockets)) => netns::give(relay, sockets),
            _ => Ok(()),
        };
        if let Some(outside) = outside {
            // The supervisor uses no network: if it may not go back, it stays.
            let _ = net::enter(&outside);
        }
        given.map_err(|source| JailError::System {
            what: "making the relay's sockets",
            source,
        })?;
        let janitor = live.janitor.as_ref();
        if janitor.map_or(Ok(false), Janitor::held).map_err(nowhere)? {
            live.say(HELD)?;
        }
        drop((self.idmaps, self.network));
        fault_point::reach(Point::JailSpawned);
        Ok(live)
    }
}

/// The process that may copy mounts of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Parent,
    Child,
}

/// Fills the new groups in where steps show control groups.
fn show(made: &Group, steps: &mut [Step<Build>], copies: Copies) -> Result<(), JailError> {
    for step in steps {
        let Build::Tree {
            tree, attributes, ..
        } = &mut step.work
        else {
            continue;
        };
        let Tree::Group(view) = tree else { continue };
        let (source, opened) = made.viewed(view)?;
        *tree = match copies {
            Copies::Parent => {
                let copy = mount::copy_one(opened.as_fd(), c"").map_err(shown)?;
                mount::set(copy.as_fd(), *attributes, mount::Reach::This).map_err(shown)?;
                Tree::Held(copy)
            }
            Copies::Child => Tree::Named {
                source,
                stat: fd::stat(opened.as_fd()).map_err(shown)?,
            },
        };
    }
    Ok(())
}

fn shown(source: Errno) -> JailError {
    JailError::System {
        what: "copying the mount of the jail's cgroup",
        source,
    }
}

impl Live {
    /// Hands the jail to the janitor, before the jail's first process goes on.
    fn hand_over(&mut self) -> Result<(), JailError> {
        let Some(janitor) = &mut self.janitor else {
            return Ok(());
        };
        janitor
            .watch(self.pid, self.pidfd.as_fd(), self.socket.as_fd())
            .map_err(|source| JailError::System {
                what: "handing the jail to the janitor",
                source,
            })
    }

    fn map_ids(&self, ids: Ids, first: u32) -> Result<(), JailError> {
        let one = |inside, outside| Range {
            inside,
            outside,
            count: 1,
        };
        let (uids, gids, groups) = match ids {
            Ids::Range { count } => {
                let all = Range {
                    inside: 0,
                    outside: first,
                    count,
                };
                (all, all, Groups::Clear)
            }
            Ids::Caller { uid, gid } => (one(uid, uid), one(gid, gid), Groups::Keep),
            Ids::Shared { uid, gid } => (one(JAIL_ID, uid), one(JAIL_ID, gid), Groups::Clear),
        };
        userns::write_maps(self.pid, &[uids], &[gids], groups)
            .and_then(|()| userns::close_projects(self.pid))
            .map_err(|source| JailError::Maps { source })?;
        self.say(MAPPED)
    }

    /// Tells the child to go on.
    fn say(&self, message: u8) -> Result<(), JailError> {
        match socket::send(self.socket.as_fd(), &[message], &[]) {
            // A child that is gone has reported why, or is found dead later.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(source) => Err(JailError::System {
                what: "speaking to the jail",
                source,
            }),
        }
    }

    /// Asks the first process of a jail that stays to start a command or to signal one. `EAGAIN`: it has many
    /// requests unread.
    pub fn request(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        socket::send_now(self.socket.as_fd(), &request.encode(), fds)
    }

    /// Continues the first process, and kills what is in its own control group beside it: children of its that have
    /// not joined a group of their own yet, since a process of the jail has stopped them. False without a group.
    pub fn kill_strays(&self) -> bool {
        self.signal(signal::CONT);
        if let Some(group) = &self.group {
            branch::kill_beside(group, self.pid);
        }
        self.group.is_some()
    }

    /// Lets the jail's user open these pipes by name (/dev/stdout), as those of the first command.
    pub fn give_streams(&self, stdio: &Stdio, terminal: Terminal) {
        streams::own(stdio, self.ids, self.first_id + JAIL_ID, terminal);
    }

    /// Sends a signal to the jail's first process, which passes it on.
    pub fn signal(&self, number: i32) {
        // A process that is gone needs no signal.
        let _ = signal::send_pidfd(self.pidfd.as_fd(), number);
    }

    /// Bytes of answers that lie unread in the jail's netlink sockets.
    pub fn unread_answers(&self) -> u64 {
        procfs::netlink_unread(self.pid)
    }

    /// The sockets of the jail's network.
    pub fn sockets(&self) -> procfs::Sockets {
        procfs::sockets(self.pid)
    }

    /// Bytes of the jail's connections that belong to none of its processes, at most some more than `most`.
    pub fn ownerless(&self, most: u64) -> u64 {
        procfs::ownerless(self.pid, most)
    }

    /// Kills everything in the jail: through its group, if there is one, and its pid namespace.
    pub fn kill(&self) {
        if let Some(group) = &self.group {
            // Without a v2 group the pid namespace is enough.
            let _ = group.kill();
        }
        self.signal(signal::KILL);
    }

    /// Stops every process of the jail until [`Live::thaw`]. False if no group can be frozen.
    pub fn freeze(&self) -> bool {
        self.group.as_ref().is_some_and(Group::freeze)
    }

    /// Whether no process of the jail runs any more after [`Live::freeze`]. `None` if no group can be frozen.
    pub fn is_frozen(&self) -> Option<bool> {
        self.group.as_ref().and_then(Group::is_frozen)
    }

    /// Ends [`Live::freeze`].
    pub fn thaw(&self) {
        // A group that cannot be thawed was not frozen, or is killed at the time limit.
        self.group.as_ref().map(Group::thaw);
    }

    /// Waits for the jail's end; call when `pidfd` is readable.
    pub fn reap(&mut self) -> Result<(Change, Usage), JailError> {
        self.reaped = true;
        let ended = process::reap(self.pid).map_err(|source| JailError::System {
            what: "waiting for the jail",
            source,
        });
        if let Some(janitor) = &mut self.janitor {
            janitor.end();
        }
        ended
    }

    /// Removes the jail's group. Call it after the counters were read. The janitor removes names meanwhile.
    pub fn clean(mut self) -> Cleaning {
        self.finish()
    }

    fn finish(&mut self) -> Cleaning {
        if !self.reaped {
            self.kill();
            let _ = self.reap();
        }
        let mut janitor = self.janitor.take();
        janitor.iter_mut().for_each(Janitor::remove_group);
        Cleaning(janitor)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.finish());
    }
}

/// A jail that has ended, whose janitor may still remove names. On drop that is awaited.
#[must_use]
pub struct Cleaning(Option<Janitor>);

impl Cleaning {
    /// Waits until the names are removed. Returns the janitor's reports since the last query, and the janitor, whose end
    /// can be awaited later.
    pub fn wait(self) -> (Vec<Told>, Option<Leaving>) {
        let finished = self.0.map(Janitor::finish);
        finished.map_or_else(Default::default, |(told, leaving)| (told, Some(leaving)))
    }
}

/// Reports a dangling link: its name was found absent, and still cannot be created.
fn nowhere(error: JailError) -> JailError {
    match error {
        JailError::Changed(path) if path.is_symlink() && !path.exists() => {
            JailError::LinkNowhere { path }
        }
        other => other,
    }
}

/// The directory of leases: `/run/creel` for root, else `$XDG_RUNTIME_DIR/creel`, which is
/// `/run/user/UID/creel` if the variable is not set. A runtime directory that is not the user's alone, such as /tmp, is
/// replaced by `/tmp/creel-UID`: any user could take the name `creel` in it.
pub fn state_dir(uid: u32, runtime_dir: Option<&Path>) -> std::path::PathBuf {
    match (uid, runtime_dir) {
        (0, _) => "/run/creel".into(),
        (uid, Some(dir)) if dir.is_absolute() => match is_shared(dir, uid) {
            true => format!("/tmp/creel-{uid}").into(),
            false => dir.join("creel"),
        },
        (uid, _) => format!("/run/user/{uid}/creel").into(),
    }
}

/// Whether others than the user may make names in a directory. One that is absent is shared with nobody.
fn is_shared(dir: &Path, uid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(dir);
    meta.is_ok_and(|meta| meta.uid() != uid || meta.mode() & 0o022 != 0)
}
