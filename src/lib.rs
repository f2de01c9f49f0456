//! creel: a sandbox supervisor for AI agents that uses kernel primitives directly. [`cli`] has one file per
//! verb, [`selftest`] tests the layers on the running kernel. The crates below them are in `crates/`.

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

pub mod cli;
pub mod selftest;
