//! Detached mounts of pinned inodes, with the user namespaces that map their owners.

use std::collections::btree_map::{BTreeMap, Entry};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::JailError;
use super::probe::Pin;
use crate::plan::Owner;
use crate::sys::mount;
use crate::sys::userns::{Idmap, Range};

/// Makes detached mounts of pinned inodes, for a process that may mount on the host.
pub(super) struct Copier {
    /// The host id that shows as the jail's user, where the jail has a range of ids.
    pub(super) jail_user: Option<u32>,
    /// By owner on the host, the user namespace that shows it as the jail's user.
    pub(super) idmaps: BTreeMap<(u32, u32), Idmap>,
}

impl Copier {
    pub(super) fn copy(
        &mut self,
        path: &Path,
        pin: &Pin,
        attributes: u64,
        owner: Owner,
    ) -> Result<OwnedFd, JailError> {
        let fault = |source| JailError::Tree {
            path: path.into(),
            source,
        };
        let tree = mount::copy_tree(pin.fd.as_fd(), c"").map_err(fault)?;
        if let (Owner::Mapped { uid, gid }, Some(user)) = (owner, self.jail_user) {
            self.idmap(&tree, (uid, gid), user)
                .map_err(|source| JailError::Idmap {
                    path: path.into(),
                    source,
                })?;
        }
        mount::set(tree.as_fd(), attributes, mount::Reach::Below).map_err(fault)?;
        Ok(tree)
    }

    fn idmap(&mut self, tree: &OwnedFd, owner: (u32, u32), user: u32) -> crate::sys::Result<()> {
        let known = match self.idmaps.entry(owner) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let one = |inside| Range {
                    inside,
                    outside: user,
                    count: 1,
                };
                new.insert(Idmap::new(one(owner.0), one(owner.1))?)
            }
        };
        mount::idmap(tree.as_fd(), known.namespace.as_fd())
    }
}
