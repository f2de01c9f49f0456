//! Policy search directories. The jail must not be able to write to them; otherwise it could change the
//! policy of the next run.
//!
//! If such a directory lies in a tree that the jail may write to, this module protects it: it becomes its
//! own mount if it exists, and its creation is blocked if it does not. A tree is refused if a symbolic link
//! in it leads to such a directory.

use std::borrow::Cow;
use std::path::Path;

use super::host::{Fact, Host, SearchDir};
use super::paths::{HostPaths, within, workspace, workspace_mode};
use super::refusal::ResolveError;
use super::request::Request;
use super::request::Way;
use super::view::View;
use super::wanted::{Purpose, Wanted};
use creel_policy::{Absent, Origin, Policy, WorkspaceMode};

/// Links that the kernel follows in one path, path_resolution(7).
pub const MOST_LINKS: usize = 40;

/// The lookups that [`resolve`](fn@super::resolve) needs for policy search directories in writable trees: each
/// directory itself, and its parents within the tree.
pub fn wanted(policy: &Policy, request: &Request, host: &Host) -> Vec<Wanted> {
    let trees = writable(policy, request, host);
    let mut all = vec![];
    // The target of a link in such a tree is not needed: the link is refused.
    let turned = |seat: &&SearchDir| {
        let mut links = seat.links.iter();
        links.any(|link| trees.iter().any(|tree| within(link, tree)))
    };
    for seat in host.found.search_dirs.iter().filter(|seat| !turned(seat)) {
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

/// Whether the jail may write to any file of the host.
pub fn writes(policy: &Policy, request: &Request) -> bool {
    workspace_mode(policy) == WorkspaceMode::ReadWrite
        || !policy.filesystem.write.is_empty()
        || request.raw.iter().any(|raw| raw.way == Way::Write)
}

/// The real paths of all trees requested as writable, and the names that lead to them.
pub fn writable<'h>(policy: &Policy, request: &Request, host: &'h Host) -> Vec<&'h Path> {
    let at = HostPaths::of(policy, request, host);
    let granted = Way::Write.granted(policy, request, &at);
    let mode = workspace_mode(policy);
    let own = (mode == WorkspaceMode::ReadWrite).then(|| workspace(policy, request, host));
    let real = |path: Cow<Path>| match host.paths.get(&*path) {
        Some(Fact::Present { real, .. }) => Some(real.as_path()),
        _ => None,
    };
    let named = granted.filter_map(|grant| grant.path);
    let named = named.chain(own.map(Cow::Owned));
    let mut trees: Vec<&Path> = named.filter_map(real).collect();
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
    /// Protects the policy search directories, after all grants are known.
    pub(super) fn search_dirs(&mut self) -> Result<(), ResolveError> {
        let origin = Origin {
            source: "a policy search directory".into(),
            line: 0,
        };
        for seat in &self.host.found.search_dirs {
            for link in &seat.links {
                if let Some(tree) = self.writable_tree(link) {
                    return Err(ResolveError::SearchDirLink {
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
