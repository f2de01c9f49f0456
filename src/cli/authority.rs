//! What the command line may ask where a platform or an operator has a policy: nothing beyond it.
//!
//! Without such a policy the caller is the operator, and `--read`, `--write`, `--exec`, `--allow-net`, `--env` and the limits'
//! flags say what is granted. With one, each flag must lie within, and one that does not is an error
//! that names it: whoever typed it wants to know.

use std::path::Path;

use super::hint::Failure;
use creel_plan::Request;
use creel_policy::rights::{Bound, Rights, Roots};
use creel_policy::trees::{Trees, clean};
use creel_policy::{Policy, WorkspaceMode};

/// Refuses what `request` asks beyond closed rights and the policy that came of them.
pub fn check(
    request: &Request,
    rights: &Rights,
    policy: &Policy,
    roots: &Roots,
) -> Result<(), Failure> {
    paths("--read", &request.read, &rights.read, roots)?;
    paths("--write", &request.write, &rights.write, roots)?;
    paths("--exec", &request.exec, &rights.exec, roots)?;
    super::network::check(&request.allow_net, &rights.network)?;
    super::network::check_published(&request.publish)?;
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

/// Refuses a mode of the workspace that is more than `policy` has, the policy of the layers alone.
pub fn check_workspace(asked: WorkspaceMode, policy: &Policy) -> Result<(), Failure> {
    match &policy.filesystem.workspace {
        Some(most) if most.value < asked => Err(Failure::new(format!(
            "--workspace: {} is more than the policy allows: {} at {}:{}",
            asked.name(),
            most.value.name(),
            most.origin.source,
            most.origin.line
        ))),
        _ => Ok(()),
    }
}

fn paths(
    flag: &str,
    asked: &[impl AsRef<Path>],
    granted: &Trees,
    roots: &Roots,
) -> Result<(), Failure> {
    for path in asked {
        let text = path.as_ref().to_string_lossy();
        let absolute = match text.starts_with('/') {
            true => clean(&text),
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
    flag: &str,
    asked: Option<T>,
    most: &Bound<T>,
) -> Result<(), Failure> {
    match (asked, most) {
        (Some(asked), Some(most)) if asked > most.value => Err(Failure::new(format!(
            "{flag} {asked} is more than the policy allows: {} at {}:{}",
            most.value, most.origin.source, most.origin.line
        ))),
        _ => Ok(()),
    }
}

fn beyond(flag: &str, asked: &str, key: &str) -> Failure {
    Failure::new(format!(
        "{flag} {}: the platform's or operator's policy does not grant it; add it to `{key}` there",
        asked.escape_debug()
    ))
}
