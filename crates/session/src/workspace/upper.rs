//! The layers of overlay workspaces in the user's state directory: made, locked, opened.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat};

use super::error::WorkspaceError;
use super::record::Record;
use super::snapshot::{NEW, SNAPSHOTS};
use super::{apply, sweep, tree};
use crate::Declared;
use creel_plan::paths::workspace_mode;
use creel_policy::WorkspaceMode;
use creel_sys::{Errno, host};

pub(super) type Result<T> = std::result::Result<T, WorkspaceError>;

/// Root's, if XDG_STATE_HOME is not set.
const STATE_OF_ROOT: &str = "/var/lib";

/// Milliseconds in which a keeper that ends has closed its files.
const PATIENCE: u32 = 50;

/// The beginning of a staging directory's name.
pub(super) const STAGING: &str = ".creel-commit-";

/// The directory of all layers of a user.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// The layers of one session's workspace, opened.
#[derive(Debug)]
pub struct Changes {
    /// The session's name.
    pub name: String,
    /// The workspace and what was committed of it.
    pub record: Record,
    pub(super) path: PathBuf,
    pub(super) dir: File,
}

/// The layers while a jail uses them.
#[derive(Debug)]
pub struct Live {
    _lock: File,
}

pub(super) fn fault(path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError {
    let path = path.to_path_buf();
    move |source| WorkspaceError::State { path, source }
}

pub(super) fn refuse(path: &Path) -> impl FnOnce(Errno) -> WorkspaceError {
    let path = path.to_path_buf();
    move |errno| WorkspaceError::State {
        path,
        source: errno.into(),
    }
}

/// The state directory of the caller: XDG_STATE_HOME, the XDG base directory specification.
fn state_home() -> PathBuf {
    let (uid, _) = host::ids();
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    named.unwrap_or_else(|| match (uid, host::home_of(uid)) {
        (1.., Some(home)) => home.join(".local/state"),
        _ => STATE_OF_ROOT.into(),
    })
}

impl Store {
    /// The caller's store. It may not exist.
    pub fn of_caller() -> Store {
        let state = state_home();
        // The kernel resolves the layers without links.
        let state = state.canonicalize().unwrap_or(state);
        Store {
            path: state.join("creel/workspaces"),
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of a session's layers.
    pub fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of all sessions that have layers.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_name = |name: &String| crate::keep::store::check(name).is_ok();
        let mut names: Vec<String> = names.filter(is_name).collect();
        names.sort_unstable();
        names
    }

    /// Opens the layers of a session.
    pub fn open(&self, name: &str) -> Result<Changes> {
        let none = || WorkspaceError::None { name: name.into() };
        crate::keep::store::check(name).map_err(|_| none())?;
        let path = self.place(name);
        let dir = match own(&path) {
            Err(WorkspaceError::State { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Err(none());
            }
            opened => opened?,
        };
        let text = match read(&dir, "record") {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(none()),
            text => text.map_err(fault(&path.join("record")))?,
        };
        let record = serde_json::from_slice(&text).map_err(|e| WorkspaceError::Damaged {
            path: path.join("record"),
            why: e.to_string(),
        })?;
        Ok(Changes {
            name: name.into(),
            record,
            path,
            dir,
        })
    }

    /// Names the layers of a session in its request, if the policy has its workspace in the mode `overlay`.
    pub fn assign(&self, name: &str, declared: &mut Declared) {
        if workspace_mode(&declared.policy) == WorkspaceMode::Overlay {
            declared.request.changes = Some(self.place(name));
        }
    }

    /// Whether a session has changes that are not committed. Changes that cannot be read count.
    pub fn has_changes(&self, name: &str) -> bool {
        match self.open(name) {
            Err(WorkspaceError::None { .. }) => false,
            Err(_) => true,
            Ok(changes) => {
                !matches!(changes.journal(), Ok(None))
                    || super::diff::diff(&changes).map_or(true, |entries| !entries.is_empty())
            }
        }
    }

    /// Whether something of a session would be lost with its layers: changes, or a snapshot.
    pub fn has_work(&self, name: &str) -> bool {
        let has_snapshots = |changes: Changes| !changes.snapshots().is_empty();
        self.has_changes(name) || self.open(name).is_ok_and(has_snapshots)
    }

    /// Removes the layers of a session, with the changes in them. Nothing happens if there are none. A commit that has
    /// begun is finished first.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut changes = match self.open(name) {
            Err(WorkspaceError::None { .. }) => return Ok(()),
            opened => opened?,
        };
        let _live = changes.claim_live()?;
        let _lock = changes.lock()?;
        changes.refresh()?;
        match apply::recover(&mut changes) {
            // The host's tree is gone, and with it the place of the commit.
            Ok(()) | Err(WorkspaceError::Moved { .. }) => {}
            Err(error) => return Err(error),
        }
        // Without a record the rest would be no session's: it goes last.
        for name in [
            "upper", SNAPSHOTS, NEW, "work", "denied", "journal", "record",
        ] {
            sweep::clear(changes.top(), Path::new(name)).map_err(refuse(&changes.path))?;
        }
        let left = tree::directory(changes.top(), Path::new("")).and_then(|dir| tree::names(&dir));
        for name in left.map_err(refuse(&changes.path))? {
            sweep::clear(changes.top(), &name).map_err(refuse(&changes.path))?;
        }
        fs::remove_dir(&changes.path).map_err(fault(&changes.path))
    }

    pub(super) fn here(path: &Path) -> Store {
        Store {
            path: path.parent().unwrap_or(path).into(),
        }
    }
}

/// Opens a directory that must be the caller's alone.
pub(super) fn own(path: &Path) -> Result<File> {
    let mut options = File::options();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let options = options.read(true).custom_flags(flags.bits() as i32);
    let dir = options.open(path).map_err(fault(path))?;
    let meta = dir.metadata().map_err(fault(path))?;
    match meta.uid() == host::ids().0 && meta.mode() & 0o077 == 0 {
        true => Ok(dir),
        false => Err(WorkspaceError::Foreign { path: path.into() }),
    }
}

pub(super) fn at(dir: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).into()
}

