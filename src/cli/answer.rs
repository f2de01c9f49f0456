//! Writes the answers of all verbs to stdout.
//!
//! If the reader has closed the pipe (`creel policy check | head -1`), creel prints no error and keeps the
//! exit status of the answer. A closed stdout or any other write error is a failure: the answer is lost.

use std::io;

use super::failure::Failure;
use super::hint;
use creel_policy::error::escaped_json;
use creel_sys::{fd, signal, startup};

/// Writes an answer to stdout and waits for a slow reader ([`hint::LONGEST`]).
pub fn print(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), Failure> {
    // `policy test` and `selftest` catch signals for their jails; from here on a SIGTERM ends the wait.
    signal::listen_no_more();
    written(1, text.as_ref())
}

/// Writes an answer to stderr, for a verb whose stdout carries another answer.
pub fn print_beside(text: &str) -> Result<(), Failure> {
    written(2, text.as_bytes())
}

/// Writes an answer as JSON.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&(escaped_json(serde_json::to_string_pretty(value)?) + "\n"))
}

fn written(number: i32, bytes: &[u8]) -> Result<(), Failure> {
    let name = if number == 1 { "stdout" } else { "stderr" };
    if startup::was_closed(number) {
        return Err(Failure::new(format!(
            "{name} is closed, and the answer would be lost; redirect it, for example to a file"
        )));
    }
    match hint::deliver(fd::fixed(number), bytes, hint::LONGEST) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "the answer could not be written to {name} ({error}); redirect it to a filesystem with free space"
        ))),
        _ => Ok(()),
    }
}
