//! The bandwidth of a jail: bytes a second over all its connections, each direction by itself.
//!
//! Bytes are reserved before they are read, in the order of asking, so that connections that wait take
//! turns and none wakes in vain (GCRA: the one variable is when the last reservation is through).

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The time for which unused bandwidth may be used later.
const BURST: Duration = Duration::from_millis(100);
/// Reservations a second of somebody who wants everything.
const TURNS: u64 = 20;
const MOST_AT_ONCE: u64 = 256 << 10;

/// One direction's reservations.
#[derive(Debug, Default)]
pub struct Pace {
    through: Cell<Option<Instant>>,
}

/// A direction's reservations, at a rate of so many bytes a second.
#[derive(Debug, Clone, Copy)]
pub struct Paced<'a> {
    pub pace: &'a Pace,
    pub rate: u64,
}

impl Paced<'_> {
    /// How many bytes to reserve at once.
    pub fn turn(&self) -> usize {
        // At most 2^18, so that nothing is cut off.
        (self.rate / TURNS).clamp(1, MOST_AT_ONCE) as usize
    }

    /// Reserves bytes, and says how long to wait before they may move.
    pub fn reserve(&self, bytes: usize) -> Duration {
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let through = self.pace.through.get();
        let from = through.map_or(earliest, |t| t.max(earliest));
        let after = from.checked_add(time(self.rate, bytes));
        self.pace.through.set(after);
        from.saturating_duration_since(now)
    }

    /// Gives back what did not move after all.
    pub fn give_back(&self, bytes: usize) {
        let through = self.pace.through.get();
        let before = through.and_then(|t| t.checked_sub(time(self.rate, bytes)));
        self.pace.through.set(before);
    }
}

/// The time that so many bytes take.
fn time(rate: u64, bytes: usize) -> Duration {
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
}
