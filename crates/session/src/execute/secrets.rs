//! The secrets of credentials. The jail gets placeholders instead.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::error::ExecuteError;
use super::outlets::in_reach;
use creel_plan::egress::Egress;
use creel_plan::{Act, Plan};
use creel_policy::net::Secret;

/// Returns an error if the jail could read a secret in its file or would get it in its variable.
pub fn check(plan: &Plan) -> Result<(), ExecuteError> {
    let egress = plan.acts().find_map(|act| match act {
        Act::Egress(egress) => Some(egress),
        _ => None,
    });
    let credentials = egress.map(|egress| egress.network.credentials.as_slice());
    let handed_on = |name: &String| {
        let inside = plan.command.environment.get(name.as_bytes());
        let secret = std::env::var_os(name);
        inside.is_some_and(|value| secret.is_some_and(|secret| secret.as_bytes() == value))
    };
    for credential in credentials.unwrap_or_default() {
        let file = match &credential.secret {
            Secret::File(file) => file,
            Secret::Variable(name) if handed_on(name) => {
                return Err(ExecuteError::SecretHandedOn {
                    variable: name.clone(),
                    host: credential.host.to_string(),
                });
            }
            Secret::Variable(_) => continue,
        };
        // A missing file is reported by the relay.
        let Ok(real) = Path::new(file).canonicalize() else {
            continue;
        };
        let masked = plan.acts().any(|act| match act {
            Act::Mask { path, .. } => {
                let hidden = plan.jail.on_host(path);
                hidden.is_some_and(|hidden| real.starts_with(hidden))
            }
            _ => false,
        });
        if !masked && in_reach(&real, plan, |_| true) {
            return Err(ExecuteError::SecretInReach {
                file: file.clone(),
                host: credential.host.to_string(),
            });
        }
    }
    Ok(())
}

/// The names of the caller's variables that hold secrets of credentials.
pub fn variables(egress: &Egress) -> Vec<String> {
    let credentials = egress.network.credentials.iter();
    let named = credentials.filter_map(|credential| match &credential.secret {
        Secret::Variable(name) => Some(name.clone()),
        Secret::File(_) => None,
    });
    named.collect()
}
