//! The granted paths of a run: those of the policy, where flags are lines too, and those of the request.

use std::borrow::Cow;
use std::path::Path;

use super::paths::HostPaths;
use super::request::{Request, Way};
use creel_policy::{AbsPath, Absent, Execution, Origin, Policy};

/// A path and the access that is granted to it.
pub(super) struct Granted<'a> {
    pub way: Way,
    /// On the host; `None` if it lies in the home and the caller has no account.
    pub path: Option<Cow<'a, Path>>,
    pub absent: Absent,
    pub origin: &'a Origin,
}

/// A granted path that must not lead out of these directories.
pub struct Contained<'a> {
    /// On the host.
    pub path: Cow<'a, Path>,
    /// Absolute, on the host. The target of `path` must lie in each of them.
    pub within: &'a [AbsPath],
    /// The line or flag that grants it.
    pub origin: &'a Origin,
}

/// Every granted path.
pub(super) fn granted<'a>(
    policy: &'a Policy,
    request: &'a Request,
    at: &HostPaths,
) -> Vec<Granted<'a>> {
    let ways = [Way::Read, Way::Write, Way::Load, Way::Exec].into_iter();
    ways.flat_map(|way| way.granted(policy, request, at))
        .collect()
}

/// Every granted path that must not lead out of a directory.
pub fn contained<'a>(
    policy: &'a Policy,
    request: &'a Request,
    at: &HostPaths,
) -> impl Iterator<Item = Contained<'a>> {
    let fs = &policy.filesystem;
    let programs = match &policy.exec.value {
        Execution::Only(programs) => programs.as_slice(),
        Execution::Granted | Execution::Worker => &[],
    };
    let grants = [&fs.read, &fs.write, &fs.load, &fs.exec];
    let rules = grants.into_iter().flatten().chain(programs);
    let rules = rules.filter(|rule| !rule.within.is_empty());
    let rules = rules.filter_map(|rule| {
        Some(Contained {
            path: at.of_rule(rule)?,
            within: &rule.within,
            origin: &rule.origin,
        })
    });
    let raw = request.raw.iter().filter(|raw| !raw.within.is_empty());
    rules.chain(raw.map(|raw| Contained {
        path: Cow::Borrowed(&raw.path),
        within: &raw.within,
        origin: &raw.origin,
    }))
}

impl Way {
    /// The paths that are granted in this way.
    pub(super) fn granted<'a>(
        self,
        policy: &'a Policy,
        request: &'a Request,
        at: &HostPaths,
    ) -> impl Iterator<Item = Granted<'a>> {
        let fs = &policy.filesystem;
        let rules = match self {
            Way::Read => &fs.read,
            Way::Write => &fs.write,
            Way::Load => &fs.load,
            Way::Exec => &fs.exec,
        };
        let rules = rules.iter().map(move |rule| Granted {
            way: self,
            path: at.of_rule(rule),
            absent: rule.absent,
            origin: &rule.origin,
        });
        let raw = request.raw.iter().filter(move |raw| raw.way == self);
        rules.chain(raw.map(|raw| Granted {
            way: raw.way,
            path: Some(Cow::Borrowed(&raw.path)),
            absent: Absent::Refuse,
            origin: &raw.origin,
        }))
    }
}
