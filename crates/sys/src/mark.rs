//! The mark of a placeholder, by which [`stat`](super::fd::stat) tells it from other files.

use rustix::fs as rx;

/// A placeholder file's modification time, in seconds: e, to nine digits.
pub const MARK: i64 = 271_828_182;
/// The most bytes in a placeholder file.
pub const MOST: usize = 2;
/// Readable by every user, because each run that shares the file opens it.
pub const MODE: u32 = 0o444;

/// Whether a file, socket or directory has the mark of a placeholder; [`stands`](super::placeholder::stands) tells whether it is one.
pub fn marked(stat: &rx::Stat) -> bool {
    match rx::FileType::from_raw_mode(stat.st_mode) {
        rx::FileType::Socket => stat.st_mode & 0o7777 == 0,
        // Regardless of what the umask removed, and of the group's bit that a directory inherits (inode(7)).
        rx::FileType::Directory => stat.st_mode & 0o5022 == 0o1000,
        rx::FileType::RegularFile => {
            stat.st_size <= MOST as i64 && stat.st_mtime == MARK && stat.st_mode & 0o7777 == MODE
        }
        _ => false,
    }
}
