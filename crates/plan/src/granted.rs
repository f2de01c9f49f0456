//! The granted paths of a run: those of the policy, where flags are lines too, and those of the request.

use std::path::{Path, PathBuf};

use super::host::Host;
use super::paths;
use super::request::Request;
use creel_policy::{Absent, Origin, Policy};

/// The kind of access that a grant gives to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Read,
    Write,
    Load,
    Exec,
}

/// A path and the access that is granted to it.
pub(super) struct Granted<'a> {
    pub way: Way,
    /// Absolute; `None` if it begins with `~` and the caller has no account.
    pub path: Option<PathBuf>,
    pub absent: Absent,
    pub origin: &'a Origin,
}

/// Every granted path. `workspace` is the value of `$WORKSPACE`.
pub(super) fn granted<'a>(
    policy: &'a Policy,
    request: &'a Request,
    host: &'a Host,
    workspace: &'a Path,
) -> impl Iterator<Item = Granted<'a>> {
    let ways = [Way::Read, Way::Write, Way::Load, Way::Exec].into_iter();
    ways.flat_map(move |way| way.granted(policy, request, host, workspace))
}

/// Every path that must not lead out of a directory: the path, the directory, and the origin of the grant.
pub fn contained<'a>(
    policy: &'a Policy,
    request: &'a Request,
) -> impl Iterator<Item = (&'a Path, &'a Path, &'a Origin)> {
    let lines = policy.filesystem.contained.iter();
    let lines = lines.map(|one| (Path::new(&one.path), Path::new(&one.base), &one.origin));
    let raw = request.raw.iter().filter_map(|raw| {
        let base = raw.base.as_ref()?;
        Some((raw.path.as_path(), Path::new(base), &raw.origin))
    });
    lines.chain(raw)
}

impl Way {
    /// The paths that are granted in this way.
    pub(super) fn granted<'a>(
        self,
        policy: &'a Policy,
        request: &'a Request,
        host: &'a Host,
        workspace: &'a Path,
    ) -> impl Iterator<Item = Granted<'a>> {
        let fs = &policy.filesystem;
        let grants = match self {
            Way::Read => &fs.read,
            Way::Write => &fs.write,
            Way::Load => &fs.load,
            Way::Exec => &fs.exec,
        };
        let lines = grants.iter().map(move |grant| Granted {
            way: self,
            path: paths::expand(&grant.path, host, workspace),
            absent: grant.absent,
            origin: &grant.origin,
        });
        let raw = request.raw.iter().filter(move |raw| raw.way == self);
        lines.chain(raw.map(|raw| Granted {
            way: raw.way,
            path: Some(raw.path.clone()),
            absent: Absent::Refuse,
            origin: &raw.origin,
        }))
    }
}
