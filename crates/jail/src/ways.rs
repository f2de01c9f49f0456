//! Finds references that a jail has kept to files that were uncovered for a moment.
//!
//! A cover hides a name, not a file to which a process already has a reference. Through a descriptor, opened
//! for reading or with `O_PATH` (open(2)), a file can be reopened by `/proc/self/fd`; in a directory that was
//! entered, names are not covered. Such a reference leads through the mount that the cover lies on, and the
//! kernel reports it by the covered name.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use creel_plan::paths::within;
use creel_sys::freezer::Freezer;
use creel_sys::task::{self, Task};
use creel_sys::{Errno, Result, mount};

/// Lists the tasks of a jail.
pub struct Tasks {
    /// The jail's v2 group, if it has one.
    pub group: Option<Freezer>,
    /// Its first process, which is creel's: it cannot be inspected, and opens nothing.
    pub first: i32,
}

/// The number of a cover that was put back, and its path.
pub type Uncovered<'a> = (usize, &'a Path);

/// A reference that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the covered file itself.
    Itself(usize),
    /// To something beneath it.
    Beneath(usize),
    /// A descriptor waits in a socket; its target is unknown.
    Waiting,
    /// A task cannot be inspected.
    Unknown,
}

impl Tasks {
    fn all(&self) -> Result<Vec<i32>> {
        let all = match &self.group {
            Some(group) => group.tasks()?,
            None => task::descend(self.first),
        };
        Ok(all.into_iter().filter(|task| *task != self.first).collect())
    }

    /// Every such reference of the jail. Running tasks are read one after another. `root`: the root of its
    /// mounts.
    pub fn ways(&self, root: BorrowedFd<'_>, uncovered: &[Uncovered<'_>]) -> Result<Vec<Way>> {
        let mut ways = vec![];
        for task in self.all()? {
            match of(task, root, uncovered, &mut ways) {
                // It has ended.
                Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
                Err(_) => ways.push(Way::Unknown),
            }
        }
        Ok(ways)
    }
}

fn of(
    task: i32,
    root: BorrowedFd<'_>,
    uncovered: &[Uncovered<'_>],
    ways: &mut Vec<Way>,
) -> Result<()> {
    let task = Task::open(task)?;
    let links = match task.links() {
        // The kernel shows an ordinary user nothing of a task that has ended.
        Err(Errno::ACCESS) if task.has_ended() => return Ok(()),
        links => links?,
    };
    for link in links {
        if still(task.carries(&link))? == Some(true) {
            ways.push(Way::Waiting);
        }
        let met = |(_, path): &&Uncovered<'_>| within(&link.path, path);
        let Some((cover, path)) = uncovered.iter().find(met) else {
            continue;
        };
        // The name now leads to the cover, which is another mount.
        let text = CString::new(link.path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        let Some(mount) = still(task.mount(&link))? else {
            continue;
        };
        if mount::id(root, &text) != Ok(mount) {
            ways.push(match link.path == *path {
                true => Way::Itself(*cover),
                false => Way::Beneath(*cover),
            });
        }
    }
    Ok(())
}

/// `None` if the task has closed it meanwhile.
fn still<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some),
    }
}
