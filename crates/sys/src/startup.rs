//! The parts of the standard library's start-up that creel needs. `main` is C's.

use std::sync::atomic::{AtomicU8, Ordering};

static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Notes which of 0, 1 and 2 the caller had closed, and opens `/dev/null` in their place, so that no
/// other file gets their numbers. Then what else is [`inherited`](super::inherited).
pub fn prepare() {
    for number in 0..3 {
        if !super::fd::is_open(number) {
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
            // SAFETY: opens a constant path; the lowest free number is the one that was closed.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
    super::inherited::normalise();
}

/// Whether the caller started this process with descriptor `number` (0, 1 or 2) closed.
pub fn was_closed(number: i32) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}
