//! The control group of one command, below that of its jail: by it a command's descendants are found and killed,
//! whatever session, process group or parent they have chosen, and limits of its own are held.
//!
//! ```text
//! v1   pids/creel/SLOT          the jail: pid 1, with room for more processes than the policy gives the commands
//!                     /all      every command together: the policy's limit
//!                         /xN   one command
//!      memory, cpu    /xN       only for a limit of its own
//! v2   creel/SLOT/xN            one command
//! ```
//!
//! A command joins by writing `0` to files that the supervisor opened for it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::{self, Group, Result};

/// How long the end of killed processes is awaited.
const ATTEMPTS: u32 = 2000;

/// Limits of one command beside those of its jail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// Processes and threads at once.
    pub pids: Option<u64>,
}

impl OwnLimits {
    /// Whether there is no limit.
    pub fn is_none(self) -> bool {
        self == OwnLimits::default()
    }
}

/// The group of one command. Removed on drop, with all that runs in it.
#[derive(Debug)]
pub struct Branch {
    /// The directory that lists its processes.
    main: PathBuf,
    /// Further directories, for limits.
    more: Vec<PathBuf>,
    is_v2: bool,
    removed: bool,
}

/// The reasons for which a command was ended or refused something by its own group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Processes killed for lack of memory.
    pub oom_kills: u64,
    /// Forks refused.
    pub pids_refused: u64,
}

impl Branch {
    /// Makes the group with number `place` below `jail`. `most`: the processes of all commands together.
    /// `Unsupported`: the machine has no hierarchy in which a command's own limits hold.
    pub fn new(jail: &Group, place: u32, most: u64, limits: OwnLimits) -> Result<Option<Branch>> {
        let name = format!("x{place}");
        let Some([memory, pids, cpu]) = jail.v1() else {
            let Some(dir) = jail.v2() else {
                return Ok(None);
            };
            let main = dir.join(name);
            if !limits.is_none() {
                return Err(cgroup::fault(&main, io::ErrorKind::Unsupported.into()));
            }
            make(&main)?;
            return Ok(Some(Branch {
                main,
                more: vec![],
                is_v2: true,
                removed: false,
            }));
        };
        let all = pids.join("all");
        match fs::create_dir(&all) {
            Ok(()) => cgroup::write(&all.join("pids.max"), &pids_max(most))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(cgroup::fault(&all, e)),
        }
        let mut branch = Branch {
            main: all.join(&name),
            more: vec![],
            is_v2: false,
            removed: false,
        };
        make(&branch.main)?;
        if let Some(most) = limits.pids {
            cgroup::write(&branch.main.join("pids.max"), &pids_max(most))?;
        }
        if let Some(bytes) = limits.memory {
            let dir = branch.add(memory, &name)?;
            cgroup::write(&dir.join("memory.limit_in_bytes"), &bytes.to_string())?;
            let both = dir.join("memory.memsw.limit_in_bytes");
            cgroup::write_if_there(&both, &bytes.to_string())?;
        }
        if let Some(milli) = limits.cpu_milli {
            let dir = branch.add(cpu, &name)?;
            let quota = u64::from(milli) * cgroup::PERIOD / 1000;
            cgroup::write(&dir.join("cpu.cfs_quota_us"), &quota.to_string())?;
        }
        Ok(Some(branch))
    }

    fn add(&mut self, above: &Path, name: &str) -> Result<PathBuf> {
        let dir = above.join(name);
        make(&dir)?;
        self.more.push(dir.clone());
        Ok(dir)
    }

    /// Opens the files to which the command writes `0`, with this process's rights.
    pub fn open(&self) -> Result<Vec<OwnedFd>> {
        let file = if self.is_v2 { "cgroup.procs" } else { "tasks" };
        let open = |dir: &PathBuf| {
            let path = dir.join(file);
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            openat(CWD, &path, flags, Mode::empty()).map_err(|e| cgroup::fault(&path, e.into()))
        };
        [&self.main]
            .into_iter()
            .chain(&self.more)
            .map(open)
            .collect()
    }

    /// The counters so far.
    pub fn hits(&self) -> Hits {
        let memory = self
            .more
            .iter()
            .find(|dir| dir.join("memory.oom_control").exists());
        let killed =
            memory.and_then(|dir| cgroup::keyed(&dir.join("memory.oom_control"), "oom_kill"));
        Hits {
            oom_kills: killed.unwrap_or(0),
            pids_refused: cgroup::keyed(&self.main.join("pids.events"), "max").unwrap_or(0),
        }
    }

    /// Kills every process in the group, and waits for a while until none is left.
    pub fn kill(&self) {
        if self.pids().is_empty() {
            return;
        }
        if self.is_v2 {
            let _ = cgroup::write(&self.main.join("cgroup.kill"), "1");
        } else {
            // From now on none of them makes another.
            let _ = cgroup::write(&self.main.join("pids.max"), "0");
        }
        for _ in 0..ATTEMPTS {
            let pids = self.pids();
            if pids.is_empty() {
                return;
            }
            if !self.is_v2 {
                self.kill_each(&pids);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn kill_each(&self, pids: &[i32]) {
        kill_in(&self.main, pids);
    }

    fn pids(&self) -> Vec<i32> {
        pids_in(&self.main)
    }

    /// Kills what runs in the group, and removes it. False if it could not be removed.
    pub fn remove(mut self) -> bool {
        self.take_away()
    }

    fn take_away(&mut self) -> bool {
        if !self.removed {
            self.kill();
            self.removed =
                self.more
                    .iter()
                    .chain([&self.main])
                    .all(|dir| match fs::remove_dir(dir) {
                        Ok(()) => true,
                        Err(e) => e.kind() == io::ErrorKind::NotFound,
                    });
        }
        self.removed
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.take_away();
    }
}

/// The kernel refuses more than PID_MAX_LIMIT, 2^22.
fn pids_max(most: u64) -> String {
    most.min(1 << 22).to_string()
}

/// Kills the processes of a jail's own group but `first`, its pid 1. Those of commands are in groups below.
pub(super) fn kill_beside(jail: &Group, first: i32) {
    if let Some(dir) = jail.v1().map(|[_, pids, _]| pids).or(jail.v2()) {
        let mut pids = pids_in(dir);
        pids.retain(|pid| *pid != first);
        kill_in(dir, &pids);
    }
}

/// A pid may belong to another process by now. A process whose pid is listed after it was pinned is in the group, or
/// was when it was pinned: it is the jail's in any case, since only its processes are ever in its groups.
fn kill_in(dir: &Path, pids: &[i32]) {
    let pin = |pid: &i32| {
        let process = pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()?;
        Some((*pid, process))
    };
    let pinned: Vec<(i32, OwnedFd)> = pids.iter().filter_map(pin).collect();
    let still = pids_in(dir);
    for (_, process) in pinned.iter().filter(|(pid, _)| still.contains(pid)) {
        let _ = pidfd_send_signal(process.as_fd(), Signal::KILL);
    }
}

fn pids_in(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Makes a directory. One that an earlier command left is used if it is empty.
fn make(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => fs::remove_dir(dir)
            .and_then(|()| fs::create_dir(dir))
            .map_err(|e| cgroup::fault(dir, e)),
        other => other.map_err(|e| cgroup::fault(dir, e)),
    }
}
