//! What must be seen before Rust's own start-up: which of 0, 1 and 2 the caller had closed. The
//! standard library opens `/dev/null` in their place, and a lost stream would look like success.

use std::sync::atomic::{AtomicU8, Ordering};

static CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn look() {
    for number in 0..3 {
        if !super::fd::is_open(number) {
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

// SAFETY: functions in .init_array run once before main, with libc ready; this one calls fcntl and
// touches one atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// Whether the caller started this process with descriptor `number` (0, 1 or 2) closed.
pub fn was_closed(number: i32) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}
