//! Memory of the kernel's that the jail uses and no cgroup charges: answers of netlink that nobody reads, and
//! connections that no process has. A connection is charged when it is accepted, with what was sent until
//! then; one that nobody accepts never is.
//!
//! To count connections costs milliseconds, a walk over the host's table of them. It is done where the
//! jail's can be beyond the budget by what costs microseconds to ask: how many sockets it has, and what all
//! TCP sockets of the host hold.

use std::time::Instant;

use creel_jail::Live;
use creel_sys::procfs::{self, SOCKET, Sockets};

/// The share of a processor's time that counting may take: one in so many.
const SHARE: u32 = 20;

/// The supervisor's look at it.
#[derive(Debug, Default)]
pub struct Uncharged {
    /// The most that one connection can hold, once it was asked for.
    buffer: Option<u64>,
    /// Not before then are connections counted again.
    again: Option<Instant>,
}

impl Uncharged {
    /// Whether a jail has more of such memory than so many bytes.
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

/// The most that connections can hold: no more than all of the host's, and than so many sockets can.
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
