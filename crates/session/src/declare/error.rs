//! Errors of the declaration of a run.

use std::net::SocketAddr;

use crate::layers::LayerError;
use creel_policy::{Origin, PolicyError};

/// Errors of the declaration of a run. The messages name the flag of `creel run`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// `asked` fits on one line.
    #[error(
        "{flag} {asked}: the platform's or operator's policy does not grant it; add it to `{key}` there"
    )]
    Beyond {
        flag: &'static str,
        asked: String,
        key: &'static str,
    },
    #[error("{flag} {asked} is more than the policy allows: {most} at {}:{}", origin.source, origin.line)]
    OverLimit {
        flag: &'static str,
        asked: String,
        most: String,
        origin: Origin,
    },
    #[error("--workspace: {asked} is more than the policy allows: {most} at {}:{}", origin.source, origin.line)]
    OverWorkspace {
        asked: &'static str,
        most: &'static str,
        origin: Origin,
    },
    #[error(
        "--publish {address}: the platform's and operator's policies allow published ports on loopback only; leave the address out to use the host's loopback"
    )]
    Published { address: SocketAddr },
    #[error(
        "--publish {address}: every machine that reaches this address could connect; leave it out to use the host's loopback, or add --publish-anyway"
    )]
    OpenPublished { address: SocketAddr },
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

creel_policy::codes!(DeclareError {
    Self::Beyond { .. } => "ask-beyond-policy",
    Self::OverLimit { .. } => "ask-over-limit",
    Self::OverWorkspace { .. } => "ask-over-workspace",
    Self::Published { .. } => "ask-published",
    Self::OpenPublished { .. } => "ask-open-published",
} else {
    Self::Layer(error) => error.code(),
    Self::Policy(error) => error.code(),
});
