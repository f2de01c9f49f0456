//! Confines creel's own relay process, before it talks to the network.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::landlock::{Dials, Rules};
use super::process::{self, Groups};
use super::{Result, caps, fd, landlock, rlimit, seccomp};

/// The ids of `nobody` and `nogroup`, which root's relay takes.
const NOBODY: u32 = 65534;

/// Leaves the supervisor's session, signals and descriptors: `kept` gets the numbers from 3 on, in order; 0
/// and 1 become /dev/null. Numbers that the caller has from before are invalid afterwards.
pub fn keep_descriptors(kept: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
    process::die_with_parent()?;
    // Before it has a secret: no core dump, and other processes of its user cannot read its memory.
    rlimit::set(rlimit::CORE, 0, 0)?;
    process::not_dumpable()?;
    // For ps(1).
    let _ = rustix::thread::set_name(c"creel-relay");
    let _ = process::own_session();
    let null = File::options().read(true).write(true).open("/dev/null");
    if let Ok(null) = null {
        fd::dup_to(null.as_fd(), 0)?;
        fd::dup_to(null.as_fd(), 1)?;
    }
    // Above all numbers that are assigned below.
    let first = 3 + kept.len() as i32;
    let high: Vec<OwnedFd> = kept
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, first))
        .collect::<Result<_>>()?;
    // Their numbers are closed or reused below.
    std::mem::forget(kept);
    for (number, fd) in (3..).zip(&high) {
        fd::move_to(fd.as_fd(), number)?;
    }
    let count = high.len() as i32;
    let numbers = 3..3 + count;
    high.into_iter().for_each(std::mem::forget);
    fd::close_between(first as u32, u32::MAX)?;
    numbers.map(fd::own).collect()
}

/// Drops privileges and all access to files, programs and signals to others, for good. TCP goes only to
/// `dials`, if the kernel can enforce that (Landlock ABI 4).
pub fn for_good(dials: &Dials) -> Result<()> {
    let most = rlimit::open_files_ceiling();
    rlimit::set(rlimit::OPEN_FILES, most, most)?;
    if caps::privileged() {
        caps::keep_over_setuid()?;
        process::become_ids(NOBODY, NOBODY, Groups::Clear)?;
        // A change of ids resets it.
        process::die_with_parent()?;
        caps::drop_all()?;
    }
    process::no_new_privs()?;
    // A change of ids resets this too.
    process::not_dumpable()?;
    match landlock::abi() {
        0 => {}
        abi => Rules::dial_only(abi.min(landlock::NEWEST), dials)?.restrict_self()?,
    }
    seccomp::install_for_relay()
}
