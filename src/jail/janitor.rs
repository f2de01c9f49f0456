//! What a killed supervisor would leave behind, removed: the cgroup directories.
//!
//! Mounts, namespaces, sockets and leases end with their processes; the jail's processes end with
//! their supervisor (`PR_SET_PDEATHSIG`); a cgroup directory alone needs somebody to remove it. The
//! janitor is a process that shares this one's memory, so it costs no copy and needs no protocol:
//! what is to be removed is written to memory before it is made. It sleeps until the supervisor has
//! ended, whatever the reason, then kills the group and removes it. It runs in a session and with
//! descriptors of its own: neither Ctrl-C nor a reader waiting for the end of a pipe notices it.

use std::ffi::{CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use super::JailError;
use crate::sys::cgroup::Traces;
use crate::sys::{Errno, clone, janitor as sys, signal};

/// Hierarchies at most: three v1 controllers and a v2 one beside them.
const HIERARCHIES: usize = 4;

/// A path that both processes read; null where there is none.
type Path = AtomicPtr<c_char>;

/// Shared with the janitor's process. Leaked: it may outlive this process.
struct Shared {
    /// The supervisor.
    pidfd: AtomicI32,
    /// The slot's lock: nobody gets the slot while this process may still kill what is in it.
    lease: AtomicI32,
    /// The group's `cgroup.kill`.
    kill: Path,
    /// The group's directories.
    own: [Path; HIERARCHIES],
    /// The directories that hold every jail's, which go with the last jail.
    parents: [Path; HIERARCHIES],
}

/// A janitor at work; dropped without [`Janitor::dismiss`] it goes on watching.
pub struct Janitor {
    pid: i32,
    shared: &'static Shared,
}

impl Janitor {
    /// Starts one, with nothing to remove yet.
    pub fn start(lease: BorrowedFd<'_>) -> Result<Janitor, JailError> {
        let fault = |source| JailError::System {
            what: "starting the janitor",
            source,
        };
        let me: OwnedFd = sys::own_pidfd().map_err(fault)?;
        let shared: &'static mut Shared = Box::leak(Box::new(Shared {
            pidfd: AtomicI32::new(me.as_fd().as_raw_fd()),
            lease: AtomicI32::new(lease.as_raw_fd()),
            kill: Path::default(),
            own: Default::default(),
            parents: Default::default(),
        }));
        let shared: &'static Shared = shared;
        let room: &'static mut [u128] = Box::leak(vec![0u128; 1024].into_boxed_slice());
        let stack = Box::leak(Box::new(clone::Stack::on(room)));
        let pid = sys::start(stack, watch, shared).map_err(fault)?;
        Ok(Janitor { pid, shared })
    }

    /// Notes what is about to be made.
    pub fn expect(&self, traces: Traces) {
        // Leaked on purpose, as Shared is.
        let put = |to: &Path, path: CString| to.store(path.into_raw(), Ordering::SeqCst);
        if let Some(kill) = traces.kill {
            put(&self.shared.kill, kill);
        }
        self.shared
            .own
            .iter()
            .zip(traces.own)
            .for_each(|(to, path)| put(to, path));
        self.shared
            .parents
            .iter()
            .zip(traces.parents)
            .for_each(|(to, path)| put(to, path));
    }

    /// Removes what was noted, now, and sends the janitor home. The jail must have ended.
    pub fn dismiss(self) {
        remove(self.shared);
        // It is this process's own child and not yet reaped, so the pid is still its own.
        let _ = signal::send(self.pid, signal::KILL);
        let _ = crate::sys::process::reap(self.pid);
    }
}

/// The janitor's process. System calls only: it shares thread-local storage with the supervisor.
extern "C" fn watch(shared: *mut std::ffi::c_void) -> i32 {
    let shared: &'static Shared = clone::argument(shared);
    let held = |fd: &AtomicI32| fd.load(Ordering::SeqCst);
    let _ = sys::keep_only([held(&shared.pidfd), held(&shared.lease)]);
    sys::wait_for_end();
    remove(shared);
    crate::sys::process::exit(0)
}

fn remove(shared: &'static Shared) {
    let paths = |list: &'static [Path]| {
        list.iter()
            .map(|p| p.load(Ordering::SeqCst))
            .filter(|p| !p.is_null())
    };
    let kill = shared.kill.load(Ordering::SeqCst);
    // Some two seconds: a process killed in the middle of a long disk write takes its time.
    for attempt in 0..2000 {
        let busy = |path| sys::remove_directory(path) == Err(Errno::BUSY);
        if paths(&shared.own).filter(|path| busy(*path)).count() == 0 {
            break;
        }
        if !kill.is_null() {
            sys::write_one(kill);
        }
        sys::pause(attempt);
    }
    for parent in paths(&shared.parents) {
        let _ = sys::remove_directory(parent);
    }
}
