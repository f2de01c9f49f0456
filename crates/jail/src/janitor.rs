//! The process beside the supervisor that keeps what the jail relies on, and removes what a killed
//! supervisor would leave behind.
//!
//! ```text
//! supervisor ──fork──▶ janitor: network namespace, placeholders ──▶ ready
//!     │ clone3                     │
//!     ├── the jail ───────────────▶ a process of its own joins the jail's mounts, and watches its
//!     │                            │ covers ──▶ events
//!     │ the jail has ended         │
//!     ├── end ────────────────────▶ removes the placeholders ──▶ done
//!     ▼
//!  killed ────────────────────────▶ kills the group, removes placeholders and group
//! ```
//!
//! Mounts, namespaces, sockets and leases end with their processes; the jail's processes end with their
//! supervisor (`PR_SET_PDEATHSIG`). Cgroup directories and placeholders need somebody to remove them. The
//! janitor knows both before they are made. It has memory of its own: the kernel ends every process that
//! shares the memory of one that it ends for want of memory. Where it ends before the jail, the jail is
//! ended: nobody would cover again what the host uncovers.
//!
//! Where the supervisor may act on the whole host the janitor first makes the jail's network namespace,
//! which costs as much as all mounts together, while the supervisor prepares the rest; the jail is
//! cloned in it. Elsewhere [`netns`](super::netns) does it, from inside.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::JailError;
use super::cgroup::Traces;
use super::covers::{Covers, Fate};
use super::guard::Found;
use super::names::Names;
use super::watched::Watched;
use super::ways::Tasks;
use creel_sys::freezer::Freezer;
use creel_sys::janitor as sys;
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, mount, net, process, procfs, signal, userns};

/// Which network namespace the janitor lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Kept,
    /// One that it makes, for the jail.
    New,
}

/// Who the jail's mount namespace belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Its user namespace must be joined first.
    OfUserNamespace,
    /// The caller may join it as he is.
    Joinable,
}

/// What a janitor is for.
pub struct Duties<'a> {
    /// The slot's lock: nobody gets the slot while the janitor may still kill what is in it.
    pub lease: Option<BorrowedFd<'a>>,
    /// The group, which is not made yet.
    pub group: Option<Traces>,
    pub network: Network,
    pub names: Names,
    pub covers: Covers,
    pub mounts: Mounts,
    pub guard: Guarding,
}

/// Whether opening of denied names is held; see [`guard`](super::guard).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarding {
    /// The jail's first process waits for it.
    Wanted,
    No,
}

/// Messages to the janitor.
const JAIL: u8 = b'j';
const END: u8 = b'e';
/// Messages from the janitor.
const READY: u8 = b'r';
const EVENT: u8 = b'c';
const UNWATCHED: u8 = b'u';
const UNGUARDED: u8 = b'g';
const RELEASED: u8 = b'd';
const LOST: u8 = b'l';
/// In the place of a cover: of all.
const NOWHERE: u32 = u32::MAX;
/// What the jail's first process waits for.
const GO: &[u8] = b"!";
/// Between two looks at directories in which the jail makes names.
const PAUSE: Duration = Duration::from_millis(1);
/// Milliseconds in which the watcher ends a check that it has begun.
const LAST_WORDS: i32 = 500;
/// The longest message: a byte and three words.
const LENGTH: usize = 13;

/// What the janitor tells while the jail runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Uncovered(Uncovered),
    /// The covers cannot be watched.
    Unwatched(Errno),
    /// They are, but the jail's opening of denied names is not held.
    Unguarded(Unguarded),
    /// It has ended, or the placeholders are gone.
    Over,
}

/// A name whose cover somebody outside of the jail took off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    pub path: PathBuf,
    pub fate: Fate,
    /// From when it was noticed to the fate.
    pub microseconds: u32,
}

/// Where opening of denied names is not held, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unguarded {
    /// The directory of the names; everywhere, where there is none.
    pub directory: Option<PathBuf>,
    pub errno: Errno,
}

