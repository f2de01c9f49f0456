//! Control groups: memory, cpu and pids limits on v2 (cgroup-v2.rst), on v1 (cgroup-v1/) and on
//! hybrid hosts; kill and `CLONE_INTO_CGROUP` on v2 wherever a v2 hierarchy is mounted.
//!
//! cgroups-rs knows the controllers' files and units. This module passes it the directories: its own search
//! parses `/proc/self/mountinfo` at each call and never finds a hybrid host's v2 half. No process is attached
//! by writing its pid, which costs milliseconds in an RCU grace period: on v2 the child is cloned into its
//! group, on v1 it writes `0` to `tasks` files that were opened for it.

use std::cell::OnceCell;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::{MemController, SetMemory};
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Controller, MaxValue};
use rustix::fs::{CWD, Mode, OFlags, openat};

use creel_plan::{CgroupLayout as Layout, CgroupLimits as Limits, GroupView};

/// The directory in each hierarchy in which creel makes its groups.
pub const PARENT: &str = "creel";
/// The kernel's default period of a new group's cpu quota, microseconds (cgroup-v2.rst, `cpu.max`;
/// sched-bwc.rst); it is not written.
pub(super) const PERIOD: u64 = 100_000;
/// Levels of groups below a jail's own; see [`branch`](super::branch).
pub(super) const DEPTH: u32 = 2;
/// The limit and the peak of socket buffers on v1.
const SOCKETS: &str = "memory.kmem.tcp.limit_in_bytes";
const SOCKETS_PEAK: &str = "memory.kmem.tcp.max_usage_in_bytes";
/// The controllers that a jail needs.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// One jail's group: a directory in each hierarchy concerned.
#[derive(Debug)]
pub struct Group {
    v2: Option<PathBuf>,
    /// The v2 directory, opened.
    birthplace: Option<OwnedFd>,
    /// Its `cpu.stat`, once it was read: it is read ten times a second.
    cpu_stat: OnceCell<Option<OwnedFd>>,
    /// In the order of [`CONTROLLERS`].
    v1: Vec<PathBuf>,
    /// The v1 groups that all jails share.
    shared: Vec<PathBuf>,
}

/// The kernel's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// In bytes. On v1 the sum of the peaks of memory and of socket buffers, which may have occurred at
    /// different times.
    pub memory_peak: Option<u64>,
    /// Tasks at once; `None` if the kernel has no `pids.peak`.
    pub pids_peak: Option<u64>,
    /// Processes killed because the group ran out of memory.
    pub oom_kills: u64,
    /// Forks refused by the pids limit.
    pub pids_refused: u64,
}

/// A file of a cgroup and what went wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CgroupError {
    /// The file or directory of the group, on the host, absolute.
    pub path: PathBuf,
    /// The error of the call that failed.
    pub source: io::Error,
}

pub(super) type Result<T> = std::result::Result<T, CgroupError>;

/// The paths of a group, for the process that removes it.
#[derive(Debug, Default)]
pub struct Traces {
    /// `cgroup.kill`, where a v2 hierarchy is mounted.
    pub kill: Option<CString>,
    /// The v2 directory.
    pub unified: Option<CString>,
    /// The group's own directories.
    pub own: Vec<CString>,
}

impl Group {
    /// The group of `slot`. Makes no directory yet.
    pub fn new(layout: &Layout, slot: u32) -> Group {
        let slot = slot.to_string();
        let (v2, v1, shared) = match layout {
            Layout::V2 { parent } => (Some(parent.join(&slot)), vec![], vec![]),
            Layout::V1 {
                root,
                unified,
                beside,
            } => {
                let dir = |base: PathBuf| base.join(PARENT).join(&slot);
                let shared = beside.iter().map(|name| root.join(name).join(PARENT));
                let v1 = CONTROLLERS.iter().map(|c| dir(root.join(c))).collect();
                (unified.clone().map(dir), v1, shared.collect())
            }
            Layout::OnRequest { .. } | Layout::Unusable { .. } => (None, vec![], vec![]),
        };
        Group {
            v2,
            birthplace: None,
            cpu_stat: OnceCell::new(),
            v1,
            shared,
        }
    }

