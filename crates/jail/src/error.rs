//! Errors between a plan and a running jail. The child reports a step and an errno; the parent makes the
//! message here.

use std::path::{Path, PathBuf};

use super::cgroup::CgroupError;
use creel_plan::Act;
use creel_policy::Origin;
use creel_sys::Errno;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JailError {
    #[error("{} changed while the jail was being made", .0.display())]
    Changed(PathBuf),
    #[error(
        "the current directory was removed; change to one that exists, or write absolute paths: --workspace DIR"
    )]
    NoCwd,
    #[error("{}", match *source {
        Errno::NOSYS => "openat2(2) is not available",
        _ => "the filesystem on /proc is not the kernel's procfs",
    })]
    NotProc {
        #[source]
        source: Errno,
    },
    #[error(
        "/proc belongs to another pid namespace, so its pids are not those of this one; mount the right one: mount -t proc proc /proc, or unshare --mount-proc"
    )]
    ForeignProc,
    #[error("{} cannot be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("{} is a {kind} filesystem of the host inside {}, which is granted; unmount it, or grant less", path.display(), tree.display())]
    KernelTree {
        path: PathBuf,
        kind: String,
        tree: PathBuf,
    },
    #[error("{} cannot be prepared as a mount", path.display())]
    Tree {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("the owner of {} cannot be mapped", path.display())]
    Idmap {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("the ids layer: no user namespace can be made")]
    UserNamespace {
        #[source]
        source: Errno,
    },
    #[error("the namespaces layer: clone3 was refused")]
    Clone {
        #[source]
        source: Errno,
    },
    #[error("the ids layer: the maps of the user namespace cannot be written")]
    Maps {
        #[source]
        source: Errno,
    },
    #[error("the cgroup layer")]
    Cgroup(#[from] CgroupError),
    #[error("the cgroup layer: creel has not yet requested a cgroup from systemd's user manager")]
    NotAsked,
    #[error("the ids layer: no range of ids is free; 4096 jails run already")]
    NoLease,
    #[error("the state directory {} cannot be used", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the Landlock layer: the ruleset cannot be made")]
    Landlock {
        #[source]
        source: Errno,
    },
    #[error("{what} failed")]
    System {
        what: &'static str,
        #[source]
        source: Errno,
    },
    #[error("{} is a dangling symbolic link, and the jail could create its target; remove the link, or create the target", path.display())]
    LinkNowhere { path: PathBuf },
    #[error("{}", unheld(path, *source))]
    Placeholder {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("{}", one_line(act))]
    Act {
        act: Box<Act>,
        #[source]
        source: Errno,
    },
    #[error(
        "stdin is a file in a granted tree, from which a program could load code that the policy does not allow; pass it through a pipe: cat FILE | creel run"
    )]
    LoadableStdin,
    #[error(
        "stdin is a file that cannot be reopened read-only; pass it through a pipe: cat FILE | creel run"
    )]
    Stdin {
        #[source]
        source: Errno,
    },
    #[error("{} and {} are one file in a case-insensitive directory, and a policy compares paths as text; use one spelling", one.display(), other.display())]
    Spellings { one: PathBuf, other: PathBuf },
    #[error("{origin}: {pattern} cannot be expanded: {why}; {remedy}")]
    Pattern {
        /// As written.
        pattern: String,
        origin: Origin,
        why: String,
        remedy: &'static str,
    },
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
