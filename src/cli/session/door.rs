//! Shared by the entry points of one word: a session that is made at its first use, with the flags of
//! `CREEL_FLAGS`.

use std::ffi::OsString;
use std::path::Path;

use clap::{Args as _, FromArgMatches as _};

use super::create::{self, CreateArgs};
use super::{client, store};
use crate::cli::failure::Failure;
use creel_session::keep::client::Client;

/// The variables that name a session's key and further flags of `creel create`.
pub const KEY: &str = "CREEL_SESSION";
pub const FLAGS: &str = "CREEL_FLAGS";

/// How often a session is made anew that has ended, by its idle timeout, between being found and being asked.
const ATTEMPTS: usize = 3;

/// The flags of `CREEL_FLAGS`, separated by white space.
pub fn flags() -> Vec<OsString> {
    let more = std::env::var(FLAGS).unwrap_or_default();
    more.split_whitespace().map(OsString::from).collect()
}

/// Reads words as those of `creel create`. A flag that is given twice: the later one holds.
pub fn create_args(words: Vec<OsString>) -> Result<CreateArgs, Failure> {
    let command = CreateArgs::augment_args(clap::Command::new("creel create"));
    let all = [OsString::from("creel create")].into_iter().chain(words);
    let parsed = command.args_override_self(true).try_get_matches_from(all);
    let parsed = parsed.and_then(|matches| CreateArgs::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::new(format!("{FLAGS}: {}", first.trim_start_matches("error: ")))
    })
}

/// Makes the session, unless it is there, and connects to it.
pub fn open(args: &CreateArgs) -> Result<Client, Failure> {
    for _ in 1..ATTEMPTS {
        let name = create::make(args)?;
        if let Ok(client) = client(&store()?, &name) {
            return Ok(client);
        }
    }
    let name = create::make(args)?;
    client(&store()?, &name)
}

/// The shell of scripts.
pub fn shell() -> &'static str {
    let mut shells = ["/bin/bash", "/bin/sh"].into_iter();
    shells
        .find(|shell| Path::new(shell).exists())
        .unwrap_or("/bin/sh")
}