    /// The directories that [`Group::create`] and [`Group::limit`] will leave.
    pub fn traces(&self) -> Traces {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).ok();
        let all = || self.v2.iter().chain(&self.v1);
        Traces {
            kill: self.v2.as_ref().and_then(|d| text(&d.join("cgroup.kill"))),
            unified: self.v2.as_ref().and_then(|d| text(d)),
            own: all().filter_map(|dir| text(dir)).collect(),
        }
    }

    /// The slots that have a directory in any hierarchy.
    pub(super) fn left(layout: &Layout) -> std::collections::BTreeSet<u32> {
        let any = Group::new(layout, 0);
        let parents = any.v2.iter().chain(&any.v1).filter_map(|dir| dir.parent());
        let entries = parents.flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Removes the empty directories that a crash left under this name. False if one of them is not empty.
    /// Its processes do not belong to this slot's holder, so nobody may join, limit or kill them
    /// (CVE-2022-31214: a container that another user had prepared).
    pub fn vacate(&self) -> bool {
        self.v2
            .iter()
            .chain(&self.v1)
            // A lookup is cheaper than rmdir(2), which locks the parent, and nearly always enough.
            .filter(|dir| fs::symlink_metadata(dir).is_ok())
            .all(|dir| remove_empty(dir, DEPTH))
    }

    /// Makes the v2 directory, into which the jail is cloned.
    pub fn create(&mut self) -> Result<()> {
        let Some(dir) = &self.v2 else { return Ok(()) };
        make_own_dir(dir)?;
        if self.v1.is_empty() {
            enable_controllers(dir.parent().unwrap_or(dir))?;
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(CWD, dir, flags, Mode::empty()).map_err(|e| fault(dir, e.into()))?;
        self.birthplace = Some(fd);
        Ok(())
    }

    /// Makes the v1 directories, if any, and writes the limits. A limit that cannot be written is an error.
    pub fn limit(&self, limits: &Limits) -> Result<()> {
        for dir in &self.v1 {
            make_own_dir(dir)?;
        }
        let v2 = self.is_v2();
        let of = |dir: &Path| {
            let dir = dir.to_path_buf();
            move |e: cgroups_rs::fs::error::Error| fault(&dir, io_error(&e))
        };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let memory = MemController::new(self.dir_of("memory"), PathBuf::new(), v2);
        memory
            .set_limit(number(limits.memory))
            .map_err(of(memory.path()))?;
        if v2 {
            let high = Some(MaxValue::Value(number(limits.memory_high)));
            let marks = SetMemory {
                high,
                low: None,
                max: None,
                min: None,
            };
            memory.set_mem(marks).map_err(of(memory.path()))?;
            write(&memory.path().join("memory.oom.group"), "1")?;
            // A kernel without swap has no such file, and nothing to forbid.
            write_if_there(&memory.path().join("memory.swap.max"), "0")?;
        } else {
            // Memory plus swap is limited to memory: no swap.
            let both = memory.path().join("memory.memsw.limit_in_bytes");
            write_if_there(&both, &limits.memory.to_string())?;
            // v1 counts the buffers of TCP and UDP sockets separately, and only after this write (memory.rst,
            // section 2.7.3).
            if let Some(sockets) = limits.sockets {
                write(&memory.path().join(SOCKETS), &sockets.to_string())?;
            }
        }
        let cpu = CpuController::new(self.dir_of("cpu"), PathBuf::new(), v2);
        let quota = i64::from(limits.cpu_milli) * (PERIOD as i64) / 1000;
        cpu.set_cfs_quota(quota).map_err(of(cpu.path()))?;
        let pids = PidController::new(self.dir_of("pids"), PathBuf::new(), v2);
        // The kernel refuses more than PID_MAX_LIMIT, 2^22.
        let most = MaxValue::Value(number(limits.pids.min(1 << 22)));
        pids.set_pid_max(most).map_err(of(pids.path()))
    }

    /// Lets the kernel kill single processes for lack of memory, not the whole group: in a session the others go
    /// on. v1 does so in any case.
    pub fn kill_one_for_memory(&self) -> Result<()> {
        match self.is_v2() {
            true => write(&self.dir_of("memory").join("memory.oom.group"), "0"),
            false => Ok(()),
        }
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.birthplace.as_ref().map(AsFd::as_fd)
    }

    /// Opens the directory that a jail sees as `view`. Returns its path and an `O_PATH` descriptor.
    pub fn viewed(&self, view: &GroupView) -> Result<(CString, OwnedFd)> {
        let dir = match view {
            GroupView::V2 => self.v2.clone().unwrap_or_default(),
            GroupView::V1 { controller } => self.dir_of(controller),
            GroupView::Shared { controller } => {
                let of = |dir: &&PathBuf| {
                    dir.parent()
                        .is_some_and(|above| above.ends_with(controller))
                };
                self.shared.iter().find(of).cloned().unwrap_or_default()
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = CString::new(dir.as_os_str().as_bytes()).unwrap_or_default();
        openat(CWD, &dir, flags, Mode::empty())
            .map(|opened| (name, opened))
            .map_err(|e| fault(&dir, e.into()))
    }

    /// Opens the v1 `tasks` files with this process's rights; the child writes `0` into each.
    pub fn open_tasks(&self) -> Result<Vec<OwnedFd>> {
        self.shared.iter().try_for_each(|dir| share(dir))?;
        self.v1
            .iter()
            .chain(&self.shared)
            .map(|dir| {
                let path = dir.join("tasks");
                openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|e| fault(&path, e.into()))
            })
            .collect()
    }

    /// An eventfd that is signalled each time the group runs out of memory. v1 only: on v2 the kernel kills
    /// the whole group and the counters show the reason.
    pub fn oom_events(&self) -> Result<Option<OwnedFd>> {
        if self.v1.is_empty() {
            return Ok(None);
        }
        let dir = self.dir_of("memory");
        let path = dir.join("memory.oom_control");
        let control = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| fault(&path, e.into()))?;
        let event = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )
        .map_err(|e| fault(&path, e.into()))?;
        use std::os::fd::AsRawFd;
        // memory.rst, section 9: "<event_fd> <fd of memory.oom_control>"
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        write(&dir.join("cgroup.event_control"), &line)?;
        Ok(Some(event))
    }

    /// Kills every process in the group at once (Linux 5.14). False if there is no v2 group.
    pub fn kill(&self) -> Result<bool> {
        match &self.v2 {
            Some(dir) => write(&dir.join("cgroup.kill"), "1").map(|()| true),
            None => Ok(false),
        }
    }

    /// Freezes every process in the group: until [`Group::thaw`] none runs, and no signal but SIGKILL takes
    /// effect (Linux 5.2, `cgroup.freeze`). False if there is no v2 group or the write fails.
    pub fn freeze(&self) -> bool {
        self.write_freeze("1")
    }

    /// Ends [`Group::freeze`]. False if there is no v2 group or the write fails.
    pub fn thaw(&self) -> bool {
        self.write_freeze("0")
    }

    /// Whether every process in the group is frozen by now (`frozen` in `cgroup.events`). `None` if there is no v2 group.
    pub fn is_frozen(&self) -> Option<bool> {
        let dir = self.v2.as_ref()?;
        Some(keyed(&dir.join("cgroup.events"), "frozen") == Some(1))
    }

    fn write_freeze(&self, word: &str) -> bool {
        let file = self.v2.as_ref().map(|dir| dir.join("cgroup.freeze"));
        file.is_some_and(|file| write(&file, word).is_ok())
    }

    /// The kernel's counters so far.
    pub fn counters(&self) -> Counters {
        let memory = self.dir_of("memory");
        let pids = self.dir_of("pids");
        let (peak, events) = if !self.is_v2() {
            ("memory.max_usage_in_bytes", "memory.oom_control")
        } else {
            ("memory.peak", "memory.events")
        };
        Counters {
            memory_peak: number(&memory.join(peak)).map(|peak| match self.is_v2() {
                true => peak,
                false => peak.saturating_add(number(&memory.join(SOCKETS_PEAK)).unwrap_or(0)),
            }),
            pids_peak: number(&pids.join("pids.peak")),
            oom_kills: keyed(&memory.join(events), "oom_kill").unwrap_or(0),
            pids_refused: keyed(&pids.join("pids.events"), "max").unwrap_or(0),
        }
    }

    /// Processor time of the whole group so far, microseconds. `None` if no v2 hierarchy is mounted.
    pub fn cpu_used(&self) -> Option<u64> {
        // Core accounting works even if the cpu controller is on v1 (cgroup-v2.rst, cpu.stat).
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = |dir: &PathBuf| openat(CWD, dir.join("cpu.stat"), flags, Mode::empty()).ok();
        let file = self
            .cpu_stat
            .get_or_init(|| self.v2.as_ref().and_then(open));
        // The kernel writes the text anew for a read from the beginning; the first line is the whole time.
        let mut text = [0; 64];
        let length = rustix::io::pread(file.as_ref()?, &mut text, 0).ok()?;
        value(std::str::from_utf8(text.get(..length)?).ok()?, "usage_usec")
    }

    /// Whether the jail's memory has reached `memory.high`, from which the kernel throttles it. One hundredth
    /// less counts too: the kernel reclaims in steps. Always false on v1, which has no such mark.
    pub fn is_at_high_mark(&self) -> bool {
        if !self.is_v2() {
            return false;
        }
        let memory = self.dir_of("memory");
        let read = |file| number(&memory.join(file));
        match (read("memory.current"), read("memory.high")) {
            (Some(used), Some(high)) => used >= high - high / 100,
            _ => false,
        }
    }

    /// Ends the throttling; the hard limit remains.
    pub fn lift_high_mark(&self) {
        // If this fails, the jail stays throttled.
        let _ = write(&self.dir_of("memory").join("memory.high"), "max");
    }

    /// The v1 directories, if the controllers are there: memory, pids, cpu.
    pub(super) fn v1(&self) -> Option<[&PathBuf; 3]> {
        let mut all = self.v1.iter();
        Some([all.next()?, all.next()?, all.next()?])
    }

    /// The v2 directory.
    pub(super) fn v2(&self) -> Option<&PathBuf> {
        self.v2.as_ref()
    }

    fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }

    fn dir_of(&self, controller: &str) -> PathBuf {
        let at = CONTROLLERS.iter().position(|c| *c == controller);
        at.and_then(|at| self.v1.get(at))
            .or(self.v2.as_ref())
            .cloned()
            .unwrap_or_default()
    }
}

