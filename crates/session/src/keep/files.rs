//! Files in a session, for tools that have no program of their own in it. A child of pid 1 acts with the jail's rights
//! and follows links in the jail's view; an opened file is handed to the client, which reads and writes it.
//!
//! The file is the jail's to choose, so the client takes regular files and directories alone, and none of a
//! filesystem that is an interface of the kernel's: a write to such a file may act with the rights of whoever writes.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::client::Client;
use super::error::SessionError;
use super::serve::Connection;
use super::session::Keeper;
use super::wire::{Ask, FileWord, Tell};
use crate::jail::Said;
use creel_jail::protocol::{FileAct, Request};
use creel_sys::Errno;
use creel_sys::handed::{self, Parts};

/// How long the first process has for one act.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one act of a client.
pub(super) async fn serve(
    keeper: &Keeper,
    client: &Connection,
    word: FileWord,
    paths: &[Vec<u8>],
    how: (u32, u32),
) {
    match act(keeper, word, paths, how).await {
        Ok((errno, file)) => {
            let answer = Tell::FileDone {
                errno: errno.map(Errno::raw_os_error),
            };
            let file: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
            client.hand(&answer, &file);
        }
        Err(error) => client.refuse(keeper, &error),
    }
}

async fn act(
    keeper: &Keeper,
    word: FileWord,
    paths: &[Vec<u8>],
    (flags, mode): (u32, u32),
) -> Result<(Option<Errno>, Option<OwnedFd>), SessionError> {
    let first = |source| SessionError::First { source };
    let text = |bytes: &Vec<u8>| CString::new(bytes.clone()).map_err(|_| first(Errno::INVAL));
    let number = keeper.number()?;
    let act = match word {
        FileWord::Open => FileAct::Open,
        FileWord::MakeDirectory => FileAct::MakeDirectory,
        FileWord::Rename => FileAct::Rename,
        FileWord::Unlink => FileAct::Unlink,
        FileWord::RemoveDirectory => FileAct::RemoveDirectory,
    };
    let parts = Parts {
        candidates: paths.iter().map(text).collect::<Result<_, _>>()?,
        workdir: text(&keeper.plan.command.workdir.as_os_str().as_bytes().to_vec())?,
        limits: vec![[act as u64, flags.into(), mode.into()]],
        ..Parts::default()
    };
    let handed = handed::hand(&parts).map_err(first)?;
    let mail = keeper.jail.mail_of(number);
    let request = Request::File { command: number };
    let asked = keeper.jail.live.request(request, &[handed.as_fd()]);
    let answered = async {
        loop {
            mail.came().await;
            for said in mail.take() {
                if let Said::FileDone(errno, file) = said {
                    return (errno, file);
                }
            }
        }
    };
    let done = match asked {
        Err(errno) => Err(first(errno)),
        Ok(()) => tokio::select! {
            done = answered => Ok(done),
            () = keeper.end_of_jail() => Err(SessionError::Ending),
            () = tokio::time::sleep(PATIENCE) => {
                // It would act later, without an owner.
                keeper.end("its first process did not answer", None);
                Err(first(Errno::TIMEDOUT))
            }
        },
    };
    keeper.jail.forget(number);
    done
}

/// Why an act on a file failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The session cannot be asked.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The jail's kernel refused it.
    #[error("{}: {source}", path.display())]
    Act {
        /// As it was named.
        path: PathBuf,
        /// The error of the call.
        source: io::Error,
    },
    /// It is no regular file, or belongs to an interface of the kernel's.
    #[error("{}: {what}; only regular files and directories can be used this way", path.display())]
    Kind {
        /// As it was named.
        path: PathBuf,
        /// Its kind, as a part of the sentence.
        what: &'static str,
    },
}

creel_policy::codes!(FileError {
    Self::Act { .. } => "file-act",
    Self::Kind { .. } => "file-kind",
} else {
    Self::Session(error) => error.code(),
});

