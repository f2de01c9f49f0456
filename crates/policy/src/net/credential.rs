//! A secret that creel adds to requests, outside of the jail.

use std::fmt;

use super::host::Name;
use crate::origin::Origin;

/// A secret that the jail uses but never has: in requests to `host`, over TLS that creel terminates,
/// creel replaces the header's placeholder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credential {
    /// The host whose requests get the secret.
    pub host: Name,
    /// Header name, lower case: `authorization`.
    pub header: String,
    /// The variable in the jail that holds the placeholder.
    pub variable: String,
    /// The source of the secret.
    pub secret: Secret,
    /// The place of the credential.
    pub origin: Origin,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credential {
            host,
            header,
            variable,
            secret,
            ..
        } = self;
        write!(f, "{header} for {host}: {variable} stands for ")?;
        match secret {
            Secret::Variable(name) => write!(f, "the variable {name} of creel's own"),
            Secret::File(path) => write!(f, "what is in {path}"),
        }
    }
}

/// The supervisor's source of a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// A variable of creel's own environment.
    Variable(String),
    /// A file, read before the relay is confined; a newline at its end is not part of the secret.
    File(String),
}
