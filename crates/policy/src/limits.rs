//! The list of all limits, for whoever does the same to each.
//!
//! Owns what becomes of the limits of two layers. How one is read, written and shown differs by its unit,
//! and is no business of this list.

use std::fmt::Display;

use super::layer::Limits;
use super::rights::{Bound, least};

/// `$then!` with the names of all limits behind its own arguments.
macro_rules! all {
    ($then:ident $arguments:tt) => {
        $then!($arguments
            memory memory_high cpus pids timeout cpu_time disk inodes file_size open_files output grace)
    };
}

/// Limits of which each is `with` of that of another.
macro_rules! singles {
    (($into:ident, $a:expr, $with:path) $($name:ident)+) => {{
        let a = $a;
        $into { $($name: $with(a.$name)),+ }
    }};
}

/// Limits of which each is `with` of those of two.
macro_rules! pairs {
    (($into:ty, $a:expr, $b:expr, $with:path) $($name:ident)+) => {{
        let (a, b) = ($a, $b);
        type Whole = $into;
        Whole { $($name: $with(a.$name, b.$name)),+ }
    }};
}

macro_rules! visits {
    (($visitor:expr, $a:expr, $b:expr) $($name:ident)+) => {
        $($visitor.limit(concat!("limits.", stringify!($name)), &$a.$name, &$b.$name);)+
    };
}

/// Who looks at each limit of two layers, under its key.
pub trait Visitor {
    fn limit<T: Ord + Clone + Display>(&mut self, key: &str, a: &Bound<T>, b: &Bound<T>);
}

impl Limits {
    /// The smaller of each.
    pub(super) fn met(self, other: Limits) -> Limits {
        all!(pairs(Limits, self, other, least))
    }

    /// Its own, and of what it does not name those of `base`.
    pub(super) fn over(self, base: Limits) -> Limits {
        all!(pairs(Limits, self, base, Option::or))
    }

    /// As [`Self::over`], where `base` has them all.
    pub(super) fn closed(self, base: super::Limits) -> super::Limits {
        all!(pairs(super::Limits, self, base, Option::unwrap_or))
    }

    pub(super) fn each(&self, other: &Limits, visitor: &mut impl Visitor) {
        all!(visits(visitor, self, other));
    }
}

impl From<super::Limits> for Limits {
    fn from(limits: super::Limits) -> Limits {
        all!(singles(Limits, limits, Some))
    }
}
