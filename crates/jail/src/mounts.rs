//! The host's mounts from mountinfo: which would come in with a granted tree, and for which of those the
//! kernel cannot map the owners.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::error::JailError;
use super::pins::{Pin, Pins};
use creel_plan::host::{Idmap as Mappable, Unmapped};
use creel_plan::paths::{NEVER_BELOW, within};
use creel_plan::{Fact, Host, Node};
use creel_sys::fd::{self, Kind};
use creel_sys::userns::{Idmap, Range};
use creel_sys::{Errno, mount, procfs};

/// One line of /proc/self/mountinfo.
pub(super) struct Mount {
    id: u64,
    pub(super) point: PathBuf,
    /// The type of its filesystem; with a subtype, `fuse.sshfs`.
    kind: String,
    /// The mount is idmapped already; the kernel maps a mount only once.
    mapped: bool,
}

/// Every mount of this namespace that a path from this process's root leads to.
pub(super) fn all() -> Result<Vec<Mount>, JailError> {
    let text = procfs::read("self/mountinfo").map_err(|source| JailError::Open {
        path: "/proc/self/mountinfo".into(),
        source,
    })?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// proc(5): "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw"
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let point = unescape(fields.nth(3)?);
    let mapped = fields
        .next()?
        .split(|b| *b == b',')
        .any(|o| o == b"idmapped");
    let kind = fields.skip_while(|f| *f != b"-").nth(1)?;
    Some(Mount {
        id,
        point: PathBuf::from(OsStr::from_bytes(&point)),
        kind: String::from_utf8_lossy(&unescape(kind)).into_owned(),
        mapped,
    })
}

/// Space, tab, newline and backslash are octal in mountinfo.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = vec![];
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain
}

/// The kernel's own filesystems, which show the host's state wherever they are mounted.
const KERNEL: [&str; 13] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "proc",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// Refuses a grant with such a mount beneath it: a chroot's `/proc` would show the host's processes. `own`:
/// whether the jail has its own tree in that place.
pub(super) fn no_kernel_trees(
    mounts: &[Mount],
    pins: &Pins,
    own: impl Fn(&Path) -> bool,
) -> Result<(), JailError> {
    let grantable = |tree: &&PathBuf| {
        tree.as_path() != Path::new("/")
            && !NEVER_BELOW
                .iter()
                .any(|(never, _)| within(tree, Path::new(never)))
    };
    let trees: Vec<&PathBuf> = pins.keys().filter(grantable).collect();
    for mount in mounts {
        if !KERNEL.contains(&mount.kind.as_str()) {
            continue;
        }
        let brings = |tree: &&&PathBuf| within(&mount.point, tree) && !own(tree);
        if let Some(tree) = trees.iter().find(brings) {
            return Err(JailError::KernelTree {
                path: mount.point.clone(),
                kind: mount.kind.clone(),
                tree: tree.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// Refuses an overlay of a tree in which something is mounted: the jail would see what the mount hides.
pub(super) fn none_beneath(tree: &Path) -> Result<(), JailError> {
    match all()?.into_iter().find(|mount| below(&mount.point, tree)) {
        Some(mount) => Err(JailError::OverlayMount {
            path: mount.point,
            tree: tree.into(),
        }),
        None => Ok(()),
    }
}

/// Finds the mounts that cannot be idmapped. Those beneath the trees that are to be mapped are tried, since a
/// FUSE server may or may not allow it; of the trees themselves, those that are mapped already.
pub(super) fn unmapped(
    mounts: &[Mount],
    host: &mut Host,
    pins: &mut Pins,
) -> Result<(), JailError> {
    let mut trees = BTreeSet::new();
    for fact in host.paths.values_mut() {
        let Fact::Present { real, idmap, .. } = fact else {
            continue;
        };
        if *idmap != Mappable::Works {
            continue;
        }
        let on = pins
            .get(real)
            .and_then(|pin| mount::id(pin.fd.as_fd(), c"").ok());
        if mounts.iter().any(|m| Some(m.id) == on && m.mapped) {
            *idmap = Mappable::Refused;
        } else {
            trees.insert(real.clone());
        }
    }
    let inside: Vec<&Mount> = mounts
        .iter()
        .filter(|mount| trees.iter().any(|tree| below(&mount.point, tree)))
        .collect();
    // The path of a covered mount leads to the mount above it.
    let seen = |mount: &&&Mount| {
        let path = CString::new(mount.point.as_os_str().as_bytes()).unwrap_or_default();
        match mount::id(CWD, &path) {
            Ok(id) => id == mount.id,
            // A FUSE server's root may be hidden from other users.
            Err(errno) => errno == Errno::ACCESS,
        }
    };
    let (seen, covered): (Vec<&Mount>, Vec<&Mount>) = inside.iter().partition(seen);
    let mut apart: BTreeMap<&Path, &str> = BTreeMap::new();
    for mount in covered {
        // It comes in below the other mount and cannot be tried there.
        let over = seen.iter().filter(|m| within(&mount.point, &m.point));
        let over = over.max_by_key(|m| m.point.as_os_str().len());
        if let Some(over) = over
            && !KNOWN.contains(&mount.kind.as_str())
        {
            apart.insert(&over.point, &mount.kind);
        }
    }
    let (id, _) = creel_sys::host::ids();
    let mut map = None;
    for mount in seen {
        let path = CString::new(mount.point.as_os_str().as_bytes()).unwrap_or_default();
        // It cannot be copied, so it does not come in.
        let Ok(copy) = mount::copy_one(CWD, &path) else {
            continue;
        };
        let map = match &map {
            Some(map) => map,
            None => {
                let own = [Range {
                    inside: 0,
                    outside: id,
                    count: 1,
                }];
                let made =
                    Idmap::new(&own, &own).map_err(|source| JailError::UserNamespace { source })?;
                &*map.insert(made)
            }
        };
        if mount::idmap(copy.as_fd(), map.namespace.as_fd()).is_err() {
            apart.insert(&mount.point, &mount.kind);
        }
    }
    for (point, kind) in apart {
        let fault = |source| JailError::Open {
            path: point.into(),
            source,
        };
        let fd = fd::pin_exact(point).map_err(fault)?;
        let stat = fd::stat_of_mount(fd.as_fd()).map_err(fault)?;
        let node = match stat.kind {
            Kind::Directory | Kind::Placeholder => Node::Directory,
            _ => Node::File,
        };
        let kind = kind.into();
        host.found
            .unmapped
            .insert(point.into(), Unmapped { kind, node });
        pins.entry(point.into()).or_insert(Pin { fd, stat });
    }
    Ok(())
}

/// Filesystems that have idmapped mounts; for mounts that cannot be tried.
const KNOWN: [&str; 5] = ["btrfs", "ext4", "f2fs", "tmpfs", "xfs"];

fn below(path: &Path, tree: &Path) -> bool {
    path != tree && within(path, tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_what_is_escaped_in_it() {
        let line = br"36 35 98:0 /mnt1 /a\040b\134 rw,idmapped master:1 - fuse.x\040y none rw";
        let mount = parse(line).expect("a mount");
        assert_eq!(mount.id, 36);
        assert_eq!(mount.point, Path::new("/a b\\"));
        assert_eq!((mount.kind.as_str(), mount.mapped), ("fuse.x y", true));
        let plain = parse(b"1 0 0:1 / / rw - ext4 /dev/idmapped rw,idmapped").expect("a mount");
        assert!(!plain.mapped);
        for odd in [&b""[..], b"36 35 98:0 /mnt1", b"x 35 98:0 / / rw - a b c"] {
            assert!(parse(odd).is_none());
        }
    }
}
