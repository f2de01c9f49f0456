//! Grants whose names somebody else fills: what was opened must lie where it was granted.
//!
//! The comparison is of real paths of descriptors that are held, so it does not matter when a name was
//! turned into a link. Refused is what leads out, unless it is granted by another word anyway.

use std::path::{Path, PathBuf};

use super::host::Fact;
use super::paths::{expand, within, workspace};
use super::refusal::ResolveError;
use super::request::Request;
use super::view::View;
use super::{Access, Code};
use creel_policy::{Confined, Policy};

impl View<'_> {
    /// Judges the links that confined grants led through, after all grants are known.
    pub(super) fn confined(&self, policy: &Policy, request: &Request) -> Result<(), ResolveError> {
        let named = workspace(policy, request, self.host);
        let confined = policy.filesystem.confined.iter();
        let out: Vec<Out> = confined
            .filter_map(|one| self.led_out(one, &named))
            .collect();
        for one in &out {
            if !self.granted_otherwise(policy, &one.real, &out)? {
                return Err(ResolveError::LeadsOut {
                    path: one.path.clone(),
                    real: one.real.clone(),
                    base: one.confined.base.clone().into(),
                    origin: one.confined.origin.clone(),
                });
            }
        }
        Ok(())
    }

    /// Where a grant leads that was brought in from outside of where it belongs.
    fn led_out<'p>(&self, confined: &'p Confined, named: &Path) -> Option<Out<'p>> {
        let mut path = PathBuf::from(&confined.path);
        // The grants go by the workspace's real name.
        if let (false, Ok(rest)) = (self.workspace.fresh, path.strip_prefix(named)) {
            path = self.workspace.path.join(rest).components().collect();
        }
        // Of a program whose arguments are not this command's nobody looked at the file: it is not granted.
        let Some(Fact::Present { real, .. }) = self.host.paths.get(&path) else {
            return None;
        };
        if *real == path || !self.binds.contains_key(real) {
            return None;
        }
        let base = self.host.found.bases.get(Path::new(&confined.base));
        let inside = base.is_some_and(|base| within(real, base));
        (!inside).then(|| Out {
            real: real.clone(),
            path,
            confined,
        })
    }

    /// Whether other grants have as much of `real` as it is granted.
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

/// A confined grant that leads out.
struct Out<'p> {
    /// As the view has it.
    path: PathBuf,
    real: PathBuf,
    confined: &'p Confined,
}
