//! Reads git's files up to a size limit.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use creel_sys::fd;

/// Bytes of configuration that are read for a repository, at most.
pub(super) const MOST_BYTES: u64 = 1 << 20;
/// The same for files that name the location of a repository.
const MOST_POINTER: u64 = 4096;

/// The contents of a small regular file; `None` if it is anything else.
pub(super) fn pointer(file: &Path) -> Option<Vec<u8>> {
    contents(file, MOST_POINTER).ok().flatten()
}

/// The contents of a regular file. `None` if there is none; an error if it is longer than `most`.
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
