//! The lookups that a plan needs on a machine: which paths, and for which purpose.
//!
//! This module owns that list. [`resolve`](fn@super::resolve) refuses to plan with a path that is not on it
//! ([`Unasked`](super::host::Unasked)).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::command::command_places;
use super::egress::{USUAL, terminates};
use super::host::{Fact, Host};
use super::mapped::Mapped;
use super::paths::{HostPaths, same, within, workspace, workspace_mode};
use super::request::Request;
use super::request::Way;
use super::search_dirs;
use super::wanted::{Purpose, Wanted};
use creel_policy::glob::Pattern;
use creel_policy::{Execution, PathRule, Policy, WorkspaceMode};

/// Calls `answer` for every path that [`resolve`](fn@super::resolve) will look up in `host`. `answer` adds a
/// fact about the path to the host; some facts raise further questions. If a path is asked twice, the later
/// answer stays.
pub fn ask<E>(
    policy: &Policy,
    request: &Request,
    host: &mut Host,
    mut answer: impl FnMut(Wanted, &mut Host) -> Result<(), E>,
) -> Result<(), E> {
    // Other paths are relative to its real path.
    let own = own(policy, request, host);
    if let Some(own) = &own {
        answer(own.clone(), host)?;
    }
    let all = wanted(policy, request, host);
    let again = |want: &Wanted| {
        all.iter()
            .any(|other| same(&other.path, &want.path) && other != want)
    };
    for want in all
        .iter()
        .filter(|want| own.as_ref() != Some(*want) || again(want))
    {
        answer(want.clone(), host)?;
    }
    for want in search_dirs::wanted(policy, request, host) {
        // A granted path was already asked with a purpose that needs more.
        if !host.paths.contains_key(&want.path) || want.purpose == Purpose::Protect {
            answer(want, host)?;
        }
    }
    let mut open = nameable(policy, request, host);
    loop {
        let more = above(&mut open, policy, request, host);
        if more.is_empty() {
            return Ok(());
        }
        for path in more {
            let purpose = Purpose::Read;
            answer(Wanted { path, purpose }, host)?;
        }
    }
}

/// The workspace, also if it is read-only: its owner becomes the jail's user.
fn own(policy: &Policy, request: &Request, host: &Host) -> Option<Wanted> {
    let mode = workspace_mode(policy);
    (mode != WorkspaceMode::None).then(|| Wanted {
        path: workspace(policy, request, host),
        purpose: Purpose::Write,
    })
}

/// The protected and denied paths, which may be absent.
fn nameable(policy: &Policy, request: &Request, host: &Host) -> Vec<PathBuf> {
    let at = HostPaths::of(policy, request, host);
    let fs = &policy.filesystem;
    let named = fs.protect.iter().chain(&fs.deny);
    let names = named.filter_map(|rule| at.of_rule(rule));
    let found = &host.found;
    let dirs = found.search_dirs.iter().map(|seat| &seat.path);
    let names = names.chain(found.worktrees.iter().chain(dirs).map(Cow::from));
    names.map(Cow::into_owned).collect()
}

/// The nearest parents of the absent ones of `names` that were not looked up yet, in trees that the jail may
/// write to. The creation of an absent name is blocked in its nearest existing parent. Keeps the names of
/// which more may have to be looked up.
fn above(
    names: &mut Vec<PathBuf>,
    policy: &Policy,
    request: &Request,
    host: &Host,
) -> BTreeSet<PathBuf> {
    let trees = search_dirs::writable(policy, request, host);
    let mut more = BTreeSet::new();
    names.retain(|name| {
        if host.paths.get(name) != Some(&Fact::Absent) {
            return false;
        }
        let parents = name.ancestors().skip(1);
        let mut known = parents.map(|path| (path, host.paths.get(path)));
        match known.find(|(_, fact)| *fact != Some(&Fact::Absent)) {
            Some((path, None)) if trees.iter().any(|tree| within(path, tree)) => {
                more.insert(path.to_path_buf());
                true
            }
            _ => false,
        }
    });
    more
}

/// Every path that is known from the start.
fn wanted(policy: &Policy, request: &Request, host: &Host) -> Vec<Wanted> {
    let at = HostPaths::of(policy, request, host);
    let at = |rule: &PathRule| at.of_rule(rule).map(Cow::into_owned);
    let fs = &policy.filesystem;
    let mut all: Vec<Wanted> = own(policy, request, host).into_iter().collect();
    // If a path is looked up for two purposes, the later answer stays, which knows more.
    if let Execution::Only(programs) = &policy.exec.value {
        for grant in programs {
            if let Some(path) = at(grant) {
                let purpose = Purpose::Program;
                all.insert(0, Wanted { path, purpose });
            }
        }
    }
    if policy.exec.value == Execution::Worker {
        for path in command_places(policy, request, host) {
            let purpose = Purpose::Program;
            all.insert(0, Wanted { path, purpose });
        }
    }
    for grant in &fs.load {
        if let Some(path) = at(grant) {
            let purpose = Purpose::Load;
            all.insert(0, Wanted { path, purpose });
        }
    }
    let protected = fs.protect.iter();
    for protect in protected.filter(|_| search_dirs::writes(policy, request)) {
        if let Some(path) = at(protect) {
            let purpose = Purpose::Protect;
            all.insert(0, Wanted { path, purpose });
        }
    }
    // The directory in which a name that matches the pattern would be created.
    for grant in fs.deny_patterns.iter().chain(&fs.protect_patterns) {
        let path = PathBuf::from(Pattern::parse(&grant.path).base());
        let purpose = Purpose::Read;
        if path != Path::new("/") && !all.iter().any(|w| same(&w.path, &path)) {
            all.push(Wanted { path, purpose });
        }
    }
    let lists = [
        (&fs.read, Purpose::Read),
        (&fs.exec, Purpose::Read),
        (&fs.deny, Purpose::Read),
        (&fs.write, Purpose::Write),
    ];
    for (grants, purpose) in lists {
        for grant in grants {
            if let Some(path) = at(grant)
                && !all
                    .iter()
                    .any(|w| w.purpose >= purpose && same(&w.path, &path))
            {
                all.push(Wanted { path, purpose });
            }
        }
    }
    all.extend(request.raw.iter().map(|raw| Wanted {
        path: raw.path.clone(),
        purpose: match raw.way {
            Way::Read | Way::Exec => Purpose::Read,
            Way::Write => Purpose::Write,
            Way::Load => Purpose::Load,
        },
    }));
    let mapped = Mapped::named(policy, request, &HostPaths::of(policy, request, host));
    all.extend(mapped.mount_points().map(|path| Wanted {
        path,
        purpose: Purpose::Read,
    }));
    if terminates(&policy.network) {
        all.extend(USUAL.iter().map(|(path, _)| Wanted {
            path: path.into(),
            purpose: Purpose::Read,
        }));
    }
    all
}
