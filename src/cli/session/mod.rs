//! Sessions: `creel create`, `exec` and the verbs that look at sessions and end them.

pub mod copy;
pub mod create;
pub mod docker;
mod door;
pub mod ends;
pub mod exec;
pub mod files;
pub mod hook;
pub mod look;
pub mod net;
pub mod shell;
pub mod ssh;
mod stream;
mod tar;

use super::failure::Failure;
use creel_egress::reason::Reason;
use creel_session::SessionError;
use creel_session::keep::client::Client;
use creel_session::keep::store::{Life, Store};

/// The name of a session
#[derive(clap::Args)]
pub struct NameArgs {
    /// The session
    #[arg(value_name = "NAME")]
    pub name: String,
}

pub fn failure(error: &SessionError) -> Failure {
    Failure {
        reason: Some(Reason::of_error(error.code(), None)),
        ..Failure::of(error).with_status(error.status())
    }
}

/// Connects to a session that lives.
pub fn client(store: &Store, name: &str) -> Result<Client, Failure> {
    let error = match store.life(name).map_err(|e| failure(&e))? {
        Some(Life::Alive) => return Client::connect(store, name).map_err(|e| failure(&e)),
        Some(Life::Over) => SessionError::Ended { name: name.into() },
        None => SessionError::None { name: name.into() },
    };
    Err(failure(&error))
}

pub fn store() -> Result<Store, Failure> {
    Store::of_caller().map_err(|e| failure(&e))
}
