//! Errors of name resolution.

use std::net::SocketAddr;
use std::time::Duration;

/// Time limit for one name: two rounds over all servers, and its aliases.
pub const WHOLE: Duration = Duration::from_secs(15);

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The host and the policy name no resolver.
    #[error("no resolver is known")]
    NoResolver,
    /// NXDOMAIN (RFC 1035).
    #[error("it does not exist")]
    NoName,
    /// The name has no record of type A or AAAA.
    #[error("it exists without an address")]
    NoAddress,
    /// The chain of aliases is a loop, or too long.
    #[error("its aliases do not end")]
    Aliases,
    /// No server answered within the time limit.
    #[error("no resolver answered in {} s", WHOLE.as_secs())]
    Late,
    /// Every server failed; this is the last error.
    #[error("the resolver {server} failed: {why}")]
    Server {
        /// The server.
        server: SocketAddr,
        /// Its error.
        why: String,
    },
}

creel_policy::codes!(ResolveError {
    Self::NoResolver => "dns-no-resolver",
    Self::NoName => "dns-no-name",
    Self::NoAddress => "dns-no-address",
    Self::Aliases => "dns-aliases",
    Self::Late => "dns-late",
    Self::Server { .. } => "dns-server",
});
