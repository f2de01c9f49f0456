//! The jail's ids, and the mounts that cannot be idmapped.

use std::collections::BTreeSet;

use super::host::{IdMode, Idmap};
use super::paths::within;
use super::refusal::ResolveError;
use super::view::{Apart, Bound, View};
use super::{Access, Code, Ids, Owner};
use creel_policy::Degradable;

/// Ids in a jail's range. Programs expect this many to exist.
const ID_RANGE: u32 = 65_536;

impl View<'_> {
    pub(super) fn ids(&mut self, degraded: &BTreeSet<Degradable>) -> Result<Ids, ResolveError> {
        if self.host.id_mode == IdMode::Rootless {
            return Ok(Ids::Caller {
                uid: self.host.uid,
                gid: self.host.gid,
            });
        }
        let refused = self.binds.iter().find(|(path, b)| {
            (b.access.write || self.is_overlay(path)) && b.idmap == Idmap::Refused
        });
        let allowed = degraded.contains(&Degradable::Idmap);
        match refused {
            None => {
                self.set_apart(allowed)?;
                Ok(Ids::Range { count: ID_RANGE })
            }
            Some((path, _)) if !allowed => Err(ResolveError::NoIdmap {
                path: path.display().to_string(),
                kernel: self.host.kernel.clone(),
            }),
            Some((path, bound)) if bound.uid == 0 || bound.gid == 0 => {
                Err(ResolveError::SharedRoot(path.display().to_string()))
            }
            Some((_, bound)) => Ok(Ids::Shared {
                uid: bound.uid,
                gid: bound.gid,
            }),
        }
    }

    /// Binds mounts that cannot be idmapped separately. Returns an error if one of them would be writable
    /// and `allowed` is false.
    fn set_apart(&mut self, allowed: bool) -> Result<(), ResolveError> {
        let mut apart: Vec<Apart> = vec![];
        for (mount, what) in &self.host.found.unmapped {
            let outer = mount.parent().and_then(|parent| self.bind_above(parent));
            let Some((tree, bound)) = outer else {
                continue;
            };
            let inside = apart.last().is_some_and(|last| within(mount, &last.mount));
            if inside || self.owner(tree, bound) == Owner::Host {
                continue;
            }
            let seen = !self.masks.keys().any(|mask| within(mount, mask));
            let own = self.binds.get(mount);
            let writable = seen && own.unwrap_or(bound).access.write;
            if writable && !allowed {
                return Err(ResolveError::NoIdmapBelow {
                    mount: mount.clone(),
                    kind: what.kind.clone(),
                    tree: tree.clone(),
                    kernel: self.host.kernel.clone(),
                });
            }
            apart.push(Apart {
                mount: mount.clone(),
                kind: what.kind.clone(),
                writable,
                unnamed: own.is_none(),
            });
        }
        for one in &apart {
            let above = one
                .mount
                .parent()
                .and_then(|parent| self.bind_above(parent));
            let code = above.map_or(Code::Data, |(_, bound)| bound.access.code);
            let node = self.host.found.unmapped[&one.mount].node;
            self.binds.entry(one.mount.clone()).or_insert(Bound {
                by: None,
                node,
                access: Access { write: false, code },
                uid: 0,
                gid: 0,
                idmap: Idmap::Refused,
            });
        }
        self.apart = apart;
        Ok(())
    }
}
