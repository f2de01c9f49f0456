//! Restores [`Covers`] that a process outside of the jail took off.
//!
//! Denied, protected and absent names are covered by mounts in the jail. The kernel detaches a mount when, in
//! another mount namespace, something is renamed over its mount point or the mount point is removed
//! (rename(2), Linux 3.18), and moves it along when the mount point is renamed. Editors save like this, and
//! git writes its configuration like this. The watcher, which is the janitor or a child of it in the jail's mount
//! namespace, waits for it:
//!
//! ```text
//! mountinfo or a directory changed ──▶ is each cover there? ──▶ freeze ──▶ cover again ──▶ thaw
//!                                              │ yes                            │ cannot be had, or the
//!                                              ▼                                ▼ jail has it open
//!                                            wait                            end the jail
//! ```
//!
//! Between the change and the freeze the jail can use the name: docs/security.md has the measured window.
//! Without a v2 cgroup nothing can be frozen, and the window lasts until the name is covered.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{self as rx, Mode, OFlags, ResolveFlags};

use super::covers::{Cover, Covers, Event, Fate, Purpose};
use super::guard::{Found, Guard};
use super::names::Names;
use super::ways::{Tasks, Uncovered, Way};
use creel_plan::Later;
use creel_sys::filelease::{self, Open};
use creel_sys::{Errno, Result, dnotify, fd, mount};

/// Most rounds of covering names again that the host keeps replacing.
const MOST_ROUNDS: usize = 1000;
/// How long a frozen jail waits for the host to replace a file that it removed, and to close the new one.
const PATIENCE: Duration = Duration::from_millis(200);
/// The same, if the jail's opens of it are refused: the file counts as open until a refused open has ended,
/// which takes processor time that the jail may have used up.
const PATIENCE_WHERE_GUARDED: Duration = Duration::from_secs(5);
/// How long a jail may take to freeze: a process in a long disk write needs time.
const MOST_TO_FREEZE: Duration = Duration::from_secs(10);
/// Attributes of a mount that keeps a file as it is.
const KEPT: u64 = mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC;

/// The covers of a running jail, watched by a process in its mount namespace.
pub struct Watched<'a> {
    covers: &'a Covers,
    names: &'a Names,
    root: OwnedFd,
    mounts: OwnedFd,
    signals: OwnedFd,
    /// Directories by path, kept open since a watch ends with its descriptor.
    directories: BTreeMap<CString, Watch>,
    /// Denied names that do not exist, by cover.
    absent: BTreeSet<usize>,
    tasks: Tasks,
    /// A file and a directory that nobody may open, made when the first is needed.
    blank: Option<OwnedFd>,
    /// Until when a frozen jail waits for the host, for all names together.
    patience: Instant,
    /// Files that are covered again, and the kind of open that no process may have on each.
    uncovered: Vec<(usize, OwnedFd, Open)>,
    /// Those of these files that may be read.
    readable: Vec<(usize, OwnedFd)>,
    guard: Option<Guard>,
    /// By directory, one cover that cannot be guarded, with the error; and the covers already reported.
    unguarded: BTreeMap<CString, (usize, Errno)>,
    told: BTreeSet<usize>,
}

struct Watch {
    /// Kept: the watch ends with it.
    _fd: OwnedFd,
    inode: (u64, u64),
}