pub(super) fn has_all(file: &Path) -> bool {
    let have = fs::read_to_string(file).unwrap_or_default();
    CONTROLLERS
        .iter()
        .all(|c| have.split_whitespace().any(|h| h == *c))
}

/// Removes a directory and the groups of commands in it. False if one of them is not empty.
fn remove_empty(dir: &Path, depth: u32) -> bool {
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => true,
        Err(_) if depth > 0 => {
            let inside = fs::read_dir(dir).into_iter().flatten().flatten();
            let groups = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            groups.for_each(|entry| {
                remove_empty(&entry.path(), depth - 1);
            });
            fs::remove_dir(dir).is_ok()
        }
        other => other.is_ok(),
    }
}

/// Enables the controllers for the children of `parent`, and of its own parent if needed. A refusal of the
/// kernel is an error here, not at the first limit.
fn enable_controllers(parent: &Path) -> Result<()> {
    let above = parent.parent().unwrap_or(parent);
    for dir in [above, parent] {
        let file = dir.join("cgroup.subtree_control");
        if !has_all(&file) {
            write(&file, "+memory +pids +cpu")?;
        }
    }
    Ok(())
}

/// Makes a directory, and its parent if needed. A directory that exists belongs to another process and is an
/// error. The parent stays, empty, after the last jail: making and removing it costs as much as the jail's
/// own, in each hierarchy.
pub(super) fn make_own_dir(dir: &Path) -> Result<()> {
    // An administrator may remove the parent between the two calls.
    for _ in 0..100 {
        match fs::create_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = dir.parent().unwrap_or(dir);
                match fs::create_dir(parent) {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(fault(parent, e)),
                }
            }
            Err(e) => return Err(fault(dir, e)),
        }
    }
    Err(fault(dir, io::ErrorKind::NotFound.into()))
}