type Done<T> = Result<T, FileError>;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without a directory.
    pub name: OsString,
    /// Its kind and size; a link is not followed.
    pub stat: Stat,
}

/// Kind, size and times of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `file`, `directory`, `link` or `other`.
    pub kind: &'static str,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: i64,
    /// The device and the inode.
    pub node: (u64, u64),
}

impl Stat {
    fn of(stat: &rustix::fs::Stat) -> Stat {
        Stat {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => "file",
                FileType::Directory => "directory",
                FileType::Symlink => "link",
                _ => "other",
            },
            size: stat.st_size.cast_unsigned(),
            mode: stat.st_mode & 0o7777,
            modified: stat.st_mtime,
            node: (stat.st_dev, stat.st_ino),
        }
    }
}

impl Stat {
    /// Whether creel itself has put this entry into the directory `above`, as the placeholder of an absent name. `own`:
    /// [`Files::own_device`].
    pub fn is_placed(&self, own: u64, above: &Stat) -> bool {
        self.node.0 == own && above.node.0 != own
    }
}

/// Acts on files of one session.
pub struct Files(pub Client);

impl Files {
    fn act(&self, act: FileWord, paths: &[&Path], how: (OFlags, u32)) -> Done<Option<OwnedFd>> {
        let bytes = |path: &&Path| path.as_os_str().as_bytes().to_vec();
        let ask = Ask::File {
            act,
            paths: paths.iter().map(bytes).collect(),
            flags: how.0.bits(),
            mode: how.1,
        };
        let (tell, mut fds) = self.0.ask_for(&ask)?;
        match tell {
            Tell::FileDone { errno: None } => Ok(fds[0].take()),
            Tell::FileDone { errno: Some(errno) } => Err(FileError::Act {
                path: paths.first().map_or_else(PathBuf::new, |path| path.into()),
                source: io::Error::from_raw_os_error(errno),
            }),
            _ => Err(self.0.silent().into()),
        }
    }

    fn open(&self, path: &Path, flags: OFlags, mode: u32, wanted: FileType) -> Done<File> {
        let file = self.act(FileWord::Open, &[path], (flags, mode))?;
        let file = file.ok_or_else(|| self.0.silent())?;
        let of_kind = |what| FileError::Kind {
            path: path.into(),
            what,
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| self.fault(path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != wanted {
            return Err(of_kind(match wanted {
                FileType::Directory => "it is no directory",
                _ => "it is no regular file",
            }));
        }
        let kind = rustix::fs::fstatfs(&file)
            .map_err(|e| self.fault(path, e))?
            .f_type;
        if KERNELS.contains(&(kind as u64)) && wanted != FileType::Directory {
            return Err(of_kind("it is an interface of the kernel"));
        }
        // Only the jail's open had to wait for nothing.
        rustix::io::ioctl_fionbio(&file, false).map_err(|e| self.fault(path, e))?;
        Ok(File::from(file))
    }

    fn fault(&self, path: &Path, errno: Errno) -> FileError {
        FileError::Act {
            path: path.into(),
            source: errno.into(),
        }
    }

    /// Opens a regular file to read it.
    pub fn read(&self, path: &Path) -> Done<File> {
        self.open(path, OFlags::RDONLY, 0, FileType::RegularFile)
    }

    /// Opens a regular file to write it. `flags` beside `O_WRONLY`: `O_CREAT`, `O_TRUNC`, `O_EXCL`, `O_APPEND`. Set-id
    /// bits are taken away, as a write by the jail would do; a write by root does not (inode(7)).
    pub fn write(&self, path: &Path, flags: OFlags, mode: u32) -> Done<File> {
        let file = self.open(path, OFlags::WRONLY | flags, mode, FileType::RegularFile)?;
        let fault = |errno| self.fault(path, errno);
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&file).map_err(fault)?.st_mode);
        let bits = Mode::SUID | Mode::SGID;
        if mode.intersects(bits) {
            rustix::fs::fchmod(&file, mode - bits).map_err(fault)?;
        }
        Ok(file)
    }

