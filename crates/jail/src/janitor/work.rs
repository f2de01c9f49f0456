//! The janitor's own process, and the watcher of the covers in the jail's mount namespace: the janitor itself if it may
//! join that namespace and come back, else a process that it starts.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::protocol::{
    DISMISS, EVENT, HELD, JAIL, LENGTH, LOST, NOWHERE, RELEASED, UNGUARDED, UNWATCHED, code,
    padded, words,
};
use super::{Guarding, Mounts};
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
use creel_sys::{Errno, Result, late_close, mount, process, procfs, signal, userns};

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
    pub mounts: Mounts,
    /// Reaches end of file when the jail is built.
    pub waiting: BorrowedFd<'a>,
}

/// A watcher that is a process of its own in the jail's mount namespace. It ends on drop.
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

/// Why a watcher stopped.
#[derive(PartialEq, Eq)]
enum Stopped {
    /// The jail has ended, or nobody needs the watcher any more.
    Over,
    /// The covers cannot be checked any more.
    Failed,
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
        let served = match heard {
            true => self.serve(&root, &mut jail, &mut watcher),
            false => Ok(Served::Alone),
        };
        if served == Ok(Served::Dismissed) {
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
            if lost && watcher.take().is_some() {
                self.lose(root, jail.as_ref());
            }
            if !told {
                continue;
            }
            let mut message = [0; LENGTH];
            match socket::receive(self.socket, &mut message, Wait::Yes) {
                Ok((LENGTH, [pidfd, Some(mounts), third, ..])) if message[0] == JAIL => {
                    *jail = pidfd;
                    let first = words(&message)[0].cast_signed();
                    let jail = jail.as_ref();
                    match self.mounts {
                        Mounts::Joinable => self.watch_here(root, (jail, first), &mounts, third)?,
                        Mounts::OfUserNamespace => {
                            *watcher =
                                Some(self.start_watcher(root, (jail, first), mounts, third)?);
                        }
                    }
                }
                Ok((LENGTH, [pidfd, ..])) if message[0] == JAIL => *jail = pidfd,
                Ok((LENGTH, _)) => {
                    drop(watcher.take());
                    // Those that stay open are closed by this process's end, while the supervisor makes the verdict.
                    let _last = close_early(root, self.names.release());
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

    /// Watches the covers in this process, until the jail has ended or the supervisor has a message or is gone. Meanwhile
    /// this process is in the jail's mount namespace. It comes back because there a placeholder is a mount point, which
    /// cannot be removed.
    fn watch_here(
        &self,
        root: &OwnedFd,
        (jail, first): (Option<&OwnedFd>, i32),
        mounts: &OwnedFd,
        waits: Option<OwnedFd>,
    ) -> Result<()> {
        let outside = procfs::namespace("self", "mnt")?;
        let covers = self.join(root, first, None, mounts);
        self.let_begin(waits);
        let stopped = match covers {
            Ok(covers) => self.watch(covers, self.socket, root, jail),
            Err(errno) => {
                self.tell(UNWATCHED, [0, code(errno), 0]);
                Stopped::Over
            }
        };
        // Paths are not used from here on: this may not be the directory or the root from which the supervisor came.
        mount::enter(&outside)?;
        if stopped == Stopped::Failed {
            self.lose(root, jail);
        }
        Ok(())
    }

    /// Starts a process that joins the jail's mount namespace, and with it the jail's user namespace, from which there is no
    /// way back.
    fn start_watcher(
        &self,
        root: &OwnedFd,
        (jail, first): (Option<&OwnedFd>, i32),
        mounts: OwnedFd,
        users: Option<OwnedFd>,
    ) -> Result<Watcher> {
        let (leash, theirs) = socket::pair()?;
        let pid = sys::start(|| {
            sys::close(&leash);
            match self.join(root, first, users.as_ref(), &mounts) {
                // The janitor takes the end of this process for a failure.
                Ok(covers) => {
                    self.watch(covers, theirs.as_fd(), root, jail);
                }
                Err(errno) => {
                    self.tell(UNWATCHED, [0, code(errno), 0]);
                    let _ = sys::wait_any([Some((theirs.as_fd(), PollFlags::IN))], -1);
                }
            }
        })?;
        Ok(Watcher { pid, leash })
    }

    /// Waits until the jail is built, joins its mount namespace and begins to watch the covers.
    fn join(
        &self,
        root: &OwnedFd,
        first: i32,
        users: Option<&OwnedFd>,
        mounts: &OwnedFd,
    ) -> Result<Watched<'_>> {
        let group = self.group.unified.as_ref();
        let tasks = Tasks {
            group: group.and_then(|path| Freezer::open(root, path).ok()),
            first,
        };
        // While the jail pivots, this process would get its old root, which lies over the new one.
        sys::wait_any([Some((self.waiting, PollFlags::IN))], -1)?;
        if let Some(users) = users {
            userns::enter(users)?;
        }
        mount::enter(mounts)?;
        let mut covers = Watched::new(self.covers, self.names, tasks)?;
        if self.guard == Guarding::Wanted
            && let Err(errno) = covers.guard()
        {
            self.tell(UNGUARDED, [NOWHERE, code(errno), 0]);
        }
        Ok(covers)
    }

    /// Tells the jail's first process, if it waits for the guard, that it may go on.
    fn let_begin(&self, waits: Option<OwnedFd>) {
        if self.guard == Guarding::Wanted
            && let Some(first) = waits
        {
            // It may be gone.
            let _ = socket::send(first.as_fd(), &[GUARDED], &[]);
        }
    }

    /// The covers are not watched any more, and opens are not checked: the jail must end, if it has not.
    fn lose(&self, root: &OwnedFd, jail: Option<&OwnedFd>) {
        if !jail.is_some_and(sys::has_ended) {
            self.tell(LOST, [0; 3]);
            self.kill(root, jail);
        }
    }

    /// The watcher's loop, until the jail has ended or `stop` is readable.
    fn watch(
        &self,
        mut covers: Watched<'_>,
        stop: BorrowedFd<'_>,
        root: &OwnedFd,
        jail: Option<&OwnedFd>,
    ) -> Stopped {
        // The first check finds earlier changes.
        self.check(&mut covers, root, jail);
        let mut pause: Option<Instant> = None;
        loop {
            let [openings, changes] = covers.asked().map_or([None, None], |all| all.map(Some));
            let ready = sys::wait_any(
                [
                    Some((stop, PollFlags::IN)),
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
            let [stopped, detached, asked, changed, ended, names] = match ready {
                Ok(ready) => ready,
                Err(_) => return Stopped::Failed,
            };
            if stopped {
                return Stopped::Over;
            }
            let waited = pause.is_some_and(|since| since.elapsed() >= PAUSE);
            if detached || names || waited {
                self.check(&mut covers, root, jail);
            }
            if ended {
                return Stopped::Over;
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
                Err(_) => return Stopped::Failed,
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

/// Lets the kernel free removed directories, for which nobody waits then. Returns those on another mount than the root:
/// a mount that somebody takes off after the run must not be busy. The root stays, since the kernel makes no user
/// namespace, hence no jail, in a chroot (clone(2), `EPERM`).
fn close_early(root: &OwnedFd, removed: Vec<OwnedFd>) -> Vec<OwnedFd> {
    let of = |file: &OwnedFd| mount::id(file.as_fd(), c"");
    let of_root = of(root);
    let stays = |file: &OwnedFd| of_root.is_err() || of(file) != of_root;
    let (others, of_root) = removed.into_iter().partition(stays);
    late_close::close(of_root);
    others
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
