//! Ready to live: the group, the clone, and what only the parent can do for the child.
//!
//! What needs the host's privileges (detached mounts of pinned trees, groups) is there before the child
//! is: it inherits it, and waits once, for its id maps.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::JailError;
use super::freeze::Ready;
use super::janitor::Janitor;
use super::keeper::Keeper;
use super::netns;
use super::step::{Step, Work};
use super::walk::{Child, Start, walk};
use crate::plan::resolve::JAIL_ID;
use crate::plan::{CgroupLayout, Ids, Plan};
use crate::sys::cgroup::Group;
use crate::sys::clone::{self, Side};
use crate::sys::lease::Lease;
use crate::sys::process::{self, Change, Groups, Usage};
use crate::sys::shared::Board;
use crate::sys::userns::{self, Range};
use crate::sys::{Errno, net, procfs, signal, socket};

/// A jail that exists. Dropping it kills it.
pub struct Live {
    pub plan: Arc<Plan>,
    pub pidfd: OwnedFd,
    /// Speaks [`wire`](super::wire).
    pub socket: OwnedFd,
    /// Where the jail's first process leaves how the command ended.
    pub board: Board,
    pub group: Option<Group>,
    pid: i32,
    janitor: Option<Janitor>,
    keeper: Option<Keeper>,
    /// Held as long as the jail: its ids and its group's name are its own.
    _lease: Option<Lease>,
    reaped: bool,
}

impl Ready {
    /// Clones the jail's first process and serves it until it can go on alone.
    pub fn spawn(mut self) -> Result<Live, JailError> {
        let mut group = None;
        if let (Some((layout, limits)), Some(lease), Some(janitor)) =
            (&self.cgroup, &self.lease, &self.janitor)
        {
            let mut made = Group::new(layout, lease.slot);
            janitor.expect(made.traces());
            made.create()?;
            if matches!(layout, CgroupLayout::V2 { .. }) {
                made.limit(limits)?;
            }
            group = Some(made);
        }
        let placeholders = std::mem::take(&mut self.placeholders);
        let keeper = match placeholders.is_empty() {
            true => None,
            false => Some(Keeper::start(placeholders)?),
        };
        let mut held = match &keeper {
            Some(keeper) => keeper.held.clone().into_iter(),
            None => vec![].into_iter(),
        };
        for step in &mut self.steps {
            if let Work::Withhold { over, .. } = &mut step.work {
                *over = held.next();
            }
        }
        let mut tasks = vec![];
        if let (Some(group), Some((CgroupLayout::V1 { .. }, limits))) = (&group, &self.cgroup) {
            group.limit(limits)?;
            tasks = group.open_tasks()?;
        }
        let networked = |step: &Step| matches!(step.work, Work::Loopback);
        let room = self
            .steps
            .iter()
            .any(networked)
            .then(|| &mut *Box::leak(vec![0u128; netns::ROOM].into_boxed_slice()));
        let (ours, theirs) = self.socket;
        let birthplace = group.as_ref().and_then(Group::birthplace);
        // Refused where this process has a second thread.
        let outside = match &self.janitor {
            Some(janitor) => janitor.enter_network()?,
            None => None,
        };
        let born = clone::clone3_single_threaded(
            self.flags,
            birthplace,
            keeper.as_ref().map(Keeper::jail),
        );
        if let (Err(_), Some(outside)) = (&born, &outside) {
            // What failed first is told.
            let _ = net::enter(outside);
        }
        let side = born.map_err(|source| JailError::Clone { source })?;
        let (pid, pidfd) = match side {
            Side::Parent { pid, pidfd } => (pid, pidfd),
            Side::Child => walk(Child {
                steps: &mut self.steps,
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
                terminal: self.plan.command.terminal,
                room,
                relay: self.relay,
            }),
        };
        // The child has its own copies; ours would keep its pipes and its socket open.
        drop((theirs, self.stdio));
        let live = Live {
            plan: self.plan,
            pidfd,
            socket: ours,
            board: self.program.board,
            group,
            pid,
            janitor: self.janitor,
            keeper,
            _lease: self.lease,
            reaped: false,
        };
        // From here on an error drops `live`, which kills and cleans.
        live.map_ids(self.ids, self.first_id)?;
        let given = match (&self.relay, &self.sockets) {
            // While the jail builds its tree.
            (Some(relay), Some(sockets)) => netns::give(relay, sockets),
            _ => Ok(()),
        };
        if let Some(outside) = outside {
            // The supervisor speaks to no network: where it may not go back it stays.
            let _ = net::enter(&outside);
        }
        given.map_err(|source| JailError::System {
            what: "making the relay's sockets",
            source,
        })?;
        Ok(live)
    }
}

impl Live {
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
        userns::write_maps(self.pid, uids, gids, groups)
            .and_then(|()| userns::close_projects(self.pid))
            .map_err(|source| JailError::Maps { source })?;
        self.say_go()
    }

    /// Tells the child to go on.
    fn say_go(&self) -> Result<(), JailError> {
        match socket::send(self.socket.as_fd(), b"!", &[]) {
            // A child that is gone has said why, or will be found dead.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(source) => Err(JailError::System {
                what: "speaking to the jail",
                source,
            }),
        }
    }

    /// Sends a signal to the jail's first process, which passes it on.
    pub fn signal(&self, number: i32) {
        // Gone already is as good.
        let _ = signal::send_pidfd(self.pidfd.as_fd(), number);
    }

    /// Bytes of answers that lie unread in the jail's netlink sockets.
    pub fn unread_answers(&self) -> u64 {
        procfs::netlink_unread(self.pid)
    }

    /// Kills everything in the jail: by its group where there is one, and by its pid namespace.
    pub fn kill(&self) {
        if let Some(group) = &self.group {
            // Without a v2 group the pid namespace does it alone.
            let _ = group.kill();
        }
        self.signal(signal::KILL);
    }

    /// Waits for the jail's end; call when `pidfd` is readable.
    pub fn reap(&mut self) -> Result<(Change, Usage), JailError> {
        self.reaped = true;
        process::reap(self.pid).map_err(|source| JailError::System {
            what: "waiting for the jail",
            source,
        })
    }

    /// Removes what the jail leaves: its group. Call after the counters were read.
    pub fn clean(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = self.reap();
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.dismiss();
        }
        if let Some(janitor) = self.janitor.take() {
            janitor.dismiss();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Where leases live: `/run/creel` for root, else `$XDG_RUNTIME_DIR/creel`, which is
/// `/run/user/UID/creel` where the variable is not set.
pub fn state_dir(uid: u32, runtime_dir: Option<&Path>) -> std::path::PathBuf {
    match (uid, runtime_dir) {
        (0, _) => "/run/creel".into(),
        (_, Some(dir)) if dir.is_absolute() => dir.join("creel"),
        (uid, _) => format!("/run/user/{uid}/creel").into(),
    }
}
