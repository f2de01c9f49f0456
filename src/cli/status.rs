//! `--status-fd N` and `--status-file PATH`: the destinations of the verdict.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{self as rx, AtFlags, CWD, FileType, Mode, OFlags};

use super::failure::Failure;
use super::hint;
use creel_session::execute::outlets::Place;
use creel_sys::{Errno, fd};

/// The destinations of the verdict, opened before the jail is created so that an unusable one fails early.
#[derive(Default)]
pub struct Status {
    fd: Option<OwnedFd>,
    file: Option<Unnamed>,
}

/// The descriptor with this number, which must be open for writing.
fn written(number: i32) -> Result<OwnedFd, Failure> {
    let fd = fd::adopt(number).map_err(|_| {
        Failure::new(format!(
            "--status-fd {number} is not an open descriptor; open it, for example with {number}>FILE"
        ))
    })?;
    match rx::fcntl_getfl(&fd).map_err(io::Error::from)? & OFlags::RWMODE {
        OFlags::RDONLY => Err(Failure::new(format!(
            "--status-fd {number} is open for reading only; open it for writing, for example with {number}>FILE"
        ))),
        _ => Ok(fd),
    }
}

/// A file that gets its name when it is complete: a killed creel leaves no partial file.
struct Unnamed {
    file: File,
    directory: OwnedFd,
    name: PathBuf,
    path: PathBuf,
    place: Place,
    /// The name was a symbolic link at the start.
    link: bool,
}

impl Status {
    pub fn open(number: Option<i32>, path: Option<&Path>) -> Result<Status, Failure> {
        let fd = number.map(written).transpose()?;
        let file = path.map(Unnamed::open).transpose()?;
        Ok(Status { fd, file })
    }

    /// Sets whether jails can write at the file's place, which needs the plan. Refuses to replace a symbolic link
    /// that no jail can have left.
    pub fn settle(&mut self, place: Place) -> Result<(), Failure> {
        match &mut self.file {
            Some(file) if file.link && place == Place::Callers => Err(unreplaced(
                &file.path,
                "a link",
                "name its target, or remove it",
            )),
            Some(file) => {
                file.place = place;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The opened directory of the file.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.directory.as_fd())
    }

    /// Drops the file: no verdict is written to it.
    pub fn leave_file(&mut self) {
        self.file = None;
    }

    /// Writes the verdict to both destinations. If nobody reads the descriptor within `patience`, that is a message
    /// and not a failure: a command's exit status does not depend on its reader.
    pub fn write(self, json: &str, patience: Duration) -> Result<(), Failure> {
        if let Some(fd) = self.fd {
            match hint::deliver(fd.as_fd(), json.as_bytes(), patience) {
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                    hint::say("the verdict was not delivered: no process reads --status-fd");
                }
                written => written.map_err(|e| {
                    Failure::new(format!(
                        "the verdict could not be written to --status-fd: {e}"
                    ))
                })?,
            }
        }
        // Without a plan a link is not known to come from a jail, so it stays.
        if let Some(file) = self
            .file
            .filter(|file| !file.link || file.place == Place::Jails)
        {
            let path = file.path.display().to_string();
            file.finish(json).map_err(|e| {
                Failure::new(format!("the verdict could not be written to {path}: {e}"))
            })?;
        }
        Ok(())
    }
}

impl Unnamed {
    fn open(path: &Path) -> Result<Unnamed, Failure> {
        let fault = |e: Errno| {
            let remedy = match e {
                Errno::FBIG => "raise `ulimit -f`",
                Errno::NOSPC | Errno::DQUOT => "make room on the disk, or name a file elsewhere",
                _ => "name a file in a writable directory",
            };
            Failure::new(format!("--status-file {}: {e}; {remedy}", path.display()))
        };
        let name = path.file_name().ok_or_else(|| fault(Errno::ISDIR))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if rx::stat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_dir()) {
            return Err(fault(Errno::ISDIR));
        }
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let directory = rx::openat(CWD, parent, flags, Mode::empty()).map_err(fault)?;
        let mut link = false;
        match rx::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => match kind(&there) {
                FileType::RegularFile => {}
                FileType::Symlink => link = true,
                FileType::Fifo => return Err(unreplaced(path, "a pipe", OPENED)),
                FileType::CharacterDevice | FileType::BlockDevice => {
                    return Err(unreplaced(path, "a device", OPENED));
                }
                _ => {
                    let remedy = "connect to it, and pass it with --status-fd";
                    return Err(unreplaced(path, "a socket", remedy));
                }
            },
            Err(Errno::NOENT) => {}
            Err(e) => return Err(fault(e)),
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rx::openat(&directory, ".", flags, Mode::RUSR | Mode::WUSR).map_err(fault)?;
        // Reserves space for the verdict now, when a full disk can still fail the run.
        match rx::fallocate(&file, rx::FallocateFlags::empty(), 0, 16 << 10) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(fault(e)),
        }
        Ok(Unnamed {
            file: file.into(),
            directory,
            name: name.into(),
            path: path.into(),
            place: Place::Callers,
            link,
        })
    }

    fn finish(mut self, json: &str) -> io::Result<()> {
        self.file.write_all(json.as_bytes())?;
        self.file.set_len(json.len() as u64)?;
        let link = || {
            // /proc/self/fd with AT_SYMLINK_FOLLOW needs no capability (open(2), O_TMPFILE).
            use std::os::fd::AsRawFd;
            let from = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
            rx::linkat(
                CWD,
                from,
                &self.directory,
                &self.name,
                AtFlags::SYMLINK_FOLLOW,
            )
        };
        match link() {
            Err(Errno::EXIST) => {
                let there = rx::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
                if self.place == Place::Callers && kind(&there) != FileType::RegularFile {
                    return Err(io::Error::other("it is no longer a regular file"));
                }
                rx::unlinkat(&self.directory, &self.name, AtFlags::empty())?;
                Ok(link()?)
            }
            done => Ok(done?),
        }
    }
}

const OPENED: &str = "open it with the shell, for example --status-fd 3 3>PATH";

/// Refusal to replace a file that is not regular: its users would lose it.
fn unreplaced(path: &Path, what: &str, remedy: &str) -> Failure {
    let path = path.display();
    Failure::new(format!(
        "--status-file {path}: it is {what}, which the verdict does not replace; {remedy}"
    ))
}

fn kind(stat: &rx::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
