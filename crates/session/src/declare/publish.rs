//! The addresses that a server in the jail may be published on.

use serde::{Deserialize, Serialize};

use super::error::DeclareError;
use creel_plan::request::Publish;

/// The addresses that a server in the jail may be published on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishOn {
    /// The host's loopback.
    #[default]
    Loopback,
    /// Any address of the host, where other machines may connect.
    Any,
}

/// Returns an error if a port is published on another address than loopback, where other machines could
/// connect.
pub fn only_loopback(published: &[Publish]) -> Result<(), DeclareError> {
    match open(published) {
        Some(Publish { address, .. }) => Err(DeclareError::OpenPublished { address: *address }),
        None => Ok(()),
    }
}

/// Returns an error if other machines could connect to a published port: no platform's or operator's policy
/// grants that.
pub(crate) fn check(published: &[Publish]) -> Result<(), DeclareError> {
    match open(published) {
        Some(Publish { address, .. }) => Err(DeclareError::Published { address: *address }),
        None => Ok(()),
    }
}

fn open(published: &[Publish]) -> Option<&Publish> {
    published.iter().find(|p| !p.address.ip().is_loopback())
}