/// A janitor at work. Dropped, it ends after it has removed what it knows.
pub struct Janitor {
    pid: i32,
    socket: OwnedFd,
    /// Open in this process and in the jail's first until that sweeps its descriptors.
    built: Option<OwnedFd>,
    names: Names,
    covers: Covers,
    group: Traces,
    mounts: Mounts,
    guard: Guarding,
    network: Network,
    phase: Phase,
    /// It has removed the placeholders.
    released: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It works.
    Working,
    /// It was told that the jail has ended.
    Ending,
    /// Its last word was heard, or it is gone.
    Over,
}

impl Janitor {
    /// Starts one; it begins to make what is its to make.
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
            network,
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
                waiting: waiting.as_fd(),
            };
            // Where a step fails the socket closes, and the supervisor knows.
            let _ = work.run(&mut kept, network);
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
            network,
            phase: Phase::Working,
            released: false,
        })
    }

    /// Waits for what the janitor makes. Takes this process into the network namespace, if there is one,
    /// for a clone to be born there; the way back is handed out.
    pub fn ready(&mut self) -> std::result::Result<Option<OwnedFd>, JailError> {
        let fault = |what| move |source| JailError::System { what, source };
        let mut message = [0; LENGTH];
        let received = socket::receive(self.socket.as_fd(), &mut message, Wait::Yes);
        let words = match received.map_err(fault("waiting for the janitor"))? {
            (LENGTH, _) if message[0] == READY => words(&message),
            _ => {
                self.phase = Phase::Over;
                return Err(fault("waiting for the janitor")(Errno::CHILD));
            }
        };
        if let (index, Some(source)) = (words[0], errno(words[1])) {
            let path = self.names.path(index as usize).unwrap_or_default();
            return Err(match source {
                Errno::EXIST => JailError::Changed(path),
                source => JailError::Placeholder { path, source },
            });
        }
        let what = "making the network namespace";
        if let Some(errno) = errno(words[2]) {
            return Err(fault(what)(errno));
        }
        if self.network == Network::Kept {
            return Ok(None);
        }
        let theirs = procfs::namespace(&self.pid.to_string(), "net");
        let theirs = theirs.map_err(fault("waiting for the janitor"))?;
        let enter = || {
            let outside = procfs::namespace("self", "net")?;
            net::enter(&theirs)?;
            Ok(Some(outside))
        };
        enter().map_err(fault(what))
    }

    /// Hands the jail over, whose first process has begun and waits. From the moment at which that has swept
    /// its descriptors the covers are watched. `socket` leads to it, for the word that it waits for.
    pub fn watch(&mut self, pid: i32, pidfd: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<()> {
        let message = padded(JAIL, [pid.unsigned_abs(), 0, 0]);
        let sent = match self.covers.is_empty() {
            true => socket::send(self.socket.as_fd(), &message, &[pidfd]),
            false => {
                // Now: the first process will not be dumpable, and its namespaces not to be had.
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

    /// For poll(2): readable where [`told`](Janitor::told) has something.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What the janitor has told since, if anything.
    pub fn told(&mut self) -> Vec<Told> {
        let mut all = vec![];
        while self.phase != Phase::Over
            && let Some(told) = self.receive(Wait::No)
        {
            all.push(told);
        }
        all
    }

    fn receive(&mut self, wait: Wait) -> Option<Told> {
        let mut message = [0; LENGTH];
        let told = match socket::receive(self.socket.as_fd(), &mut message, wait) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok((LENGTH, _)) => {
                let words = words(&message);
                match (message[0], errno(words[1])) {
                    // Not waited for, where the run failed before.
                    (READY, _) => return None,
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
                        self.released = true;
                        Told::Over
                    }
                    _ => Told::Over,
                }
            }
            _ => Told::Over,
        };
        if told == Told::Over {
            self.phase = Phase::Over;
        }
        Some(told)
    }

    /// Says that the jail has ended: the placeholders go.
    pub fn end(&mut self) {
        if self.phase == Phase::Working {
            self.phase = match socket::send(self.socket.as_fd(), &padded(END, [0; 3]), &[]) {
                Ok(()) => Phase::Ending,
                Err(_) => Phase::Over,
            };
        }
    }

    /// Removes the group, and waits for the janitor; what it told last. The jail must have ended.
    pub fn finish(mut self) -> Vec<Told> {
        self.close()
    }

    fn close(&mut self) -> Vec<Told> {
        self.end();
        // Beside the janitor, which removes names elsewhere. Never its alone: it may have been killed.
        let removed = sys::root().map(|root| remove(&root, &self.group));
        let mut told = vec![];
        while self.phase == Phase::Ending {
            match self.receive(Wait::Yes) {
                Some(Told::Over) | None => {}
                Some(other) => told.push(other),
            }
        }
        if !self.released {
            // It was killed, or what it had started was.
            self.names.release();
        }
        let pid = std::mem::take(&mut self.pid);
        // Where the group could not be removed it tries again when this process has ended; killed in between,
        // this one leaves nothing.
        if removed == Ok(Removed::All) {
            // It is this process's child and not waited for yet: the pid is nobody else's.
            let _ = signal::send(pid, signal::KILL);
            let _ = process::reap(pid);
        }
        told
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        if self.pid > 0 {
            self.close();
        }
    }
}

/// The janitor's own process.
struct Work<'a> {
    socket: BorrowedFd<'a>,
    names: &'a Names,
    covers: &'a Covers,
    group: &'a Traces,
    guard: Guarding,
    /// At its end when the jail is built.
    waiting: BorrowedFd<'a>,
}

