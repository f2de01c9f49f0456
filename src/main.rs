//! The binary is thin: the library carries the code.
//!
//! It has C's `main`, not Rust's: the standard library's own start-up reads `/proc/self/maps`, makes
//! a signal stack and replaces closed descriptors, which costs more than parsing the command line
//! and hides that a stream was closed. `sys::startup` does what is needed of it.

#![no_main]

use std::ffi::{c_char, c_int};

// SAFETY: the one symbol `main` of the program, with the signature that the C runtime calls.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    c_int::from(creel::cli::main())
}
