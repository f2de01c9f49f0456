//! Answers on stdout, of every verb that has one.
//!
//! Owns the one rule. A reader that has gone (`creel policy check | head -1`) has read what it wanted: nothing is
//! said, and the exit status is the answer's own. An answer that cannot be written for any other reason, or to a
//! closed stdout, is a failure and told as one, for whoever asked has not got it.

use std::io;

use super::failure::Failure;
use super::hint;
use creel_policy::error::escaped_json;
use creel_sys::{fd, signal, startup};

/// Writes an answer, however long its reader takes.
pub fn print(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), Failure> {
    // Cases may have run in jails; now a SIGTERM ends what waits for a reader.
    signal::listen_no_more();
    written(1, text.as_ref())
}

/// The same to stderr, of a verb whose stdout has another.
pub fn print_beside(text: &str) -> Result<(), Failure> {
    written(2, text.as_bytes())
}

/// An answer for programs.
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
            "the answer could not be written to {name} ({error}); redirect it to where there is room"
        ))),
        _ => Ok(()),
    }
}
