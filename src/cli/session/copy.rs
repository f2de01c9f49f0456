//! `creel cp`: copies files into or out of a session. The session may change both trees meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat,
};

use super::files::{files, make_all};
use super::stream;
use crate::cli::failure::Failure;
use crate::cli::hint;
use creel_session::keep::files::{Files, is_plain};
use creel_sys::Errno;

/// Copy files into or out of a session
#[derive(clap::Args)]
#[command(
    after_help = "One of the two is NAME:PATH. Symbolic links and special files in a tree are left out, with a line. \
    With `-` in place of the other, a tar archive goes to stdout or is read from stdin and extracted into a directory; \
    absolute names, names with `..`, hard links and devices in it are refused."
)]
pub struct CpArgs {
    /// A file or directory, or `-`: a tar archive on stdin
    #[arg(value_name = "FROM")]
    from: PathBuf,

    /// The place of the copy, or `-`: a tar archive on stdout
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// `NAME:PATH` as a place in a session; a path with a slash before the colon is the host's.
fn place(path: &Path) -> Option<(&str, &Path)> {
    let (name, inside) = path.to_str()?.split_once(':')?;
    (!name.contains('/') && !inside.is_empty()).then(|| (name, Path::new(inside)))
}

pub fn cp(args: &CpArgs) -> Result<u8, Failure> {
    match (place(&args.from), place(&args.to)) {
        (None, Some((name, to))) if args.from == Path::new("-") => stream::read(&files(name)?, to)?,
        (Some((name, from)), None) if args.to == Path::new("-") => {
            stream::write(&files(name)?, from)?
        }
        (None, Some((name, to))) => {
            let files = files(name)?;
            let is_directory = files.stat(to).is_ok_and(|stat| stat.kind == "directory");
            let to = match args.from.file_name() {
                Some(name) if is_directory => to.join(name),
                _ => to.into(),
            };
            let (directory, name) = above(&args.from)?;
            let from = Host {
                above: &directory,
                name: &name,
                shown: args.from.clone(),
            };
            if from.is_link() {
                return Err(from.fault(Errno::LOOP));
            }
            if from.is_special() {
                return Err(refused(&args.from));
            }
            copy_in(&files, &from, &to, None)?;
        }
        (Some((name, from)), None) => {
            let files = files(name)?;
            if !matches!(files.stat(from)?.kind, "file" | "directory") {
                return Err(refused(from));
            }
            let (directory, name) = above(&args.to)?;
            let to = Host {
                above: &directory,
                name: &name,
                shown: args.to.clone(),
            };
            if to.is_link() {
                return Err(to.fault(Errno::LOOP));
            }
            let opened = to.open(OFlags::PATH | OFlags::DIRECTORY);
            match (opened, from.file_name()) {
                (Ok(directory), Some(name)) => {
                    copy_out(&files, from, &to.beneath(&directory, name), None)?
                }
                _ => copy_out(&files, from, &to, None)?,
            }
        }
        _ => {
            return Err(Failure::new(
                "one of the two paths is in a session: `creel cp FILE NAME:PATH`, or `creel cp NAME:PATH FILE`",
            ));
        }
    }
    Ok(0)
}

/// Says that a part of a tree is not copied.
pub fn left_out(path: &Path) {
    hint::say(&format!(
        "{} is no file or directory, and is left out",
        path.display()
    ));
}

/// The failure of a copy that names a link or a special file itself.
pub fn refused(path: &Path) -> Failure {
    Failure::new(format!(
        "{} is a symbolic link, a FIFO, a socket or a device; only files and directories are copied",
        path.display()
    ))
}

/// Bytes that are copied at once.
const BLOCK: usize = 64 << 10;

/// A path of the host, in a tree that the session may change while it is copied: each name is opened in the directory
/// before it, no link is followed, and what was opened is what is looked at.
struct Host<'a> {
    above: &'a OwnedFd,
    name: &'a OsStr,
    /// As messages name it.
    shown: PathBuf,
}

impl Host<'_> {
    fn open(&self, flags: OFlags) -> Result<OwnedFd, Failure> {
        // Nothing waits: a FIFO without a writer.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mode = Mode::from_raw_mode(0o755);
        openat(self.above, self.name, flags, mode).map_err(|errno| self.fault(errno))
    }

    fn fault(&self, errno: Errno) -> Failure {
        let link = match errno {
            Errno::LOOP => {
                "; a symbolic link is not followed, since the session may have made it: name the real path"
            }
            _ => "",
        };
        Failure::new(format!(
            "{} (on the host): {errno}{link}",
            self.shown.display()
        ))
    }

    fn is_link(&self) -> bool {
        let stat = statat(self.above, self.name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    fn is_special(&self) -> bool {
        let stat = statat(self.above, self.name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            !matches!(kind, FileType::RegularFile | FileType::Directory)
        })
    }

    fn beneath<'a>(&self, above: &'a OwnedFd, name: &'a OsStr) -> Host<'a> {
        Host {
            above,
            name,
            shown: self.shown.join(name),
        }
    }
}

