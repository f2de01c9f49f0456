//! Reopens a regular file on stdin from a read-only mount.
//!
//! A descriptor keeps the mount on which it was opened. The owner of the file, or a process that may write to
//! it, can change its mode, times and attributes through any descriptor (fchmod(2), futimens(3),
//! fsetxattr(2)), however it was opened and whatever Landlock says; only a read-only mount refuses that.
//! Without root the jail's user is the file's owner, as root the file may be writable for everybody.
//!
//! A file in a granted tree is opened at its path in the jail, with its rights there. The jail starts at the
//! caller's position, and the caller gets the position back at the end. A descriptor that is open for writing
//! stays as it is.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self as rx, CWD, OFlags, SeekFrom};

use super::copier::Copier;
use super::error::JailError;
use super::streams::Stdio;
use creel_plan::{Act, Host, IdMode, Plan, Terminal};
use creel_sys::{Errno, Result, fd, mount};

/// Mount attributes for a file on stdin.
const ATTRIBUTES: u64 = mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC;

/// The file, for a process that may not allocate.
pub struct Stdin {
    /// Its path beneath the jail's root; `None` if it is not granted.
    pub granted: Option<CString>,
    /// The identity of the file. A path that leads to another inode later is refused with `ESTALE`.
    pub stat: fd::Stat,
    /// The caller's offset in the file, bytes.
    pub position: u64,
    /// Used if the file is not granted, or cannot be opened at its path in the jail.
    pub source: Source,
}

/// The source of a file that is not granted.
pub enum Source {
    /// The parent, which may mount on the host, has opened it.
    Opened(Option<OwnedFd>),
    /// The child opens it by name in its own copy of the mounts.
    Named(CString),
}

/// Prepares stdin; `None` if it may stay as it is.
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
    // A file without a name is shared with nobody else.
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
            // A mount cannot be copied through a descriptor from another mount namespace (EINVAL).
            let mount = cover(stdin, c"", stat)
                .or_else(|_| cover(CWD, &name, stat))
                .map_err(refuse)?;
            if !rx::fstat(stdin).is_ok_and(|s| s.st_mode & 0o004 != 0) {
                // The jail's user may then reopen it for reading. On a filesystem without idmapped mounts
                // only the descriptor works.
                let _ = copier.own(&mount, (stat.uid, stat.gid));
            }
            let file = fd::reopen_plain(mount.as_fd()).map_err(refuse)?;
            Source::Opened(Some(file))
        }
        // The jail cannot change a file that the caller neither owns nor may write.
        IdMode::Rootless if stat.uid != host.uid && !may_write(stdin) => return Ok(None),
        IdMode::Rootless => Source::Named(name),
    };
    let granted = plan.jail.inside(&path);
    let granted = granted
        .as_deref()
        .and_then(|path| path.strip_prefix("/").ok());
    Ok(Some(Stdin {
        granted: granted.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok()),
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

/// If stdin is a device that the jail also has, such as /dev/null: the path of the jail's own beneath the
/// root, and the flags to open it with. The host's device lies on a mount of the host, where nothing can be
/// reopened.
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

/// Opens the file on its own read-only mount, which ends with the descriptor. Runs after clone.
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

/// Moves the caller's position to the jail's, if the jail has advanced it from `start`: neither back, nor
/// beyond the end. The jail thus chooses where a shell continues that reads its script from stdin.
pub fn give_back(file: &OwnedFd, start: u64) {
    let end = rx::fstat(file).map_or(0, |stat| stat.st_size.unsigned_abs());
    match rx::tell(file) {
        // A failure affects only later readers, and stdin was a file.
        Ok(now) if now > start => {
            let _ = rx::seek(fd::fixed(0), SeekFrom::Start(now.min(end.max(start))));
        }
        _ => {}
    }
}

impl Stdin {
    /// Opens the file at the caller's position. `granted`: the same file at its path in the jail, if any.
    /// Runs after clone, before the host's mounts are detached.
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
