//! The janitor's own process, and the watcher that it starts in the jail's mount namespace.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::Guarding;
use super::protocol::{
    DISMISS, EVENT, HELD, JAIL, LENGTH, LOST, NOWHERE, RELEASED, UNGUARDED, UNWATCHED, code,
    padded, words,
};
use crate::cgroup::{DEPTH, Traces};
use crate::covers::{Covers, Fate};
use crate::guard::Found;
use crate::names::Names;
use crate::protocol::GUARDED;
use crate::watched::Watched;
use crate::ways::Tasks;
use creel_sys::freezer::Freezer;
use creel_sys::janitor as sys;
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, mount, process, signal, userns};

/// The pause between two checks of directories in which the jail makes names.
const PAUSE: Duration = Duration::from_millis(1);
/// Milliseconds in which the watcher ends a check that it has begun.
const LAST_WORDS: i32 = 500;

/// The janitor's own process.
pub struct Work<'a> {
    pub socket: BorrowedFd<'a>,
    pub names: &'a Names,
    pub covers: &'a Covers,
    pub group: &'a Traces,
    pub guard: Guarding,
    /// Reaches end of file when the jail is built.
    pub waiting: BorrowedFd<'a>,
}

/// The watcher, a process in the jail's mount namespace. It ends on drop.
struct Watcher {
    pid: i32,
    leash: OwnedFd,
}

/// How the service for a supervisor ended.
#[derive(PartialEq, Eq)]
enum Served {
    /// Nothing is left to be done.
    Dismissed,
    /// The supervisor is gone, or could not remove the group.
    Alone,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It first sends its pending reports: its end of the leash closes when it has ended.
        let _ = rustix::net::shutdown(&self.leash, rustix::net::Shutdown::Write);
        let _ = sys::wait_any([Some((self.leash.as_fd(), PollFlags::IN))], LAST_WORDS);
        let _ = signal::send(self.pid, signal::KILL);
        let _ = process::reap(self.pid);
    }
}

