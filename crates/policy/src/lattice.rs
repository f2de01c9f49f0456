//! Lattices: what layers allow, and the meet of two.
//!
//! [`lattice!`] declares a type whose fields are all lattices. Its top restricts nothing, and the meet of
//! two values is the meet of each field.

use std::collections::{BTreeMap, BTreeSet};

use super::origin::{Origin, Sourced};
use super::path_set::{AbsPath, PathRule, PathSet, place_in};
use super::tools::{Filter, Tool};
use super::values::Values;

/// The smallest, or the strictest, value that a layer set; `None` is the top.
pub type Bound<T> = Option<Sourced<T>>;
/// Names that every layer with such a list has; `None` is the top.
pub type Names<T> = Option<BTreeMap<T, Origin>>;
/// Paths that any layer named.
pub type DenySet = BTreeMap<AbsPath, PathRule>;

/// A set of permissions with a greatest element and a meet.
pub trait Lattice: Sized {
    /// The value that restricts nothing.
    const TOP: Self;

    /// The meet: what both allow.
    fn met(self, other: Self) -> Self;
}

macro_rules! lattice {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = concat!("The meet of all layers' `", stringify!($field), "`.")] $(#[$doc])* pub $field: $type,)+
        }

        impl $crate::lattice::Lattice for $name {
            const TOP: $name = $name { $($field: <$type as $crate::lattice::Lattice>::TOP,)+ };

            fn met(self, other: $name) -> $name {
                $name { $($field: $crate::lattice::Lattice::met(self.$field, other.$field),)+ }
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $crate::lattice::Lattice::TOP
            }
        }
    };
}
pub(crate) use lattice;

/// The smaller of two bounds; if equal, the one whose origin sorts first.
impl<T: Ord> Lattice for Bound<T> {
    const TOP: Self = None;

    fn met(self, other: Self) -> Self {
        match (self, other) {
            (None, bound) | (bound, None) => bound,
            (Some(a), Some(b)) => match (&a.value, &a.origin) > (&b.value, &b.origin) {
                true => Some(b),
                false => Some(a),
            },
        }
    }
}

/// The names that both have.
impl<T: Ord, L: Shared> Lattice for Option<BTreeMap<T, L>> {
    const TOP: Self = None;

    fn met(self, other: Self) -> Self {
        match (self, other) {
            (None, names) | (names, None) => names,
            (Some(a), Some(mut b)) => {
                let both = |(name, ours): (T, L)| {
                    let theirs = b.remove(&name)?;
                    Some((name, ours.shared(theirs)))
                };
                Some(a.into_iter().filter_map(both).collect())
            }
        }
    }
}

/// The value that is kept for a name that two layers have.
pub trait Shared {
    fn shared(self, other: Self) -> Self;
}

impl Shared for Origin {
    fn shared(self, other: Origin) -> Origin {
        self.min(other)
    }
}

/// The paths of both.
impl Lattice for DenySet {
    const TOP: Self = DenySet::new();

    fn met(self, other: Self) -> Self {
        let (mut all, less) = match self.len() < other.len() {
            true => (other, self),
            false => (self, other),
        };
        less.into_values().for_each(|rule| place_in(&mut all, rule));
        all
    }
}

/// The constraints of both; a tool that is not a key has none of its own.
impl<L: Lattice> Lattice for BTreeMap<Tool, L> {
    const TOP: Self = BTreeMap::new();

    fn met(mut self, other: Self) -> Self {
        for (tool, theirs) in other {
            let both = match self.remove(&tool) {
                Some(ours) => ours.met(theirs),
                None => theirs,
            };
            self.insert(tool, both);
        }
        self
    }
}

/// The elements of both; each applies.
impl<T: Ord> Lattice for BTreeSet<T> {
    const TOP: Self = BTreeSet::new();

    fn met(mut self, mut other: Self) -> Self {
        self.append(&mut other);
        self
    }
}

macro_rules! by {
    ($($type:ty = $top:expr, $met:path;)+) => {
        $(impl Lattice for $type {
            const TOP: Self = $top;

            fn met(self, other: Self) -> Self {
                $met(self, other)
            }
        })+
    };
}

by! {
    PathSet = PathSet::All, PathSet::met;
    Filter = Filter { allow: BTreeMap::new(), deny: BTreeMap::new() }, Filter::meet;
    Values = Values::OPEN, Values::met;
}
