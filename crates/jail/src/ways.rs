//! Ways that a jail has kept to what was uncovered for a moment.
//!
//! A cover is on a name. Who refers to what lies beneath needs no name: by a descriptor that was opened to
//! read, or that names a file without opening it (`O_PATH`, open(2)), a file is opened anew through
//! `/proc/self/fd`; in a directory that was entered names are not covered. Such a reference leads through the
//! mount that the cover lies on, and the kernel knows it by the covered name.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use creel_plan::paths::within;
use creel_sys::freezer::Freezer;
use creel_sys::task::{self, Task};
use creel_sys::{Errno, Result, mount};

/// Where the tasks of a jail are told.
pub struct Tasks {
    /// The jail's v2 group, if it has one.
    pub group: Option<Freezer>,
    /// Its first process, creel's own: it cannot be looked into, and opens nothing.
    pub first: i32,
}

/// A name that is covered again, by the number of its cover.
pub type Uncovered<'a> = (usize, &'a Path);

/// A way that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To what has the cover's name itself.
    Itself(usize),
    /// To something beneath it.
    Beneath(usize),
    /// A descriptor waits in a socket: nobody can say for what.
    Waiting,
    /// A task cannot be looked into.
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

    /// Every way that the jail has. Of tasks that run, what they had at a moment each. `root`: of its mounts.
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
        // Of one that has ended the kernel shows nothing to an ordinary user.
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
        // By its name one meets the cover now, which is another mount.
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

/// Nothing where the task has let go of it meanwhile.
fn still<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some),
    }
}
