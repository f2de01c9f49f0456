//! Mount points of mounts that lie in other mounts. As docker does, an empty directory is made on the host where there
//! is none. The tree may be a jail's to change: no link is followed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use super::container::{Container, Mount};
use crate::cli::failure::Failure;
use creel_plan::paths::TOO_WIDE;

/// Makes the missing mount points of a container.
pub fn make(container: &Container) -> Result<(), Failure> {
    for mount in &container.mounts {
        let around = container
            .mounts
            .iter()
            .filter(|other| lies_in(mount, other));
        // The innermost one is what the mount point is seen in.
        let Some(outer) = around.max_by_key(|other| other.destination.len()) else {
            continue;
        };
        // The plan refuses a tree that is too wide; nothing is made in it before.
        let real = Path::new(&outer.source).canonicalize();
        let is_wide = |real: PathBuf| TOO_WIDE.iter().any(|wide| real == Path::new(wide));
        let is_granted = outer.write && !real.map_or(true, is_wide);
        if !is_granted || !Path::new(&mount.source).is_dir() {
            continue;
        }
        let place = Path::new(&mount.destination);
        let below = place.strip_prefix(&outer.destination).unwrap_or(place);
        directories(&outer.source, below).map_err(|errno| {
            Failure::new(format!(
                "-v {}:{}: the mount point {} in {}: {errno}{}",
                mount.source,
                mount.destination,
                below.display(),
                outer.source,
                match errno {
                    Errno::LOOP => "; name the real path, without links",
                    _ => "",
                }
            ))
        })?;
    }
    Ok(())
}

fn lies_in(mount: &Mount, other: &Mount) -> bool {
    mount.destination != other.destination
        && Path::new(&mount.destination).starts_with(&other.destination)
}

/// As mkdir -p below an opened directory.
fn directories(root: &str, below: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The tree itself may lie in one of another jail's, which may have exchanged it since `create`.
    let how = ResolveFlags::NO_SYMLINKS;
    let mut directory = openat2(CWD, root, flags, Mode::empty(), how)?;
    for name in below {
        match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        directory = openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_tree_is_not_followed() {
        let (tree, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = tree.path().to_str().unwrap();
        std::os::unix::fs::symlink(other.path(), tree.path().join("link")).unwrap();
        let refused = directories(root, Path::new("link/a")).unwrap_err();
        assert!([Errno::LOOP, Errno::NOTDIR].contains(&refused), "{refused}");
        assert!(!other.path().join("a").exists());
        assert!(directories(root, Path::new("real/a")).is_ok());
        assert!(tree.path().join("real/a").is_dir());
        assert!(directories(root, Path::new("real/a")).is_ok());
        let renamed = other.path().join("tree");
        std::os::unix::fs::symlink(tree.path(), &renamed).unwrap();
        let refused = directories(renamed.to_str().unwrap(), Path::new("b")).unwrap_err();
        assert_eq!(refused, Errno::LOOP);
        assert!(!tree.path().join("b").exists());
    }
}
