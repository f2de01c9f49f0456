//! The messages between a supervisor and its janitor: a byte and three words.

use creel_sys::Errno;

/// Messages to the janitor.
pub const JAIL: u8 = b'j';
pub const END: u8 = b'e';
pub const DISMISS: u8 = b'x';
/// Messages from the janitor.
pub const HELD: u8 = b'h';
pub const EVENT: u8 = b'c';
pub const UNWATCHED: u8 = b'u';
pub const UNGUARDED: u8 = b'g';
pub const RELEASED: u8 = b'd';
pub const LOST: u8 = b'l';
/// In place of a cover's number: all covers.
pub const NOWHERE: u32 = u32::MAX;
/// The length of every message.
pub const LENGTH: usize = 13;

pub fn padded(what: u8, words: [u32; 3]) -> [u8; LENGTH] {
    let mut message = [what; LENGTH];
    for (to, word) in message[1..].chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    message
}

pub fn words(message: &[u8; LENGTH]) -> [u32; 3] {
    let mut words = [0; 3];
    for (to, bytes) in words.iter_mut().zip(message[1..].chunks_exact(4)) {
        *to = bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

pub fn code(errno: Errno) -> u32 {
    errno.raw_os_error().unsigned_abs()
}

pub fn errno(code: u32) -> Option<Errno> {
    (code != 0).then(|| Errno::from_raw_os_error(code as i32))
}
