//! Paths of the host, opened once: what a path is, and the descriptor that pins it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self as rx, FileType};

use super::error::JailError;
use creel_plan::host::{Idmap, Stood};
use creel_plan::wanted::Purpose;
use creel_plan::{Fact, IdMode, Node};
use creel_policy::protected_defaults;
use creel_sys::fd::{self, Kind, Stat};
use creel_sys::{Errno, mount, placeholder};

/// Looks at one path, each of which meets a placeholder that is being removed.
const MOST_LOOKS: usize = 100;

/// An open inode and its state when it was opened.
#[derive(Debug)]
pub struct Pin {
    /// Opened with `O_PATH`: the inode number cannot be reused while the descriptor is open.
    pub fd: OwnedFd,
    /// The identity and owner of the inode when it was opened.
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

/// As [`look`], with the placeholder of a name that counts as absent.
pub(super) fn look_closely(
    path: &Path,
    purpose: Purpose,
    ids: IdMode,
    pins: &mut Pins,
) -> Result<(Fact, Option<Stood>), JailError> {
    for _ in 0..MOST_LOOKS {
        if let Some(found) = look_once(path, purpose, ids, pins)? {
            return Ok(found);
        }
    }
    Err(JailError::Changed(path.into()))
}

/// `None` if another run removed its placeholder during the look.
fn look_once(
    path: &Path,
    purpose: Purpose,
    ids: IdMode,
    pins: &mut Pins,
) -> Result<Option<(Fact, Option<Stood>)>, JailError> {
    let absent = |errno| absent(path, errno).map(|fact| Some((fact, None)));
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
        Kind::Other if stat.links == 0 => return Ok(None),
        Kind::CharDevice | Kind::Other => return Ok(Some((Fact::Special, None))),
    };
    // Another run's placeholder, which is removed when that run ends.
    if matches!(stat.kind, Kind::Placeholder | Kind::File)
        && placeholder::stands(fd.as_fd(), protected_defaults::says(&real))
    {
        let is_directory = rx::fstat(&fd).is_ok_and(|stat| kind(&stat) == FileType::Directory);
        let node = match is_directory {
            true => Node::Directory,
            false => Node::File,
        };
        return Ok(Some((Fact::Absent, Some(Stood { real, node }))));
    }
    if stat.kind == Kind::Placeholder {
        // It had the mark and is none: it lost its name, or it is a user's.
        let now = rx::fstat(&fd).map_err(|source| JailError::Open {
            path: path.into(),
            source,
        })?;
        match kind(&now) {
            _ if now.st_nlink == 0 => return Ok(None),
            FileType::Directory => {}
            _ => return Ok(Some((Fact::Special, None))),
        }
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
    Ok(Some((fact, None)))
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

fn kind(stat: &rx::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use rustix::fs::{AtFlags, CWD, Mode};

    /// How long the other thread may take to run at all.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A placeholder that another run makes and removes meanwhile is absent at each look, never a directory.
    #[test]
    fn a_placeholder_on_its_way_out_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let over = AtomicBool::new(false);
        for name in ["socket", "directory"] {
            let place = dir.path().join(name);
            let place = place.as_path();
            over.store(false, Ordering::Relaxed);
            let mut seen = [0, 0];
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        if name == "socket" {
                            rx::mknodat(CWD, place, FileType::Socket, Mode::empty(), 0).unwrap();
                            rx::unlink(place).unwrap();
                        } else {
                            rx::mkdir(place, Mode::from_raw_mode(0o1755)).unwrap();
                            rx::unlinkat(CWD, place, AtFlags::REMOVEDIR).unwrap();
                        }
                    }
                });
                let begun = Instant::now();
                let mut looks = 0;
                // The control: both are met, the name with its placeholder and without.
                while looks < 30_000 || seen.contains(&0) && begun.elapsed() < PATIENCE {
                    looks += 1;
                    let mut pins = Pins::new();
                    let found = look_closely(place, Purpose::Read, IdMode::Rootless, &mut pins);
                    match found {
                        Ok((Fact::Absent, stood)) => seen[usize::from(stood.is_some())] += 1,
                        other => {
                            over.store(true, Ordering::Relaxed);
                            panic!("{name}: {other:?}");
                        }
                    }
                }
                over.store(true, Ordering::Relaxed);
            });
            assert!(seen[0] > 0 && seen[1] > 0, "{name}: {seen:?}");
        }
    }
}