impl<'a> Watched<'a> {
    /// Starts to watch. The caller has joined the jail's mount namespace, after the jail was built.
    pub fn new(covers: &'a Covers, names: &'a Names, tasks: Tasks) -> Result<Watched<'a>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut watched = Watched {
            covers,
            names,
            root: rx::openat(rx::CWD, c"/", flags, Mode::empty())?,
            mounts: creel_sys::procfs::open("self/mountinfo", OFlags::RDONLY)?,
            signals: dnotify::signals()?,
            directories: BTreeMap::new(),
            absent: BTreeSet::new(),
            tasks,
            blank: None,
            patience: Instant::now(),
            uncovered: vec![],
            readable: vec![],
            guard: None,
            unguarded: BTreeMap::new(),
            told: BTreeSet::new(),
        };
        watched.watch()?;
        Ok(watched)
    }

    /// Refuses every open of a denied name from now on. The caller has the host's privileges.
    pub fn guard(&mut self) -> Result<()> {
        self.guard = Some(Guard::new(self.covers.denied().map(PathBuf::from))?);
        // The directories are already open: with a guard, an open needs a copied mount, which costs a grace
        // period.
        let directories: Vec<CString> = self.directories.keys().cloned().collect();
        let armed = directories.iter().try_for_each(|d| self.look_after(d));
        if armed.is_err() {
            self.guard = None;
        }
        armed
    }

    /// For each directory whose denied names cannot be guarded, one of its covers and why. Each is returned
    /// once.
    pub fn unguarded(&mut self) -> Vec<(usize, Errno)> {
        let told = &mut self.told;
        let mut all: Vec<(usize, Errno)> = self.unguarded.values().copied().collect();
        all.retain(|(number, _)| told.insert(*number));
        all
    }

    /// For poll(2): readable when [`answer`](Watched::answer) is needed.
    pub fn asked(&self) -> Option<[BorrowedFd<'_>; 2]> {
        self.guard.as_ref().map(Guard::sources)
    }

    /// Answers the jail's pending opens. An error ends the guard.
    pub fn answer(&mut self) -> Result<Found> {
        self.guard
            .as_mut()
            .map_or(Ok(Found::Nothing), Guard::answer)
    }

    /// For poll(2): `PRI` when a mount was made or removed.
    pub fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }

    /// For poll(2): readable when a directory changed.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Checks every cover and restores missing ones. Reports each, and returns their fate.
    pub fn check(&mut self, report: &mut dyn FnMut(Event)) -> Fate {
        let since = Instant::now();
        dnotify::take(&self.signals);
        // Names made in a directory before its watch began are found in another round.
        for _ in 0..MOST_ROUNDS {
            if !self.watch().is_ok_and(|more| more) {
                break;
            }
        }
        let mut first = self.gone();
        if first.is_empty() {
            return Fate::Restored;
        }
        self.freeze();
        self.patience = since + PATIENCE;
        let fate = match self.restore(&mut first) {
            Ok(()) => Fate::Restored,
            Err(culprit) => {
                // The cover that failed is reported first.
                first.sort_by_key(|number| *number != culprit);
                Fate::Ended
            }
        };
        let microseconds = since.elapsed().as_micros().try_into().unwrap_or(u32::MAX);
        for cover in first {
            report(Event {
                cover: cover as u32,
                fate,
                microseconds,
            });
        }
        if let Some(guard) = &mut self.guard {
            guard.covered();
        }
        self.readable.clear();
        if fate == Fate::Restored {
            self.thaw();
        }
        fate
    }

    /// Without a group the jail keeps running.
    fn freeze(&self) {
        if let Some(group) = &self.tasks.group {
            let _ = group.freeze();
        }
    }

    fn thaw(&self) {
        if let Some(group) = &self.tasks.group {
            let _ = group.thaw();
        }
    }

    /// The covers that are missing. A denied name that is known to be absent needs none.
    fn gone(&mut self) -> Vec<usize> {
        let mut gone = vec![];
        for (number, cover) in self.covers.0.iter().enumerate() {
            let there = mount::is_root_of_mount(self.root.as_fd(), &cover.at);
            let denied = matches!(cover.purpose, Purpose::Denied | Purpose::Socket);
            let is_gone = match there {
                Err(Errno::NOENT) if denied => !self.absent.contains(&number),
                other => other != Ok(true),
            };
            if there != Err(Errno::NOENT) {
                self.absent.remove(&number);
            }
            if is_gone {
                gone.push(number);
            }
        }
        gone
    }

    /// Restores covers; the error is the cover that could not be restored. `all`: the missing covers, to
    /// which later ones are added.
    fn restore(&mut self, all: &mut Vec<usize>) -> std::result::Result<(), usize> {
        let covers = self.covers;
        let mut gone = all.clone();
        for _ in 0..MOST_ROUNDS {
            for number in &gone {
                match self.cover(*number, &covers.0[*number]) {
                    // Replaced again meanwhile: the next round finds it.
                    Err(Errno::STALE) | Ok(()) => {}
                    Err(_) => return Err(*number),
                }
            }
            let culprit = gone.first().copied().unwrap_or_default();
            self.is_unused()?;
            self.watch().map_err(|_| culprit)?;
            gone = self.gone();
            all.extend(
                gone.iter()
                    .filter(|number| !all.contains(number))
                    .copied()
                    .collect::<Vec<_>>(),
            );
            if gone.is_empty() {
                self.is_out_of_reach(all)?;
                gone = self.gone();
                if gone.is_empty() {
                    return Ok(());
                }
            }
        }
        Err(gone.first().copied().unwrap_or_default())
    }

    /// Watches each directory with a cover, and those above it, by the inode that is there now. Returns
    /// whether one was new.
    fn watch(&mut self) -> Result<bool> {
        let covers = self.covers;
        let all: BTreeSet<&CString> = covers.0.iter().flat_map(|c| &c.above).collect();
        let mut more = false;
        for parent in all {
            let place = match self.open(parent, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(place) => place,
                // It contains nothing then, or the cover above it must be restored first.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => continue,
                Err(errno) => return Err(errno),
            };
            let stat = fd::stat(place.as_fd())?;
            let inode = (stat.dev, stat.ino);
            let known = self.directories.get(parent);
            if known.is_none_or(|w| w.inode != inode) {
                let fd = match self.directory(place.as_fd()) {
                    Err(Errno::ACCESS) => continue,
                    other => other?,
                };
                dnotify::watch(fd.as_fd())?;
                self.look_after(parent)?;
                let watch = Watch { _fd: fd, inode };
                self.directories.insert(parent.clone(), watch);
                more = true;
            }
        }
        Ok(more)
    }

    /// Adds a directory's denied names to the guard, and the mounts that show it.
    fn look_after(&mut self, directory: &CString) -> Result<()> {
        let Some(mut guard) = self.guard.take() else {
            return Ok(());
        };
        let looked_after = self.look_after_by(&mut guard, directory);
        self.guard = Some(guard);
        match looked_after {
            // No error of the filesystem: this process has no room, or the directory was replaced.
            Err(
                errno @ (Errno::INVAL
                | Errno::NOSPC
                | Errno::NOMEM
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP),
            ) => Err(errno),
            // The filesystem or its server cannot do it. Names in other directories are still guarded.
            Err(errno) => {
                let mut all = self.covers.0.iter();
                let first =
                    all.position(|c| c.parent == *directory && c.purpose == Purpose::Denied);
                let unguarded = (first.unwrap_or_default(), errno);
                self.unguarded.insert(directory.clone(), unguarded);
                Ok(())
            }
            Ok(()) => {
                self.unguarded.remove(directory);
                Ok(())
            }
        }
    }

    fn look_after_by(&self, guard: &mut Guard, directory: &CString) -> Result<()> {
        let here = |cover: &&Cover| cover.parent == *directory && guard.is_denied(&cover.path);
        let names: Vec<&Cover> = self.covers.0.iter().filter(here).collect();
        let Some(first) = names.first() else {
            return Ok(());
        };
        let place = self.open(directory, OFlags::PATH | OFlags::DIRECTORY)?;
        for cover in &names {
            let name = cover.path.file_name().ok_or(Errno::INVAL)?;
            guard.watch(place.as_fd(), name)?;
        }
        let parent = first.path.parent().ok_or(Errno::INVAL)?;
        guard.ask(place.as_fd(), self.mount_point(parent))?;
        let device = fd::stat(place.as_fd())?.dev;
        // If a mount in between is taken off, what is beneath is seen through the one above.
        for above in first.path.ancestors().skip(2) {
            let at = self.mount_point(above);
            let above = CString::new(above.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
            let above = self.open(&above, OFlags::PATH | OFlags::DIRECTORY)?;
            if fd::stat(above.as_fd())?.dev == device {
                guard.ask(above.as_fd(), at)?;
            }
        }
        Ok(())
    }

    fn is_guarded(&self, cover: usize) -> bool {
        self.guard.is_some() && !self.unguarded.contains_key(&self.covers.0[cover].parent)
    }

    /// The mount point of the mount that shows `path`.
    fn mount_point<'p>(&self, path: &'p Path) -> &'p Path {
        let begins = |path: &&Path| {
            let text = CString::new(path.as_os_str().as_bytes());
            text.is_ok_and(|text| mount::is_root_of_mount(self.root.as_fd(), &text) == Ok(true))
        };
        path.ancestors().find(begins).unwrap_or(Path::new("/"))
    }

    /// Opens a directory for reading. With a guard, a copied mount keeps this open from being checked.
    fn directory(&self, place: BorrowedFd<'_>) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.guard.is_none() {
            true => rx::openat(place, c".", flags, Mode::empty()),
            false => rx::openat(mount::copy_one(place, c"")?, c".", flags, Mode::empty()),
        }
    }

    /// The same for a regular file.
    fn file(&self, place: BorrowedFd<'_>) -> Result<OwnedFd> {
        match self.guard.is_none() {
            true => fd::reopen(place),
            false => fd::reopen(mount::copy_one(place, c"")?.as_fd()),
        }
    }

    fn open(&self, path: &CString, flags: OFlags) -> Result<OwnedFd> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rx::openat2(self.root.as_fd(), path, flags, Mode::empty(), how)
    }

    /// Covers the file that has the name now.
    fn cover(&mut self, number: usize, cover: &Cover) -> Result<()> {
        if mount::is_root_of_mount(self.root.as_fd(), &cover.at) == Ok(true) {
            return Ok(());
        }
        let place = match self.open(&cover.at, OFlags::PATH) {
            Ok(place) => place,
            Err(Errno::NOENT) => match cover.purpose {
                Purpose::Denied | Purpose::Socket => {
                    if self.wait_for(cover) == Err(Errno::STALE) {
                        return Err(Errno::STALE);
                    }
                    self.absent.insert(number);
                    return Ok(());
                }
                Purpose::Held => return self.wait_for(cover),
                Purpose::Kept(_) | Purpose::Withheld(_) => {
                    self.wait_for(cover).or_else(|_| self.withhold(cover))?;
                    return Err(Errno::STALE);
                }
            },
            Err(errno) => return Err(errno),
        };
        let stat = rx::fstat(&place)?;
        let node = rx::FileType::from_raw_mode(stat.st_mode);
        let over = match (cover.purpose, node) {
            (Purpose::Held, _) => mount::copy_tree(place.as_fd(), c"")?,
            (Purpose::Kept(attributes), rx::FileType::RegularFile | rx::FileType::Directory) => {
                read_only(&place, attributes)?
            }
            (
                Purpose::Withheld(Later::ReadOnly),
                rx::FileType::RegularFile | rx::FileType::Directory,
            ) => read_only(&place, KEPT)?,
            (_, rx::FileType::Directory) => mount::copy_one(self.blank()?, c"directory")?,
            // A link must not be followed, and a read-only mount does not protect a pipe or a socket.
            _ => mount::copy_one(self.blank()?, c"file")?,
        };
        let asked = match cover.purpose {
            Purpose::Denied => Some(Open::ForAnything),
            Purpose::Kept(_) | Purpose::Withheld(..) => Some(Open::Writing),
            Purpose::Held | Purpose::Socket => None,
        };
        if let (Some(open), Ok(file)) = (asked, self.file(place.as_fd())) {
            self.uncovered.push((number, file, open));
        }
        match (cover.purpose, &mut self.guard) {
            (Purpose::Denied, Some(guard)) => guard.found(place.as_fd())?,
            (Purpose::Kept(_) | Purpose::Withheld(..), Some(guard)) => {
                guard.covering(place.as_fd())?;
            }
            _ => {}
        }
        match mount::attach(over.as_fd(), place.as_fd(), c"") {
            // The place was removed between the two calls.
            Err(Errno::NOENT | Errno::INVAL) => Err(Errno::STALE),
            other => other,
        }
    }

    /// While the jail is frozen, waits for the host to make the name: `ESTALE` if it exists, else `ENOENT`.
    fn wait_for(&mut self, cover: &Cover) -> Result<()> {
        while self.tasks.group.is_some() && Instant::now() < self.patience {
            if self.open(&cover.at, OFlags::PATH).is_ok() {
                return Err(Errno::STALE);
            }
            self.answer()?;
            creel_sys::janitor::pause(0);
        }
        Err(Errno::NOENT)
    }

    /// Makes the placeholder of an absent name again.
    fn withhold(&self, cover: &Cover) -> Result<()> {
        let directory = self.open(&cover.parent, OFlags::PATH)?;
        self.names.hold_again(&cover.path, directory.as_fd())
    }

    /// Checks that no process, hence not the jail, has an uncovered file open or has given it a second name.
    /// Directories, and filesystems without leases, cannot be checked.
    fn is_unused(&mut self) -> std::result::Result<(), usize> {
        let since = Instant::now();
        for (number, file, open) in std::mem::take(&mut self.uncovered) {
            // A process that waits to open it counts as having it open.
            self.answer().map_err(|_| number)?;
            let guarded = open == Open::ForAnything && self.is_guarded(number);
            let patience = match guarded {
                true => PATIENCE_WHERE_GUARDED,
                false => PATIENCE,
            };
            // The host's own program closes it soon. The kernel tells an ordinary user nothing about another
            // user's file.
            let used = || match filelease::is_open_elsewhere(file.as_fd(), open) {
                Err(errno) => matches!(errno, Errno::ACCESS | Errno::PERM),
                Ok(used) => used,
            };
            // The guard knows it under any name.
            let named = || !guarded && fd::stat(file.as_fd()).is_ok_and(|stat| stat.links > 1);
            while used() || named() {
                if since.elapsed() > patience {
                    return Err(number);
                }
                self.answer().map_err(|_| number)?;
                creel_sys::janitor::pause(20);
            }
            if open == Open::Writing {
                self.readable.push((number, file));
            }
        }
        Ok(())
    }

    /// Checks that the jail has kept no reference to what was uncovered. A process that reads a file that may
    /// be read gets time to close it: until then no process can open it for writing.
    fn is_out_of_reach(&mut self, all: &[usize]) -> std::result::Result<(), usize> {
        let since = Instant::now();
        let readable = std::mem::take(&mut self.readable);
        let is_readable = |cover: usize| readable.iter().any(|(number, _)| *number == cover);
        let first = all.first().copied().unwrap_or_default();
        let secret = all.iter().copied().find(|number| !is_readable(*number));
        let covers = self.covers;
        let named = |number: &usize| (*number, covers.0[*number].path.as_path());
        let uncovered: Vec<Uncovered<'_>> = all.iter().map(named).collect();
        let mut held = false;
        loop {
            self.stand_still().map_err(|_| first)?;
            let ways = self.tasks.ways(self.root.as_fd(), &uncovered);
            let ways = ways.map_err(|_| first)?;
            let fatal = ways.iter().find_map(|way| match way {
                Way::Itself(cover) if is_readable(*cover) => None,
                Way::Itself(cover) | Way::Beneath(cover) => Some(*cover),
                Way::Waiting => secret,
                Way::Unknown => None,
            });
            match (fatal, ways.is_empty()) {
                (Some(cover), _) => return Err(cover),
                (None, true) => return Ok(()),
                (None, false) if since.elapsed() > PATIENCE => return Err(first),
                (None, false) => {}
            }
            let hold = |(_, file): &(usize, OwnedFd)| filelease::hold_writers(file.as_fd()).is_ok();
            held = held || readable.iter().all(hold);
            if held {
                self.thaw();
            }
            self.answer().map_err(|_| first)?;
            creel_sys::janitor::pause(20);
            self.freeze();
        }
    }

    /// Waits until no task of the jail is in a system call.
    fn stand_still(&mut self) -> Result<()> {
        let since = Instant::now();
        while let Some(group) = &self.tasks.group
            && !group.is_frozen()?
        {
            if since.elapsed() > MOST_TO_FREEZE {
                return Err(Errno::TIMEDOUT);
            }
            self.answer()?;
            creel_sys::janitor::pause(0);
        }
        Ok(())
    }

    /// A tmpfs with a file and a directory that nobody may open.
    fn blank(&mut self) -> Result<BorrowedFd<'_>> {
        if self.blank.is_none() {
            let options = [(c"mode", c"0555"), (c"size", c"4096"), (c"nr_inodes", c"3")];
            let blank = mount::new(c"tmpfs", options.into_iter(), mount::NOSUID | mount::NODEV)?;
            rx::mknodat(&blank, c"file", rx::FileType::RegularFile, Mode::empty(), 0)?;
            rx::mkdirat(&blank, c"directory", Mode::empty())?;
            mount::set(blank.as_fd(), KEPT, mount::Reach::This)?;
            self.blank = Some(blank);
        }
        self.blank.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }
}

/// A copy of what is at `place` that cannot be changed.
fn read_only(place: &OwnedFd, attributes: u64) -> Result<OwnedFd> {
    let copy = mount::copy_tree(place.as_fd(), c"")?;
    mount::set(copy.as_fd(), attributes, mount::Reach::Below)?;
    Ok(copy)
}
