//! Where policies that grant are looked for: nothing of the jail's gets there, or it would rule the
//! next run.
//!
//! Owns the keeping of such a directory in whatever tree the jail may write to: as one mount where it
//! is there, withheld where it is absent. It refuses a tree in which a link lies on the way to one.

use std::path::{Path, PathBuf};

use super::host::{Fact, Host, Seat};
use super::paths::{absolute, expand, real_workspace};
use super::paths::{within, workspace, workspace_mode};
use super::refusal::ResolveError;
use super::request::Request;
use super::view::View;
use super::wanted::{Purpose, Wanted};
use creel_policy::{Absent, Origin, Policy, WorkspaceMode};

/// Links that the kernel follows in one name, path_resolution(7).
pub const MOST_LINKS: usize = 40;

/// What else [`resolve`](super::resolve) will ask this host about, whose paths are known by now: of a
/// seat in a writable tree what it is, and what is above it there.
pub fn wanted(policy: &Policy, request: &Request, host: &Host) -> Vec<Wanted> {
    let trees = writable(policy, request, host);
    let mut all = vec![];
    // What a link in such a tree leads to does not matter: it is refused.
    let turned = |seat: &&Seat| {
        let mut links = seat.links.iter();
        links.any(|link| trees.iter().any(|tree| within(link, tree)))
    };
    for seat in host.found.seats.iter().filter(|seat| !turned(seat)) {
        let around = trees.iter().filter(|tree| within(&seat.path, tree));
        let Some(tree) = around.min_by_key(|tree| tree.as_os_str().len()) else {
            continue;
        };
        let above = seat.path.ancestors().take_while(|path| path != tree);
        all.extend(above.enumerate().map(|(at, path)| Wanted {
            path: path.to_path_buf(),
            purpose: match at {
                0 => Purpose::Protect,
                _ => Purpose::Read,
            },
        }));
    }
    all
}

/// Whether the jail may write to anything of the host's.
pub fn writes(policy: &Policy, request: &Request) -> bool {
    let mode = workspace_mode(policy, request);
    let granted = &policy.filesystem.write;
    mode == WorkspaceMode::ReadWrite || !granted.is_empty() || !request.write.is_empty()
}

/// Where the trees really are that are asked for to be written, and the names that lead there.
pub fn writable<'h>(policy: &Policy, request: &Request, host: &'h Host) -> Vec<&'h Path> {
    let place = real_workspace(policy, request, host);
    let granted = policy.filesystem.write.iter();
    let granted = granted.filter_map(|grant| expand(&grant.path, host, &place));
    let asked = request.write.iter().map(|path| absolute(path, host));
    let mode = workspace_mode(policy, request);
    let own = (mode == WorkspaceMode::ReadWrite).then(|| workspace(policy, request, host));
    let real = |path: PathBuf| match host.paths.get(&path) {
        Some(Fact::Present { real, .. }) => Some(real.as_path()),
        _ => None,
    };
    let mut trees: Vec<&Path> = granted.chain(asked).chain(own).filter_map(real).collect();
    let named = host.paths.iter().filter_map(|(name, fact)| match fact {
        Fact::Present { real, .. } if real != name => {
            let near = |tree: &&Path| within(real, tree) || within(tree, real);
            trees.iter().any(near).then_some(name.as_path())
        }
        _ => None,
    });
    let named: Vec<&Path> = named.collect();
    trees.extend(named);
    trees
}

impl View<'_> {
    /// Keeps the seats of policies as they are, after all grants are known.
    pub(super) fn seats(&mut self) -> Result<(), ResolveError> {
        let origin = Origin {
            source: "where your policies are looked for".into(),
            line: 0,
        };
        for seat in &self.host.found.seats {
            for link in &seat.links {
                if let Some(tree) = self.writable_tree(link) {
                    return Err(ResolveError::SeatLink {
                        link: link.clone(),
                        seat: seat.path.clone(),
                        tree,
                    });
                }
            }
            self.hold(&seat.path, Absent::Refuse, &origin)?;
        }
        Ok(())
    }
}
