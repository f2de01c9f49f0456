//! Walks a path of the host name by name, as far as no jail can turn it: each directory is opened, and what is opened
//! is what counts. A path that is looked at and opened later could be exchanged in between.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Stat};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};

use super::error::OutletFault;
use creel_sys::Errno;

/// Links that are followed, at most: the kernel's number (path_resolution(7)).
pub(crate) const MOST_LINKS: usize = 40;

/// The writers of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The jail cannot write there: an existing file is the caller's or the host's.
    Callers,
    /// It is the root of a tree that the jail writes: a jail may have made an existing file, but it cannot move the
    /// directory.
    Jails,
}

/// A directory, opened.
pub struct Directory {
    pub fd: OwnedFd,
    pub place: Place,
}

/// Opens a directory, through links of the host, but through nothing that the jail could exchange: a path that goes on
/// within one of the `written` trees is `Turned` or `Movable`.
pub fn directory(path: &Path, written: &[PathBuf]) -> Result<Directory, OutletFault> {
    let roots: Vec<(u64, u64)> = written.iter().filter_map(|tree| node(tree)).collect();
    let is_root = |stat: &Stat| roots.contains(&(stat.st_dev, stat.st_ino));
    let absolute = std::path::absolute(path)?;
    let (mut here, mut named) = (open(CWD, Path::new("/"))?, PathBuf::from("/"));
    // The last one comes next.
    let mut rest: Vec<OsString> = names(&absolute);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let within = is_root(&fstat(&here).map_err(fault)?);
        if name == ".." {
            here = open(here.as_fd(), Path::new(".."))?;
            named.pop();
            continue;
        }
        let there = statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(fault)?;
        let link = FileType::from_raw_mode(there.st_mode) == FileType::Symlink;
        match (within, link) {
            (true, true) => return Err(OutletFault::Turned(named.join(&name))),
            (true, false) => return Err(OutletFault::Movable),
            (false, true) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(fault(Errno::LOOP));
                }
                let target = readlinkat(&here, &name, vec![]).map_err(fault)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    (here, named) = (open(CWD, Path::new("/"))?, PathBuf::from("/"));
                }
                rest.extend(names(&target));
            }
            (false, false) => {
                here = open(here.as_fd(), Path::new(&name))?;
                named.push(&name);
            }
        }
    }
    let place = match is_root(&fstat(&here).map_err(fault)?) {
        true => Place::Jails,
        false => Place::Callers,
    };
    Ok(Directory { fd: here, place })
}

/// Whether both are one directory.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let node = |fd| fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
    node(one).is_some() && node(one) == node(other)
}

fn open(from: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, OutletFault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(from, name, flags, Mode::empty()).map_err(fault)
}

fn fault(errno: Errno) -> OutletFault {
    OutletFault::Io(errno.into())
}

fn node(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The names of a path, the first one last.
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_ends_where_a_jail_can_write() {
        let top = tempfile::tempdir().expect("a directory");
        let at = |name: &str| top.path().join(name);
        for name in ["tree/inner", "beside/deep"] {
            fs::create_dir_all(at(name)).expect("mkdir");
        }
        symlink(at("beside"), at("tree/planted")).expect("a link");
        symlink("beside/deep", at("own")).expect("a link");
        symlink(at("loop"), at("loop")).expect("a link");
        let written = [at("tree")];
        let of = |name: &str| directory(&at(name), &written).map(|found| found.place);
        assert!(matches!(of("tree"), Ok(Place::Jails)));
        assert!(matches!(of("beside"), Ok(Place::Callers)));
        assert!(matches!(of("own"), Ok(Place::Callers)));
        // The host's `..` of a tree's root is out of the jail's reach.
        assert!(matches!(of("tree/../beside"), Ok(Place::Callers)));
        assert!(matches!(of("tree/inner"), Err(OutletFault::Movable)));
        let Err(OutletFault::Turned(link)) = of("tree/planted") else {
            panic!("a planted link");
        };
        assert!(link.ends_with("tree/planted"), "{link:?}");
        assert!(matches!(
            of("tree/planted/deep"),
            Err(OutletFault::Turned(_))
        ));
        assert!(matches!(of("loop"), Err(OutletFault::Io(_))));
        assert!(matches!(of("absent/x"), Err(OutletFault::Io(_))));
        let opened = directory(&at("own"), &written).map(|found| found.fd);
        let other = directory(&at("beside/deep"), &[]).map(|found| found.fd);
        let (Ok(opened), Ok(other)) = (opened, other) else {
            panic!("both are there");
        };
        assert!(is_same(opened.as_fd(), other.as_fd()));
    }
}
