//! Errors of the declaration of a run.

use std::net::SocketAddr;

use crate::layers::LayerError;
use creel_jail::JailError;
use creel_policy::{Origin, PolicyError};

/// Errors of the declaration of a run. The messages name the flag of `creel run`.
///
/// In every variant, `flag` is the name of the flag, and `asked` its value; `most` is the value that the
/// policy allows, and `origin` the line that sets it. `address` is the address and port on the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum DeclareError {
    /// A flag asks for access that the policies do not grant. `asked` fits on one line; `key` is the key of
    /// the policy that would grant it.
    #[error(
        "{flag} {asked}: the platform's or operator's policy does not grant it; add it to `{key}` there"
    )]
    Beyond {
        flag: &'static str,
        asked: String,
        key: &'static str,
    },
    /// A limit on the command line is higher than that of a policy.
    #[error("{flag} {asked} is more than the policy allows: {most} at {}:{}", origin.source, origin.line)]
    OverLimit {
        flag: String,
        asked: String,
        most: String,
        origin: Origin,
    },
    /// The requested mode of the workspace allows more than that of a policy; both are words of the policy.
    #[error("--workspace: {asked} is more than the policy allows: {most} at {}:{}", origin.source, origin.line)]
    OverWorkspace {
        asked: &'static str,
        most: &'static str,
        origin: Origin,
    },
    /// A port is published beyond loopback, and a platform or an operator has a policy.
    #[error(
        "--publish {address}: the platform's and operator's policies allow published ports on loopback only; leave the address out to use the host's loopback"
    )]
    Published { address: SocketAddr },
    /// A port is published beyond loopback without `--publish-anyway`.
    #[error(
        "--publish {address}: every machine that reaches this address could connect; leave it out to use the host's loopback, or add --publish-anyway"
    )]
    OpenPublished { address: SocketAddr },
    /// The current directory was removed, and a flag names a relative path.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A layer was not found or is invalid.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A policy is invalid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl DeclareError {
    /// The rule of a policy that the error is about; `None` if it is about none.
    pub fn rule(&self) -> Option<Origin> {
        match self {
            Self::OverLimit { origin, .. } | Self::OverWorkspace { origin, .. } => {
                Some(origin.clone())
            }
            Self::Beyond { .. }
            | Self::Published { .. }
            | Self::OpenPublished { .. }
            | Self::Jail(_) => None,
            Self::Layer(error) => error.rule(),
            Self::Policy(error) => error.origin(),
        }
    }
}

creel_policy::codes!(DeclareError {
    Self::Beyond { .. } => "ask-beyond-policy",
    Self::OverLimit { .. } => "ask-over-limit",
    Self::OverWorkspace { .. } => "ask-over-workspace",
    Self::Published { .. } => "ask-published",
    Self::OpenPublished { .. } => "ask-open-published",
} else {
    Self::Jail(error) => error.code(),
    Self::Layer(error) => error.code(),
    Self::Policy(error) => error.code(),
});
