//! Reading the files that the command line names.
//!
//! Owns the rule of what is no plain file. A pipe that somebody writes to is read as a file is (`/dev/stdin`,
//! `<(...)`); a named one to which nobody writes would keep creel waiting for ever, and an empty one is a program
//! that failed rather than a policy that grants nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// At most so many bytes and one, so that too much is seen without reading all of it.
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
        // The pipe has a writer, which has not written yet.
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
        "it is a pipe from which nothing comes: nobody writes to it, or nothing was written; name a file, or let a program write to stdin and name /dev/stdin",
    )
}

/// From now on a read waits for what is written.
fn wait(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags - OFlags::NONBLOCK)?)
}
