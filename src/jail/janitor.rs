//! What a killed supervisor would leave behind, removed: the cgroup directories.
//!
//! Mounts, namespaces, sockets and leases end with their processes; the jail's processes end with
//! their supervisor (`PR_SET_PDEATHSIG`); a cgroup directory alone needs somebody to remove it. The
//! janitor is a process that shares this one's memory, so it costs no copy and needs no protocol:
//! what is to be removed is written to memory before it is made. It sleeps until the supervisor has
//! ended, whatever the reason, then kills the group and removes it. A supervisor that ends in peace
//! removes the group itself and then kills the janitor: two at once would wait for the same locks. It
//! runs in a session and with descriptors of its own: neither Ctrl-C nor a reader waiting for the end
//! of a pipe notices it.
//!
//! Where the supervisor may act on the whole host the janitor first makes the jail's network namespace,
//! which costs as much as all mounts together, while the supervisor prepares the rest; the jail is
//! cloned in it. Elsewhere [`netns`](super::netns) does it, from inside.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use super::JailError;
use crate::sys::cgroup::Traces;
use crate::sys::janitor::{self as sys, SharedPath, State};
use crate::sys::{Errno, clone, net, procfs, signal};

/// Hierarchies at most: three v1 controllers and a v2 one beside them.
const HIERARCHIES: usize = 4;

/// Shared with the janitor's process. Leaked: it may outlive this process.
struct Shared {
    /// The supervisor.
    pidfd: AtomicI32,
    /// The slot's lock: nobody gets the slot while this process may still kill what is in it.
    lease: AtomicI32,
    /// The group's `cgroup.kill`.
    kill: SharedPath,
    /// Whether there is a network namespace to make.
    network: Network,
    state: State,
    /// The group's directories.
    own: [SharedPath; HIERARCHIES],
}

/// Which network namespace the janitor lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Kept,
    /// One that it makes, for the jail.
    New,
}

/// A janitor at work; dropped without [`Janitor::dismiss`] it goes on watching, if there is anything to
/// remove.
pub struct Janitor {
    pid: i32,
    shared: &'static Shared,
}

impl Janitor {
    /// Starts one, with nothing to remove yet.
    pub fn start(lease: BorrowedFd<'_>, network: Network) -> Result<Janitor, JailError> {
        let fault = |source| JailError::System {
            what: "starting the janitor",
            source,
        };
        let me: OwnedFd = sys::own_pidfd().map_err(fault)?;
        let shared: &'static mut Shared = Box::leak(Box::new(Shared {
            pidfd: AtomicI32::new(me.as_fd().as_raw_fd()),
            lease: AtomicI32::new(lease.as_raw_fd()),
            kill: SharedPath::default(),
            network,
            state: State::default(),
            own: Default::default(),
        }));
        let shared: &'static Shared = shared;
        let room: &'static mut [u128] = Box::leak(vec![0u128; 1024].into_boxed_slice());
        let stack = Box::leak(Box::new(clone::Stack::on(room)));
        let pid = sys::start(stack, watch, shared, &shared.state).map_err(fault)?;
        Ok(Janitor { pid, shared })
    }

    /// Takes this process into the network namespace that the janitor made, for a clone to be born there;
    /// the way back is handed out.
    pub fn enter_network(&self) -> Result<Option<OwnedFd>, JailError> {
        if self.shared.network == Network::Kept {
            return Ok(None);
        }
        let enter = || {
            self.shared.state.wait()?;
            let outside = procfs::namespace("self", "net")?;
            net::enter(&procfs::namespace(&self.pid.to_string(), "net")?)?;
            Ok(Some(outside))
        };
        enter().map_err(|source| JailError::System {
            what: "making the network namespace",
            source,
        })
    }

    /// Notes what is about to be made.
    pub fn expect(&self, traces: Traces) {
        let Shared { kill, own, .. } = self.shared;
        if let Some(path) = traces.kill {
            kill.put(path);
        }
        own.iter()
            .zip(traces.own)
            .for_each(|(to, path)| to.put(path));
    }

    /// Removes what was noted, now, and sends the janitor home. The jail must have ended.
    pub fn dismiss(mut self) {
        // Where it could not be removed the janitor stays, and tries again when this process has ended.
        // Killed in between, this one leaves nothing either.
        if remove(self.shared) == Removed::All {
            self.send_home();
        }
    }

    fn send_home(&mut self) {
        let pid = std::mem::take(&mut self.pid);
        // It is this process's child and not waited for yet: the pid is nobody else's.
        if pid > 0 && signal::send(pid, signal::KILL).is_ok() {
            let _ = crate::sys::process::reap(pid);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        // A plan that could not be frozen: nothing was made.
        if self.shared.own.iter().all(|path| path.get().is_none()) {
            self.send_home();
        }
    }
}

/// The janitor's process. System calls only: it shares thread-local storage with the supervisor.
extern "C" fn watch(shared: *mut std::ffi::c_void) -> i32 {
    let shared: &'static Shared = clone::argument(shared);
    let held = |fd: &AtomicI32| fd.load(Ordering::SeqCst);
    if shared.network == Network::New {
        // The socket that comes with it goes with the others.
        let made = net::new_namespace().and_then(|()| net::loopback_up());
        shared.state.tell(made.map(drop));
    }
    let _ = sys::keep_only([held(&shared.pidfd), held(&shared.lease)], &[]);
    sys::wait_for_end();
    let _ = remove(shared);
    crate::sys::process::exit(0)
}

/// What became of the group's directories.
#[derive(PartialEq, Eq)]
enum Removed {
    All,
    NotAll,
}

fn remove(shared: &'static Shared) -> Removed {
    let kill = shared.kill.get();
    // Some two seconds: a process killed in the middle of a long disk write takes its time.
    for attempt in 0..2000 {
        let busy = |path| sys::remove_directory(path) == Err(Errno::BUSY);
        let own = shared.own.iter().filter_map(SharedPath::get);
        if own.filter(|path| busy(path)).count() == 0 {
            return Removed::All;
        }
        if let Some(kill) = kill {
            sys::write_one(kill);
        }
        sys::pause(attempt);
    }
    Removed::NotAll
}
