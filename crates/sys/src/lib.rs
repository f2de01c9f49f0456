//! The kernel interface: one file for each primitive, with the kernel's own names.
//!
//! All `unsafe` of creel is here, and so is every use of nix, libc, landlock and caps.
//! No policy decision is made here: callers choose the operation, these files perform it. The comment of each
//! function that runs between `clone3` and `exec` says so; such functions do not allocate, lock or panic.

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

pub mod around;
pub mod attempt;
pub mod buffers;
pub mod bus;
pub mod caps;
pub mod clone;
pub mod confine;
pub mod cut;
pub mod dnotify;
pub mod fanotify;
pub mod fd;
pub mod filelease;
pub mod freezer;
pub mod host;
pub mod inherited;
pub mod janitor;
pub mod landlock;
pub mod lease;
pub mod local;
pub mod mount;
pub mod net;
pub mod nowait;
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
pub mod userns;

pub use rustix::io::Errno;

/// The result of a primitive: the kernel's errno and nothing else; the caller writes the message, since it
/// knows what was attempted.
pub type Result<T> = std::result::Result<T, Errno>;
