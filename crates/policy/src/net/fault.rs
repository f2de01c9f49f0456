//! Errors in the network settings of a policy.

use super::rule::RuleError;
use crate::error::shown;

/// Why a value of `[network]` was rejected. Continues the sentence after its place, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    #[error("destination '{}' in '{key}' {fault}", shown(text))]
    Destination {
        key: String,
        text: String,
        // In the message, so not a source.
        fault: RuleError,
    },
    #[error("resolver '{}' in 'network.resolvers' is no IP:PORT; write for example \"9.9.9.9:53\"", shown(.0))]
    Resolver(String),
    #[error("header '{}' in 'network.credentials' is no header's name; write for example \"authorization\"", shown(.0))]
    Header(String),
    #[error(
        "the credential for '{}' has no TLS to be put into; allow that host with tls = \"terminate\"",
        shown(.0)
    )]
    Forwarded(String),
    #[error(
        "'network.credentials.secret' needs one of env and file; write {{ env = \"NAME\" }} or {{ file = \"/path\" }}"
    )]
    Secret,
}
