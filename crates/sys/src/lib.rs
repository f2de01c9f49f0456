//! System calls: one file per primitive, under the kernel's own names.
//!
//! This crate has all of creel's `unsafe` code and every use of nix, libc, landlock and caps. It makes no
//! decisions: callers pass what to do. Functions for use between `clone3` and `exec` say "Runs after clone";
//! they do not allocate, lock or panic.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::dbg_macro
    )
)]
#![allow(unsafe_code)]
#![warn(missing_docs)]

pub mod around;
pub mod attempt;
pub mod buffers;
pub mod bus;
pub mod caps;
pub mod client;
pub mod clone;
pub mod confine;
pub mod cut;
pub mod dnotify;
pub mod fanotify;
pub mod fd;
pub mod filelease;
pub mod freezer;
pub mod handed;
pub mod host;
pub mod inherited;
pub mod janitor;
pub mod landlock;
pub mod late_close;
pub mod lease;
pub mod local;
mod mark;
pub mod mount;
pub mod name_locks;
pub mod net;
pub mod nowait;
mod ofd_lock;
pub mod overlay;
pub mod peer;
pub mod placeholder;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod readiness;
pub mod rlimit;
pub mod seccomp;
pub mod shared;
pub mod signal;
pub mod socket;
pub mod splice;
pub mod startup;
pub mod task;
pub mod timens;
pub mod udp;
pub mod unix_sockets;
pub mod userns;

pub use rustix::io::Errno;

/// A primitive's result. Its error is the kernel's errno alone; the caller, which knows what was attempted,
/// writes the message.
pub type Result<T> = std::result::Result<T, Errno>;
