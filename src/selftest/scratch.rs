//! The one directory that a self-test has on the host. This module makes, locks and removes it, and removes
//! those whose self-test was killed; it refuses to remove anything else.
//!
//! A running self-test holds its directory's lock, flock(2), which ends with its last descriptor. So a
//! directory that can be locked is left over. Between the making and the locking another self-test may lock
//! and remove the directory; its owner notices that and makes it again.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};

use creel_sys::{fd, host};

const PREFIX: &str = "creel-selftest-";
/// The only entries that such a directory ever has.
pub const CONTENTS: [&str; 4] = ["work", "outside", "readonly", "noexec"];

/// A directory, removed when dropped, or by a later self-test.
#[derive(Debug)]
pub struct Scratch {
    pub path: PathBuf,
    /// `None` if the filesystem has no locks; no directory is taken for a leftover there.
    _lock: Option<OwnedFd>,
}

impl Scratch {
    /// Removes leftovers from `base` and makes the directory of the self-test `id`, mode 0755.
    pub fn new(base: &Path, id: &str) -> io::Result<Scratch> {
        sweep(base);
        let path = base.join(format!("{PREFIX}{id}"));
        loop {
            fs::create_dir(&path)?;
            let directory = match open(&path) {
                Ok(directory) => directory,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let locked = flock(&directory, FlockOperation::LockExclusive).is_ok();
            if !locked || is_at(&directory, &path) {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                return Ok(Scratch {
                    path,
                    _lock: locked.then_some(directory),
                });
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that cannot be removed is the caller's own, and named after creel.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories that killed self-tests of this user left in `base`. One that cannot be removed
/// stays and does no harm.
fn sweep(base: &Path) {
    let (uid, _) = host::ids();
    let Ok(meta) = fs::metadata(base) else { return };
    // If other users may rename there, a name does not identify a directory.
    let others = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
    if others || ![0, uid].contains(&meta.uid()) {
        return;
    }
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_name(&entry.file_name())) {
        let path = entry.path();
        let Ok(directory) = open(&path) else { continue };
        let own = fd::stat(directory.as_fd()).is_ok_and(|stat| stat.uid == uid);
        if own
            && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
            && is_at(&directory, &path)
            && holds_nothing_else(&path)
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_name(name: &OsStr) -> bool {
    let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    id.is_some_and(|id| {
        id.len() == host::random_id().len() && id.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Whether the directory still has its name.
fn is_at(directory: &OwnedFd, path: &Path) -> bool {
    match (fd::stat(directory.as_fd()), fs::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev, held.ino) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn holds_nothing_else(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|e| CONTENTS.iter().any(|name| *name == e.file_name())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_over(base: &Path, name: &str) -> PathBuf {
        let path = base.join(name);
        fs::create_dir_all(path.join("outside")).expect("mkdir");
        fs::write(path.join("outside/file"), "canary\n").expect("write");
        path
    }

    #[test]
    fn what_a_dead_self_test_left_goes_and_nothing_else_does() {
        let base = tempfile::tempdir().expect("a directory");
        let name = |_| format!("{PREFIX}{}", host::random_id());
        let dead = left_over(base.path(), &name(1));
        let living = Scratch::new(base.path(), &host::random_id()).expect("it is made");
        assert!(!dead.exists(), "the control: it was there");

        let dead = left_over(base.path(), &name(2));
        let stays = [
            left_over(base.path(), "creel-selftest-"),
            left_over(base.path(), "creel-selftest-notes"),
            left_over(base.path(), &format!("{}x", name(3))),
            living.path.clone(),
        ];
        let foreign = left_over(base.path(), &name(4));
        fs::write(foreign.join("thesis"), "").expect("write");
        let target = left_over(base.path(), "target");
        let link = base.path().join(name(5));
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        sweep(base.path());
        assert!(!dead.exists());
        for path in stays.iter().chain([&foreign, &target, &link]) {
            assert!(path.exists(), "{}", path.display());
        }
        let path = living.path.clone();
        drop(living);
        assert!(!path.exists());
    }

    #[test]
    fn where_others_may_rename_nothing_is_removed() {
        let base = tempfile::tempdir().expect("a directory");
        let dead = left_over(base.path(), &format!("{PREFIX}{}", host::random_id()));
        let mode = |mode| {
            fs::set_permissions(base.path(), fs::Permissions::from_mode(mode)).expect("chmod")
        };
        mode(0o777);
        sweep(base.path());
        assert!(dead.exists());
        mode(0o1777);
        sweep(base.path());
        assert!(!dead.exists());
    }
}
