//! Files of git's, read with a bound.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use creel_sys::fd;

/// Bytes of configuration that are read for a repository.
pub(super) const MOST_BYTES: u64 = 1 << 20;
/// Of the files that say where a repository is.
const MOST_POINTER: u64 = 4096;

/// A small plain file; nothing where it is anything else.
pub(super) fn pointer(file: &Path) -> Option<Vec<u8>> {
    contents(file, MOST_POINTER).ok().flatten()
}

/// What a plain file holds. `None` where it is absent, or no file; an error where it is longer.
pub(super) fn contents(file: &Path, most: u64) -> Result<Option<Vec<u8>>, ()> {
    let Ok(file) = fd::pin(file).and_then(|pinned| fd::reopen(pinned.as_fd())) else {
        return Ok(None);
    };
    let mut text = vec![];
    let mut file = std::fs::File::from(file).take(most + 1);
    match file.read_to_end(&mut text) {
        Ok(length) if length as u64 > most => Err(()),
        Ok(_) => Ok(Some(text)),
        Err(_) => Ok(None),
    }
}

pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
