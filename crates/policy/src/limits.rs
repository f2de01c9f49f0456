//! The limits: a table from which all code for each limit is generated.
//!
//! A row is a key of `[limits]`, its type, its form if that differs, and what it bounds. The rows
//! generate the keys of the file form with their schema, the printing, the meet of two layers, the
//! compiled presets, and the rows of `diff` and `explain`. Defaults are in `policies/default.toml`;
//! `plan` knows how a limit is enforced.

use std::fmt::{Debug, Display};

use super::file::form::section_of;
use super::file::limits::Pause;
use super::lattice::Bound;
use super::origin::{Origin, Sourced};
use super::units::{Bytes, Count, CpuShare, Number, Percent, Span};

/// How a set of limits stores each limit: [`Whole`] or [`Named`].
pub trait Holds {
    type Of<T>;
}

/// Every limit, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole;

/// Only the limits that a layer sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named;

impl Holds for Whole {
    type Of<T> = Sourced<T>;
}

impl Holds for Named {
    type Of<T> = Bound<T>;
}

/// The limits of one layer.
pub type LayerLimits = Limits<Named>;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $form:ty,)+) => {
        /// The limits that the kernel enforces. Sizes in bytes, times in milliseconds.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Limits<S: Holds = Whole> {
            $($(#[$doc])* pub $name: S::Of<$type>,)+
        }

        section_of!(LayerLimits: plain "limits", "in [limits]" { $($name = $form,)+ });
        bounds!(LayerLimits, "limits.", $($name)+);

        impl LayerLimits {
            /// Each limit that is set, as text.
            pub fn texts(&self) -> Vec<Sourced<String>> {
                let mut all = vec![];
                $(if let Some(set) = &self.$name {
                    all.push(Sourced::new(set.value.to_string(), set.origin.clone()));
                })+
                all
            }

            /// These limits, and `base` for those not set.
            pub(super) fn closed(self, base: Limits) -> Limits {
                Limits { $($name: self.$name.unwrap_or(base.$name)),+ }
            }
        }

        impl From<Limits> for LayerLimits {
            fn from(limits: Limits) -> LayerLimits {
                Limits { $($name: Some(limits.$name)),+ }
            }
        }

        impl Limits {
            pub(super) const NUMBER: usize = [$(stringify!($name)),+].len();

            /// Limits from plain numbers, in the order of the table.
            pub(super) fn compiled(rows: [(u64, Origin); Self::NUMBER]) -> Limits {
                let [$($name),+] = rows;
                Limits { $($name: Sourced::new(<$type as Number>::of($name.0), $name.1)),+ }
            }

            #[cfg(test)]
            pub(super) fn numbers(&self) -> [(u64, &Origin); Self::NUMBER] {
                [$((self.$name.value.number(), &self.$name.origin)),+]
            }

            /// Replaces each limit that `asked` sets.
            pub fn replace(&mut self, asked: &LayerLimits) {
                $(if let Some(asked) = &asked.$name {
                    self.$name = asked.clone();
                })+
            }

            /// The first limit of `asked` that is more than here, as text: the asked one, and this one.
            pub fn exceeded(&self, asked: &LayerLimits) -> Option<[Sourced<String>; 2]> {
                $(if let Some(asked) = &asked.$name
                    && asked.value > self.$name.value
                {
                    let most = &self.$name;
                    return Some([
                        Sourced::new(asked.value.to_string(), asked.origin.clone()),
                        Sourced::new(most.value.to_string(), most.origin.clone()),
                    ]);
                })+
                None
            }

            /// Each limit: its key, its value as text, and its origin.
            pub fn rows(&self) -> [(&'static str, String, &Origin); Self::NUMBER] {
                [$((concat!("limits.", stringify!($name)), self.$name.value.to_string(), &self.$name.origin)),+]
            }
        }
    };
}

/// The meet of two layers' bounds, for a type whose fields are all bounds.
macro_rules! bounds {
    ($type:ty, $above:literal, $($name:ident)+) => {
        impl $type {
            /// The first origin among the bounds that are set.
            pub fn first(&self) -> Option<&$crate::origin::Origin> {
                [$(self.$name.as_ref().map(|said| &said.origin)),+].into_iter().flatten().min()
            }

            /// Passes each pair of bounds to a visitor, with its key.
            pub(crate) fn each(&self, other: &Self, visitor: &mut impl $crate::limits::Visitor) {
                $(visitor.limit(concat!($above, stringify!($name)), &self.$name, &other.$name);)+
            }
        }

        impl $crate::lattice::Lattice for $type {
            const TOP: Self = Self { $($name: None),+ };

            /// The smaller of each.
            fn met(self, other: Self) -> Self {
                Self { $($name: $crate::lattice::Lattice::met(self.$name, other.$name)),+ }
            }
        }
    };
}
pub(crate) use bounds;

/// Visits each limit of two layers, with its key.
pub trait Visitor {
    fn limit<T: Ord + Clone + Display>(&mut self, key: &str, a: &Bound<T>, b: &Bound<T>);
}

limits! {
    /// Of the whole jail, page cache and tmpfs included.
    memory: Bytes = Bytes,
    /// Share of `memory` from which the kernel throttles and reclaims (cgroup v2 `memory.high`).
    memory_high: Percent = Percent,
    /// Processor time a second, over all processors.
    cpus: CpuShare = CpuShare,
    /// Tasks (processes and threads) alive at once.
    pids: Count = Count,
    /// Wall time of the run.
    timeout: Span = Span,
    /// Processor time of the jail, user and system together.
    cpu_time: Span = Span,
    /// Bytes in each writable tmpfs (`/tmp`, `/dev/shm`, home, a fresh workspace).
    disk: Bytes = Bytes,
    /// Files and directories in each writable tmpfs.
    inodes: Count = Count,
    /// Of one file (`RLIMIT_FSIZE`).
    file_size: Bytes = Bytes,
    /// Descriptors of one process (`RLIMIT_NOFILE`).
    open_files: Count = Count,
    /// Bytes on stdout and stderr together.
    output: Bytes = Bytes,
    /// Between the polite signal and the kill.
    grace: Span = Pause,
}
