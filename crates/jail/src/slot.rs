//! A jail's slot on this host: a range of ids and a group name that no other jail has.

use std::path::Path;

use super::cgroup::Group;
use super::error::JailError;
use creel_plan::CgroupLayout;
use creel_sys::Errno;
use creel_sys::lease::{self, Lease};

/// The first of the host ids that jails get: above those of systemd's containers and below 2^31, a range that
/// systemd's own table (UIDS-GIDS.md) lists as unused.
pub const FIRST_ID: u32 = 0x7000_0000;
/// Jails at once: 4096 ranges of 65,536 ids end at 0x7fff_ffff.
const SLOTS: u32 = 4096;

/// Takes a slot that no other jail holds and whose groups have no processes.
pub fn take(state: &Path, layout: Option<&CgroupLayout>) -> Result<Lease, JailError> {
    make_private_dir(state)?;
    let file = state.join("slots");
    // Start where the last run probably did not, to spread consecutive runs out.
    let mut first = std::process::id() % SLOTS;
    for _ in 0..SLOTS {
        let lease = lease::take(&file, first, SLOTS).map_err(|source| match source {
            Errno::AGAIN => JailError::NoLease,
            source => JailError::State {
                path: file.clone(),
                source: source.into(),
            },
        })?;
        if layout.is_none_or(|layout| Group::new(layout, lease.slot).vacate()) {
            return Ok(lease);
        }
        first = (lease.slot + 1) % SLOTS;
    }
    Err(JailError::NoLease)
}

/// Removes the groups that crashed jails have left: those of slots that nobody holds. Returns how many slots.
pub fn sweep(state: &Path, layout: &CgroupLayout) -> Result<u32, JailError> {
    let file = state.join("slots");
    let mut swept = 0;
    for slot in Group::left(layout).into_iter().filter(|slot| *slot < SLOTS) {
        // The next free one is another, if this one is held.
        let free = lease::take(&file, slot, SLOTS).ok();
        let free = free.filter(|lease| lease.slot == slot);
        swept += u32::from(free.is_some_and(|_lease| Group::new(layout, slot).vacate()));
    }
    Ok(swept)
}

/// Makes a directory of this user's alone. Refuses another user's, or one that others may write
/// (CVE-2022-31214: a state directory that another user had prepared).
fn make_private_dir(dir: &Path) -> Result<(), JailError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let refuse = |source: std::io::Error| JailError::State {
        path: dir.into(),
        source,
    };
    let meta = match std::fs::symlink_metadata(dir) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let made = std::fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(dir);
            made.map_err(refuse)?;
            std::fs::symlink_metadata(dir).map_err(refuse)?
        }
        Err(e) => return Err(refuse(e)),
    };
    let (uid, _) = creel_sys::host::ids();
    if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o022 != 0 {
        return Err(refuse(std::io::Error::other(
            "it is not a directory that you own and only you may write to",
        )));
    }
    Ok(())
}
