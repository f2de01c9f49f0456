//! Placeholders keep a name from being created, since the kernel has no entry for "absent".
//!
//! A socket inode (mknod(2)) serves for most names, which are links of one: git adds none to its index, and
//! status, add, clean and stash skip it; removing one costs a tenth of removing a directory. A directory
//! serves for names that programs look into, because below a socket the kernel answers ENOTDIR where they
//! expect ENOENT. It also serves where a reader would complain about a file that it cannot open, and where the filesystem has no
//! sockets. If the presence of the name means something to a reader, the placeholder is a file whose content
//! means the same as no file, made without a name (`O_TMPFILE`, open(2)) and then linked. A mark tells each
//! from other files: a socket and a directory have, from their creation, a mode that is not used otherwise; a
//! file has its time and every byte of its content, because git, hence creel, reads any other content.
//!
//! A process that may rename in the directory can put another inode under the name at any moment, and this
//! process may be root. So an inode that was opened by its name gets no mode, owner or time before it is
//! identified as made here; one that does not match is not a placeholder.
//!
//! Host programs may use a directory meanwhile, such as an editor that writes its settings: a directory that
//! is not empty is theirs, and stays.
//!
//! Several runs may need one name: [`name_locks`](super::name_locks) tells who removes it.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as rx, AtFlags, Mode, OFlags};

pub use super::mark::marked;
use super::mark::{MARK, MODE, MOST};
use super::{Errno, Result, fd, procfs};

const DIRECTORY_MODE: u32 = 0o1755;
/// The bit of a directory's mode that alone marks it.
const STICKY: Mode = Mode::SVTX;
/// Attempts against another run that makes or removes the name at the same time.
const MOST_TURNS: usize = 1000;

/// The inode that stands for an absent name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A socket: the name can be neither opened nor entered.
    Socket,
    /// An empty directory.
    Directory,
    /// A file with this content, of two bytes at most.
    File(&'static str),
}

/// Whether a pinned file, socket or directory is a placeholder: a directory that is not empty is not, nor is
/// a file with other content than `says`.
pub fn stands(place: BorrowedFd<'_>, says: &str) -> bool {
    looked_into(place, says).unwrap_or(false)
}

/// As [`stands`], with the error if that cannot be determined.
fn looked_into(place: BorrowedFd<'_>, says: &str) -> Result<bool> {
    let stat = rx::fstat(place)?;
    if !marked(&stat) {
        return Ok(false);
    }
    match rx::FileType::from_raw_mode(stat.st_mode) {
        rx::FileType::Directory => is_empty(place),
        rx::FileType::RegularFile => {
            // With room for one byte more: a file that has grown says something else.
            let mut text = [0; MOST + 1];
            let length = rustix::io::read(fd::reopen(place)?, &mut text)?;
            Ok(text.get(..length) == Some(says.as_bytes()))
        }
        _ => Ok(true),
    }
}

fn is_empty(place: BorrowedFd<'_>) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rx::openat(place, c".", flags, Mode::empty())?;
    let own = |entry: rx::DirEntry| matches!(entry.file_name().to_bytes(), b"." | b"..");
    Ok(rx::Dir::read_from(directory)?.all(|entry| entry.is_ok_and(own)))
}

/// Opens a pinned directory, so that it can be locked. One that the caller may not read stays without locks.
pub fn open_directory(pinned: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rx::openat(pinned, c".", flags, Mode::empty()) {
        Err(Errno::ACCESS) => rustix::io::fcntl_dupfd_cloexec(pinned, 0),
        other => other,
    }
}

/// The socket of a directory's first name, of which further names become links: a link costs a fifth of an
/// inode, and on ext4 without a journal an inode takes long where many were removed a moment ago.
#[derive(Default)]
pub struct Twin(Option<(OwnedFd, OwnedFd)>);

