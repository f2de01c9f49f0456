//! creel: a sandbox supervisor for AI agents, straight from kernel primitives.
//!
//! Data flows down this list, and a folder imports only from those above it:
//! [`policy`] (declared) → [`plan`] (resolved) → [`sys`] (the kernel's door) → [`egress`] (the way out) →
//! [`jail`] (enforced) → [`supervise`] (watched) → [`selftest`] → [`cli`] (the face).

#![deny(unsafe_code)]
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
pub mod egress;
pub mod jail;
pub mod plan;
pub mod policy;
pub mod selftest;
pub mod supervise;
pub mod sys;
