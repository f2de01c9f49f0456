//! Removes the throttling threshold of a jail (cgroup v2, `memory.high`) if the kernel cannot reclaim
//! memory. Pages of a tmpfs cannot be reclaimed without swap: a jail at the threshold then hardly runs,
//! does not grow to its limit, and neither ends it.

use creel_jail::cgroup::Group;

/// Consecutive looks that find the jail at the threshold: two seconds.
const MOST: u32 = 20;

/// The state of the supervisor's checks.
#[derive(Debug, Default)]
pub struct Throttled {
    looks: u32,
}

impl Throttled {
    /// Checks once. If the jail was at the threshold for too long, the threshold is removed and the limit
    /// alone decides.
    pub fn look(&mut self, group: &Group) {
        if self.looks > MOST {
            return;
        }
        self.looks = match group.is_at_high_mark() {
            true => self.looks + 1,
            false => 0,
        };
        if self.looks > MOST {
            group.lift_high_mark();
        }
    }
}
