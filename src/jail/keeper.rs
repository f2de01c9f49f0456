//! Who keeps absent names absent: it makes the placeholders, and removes them after the jail has
//! ended, whatever killed the supervisor.
//!
//! A process of its own beside the supervisor, as the [`janitor`](super::janitor) is, and only where
//! there is a name to keep. The janitor itself may live in a user namespace without maps, from which
//! it could not remove a file in a directory of somebody else's.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::JailError;
use crate::sys::fd::Stat;
use crate::sys::janitor::{self as sys, State};
use crate::sys::{Errno, clone, placeholder, process, signal};

/// A directory is made and then known.
const UNSAID: u64 = u64::MAX;

/// A name that is to be kept from being created.
pub struct Placeholder {
    directory: OwnedFd,
    name: CString,
    says: Option<&'static str>,
    path: PathBuf,
    /// Which inode it is; 0: none yet, [`UNSAID`]: it may be there.
    device: AtomicU64,
    inode: AtomicU64,
}

impl Placeholder {
    /// `name` in `directory`, where `says` stands; `path` is for messages.
    pub fn new(
        directory: OwnedFd,
        name: CString,
        says: Option<&'static str>,
        path: PathBuf,
    ) -> Placeholder {
        Placeholder {
            directory,
            name,
            says,
            path,
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    /// Makes it, or shares another run's. Which inode it will be is noted before it gets its name.
    fn hold(&self) -> Result<(OwnedFd, Stat), JailError> {
        let note = |device, inode| {
            self.device.store(device, Ordering::SeqCst);
            self.inode.store(inode, Ordering::SeqCst);
        };
        if self.says.is_none() {
            self.inode.store(UNSAID, Ordering::SeqCst);
        }
        let made = placeholder::hold(self.directory.as_fd(), &self.name, self.says, note);
        made.map_err(|source| match source {
            Errno::EXIST => JailError::Changed(self.path.clone()),
            source => JailError::Placeholder {
                path: self.path.clone(),
                source,
            },
        })
    }

    fn remove(&self) {
        let directory = self.directory.as_fd();
        // What is not there any more need not be removed.
        let _ = match self.inode.load(Ordering::SeqCst) {
            0 => Ok(()),
            UNSAID => placeholder::remove_nameless(directory, &self.name),
            inode => {
                let device = self.device.load(Ordering::SeqCst);
                placeholder::remove(directory, &self.name, (device, inode))
            }
        };
    }
}

/// Shared with the keeper's process. Leaked: it may outlive this process.
struct Shared {
    /// The supervisor.
    pidfd: AtomicI32,
    /// The jail's first process; 0: none yet.
    jail: AtomicI32,
    state: State,
    placeholders: Vec<Placeholder>,
    /// The placeholders' directories, as descriptors in ascending order.
    directories: Vec<i32>,
}

/// A keeper at work; dropped without [`Keeper::dismiss`] it goes on watching.
pub struct Keeper {
    pid: i32,
    shared: &'static Shared,
    /// Who holds one shares the file, and it stays.
    locks: Vec<OwnedFd>,
    /// What was made, in order.
    pub held: Vec<Stat>,
}

impl Keeper {
    /// Starts one, then makes the placeholders.
    pub fn start(placeholders: Vec<Placeholder>) -> Result<Keeper, JailError> {
        let fault = |source| JailError::System {
            what: "starting the keeper of names",
            source,
        };
        let me = sys::own_pidfd().map_err(fault)?;
        let numbers = placeholders.iter().map(|p| p.directory.as_raw_fd());
        let mut directories: Vec<i32> = numbers.collect();
        directories.sort_unstable();
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            pidfd: AtomicI32::new(me.as_raw_fd()),
            jail: AtomicI32::new(0),
            state: State::default(),
            placeholders,
            directories,
        }));
        let room: &'static mut [u128] = Box::leak(vec![0u128; 1024].into_boxed_slice());
        let stack = Box::leak(Box::new(clone::Stack::on(room)));
        let started = sys::start(stack, watch, shared, &shared.state);
        let mut keeper = Keeper {
            pid: started.map_err(fault)?,
            shared,
            locks: vec![],
            held: vec![],
        };
        // It has a copy of the descriptors from its start, and the first thing that it does is to
        // keep what it needs.
        shared.state.wait().map_err(fault)?;
        for placeholder in &shared.placeholders {
            match placeholder.hold() {
                Ok((lock, stat)) => {
                    keeper.locks.push(lock);
                    keeper.held.push(stat);
                }
                Err(error) => {
                    keeper.dismiss();
                    return Err(error);
                }
            }
        }
        Ok(keeper)
    }

    /// Where the pid of the jail's first process is to be left as soon as there is one: no placeholder
    /// goes before the jail has ended, and with it the last copy of its lock.
    pub fn jail(&self) -> &'static AtomicI32 {
        &self.shared.jail
    }

    /// Removes the placeholders, now, and ends the keeper. The jail must have ended.
    pub fn dismiss(self) {
        drop(self.locks);
        self.shared
            .placeholders
            .iter()
            .for_each(Placeholder::remove);
        if signal::send(self.pid, signal::KILL).is_ok() {
            let _ = process::reap(self.pid);
        }
    }
}

/// The keeper's process. System calls only: it shares thread-local storage with the supervisor.
extern "C" fn watch(shared: *mut std::ffi::c_void) -> i32 {
    let shared: &'static Shared = clone::argument(shared);
    let pidfd = shared.pidfd.load(Ordering::SeqCst);
    let kept = sys::keep_only([pidfd, pidfd], &shared.directories);
    shared.state.tell(kept);
    sys::wait_for_end();
    sys::wait_for(shared.jail.load(Ordering::SeqCst));
    shared.placeholders.iter().for_each(Placeholder::remove);
    process::exit(0)
}
