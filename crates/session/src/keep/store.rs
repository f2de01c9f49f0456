//! The store of sessions: a directory for each, below the state directory.
//!
//! ```text
//! STATE/sessions/NAME/lock      held by the keeper while the session lives (flock(2))
//!                    /socket    the keeper's
//!                    /record    how it was made, as JSON
//!                    /events    what happened, a line of JSON each
//!                    /end       its verdict, once it has ended
//!                    /job-N     the output of a detached command
//! ```
//!
//! A file proves nothing: whether a session lives is asked of the kernel by the lock, and who keeps it by the
//! credentials at the other end of the socket.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::error::SessionError;
use creel_jail::spawn;
use creel_sys::host;
use creel_sys::peer::{self, Peer};

type Result<T> = std::result::Result<T, SessionError>;

/// The longest name.
const LONGEST: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Where all sessions of a user are.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// A session's directory and the lock of its keeper.
#[derive(Debug)]
pub struct Claim {
    /// The session's name.
    pub name: String,
    path: PathBuf,
    /// Held as long as the session lives.
    _lock: File,
}

/// Whether a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// A keeper holds the lock.
    Alive,
    /// Its files are left.
    Over,
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> SessionError {
    let path = path.to_path_buf();
    move |source| SessionError::Store { path, source }
}

/// Checks a name.
pub fn check(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    match first && name.len() <= LONGEST && name.chars().all(plain) {
        true => Ok(()),
        false => Err(SessionError::Name { name: name.into() }),
    }
}

impl Store {
    /// The caller's store. It is made if it is not there.
    pub fn of_caller() -> Result<Store> {
        let (uid, _) = host::ids();
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let mut state = spawn::state_dir(uid, runtime_dir.as_deref());
        if !state.parent().is_some_and(Path::is_dir) {
            // No login made one: a container, a service, su(1).
            state = format!("/tmp/creel-{uid}").into();
        }
        for directory in [state.clone(), state.join("sessions")] {
            match fs::DirBuilder::new().mode(0o700).create(&directory) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(fault(&directory)(e));
                }
                _ => {}
            }
            let meta = fs::symlink_metadata(&directory).map_err(fault(&directory))?;
            if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o022 != 0 {
                return Err(SessionError::Foreign { path: directory });
            }
        }
        Ok(Store {
            path: state.join("sessions"),
        })
    }

    /// The names of all sessions, also of those that have ended.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.path).map_err(fault(&self.path))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| check(name).is_ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The directory of a session.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        check(name)?;
        Ok(self.path.join(name))
    }

    /// Whether a session lives; `None` if there is none of this name.
    pub fn life(&self, name: &str) -> Result<Option<Life>> {
        let path = self.directory(name)?.join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fault(&path)(e)),
        };
        // A shared lock: two that look at once do not take each other for a keeper.
        Ok(Some(
            match flock(&lock, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Life::Over,
                Err(_) => Life::Alive,
            },
        ))
    }

    /// Claims a name for a new session, and removes what an ended one of this name has left. `Busy` if a session
    /// of this name lives.
    pub fn claim(&self, name: &str) -> Result<Claim> {
        let path = self.directory(name)?;
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(fault(&path)(e)),
            _ => {}
        }
        let busy = || SessionError::Busy { name: name.into() };
        let place = path.join("lock");
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&place).map_err(fault(&place))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| busy())?;
        // `remove` may have taken the directory away before the lock was there.
        let same = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let now = fs::symlink_metadata(&place).map(same);
        if lock.metadata().map(same).ok() != now.ok() {
            return Err(busy());
        }
        for entry in fs::read_dir(&path).map_err(fault(&path))?.flatten() {
            if entry.file_name() != "lock" {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Claim {
            name: name.into(),
            path,
            _lock: lock,
        })
    }

    /// Removes what a session that has ended has left. False if there is none of this name.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.directory(name)?;
        if !path.exists() {
            return Ok(false);
        }
        let claim = self.claim(name)?;
        let _ = fs::remove_file(path.join("lock"));
        let removed = fs::remove_dir(&path).map_err(fault(&path));
        drop(claim);
        removed.map(|()| true)
    }

    /// Connects to the keeper of a session.
    pub fn connect(&self, name: &str) -> Result<OwnedFd> {
        let path = self.directory(name)?;
        let gone = || match path.exists() {
            true => SessionError::Ended { name: name.into() },
            false => SessionError::None { name: name.into() },
        };
        let socket = stream_of_messages(name)?;
        match connect(&socket, &address(&path, name)?.0) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => return Err(gone()),
            Err(errno) => return Err(socket_fault(name, errno)),
        }
        match peer::of(socket.as_fd()).map_err(|e| socket_fault(name, e))? {
            Peer::Own => Ok(socket),
            peer => Err(SessionError::Stranger {
                name: name.into(),
                who: match peer {
                    Peer::Other(uid) => format!("uid {uid}"),
                    Peer::Root => "root".into(),
                    Peer::Own | Peer::Elsewhere => "a process of a jail or a container".into(),
                },
            }),
        }
    }
}

fn socket_fault(name: &str, errno: rustix::io::Errno) -> SessionError {
    SessionError::Socket {
        name: name.into(),
        source: errno.into(),
    }
}

fn stream_of_messages(name: &str) -> Result<OwnedFd> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    socket_with(AddressFamily::UNIX, kind, flags, None).map_err(|e| socket_fault(name, e))
}

/// The address of a socket in a directory, through a descriptor of the directory: its path may be longer than an
/// address (unix(7)).
fn address(directory: &Path, name: &str) -> Result<(SocketAddrUnix, Option<File>)> {
    let opened = match File::open(directory) {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(SessionError::None { name: name.into() });
        }
        Err(e) => return Err(fault(directory)(e)),
    };
    let path = format!("/proc/self/fd/{}/socket", opened.as_raw_fd());
    let address = SocketAddrUnix::new(path).map_err(|e| socket_fault(name, e))?;
    Ok((address, Some(opened)))
}

impl Claim {
    /// The session's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket at which the keeper listens.
    pub fn listen(&self) -> Result<OwnedFd> {
        let socket = stream_of_messages(&self.name)?;
        let (address, _opened) = address(&self.path, &self.name)?;
        bind(&socket, &address).map_err(|e| socket_fault(&self.name, e))?;
        listen(&socket, BACKLOG).map_err(|e| socket_fault(&self.name, e))?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(|e| socket_fault(&self.name, e))?;
        Ok(socket)
    }

    /// Writes a file of the session whole, or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let (new, path) = (self.path.join(format!(".{name}")), self.path.join(name));
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&new)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(fault(&path))
    }

    /// Makes an empty file of the session, to append to.
    pub fn create(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let mut options = File::options();
        let options = options.append(true).create(true).mode(0o600);
        options.open(&path).map_err(fault(&path))
    }

    /// Removes the socket: nobody can connect any more.
    pub fn close(&self) {
        let _ = fs::remove_file(self.path.join("socket"));
    }
}

/// Whether the process at the other end is the user's own, and in no jail.
pub fn is_own(socket: &OwnedFd) -> bool {
    matches!(peer::of(socket.as_fd()), Ok(Peer::Own | Peer::Root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word() {
        for name in ["a", "A-1", "x.y_z", &"a".repeat(64)] {
            assert!(check(name).is_ok(), "{name}");
        }
        let long = "a".repeat(65);
        for name in [
            "", ".", "..", "-a", "a/b", "a b", "a\n", "a\u{1b}", "é", &long,
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
