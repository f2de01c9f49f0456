//! The workspace's own repository, which must remain one: if git does not recognise `.git`, it treats the
//! workspace itself as a bare repository, with the configuration that lies there.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, fchown, fstat, openat, readlinkat,
    renameat, statat, symlinkat, unlinkat,
};

use super::list::Dir;
use super::{Done, Seen, What};
use creel_jail::repositories::is_head;
use creel_sys::{Errno, procfs};

/// The most bytes of HEAD: a ref's name is shorter.
const MOST_HEAD: u64 = 4096;
/// The most entries of a repository that are searched for links.
const MOST_ENTRIES: usize = 100_000;
/// The file types that matter.
const WANTED: [FileType; 3] = [FileType::Symlink, FileType::Fifo, FileType::Directory];
/// Directories that git must be able to enter and read.
const ENTERED: [&str; 3] = [".", "objects", "refs"];

/// A repository at the start of the run.
#[derive(Debug)]
pub(super) struct Kept {
    place: PathBuf,
    fd: OwnedFd,
    /// `None` if it was invalid.
    head: Option<Vec<u8>>,
    /// The modes of [`ENTERED`].
    modes: [Option<u32>; 3],
}

impl Kept {
    /// The repository with the git directory `place`; `None` if that cannot be opened.
    pub fn of(place: &Path) -> Option<Kept> {
        // A process that can write above it could have put a link there since the lookup.
        let fd = creel_sys::fd::pin_exact(place).ok()?;
        mode(&fd, ".")?;
        let head = head(&fd);
        let modes = ENTERED.map(|name| mode(&fd, name));
        Some(Kept {
            place: place.into(),
            fd,
            head,
            modes,
        })
    }

    /// Restores HEAD if git would not read it, and removes links and pipes that the jail made.
    pub fn mend(&self, id: &str, seen: &mut Seen) {
        // Modes first: a directory without access cannot be searched.
        for (name, was) in ENTERED.iter().zip(self.modes) {
            let (Some(was), Some(now)) = (was, mode(&self.fd, name)) else {
                continue;
            };
            if now & was & 0o555 != was & 0o555 {
                let mode = Mode::from_raw_mode(was & 0o7777);
                let done = match self.open(name, mode) {
                    Ok(()) => Done::Restored,
                    Err(_) => Done::Failed,
                };
                let path = self.place.join(name);
                seen.add(&path.components().collect::<PathBuf>(), What::Head, done);
            }
        }
        self.clear(seen);
        if head(&self.fd).is_none() {
            seen.add(&self.place.join("HEAD"), What::Head, self.restore(id));
        }
    }

    /// Sets the mode of a directory. For the repository itself the existing descriptor is used, because `.`
    /// in it cannot be opened without access.
    fn open(&self, name: &str, mode: Mode) -> Result<(), Errno> {
        // By descriptor: chmod(2) on a name follows a link that another process may put there.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = match name {
            "." => None,
            name => Some(openat(&self.fd, name, flags, Mode::empty())?),
        };
        // A process that may rename there could have put one of root's directories in its place.
        let below = below.as_ref().unwrap_or(&self.fd);
        if fstat(below)?.st_uid != fstat(&self.fd)?.st_uid {
            return Err(Errno::PERM);
        }
        let table = procfs::open("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
        let number = below.as_raw_fd().to_string();
        chmodat(table, number, mode, AtFlags::empty())
    }

    fn restore(&self, id: &str) -> Done {
        let Some(was) = &self.head else {
            return Done::Failed;
        };
        let aside = format!("HEAD.{id}");
        // Any type: a file, a directory, a pipe.
        let _ = renameat(&self.fd, "HEAD", &self.fd, aside.as_str());
        if self.write_head(was).is_ok() {
            return Done::Restored;
        }
        // On a full disk the renamed file takes up space. If its removal is not enough, a link needs no
        // space.
        let _ = unlinkat(&self.fd, "HEAD", AtFlags::empty());
        let _ = unlinkat(&self.fd, aside.as_str(), AtFlags::empty());
        if self.write_head(was).is_ok() {
            return Done::Restored;
        }
        let _ = unlinkat(&self.fd, "HEAD", AtFlags::empty());
        let name = was.strip_prefix(b"ref:").map(<[u8]>::trim_ascii);
        match name.map(|name| symlinkat(name, &self.fd, "HEAD")) {
            Some(Ok(())) => Done::Restored,
            _ => Done::Failed,
        }
    }