/// The process among the jail's mounts. Dropped, it ends.
struct Watcher {
    pid: i32,
    leash: OwnedFd,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // What it is about to tell is told first: its end of the leash closes when it has ended.
        let _ = rustix::net::shutdown(&self.leash, rustix::net::Shutdown::Write);
        let _ = sys::wait_any([Some((self.leash.as_fd(), PollFlags::IN))], LAST_WORDS);
        let _ = signal::send(self.pid, signal::KILL);
        let _ = process::reap(self.pid);
    }
}

impl Work<'_> {
    fn run(&self, kept: &mut [i32], network: Network) -> Result<()> {
        sys::settle(kept)?;
        // What is made here has its whole mode from its start: nothing is given one by its name.
        process::set_mask(0);
        let root = sys::root()?;
        let made = match network {
            // The socket that comes with it goes at once.
            Network::New => net::new_namespace()
                .and_then(|()| net::loopback_up())
                .map(|_| net::free_low_ports()),
            Network::Kept => Ok(()),
        };
        let held = self.names.hold();
        let (index, named) = match held {
            Ok(()) => (0, 0),
            Err((index, errno)) => (index as u32, code(errno)),
        };
        let network = made.err().map_or(0, code);
        self.tell(READY, [index, named, network]);
        let mut jail: Option<OwnedFd> = None;
        let mut watcher: Option<Watcher> = None;
        loop {
            let [told, lost] = sys::wait_any(
                [
                    Some((self.socket, PollFlags::IN)),
                    watcher.as_ref().map(|w| (w.leash.as_fd(), PollFlags::IN)),
                ],
                -1,
            )?;
            if lost && watcher.take().is_some() {
                // Nobody looks after the covers any more, and nobody is asked.
                self.tell(LOST, [0; 3]);
                self.kill(&root, jail.as_ref());
            }
            if !told {
                continue;
            }
            let mut message = [0; LENGTH];
            match socket::receive(self.socket, &mut message, Wait::Yes) {
                Ok((LENGTH, [pidfd, Some(mounts), third])) if message[0] == JAIL => {
                    jail = pidfd;
                    let first = words(&message)[0].cast_signed();
                    let jail = (jail.as_ref(), first);
                    watcher = Some(self.start_watcher(&root, jail, mounts, third)?);
                }
                Ok((LENGTH, [pidfd, ..])) if message[0] == JAIL => jail = pidfd,
                Ok((LENGTH, _)) => {
                    drop(watcher.take());
                    self.names.release();
                    self.tell(RELEASED, [0; 3]);
                    // The supervisor removes the group, and then ends this process. Where the one cannot be
                    // done the other is not.
                    sys::wait_any([Some((self.socket, PollFlags::IN))], -1)?;
                    break;
                }
                // The supervisor is gone.
                _ => break,
            }
        }
        self.kill(&root, jail.as_ref());
        if let Some(jail) = &jail {
            // No placeholder goes before the jail has ended.
            sys::wait_for(jail);
        }
        drop(watcher);
        self.names.release();
        remove(&root, self.group);
        Ok(())
    }

    /// Starts the process that joins the jail's mounts. This one stays outside: in there a placeholder is
    /// the place of a mount, and cannot be removed.
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
                // While it pivots the old root lies over the new one, and would be this process's root.
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
                let _ = socket::send(first.as_fd(), GO, &[]);
                sys::close(&first);
                std::mem::forget(first);
            }
            match covers {
                Ok(covers) => self.watch(covers, theirs.as_fd(), root, jail),
                Err(errno) => {
                    self.tell(UNWATCHED, [0, code(errno), 0]);
                    // Its end would be a fault of its own.
                    let _ = sys::wait_any([Some((theirs.as_fd(), PollFlags::IN))], -1);
                }
            }
        })?;
        Ok(Watcher { pid, leash })
    }

    /// The watcher's loop, until the janitor lets go of its leash.
    fn watch(
        &self,
        mut covers: Watched<'_>,
        leash: BorrowedFd<'_>,
        root: &OwnedFd,
        jail: Option<&OwnedFd>,
    ) {
        // At first for what happened before.
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
                    match pause {
                        None => Some((covers.changes(), PollFlags::IN)),
                        Some(_) => None,
                    },
                ],
                pause.map_or(-1, |_| 1),
            );
            let Ok([false, detached, asked, changed, names]) = ready else {
                return;
            };
            let waited = pause.is_some_and(|since| since.elapsed() >= PAUSE);
            if detached || names || waited {
                self.check(&mut covers, root, jail);
            }
            if waited {
                pause = None;
            }
            // After: what the jail opens now, it would have open while it is frozen.
            let found = match asked || changed {
                true => covers.answer(),
                false => Ok(Found::Nothing),
            };
            match found {
                Ok(Found::Nothing) => {}
                Ok(Found::Change) => self.check(&mut covers, root, jail),
                // This process's end ends the jail.
                Err(_) => return,
            }
            if names {
                // A jail that makes and removes names in such a directory without end must not use up the
                // processor through this process. The end of a mount it cannot cause.
                pause = Some(Instant::now());
            }
        }
    }

    /// Has the covers looked at.
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
        // A supervisor that is gone needs no word.
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

