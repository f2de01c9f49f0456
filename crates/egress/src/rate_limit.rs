//! Bandwidth limits of a jail: bytes per second over all its connections, for each direction.
//!
//! Connections reserve bytes before they read, first come, first served: waiting connections take turns,
//! and each wakes once (GCRA; the one variable is the time at which the last reservation ends).

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Unused bandwidth of this last period may be used later.
const BURST: Duration = Duration::from_millis(100);
/// Reservations per second of a connection that uses the whole rate.
const TURNS: u64 = 20;
const MOST_AT_ONCE: u64 = 256 << 10;

/// The reservations of one direction.
#[derive(Debug, Default)]
pub struct Reservations {
    through: Cell<Option<Instant>>,
}

/// The reservations of a direction and its rate in bytes per second.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit<'a> {
    /// The reservations of all connections in this direction.
    pub reserved: &'a Reservations,
    /// Bytes per second.
    pub rate: u64,
}

impl RateLimit<'_> {
    /// Bytes of one reservation.
    pub fn turn(&self) -> usize {
        // At most 2^18, so that nothing is cut off.
        (self.rate / TURNS).clamp(1, MOST_AT_ONCE) as usize
    }

    /// Reserves bytes and returns the wait before they may move.
    pub fn reserve(&self, bytes: usize) -> Duration {
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let through = self.reserved.through.get();
        let from = through.map_or(earliest, |t| t.max(earliest));
        let after = from.checked_add(time(self.rate, bytes));
        self.reserved.through.set(after);
        from.saturating_duration_since(now)
    }

    /// Returns reserved bytes that did not move.
    pub fn give_back(&self, bytes: usize) {
        let through = self.reserved.through.get();
        let before = through.and_then(|t| t.checked_sub(time(self.rate, bytes)));
        self.reserved.through.set(before);
    }
}

/// The time that `bytes` take at `rate`.
fn time(rate: u64, bytes: usize) -> Duration {
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
}