pub(super) fn read(dir: &File, name: &str) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let options = options.read(true).custom_flags(flags.bits() as i32);
    let mut bytes = vec![];
    io::Read::read_to_end(&mut options.open(at(dir, name))?, &mut bytes)?;
    Ok(bytes)
}

fn lock_file(dir: &File, path: &Path, name: &str) -> Result<File> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let options = options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options.open(at(dir, name)).map_err(fault(&path.join(name)))
}

/// Locks the layers for a jail. A keeper that was killed closes its files one by one.
pub(super) fn live_soon(dir: &File, path: &Path, name: &str) -> Result<Live> {
    for _ in 0..PATIENCE {
        if let Ok(live) = live(dir, path, name) {
            return Ok(live);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    live(dir, path, name)
}

fn live(dir: &File, path: &Path, name: &str) -> Result<Live> {
    let lock = lock_file(dir, path, "live")?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| WorkspaceError::Live { name: name.into() })?;
    Ok(Live { _lock: lock })
}

impl Changes {
    /// The directory of the layers.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The layer of changes.
    pub(super) fn upper(&self) -> Result<OwnedFd> {
        let upper = Path::new("upper");
        tree::directory(self.top(), upper).map_err(refuse(&self.path.join(upper)))
    }

    /// The workspace, which must be the directory of the start.
    pub(super) fn workspace(&self) -> Result<OwnedFd> {
        let path = &self.record.workspace;
        let moved = || WorkspaceError::Moved {
            name: self.name.clone(),
            workspace: path.clone(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = rustix::fs::ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), how);
        let opened = opened.map_err(|_| moved())?;
        let stat = fstat(&opened).map_err(|_| moved())?;
        match self.record.identity == (stat.st_dev, stat.st_ino) {
            true => Ok(opened),
            false => Err(moved()),
        }
    }

    /// Whether a jail uses the layers.
    pub fn is_live(&self) -> bool {
        self.try_live().is_err()
    }

    /// Keeps jails from the layers; `Live` if one uses them now.
    pub(super) fn try_live(&self) -> Result<Live> {
        live(&self.dir, &self.path, &self.name)
    }

    /// The same, also if one ends just now.
    pub(super) fn claim_live(&self) -> Result<Live> {
        live_soon(&self.dir, &self.path, &self.name)
    }

    /// Keeps other commits away.
    pub(super) fn lock(&self) -> Result<File> {
        let lock = lock_file(&self.dir, &self.path, "lock")?;
        let busy = |_| WorkspaceError::Busy {
            name: self.name.clone(),
        };
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(busy)?;
        Ok(lock)
    }

    /// Reads the record again, under a lock.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let text = read(&self.dir, "record").map_err(fault(&self.path.join("record")))?;
        self.record = serde_json::from_slice(&text).map_err(|e| WorkspaceError::Damaged {
            path: self.path.join("record"),
            why: e.to_string(),
        })?;
        Ok(())
    }
}
