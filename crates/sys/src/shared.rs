//! A page of memory that a process and its children share (mmap(2), `MAP_SHARED | MAP_ANONYMOUS`): each can
//! read what another wrote, without being woken.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Errno, Result};

/// Words in a board.
pub const WORDS: usize = 32;

/// Some words of shared memory, all zero at first. Never unmapped: it is one page, and the kernel frees it
/// with the last process that has it.
#[derive(Debug, Clone, Copy)]
pub struct Board(&'static [AtomicU32; WORDS]);

impl Board {
    /// Maps a page. `ENOMEM`: there is none.
    pub fn new() -> Result<Board> {
        // SAFETY: an anonymous mapping of a fresh page touches no memory that exists.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<[AtomicU32; WORDS]>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM)
            );
        }
        // SAFETY: the page is aligned, zeroed (a valid value of the atomics), large enough, and
        // never unmapped.
        Ok(Board(unsafe { &*page.cast() }))
    }

    /// Runs after clone.
    pub fn put(&self, words: &[u32; WORDS]) {
        for (to, from) in self.0.iter().zip(words) {
            to.store(*from, Ordering::SeqCst);
        }
    }

    /// The words as they are now; another process may be in the middle of [`put`](Board::put).
    pub fn get(&self) -> [u32; WORDS] {
        std::array::from_fn(|at| self.0[at].load(Ordering::SeqCst))
    }
}