    /// Makes a regular file, or gives it other contents in its place. The room for `size` bytes is reserved before the
    /// first is written, so that a full disk leaves the old contents; contents may be longer.
    pub fn replace(
        &self,
        path: &Path,
        mode: u32,
        (contents, size): (&mut dyn Read, u64),
    ) -> Done<()> {
        let mut file = self.write(path, OFlags::CREATE, mode)?;
        let fault = |errno| self.fault(path, errno);
        let of_io = |e: io::Error| fault(Errno::from_io_error(&e).unwrap_or(Errno::IO));
        let before = file.metadata().map_err(of_io)?.len();
        let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
        match size {
            0 => {}
            size => match rustix::fs::fallocate(&file, keep, 0, size) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(errno) => {
                    // Gives back what was reserved so far.
                    let _ = file.set_len(before);
                    return Err(fault(errno));
                }
            },
        }
        let length = io::copy(contents, &mut file).map_err(of_io)?;
        file.set_len(length).map_err(of_io)
    }

    /// The entries of a directory, by name.
    pub fn list(&self, path: &Path) -> Done<Vec<Entry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.open(path, flags, 0, FileType::Directory)?;
        let fault = |errno| self.fault(path, errno);
        let mut all = vec![];
        for entry in rustix::fs::Dir::read_from(&directory).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name().to_owned();
            if [c".", c".."].contains(&name.as_c_str()) {
                continue;
            }
            // It may have been removed meanwhile.
            if let Ok(stat) = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                all.push(Entry {
                    name: OsString::from_vec(name.into_bytes()),
                    stat: Stat::of(&stat),
                });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The device of what creel itself put into the jail: the placeholders of absent names in a workspace are on it.
    pub fn own_device(&self) -> Done<u64> {
        self.stat(Path::new("/")).map(|stat| stat.node.0)
    }

    /// Looks at a name. The last link is not followed.
    pub fn stat(&self, path: &Path) -> Done<Stat> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let pinned = self.act(FileWord::Open, &[path], (flags, 0))?;
        let pinned = pinned.ok_or_else(|| self.0.silent())?;
        let stat = rustix::fs::fstat(&pinned).map_err(|e| self.fault(path, e))?;
        Ok(Stat::of(&stat))
    }

    /// Makes a directory.
    pub fn make_directory(&self, path: &Path, mode: u32) -> Done<()> {
        let how = (OFlags::empty(), mode);
        self.act(FileWord::MakeDirectory, &[path], how).map(drop)
    }

    /// Renames a file or a directory.
    pub fn rename(&self, from: &Path, to: &Path) -> Done<()> {
        let how = (OFlags::empty(), 0);
        self.act(FileWord::Rename, &[from, to], how).map(drop)
    }

    /// Removes a file, a link or an empty directory.
    pub fn remove(&self, path: &Path) -> Done<()> {
        let how = (OFlags::empty(), 0);
        match self.act(FileWord::Unlink, &[path], how) {
            Err(FileError::Act { source, .. })
                if source.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) =>
            {
                self.act(FileWord::RemoveDirectory, &[path], how).map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Removes a directory with all that is in it.
    pub fn remove_all(&self, path: &Path) -> Done<()> {
        if self.stat(path)?.kind == "directory" {
            for entry in self.list(path)? {
                self.remove_all(&path.join(&entry.name))?;
            }
        }
        self.remove(path)
    }
}

/// `f_type` of filesystems that are interfaces of the kernel's, linux/magic.h: proc, sysfs, cgroup and cgroup2.
const KERNELS: [u64; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];

/// Whether a name in a directory is plain: a copy must stay in its directory.
pub fn is_plain(name: &OsStr) -> bool {
    !name.is_empty()
        && !name.as_bytes().contains(&b'/')
        && ![".", ".."].map(OsStr::new).contains(&name)
}
