//! Watched: from a live jail to a verdict.
//!
//! One thread, one loop for the jail and one for the command in it ([`run`]). They start after `clone3`, so
//! that nothing of them is on the way there.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::dbg_macro
    )
)]

pub mod ask;
mod command;
mod events;
mod exited;
mod jail;
pub mod judge;
pub mod left;
pub mod signals;
pub mod stream;
mod supervise;
pub mod terminal;
pub mod throttled;
pub mod typed;
pub mod uncharged;
pub mod verdict;
pub mod way_out;

pub use exited::{Cause, Detail, Ended, Exited, SuperviseError};
pub use judge::judge;
pub use supervise::{LEAST_GRACE, run};
pub use verdict::{Kind, Receipt, Verdict};
