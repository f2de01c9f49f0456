//! The mark from which the kernel throttles a jail (cgroup v2, `memory.high`), taken away where nothing can be
//! reclaimed. Of pages of a tmpfs nothing can without swap: a jail at the mark then hardly runs, does not grow
//! to its limit, and is ended by neither.

use creel_jail::cgroup::Group;

/// Looks in a row that find the jail at the mark: two seconds.
const MOST: u32 = 20;

/// The supervisor's look at it.
#[derive(Debug, Default)]
pub struct Throttled {
    looks: u32,
}

impl Throttled {
    /// Looks once. After that the limit alone decides, if the mark did for too long.
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