impl Work<'_> {
    /// Runs until the supervisor releases the janitor, or is gone.
    pub fn run(&self, kept: &mut [i32]) -> Result<()> {
        sys::settle(kept)?;
        // Files made here get their final mode at creation: no mode is set by name later.
        process::set_mask(0);
        let root = sys::root()?;
        let held = self.names.hold();
        let (index, errno) = held
            .err()
            .map_or((0, 0), |(index, errno)| (index as u32, code(errno)));
        // The supervisor waits for this message, or for the end of this process.
        let heard = !self.names.are_absent()
            || socket::send(self.socket, &padded(HELD, [index, errno, 0]), &[]).is_ok();
        let mut jail: Option<OwnedFd> = None;
        let mut watcher: Option<Watcher> = None;
        if heard && self.serve(&root, &mut jail, &mut watcher)? == Served::Dismissed {
            return Ok(());
        }
        self.kill(&root, jail.as_ref());
        if let Some(jail) = &jail {
            // Placeholders are removed only after the jail has ended.
            sys::wait_for(jail);
        }
        drop(watcher);
        self.names.release();
        remove(&root, self.group);
        Ok(())
    }

    /// Serves the supervisor until it dismisses this process, or is gone.
    fn serve(
        &self,
        root: &OwnedFd,
        jail: &mut Option<OwnedFd>,
        watcher: &mut Option<Watcher>,
    ) -> Result<Served> {
        loop {
            let [told, lost] = sys::wait_any(
                [
                    Some((self.socket, PollFlags::IN)),
                    watcher.as_ref().map(|w| (w.leash.as_fd(), PollFlags::IN)),
                ],
                -1,
            )?;
            if lost && watcher.take().is_some() && !jail.as_ref().is_some_and(sys::has_ended) {
                // The covers are not watched any more, and opens are not checked.
                self.tell(LOST, [0; 3]);
                self.kill(root, jail.as_ref());
            }
            if !told {
                continue;
            }
            let mut message = [0; LENGTH];
            match socket::receive(self.socket, &mut message, Wait::Yes) {
                Ok((LENGTH, [pidfd, Some(mounts), third, ..])) if message[0] == JAIL => {
                    *jail = pidfd;
                    let first = words(&message)[0].cast_signed();
                    let jail = (jail.as_ref(), first);
                    *watcher = Some(self.start_watcher(root, jail, mounts, third)?);
                }
                Ok((LENGTH, [pidfd, ..])) if message[0] == JAIL => *jail = pidfd,
                Ok((LENGTH, _)) => {
                    drop(watcher.take());
                    // Closed by this process's end, while the supervisor makes the verdict.
                    let _last = self.names.release();
                    self.tell(RELEASED, [0; 3]);
                    // Meanwhile the supervisor removes the group. If it cannot, this process tries when the
                    // supervisor is gone.
                    match socket::receive(self.socket, &mut message, Wait::Yes) {
                        Ok((LENGTH, _)) if message[0] == DISMISS => return Ok(Served::Dismissed),
                        _ => return Ok(Served::Alone),
                    }
                }
                // The supervisor is gone.
                _ => return Ok(Served::Alone),
            }
        }
    }

    /// Starts the process that joins the jail's mount namespace. This one stays outside: inside, a
    /// placeholder is a mount point and cannot be removed.
    fn start_watcher(
        &self,
        root: &OwnedFd,
        (jail, first): (Option<&OwnedFd>, i32),
        mounts: OwnedFd,
        third: Option<OwnedFd>,
    ) -> Result<Watcher> {
        let (leash, theirs) = socket::pair()?;
        let (users, waits) = match self.guard {
            Guarding::No => (third, None),
            Guarding::Wanted => (None, third),
        };
        let pid = sys::start(|| {
            sys::close(&leash);
            let covers = || {
                let group = self.group.unified.as_ref();
                let tasks = Tasks {
                    group: group.and_then(|path| Freezer::open(root, path).ok()),
                    first,
                };
                // While the jail pivots, this process would get its old root, which lies over the new one.
                sys::wait_any([Some((self.waiting, PollFlags::IN))], -1)?;
                if let Some(users) = &users {
                    userns::enter(users)?;
                }
                mount::enter(&mounts)?;
                let mut covers = Watched::new(self.covers, self.names, tasks)?;
                if self.guard == Guarding::Wanted
                    && let Err(errno) = covers.guard()
                {
                    self.tell(UNGUARDED, [NOWHERE, code(errno), 0]);
                }
                Ok(covers)
            };
            let covers: Result<Watched<'_>> = covers();
            if let Some(first) = waits {
                // The jail's first process, which may be gone.
                let _ = socket::send(first.as_fd(), &[GUARDED], &[]);
                sys::close(&first);
                std::mem::forget(first);
            }
            match covers {
                Ok(covers) => self.watch(covers, theirs.as_fd(), root, jail),
                Err(errno) => {
                    self.tell(UNWATCHED, [0, code(errno), 0]);
                    // Waits, because the janitor takes the end of this process for a failure.
                    let _ = sys::wait_any([Some((theirs.as_fd(), PollFlags::IN))], -1);
                }
            }
        })?;
        Ok(Watcher { pid, leash })
    }

    /// The watcher's loop, until the jail has ended or the janitor closes the leash.
    fn watch(
        &self,
        mut covers: Watched<'_>,
        leash: BorrowedFd<'_>,
        root: &OwnedFd,
        jail: Option<&OwnedFd>,
    ) {
        // The first check finds earlier changes.
        self.check(&mut covers, root, jail);
        let mut pause: Option<Instant> = None;
        loop {
            let [openings, changes] = covers.asked().map_or([None, None], |all| all.map(Some));
            let ready = sys::wait_any(
                [
                    Some((leash, PollFlags::IN)),
                    Some((covers.mounts(), PollFlags::PRI)),
                    openings.map(|fd| (fd, PollFlags::IN)),
                    changes.map(|fd| (fd, PollFlags::IN)),
                    // The last user of the jail's mounts ends soon, then: removing them takes a while.
                    jail.map(|pidfd| (pidfd.as_fd(), PollFlags::IN)),
                    match pause {
                        None => Some((covers.changes(), PollFlags::IN)),
                        Some(_) => None,
                    },
                ],
                pause.map_or(-1, |_| 1),
            );
            let Ok([false, detached, asked, changed, ended, names]) = ready else {
                return;
            };
            let waited = pause.is_some_and(|since| since.elapsed() >= PAUSE);
            if detached || names || waited {
                self.check(&mut covers, root, jail);
            }
            if ended {
                return;
            }
            if waited {
                pause = None;
            }
            // After the check: a file that the jail opens earlier would stay open while it is frozen.
            let found = match asked || changed {
                true => covers.answer(),
                false => Ok(Found::Nothing),
            };
            match found {
                Ok(Found::Nothing) => {}
                Ok(Found::Change) => self.check(&mut covers, root, jail),
                // The end of this process kills the jail.
                Err(_) => return,
            }
            if names {
                // A jail that makes and removes names in such a directory in a loop must not use up the
                // processor through this process. It cannot cause the end of a mount.
                pause = Some(Instant::now());
            }
        }
    }

    /// Checks the covers.
    fn check(&self, covers: &mut Watched<'_>, root: &OwnedFd, jail: Option<&OwnedFd>) {
        let fate = covers.check(&mut |event| {
            let ended = u32::from(event.fate == Fate::Ended);
            self.tell(EVENT, [event.cover, ended, event.microseconds]);
        });
        for (cover, errno) in covers.unguarded() {
            self.tell(UNGUARDED, [cover as u32, code(errno), 0]);
        }
        if fate == Fate::Ended {
            self.kill(root, jail);
        }
    }

    fn tell(&self, what: u8, words: [u32; 3]) {
        // A supervisor that is gone needs no report.
        let _ = socket::send(self.socket, &padded(what, words), &[]);
    }

    fn kill(&self, root: &OwnedFd, jail: Option<&OwnedFd>) {
        if let Some(kill) = &self.group.kill {
            sys::write_one(root, kill);
        }
        if let Some(jail) = jail {
            let _ = signal::send_pidfd(jail.as_fd(), signal::KILL);
        }
    }
}

/// Whether the group's directories were removed.
#[derive(Debug, PartialEq, Eq)]
pub enum Removed {
    All,
    NotAll,
}

/// Removes the group, and kills the processes that keep it busy.
pub fn remove(root: &OwnedFd, group: &Traces) -> Removed {
    let busy = |path: &CString| sys::remove_directory(root, path) == Err(Errno::BUSY);
    // About two seconds: a process killed during a long disk write takes time to end.
    for attempt in 0..2000 {
        if group.own.iter().filter(|path| busy(path)).count() == 0 {
            return Removed::All;
        }
        if let Some(kill) = &group.kill {
            sys::write_one(root, kill);
        }
        // The groups of commands.
        for path in &group.own {
            sys::remove_inside(root, path, DEPTH);
        }
        sys::pause(attempt);
    }
    Removed::NotAll
}