/// Opens the directory above a path that the caller named. A link on the way could be the session's.
fn above(path: &Path) -> Result<(OwnedFd, OsString), Failure> {
    let fault = |errno: Errno| {
        let link = match errno {
            Errno::LOOP => {
                "; a symbolic link is on the way, which the session may have made: name the real path"
            }
            _ => "",
        };
        Failure::new(format!("{} (on the host): {errno}{link}", path.display()))
    };
    let parts = (path.parent(), path.file_name());
    // `.` and `/` have no name: the directory itself.
    let (parent, name) = match parts {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => (Path::new("."), name),
        (Some(parent), Some(name)) => (parent, name),
        _ => (path, OsStr::new(".")),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let how = ResolveFlags::NO_SYMLINKS;
    let directory = openat2(CWD, parent, flags, Mode::empty(), how).map_err(fault)?;
    Ok((directory, name.to_owned()))
}

/// A device and an inode.
type Node = (u64, u64);

/// A copy of a directory into itself would have no end: `into` is the directory of the copy, once it is made.
fn not_itself(from: Node, into: Node, shown: &Path) -> Result<(), Failure> {
    match from == into {
        false => Ok(()),
        true => Err(Failure::new(format!(
            "{} is the directory of the copy itself: name a place outside of what is copied",
            shown.display()
        ))),
    }
}

fn copy_in(files: &Files, from: &Host<'_>, to: &Path, into: Option<Node>) -> Result<(), Failure> {
    // A socket cannot be opened at all. What is opened is looked at again.
    if from.is_special() {
        left_out(&from.shown);
        return Ok(());
    }
    let opened = from.open(OFlags::RDONLY)?;
    let stat = fstat(&opened).map_err(|errno| from.fault(errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            make_all(files, to)?;
            let into = into.map_or_else(|| files.stat(&to.join(".")).map(|stat| stat.node), Ok)?;
            not_itself((stat.st_dev, stat.st_ino), into, &from.shown)?;
            let fault = |errno| from.fault(errno);
            for entry in rustix::fs::Dir::read_from(&opened).map_err(fault)? {
                let entry = entry.map_err(fault)?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if is_plain(name) {
                    let from = from.beneath(&opened, name);
                    copy_in(files, &from, &to.join(name), Some(into))?;
                }
            }
        }
        FileType::RegularFile => {
            let size = stat.st_size.cast_unsigned();
            files.replace(to, stat.st_mode & 0o777, (&mut File::from(opened), size))?;
        }
        _ => left_out(&from.shown),
    }
    Ok(())
}

/// Copies a file, and leaves out blocks of zeros: a session's file may have holes of any size, and must not take up more
/// room here than there.
fn copy_with_holes(from: &mut File, to: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let read = from.read(&mut buffer)?;
        let block = buffer.get(..read).unwrap_or_default();
        if block.is_empty() {
            return to.set_len(length);
        }
        if block.iter().any(|byte| *byte != 0) {
            to.write_all_at(block, length)?;
        }
        length += read as u64;
    }
}

/// `scope`: the directory of the copy and creel's own device, once they are known.
fn copy_out(
    files: &Files,
    from: &Path,
    to: &Host<'_>,
    scope: Option<(Node, u64)>,
) -> Result<(), Failure> {
    let stat = files.stat(from)?;
    match stat.kind {
        "directory" => {
            match rustix::fs::mkdirat(to.above, to.name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(to.fault(errno)),
            }
            let directory = to.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            let (into, own) = match scope {
                Some(scope) => scope,
                None => {
                    let made = fstat(&directory).map_err(|errno| to.fault(errno))?;
                    ((made.st_dev, made.st_ino), files.own_device()?)
                }
            };
            not_itself(stat.node, into, from)?;
            for entry in files
                .list(from)?
                .iter()
                .filter(|entry| is_plain(&entry.name) && !entry.stat.is_placed(own, &stat))
            {
                let to = to.beneath(&directory, &entry.name);
                copy_out(files, &from.join(&entry.name), &to, Some((into, own)))?;
            }
        }
        "file" => {
            let mut file = files.read(from)?;
            // A new file in place of what has the name: a link or a FIFO may stand there.
            match rustix::fs::unlinkat(to.above, to.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(to.fault(errno)),
            }
            let copy = to.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
            rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.mode & 0o777))
                .map_err(|errno| to.fault(errno))?;
            copy_with_holes(&mut file, &mut File::from(copy))?;
        }
        _ => left_out(from),
    }
    Ok(())
}
