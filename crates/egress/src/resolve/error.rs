//! Errors of name resolution.

use std::net::SocketAddr;
use std::time::Duration;

/// Time limit for one name: two rounds over all servers, and its aliases.
pub const WHOLE: Duration = Duration::from_secs(15);

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    #[error("no resolver is known")]
    NoResolver,
    #[error("it does not exist")]
    NoName,
    #[error("it exists without an address")]
    NoAddress,
    #[error("its aliases do not end")]
    Aliases,
    #[error("no resolver answered in {} s", WHOLE.as_secs())]
    Late,
    #[error("the resolver {server} failed: {why}")]
    Server { server: SocketAddr, why: String },
}

creel_policy::codes!(ResolveError {
    Self::NoResolver => "dns-no-resolver",
    Self::NoName => "dns-no-name",
    Self::NoAddress => "dns-no-address",
    Self::Aliases => "dns-aliases",
    Self::Late => "dns-late",
    Self::Server { .. } => "dns-server",
});
