//! creel: a sandbox supervisor for AI agents, straight from kernel primitives. The program: [`cli`] has one
//! file a verb, [`selftest`] proves the layers on the running kernel. What they stand on is in `crates/`.

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
