//! The references of a task: descriptors, directories and its program, by the kernel's own links to them
//! (proc(5), `/proc/PID/fd` and beside it).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{self as rx, AtFlags, Mode, OFlags, StatxFlags};

use super::{Errno, Result, fd, procfs};

/// The kernel's mark of a path whose name is gone (proc(5)).
const DELETED: &[u8] = b" (deleted)";
/// Links that are no descriptors.
const OTHERS: [&CStr; 3] = [c"cwd", c"root", c"exe"];

/// A task's directory in `/proc`.
pub struct Task(OwnedFd);

/// One reference.
pub struct Link {
    /// Below the task's directory.
    name: CString,
    /// By which the kernel knows it now; also of what has no name any more. Of a socket no path.
    pub path: PathBuf,
}

impl Task {
    /// By its id, as `cgroup.threads` tells them: not only a thread group's first.
    pub fn open(id: i32) -> Result<Task> {
        procfs::open(&id.to_string(), OFlags::PATH | OFlags::DIRECTORY).map(Task)
    }

    /// All that it refers to. `ACCES` of a task that this process may not look into (ptrace(2),
    /// `PTRACE_MODE_READ`), `NAMETOOLONG` where a path has more than a page.
    pub fn links(&self) -> Result<Vec<Link>> {
        let mut names: Vec<CString> = OTHERS.into_iter().map(CString::from).collect();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let table = rx::openat(&self.0, c"fd", flags, Mode::empty())?;
        let mut buffer = Vec::with_capacity(4096);
        let mut entries = rx::RawDir::new(&table, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let number = entry.file_name().to_bytes();
            if number.iter().all(u8::is_ascii_digit) {
                let name = CString::new([b"fd/", number].concat());
                names.push(name.map_err(|_| Errno::INVAL)?);
            }
        }
        let mut links = vec![];
        for name in names {
            match rx::readlinkat(&self.0, &name, Vec::new()) {
                Ok(text) => links.push(Link {
                    name,
                    path: path(text.into_bytes()),
                }),
                // Closed meanwhile.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(links)
    }

    /// Whether it has ended, and waits for its parent: it refers to nothing any more.
    pub fn has_ended(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let stat = rx::openat(&self.0, c"stat", flags, Mode::empty());
        let text = stat.and_then(fd::read_all).unwrap_or_default();
        // Behind the name, which may have anything in it (proc_pid_stat(5)).
        let state = text.iter().rposition(|byte| *byte == b')');
        state.is_some_and(|end| matches!(text.get(end + 2), Some(b'Z' | b'X')))
    }

    /// The id of the mount through which the link leads (statx(2), `STATX_MNT_ID`, Linux 5.8).
    pub fn mount(&self, link: &Link) -> Result<u64> {
        // A file of a user's filesystem must not be waited for.
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let stat = rx::statx(&self.0, &link.name, flags, StatxFlags::MNT_ID)?;
        Ok(stat.stx_mnt_id)
    }

    /// Whether it is a socket in which descriptors wait to be received (proc(5), `scm_fds` of
    /// `/proc/PID/fdinfo`, Linux 5.10).
    pub fn carries(&self, link: &Link) -> Result<bool> {
        use std::os::unix::ffi::OsStrExt;
        if !link.path.as_os_str().as_bytes().starts_with(b"socket:[") {
            return Ok(false);
        }
        let number = link.name.to_bytes().strip_prefix(b"fd/");
        let name = [b"fdinfo/", number.ok_or(Errno::INVAL)?].concat();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // To its end: a line for each lock of the file is before it.
        let text = fd::read_all(rx::openat(self.0.as_fd(), name, flags, Mode::empty())?)?;
        let mut lines = text.split(|byte| *byte == b'\n');
        let waiting = lines.find_map(|line| line.strip_prefix(b"scm_fds:"));
        Ok(waiting.is_some_and(|n| n.trim_ascii() != b"0"))
    }
}

/// Tasks of a process and of all that descend from it (proc(5), `/proc/PID/task/TID/children`). Right where
/// none of them starts or ends meanwhile.
pub fn descend(process: i32) -> Vec<i32> {
    let mut tasks = vec![];
    let mut processes = vec![process];
    while let Some(process) = processes.pop() {
        for task in threads(process).unwrap_or_default() {
            let children = procfs::read(&format!("{process}/task/{task}/children"));
            processes.extend(numbers(&children.unwrap_or_default()));
            tasks.push(task);
        }
    }
    tasks
}

fn threads(process: i32) -> Result<Vec<i32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let table = procfs::open(&format!("{process}/task"), flags)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = rx::RawDir::new(&table, buffer.spare_capacity_mut());
    let mut tasks = vec![];
    while let Some(entry) = entries.next() {
        tasks.extend(numbers(entry?.file_name().to_bytes()));
    }
    Ok(tasks)
}

/// Numbers between spaces or line ends.
pub fn numbers(text: &[u8]) -> impl Iterator<Item = i32> + '_ {
    let words = text.split(u8::is_ascii_whitespace);
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

fn path(mut text: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    if let Some(rest) = text.strip_suffix(DELETED) {
        text.truncate(rest.len());
    }
    PathBuf::from(std::ffi::OsString::from_vec(text))
}
