//! Grants in directories that others can write to: the opened file must lie in the directory that the grant
//! names.
//!
//! The real paths of open descriptors are compared, so it does not matter when a name was replaced by a
//! link. A grant that leads outside is refused, unless another grant covers its target.

use std::path::Path;

use super::granted::{Contained, contained};
use super::host::Fact;
use super::paths::within;
use super::refusal::ResolveError;
use super::request::Request;
use super::view::View;
use super::{Access, Code};
use creel_policy::{AbsPath, Filesystem, Policy};

impl View<'_> {
    /// Checks the links that contained grants led through, after all grants are known.
    pub(super) fn contained(&self, policy: &Policy, request: &Request) -> Result<(), ResolveError> {
        let mut out = vec![];
        for one in contained(policy, request, &self.on_host) {
            if let Some((real, base)) = self.led_out(&one) {
                out.push((one, real, base));
            }
        }
        for (one, real, base) in &out {
            let led = |path: &Path| out.iter().any(|(other, ..)| *other.path == *path);
            if !self.granted_otherwise(&policy.filesystem, real, led)? {
                return Err(ResolveError::LeadsOut {
                    path: one.path.to_path_buf(),
                    real: real.to_path_buf(),
                    base: base.as_str().into(),
                    origin: one.origin.clone(),
                });
            }
        }
        Ok(())
    }

    /// The target and the base directory of a contained grant, if the target lies outside.
    fn led_out<'r>(&self, one: &Contained<'r>) -> Option<(&Path, &'r AbsPath)> {
        let path = &*one.path;
        // The file was not looked up if it belongs to a program with other arguments than this command: it
        // is not granted.
        let Some(Fact::Present { real, .. }) = self.host.paths.get(path) else {
            return None;
        };
        if *real == path || !self.binds.contains_key(real) {
            return None;
        }
        let outside = |base: &&AbsPath| {
            let base = self.host.found.bases.get(Path::new(base.as_str()));
            base.is_none_or(|base| !within(real, base))
        };
        Some((real, one.within.iter().find(outside)?))
    }

    /// Whether other grants than those that `led` out give at least the same access to `real`.
    fn granted_otherwise(
        &self,
        fs: &Filesystem,
        real: &Path,
        led: impl Fn(&Path) -> bool,
    ) -> Result<bool, ResolveError> {
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
        for (rules, write, code) in lists {
            for rule in rules {
                let Some(path) = self.on_host.of_rule(rule) else {
                    continue;
                };
                let there = match self.host.fact(&path)? {
                    Fact::Present { real: there, .. } => within(real, there),
                    _ => false,
                };
                if there && !led(&path) {
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
