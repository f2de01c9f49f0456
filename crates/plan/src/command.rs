//! The command of a run: its arguments, the paths where it may be found, and its environment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::JailPlan;
use super::act::{Act, Node};
use super::card;
use super::egress::Egress;
use super::host::{Fact, Host, IdMode};
use super::identity::Identity;
use super::mapped::Mapped;
use super::paths::{self, HostPaths};
use super::refusal::ResolveError;
use super::request::Request;
use super::request::Way;
use creel_policy::Policy;

pub(super) fn argv(request: &Request) -> Result<Vec<Vec<u8>>, ResolveError> {
    request
        .command
        .iter()
        .map(|arg| plain(arg.as_bytes(), "an argument"))
        .collect()
}

fn plain(bytes: &[u8], what: &'static str) -> Result<Vec<u8>, ResolveError> {
    match bytes.contains(&0) {
        true => Err(ResolveError::Nul(what)),
        false => Ok(bytes.to_vec()),
    }
}

/// The paths of the host to try for the command of a run. Empty if [`resolve`](fn@super::resolve) refuses the request.
pub(super) fn command_places(policy: &Policy, request: &Request, host: &Host) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mapped = Mapped::named(policy, request, &HostPaths::of(policy, request, host));
    let workspace = paths::workspace(policy, request, host);
    let workspace = mapped.inside(&workspace);
    let workdir = workspace.join(request.workdir.as_deref().unwrap_or("".as_ref()));
    match environment(policy, request, host) {
        Ok(environment) if !request.command.is_empty() => {
            candidates(request, &environment, &workdir)
                .into_iter()
                .filter_map(|bytes| {
                    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
                    let path = paths::absolute(&path, host);
                    mapped.on_host(&path).map(Cow::into_owned)
                })
                .collect()
        }
        _ => vec![],
    }
}

/// The paths to try for the command. They come from the jail's own `PATH`, never from the caller's.
pub(super) fn candidates(
    request: &Request,
    environment: &BTreeMap<Vec<u8>, Vec<u8>>,
    workdir: &Path,
) -> Vec<Vec<u8>> {
    let Some(name) = request.command.first().map(|name| name.as_bytes()) else {
        return vec![];
    };
    if name.contains(&b'/') {
        return vec![
            workdir
                .join(Path::new(OsStr::from_bytes(name)))
                .as_os_str()
                .as_bytes()
                .to_vec(),
        ];
    }
    let path = environment
        .get(b"PATH".as_slice())
        .map_or(b"".as_slice(), Vec::as_slice);
    path.split(|b| *b == b':')
        // A shell reads an empty element as the working directory; a jail ignores it.
        .filter(|dir| dir.first() == Some(&b'/'))
        .map(|dir| [dir, b"/", name].concat())
        .collect()
}