    fn write_head(&self, was: &[u8]) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = openat(&self.fd, "HEAD", flags | OFlags::NOFOLLOW, mode)?;
        let owner = fstat(&self.fd)?;
        // For root the repository may belong to another user; for its owner nothing changes.
        fchown(
            &file,
            Some(Uid::from_raw(owner.st_uid)),
            Some(Gid::from_raw(owner.st_gid)),
        )?;
        std::fs::File::from(file).write_all(was)
    }

    /// Removes new links and pipes. In the object store only the parts in which git writes by name are
    /// searched. Entries near the top come first, and a long directory is read in parts.
    fn clear(&self, seen: &mut Seen) {
        // Each with a flag that all in it is new: a directory that was moved here as a whole contains old
        // entries.
        let mut queue = VecDeque::from([(PathBuf::new(), false)]);
        let mut long: VecDeque<(PathBuf, Dir)> = VecDeque::new();
        let mut count = 0;
        loop {
            let over = count >= MOST_ENTRIES || seen.over();
            let (relative, dir) = if let Some((relative, moved)) = queue.pop_front() {
                let dir = Dir::open(self.fd.as_fd(), &self.place, &relative, moved);
                (relative, dir)
            } else if let Some((relative, dir)) = long.pop_front() {
                // There may be no more entries.
                if over && dir.part(|_, _| true).is_some_and(|rest| rest.is_end()) {
                    continue;
                }
                (relative, Some(dir))
            } else {
                return;
            };
            let place = self.place.join(&relative);
            if over {
                // git may find anything there.
                seen.unseen(&place);
                seen.add_once(&place, What::Link, Done::Failed);
                continue;
            }
            let listed = dir.and_then(|dir| {
                let part = dir.part(|_, kind| WANTED.contains(&kind))?;
                Some((dir, part))
            });
            let Some((dir, part)) = listed else {
                seen.unseen(&place);
                continue;
            };
            count += part.entries.len();
            for entry in part.entries {
                let below = relative.join(&entry.name);
                let new = || dir.is_new(&entry.name, seen);
                match entry.kind {
                    FileType::Symlink | FileType::Fifo if new() && !self.is_head(&below) => {
                        let done = dir.remove(&entry.name);
                        seen.add(&dir.place.join(&entry.name), What::Link, done);
                    }
                    FileType::Directory if !stores(&below) => {
                        let new = new();
                        queue.push_back((below, new));
                    }
                    _ => {}
                }
            }
            if part.more {
                long.push_back((relative, dir));
            }
        }
    }

    /// A link to a ref is a valid HEAD; early versions of git made them.
    fn is_head(&self, path: &Path) -> bool {
        path == Path::new("HEAD") && head(&self.fd).is_some()
    }
}

fn mode(git: &OwnedFd, name: &str) -> Option<u32> {
    let stat = match name {
        "." => fstat(git),
        name => statat(git, name, AtFlags::SYMLINK_NOFOLLOW),
    };
    let stat = stat.ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Directory).then_some(stat.st_mode)
}

/// `objects/ab` contains nothing that git opens to write, and such directories are many.
fn stores(path: &Path) -> bool {
    let name = path.strip_prefix("objects").ok();
    name.and_then(Path::to_str)
        .is_some_and(|name| name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The content of HEAD, if git accepts it: `ref: refs/...`, an object's name, or a link to a ref.
fn head(git: &OwnedFd) -> Option<Vec<u8>> {
    if let Ok(target) = readlinkat(git, "HEAD", vec![]) {
        let target = target.into_bytes();
        return target.starts_with(b"refs/").then(|| {
            let mut text = b"ref: ".to_vec();
            text.extend(target);
            text.push(b'\n');
            text
        });
    }
    // Opening a pipe would block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(git, "HEAD", flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    // git cannot read what the repository's owner cannot. Root could, and would write it again as the
    // owner's.
    let owner = fstat(git).ok()?;
    let readable = match stat.st_mode {
        mode if stat.st_uid == owner.st_uid => mode & 0o400,
        mode if stat.st_gid == owner.st_gid => mode & 0o040,
        mode => mode & 0o004,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || readable == 0 {
        return None;
    }
    let mut text = vec![];
    let file = std::fs::File::from(file);
    file.take(MOST_HEAD).read_to_end(&mut text).ok()?;
    is_head(&text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_one_where_git_says_so() {
        let name = "0123456789abcdef0123456789abcdef01234567";
        for (text, expected) in [
            ("ref: refs/heads/main\n", true),
            ("ref:refs/heads/main", true),
            ("ref: \t refs/x", true),
            (name, true),
            ("ref:\x0crefs/x", false),
            ("ref: heads/main", false),
            ("refs/heads/main", false),
            ("junk", false),
            ("", false),
            (&name[1..], false),
        ] {
            assert_eq!(is_head(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_stores_objects_is_left_alone() {
        assert!(stores(Path::new("objects/a0")));
        for path in [
            "objects",
            "objects/pack",
            "objects/info",
            "refs/a0",
            "objects/a0/b",
        ] {
            assert!(!stores(Path::new(path)), "{path}");
        }
    }
}
