//! A helper process of the supervisor that maintains what the jail relies on, and removes what a killed
//! supervisor would leave behind.
//!
//! ```text
//! supervisor ──fork──▶ janitor: placeholders ──▶ held
//!     │ clone3                     │
//!     ├── the jail ───────────────▶ joins the jail's mounts, itself or with a process of its own, and watches
//!     │                            │ its covers ──▶ events
//!     │ the jail has ended         │
//!     ├── end ────────────────────▶ removes the placeholders ──▶ done
//!     ├── dismiss (no group left) ─▶ ends
//!     ▼
//!  killed ────────────────────────▶ kills the group, removes placeholders and group
//! ```
//!
//! Mounts, namespaces, sockets and leases end with their processes; the jail's processes end with their
//! supervisor (`PR_SET_PDEATHSIG`). Cgroup directories and placeholders must be removed, so the janitor knows
//! both before they are made. It has its own memory, because the OOM killer kills every process that shares
//! its victim's memory. If the janitor ends before the jail, the jail is killed: removed covers would stay
//! off.

mod protocol;
mod work;

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use protocol::{
    DISMISS, END, EVENT, HELD, JAIL, LENGTH, RELEASED, UNGUARDED, UNWATCHED, errno, padded, words,
};
use work::{Removed, Work, remove};

use super::cgroup::Traces;
use super::covers::{Covers, Fate};
use super::error::JailError;
use super::names::Names;
use creel_sys::janitor as sys;
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, process, procfs, signal};

/// How the jail's mount namespace can be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Its user namespace must be joined first.
    OfUserNamespace,
    /// The caller may join it directly.
    Joinable,
}

/// The duties of a janitor.
pub struct Duties<'a> {
    /// The slot's lock: no other jail gets the slot while the janitor may still kill its group.
    pub lease: Option<BorrowedFd<'a>>,
    /// The group, which is not made yet.
    pub group: Option<Traces>,
    /// The absent names for which the janitor makes and removes placeholders.
    pub names: Names,
    /// The covers that the janitor watches and restores.
    pub covers: Covers,
    /// How the janitor joins the mount namespace of the jail, to watch the covers.
    pub mounts: Mounts,
    /// Whether the janitor checks opens of denied names.
    pub guard: Guarding,
}

/// Whether opens of denied names are checked; see [`guard`](super::guard).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarding {
    /// The jail's first process waits for the guard.
    Wanted,
    /// Opens are not checked, and the jail does not wait.
    No,
}

/// Reports of the janitor while the jail runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A process outside of the jail removed a cover; the janitor restored it or killed the jail.
    Uncovered(Uncovered),
    /// The covers cannot be watched.
    Unwatched(Errno),
    /// The covers are watched, but opens of denied names are not checked.
    Unguarded(Unguarded),
    /// The janitor has ended, or the placeholders are gone.
    Over,
}

/// A name whose cover a process outside of the jail took off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// On the host, absolute.
    pub path: PathBuf,
    /// Whether the cover is back or the jail was killed.
    pub fate: Fate,
    /// Microseconds from the notice of the removal to the fate.
    pub microseconds: u32,
}

/// A place where opens of denied names are not checked, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unguarded {
    /// The directory of the names, on the host; `None` is everywhere.
    pub directory: Option<PathBuf>,
    /// The error of the call that would have set the check up.
    pub errno: Errno,
}

/// A running janitor. On drop it removes what it knows and ends.
pub struct Janitor {
    pid: i32,
    socket: OwnedFd,
    /// Open in this process and in the jail's first, until that sweeps its descriptors.
    built: Option<OwnedFd>,
    names: Names,
    covers: Covers,
    group: Traces,
    mounts: Mounts,
    guard: Guarding,
    phase: Cell<Phase>,
    /// It has removed the placeholders.
    released: Cell<bool>,
    /// Whether this process has removed the group, once it has tried.
    removed: Option<Removed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// The supervisor has reported the jail's end to it.
    Ending,
    /// Its last message has arrived, or it is gone.
    Over,
}

impl Janitor {
    /// Starts a janitor, which at once makes the placeholders.
    pub fn start(duties: Duties<'_>) -> std::result::Result<Janitor, JailError> {
        let fault = |source| JailError::System {
            what: "starting the janitor",
            source,
        };
        let (socket, theirs) = socket::pair().map_err(fault)?;
        let (waiting, built) = sys::until_closed().map_err(fault)?;
        let Duties {
            lease,
            group,
            names,
            covers,
            mounts,
            guard,
        } = duties;
        let group = group.unwrap_or_default();
        let pid = sys::start(|| {
            let mut kept: Vec<i32> = names.descriptors().collect();
            kept.extend([theirs.as_raw_fd(), waiting.as_raw_fd()]);
            kept.extend(lease.map(|lease| lease.as_raw_fd()));
            kept.extend(procfs::descriptor());
            let work = Work {
                socket: theirs.as_fd(),
                names: &names,
                covers: &covers,
                group: &group,
                guard,
                mounts,
                waiting: waiting.as_fd(),
            };
            // If a step fails, the socket closes and the supervisor notices.
            let _ = work.run(&mut kept);
        });
        Ok(Janitor {
            pid: pid.map_err(fault)?,
            socket,
            built: Some(built),
            names,
            covers,
            group,
            mounts,
            guard,
            phase: Cell::new(Phase::Working),
            released: Cell::new(false),
            removed: None,
        })
    }

