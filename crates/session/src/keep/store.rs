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

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::error::SessionError;
use creel_jail::fault_point::{self, Point};
use creel_jail::spawn;
use creel_sys::peer::{self, Peer};
use creel_sys::{Errno, host};

type Result<T> = std::result::Result<T, SessionError>;

/// The longest name.
const LONGEST: usize = 64;
/// The directory of sessions, in the state directory.
const SESSIONS: &str = "sessions";
/// The files of a session, beside those of its jobs.
const FILES: [&str; 5] = ["socket", "record", "end", "events", "shell"];
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// The directory of all sessions of a user.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// A session's directory and the lock of its keeper.
#[derive(Debug)]
pub struct Claim {
    /// The session's name.
    pub name: String,
    directory: Directory,
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

/// A session's directory, opened. Whatever its path is replaced by, files are reached in this one.
#[derive(Debug)]
pub struct Directory {
    file: File,
    /// As messages name it.
    path: PathBuf,
}

impl Directory {
    /// A file in it, by a path that goes through the descriptor.
    fn at(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.file.as_raw_fd()).into()
    }

    /// Opens a file in it to read it. A link is not followed.
    pub fn open(&self, name: &str) -> io::Result<File> {
        let mut options = File::options();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits() as i32);
        options.open(self.at(name))
    }

    /// Reads a file in it whole.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        io::Read::read_to_end(&mut self.open(name)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file in it whole, or not at all.
    pub fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let (new, place) = (format!(".{name}"), self.at(name));
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        let _ = fs::remove_file(self.at(&new));
        let written = options
            .open(self.at(&new))
            .and_then(|mut file| io::Write::write_all(&mut file, text))
            .and_then(|()| fs::rename(self.at(&new), &place));
        written.map_err(fault(&self.path.join(name)))
    }
}

impl Store {
    /// The caller's store. It is made if it is not there.
    pub fn of_caller() -> Result<Store> {
        let (uid, _) = host::ids();
        let state = state_dir();
        for directory in [state.clone(), state.join(SESSIONS)] {
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
            path: state.join(SESSIONS),
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

    /// Opens the directory of a session; `None` if there is none. A link, or a directory of another user or that
    /// others may write, is none of creel's.
    pub fn open(&self, name: &str) -> Result<Option<Directory>> {
        check(name)?;
        let path = self.path.join(name);
        let mut options = File::options();
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        options.read(true).custom_flags(flags.bits() as i32);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::LOOP | Errno::NOTDIR)) => {
                return Err(SessionError::Foreign { path });
            }
            Err(e) => return Err(fault(&path)(e)),
        };
        let meta = file.metadata().map_err(fault(&path))?;
        match meta.uid() == host::ids().0 && meta.mode() & 0o022 == 0 {
            true => Ok(Some(Directory { file, path })),
            false => Err(SessionError::Foreign { path }),
        }
    }

    /// As [`Store::open`], for a session that must be there.
    pub fn of(&self, name: &str) -> Result<Directory> {
        let none = || SessionError::None { name: name.into() };
        self.open(name)?.ok_or_else(none)
    }

    /// Whether a session lives; `None` if there is none of this name.
    pub fn life(&self, name: &str) -> Result<Option<Life>> {
        let Some(directory) = self.open(name)? else {
            return Ok(None);
        };
        let lock = match directory.open("lock") {
            Ok(lock) => lock,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fault(&directory.path.join("lock"))(e)),
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
        check(name)?;
        let path = self.path.join(name);
        let made = match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(fault(&path)(e)),
            made => made.is_ok(),
        };
        let claimed = self.claim_in(name, &path);
        match &claimed {
            Ok(claim) if !made => claim.clear()?,
            // Only if it is empty: another process may have claimed it.
            Err(_) if made => drop(fs::remove_dir(&path)),
            _ => {}
        }
        claimed
    }

    fn claim_in(&self, name: &str, path: &Path) -> Result<Claim> {
        let busy = || SessionError::Busy { name: name.into() };
        // Removed in between, by `rm`.
        let directory = self.open(name)?.ok_or_else(busy)?;
        let place = directory.at("lock");
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let nofollow = OFlags::NOFOLLOW.bits() as i32;
        let lock = options.custom_flags(nofollow).open(&place);
        let lock = lock.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => busy(),
            _ => fault(&path.join("lock"))(e),
        })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| busy())?;
        // `remove` may have taken the lock or the directory away before it was locked.
        let same = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let is_there =
            lock.metadata().map(same).ok() == fs::symlink_metadata(&place).map(same).ok();
        let is_named =
            directory.file.metadata().map(same).ok() == fs::symlink_metadata(path).map(same).ok();
        if !is_there || !is_named {
            return Err(busy());
        }
        Ok(Claim {
            name: name.into(),
            directory,
            _lock: lock,
        })
    }

    /// Removes what a session that has ended has left. False if there is none of this name.
    pub fn remove(&self, name: &str) -> Result<bool> {
        check(name)?;
        let path = self.path.join(name);
        match self.open(name) {
            Ok(None) => return Ok(false),
            Ok(Some(_)) => {}
            // A link that something has put here: nothing behind it is creel's.
            Err(SessionError::Foreign { .. }) if path.is_symlink() => {
                return fs::remove_file(&path).map_err(fault(&path)).map(|()| true);
            }
            Err(error) => return Err(error),
        }
        let claim = self.claim(name)?;
        fault_point::reach(Point::RemoveClaimed);
        let _ = fs::remove_file(claim.directory.at("lock"));
        fault_point::reach(Point::RemoveCleared);
        let removed = fs::remove_dir(&path).map_err(fault(&path));
        drop(claim);
        removed.map(|()| true)
    }

    /// Connects to the keeper of a session.
    pub fn connect(&self, name: &str) -> Result<OwnedFd> {
        let directory = self.of(name)?;
        let gone = || SessionError::Ended { name: name.into() };
        let socket = stream_of_messages(name)?;
        match connect(&socket, &address(&directory, name)?) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(gone()),
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

/// The state directory of the caller: creel's, or one in /tmp where no login has made a runtime directory: in a
/// container, a service, after su(1).
pub fn state_dir() -> PathBuf {
    let (uid, _) = host::ids();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let state = spawn::state_dir(uid, runtime_dir.as_deref());
    match state.parent().is_some_and(Path::is_dir) {
        true => state,
        false => format!("/tmp/creel-{uid}").into(),
    }
}

fn socket_fault(name: &str, errno: Errno) -> SessionError {
    SessionError::Socket {
        name: name.into(),
        source: errno.into(),
    }
}

fn stream_of_messages(name: &str) -> Result<OwnedFd> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    socket_with(AddressFamily::UNIX, kind, flags, None).map_err(|e| socket_fault(name, e))
}

