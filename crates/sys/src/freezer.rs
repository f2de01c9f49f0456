//! The freezer of a v2 cgroup (cgroup-v2.rst, `cgroup.freeze`, Linux 5.2).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};

use super::{Result, janitor, task};

/// A group whose processes can be frozen together.
pub struct Freezer(OwnedFd);

impl Freezer {
    /// Opens the directory of the group at `group` below `root`.
    pub fn open(root: &OwnedFd, group: &CStr) -> Result<Freezer> {
        janitor::open_directory(root, group).map(Freezer)
    }

    /// Asks the kernel to freeze the group; see [`is_frozen`](Freezer::is_frozen).
    pub fn freeze(&self) -> Result<()> {
        self.write(b"1")
    }

    /// Lets the processes of the group run again.
    pub fn thaw(&self) -> Result<()> {
        self.write(b"0")
    }

    /// Whether every process is frozen, none of them in a system call.
    pub fn is_frozen(&self) -> Result<bool> {
        let events = self.read(c"cgroup.events")?;
        let mut lines = events.split(|byte| *byte == b'\n');
        Ok(lines.any(|line| line == b"frozen 1"))
    }

    /// The ids of all tasks, threads included.
    pub fn tasks(&self) -> Result<Vec<i32>> {
        let text = self.read(c"cgroup.threads")?;
        Ok(task::numbers(&text).collect())
    }

    fn write(&self, word: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(self.0.as_fd(), c"cgroup.freeze", flags, Mode::empty())?;
        rustix::io::write(&file, word).map(drop)
    }

    fn read(&self, name: &CStr) -> Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        super::procfs::read_all(openat(self.0.as_fd(), name, flags, Mode::empty())?)
    }
}