impl Twin {
    /// Remembers the socket that this process made under `name`.
    fn remember(&mut self, directory: BorrowedFd<'_>, name: &CStr) {
        let pinned = || {
            let place = look(directory, name)?;
            let stat = rx::fstat(&place)?;
            let is_socket = rx::FileType::from_raw_mode(stat.st_mode) == rx::FileType::Socket;
            let table = procfs::open("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
            Ok::<_, Errno>((is_socket && marked(&stat)).then_some((place, table)))
        };
        self.0 = pinned().ok().flatten();
    }

    /// Gives the socket another name. An error but `EEXIST` leaves it to the caller to make one.
    fn link(&self, directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let (place, table) = self.0.as_ref().ok_or(Errno::NOENT)?;
        link(table, place, directory, name)
    }
}

/// Makes the placeholder `name` in `directory`, or shares an existing one; returns its inode number. `EEXIST`
/// if something else has the name. `says`: the content of a placeholder file of that name, made by this run
/// or another. `twin`: of this directory. The caller has said that it [needs](super::name_locks::need) the
/// name, and its umask must not remove anything.
pub fn hold(
    directory: BorrowedFd<'_>,
    name: &CStr,
    form: Form,
    says: &str,
    twin: &mut Twin,
) -> Result<u64> {
    for _ in 0..MOST_TURNS {
        let made = match make(directory, name, form, twin) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        match identified(directory, name, made, says) {
            // Another run has already removed it.
            Err(Errno::NOENT) => {}
            // This process lacks descriptors or memory; the name is not the cause.
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(errno),
            Ok((true, inode)) => return Ok(inode),
            _ => return Err(Errno::EXIST),
        }
    }
    Err(Errno::EXIST)
}

/// Whether a placeholder has the name, and its inode number. `made`: by this process, an instant ago.
fn identified(
    directory: BorrowedFd<'_>,
    name: &CStr,
    made: bool,
    says: &str,
) -> Result<(bool, u64)> {
    let stat = rx::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = rx::FileType::from_raw_mode(stat.st_mode);
    // A socket has no content, and a new directory none yet.
    if marked(&stat) && (kind == rx::FileType::Socket || made && kind == rx::FileType::Directory) {
        return Ok((true, stat.st_ino));
    }
    let place = look(directory, name)?;
    let stands = looked_into(place.as_fd(), says)?;
    Ok((stands, rx::fstat(&place)?.st_ino))
}

fn make(directory: BorrowedFd<'_>, name: &CStr, form: Form, twin: &mut Twin) -> Result<()> {
    let socket = rx::FileType::Socket;
    match form {
        Form::Socket => match twin.link(directory, name) {
            linked @ (Ok(()) | Err(Errno::EXIST)) => linked,
            Err(_) => match rx::mknodat(directory, name, socket, Mode::empty(), 0) {
                // Such as NFS without support, or a filesystem of another system.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    make(directory, name, Form::Directory, twin)
                }
                made => {
                    if made.is_ok() {
                        twin.remember(directory, name);
                    }
                    made
                }
            },
        },
        Form::Directory => {
            rx::mkdirat(directory, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
            settle(directory, name)
        }
        Form::File(says) => {
            let table = procfs::open("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
            link(&table, &nameless(directory, says)?, directory, name)
        }
    }
}

/// Removes `name`, which no other run [needs](super::name_locks::Removal::of). `EEXIST` if the name is not a
/// placeholder's. `inode`: what [`hold`] returned; it identifies a socket or a directory even if its mode was
/// changed since (`chmod -R`). A directory that the host has put something in stays, without the mark.
/// `says`: as for [`hold`].
///
/// Returns the last descriptor of a removed directory: when that is closed the filesystem frees the directory,
/// which takes longer than all else, up to a write to the disk.
pub fn remove(
    directory: BorrowedFd<'_>,
    name: &CStr,
    inode: u64,
    says: &str,
) -> Result<Option<OwnedFd>> {
    let stat = rx::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = rx::FileType::from_raw_mode(stat.st_mode);
    let made_here = stat.st_ino == inode;
    let is_one = match kind {
        rx::FileType::RegularFile => {
            // A directory may have the name by now, whose removal below would remove what comes next.
            let place = look(directory, name)?;
            let now = rx::FileType::from_raw_mode(rx::fstat(&place)?.st_mode);
            now == kind && stands(place.as_fd(), says)
        }
        rx::FileType::Socket | rx::FileType::Directory => made_here || marked(&stat),
        _ => false,
    };
    if !is_one {
        return Err(Errno::EXIST);
    }
    if kind != rx::FileType::Directory {
        return rx::unlinkat(directory, name, AtFlags::empty()).map(|()| None);
    }
    let last = look(directory, name)?;
    match rx::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if made_here => {
            unmark(directory, name, inode)?;
            Err(Errno::EXIST)
        }
        other => other.map(|()| Some(last)),
    }
}

/// Removes the mark from a directory, if it is the one that was held and this process owns it.
fn unmark(directory: BorrowedFd<'_>, name: &CStr, inode: u64) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rx::openat(directory, name, flags, Mode::empty())?;
    let (stat, above) = (rx::fstat(&place)?, rx::fstat(directory)?);
    let held = (stat.st_dev, stat.st_ino) == (above.st_dev, inode);
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if !held || !own || !marked(&stat) {
        return Ok(());
    }
    rx::fchmod(&place, Mode::from_raw_mode(stat.st_mode & 0o7777) - STICKY)
}

/// Runs `act` while a directory's owner may write to it, then restores its mode.
pub fn opened(directory: BorrowedFd<'_>, act: impl FnOnce()) -> Result<()> {
    let mode = Mode::from_raw_mode(rx::fstat(directory)?.st_mode & 0o7777);
    rx::fchmod(directory, mode | Mode::WUSR | Mode::XUSR)?;
    act();
    rx::fchmod(directory, mode)
}

fn look(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rx::openat(directory, name, flags, Mode::empty())
}

/// Checks that a new directory has the mark. If the filesystem has no such mode, the directory could not be
/// told from others and is removed. Another inode may have the name by now, so it is only looked at.
fn settle(directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let is_directory = |stat: &rx::Stat| rx::FileType::from_raw_mode(stat.st_mode).is_dir();
    match rx::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_directory(&stat) && !marked(&stat) => {
            let _ = rx::unlinkat(directory, name, AtFlags::REMOVEDIR);
            Err(Errno::OPNOTSUPP)
        }
        // It is marked, or gone or replaced, which the caller sees.
        _ => Ok(()),
    }
}

fn nameless(directory: BorrowedFd<'_>, says: &str) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rx::openat(directory, c".", flags, Mode::from_raw_mode(MODE))?;
    if !says.is_empty() {
        rustix::io::write(&file, says.as_bytes())?;
    }
    // It has no name yet. A directory's default ACL (acl(5)) could have removed bits.
    rx::fchmod(&file, Mode::from_raw_mode(MODE))?;
    let time = rx::Timespec {
        tv_sec: MARK,
        tv_nsec: 0,
    };
    let times = rx::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rx::futimens(&file, &times)?;
    Ok(file)
}

/// `table`: `/proc/self/fd`.
fn link(table: &OwnedFd, file: &OwnedFd, directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let number = file.as_raw_fd().to_string();
    rx::linkat(table, number, directory, name, AtFlags::SYMLINK_FOLLOW)
}