/// The address of a session's socket, through the descriptor of its directory: its path may be longer than an address
/// (unix(7)).
fn address(directory: &Directory, name: &str) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(directory.at("socket")).map_err(|e| socket_fault(name, e))
}

impl Claim {
    /// The session's directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Removes what was claimed, before anything of a session is made. Opens nothing: descriptors may have run out.
    pub fn discard(self) {
        for name in FILES.into_iter().chain(["lock"]) {
            let _ = fs::remove_file(self.directory.at(name));
        }
        let _ = fs::remove_dir(&self.directory.path);
    }

    /// Removes the files of an earlier session.
    fn clear(&self) -> Result<()> {
        let path = self.directory.at("");
        for entry in fs::read_dir(&path)
            .map_err(fault(&self.directory.path))?
            .flatten()
        {
            let name = entry.file_name();
            let known = name.to_str().is_some_and(|name| {
                let name = name.strip_prefix('.').unwrap_or(name);
                FILES.contains(&name) || name.starts_with("job-")
            });
            if known {
                // A link itself, never what it leads to.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// The socket at which the keeper listens.
    pub fn listen(&self) -> Result<OwnedFd> {
        let socket = stream_of_messages(&self.name)?;
        let address = address(&self.directory, &self.name)?;
        bind(&socket, &address).map_err(|e| socket_fault(&self.name, e))?;
        listen(&socket, BACKLOG).map_err(|e| socket_fault(&self.name, e))?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(|e| socket_fault(&self.name, e))?;
        Ok(socket)
    }

    /// Makes an empty file of the session, to append to.
    pub fn create(&self, name: &str) -> Result<File> {
        let mut options = File::options();
        let options = options.append(true).create_new(true).mode(0o600);
        let made = options.open(self.directory.at(name));
        made.map_err(fault(&self.directory.path.join(name)))
    }

    /// Removes the socket: nobody can connect any more.
    pub fn close(&self) {
        let _ = fs::remove_file(self.directory.at("socket"));
    }
}

/// Whether the process at the other end is the user's own, and in no jail. An error if no descriptor is left to look.
pub fn is_own(socket: &OwnedFd) -> std::result::Result<bool, Errno> {
    Ok(matches!(peer::of(socket.as_fd())?, Peer::Own | Peer::Root))
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