    /// Waits until the janitor has made the placeholders of absent names. False if there are none.
    pub fn held(&self) -> std::result::Result<bool, JailError> {
        if !self.names.are_absent() {
            return Ok(false);
        }
        let gone = |source| JailError::System {
            what: "waiting for the janitor",
            source,
        };
        let mut message = [0; LENGTH];
        let received = socket::receive(self.socket.as_fd(), &mut message, Wait::Yes);
        let [index, code, _] = match received.map_err(gone)? {
            (LENGTH, _) if message[0] == HELD => words(&message),
            _ => {
                self.phase.set(Phase::Over);
                return Err(gone(Errno::CHILD));
            }
        };
        let Some(source) = errno(code) else {
            return Ok(true);
        };
        let path = self.names.path(index as usize).unwrap_or_default();
        Err(match source {
            Errno::EXIST => JailError::Changed(path),
            source => JailError::Placeholder { path, source },
        })
    }

    /// Hands the jail over to the janitor; its first process has started and waits. The covers are watched
    /// from the moment at which that process has swept its descriptors. `socket` leads to it, for the
    /// go-ahead.
    pub fn watch(&mut self, pid: i32, pidfd: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<()> {
        let message = padded(JAIL, [pid.unsigned_abs(), 0, 0]);
        let sent = match self.covers.is_empty() {
            true => socket::send(self.socket.as_fd(), &message, &[pidfd]),
            false => {
                // Opened now: later the first process is not dumpable, and its namespaces are not accessible.
                let mounts = procfs::namespace(&pid.to_string(), "mnt")?;
                let users = procfs::namespace(&pid.to_string(), "user")?;
                let (first, second) = (pidfd, mounts.as_fd());
                let to = self.socket.as_fd();
                match (self.mounts, self.guard) {
                    (Mounts::OfUserNamespace, _) => {
                        socket::send(to, &message, &[first, second, users.as_fd()])
                    }
                    (Mounts::Joinable, Guarding::Wanted) => {
                        socket::send(to, &message, &[first, second, socket])
                    }
                    (Mounts::Joinable, Guarding::No) => {
                        socket::send(to, &message, &[first, second])
                    }
                }
            }
        };
        self.built = None;
        sent
    }

    /// For poll(2): readable when [`told`](Janitor::told) has something.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The janitor's new reports, if any.
    pub fn told(&self) -> Vec<Told> {
        let mut all = vec![];
        while self.phase.get() != Phase::Over
            && let Some(told) = self.receive(Wait::No)
        {
            all.push(told);
        }
        all
    }

    fn receive(&self, wait: Wait) -> Option<Told> {
        let mut message = [0; LENGTH];
        let told = match socket::receive(self.socket.as_fd(), &mut message, wait) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok((LENGTH, _)) => {
                let words = words(&message);
                match (message[0], errno(words[1])) {
                    // This arrives here if the start failed before it was awaited.
                    (HELD, _) => return None,
                    (EVENT, ended) => Told::Uncovered(Uncovered {
                        path: self.covers.path(words[0]).unwrap_or(Path::new("")).into(),
                        fate: match ended {
                            None => Fate::Restored,
                            Some(_) => Fate::Ended,
                        },
                        microseconds: words[2],
                    }),
                    (UNWATCHED, Some(errno)) => Told::Unwatched(errno),
                    (UNGUARDED, Some(errno)) => Told::Unguarded(Unguarded {
                        directory: self
                            .covers
                            .path(words[0])
                            .and_then(Path::parent)
                            .map(PathBuf::from),
                        errno,
                    }),
                    (RELEASED, _) => {
                        self.released.set(true);
                        Told::Over
                    }
                    _ => Told::Over,
                }
            }
            _ => Told::Over,
        };
        if told == Told::Over {
            self.phase.set(Phase::Over);
        }
        Some(told)
    }

    /// Reports the jail's end; the janitor then removes the placeholders.
    pub fn end(&mut self) {
        if self.phase.get() == Phase::Working {
            let sent = socket::send(self.socket.as_fd(), &padded(END, [0; 3]), &[]);
            self.phase.set(match sent {
                Ok(()) => Phase::Ending,
                Err(_) => Phase::Over,
            });
        }
    }

    /// Removes the group while the janitor removes names. The jail must have ended.
    pub fn remove_group(&mut self) {
        self.end();
        // The janitor alone may have been killed.
        let removed = sys::root().map_or(Removed::NotAll, |root| remove(&root, &self.group));
        if removed == Removed::All {
            let _ = socket::send(self.socket.as_fd(), &padded(DISMISS, [0; 3]), &[]);
        }
        self.removed = Some(removed);
    }

    /// Waits for the janitor's work; returns its last reports, and the janitor. The jail must have ended.
    pub fn finish(mut self) -> (Vec<Told>, Leaving) {
        self.close()
    }

    fn close(&mut self) -> (Vec<Told>, Leaving) {
        if self.removed.is_none() {
            self.remove_group();
        }
        let mut told = vec![];
        while self.phase.get() == Phase::Ending {
            match self.receive(Wait::Yes) {
                Some(Told::Over) | None => {}
                Some(other) => told.push(other),
            }
        }
        if !self.released.get() {
            // The janitor or the process that it had started was killed.
            self.names.release();
        }
        let pid = std::mem::take(&mut self.pid);
        // If the group could not be removed, the janitor tries again after this process has ended. If this
        // process is killed in between, it leaves nothing.
        let removed = self.removed == Some(Removed::All);
        (told, Leaving(removed.then_some(pid)))
    }
}

/// A janitor that has nothing left to do. On drop its end is awaited.
#[derive(Debug)]
pub struct Leaving(Option<i32>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The child was not waited for yet, so no other process has its pid.
            let _ = signal::send(pid, signal::KILL);
            let _ = process::reap(pid);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        if self.pid > 0 {
            self.close();
        }
    }
}
