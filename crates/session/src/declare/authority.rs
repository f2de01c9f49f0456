//! The limits of a caller's request if a platform or an operator has a policy: the request must lie within
//! it.
//!
//! Without such a policy the caller is the operator, and `--read`, `--write`, `--exec`, `--allow-net`,
//! `--env` and the limits' flags are granted. With one, each flag must lie within it; otherwise the error
//! names the flag.

use std::path::Path;

use super::error::DeclareError;
use creel_plan::Request;
use creel_plan::request::Publish;
use creel_policy::net::meet::Bounds;
use creel_policy::net::{List, Mode, OnMiss, Rule};
use creel_policy::path_set::PathSet;
use creel_policy::rights::{Bound, Rights, Roots};
use creel_policy::{Network, Policy, WorkspaceMode};

/// Returns an error if `request` exceeds the finalized rights or the policy that results from them.
pub fn check(
    request: &Request,
    rights: &Rights,
    policy: &Policy,
    roots: &Roots,
) -> Result<(), DeclareError> {
    paths("--read", &request.read, &rights.read, roots)?;
    paths("--write", &request.write, &rights.write, roots)?;
    paths("--exec", &request.exec, &rights.exec, roots)?;
    destinations(&request.allow_net, &rights.network)?;
    published(&request.publish)?;
    for (name, value) in &request.env {
        let name = name.to_string_lossy();
        let passed = policy.environment.pass.iter().any(|p| p.value == name);
        let set = policy.environment.set.get(name.as_ref());
        if !passed && set.is_none_or(|set| *set.value != **value) {
            return Err(beyond("--env", &name, "environment.pass"));
        }
    }
    for layer in &request.allow_degraded {
        if !policy.allow_degraded.contains(layer) {
            return Err(beyond("--allow-degraded", layer.name(), "allow_degraded"));
        }
    }
    let (asked, most) = (&request.limits, &rights.limits);
    limit("--memory", asked.memory, &most.memory)?;
    limit("--cpus", asked.cpus, &most.cpus)?;
    limit("--pids", asked.pids, &most.pids)?;
    limit("--timeout", asked.timeout, &most.timeout)?;
    limit("--cpu-time", asked.cpu_time, &most.cpu_time)?;
    limit("--disk", asked.disk, &most.disk)?;
    limit("--output-limit", asked.output, &most.output)
}

/// Returns an error if a port is published on another address than loopback, where other machines could
/// connect.
pub fn only_loopback(published: &[Publish]) -> Result<(), DeclareError> {
    match published.iter().find(|p| !p.address.ip().is_loopback()) {
        Some(Publish { address, .. }) => Err(DeclareError::OpenPublished { address: *address }),
        None => Ok(()),
    }
}

/// Grants these destinations in addition. Deny rules still apply.
pub fn grant(network: &mut Network, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    if network.mode == Mode::None {
        network.mode = Mode::Allowlist;
        network.lists.clear();
    }
    let mut lists = std::mem::take(&mut network.lists);
    if lists.is_empty() {
        lists.insert(List {
            on_miss: OnMiss::Deny,
            rules: Default::default(),
        });
    }
    // A destination must be on each list.
    network.lists = lists
        .into_iter()
        .map(|mut list| {
            list.rules.extend(rules.iter().cloned());
            list
        })
        .collect();
}

/// Returns an error if the requested workspace mode exceeds that of `policy`, which results from the layers
/// alone.
pub fn check_workspace(asked: WorkspaceMode, policy: &Policy) -> Result<(), DeclareError> {
    match &policy.filesystem.workspace {
        Some(most) if most.value < asked => Err(DeclareError::OverWorkspace {
            asked: asked.name(),
            most: most.value.name(),
            origin: most.origin.clone(),
        }),
        _ => Ok(()),
    }
}

/// Returns an error for a destination beyond the rights of the policies in force.
fn destinations(rules: &[Rule], granted: &Bounds) -> Result<(), DeclareError> {
    let beyond = |rule: &&Rule| granted.mode() == Mode::None || !granted.covers(rule);
    match rules.iter().find(beyond) {
        Some(rule) => Err(DeclareError::Beyond {
            flag: "--allow-net",
            asked: rule.destination(),
            key: "network.allow",
        }),
        None => Ok(()),
    }
}

/// Returns an error if other machines could connect to a published port: no platform's or operator's policy
/// grants that.
fn published(published: &[Publish]) -> Result<(), DeclareError> {
    match published.iter().find(|p| !p.address.ip().is_loopback()) {
        Some(open) => Err(DeclareError::Published {
            address: open.address,
        }),
        None => Ok(()),
    }
}

fn paths(
    flag: &'static str,
    asked: &[impl AsRef<Path>],
    granted: &PathSet,
    roots: &Roots,
) -> Result<(), DeclareError> {
    for path in asked {
        let text = path.as_ref().to_string_lossy();
        let absolute = match text.starts_with('/') {
            true => roots.expand(&text),
            false => {
                let cwd = std::env::current_dir().unwrap_or_default();
                roots.expand(&cwd.join(path.as_ref()).to_string_lossy())
            }
        };
        if absolute.split('/').any(|part| part == "..") || !granted.cover(&absolute) {
            return Err(beyond(flag, &text, "filesystem"));
        }
    }
    Ok(())
}

fn limit<T: Ord + std::fmt::Display>(
    flag: &'static str,
    asked: Option<T>,
    most: &Bound<T>,
) -> Result<(), DeclareError> {
    match (asked, most) {
        (Some(asked), Some(most)) if asked > most.value => Err(DeclareError::OverLimit {
            flag,
            asked: asked.to_string(),
            most: most.value.to_string(),
            origin: most.origin.clone(),
        }),
        _ => Ok(()),
    }
}

fn beyond(flag: &'static str, asked: &str, key: &'static str) -> DeclareError {
    let asked = asked.escape_debug().to_string();
    DeclareError::Beyond { flag, asked, key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_policy::Origin;
    use creel_policy::net::decide::Transport;
    use creel_policy::net::{Answer, Host};

    fn allows(network: &Network, text: &str) -> bool {
        let (host, port) = Host::parse_with_port(text.as_bytes(), 443).unwrap();
        matches!(network.judge(&host, port, Transport::Tcp), Answer::Allow(_))
    }

    fn rules(texts: &[&str]) -> Vec<Rule> {
        let rule = |text: &&str| Rule::of_text(text, Origin::creel()).unwrap();
        texts.iter().map(rule).collect()
    }

    #[test]
    fn what_is_named_is_granted_and_nothing_else() {
        let mut network = Network::default();
        grant(&mut network, &rules(&["a.example", "b.example:22"]));
        assert!(allows(&network, "a.example") && allows(&network, "b.example:22"));
        assert!(!allows(&network, "b.example") && !allows(&network, "c.example"));
        network.deny =
            std::iter::once(Rule::denial("a.example", Origin::creel()).unwrap()).collect();
        grant(&mut network, &rules(&["a.example", "c.example"]));
        assert!(!allows(&network, "a.example") && allows(&network, "c.example"));
        grant(&mut network, &[]);
        assert!(!allows(&network, "a.example") && allows(&network, "c.example"));
    }
}
