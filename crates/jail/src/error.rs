//! Errors between a plan and a running jail. The child reports a step and an errno; the parent makes the
//! message here.

use std::path::{Path, PathBuf};

use super::cgroup::CgroupError;
use creel_plan::Act;
use creel_policy::Origin;
use creel_sys::Errno;

/// Errors of the examination of the host, and of making and ending a jail.
///
/// In every variant, `path` is a path of the host, and `source` is the error of the system call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum JailError {
    /// Another process replaced this path after creel had examined it, or keeps replacing it.
    #[error("{} changed while the jail was being made", .0.display())]
    Changed(PathBuf),
    /// The current directory was removed, and the request has a path that depends on it.
    #[error(
        "the current directory was removed; change to one that exists, or write absolute paths: --workspace DIR"
    )]
    NoCwd,
    /// `/proc` cannot be used. `ENOSYS`: the kernel or a seccomp filter refuses openat2(2) (Linux 5.6).
    /// `ENODEV` and others: `/proc` is not procfs.
    #[error("{}", match *source {
        Errno::NOSYS => "openat2(2) is not available",
        _ => "the filesystem on /proc is not the kernel's procfs",
    })]
    NotProc {
        #[source]
        source: Errno,
    },
    /// The procfs on `/proc` shows the pids of another pid namespace.
    #[error(
        "/proc belongs to another pid namespace, so its pids are not those of this one; mount the right one: mount -t proc proc /proc, or unshare --mount-proc"
    )]
    ForeignProc,
    /// An open, a lookup or a read of a path failed.
    #[error("{} cannot be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// A filesystem of the kernel, such as procfs or sysfs, is mounted in a granted tree. `kind` is its type
    /// as in /proc/self/mountinfo, `tree` the granted path.
    #[error("{} is a {kind} filesystem of the host inside {}, which is granted; unmount it, or grant less", path.display(), tree.display())]
    KernelTree {
        path: PathBuf,
        kind: String,
        tree: PathBuf,
    },
    /// A filesystem is mounted beneath an overlay workspace; an overlay would show the directory under it.
    #[error("{} is a mount beneath the overlay workspace {}, which an overlay does not show; unmount it, or use the mode rw or ro", path.display(), tree.display())]
    OverlayMount { path: PathBuf, tree: PathBuf },
    /// The layers of an overlay workspace cannot be used: `path` is their directory.
    #[error("the layers in {} cannot be used for an overlay", path.display())]
    Overlay {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// The mount of a granted tree cannot be copied or changed, open_tree(2) and mount_setattr(2).
    #[error("{} cannot be prepared as a mount", path.display())]
    Tree {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// An idmapped mount was refused, mount_setattr(2). `EINVAL`: the filesystem has none. `EPERM`: the mount
    /// has a map already.
    #[error("the owner of {} cannot be mapped", path.display())]
    Idmap {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// The user namespace that idmapped mounts need cannot be made.
    #[error("the ids layer: no user namespace can be made")]
    UserNamespace {
        #[source]
        source: Errno,
    },
    /// clone3(2) of the jail's first process failed. `EPERM`: user namespaces are forbidden.
    /// `ENOSPC`: their limit is reached. `EAGAIN`: the process limit is reached. `EBUSY`: creel has a second
    /// thread.
    #[error("the namespaces layer: clone3 was refused")]
    Clone {
        #[source]
        source: Errno,
    },
    /// `uid_map`, `gid_map`, `setgroups` or `projid_map` of the jail's first process cannot be written,
    /// user_namespaces(7).
    #[error("the ids layer: the maps of the user namespace cannot be written")]
    Maps {
        #[source]
        source: Errno,
    },
    /// A file or directory of a control group cannot be made, opened, read or written.
    #[error("the cgroup layer")]
    Cgroup(#[from] CgroupError),
    /// The plan needs a cgroup from systemd that creel has not requested. Call
    /// [`scope::settle`](super::scope::settle) and resolve the plan again.
    #[error("the cgroup layer: creel has not yet requested a cgroup from systemd's user manager")]
    NotAsked,
    /// Each of the 4096 slots is locked by another jail, or has a cgroup with processes in it.
    #[error("the ids layer: no range of ids is free; 4096 jails run already")]
    NoLease,
    /// The directory of the leases, or its file `slots`, cannot be used. The error has no errno if another
    /// user owns the directory or may write to it.
    #[error("the state directory {} cannot be used", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The Landlock ruleset cannot be created, or refuses a rule for a pinned path, landlock(7).
    #[error("the Landlock layer: the ruleset cannot be made")]
    Landlock {
        #[source]
        source: Errno,
    },
    /// Another operation failed; `what` names it, as the subject of the message.
    #[error("{what} failed")]
    System {
        what: &'static str,
        #[source]
        source: Errno,
    },
    /// `path` is a symbolic link without a target, and creel must prevent the creation of the name.
    #[error("{} is a dangling symbolic link, and the jail could create its target; remove the link, or create the target", path.display())]
    LinkNowhere { path: PathBuf },
    /// The placeholder that keeps `path` absent cannot be made. `EACCES`, `EPERM` or `EROFS`: the caller may
    /// not write to the directory.
    #[error("{}", unheld(path, *source))]
    Placeholder {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// A step failed in the child; `act` is the act of the plan.
    #[error("{}", one_line(act))]
    Act {
        act: Box<Act>,
        #[source]
        source: Errno,
    },
    /// stdin is a file on a mount without noexec that a program could map as code: it lies in a granted tree,
    /// or the plan has no Landlock rules.
    #[error(
        "stdin is a file in a granted tree, from which a program could load code that the policy does not allow; pass it through a pipe: cat FILE | creel run"
    )]
    LoadableStdin,
    /// The file on stdin cannot be reopened on a read-only mount. `ESTALE`: its path leads to another file
    /// now.
    #[error(
        "stdin is a file that cannot be reopened read-only; pass it through a pipe: cat FILE | creel run"
    )]
    Stdin {
        #[source]
        source: Errno,
    },
    /// Two paths, `one` and `other`, are one inode and differ only in case.
    #[error("{} and {} are one file in a case-insensitive directory, and a policy compares paths as text; use one spelling", one.display(), other.display())]
    Spellings { one: PathBuf, other: PathBuf },
    /// A pattern cannot be expanded. `origin` is the rule that has it; `why` and `remedy` end the message.
    #[error("{origin}: {pattern} cannot be expanded: {why}; {remedy}")]
    Pattern {
        /// As written.
        pattern: String,
        origin: Origin,
        why: String,
        remedy: &'static str,
    },
    /// The jail's first process exited, and reported neither a failure nor the end of a command.
    #[error("the jail's first process died before it was ready")]
    Died,
}

