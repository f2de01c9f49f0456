//! The absent names that a run keeps from being created: a placeholder occupies each until the jail has
//! ended.

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::JailError;
use super::pins::Pins;
use creel_plan::{Act, Plan};
use creel_policy::protected_defaults::{self, StandIn};
use creel_sys::name_locks::{self, Removal};
use creel_sys::placeholder::{self, Form, Twin};
use creel_sys::{self as sys, Errno, fd};

/// Placeholders by directory, in the order of the plan.
#[derive(Default)]
pub struct Names {
    directories: Vec<Directory>,
}

struct Directory {
    /// In the jail.
    path: PathBuf,
    /// On the host.
    host: PathBuf,
    /// On the host's mount, and open for reading; the locks are on it.
    fd: OwnedFd,
    names: Vec<Name>,
}

struct Name {
    name: CString,
    form: Form,
    /// The contents of a placeholder file.
    says: &'static str,
    need: Need,
    /// The placeholder's inode number, in the process that made it; 0 if unknown.
    inode: Cell<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It is absent.
    Now,
    /// It exists, and may be removed while the jail runs.
    Later,
}

impl Names {
    /// The names of a plan, with the directories in which they were looked up. `kept`: names that exist.
    pub fn of<'a>(
        plan: &Plan,
        pins: &Pins,
        kept: impl Iterator<Item = &'a Path>,
    ) -> Result<Names, JailError> {
        let mut all = Names::default();
        for act in plan.acts() {
            if let Act::Withhold { path, by, .. } = act {
                all.add(path, form(*by), Need::Now, (plan, pins))?;
            }
        }
        for path in kept {
            all.add(path, Form::Socket, Need::Later, (plan, pins))?;
        }
        Ok(all)
    }

    fn add(
        &mut self,
        path: &Path,
        form: Form,
        need: Need,
        (plan, pins): (&Plan, &Pins),
    ) -> Result<(), JailError> {
        let changed = || JailError::Changed(path.into());
        let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(changed)?;
        let name = Name {
            name: CString::new(name.as_bytes()).map_err(|_| changed())?,
            form,
            says: protected_defaults::says(path),
            need,
            inode: Cell::new(0),
        };
        if let Some(known) = self.directories.iter_mut().find(|d| d.path == parent) {
            known.names.push(name);
            return Ok(());
        }
        let host = plan.jail.on_host(parent).ok_or_else(changed)?;
        let fault = |source| JailError::Open {
            path: host.clone(),
            source,
        };
        let fd = match (pins.get(&host), need) {
            (Some(pin), _) => placeholder::open_directory(pin.fd.as_fd()).map_err(fault)?,
            (None, Need::Now) => return Err(changed()),
            (None, Need::Later) => {
                let pin = fd::pin_exact(&host).map_err(fault)?;
                placeholder::open_directory(pin.as_fd()).map_err(fault)?
            }
        };
        self.directories.push(Directory {
            path: parent.into(),
            host,
            fd,
            names: vec![name],
        });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Whether [`hold`](Names::hold) has anything to make.
    pub(crate) fn are_absent(&self) -> bool {
        let mut all = self.directories.iter().flat_map(|d| &d.names);
        all.any(|name| name.need == Need::Now)
    }

    /// The descriptors that [`hold`](Names::hold) and [`release`](Names::release) need.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> {
        self.directories.iter().map(|d| d.fd.as_raw_fd())
    }

    /// Makes a placeholder for every absent name. The error is the number of the name that failed, and why.
    pub fn hold(&self) -> Result<(), (usize, Errno)> {
        let mut number = 0;
        for directory in &self.directories {
            let fd = directory.fd.as_fd();
            let needed = directory.names.iter().filter(|n| n.need == Need::Now);
            name_locks::need(fd, needed.clone().map(|n| n.name.as_c_str()));
            let mut twin = Twin::default();
            for name in needed {
                let held = name.hold(fd, &mut twin);
                name.inode.set(held.map_err(|errno| (number, errno))?);
                number += 1;
            }
        }
        Ok(())
    }

    /// The path on the host of a name by the number that [`hold`](Names::hold) gave.
    pub fn path(&self, number: usize) -> Option<PathBuf> {
        let of = |d: &Directory| {
            let names = d.names.iter().filter(|n| n.need == Need::Now);
            let name = |n: &Name| d.host.join(std::ffi::OsStr::from_bytes(n.name.as_bytes()));
            names.map(name).collect::<Vec<_>>()
        };
        self.directories.iter().flat_map(of).nth(number)
    }

    /// Makes the placeholder of one name again. `ENODEV` if `directory` is not the original one.
    pub fn hold_again(&self, path: &Path, directory: BorrowedFd<'_>) -> sys::Result<()> {
        let named = path.file_name().map(OsStrExt::as_bytes);
        let mut known = self.directories.iter().flat_map(|d| {
            let names = d.names.iter();
            names.map(move |name| (d, name))
        });
        let found = known.find(|(d, name)| {
            path.parent() == Some(&d.path) && Some(name.name.as_bytes()) == named
        });
        let (known, name) = found.ok_or(Errno::NODEV)?;
        let fd = known.fd.as_fd();
        let (then, now) = (fd::stat(fd)?, fd::stat(directory)?);
        if (then.dev, then.ino) != (now.dev, now.ino) {
            return Err(Errno::NODEV);
        }
        // Without a wait, in which the jail could make the name. One that another run removes now is missed again.
        name_locks::say(fd, &name.name);
        match name.hold(fd, &mut Twin::default()) {
            // The name exists.
            Err(Errno::EXIST) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes every placeholder. One that another run needs stays, and so does anything else. The caller
    /// must not be in the jail's mount namespace, where placeholders are busy. Returns what the caller closes
    /// when nobody waits for it; see [`placeholder::remove`].
    pub fn release(&self) -> Vec<OwnedFd> {
        let mut last = vec![];
        for directory in &self.directories {
            let fd = directory.fd.as_fd();
            let removal = Removal::begin(fd);
            let mut closed = vec![];
            for name in &directory.names {
                match removal.of(&name.name, || name.remove(fd)) {
                    Some(Err(Errno::ACCESS)) => closed.push(name),
                    Some(Ok(removed)) => last.extend(removed),
                    _ => {}
                }
            }
            if !closed.is_empty() {
                // The jail has removed the owner's right to change the directory.
                let _ = placeholder::opened(fd, || {
                    for name in closed {
                        removal.of(&name.name, || name.remove(fd));
                    }
                });
            }
        }
        last
    }
}

impl Name {
    fn hold(&self, directory: BorrowedFd<'_>, twin: &mut Twin) -> sys::Result<u64> {
        placeholder::hold(directory, &self.name, self.form, self.says, twin)
    }

    fn remove(&self, directory: BorrowedFd<'_>) -> sys::Result<Option<OwnedFd>> {
        placeholder::remove(directory, &self.name, self.inode.get(), self.says)
    }
}

/// The type of the placeholder.
fn form(by: StandIn) -> Form {
    match by {
        StandIn::Socket => Form::Socket,
        StandIn::Directory | StandIn::Ignored => Form::Directory,
        StandIn::File(says) => Form::File(says),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// The jail may hold the locks of a run that removes names. While the watcher waited, it could make the name.
    #[test]
    fn a_name_is_held_again_without_a_wait() {
        let place = tempfile::tempdir().expect("a directory");
        let open = || std::fs::File::open(place.path()).expect("it opens");
        let name = Name {
            name: c".envrc".into(),
            form: Form::Socket,
            says: "",
            need: Need::Now,
            inode: Cell::new(0),
        };
        let names = Names {
            directories: vec![Directory {
                path: place.path().into(),
                host: place.path().into(),
                fd: open().into(),
                names: vec![name],
            }],
        };
        let jails = open();
        let _removes = Removal::begin(jails.as_fd());
        let path = place.path().join(".envrc");
        let once = || {
            let since = Instant::now();
            let held = names.hold_again(&path, open().as_fd());
            assert_eq!(held, Ok(()));
            std::fs::remove_file(&path).expect("it is there");
            since.elapsed()
        };
        // A wait takes a hundred at least.
        let quickest = (0..5).map(|_| once()).min();
        assert!(quickest < Some(Duration::from_millis(100)), "{quickest:?}");
    }
}
