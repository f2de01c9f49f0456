//! Grants in directories that others can write to: the opened file must lie in the directory that the grant
//! names.
//!
//! The real paths of open descriptors are compared, so it does not matter when a name was replaced by a
//! link. A grant that leads outside is refused, unless another grant covers its target.

use std::path::{Path, PathBuf};

use super::granted::contained;
use super::host::Fact;
use super::paths::{expand, within, workspace};
use super::refusal::ResolveError;
use super::request::Request;
use super::view::View;
use super::{Access, Code};
use creel_policy::{Origin, Policy};

impl View<'_> {
    /// Checks the links that contained grants led through, after all grants are known.
    pub(super) fn contained(&self, policy: &Policy, request: &Request) -> Result<(), ResolveError> {
        let named = workspace(policy, request, self.host);
        let out: Vec<Out> = contained(policy, request)
            .filter_map(|one| self.led_out(one, &named))
            .collect();
        for one in &out {
            if !self.granted_otherwise(policy, &one.real, &out)? {
                return Err(ResolveError::LeadsOut {
                    path: one.path.clone(),
                    real: one.real.clone(),
                    base: one.base.into(),
                    origin: one.origin.clone(),
                });
            }
        }
        Ok(())
    }

    /// The target of a contained grant, if it lies outside the grant's base directory.
    fn led_out<'p>(
        &self,
        (path, base, origin): (&'p Path, &'p Path, &'p Origin),
        named: &Path,
    ) -> Option<Out<'p>> {
        let mut path = PathBuf::from(path);
        // Grants use the workspace's real path, flags the path that the caller named.
        if !self.workspace.fresh
            && !origin.is_flag()
            && let Ok(rest) = path.strip_prefix(named)
        {
            path = self.workspace.path.join(rest).components().collect();
        }
        // The file was not looked up if it belongs to a program with other arguments than this command: it
        // is not granted.
        let Some(Fact::Present { real, .. }) = self.host.paths.get(&path) else {
            return None;
        };
        if *real == path || !self.binds.contains_key(real) {
            return None;
        }
        let real_base = self.host.found.bases.get(base);
        let inside = real_base.is_some_and(|base| within(real, base));
        (!inside).then(|| Out {
            real: real.clone(),
            path,
            base,
            origin,
        })
    }

    /// Whether other grants give at least the same access to `real`.
    fn granted_otherwise(
        &self,
        policy: &Policy,
        real: &Path,
        out: &[Out],
    ) -> Result<bool, ResolveError> {
        let fs = &policy.filesystem;
        let lists = [
            (&fs.read, false, Code::Data),
            (&fs.write, true, Code::Data),
            (&fs.load, false, Code::Load),
            (&fs.exec, false, Code::Execute),
        ];
        let mut others = Access {
            write: false,
            code: Code::Data,
        };
        let mut found = false;
        for (grants, write, code) in lists {
            for grant in grants {
                let Some(path) = expand(&grant.path, self.host, &self.workspace.path) else {
                    continue;
                };
                let there = match self.host.fact(&path)? {
                    Fact::Present { real: there, .. } => within(real, there),
                    _ => false,
                };
                if there && !out.iter().any(|one| one.path == path) {
                    found = true;
                    others.write |= write;
                    others.code = others.code.max(code);
                }
            }
        }
        let own = self.binds.get(real).map(|bound| bound.access);
        let as_much = |own: Access| own.write <= others.write && own.code <= others.code;
        Ok(found && own.is_some_and(as_much))
    }
}

/// A contained grant whose target lies outside its base directory.
struct Out<'p> {
    /// The path as the view knows it.
    path: PathBuf,
    real: PathBuf,
    base: &'p Path,
    origin: &'p Origin,
}
