//! `creel cp NAME:PATH -` and `creel cp - NAME:DIR`: a tree of a session as a tar archive on stdout or stdin.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::copy::{left_out, refused};
use super::files::make_all;
use super::tar::{Entry, Kind, Reader, TarError, Writer};
use crate::cli::failure::Failure;
use crate::cli::hint;
use creel_session::keep::files::{Entry as Entries, Files, is_plain};
use creel_sys::{fd, pty, startup};

/// stdout, whose reader has all the time that it wants.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        hint::deliver(fd::fixed(1), bytes, hint::LONGEST).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a file or a tree of the session to stdout. Its names begin with the last of the path.
pub fn write(files: &Files, from: &Path) -> Result<(), Failure> {
    if startup::was_closed(1) || pty::is_terminal(fd::fixed(1)) {
        return Err(Failure::new(
            "stdout is closed or a terminal, and the archive would be lost; redirect it: `creel cp NAME:PATH - > FILE.tar`",
        ));
    }
    let mut archive = Writer(BufWriter::with_capacity(256 << 10, Stdout));
    let name = from.file_name().map_or_else(PathBuf::new, PathBuf::from);
    if !matches!(files.stat(from)?.kind, "file" | "directory") {
        return Err(refused(from));
    }
    add(files, from, name, (&mut archive, files.own_device()?))?;
    Ok(archive.finish()?)
}

fn add<W: Write>(
    files: &Files,
    from: &Path,
    path: PathBuf,
    (archive, own): (&mut Writer<W>, u64),
) -> Result<(), Failure> {
    let stat = files.stat(from)?;
    let mut entry = Entry {
        path,
        kind: Kind::Directory,
        size: 0,
        mode: stat.mode & 0o777,
    };
    match stat.kind {
        "directory" => {
            // `/` and `.` have no name, and need none.
            if !entry.path.as_os_str().is_empty() {
                archive.begin(&entry, stat.modified)?;
            }
            let all = files.list(from)?;
            let wanted = |one: &&Entries| is_plain(&one.name) && !one.stat.is_placed(own, &stat);
            for one in all.iter().filter(wanted) {
                add(
                    files,
                    &from.join(&one.name),
                    entry.path.join(&one.name),
                    (archive, own),
                )?;
            }
        }
        "file" => {
            let file = files.read(from)?;
            // The size of what was opened: the name may be another file by now.
            (entry.kind, entry.size) = (Kind::File, file.metadata()?.len());
            archive.begin(&entry, stat.modified)?;
            archive
                .contents(file, entry.size)
                .map_err(|error| Failure::new(format!("{}: {error}", from.display())))?;
        }
        _ => left_out(from),
    }
    Ok(())
}

/// Extracts stdin into a directory of the session, with the session's rights.
pub fn read(files: &Files, to: &Path) -> Result<(), Failure> {
    if startup::was_closed(0) || pty::is_terminal(fd::fixed(0)) {
        return Err(Failure::new(
            "stdin is closed or a terminal, and an archive is read from it; redirect it: `creel cp - NAME:DIR < FILE.tar`",
        ));
    }
    if files.stat(&to.join("."))?.kind != "directory" {
        return Err(Failure::new(format!(
            "{} is no directory of the session; an archive is extracted into one",
            to.display()
        )));
    }
    let mut archive = Reader::new(io::stdin().lock());
    // The directory that was made last: most entries are in the one of the entry before.
    let mut made = PathBuf::new();
    while let Some(entry) = archive.next()? {
        let place = to.join(&entry.path);
        match entry.kind {
            _ if entry.path.as_os_str().is_empty() => {}
            Kind::Directory => {
                make_all(files, &place)?;
                made = entry.path;
            }
            Kind::File => {
                let above = entry.path.parent().unwrap_or(Path::new(""));
                if above != made && !above.as_os_str().is_empty() {
                    make_all(files, &to.join(above))?;
                    made = above.into();
                }
                let flags = OFlags::CREATE | OFlags::TRUNC;
                let mut file = files.write(&place, flags, entry.mode)?;
                archive.contents(&mut file).map_err(|error| match error {
                    TarError::Io(error) => Failure::new(format!("{}: {error}", place.display())),
                    error => error.into(),
                })?;
            }
            Kind::SymbolicLink => left_out(&entry.path),
        }
    }
    Ok(())
}
