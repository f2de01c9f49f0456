//! Reading of files that the command line names.
//!
//! This module decides which files count as plain. A pipe with a writer is read as a file is (`/dev/stdin`,
//! `<(...)`). A named pipe without a writer would block creel for ever, and an empty one means a failed
//! program rather than a policy that grants nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Reads at most `most` bytes and one more, which shows the excess without reading all of it.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let mut options = OpenOptions::new();
    let mut file = options.read(true).custom_flags(flags as i32).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut bytes = vec![0; 4096];
    let is_pipe = meta.file_type().is_fifo();
    let first = match file.read(&mut bytes) {
        Ok(0) if is_pipe => return Err(nothing_comes()),
        // The pipe has a writer that has not written yet.
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        first => first?,
    };
    bytes.truncate(first);
    wait(&file)?;
    let rest = (most + 1).saturating_sub(first) as u64;
    file.take(rest).read_to_end(&mut bytes)?;
    match bytes.is_empty() && is_pipe {
        true => Err(nothing_comes()),
        false => Ok(bytes),
    }
}

fn nothing_comes() -> io::Error {
    io::Error::other(
        "it is a pipe that delivers no data; name a file, or let a program write to stdin and name /dev/stdin",
    )
}

/// Makes reads block until data arrives.
fn wait(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags - OFlags::NONBLOCK)?)
}