creel_policy::codes!(JailError {
    Self::Changed(_) => "jail-changed",
    Self::NoCwd => "jail-no-cwd",
    Self::NotProc { .. } => "jail-not-proc",
    Self::ForeignProc => "jail-foreign-proc",
    Self::Open { .. } => "jail-open",
    Self::KernelTree { .. } => "jail-kernel-tree",
    Self::OverlayMount { .. } => "jail-overlay-mount",
    Self::Overlay { .. } => "jail-overlay",
    Self::Tree { .. } => "jail-tree",
    Self::Idmap { .. } => "jail-idmap",
    Self::UserNamespace { .. } => "jail-user-namespace",
    Self::Clone { .. } => "jail-clone",
    Self::Maps { .. } => "jail-maps",
    Self::Cgroup(_) => "jail-cgroup",
    Self::NotAsked => "jail-not-asked",
    Self::NoLease => "jail-no-lease",
    Self::State { .. } => "jail-state",
    Self::Landlock { .. } => "jail-landlock",
    Self::System { .. } => "jail-system",
    Self::LinkNowhere { .. } => "jail-link-nowhere",
    Self::Placeholder { .. } => "jail-placeholder",
    Self::Act { .. } => "jail-act",
    Self::LoadableStdin => "jail-loadable-stdin",
    Self::Stdin { .. } => "jail-stdin",
    Self::Spellings { .. } => "jail-spellings",
    Self::Pattern { .. } => "jail-pattern",
    Self::Died => "jail-died",
});

/// The first line of an act's text, without the list below it, and the rule that asked for the act.
fn one_line(act: &Act) -> String {
    let text = act.to_string();
    let text = text.lines().next().unwrap_or_default();
    match act.rule() {
        Some(rule) => format!("{text} ({rule})"),
        None => text.to_owned(),
    }
}

fn unheld(path: &Path, why: Errno) -> String {
    let parent = path.parent().unwrap_or(path).display();
    match why {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => format!(
            "you may not write to {parent}, which is granted for writing; grant it for reading: \
             --workspace {parent}:ro, or `read` if it is not the workspace"
        ),
        _ => format!(
            "the creation of {} cannot be blocked; create it, or protect it only if it exists",
            path.display()
        ),
    }
}

impl JailError {
    /// The errno that caused the error, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::NotProc { source }
            | Self::Open { source, .. }
            | Self::Tree { source, .. }
            | Self::Overlay { source, .. }
            | Self::Idmap { source, .. }
            | Self::UserNamespace { source }
            | Self::Clone { source }
            | Self::Maps { source }
            | Self::Landlock { source }
            | Self::Placeholder { source, .. }
            | Self::Stdin { source }
            | Self::System { source, .. }
            | Self::Act { source, .. } => Some(*source),
            Self::Cgroup(e) => Errno::from_io_error(&e.source),
            Self::State { source, .. } => Errno::from_io_error(source),
            Self::Changed(_)
            | Self::KernelTree { .. }
            | Self::OverlayMount { .. }
            | Self::NoCwd
            | Self::ForeignProc
            | Self::LinkNowhere { .. }
            | Self::NotAsked
            | Self::NoLease
            | Self::LoadableStdin
            | Self::Pattern { .. }
            | Self::Spellings { .. }
            | Self::Died => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_plan::{IfAbsent, Node};

    #[test]
    fn an_act_that_fails_names_its_rule() {
        let message = |rule| {
            let act = Act::Mask {
                path: "/srv/secret".into(),
                node: Node::File,
                absent: IfAbsent::Refuse,
                rule,
            };
            let act = Box::new(act);
            let source = Errno::NOENT;
            JailError::Act { act, source }.to_string()
        };
        let rule = Origin {
            source: "agent.toml".into(),
            line: 3,
        };
        assert_eq!(message(Some(rule)), "mask file /srv/secret (agent.toml:3)");
        assert_eq!(message(None), "mask file /srv/secret");
    }
}
