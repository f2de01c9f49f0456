//! Enforcement: turns a plan into a running jail.
//!
//! ```text
//! probe ── Host, Pins ──▶ plan::resolve ── Plan ──▶ prepare ── Ready ──▶ spawn ── Live
//!                                                                │ clone3
//!                                                                ▼
//!                                      walk (the child, step by step) ──▶ init (pid 1) ──▶ exec
//! ```
//!
//! [`probe`](mod@probe) examines the host and pins every path that the policy names; before that, [`globs`]
//! expands the policy's patterns. [`prepare`](mod@prepare) compiles the plan into steps that need no decision, [`spawn`]
//! clones, and [`walk`] is the child's code between clone and its loop in [`init`]. [`scope`] asks systemd
//! for a cgroup if the host has no usable one. [`janitor`] removes what a killed supervisor would leave
//! behind, and restores the [`covers`] that the host takes off.

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

pub mod branch;
mod build;
mod build_steps;
pub mod cgroup;
pub mod client;
mod copier;
pub mod covers;
mod cstrings;
pub mod elf;
mod enter;
mod enter_steps;
pub mod error;
pub mod fault_point;
mod file_agent;
mod gitfile;
pub mod gitnames;
mod glibc;
pub mod globs;
mod guard;
pub mod hierarchy;
pub mod init;
pub mod janitor;
pub mod keystore;
mod later;
mod learn;
pub mod loads;
mod mounts;
pub mod names;
pub mod netns;
mod obeyed;
pub mod obstacle;
pub mod pins;
pub mod prepare;
pub mod probe;
pub mod protocol;
mod remedy;
pub mod repositories;
mod rights;
pub mod scope;
mod search_dirs;
pub mod slot;
pub mod spawn;
pub mod stdin;
pub mod step;
mod streams;
pub mod walk;
mod watched;
mod ways;
mod worktrees;

pub use error::JailError;
pub use pins::Pins;
pub use prepare::{Ready, RelayLink, prepare};
pub use probe::probe;
pub use spawn::Live;
pub use streams::Stdio;
