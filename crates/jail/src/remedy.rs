//! Remedies for a jail that could not be made.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::JailError;
use super::obstacle;
use rustix::fs::{Access, access};

use creel_plan::{Act, Stage};
use creel_sys::around::Around;
use creel_sys::{Errno, host, rlimit};

impl JailError {
    /// The remedy for this error, if one is known.
    pub fn remedy(&self) -> Option<String> {
        let errno = self.errno();
        match self {
        _ if errno == Some(Errno::MFILE) => Some(format!(
            "creel keeps every path of the policy open, and the hard limit of descriptors is {}: name directories instead of the files in them, or raise the limit where creel is started (ulimit -Hn 65536 as root, \
             LimitNOFILE=65536 in a systemd unit, docker run --ulimit nofile=65536)",
            rlimit::open_files_ceiling()
        )),
        _ if errno == Some(Errno::NFILE) => Some(
            "the machine's limit of open files is reached: raise sysctl fs.file-max".into(),
        ),
        JailError::Clone { .. } | JailError::UserNamespace { .. } => Some(match errno {
            Some(Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS | Errno::NOSYS) => {
                obstacle::namespaces(&Around::look(), errno)
            }
            Some(Errno::AGAIN) => "the process limit of this user or cgroup is reached".into(),
            _ => "see `creel doctor`".into(),
        }),
        JailError::Maps { .. } => Some(obstacle::namespaces(&Around::look(), errno)),
        JailError::NotProc {
            source: Errno::NOSYS,
        } => Some(obstacle::openat2(&Around::look())),
        JailError::Idmap { .. } => Some(
            "its filesystem, or one mounted in it, has no idmapped mounts: use ext4, xfs or btrfs, grant it for reading, or run \
             as an ordinary user"
                .into(),
        ),
        JailError::Overlay { .. } => Some(overlay_needs()),
        JailError::Cgroup(_) => Some("see `creel doctor`".into()),
        _ if errno == Some(Errno::NOSYS) => {
            let filter = obstacle::hidden(&Around::look());
            Some(filter.unwrap_or_else(|| "boot Linux 5.14 or newer".into()))
        }
        JailError::Tree { .. } | JailError::System { .. } if errno == Some(Errno::PERM) => {
            Some(obstacle::namespaces(&Around::look(), errno))
        }
        // Root's directory is fixed, whatever the variable says.
        JailError::State { path, .. } if host::ids().0 == 0 => Some(format!(
            "{} must be a directory that root owns, on a writable filesystem: mount a tmpfs there (docker, podman: --tmpfs /run)",
            path.parent().unwrap_or(path).display()
        )),
        JailError::State { .. } => {
            Some("set XDG_RUNTIME_DIR to a directory that you own, mode 0700".into())
        }
        JailError::System { .. } if errno == Some(Errno::AGAIN) => {
            Some("the process limit of this user or cgroup is reached".into())
        }
        JailError::Act { act, .. } => match (act.as_ref(), errno) {
            (_, Some(Errno::FBIG)) => Some("a file that creel writes for the jail is larger than the caller's `ulimit -f`; raise that limit".into()),
            (Act::Pivot, Some(Errno::INVAL)) => Some(
                "pivot_root(2) does not work from the kernel's initial ramfs: switch_root into a real root first".into(),
            ),
            (Act::Clocks, Some(Errno::INVAL)) => {
                Some("the kernel lacks CONFIG_TIME_NS; leave out --time-ns".into())
            }
            (Act::Proc, Some(Errno::PERM)) => Some(obstacle::proc_mount(&Around::look())),
            (Act::Workdir { .. }, Some(Errno::NOENT)) => {
                Some("it does not exist in the jail; create it in the workspace".into())
            }
            (Act::Seccomp | Act::SeccompDebug, Some(Errno::INVAL)) => Some("the kernel lacks CONFIG_SECCOMP_FILTER".into()),
            (Act::Bind { .. } | Act::Mask { .. }, Some(Errno::STALE)) => {
                Some("it was replaced while the jail was being made".into())
            }
            (Act::Bind { overlay: Some(_), .. }, _) => Some(overlay_needs()),
            // The path is in a tree that a command could change. A ban on mounts fails at the first mount.
            (Act::Workdir { path } | Act::Hold { path, .. } | Act::Withhold { path, .. }, Some(Errno::ACCESS)) => {
                Some(closed(path))
            }
            // Only a mount or a namespace can be refused like this.
            (_, Some(Errno::PERM | Errno::ACCESS)) if act.stage() <= Stage::System => {
                Some(obstacle::namespaces(&Around::look(), errno))
            }
            _ => None,
        },
        JailError::Open { path, source: Errno::ACCESS } => Some(closed(path)),
        _ => None,
    }
    }
}

/// An overlay's needs. The kernel answers EINVAL to most that it lacks.
fn overlay_needs() -> String {
    "an overlay workspace needs overlayfs of Linux 5.11 (5.19 as root), and layers on a filesystem with whiteouts and \
     attributes (ext4, xfs, btrfs, tmpfs): set XDG_STATE_HOME to a directory on one, or use --workspace DIR:rw"
        .into()
}

/// The remedy for a directory that may not be entered: its own mode keeps its owner out, or another user owns
/// it.
fn closed(path: &Path) -> String {
    let shut = |dir: &&Path| access(*dir, Access::EXEC_OK).is_err() && dir.is_dir();
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    let (uid, _) = host::ids();
    if uid != 0
        && let Some(dir) = above.iter().find(|dir| shut(dir))
        && let Ok(owner) = dir.metadata().map(|meta| meta.uid())
        && owner != uid
    {
        return format!(
            "{} belongs to user {owner}, and its mode does not let you enter it; name another directory",
            dir.display()
        );
    }
    format!(
        "its mode, or that of a directory above it, forbids access, perhaps since an earlier command: chmod u+rwx {}",
        path.display()
    )
}
