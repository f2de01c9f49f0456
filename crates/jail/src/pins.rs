//! Paths of the host, opened once: what a path is, and the descriptor that pins it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs as rx;

use super::JailError;
use creel_plan::host::{Idmap, Stood};
use creel_plan::wanted::Purpose;
use creel_plan::{Fact, IdMode, Node};
use creel_policy::trust;
use creel_sys::fd::{self, Kind, Stat};
use creel_sys::{Errno, mount, placeholder};

/// An open inode and its state when it was opened.
#[derive(Debug)]
pub struct Pin {
    pub fd: OwnedFd,
    pub stat: Stat,
}

/// Pins by real path.
pub type Pins = BTreeMap<PathBuf, Pin>;

/// Whether the errno concerns this process and not the path.
pub(super) fn is_own(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// Looks a path up, and pins what exists.
pub(super) fn look(
    path: &Path,
    purpose: Purpose,
    ids: IdMode,
    pins: &mut Pins,
) -> Result<Fact, JailError> {
    look_closely(path, purpose, ids, pins).map(|(fact, _)| fact)
}

/// The same, and the placeholder at a name that counts as absent.
pub(super) fn look_closely(
    path: &Path,
    purpose: Purpose,
    ids: IdMode,
    pins: &mut Pins,
) -> Result<(Fact, Option<Stood>), JailError> {
    let absent = |errno| absent(path, errno).map(|fact| (fact, None));
    // Most paths contain no link; one call finds out.
    let plain = !path
        .components()
        .any(|c| c == std::path::Component::ParentDir);
    let (fd, real, link) = match fd::pin_exact(path) {
        Ok(fd) if plain => (fd, path.to_path_buf(), fd::Last::Itself),
        // A path with `..` may contain no link and still not be its own real path.
        Ok(_) | Err(Errno::LOOP) => match fd::pin_named(path) {
            Ok((fd, link)) => {
                let real = fd::path_of(fd.as_fd()).map_err(|source| JailError::Open {
                    path: path.into(),
                    source,
                })?;
                (fd, real, link)
            }
            Err(e) => return absent(e),
        },
        Err(e) => return absent(e),
    };
    let stat = fd::stat(fd.as_fd()).map_err(|source| JailError::Open {
        path: path.into(),
        source,
    })?;
    let node = match stat.kind {
        Kind::Directory | Kind::Placeholder => Node::Directory,
        Kind::File => Node::File,
        Kind::CharDevice | Kind::Other => return Ok((Fact::Special, None)),
    };
    // Another run's placeholder, which is removed when that run ends.
    if matches!(stat.kind, Kind::Placeholder | Kind::File)
        && placeholder::stands(fd.as_fd(), trust::says(&real))
    {
        let is_directory = rx::fstat(&fd)
            .is_ok_and(|stat| rx::FileType::from_raw_mode(stat.st_mode) == rx::FileType::Directory);
        let node = match is_directory {
            true => Node::Directory,
            false => Node::File,
        };
        return Ok((Fact::Absent, Some(Stood { real, node })));
    }
    let idmap = match (purpose, ids) {
        (Purpose::Write, IdMode::Privileged) if mount::can_idmap(fd.as_fd()) => Idmap::Works,
        (Purpose::Write, IdMode::Privileged) => Idmap::Refused,
        _ => Idmap::Unasked,
    };
    let fact = Fact::Present {
        // Only for a workspace it matters whether the name is a link.
        link: purpose == Purpose::Write && real != path && link == fd::Last::Link,
        real: real.clone(),
        node,
        uid: stat.uid,
        gid: stat.gid,
        idmap,
    };
    pins.insert(real, Pin { fd, stat });
    Ok((fact, None))
}

fn absent(path: &Path, error: Errno) -> Result<Fact, JailError> {
    match error {
        Errno::NOENT | Errno::NOTDIR => Ok(Fact::Absent),
        Errno::ACCESS | Errno::PERM => Ok(Fact::Denied),
        source => Err(JailError::Open {
            path: path.into(),
            source,
        }),
    }
}