/// Makes a group that all jails share, with the processors and memory nodes of the group above: a new cpuset
/// has none and accepts no process (cpusets.rst).
fn share(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(fault(dir, e)),
        _ => {}
    }
    let above = dir.parent().unwrap_or(dir);
    if !above.ends_with("cpuset") {
        return Ok(());
    }
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let of = |dir: &Path| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|e| fault(&path, e))
        };
        let all = of(above)?;
        // Processors may have been added or removed since.
        if of(dir)? != all {
            write(&dir.join(name), all.trim_end())?;
        }
    }
    Ok(())
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|e| fault(path, e))
}

pub(super) fn write_if_there(path: &Path, text: &str) -> Result<()> {
    match write(path, text) {
        Err(CgroupError { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value after `key` in a file of `KEY VALUE` lines.
pub(super) fn keyed(path: &Path, key: &str) -> Option<u64> {
    value(&fs::read_to_string(path).ok()?, key)
}

fn value(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(k, _)| *k == key)
        .and_then(|(_, v)| v.trim().parse().ok())
}

pub(super) fn fault(path: &Path, source: io::Error) -> CgroupError {
    CgroupError {
        path: path.to_path_buf(),
        source,
    }
}

/// The errno inside a cgroups-rs error.
fn io_error(error: &cgroups_rs::fs::error::Error) -> io::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<io::Error>()
            && let Some(code) = io.raw_os_error()
        {
            return io::Error::from_raw_os_error(code);
        }
        source = e.source();
    }
    io::Error::other(error.to_string())
}
