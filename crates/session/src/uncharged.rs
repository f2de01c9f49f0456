//! Kernel memory that the jail uses and that no cgroup charges: unread netlink answers, and connections
//! that no process has accepted. A connection is charged when it is accepted, with the data received until
//! then; one that is never accepted is never charged.
//!
//! Counting connections takes milliseconds, because it walks the host's table of them. It is done only if a
//! bound that takes microseconds to compute exceeds the budget: the number of the jail's sockets, and the
//! memory of all TCP sockets of the host.

use std::time::Instant;

use creel_jail::Live;
use creel_sys::procfs::{self, SOCKET, Sockets};

/// The share of a processor's time that counting may take: 1/20.
const SHARE: u32 = 20;

/// The state of the supervisor's checks.
#[derive(Debug, Default)]
pub struct Uncharged {
    /// The most that one connection can hold, once it is known.
    buffer: Option<u64>,
    /// Connections are not counted again before this time.
    again: Option<Instant>,
}

impl Uncharged {
    /// Whether a jail uses more than `budget` bytes of such memory.
    pub fn exceeds(&mut self, live: &Live, budget: u64) -> bool {
        let answers = live.unread_answers();
        let left = match budget.checked_sub(answers) {
            Some(left) => left,
            None => return true,
        };
        let buffer = *self
            .buffer
            .get_or_insert_with(procfs::largest_receive_buffer);
        let begun = Instant::now();
        if can_be(live.sockets(), buffer) <= left || self.again.is_some_and(|again| begun < again) {
            return false;
        }
        let bytes = live.ownerless(left);
        let ended = Instant::now();
        self.again = Some(ended + SHARE * ended.saturating_duration_since(begun));
        bytes > left
    }
}

/// An upper bound for the memory of connections: that of all TCP sockets of the host, or the maximum of
/// this many sockets.
fn can_be(sockets: Sockets, buffer: u64) -> u64 {
    let themselves = sockets.count.saturating_mul(SOCKET);
    let by_host = sockets.tcp_bytes_of_host.saturating_add(themselves);
    by_host.min(sockets.count.saturating_mul(buffer.saturating_add(SOCKET)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(count: u64, mib: u64) -> Sockets {
        Sockets {
            count,
            tcp_bytes_of_host: mib * MIB,
        }
    }

    #[test]
    fn connections_are_counted_where_they_can_be_too_many() {
        // A quiet host; few sockets on a busy one; many there; many of nothing.
        let can_be = |count, mib| can_be(of(count, mib), 6 * MIB);
        assert!(can_be(100, 2) < 3 * MIB);
        assert_eq!(can_be(1, 500), 6 * MIB + SOCKET);
        assert!(can_be(100, 500) > 500 * MIB);
        assert!(can_be(100_000, 0) > 200 * MIB);
    }
}
