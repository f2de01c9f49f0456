//! Changes as a patch that `git apply` takes: contents before and after as a unified diff, modes and links.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{OFlags, readlinkat};
use similar::TextDiff;

use super::diff::{Change, Entry, Kind};
use super::error::WorkspaceError;
use super::upper::Changes;
use super::{renames, tree};
use creel_sys::Errno;

/// Bytes of a file that is shown, at most.
const LARGEST: u64 = 1 << 20;
/// How long the shortest difference of one file is searched. A longer one is shown afterwards.
const LONGEST: Duration = Duration::from_millis(500);
/// The file of a side that has none, in a patch.
const NOTHING: &str = "/dev/null";
/// The kind of a file in a mode of git's.
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Both trees, opened.
#[derive(Debug)]
pub struct Patches {
    upper: OwnedFd,
    host: OwnedFd,
}

/// One side of a change.
#[derive(PartialEq)]
struct Side {
    mode: u32,
    contents: Contents,
}

#[derive(PartialEq)]
enum Contents {
    Text(String),
    /// Not UTF-8, with a NUL byte, or too large.
    Binary,
}

impl Patches {
    /// Opens the trees of a session's changes.
    pub fn of(changes: &Changes) -> Result<Patches, WorkspaceError> {
        Ok(Patches {
            upper: changes.upper()?,
            host: changes.workspace()?,
        })
    }

    /// The patch of one change. Directories, pipes, sockets and devices have none: a patch knows files and links. A file
    /// that cannot be read is named in a line that `git apply` refuses, as any binary file is.
    pub fn of_entry(&self, entry: &Entry) -> String {
        let (host, upper) = (self.host.as_fd(), self.upper.as_fd());
        let path = &entry.path;
        let mut text = String::new();
        match (entry.change, entry.kind) {
            (Change::Deleted | Change::Retyped, kind) => {
                for (path, kind) in renames::all(host, path) {
                    text += &patch(&path, side(host, &path, kind), None);
                }
                // Two patches, as git makes them: the old file goes first.
                if entry.change == Change::Retyped {
                    text += &patch(path, None, side(upper, path, kind));
                }
            }
            (_, Kind::Directory | Kind::Special) => {}
            (Change::Added, kind) => text = patch(path, None, side(upper, path, kind)),
            (Change::Modified | Change::Mode, kind) => {
                text = patch(path, side(host, path, kind), side(upper, path, kind));
            }
        }
        text
    }
}

fn side(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> Option<Side> {
    let unreadable = Side {
        mode: FILE | 0o644,
        contents: Contents::Binary,
    };
    match kind {
        Kind::File => Some(file(root, path).unwrap_or(unreadable)),
        Kind::Link => Some(link(root, path).unwrap_or(unreadable)),
        Kind::Directory | Kind::Special => None,
    }
}

fn file(root: BorrowedFd<'_>, path: &Path) -> Result<Side, Errno> {
    let file = tree::open(root, path, OFlags::RDONLY)?;
    let mode = rustix::fs::fstat(&file)?.st_mode;
    let mut bytes = vec![];
    File::from(file)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let is_text = bytes.len() as u64 <= LARGEST && !bytes.contains(&0);
    let text = is_text.then(|| String::from_utf8(bytes).ok()).flatten();
    Ok(Side {
        // git knows whether a file can be executed, and no other bit.
        mode: match mode & 0o100 {
            0 => FILE | 0o644,
            _ => FILE | 0o755,
        },
        contents: text.map_or(Contents::Binary, Contents::Text),
    })
}

fn link(root: BorrowedFd<'_>, path: &Path) -> Result<Side, Errno> {
    let (dir, name) = tree::parent(root, path)?;
    let target = readlinkat(dir, name, vec![])?;
    Ok(Side {
        mode: LINK,
        contents: target
            .into_string()
            .map_or(Contents::Binary, Contents::Text),
    })
}

/// The patch of one name; a side that is `None` does not exist.
fn patch(path: &Path, old: Option<Side>, new: Option<Side>) -> String {
    match (&old, &new) {
        (None, None) => return String::new(),
        // Bits that git does not keep.
        (Some(old), Some(new)) if old == new && old.contents != Contents::Binary => {
            return String::new();
        }
        _ => {}
    }
    let (a, b) = (quoted("a/", path), quoted("b/", path));
    let mut text = format!("diff --git {a} {b}\n");
    let _ = match (&old, &new) {
        (Some(old), None) => writeln!(text, "deleted file mode {:06o}", old.mode),
        (None, Some(new)) => writeln!(text, "new file mode {:06o}", new.mode),
        (Some(old), Some(new)) if old.mode != new.mode => {
            writeln!(text, "old mode {:06o}\nnew mode {:06o}", old.mode, new.mode)
        }
        _ => Ok(()),
    };
    let name = |side: &Option<Side>, name| match side {
        Some(_) => name,
        None => NOTHING.to_owned(),
    };
    let (a, b) = (name(&old, a), name(&new, b));
    match (contents(old.as_ref()), contents(new.as_ref())) {
        (Some(old), Some(new)) => {
            let mut config = TextDiff::configure();
            let diff = config.timeout(LONGEST).diff_lines(old, new);
            text += &diff.unified_diff().header(&a, &b).to_string();
        }
        _ => {
            let _ = writeln!(text, "Binary files {a} and {b} differ");
        }
    }
    text
}

/// `None` for contents that are not shown.
fn contents(side: Option<&Side>) -> Option<&str> {
    match side.map(|side| &side.contents) {
        None => Some(""),
        Some(Contents::Text(text)) => Some(text),
        Some(Contents::Binary) => None,
    }
}

/// A name as git writes it in a patch: in quotes if a byte of it would end the line or the name.
fn quoted(prefix: &str, path: &Path) -> String {
    let special = |byte: u8| byte < b' ' || matches!(byte, 0x7f | b'"' | b'\\');
    let bytes = path.as_os_str().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) if !bytes.iter().any(|byte| special(*byte)) => format!("{prefix}{text}"),
        _ => {
            let mut text = format!("\"{prefix}");
            for byte in bytes {
                match special(*byte) || *byte >= 0x80 {
                    true => text += &format!("\\{byte:03o}"),
                    false => text.push(char::from(*byte)),
                }
            }
            text + "\""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_neither_its_line_nor_itself() {
        let name = |bytes: &[u8]| quoted("a/", Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(name(b"d/with space"), "a/d/with space");
        assert_eq!(name("ü".as_bytes()), "a/ü");
        assert_eq!(name(b"x\n+++ b/y\"\\"), "\"a/x\\012+++ b/y\\042\\134\"");
        assert_eq!(name(b"\xff"), "\"a/\\377\"");
    }
}
