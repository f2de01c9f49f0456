//! Which grants must not lead out of a directory: those whose name the policy's author left to
//! somebody else.
//!
//! Owns the list of them. It looks at no link and refuses nothing: the plan does, by what the name was
//! found to be when it was opened.

use super::layer::{Layer, Rank};
use super::rights::{Rights, Roots};
use super::tools::Tool;
use super::trees::within;
use super::{Confined, Grant, Policy};

/// What of the policy is confined, which these layers came to.
pub(super) fn confined(
    layers: &[&(Rank, Layer)],
    rights: &Rights,
    policy: &Policy,
    roots: &Roots,
) -> Vec<Confined> {
    let met: Vec<_> = layers
        .iter()
        .flat_map(|(_, layer)| &layer.filesystem.met)
        .collect();
    if met.is_empty() {
        return vec![];
    }
    let mut all = vec![];
    for grant in granted(rights, policy, roots) {
        // What another layer names beneath such a name is reached through it.
        let through = met.iter().filter(|one| within(&grant.path, &one.name));
        all.extend(through.map(|one| Confined {
            path: grant.path.clone(),
            base: one.base.clone(),
            origin: grant.origin.clone(),
        }));
    }
    all.sort();
    all.dedup();
    all
}

/// Every path that the policy grants, or may when the command is known; absolute.
fn granted(rights: &Rights, policy: &Policy, roots: &Roots) -> Vec<Grant> {
    let files = &policy.filesystem;
    let lists = [&files.read, &files.write, &files.load, &files.exec];
    let trees = lists.into_iter().flatten().map(|grant| Grant {
        path: roots.expand(&grant.path),
        ..grant.clone()
    });
    let commands = rights.constraints(Tool::Exec).commands.iter().flatten();
    let programs = commands.map(|(path, allowed)| Grant {
        path: path.clone(),
        absent: allowed.absent,
        origin: allowed.origin.clone(),
    });
    trees.chain(programs).collect()
}
