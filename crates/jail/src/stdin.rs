//! A regular file on stdin, opened again from a read-only mount.
//!
//! A descriptor lies on the mount that it was opened on. Whoever owns the file, or may write to it,
//! changes its mode, times and attributes through any descriptor of it (fchmod(2), futimens(3),
//! fsetxattr(2)), however it was opened and whatever Landlock says; a read-only mount alone refuses
//! that. Without root the jail's user is the file's owner, as root the file may be everybody's.
//!
//! A file in a granted tree is opened where the jail has it, under the rights that it has there. The
//! position is the caller's at the start, and the caller has it back at the end. What is open for writing is
//! given for writing, and stays as it is.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self as rx, CWD, OFlags, SeekFrom};

use super::JailError;
use super::copier::Copier;
use super::streams::Stdio;
use creel_plan::{Act, Host, IdMode, Plan, Terminal};
use creel_sys::{Errno, Result, fd, mount};

/// What the mount of a file on stdin is.
const ATTRIBUTES: u64 = mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC;

/// The file, for a process that may not allocate.
pub struct Stdin {
    /// Where the jail has it, beneath its root; `None` where it is not granted.
    pub granted: Option<CString>,
    pub stat: fd::Stat,
    pub position: u64,
    pub source: Source,
}

/// Where it comes from where it is not granted.
pub enum Source {
    /// The parent, who may mount on the host, has opened it.
    Opened(Option<OwnedFd>),
    /// The child finds it in its own copy of the mounts.
    Named(CString),
}

/// `None`: stdin may stay as it is.
pub(super) fn prepare(
    stdio: &Stdio,
    plan: &Plan,
    host: &Host,
    copier: &mut Copier,
) -> std::result::Result<Option<Stdin>, JailError> {
    let stdin = stdio.0[0].as_ref().map_or(fd::fixed(0), AsFd::as_fd);
    let Ok(stat) = fd::stat(stdin) else {
        return Ok(None);
    };
    let writable = |flags: OFlags| flags.contains(OFlags::WRONLY) || flags.contains(OFlags::RDWR);
    // Of a file without a name nobody else has anything.
    if plan.command.terminal == Terminal::Pty
        || stat.kind != fd::Kind::File
        || stat.links == 0
        || rx::fcntl_getfl(stdin).is_ok_and(writable)
    {
        return Ok(None);
    }
    let refuse = |source| JailError::Stdin { source };
    let path = fd::path_of(stdin).map_err(refuse)?;
    let position = rx::seek(stdin, SeekFrom::Current(0)).map_err(refuse)?;
    let name = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    let source = match host.id_mode {
        IdMode::Privileged => {
            // A descriptor from another mount namespace is none to copy a mount from (EINVAL).
            let mount = cover(stdin, c"", stat)
                .or_else(|_| cover(CWD, &name, stat))
                .map_err(refuse)?;
            if !rx::fstat(stdin).is_ok_and(|s| s.st_mode & 0o004 != 0) {
                // So that the jail's user may open it again, to read it; where the filesystem has no such
                // mounts the descriptor alone works.
                let _ = copier.own(&mount, (stat.uid, stat.gid));
            }
            let file = fd::reopen_plain(mount.as_fd()).map_err(refuse)?;
            Source::Opened(Some(file))
        }
        // What the caller neither owns nor may write, the jail cannot change.
        IdMode::Rootless if stat.uid != host.uid && !may_write(stdin) => return Ok(None),
        IdMode::Rootless => Source::Named(name),
    };
    let granted = plan.acts().any(|act| match act {
        Act::Bind { target, .. } => path.starts_with(target),
        _ => false,
    });
    let relative = path.strip_prefix("/").unwrap_or(&path);
    Ok(Some(Stdin {
        granted: granted
            .then(|| CString::new(relative.as_os_str().as_bytes()).ok())
            .flatten(),
        stat,
        position,
        source,
    }))
}

fn may_write(file: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rx::access(path, rx::Access::WRITE_OK).is_ok()
}

/// Where stdin is a device that the jail has too, such as /dev/null: the jail's own is opened in its place,
/// the same way. That of the host lies on a mount of the host's, where nothing can be opened again. Returns its
/// path beneath the root and the flags.
pub fn device(stdio: &Stdio, plan: &Plan) -> Option<(CString, OFlags)> {
    let stdin = stdio.0[0].as_ref().map_or(fd::fixed(0), AsFd::as_fd);
    let stat = fd::stat(stdin).ok()?;
    if plan.command.terminal == Terminal::Pty || stat.kind != fd::Kind::CharDevice {
        return None;
    }
    let path = plan.acts().find_map(|act| match act {
        Act::Device { path, major, minor } if rx::makedev(*major, *minor) == stat.rdev => {
            Some(path)
        }
        _ => None,
    })?;
    let flags = rx::fcntl_getfl(stdin).ok()? & OFlags::ACCMODE;
    let path = CString::new(path.strip_prefix("/").ok()?.as_os_str().as_bytes()).ok()?;
    Some((path, flags | OFlags::CLOEXEC | OFlags::NOCTTY))
}

/// The file from a read-only mount of its own, which ends with the descriptor. Runs after clone.
fn covered(dir: BorrowedFd<'_>, path: &CStr, wanted: fd::Stat) -> Result<OwnedFd> {
    fd::reopen_plain(cover(dir, path, wanted)?.as_fd())
}

fn cover(dir: BorrowedFd<'_>, path: &CStr, wanted: fd::Stat) -> Result<OwnedFd> {
    let copy = mount::copy_one(dir, path)?;
    let found = fd::stat(copy.as_fd())?;
    if (found.dev, found.ino) != (wanted.dev, wanted.ino) {
        return Err(Errno::STALE);
    }
    mount::set(copy.as_fd(), ATTRIBUTES, mount::Reach::This)?;
    Ok(copy)
}

/// Moves the caller's position to where the jail's is, if the jail has moved it on from `start`: neither
/// back, nor beyond the end. Which byte it is the jail says: a shell that reads its script from there goes on
/// at it.
pub fn give_back(file: &OwnedFd, start: u64) {
    let end = rx::fstat(file).map_or(0, |stat| stat.st_size.unsigned_abs());
    match rx::tell(file) {
        // Nothing depends on it but who reads on, and stdin was a file.
        Ok(now) if now > start => {
            let _ = rx::seek(fd::fixed(0), SeekFrom::Start(now.min(end.max(start))));
        }
        _ => {}
    }
}

impl Stdin {
    /// The open file, at the caller's position. `granted`: the file where the jail has it, if it is
    /// the same. Runs after clone, before the host's mounts are let go.
    pub fn open(&mut self, granted: Option<OwnedFd>) -> Result<OwnedFd> {
        let granted = granted.and_then(|place| fd::reopen_plain(place.as_fd()).ok());
        let file = match (granted, &mut self.source) {
            (Some(file), _) => file,
            (None, Source::Opened(file)) => file.take().ok_or(Errno::BADF)?,
            (None, Source::Named(name)) => covered(CWD, name, self.stat)?,
        };
        rx::seek(&file, SeekFrom::Start(self.position))?;
        Ok(file)
    }
}
