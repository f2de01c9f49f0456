//! The changes of an overlay workspace, from its upper layer alone: what overlayfs leaves there is compared with the
//! workspace, name by name.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, Stat, readlinkat};
use rustix::io::pread;

use super::error::WorkspaceError;
use super::held::{self, Why};
use super::record::Done;
use super::renames;
use super::tree::{self, Ident};
use super::upper::Changes;
use creel_sys::Errno;

/// Directories above a name, at most: the kernel's longest path has no more in practice.
const DEEPEST: usize = 512;
/// Bytes that are compared at once.
const PART: usize = 64 << 10;

/// One change.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// The change of the name.
    pub change: Change,
    /// Its kind now; for a removed name, before.
    pub kind: Kind,
    /// Permission bits now; of a removed name, before.
    pub mode: u32,
    /// Bytes now; 0 for a removed name.
    pub size: u64,
    /// Permission bits and bytes before, if the host has the name.
    pub before: Option<(u32, u64)>,
    /// The target of a link.
    pub target: Option<PathBuf>,
    /// The removed file of the host whose contents a new file has: it was renamed.
    pub from: Option<PathBuf>,
    /// Why a commit holds it back.
    pub held: Option<Why>,
    /// Whether the host changed it, too, since the session began.
    pub conflict: bool,
    pub(super) upper: Option<Ident>,
    /// When the status of the object of the upper layer changed last.
    pub(super) changed: (i64, i64),
    pub(super) host: Option<Ident>,
    /// A directory of the host is replaced or removed with everything in it.
    pub(super) whole: bool,
}

/// The change of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The host does not have it.
    Added,
    /// Other contents, or another target of a link.
    Modified,
    /// Other permission bits only.
    Mode,
    /// Another kind of file.
    Retyped,
    /// The session has removed it.
    Deleted,
}

impl Change {
    /// The letter of git-status(1).
    pub fn letter(self) -> char {
        match self {
            Change::Added => 'A',
            Change::Modified | Change::Mode => 'M',
            Change::Retyped => 'T',
            Change::Deleted => 'D',
        }
    }

    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Modified => "modified",
            Change::Mode => "mode",
            Change::Retyped => "retyped",
            Change::Deleted => "deleted",
        }
    }
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A pipe, a socket or a device, which a commit never copies.
    Special,
}

impl Kind {
    pub(super) fn of(stat: &Stat) -> Kind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        }
    }

    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Link => "link",
            Kind::Special => "special",
        }
    }
}

/// All changes that were not committed, parents first.
pub fn diff(changes: &Changes) -> Result<Vec<Entry>, WorkspaceError> {
    let upper = changes.upper()?;
    let host = changes.workspace()?;
    let done = changes.record.done();
    let mut walk = Walk {
        upper,
        host,
        done,
        started: changes.record.started,
        entries: vec![],
        waiting: vec![(PathBuf::new(), false)],
    };
    while let Some((directory, suspect)) = walk.waiting.pop() {
        let read = walk.directory(&directory, suspect);
        read.map_err(|source| WorkspaceError::Unreadable {
            name: changes.name.clone(),
            path: directory,
            source,
        })?;
    }
    let mut entries = walk.entries;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    renames::find(&mut entries, walk.upper.as_fd(), walk.host.as_fd());
    held::hold(&mut entries, changes, walk.upper.as_fd(), walk.host.as_fd());
    Ok(entries)
}

