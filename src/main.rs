//! The binary: it only calls the library.
//!
//! It has C's `main`, not Rust's: the standard library's own start-up reads `/proc/self/maps`, makes
//! a signal stack and replaces closed descriptors, which costs more than parsing the command line
//! and hides that a stream was closed. `sys::startup` does the needed part of it.

#![no_main]

use std::ffi::{c_char, c_int};

// SAFETY: the program's only symbol `main`, with the signature that the C runtime calls.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    c_int::from(creel::cli::main())
}
