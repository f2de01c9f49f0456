//! File opens that wait for an answer, and changes of directories with the names that changed (fanotify(7)).
//!
//! Both need `CAP_SYS_ADMIN` in the initial user namespace. A user has 128 groups
//! (`fs.fanotify.max_user_groups`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result};

/// Bytes of `struct fanotify_event_metadata`, and of an information record before its handle.
const METADATA: usize = size_of::<libc::fanotify_event_metadata>();
const RECORD: usize = 12;
/// Bytes of `struct file_handle` before the handle, and of the longest handle (`MAX_HANDLE_SZ`).
const HANDLE: usize = 8;
const LONGEST: usize = 128;
const CHANGES: u64 = libc::FAN_CREATE | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO | libc::FAN_ONDIR;

/// Identifies an inode as long as its filesystem is mounted (name_to_handle_at(2)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(Vec<u8>);

impl Handle {
    /// The handle of an open file.
    pub fn of(file: BorrowedFd<'_>) -> Result<Handle> {
        let mut room = [0u32; (HANDLE + LONGEST) / 4];
        room[0] = LONGEST as u32;
        let mut mount = 0;
        // SAFETY: the room is a file_handle with as many bytes behind it as it says.
        let done = unsafe {
            libc::name_to_handle_at(
                file.as_raw_fd(),
                c"".as_ptr(),
                room.as_mut_ptr().cast(),
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        let bytes: Vec<u8> = room.iter().flat_map(|word| word.to_ne_bytes()).collect();
        match done {
            -1 => Err(last()),
            _ => Handle::parse(&bytes)
                .map(|(handle, _)| handle)
                .ok_or(Errno::IO),
        }
    }

    /// Parses a `struct file_handle`; returns it and the bytes behind it.
    fn parse(bytes: &[u8]) -> Option<(Handle, &[u8])> {
        let length = number(bytes)? as usize;
        let handle = bytes.get(4..HANDLE + length)?;
        Some((Handle(handle.to_vec()), &bytes[HANDLE + length..]))
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

/// The answer to an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The open proceeds.
    Allow,
    /// The open fails with `EPERM`.
    Deny,
}

/// A group that must answer before files are opened through some mounts. When it is closed, all is allowed.
pub struct Openings(OwnedFd);

/// An open that waits for its answer.
pub struct Opening {
    /// The file that is to be opened.
    pub file: OwnedFd,
}

impl Openings {
    /// On a kernel without `CONFIG_FANOTIFY_ACCESS_PERMISSIONS` the first mark fails with `EINVAL`.
    pub fn new() -> Result<Openings> {
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_UNLIMITED_QUEUE | libc::FAN_UNLIMITED_MARKS;
        // Opening a fifo must not block this process.
        let files = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_LARGEFILE;
        group(flags, files).map(Openings)
    }

    /// Makes every open of a file or directory through the mount of `place`, a directory, wait for an answer.
    pub fn ask(&self, place: BorrowedFd<'_>) -> Result<()> {
        let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT;
        let events = libc::FAN_OPEN_PERM | libc::FAN_ONDIR;
        mark(&self.0, flags, events, place, Some(c"."))
    }

    /// Exempts one inode, until it leaves the kernel's memory or [`ask_anew`](Openings::ask_anew) is called.
    pub fn pass(&self, file: BorrowedFd<'_>) -> Result<()> {
        let flags =
            libc::FAN_MARK_ADD | libc::FAN_MARK_IGNORED_MASK | libc::FAN_MARK_IGNORED_SURV_MODIFY;
        let asked = libc::FAN_OPEN_PERM;
        // Linux 5.19; before, such a mark keeps the inode in memory.
        match mark(&self.0, flags | libc::FAN_MARK_EVICTABLE, asked, file, None) {
            Err(Errno::INVAL) => mark(&self.0, flags, asked, file, None),
            other => other,
        }
    }

    /// Undoes every [`pass`](Openings::pass).
    pub fn ask_anew(&self) -> Result<()> {
        mark(&self.0, libc::FAN_MARK_FLUSH, 0, rustix::fs::CWD, None)
    }

    /// The next open that waits, if there is one.
    pub fn next(&self) -> Result<Option<Opening>> {
        // Room for one event: only its descriptor's number identifies it, and numbers are reused.
        let mut event = [0u64; METADATA / 8];
        match rustix::io::read(&self.0, bytes_of(&mut event)) {
            Ok(METADATA) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Ok(_) => return Err(Errno::IO),
            // The file, such as a socket, could not be opened here, and the open was refused.
            Err(errno) => return Err(errno),
        }
        let file = number(&bytes_of(&mut event)[16..]).map_or(-1, u32::cast_signed);
        match file {
            0.. => Ok(Some(Opening {
                // SAFETY: the kernel made the descriptor for this event, and nothing else owns it.
                file: unsafe { OwnedFd::from_raw_fd(file) },
            })),
            _ => Err(Errno::OVERFLOW),
        }
    }

    /// Allows or denies the open.
    pub fn answer(&self, opening: Opening, answer: Answer) -> Result<()> {
        let response = match answer {
            Answer::Allow => libc::FAN_ALLOW,
            Answer::Deny => libc::FAN_DENY,
        };
        let number = opening.file.as_raw_fd();
        // Before the answer: the waiting process may check next whether another one has the file open.
        drop(opening);
        let mut words = [0; 8];
        words[..4].copy_from_slice(&number.to_ne_bytes());
        words[4..].copy_from_slice(&response.to_ne_bytes());
        rustix::io::write(&self.0, &words).map(drop)
    }
}

impl AsFd for Openings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A group that reports which names in some directories were made or renamed, and what they name (Linux 5.17,
/// `FAN_REPORT_TARGET_FID`).
pub struct Changes(OwnedFd);

/// A name that was made, or taken away by a rename.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The directory of the name.
    pub directory: Handle,
    /// The name in the directory.
    pub name: CString,
    /// The object that the name stands for.
    pub what: Handle,
}

impl Changes {
    /// A group that watches nothing yet. `EINVAL` on an older kernel.
    pub fn new() -> Result<Changes> {
        let report = libc::FAN_REPORT_DFID_NAME_TARGET;
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_UNLIMITED_QUEUE | report;
        group(flags, libc::O_RDONLY | libc::O_CLOEXEC).map(Changes)
    }

    /// Watches a directory. `ENODEV`, `EXDEV`, `EOPNOTSUPP`: the filesystem has no handles for this.
    pub fn watch(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_ONLYDIR;
        mark(&self.0, flags, CHANGES, directory, Some(c"."))
    }

    /// Passes each change since the last call to `f`.
    pub fn take(&self, mut f: impl FnMut(Change)) -> Result<()> {
        let mut room = [0u64; 512];
        loop {
            let length = match rustix::io::read(&self.0, bytes_of(&mut room)) {
                Err(Errno::AGAIN) => return Ok(()),
                other => other?,
            };
            let mut rest = &bytes_of(&mut room)[..length];
            while let Some(event) = number(rest).and_then(|all| rest.get(..all as usize)) {
                change(event).map(&mut f);
                rest = &rest[event.len().max(1)..];
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Parses an event with its information records (fanotify(7)): the directory and name, and the inode.
fn change(event: &[u8]) -> Option<Change> {
    let mut rest = event.get(METADATA..)?;
    let (mut named, mut what) = (None, None);
    while let [kind, _, low, high, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let record = rest.get(..length).filter(|record| record.len() > RECORD)?;
        let (handle, behind) = Handle::parse(&record[RECORD..])?;
        match kind {
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME => {
                named = Some((handle, CStr::from_bytes_until_nul(behind).ok()?));
            }
            libc::FAN_EVENT_INFO_TYPE_FID => what = Some(handle),
            _ => {}
        }
        rest = &rest[length..];
    }
    let (directory, name) = named?;
    Some(Change {
        directory,
        name: name.into(),
        what: what?,
    })
}

fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: the same memory; every byte of it is initialised, and any value of a byte is valid.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

fn group(flags: u32, files: i32) -> Result<OwnedFd> {
    let flags = flags | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
    // SAFETY: integers.
    match unsafe { libc::fanotify_init(flags, files as u32) } {
        -1 => Err(last()),
        // SAFETY: new, and nothing else owns it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn mark(
    group: &OwnedFd,
    flags: u32,
    events: u64,
    at: BorrowedFd<'_>,
    path: Option<&CStr>,
) -> Result<()> {
    let path = path.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the path is a C string or null and outlives the call.
    match unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, events, at.as_raw_fd(), path) } {
        -1 => Err(last()),
        _ => Ok(()),
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
