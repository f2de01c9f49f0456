//! Files of the host that creel writes beside a jail: the log of decisions and the verdict. The jail must
//! not be able to reach them, or it could choose the file that creel writes.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::{ExecuteError, OutletFault};
use creel_plan::paths::within;
use creel_plan::{Access, Act, Plan};
use creel_sys::Errno;

/// The writers of the directory of the verdict's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The jail cannot write there: an existing file is the caller's or the host's.
    Callers,
    /// A jail may have made an existing file.
    Jails,
}

/// Opens the log of decisions on the network with the caller's rights, before anything runs. A regular file
/// must be out of the jail's reach: the jail could empty it or put a link in its place, and the next run
/// would append names that the jail chooses to a file that the jail chooses.
pub fn open_log(path: &Path, plan: &Plan) -> Result<File, ExecuteError> {
    let fault = |fault| ExecuteError::Log {
        path: path.into(),
        fault,
    };
    let open = |path: &Path, flags: OFlags| {
        // On a pipe without a reader, open(2) would wait for one.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = File::options();
        let options = options.append(true).create(true).mode(0o600);
        let file = options.custom_flags(flags.bits() as i32).open(path)?;
        // This open file is creel's own. A line waits for its reader, and the logged connection waits for
        // the line.
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    };
    let unopened = |e: std::io::Error| match Errno::from_io_error(&e) {
        Some(Errno::LOOP) => fault(OutletFault::Link),
        Some(Errno::NXIO) => fault(OutletFault::NoReader),
        _ => fault(e.into()),
    };
    // These paths belong to the kernel: /dev/stderr, /dev/fd/9.
    if ["/dev", "/proc"].iter().any(|own| path.starts_with(own)) {
        return open(path, OFlags::empty()).map_err(unopened);
    }
    let absolute = std::path::absolute(path).map_err(|e| fault(e.into()))?;
    let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(fault(OutletFault::NoFile));
    };
    if let Some(link) = turned(directory, &written(plan)) {
        return Err(fault(OutletFault::Turned(link)));
    }
    let place = directory
        .canonicalize()
        .map_err(|e| fault(e.into()))?
        .join(name);
    if in_reach(&place, plan, |access| access.write) {
        return Err(fault(OutletFault::InReach));
    }
    let file = open(&place, OFlags::NOFOLLOW).map_err(unopened)?;
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

/// Checks the file of the verdict. Returns an error if an earlier run in the same trees could have chosen
/// its place, or if this run could move its directory: the jail's own file would then be at the path that
/// the caller reads. Returns who can write to the directory.
pub fn check_status(path: &Path, plan: &Plan) -> Result<Place, ExecuteError> {
    check_status_beside(path, &written(plan))
}

/// As [`check_status`], for a jail that may write these trees of the host.
pub fn check_status_beside(path: &Path, written: &[PathBuf]) -> Result<Place, ExecuteError> {
    let fault = |fault| ExecuteError::StatusFile {
        path: path.into(),
        fault,
    };
    let absolute = std::path::absolute(path).ok();
    let Some(directory) = absolute.as_deref().and_then(Path::parent) else {
        return Ok(Place::Callers);
    };
    if let Some(link) = turned(directory, written) {
        return Err(fault(OutletFault::Turned(link)));
    }
    // A missing directory is an error later, when the file is made.
    let Ok(place) = directory.canonicalize() else {
        return Ok(Place::Callers);
    };
    match within_trees(&place, written) {
        false => Ok(Place::Callers),
        true if written.contains(&place) => Ok(Place::Jails),
        true => Err(fault(OutletFault::Movable)),
    }
}

/// Refuses a grant of the state directory: the jail could change the records of sessions, or read what other
/// sessions have printed. A directory above it may be read as long as there are no sessions.
pub fn check_state(plan: &Plan, state: &Path) -> Result<(), ExecuteError> {
    // It may lie behind a link, such as /var/run. If it does not exist, its path is all that there is.
    let state = state.canonicalize().unwrap_or_else(|_| state.into());
    let is_used = || state.join("sessions").exists();
    let granted = plan.acts().find_map(|act| match act {
        Act::Bind { source, access, .. } if within(&state, source) || within(source, &state) => {
            (access.write || is_used()).then_some(source)
        }
        _ => None,
    });
    match granted {
        Some(path) => Err(ExecuteError::StateInReach {
            path: path.clone(),
            state,
        }),
        None => Ok(()),
    }
}

/// The deepest link on the path that lies where the jail may write.
fn turned(path: &Path, written: &[PathBuf]) -> Option<PathBuf> {
    let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    let writable = |path: &&Path| {
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        directory.is_some_and(|directory| within_trees(&directory, written))
    };
    let link = path.ancestors().filter(is_link).find(writable);
    link.map(Path::to_path_buf)
}
