#![doc = include_str!("../README.md")]
//!
//! # Supervision
//!
//! One thread runs one loop for the jail and one for the command in it ([`run`]). Both start after `clone3`,
//! so they add nothing to the time until the command starts.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
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
pub mod declare;
mod desk;
pub mod egress;
mod events;
pub mod execute;
pub mod exit;
mod exited;
mod jail;
pub mod judge;
pub mod keep;
pub mod layers;
pub mod left;
pub mod signals;
pub mod stdin_relay;
pub mod stream;
mod supervise;
pub mod terminal;
pub mod throttled;
pub mod uncharged;
pub mod verdict;
pub mod workspace;

pub use creel_sys::host::random_id;
pub use creel_sys::startup::prepare;
pub use declare::{Asked, DeclareError, Declared, Place, declare};
pub use execute::ExecuteError;
pub use exited::{Cause, Detail, Ended, Exited, SuperviseError};
pub use judge::judge;
pub use keep::SessionError;
pub use layers::{LayerError, Layers};
pub use supervise::{LEAST_GRACE, run};
pub use verdict::{Kind, Receipt, Verdict};
pub use workspace::WorkspaceError;
