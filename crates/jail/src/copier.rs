//! Detached mounts of pinned inodes, with the user namespaces that map their owners.

use std::collections::btree_map::{BTreeMap, Entry};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::JailError;
use super::pins::Pin;
use creel_plan::Owner;
use creel_sys::userns::{Idmap, Range};
use creel_sys::{Errno, cut, fd, mount, overlay};

/// Makes detached mounts of pinned inodes, for a process that may mount on the host.
pub(super) struct Copier {
    /// The host id of the jail's user, if the jail has a range of ids.
    pub(super) jail_user: Option<u32>,
    /// By owner on the host, the user namespace that maps the owner to the jail's user.
    pub(super) idmaps: BTreeMap<(u32, u32), Idmap>,
}

impl Copier {
    pub(super) fn copy(
        &mut self,
        path: &Path,
        pin: &Pin,
        attributes: u64,
        owner: Owner,
        without: &[PathBuf],
    ) -> Result<OwnedFd, JailError> {
        let fault = |source| JailError::Tree {
            path: path.into(),
            source,
        };
        let tree = match without {
            [] => mount::copy_tree(pin.fd.as_fd(), c""),
            some => {
                let some: Vec<&Path> = some.iter().map(PathBuf::as_path).collect();
                cut::copy_without(path, pin.stat, &some)
            }
        };
        let tree = tree.map_err(fault)?;
        if let (Owner::Mapped { uid, gid }, Some(user)) = (owner, self.jail_user) {
            let map = self.map((uid, gid), user);
            let map = map.map_err(|source| JailError::UserNamespace { source })?;
            mount::idmap(tree.as_fd(), map.namespace.as_fd()).map_err(|source| {
                JailError::Idmap {
                    path: path.into(),
                    source,
                }
            })?;
        }
        mount::set(tree.as_fd(), attributes, mount::Reach::Below).map_err(fault)?;
        Ok(tree)
    }

    /// A detached mount of one directory without what is mounted beneath, for a layer of an overlay.
    fn layer(&mut self, path: &Path, pin: &Pin, owner: Owner) -> Result<OwnedFd, JailError> {
        let fault = |source| JailError::Tree {
            path: path.into(),
            source,
        };
        let layer = mount::copy_one(pin.fd.as_fd(), c"").map_err(fault)?;
        if let Owner::Mapped { uid, gid } = owner {
            let map = self.own(&layer, (uid, gid));
            map.map_err(|source| JailError::Idmap {
                path: path.into(),
                source,
            })?;
        }
        Ok(layer)
    }

    /// A detached overlay of a pinned directory. `layers`: the directory of its layers.
    pub(super) fn overlay(
        &mut self,
        (path, pin): (&Path, &Pin),
        layers: &Path,
        attributes: u64,
        owner: Owner,
    ) -> Result<OwnedFd, JailError> {
        let own = pinned_layers(layers)?;
        let lower = self.layer(path, pin, owner)?;
        let upper = self.layer(layers, &own, owner)?;
        let user = match (owner, self.jail_user) {
            (Owner::Mapped { .. }, Some(user)) => user,
            // Without a range of ids the jail's user is the owner.
            _ => pin.stat.uid,
        };
        overlay::mount_mapped(&lower, &upper, user, attributes).map_err(|source| {
            JailError::Overlay {
                path: layers.into(),
                source,
            }
        })
    }

    /// Maps the owner of a detached mount to the jail's user, if the jail has a range of ids.
    pub(super) fn own(&mut self, tree: &OwnedFd, owner: (u32, u32)) -> creel_sys::Result<()> {
        match self.jail_user {
            Some(user) => mount::idmap(tree.as_fd(), self.map(owner, user)?.namespace.as_fd()),
            None => Ok(()),
        }
    }

    /// The user namespace that maps `owner` to the jail's user.
    fn map(&mut self, owner: (u32, u32), user: u32) -> creel_sys::Result<&Idmap> {
        Ok(match self.idmaps.entry(owner) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(shown(owner, user)?),
        })
    }
}

/// Pins the directory of an overlay's layers, which must be the caller's alone.
pub(super) fn pinned_layers(path: &Path) -> Result<Pin, JailError> {
    let fault = |source| JailError::Overlay {
        path: path.into(),
        source,
    };
    let fd = fd::pin_exact(path).map_err(fault)?;
    let found = rustix::fs::fstat(&fd).map_err(fault)?;
    let (uid, _) = creel_sys::host::ids();
    if found.st_uid != uid || found.st_mode & 0o077 != 0 {
        return Err(fault(Errno::PERM));
    }
    let stat = fd::stat(fd.as_fd()).map_err(fault)?;
    Ok(Pin { fd, stat })
}

/// Maps the owner to the jail's user and every other id to itself, as on any other mount: the jail has none
/// of those ids, and the kernel treats their files as other users'. Without a mapping for them the kernel
/// would answer EOVERFLOW to a chown(2), and to the removal of another user's file.
fn shown(owner: (u32, u32), user: u32) -> creel_sys::Result<Idmap> {
    match Idmap::new(&others(owner.0, user), &others(owner.1, user)) {
        // This process's user namespace lacks some of these ids.
        Err(Errno::PERM) => Idmap::new(&[one(owner.0, user)], &[one(owner.1, user)]),
        made => made,
    }
}

fn one(inside: u32, outside: u32) -> Range {
    Range {
        inside,
        outside,
        count: 1,
    }
}

/// Neither the owner's id nor the user's maps to itself, so no other id appears as one of them.
fn others(owner: u32, user: u32) -> Vec<Range> {
    let (low, high) = (owner.min(user), owner.max(user));
    // 2^32-1 is not a valid id.
    let stretches = [
        (0, low),
        (low.saturating_add(1), high),
        (high.saturating_add(1), u32::MAX),
    ];
    let same = stretches.into_iter().filter(|(from, to)| from < to);
    same.map(|(from, to)| Range {
        inside: from,
        outside: from,
        count: to - from,
    })
    .chain([one(owner, user)])
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_but_two_stands_for_itself() {
        for (owner, user) in [(0, 9), (9, 0), (7, 7), (0, u32::MAX - 1), (8, 9)] {
            let map = others(owner, user);
            assert!(map.len() <= 4, "{map:?}");
            let shown = |id: u32| {
                let mut all = map
                    .iter()
                    .filter(|r| (r.inside..r.inside + r.count).contains(&id));
                let found = all.next().map(|r| r.outside + (id - r.inside));
                assert!(all.next().is_none(), "{id} twice in {map:?}");
                found
            };
            assert_eq!(shown(owner), Some(user));
            for id in [0, 1, 5, 7, 8, 9, 10, u32::MAX - 1] {
                let expected = match id {
                    _ if id == owner => Some(user),
                    _ if id == user => None,
                    _ => Some(id),
                };
                assert_eq!(shown(id), expected, "{id} of {owner} and {user}");
            }
        }
    }
}
