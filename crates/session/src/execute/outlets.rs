//! Files of the host that creel writes beside a jail: the log of decisions and the verdict. The jail must
//! not be able to reach them, or it could choose the file that creel writes.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::{ExecuteError, OutletFault};
use super::walk;
pub use super::walk::Place;
use creel_plan::paths::within;
use creel_plan::{Access, Act, Host, IdMode, Plan};
use creel_sys::Errno;

/// Opens the log of decisions on the network with the caller's rights, before anything runs. A regular file
/// must be out of the jail's reach: the jail could empty it or put a link in its place, and the next run
/// would append names that the jail chooses to a file that the jail chooses.
pub fn open_log(path: &Path, plan: &Plan) -> Result<File, ExecuteError> {
    let fault = |fault| ExecuteError::Log {
        path: path.into(),
        fault,
    };
    let open = |directory: BorrowedFd<'_>, name: &Path, flags: OFlags| {
        // On a pipe without a reader, open(2) would wait for one.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let flags = flags | OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
        let file = File::from(openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
        // This open file is creel's own. A line waits for its reader, and the logged connection waits for
        // the line.
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    };
    let unopened = |errno: Errno| match errno {
        Errno::LOOP => fault(OutletFault::Link),
        Errno::NXIO => fault(OutletFault::NoReader),
        errno => fault(OutletFault::Io(errno.into())),
    };
    // These paths belong to the kernel: /dev/stderr, /dev/fd/9.
    if ["/dev", "/proc"].iter().any(|own| path.starts_with(own)) {
        return open(CWD, path, OFlags::empty()).map_err(unopened);
    }
    let Some(name) = path.file_name() else {
        return Err(fault(OutletFault::NoFile));
    };
    let directory = walk::directory(above(path), &written(plan)).map_err(|found| match found {
        OutletFault::Movable => fault(OutletFault::InReach),
        found => fault(found),
    })?;
    if directory.place == Place::Jails {
        return Err(fault(OutletFault::InReach));
    }
    let file = open(directory.fd.as_fd(), Path::new(name), OFlags::NOFOLLOW).map_err(unopened)?;
    let meta = file.metadata().map_err(|e| fault(e.into()))?;
    match meta.is_file() && meta.nlink() > 1 {
        true => Err(fault(OutletFault::TwoNames)),
        false => Ok(file),
    }
}

/// Whether a path of the host lies in a tree that the jail has with an access for which `such` is true.
pub(super) fn in_reach(path: &Path, plan: &Plan, such: fn(&Access) -> bool) -> bool {
    within_trees(path, &trees(plan, such))
}

/// The sources of the trees that the jail has with an access for which `such` is true.
fn trees(plan: &Plan, such: fn(&Access) -> bool) -> Vec<PathBuf> {
    let binds = plan.acts().filter_map(|act| match act {
        Act::Bind { source, access, .. } => such(access).then(|| source.clone()),
        _ => None,
    });
    binds.collect()
}

fn written(plan: &Plan) -> Vec<PathBuf> {
    trees(plan, |access| access.write)
}

/// Compares inodes: a tree has as many names as it has mounts.
fn within_trees(path: &Path, trees: &[PathBuf]) -> bool {
    let node = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let above: Vec<_> = path.ancestors().filter_map(node).collect();
    let has = |tree: &PathBuf| node(tree).is_some_and(|tree| above.contains(&tree));
    trees.iter().any(has)
}

/// Checks the file of the verdict, whose directory is `opened` already. Returns an error if an earlier run in the same
/// trees could have chosen its place, or if this run could move its directory: the jail's own file would then be at the
/// path that the caller reads. Returns who can write to the directory.
pub fn check_status(
    path: &Path,
    opened: BorrowedFd<'_>,
    plan: &Plan,
) -> Result<Place, ExecuteError> {
    check_status_beside(path, opened, &written(plan))
}

/// As [`check_status`], for a jail that may write these trees of the host.
pub fn check_status_beside(
    path: &Path,
    opened: BorrowedFd<'_>,
    written: &[PathBuf],
) -> Result<Place, ExecuteError> {
    let fault = |fault| ExecuteError::StatusFile {
        path: path.into(),
        fault,
    };
    let found = walk::directory(above(path), written).map_err(fault)?;
    match walk::is_same(found.fd.as_fd(), opened) {
        true => Ok(found.place),
        false => Err(fault(OutletFault::Exchanged)),
    }
}

/// The directory of a file, as it is named.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses a grant of the state directory, or of one above it: the jail could change the records of sessions, or read
/// what other sessions have printed, also those that begin later. As root a directory above it may be read as long as
/// there are no sessions: its mode then keeps the jail out.
pub fn check_state(plan: &Plan, host: &Host, state: &Path) -> Result<(), ExecuteError> {
    // It may lie behind a link, such as /var/run.
    let state = real(state);
    let may_exist = || host.id_mode == IdMode::Rootless || state.join("sessions").exists();
    out_of_reach(plan, &state, may_exist)
}

/// A path that is absent, behind the links of what is there of it.
fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    there.unwrap_or_else(|| path.into())
}

/// Refuses a grant of the directory of workspaces' changes: a jail could change what another session is about to
/// commit.
pub fn check_changes(plan: &Plan, changes: &Path) -> Result<(), ExecuteError> {
    let changes = real(changes);
    let makes = |act: &Act| {
        matches!(
            act,
            Act::Bind {
                overlay: Some(_),
                ..
            }
        )
    };
    let is_used = || changes.exists() || plan.acts().any(makes);
    out_of_reach(plan, &changes, is_used)
}

/// Refuses a grant of a directory of creel's own, or of one above it: one to write always, one to read if there is
/// something in the directory.
fn out_of_reach(plan: &Plan, own: &Path, is_used: impl Fn() -> bool) -> Result<(), ExecuteError> {
    let granted = plan.acts().find_map(|act| match act {
        Act::Bind { source, access, .. } if within(own, source) || within(source, own) => {
            (access.write || is_used()).then_some(source)
        }
        _ => None,
    });
    match granted {
        Some(path) => Err(ExecuteError::StateInReach {
            path: path.clone(),
            state: own.into(),
        }),
        None => Ok(()),
    }
}