pub(super) fn environment(
    policy: &Policy,
    request: &Request,
    host: &Host,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ResolveError> {
    let home = &paths::home(host);
    let mut all = BTreeMap::new();
    for name in &policy.environment.pass {
        let caller = request
            .caller_env
            .iter()
            .find(|(k, _)| k.as_bytes() == name.value.as_bytes());
        if let Some((name, value)) = caller {
            all.insert(
                name.as_bytes().to_vec(),
                plain(value.as_bytes(), "a variable")?,
            );
        }
    }
    for (name, value) in &policy.environment.set {
        let value = paths::expand_value(&value.value, home);
        all.insert(name.clone().into_bytes(), value.into_bytes());
    }
    let home = home.as_os_str().as_bytes();
    for (name, value) in [
        ("HOME", home),
        ("USER", b"agent"),
        ("LOGNAME", b"agent"),
        ("SHELL", b"/bin/sh"),
        // The default of a shell; only granted directories exist in the jail.
        ("PATH", b"/usr/local/bin:/usr/bin:/bin"),
    ] {
        all.entry(name.into()).or_insert_with(|| value.to_vec());
    }
    for (name, value) in Egress::environment(&policy.network) {
        all.entry(name.into()).or_insert_with(|| value.into_bytes());
    }
    if let Some(path) = all.get_mut(b"PATH".as_slice()) {
        find_granted(path, policy, request, host);
    }
    if let Some(identity) = identity(policy, host) {
        identity.tell(&mut all);
    }
    for (name, value) in &request.env {
        if name.as_bytes().starts_with(b"CREEL") {
            return Err(ResolveError::Reserved(name.to_string_lossy().into_owned()));
        }
        all.insert(
            plain(name.as_bytes(), "a variable")?,
            plain(value.as_bytes(), "a variable")?,
        );
    }
    for (name, value) in Egress::placeholders(&policy.network) {
        all.insert(name.into(), value.into());
    }
    all.insert(b"CREEL".into(), b"1".into());
    all.insert(b"CREEL_ID".into(), request.id.clone().into_bytes());
    Ok(all)
}

/// Lets the commands of a session find its client before all other programs: a host that has creel installed shows its
/// own in `/usr/bin`, which is of no use in a jail.
pub(super) fn find_client(environment: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let path = environment.entry(b"PATH".into()).or_default();
    let mut found = card::PROGRAMS.as_bytes().to_vec();
    if !path.is_empty() {
        found.push(b':');
    }
    found.append(path);
    *path = found;
}

/// The working directory of a later command: the workspace, or a path in a tree of the jail.
pub(super) fn workdir_in(
    policy: &Policy,
    request: &Request,
    host: &Host,
    jail: &JailPlan,
) -> Result<PathBuf, ResolveError> {
    let workspace = paths::real_workspace(policy, request, host);
    let workspace = match jail.inside(&workspace) {
        Some(inside) if inside != workspace => inside,
        _ => paths::workspace(policy, request, host),
    };
    let path = match &request.workdir {
        None => return Ok(workspace),
        Some(asked) => workspace.join(asked),
    };
    // A path of the host in a tree that the jail has elsewhere.
    let path = match (jail.on_host(&path), jail.inside(&path)) {
        (None, Some(inside)) => inside,
        _ => path,
    };
    let plain = !path.components().any(|part| part == Component::ParentDir);
    let holds = |act: &Act| match act {
        Act::Bind { target: above, .. }
        | Act::Tmpfs { path: above, .. }
        | Act::Link { path: above, .. } => path.starts_with(above),
        _ => false,
    };
    match plain && (path == Path::new("/") || jail.build.iter().any(holds)) {
        true => Ok(path),
        false => Err(ResolveError::WorkdirOutside(path.display().to_string())),
    }
}

/// Appends the directories of `--exec` to a PATH, so that programs there can start each other by name.
fn find_granted(path: &mut Vec<u8>, policy: &Policy, request: &Request, host: &Host) {
    let lines = policy.filesystem.exec.iter();
    let lines = lines.filter(|grant| grant.origin.is_flag());
    let raw = request.raw.iter().filter(|raw| raw.way == Way::Exec);
    let paths = lines.map(|grant| Path::new(grant.path.as_str()));
    let mapped = Mapped::named(policy, request, &HostPaths::of(policy, request, host));
    for place in paths.chain(raw.map(|raw| raw.path.as_path())) {
        let inside = mapped.inside(place);
        let bytes = inside.as_os_str().as_bytes();
        let known = path.split(|b| *b == b':').any(|entry| entry == bytes);
        // The path may not have been looked up yet. A file in `PATH` does no harm.
        let file = matches!(
            host.paths.get(place),
            Some(Fact::Present {
                node: Node::File,
                ..
            })
        );
        if known || file || bytes.contains(&b':') {
            continue;
        }
        if !path.is_empty() {
            path.push(b':');
        }
        path.extend(bytes);
    }
}

/// The git identity for the jail's commits, if the policy passes it on, and its jail has anything to know.
pub(super) fn identity<'h>(policy: &Policy, host: &'h Host) -> Option<&'h Identity> {
    let wanted = policy.environment.git_identity.value;
    let known = |identity: &&Identity| !identity.is_empty() || host.id_mode == IdMode::Privileged;
    Some(&host.found.identity).filter(|identity| wanted && known(identity))
}
