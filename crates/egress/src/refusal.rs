//! Why a connection is refused or closed early. The record, the proxies' replies and the verdict use these
//! texts.

use creel_policy::net::Why;
use creel_policy::net::decide::UNNAMED;

/// Why a destination is refused or a connection closed; displays as the text for the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Policy(Why),
    #[error("nobody allowed it when asked")]
    Unanswered,
    #[error("it is no host: {0}")]
    NoHost(String),
    #[error("the address {address} is {kind}, and {}", UNNAMED)]
    Special { address: String, kind: &'static str },
    #[error("the name has no address: {0}")]
    Unresolved(String),
    #[error("nobody answers: {0}")]
    Dial(String),
    #[error("the limit {0} is reached")]
    Limit(&'static str),
    /// The traffic is malformed, or not what the rules grant.
    #[error("{0}")]
    Spoken(String),
    #[error("closed by creel: {0}")]
    Closed(&'static str),
}
