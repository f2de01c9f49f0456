//! Names outside: the host's own resolvers, asked for canonical names and nothing that a jail can vary.

use std::net::{IpAddr, SocketAddr};

use crate::policy::net::Name;

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("no resolver is known")]
    NoResolver,
}

/// What is needed to resolve, read before the relay is confined.
#[derive(Debug, Default)]
pub struct Resolver {
    pub servers: Vec<SocketAddr>,
    /// Of `/etc/hosts`.
    pub hosts: Vec<(Name, IpAddr)>,
}

impl Resolver {
    /// What the host's own files say.
    pub fn of_host() -> Resolver {
        Resolver::default()
    }

    /// The name's addresses, in the order in which to dial them.
    pub async fn resolve(&self, _name: &Name) -> Result<Vec<IpAddr>, ResolveError> {
        Err(ResolveError::NoResolver)
    }
}