struct Walk<'a> {
    upper: OwnedFd,
    host: OwnedFd,
    done: BTreeMap<&'a Path, &'a Done>,
    started: (i64, i64),
    entries: Vec<Entry>,
    /// Directories of the upper layer, and whether the host replaced one above.
    waiting: Vec<(PathBuf, bool)>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, suspect: bool) -> Result<(), Errno> {
        if path.components().count() > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        let upper = tree::directory(self.upper.as_fd(), path)?;
        let host = match tree::directory(self.host.as_fd(), path) {
            Ok(host) => Some(host),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(errno) => return Err(errno),
        };
        let names = tree::names(&upper)?;
        for name in &names {
            let found = tree::status(upper.as_fd(), name.as_os_str())?;
            let Some(stat) = found else { continue };
            let on_host = match &host {
                Some(host) => tree::status(host.as_fd(), name.as_os_str())?,
                None => None,
            };
            self.name(
                path.join(name),
                (&upper, &stat),
                (host.as_ref(), on_host),
                suspect,
            )?;
        }
        // A directory that took the place of the host's shows nothing of that.
        let Some(host) = host.filter(|_| tree::is_opaque(upper.as_fd())) else {
            return Ok(());
        };
        // In one that a commit has made, what the host has added since is the host's.
        let made = self.done.get(path).is_some_and(|done| done.host.is_some());
        for name in tree::names(&host)? {
            let is_there = names.binary_search(&name).is_ok();
            let is_ours = !made || self.done.contains_key(path.join(&name).as_path());
            if let Some(stat) = tree::status(host.as_fd(), name.as_os_str())?
                && !is_there
                && is_ours
            {
                self.removed(path.join(name), &stat, None, suspect);
            }
        }
        Ok(())
    }

    fn name(
        &mut self,
        path: PathBuf,
        (dir, stat): (&OwnedFd, &Stat),
        (host, on_host): (Option<&OwnedFd>, Option<Stat>),
        suspect: bool,
    ) -> Result<(), Errno> {
        let ident = Ident::from(stat);
        let done = self.done.get(path.as_path()).copied();
        let is_done = done.is_some_and(|done| done.is_of(stat));
        if tree::is_whiteout(stat) {
            if let Some(on_host) = on_host.filter(|_| !is_done) {
                self.removed(path, &on_host, Some(ident), suspect);
            }
            return Ok(());
        }
        let kind = Kind::of(stat);
        let changed = on_host.as_ref().is_some_and(|host| {
            let known = done.is_some_and(|done| done.host == Some(Ident::from(host)));
            tree::changed(host) >= self.started && !known
        });
        if kind == Kind::Directory {
            // A new entry changes both times of a directory, a move of the directory only one.
            let replaced = on_host.as_ref().is_some_and(|host| {
                changed && tree::changed(host) != (host.st_mtime, host.st_mtime_nsec as i64)
            });
            // Its contents cannot be told. A held entry stands for it.
            let root = creel_sys::host::ids().0 == 0;
            if root || held::is_readable(kind, stat.st_mode) {
                self.waiting.push((path.clone(), suspect || replaced));
            } else if on_host.as_ref().is_some_and(|host| Kind::of(host) == kind) {
                self.entries.push(Entry {
                    change: Change::Mode,
                    kind,
                    mode: stat.st_mode & 0o7777,
                    size: 0,
                    before: on_host.as_ref().map(before),
                    target: None,
                    from: None,
                    held: None,
                    conflict: false,
                    upper: Some(ident),
                    changed: tree::changed(stat),
                    host: on_host.as_ref().map(Ident::from),
                    whole: false,
                    path,
                });
                return Ok(());
            }
        }
        if is_done {
            return Ok(());
        }
        let name = Path::new(path.file_name().unwrap_or_default());
        let target = match kind {
            Kind::Link => Some(link(dir, name)?),
            _ => None,
        };
        let same_kind = on_host.as_ref().is_some_and(|host| Kind::of(host) == kind);
        let bits = |stat: &Stat| stat.st_mode & 0o7777;
        let change = match (&on_host, host) {
            (Some(_), _) if !same_kind => Change::Retyped,
            (Some(on_host), Some(host)) => {
                let same = match kind {
                    Kind::Directory => true,
                    Kind::Link => link(host, name).ok() == target,
                    Kind::File => same_contents((dir, stat), (host, on_host), name)?,
                    Kind::Special => false,
                };
                match (same, kind == Kind::Link || bits(stat) == bits(on_host)) {
                    (true, true) => return Ok(()),
                    (true, false) => Change::Mode,
                    (false, _) => Change::Modified,
                }
            }
            _ => Change::Added,
        };
        self.entries.push(Entry {
            change,
            kind,
            mode: bits(stat),
            size: match kind {
                Kind::Directory => 0,
                _ => stat.st_size.cast_unsigned(),
            },
            before: on_host.as_ref().map(before),
            target,
            from: None,
            held: None,
            conflict: suspect || changed && !(kind == Kind::Directory && same_kind),
            upper: Some(ident),
            changed: tree::changed(stat),
            host: on_host.as_ref().map(Ident::from),
            whole: change == Change::Retyped
                && on_host.is_some_and(|host| Kind::of(&host) == Kind::Directory),
            path,
        });
        Ok(())
    }

    fn removed(&mut self, path: PathBuf, host: &Stat, upper: Option<Ident>, suspect: bool) {
        let kind = Kind::of(host);
        let known = self.done.get(path.as_path());
        let known = known.is_some_and(|done| done.host == Some(Ident::from(host)));
        self.entries.push(Entry {
            change: Change::Deleted,
            kind,
            mode: host.st_mode & 0o7777,
            size: 0,
            before: Some(before(host)),
            target: None,
            from: None,
            held: None,
            conflict: suspect
                || kind != Kind::Directory && !known && tree::changed(host) >= self.started,
            upper,
            changed: (0, 0),
            host: Some(Ident::from(host)),
            whole: kind == Kind::Directory,
            path,
        });
    }
}

fn before(stat: &Stat) -> (u32, u64) {
    (stat.st_mode & 0o7777, stat.st_size.cast_unsigned())
}

fn link(dir: &OwnedFd, name: &Path) -> Result<PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let target = readlinkat(dir, name, vec![])?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

/// Whether a file that overlayfs has copied up is unchanged. A size or a time that differs settles it.
fn same_contents(
    (dir, stat): (&OwnedFd, &Stat),
    (host, on_host): (&OwnedFd, &Stat),
    name: &Path,
) -> Result<bool, Errno> {
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    if stat.st_size != on_host.st_size || time(stat) != time(on_host) {
        return Ok(false);
    }
    let one = tree::open(dir.as_fd(), name, OFlags::RDONLY)?;
    let other = match tree::open(host.as_fd(), name, OFlags::RDONLY) {
        Ok(other) => other,
        Err(_) => return Ok(false),
    };
    same_bytes(one.as_fd(), other.as_fd())
}

/// Whether two files have the same contents.
pub(super) fn same_bytes(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut rooms = [vec![0; PART], vec![0; PART]];
    let mut at = 0;
    loop {
        let [left, right] = &mut rooms;
        let read = pread(one, left.as_mut_slice(), at)?;
        let same = read == pread(other, right.as_mut_slice(), at)?
            && left.get(..read) == right.get(..read);
        if !same || read == 0 {
            return Ok(same);
        }
        at += read as u64;
    }
}