fn padded(what: u8, words: [u32; 3]) -> [u8; LENGTH] {
    let mut message = [what; LENGTH];
    for (to, word) in message[1..].chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    message
}

fn words(message: &[u8; LENGTH]) -> [u32; 3] {
    let mut words = [0; 3];
    for (to, bytes) in words.iter_mut().zip(message[1..].chunks_exact(4)) {
        *to = bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

fn code(errno: Errno) -> u32 {
    errno.raw_os_error().unsigned_abs()
}

fn errno(code: u32) -> Option<Errno> {
    (code != 0).then(|| Errno::from_raw_os_error(code as i32))
}

/// What became of the group's directories.
#[derive(Debug, PartialEq, Eq)]
enum Removed {
    All,
    NotAll,
}

fn remove(root: &OwnedFd, group: &Traces) -> Removed {
    let busy = |path: &CString| sys::remove_directory(root, path) == Err(Errno::BUSY);
    // Some two seconds: a process killed in the middle of a long disk write takes its time.
    for attempt in 0..2000 {
        if group.own.iter().filter(|path| busy(path)).count() == 0 {
            return Removed::All;
        }
        if let Some(kill) = &group.kill {
            sys::write_one(root, kill);
        }
        sys::pause(attempt);
    }
    Removed::NotAll
}
