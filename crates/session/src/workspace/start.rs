//! Makes the layers of a jail that is about to start.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    FileType, Gid, Mode, Stat, Uid, fchmod, fchown, fstat, futimens, mkdirat, mknodat,
};

use super::copy::times;
use super::error::WorkspaceError;
use super::record::{Record, Rules};
use super::upper::{Changes, Live, Result, Store, fault, live_soon, own, refuse};
use super::{apply, sweep, tree};
use creel_jail::Pins;
use creel_plan::paths::HostPaths;
use creel_plan::{Act, Host, Plan, Request};
use creel_policy::Policy;
use creel_sys::Errno;

impl Store {
    /// Makes or opens the layers that a plan names, for a jail that is about to be made.
    pub fn begin(
        plan: &Plan,
        (policy, request): (&Policy, &Request),
        host: &Host,
        pins: &Pins,
    ) -> Result<Option<Live>> {
        let found = plan.acts().find_map(|act| match act {
            Act::Bind {
                source,
                overlay: Some(overlay),
                ..
            } => Some((source, overlay)),
            _ => None,
        });
        let Some((workspace, overlay)) = found else {
            return Ok(None);
        };
        let path = &overlay.changes;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(pin) = pins.get(workspace) else {
            return Ok(None);
        };
        let lower = pin.fd.as_fd();
        make_private(path)?;
        let dir = own(path)?;
        let live = live_soon(&dir, path, &name)?;
        let stat = fstat(lower).map_err(refuse(workspace))?;
        let rules = rules(policy, request, host);
        let mut changes = match (Store::here(path)).open(&name) {
            Ok(changes) => changes,
            Err(WorkspaceError::None { .. }) => Changes {
                name: name.clone().into(),
                record: fresh(workspace, &stat, Rules::default()),
                path: path.clone(),
                dir,
            },
            Err(error) => return Err(error),
        };
        let _lock = changes.lock()?;
        apply::recover(&mut changes)?;
        sweep::committed(&mut changes)?;
        let same = changes.record.identity == (stat.st_dev, stat.st_ino)
            && changes.record.workspace == *workspace;
        match sweep::is_used(&changes).map_err(refuse(path))? {
            true if !same => {
                return Err(WorkspaceError::Other {
                    name: name.into(),
                    workspace: changes.record.workspace,
                });
            }
            true => changes.record.rules = rules,
            false => changes.record = fresh(workspace, &stat, rules),
        }
        let top = changes.dir.as_fd();
        for layer in ["upper", "work"] {
            match mkdirat(top, layer, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(refuse(&path.join(layer))(errno)),
            }
            let layer = tree::directory(top, Path::new(layer)).map_err(refuse(path))?;
            like(&layer, &stat).map_err(refuse(path))?;
        }
        sweep::clear(top, Path::new("denied")).map_err(refuse(path))?;
        deny(top, lower, workspace, &overlay.hidden).map_err(refuse(&path.join("denied")))?;
        changes.write_record()?;
        Ok(Some(live))
    }
}

fn fresh(workspace: &Path, stat: &Stat, rules: Rules) -> Record {
    Record {
        workspace: workspace.into(),
        identity: (stat.st_dev, stat.st_ino),
        started: tree::clock(),
        rules,
        committed: vec![],
        carried: None,
    }
}

/// The names that a commit holds back under this policy.
fn rules(policy: &Policy, request: &Request, host: &Host) -> Rules {
    let at = HostPaths::of(policy, request, host);
    let files = &policy.filesystem;
    let paths = |rules: &[creel_policy::PathRule]| {
        let paths = rules.iter().filter_map(|rule| at.of_rule(rule));
        paths.map(|path| path.into_owned()).collect::<Vec<_>>()
    };
    let mut protect = paths(&files.protect);
    protect.extend(request.search_dirs.iter().cloned());
    protect.extend(host.found.search_dirs.iter().map(|seat| seat.path.clone()));
    let patterns = files.deny_patterns.iter().chain(&files.protect_patterns);
    let patterns = patterns.filter_map(|rule| Some(at.at(&rule.path)?.to_str()?.to_owned()));
    Rules {
        deny: paths(&files.deny),
        protect,
        patterns: patterns.collect(),
    }
}

/// Makes the directories down to that of the layers, for the caller alone.
fn make_private(path: &Path) -> Result<()> {
    let store = path.parent().unwrap_or(path);
    let state = store.parent().unwrap_or(store);
    let mut builder = fs::DirBuilder::new();
    let builder = builder.mode(0o700);
    if let Some(above) = state.parent() {
        builder
            .recursive(true)
            .create(above)
            .map_err(fault(above))?;
    }
    for directory in [state, store, path] {
        match builder.recursive(false).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fault(directory)(e));
            }
            _ => {}
        }
    }
    own(store).map(drop)
}

/// Gives a directory the owner and the mode of the workspace, which the jail sees on it.
fn like(dir: &OwnedFd, stat: &Stat) -> std::result::Result<(), Errno> {
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match fchown(dir, Some(owner.0), Some(owner.1)) {
        // An ordinary user's jail has the ids of that user alone.
        Err(Errno::PERM) => {}
        done => done?,
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o1777);
    fchmod(dir, mode)
}

/// Makes the layer of whiteouts: a directory for each directory above a hidden name, with its attributes, since the
/// jail sees those of the topmost layer.
fn deny(
    top: BorrowedFd<'_>,
    lower: BorrowedFd<'_>,
    workspace: &Path,
    hidden: &[PathBuf],
) -> std::result::Result<(), Errno> {
    if hidden.is_empty() {
        return Ok(());
    }
    mkdirat(top, "denied", Mode::RWXU)?;
    let denied = tree::directory(top, Path::new("denied"))?;
    like(&denied, &fstat(lower)?)?;
    let mut made = vec![];
    for path in hidden {
        let Ok(path) = path.strip_prefix(workspace) else {
            continue;
        };
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        let mut name = path;
        for directory in above
            .into_iter()
            .filter(|above| !above.as_os_str().is_empty())
        {
            let from = match tree::directory(lower, directory) {
                Ok(from) => from,
                // The host may make it later, and the name in it.
                Err(Errno::NOENT) => {
                    name = directory;
                    break;
                }
                Err(errno) => return Err(errno),
            };
            match mkdirat(&denied, directory, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                done => done?,
            }
            made.push((tree::directory(denied.as_fd(), directory)?, fstat(&from)?));
        }
        let mode = Mode::empty();
        match mknodat(&denied, name, FileType::CharacterDevice, mode, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    // Afterwards: a mode may keep its owner out, and a new name changes the time.
    for (dir, stat) in made.iter().rev() {
        like(dir, stat)?;
        futimens(dir, &times(stat))?;
    }
    Ok(())
}
