//! Errors of planning. Each message names the path or setting, the rule that forbids it, and the remedy.

use std::path::PathBuf;

use super::host::Unasked;
use creel_policy::{Degradable, Origin};

/// Errors of planning. Each message names the path or setting, the rule that forbids it, and the remedy.
///
/// Paths are absolute and on the host. `origin` is the rule of the policy, or the flag. `path` is the path as
/// that names it, with `~` and roots expanded, or a path that it leads to; `real` is its target, with every
/// link resolved, and `link` a link on the way to it. `tree` is the writable tree that the error is about.
/// `why` and `remedy` are parts of the message's sentence, and `kernel` is the host's release as uname(2) has
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum ResolveError {
    /// The request has no command, or an empty one.
    #[error("no command is given; write it after `--`: creel run -- CMD")]
    NoCommand,
    /// `most`: the limit of listening sockets.
    #[error(
        "the network's rules need more than {most} listening sockets; name fewer ports, or a wildcard instead of many names at ports above 1023"
    )]
    Listeners { most: usize },
    /// An argument or a variable has a NUL byte.
    #[error("a NUL byte in {0} cannot be passed to a program")]
    Nul(&'static str),
    /// A granted path is absent.
    #[error("{place}: {path} does not exist; correct it, or {leave}", place = place(.origin), path = .path.display(), leave = leave(.origin))]
    Missing { path: PathBuf, origin: Origin },
    /// The caller may not read a granted path.
    #[error("{place}: {path} cannot be granted, because you may not read it; make it readable, or remove the grant", place = place(.origin), path = .path.display())]
    Unreadable { path: PathBuf, origin: Origin },
    /// The caller may not look up a protected path.
    #[error("{place}: {path} cannot be protected, because you may not read it; make it readable, or do not grant the tree around it for writing", place = place(.origin), path = .path.display())]
    Unlooked { path: PathBuf, origin: Origin },
    /// A granted path is neither a directory nor a regular file.
    #[error("{place}: {path} is a socket, a device or a pipe; only files and directories can be granted", place = place(.origin), path = .path.display())]
    Special { path: PathBuf, origin: Origin },
    /// A path that no policy can grant.
    #[error("{place}: {path} cannot be granted: {why}", place = place(.origin), path = .path.display())]
    Never {
        path: PathBuf,
        why: &'static str,
        origin: Origin,
    },
    /// A path that can be granted for reading only: it contains too much of the host.
    #[error("{place}: {path} is too wide to be writable; name a directory in it", place = place(.origin), path = .path.display())]
    TooWide { path: PathBuf, origin: Origin },
    /// A granted path leads out of `base`, the directory that its rule names.
    #[error("{place}: {path} is a symbolic link out of {base}, and this grant covers only paths in {base}; grant its target {real} by its full path, if it is meant", place = place(.origin), path = .path.display(), base = .base.display(), real = .real.display())]
    LeadsOut {
        path: PathBuf,
        real: PathBuf,
        base: PathBuf,
        origin: Origin,
    },
    /// A granted path has a `..`.
    #[error("{place}: {path} contains `..`; write the path that it leads to", place = place(.origin), path = .path.display())]
    Parent { path: PathBuf, origin: Origin },
    /// A place in the jail that no tree of the host can have.
    #[error("{place}: the jail cannot have {path} at {at}: {why}", place = place(.origin), path = .path.display(), at = .at.display())]
    MapPlace {
        path: PathBuf,
        at: PathBuf,
        why: &'static str,
        origin: Origin,
    },
    /// A tree would have two places in the jail.
    #[error("{place}: the jail would have {path} both at {first} and at {second}; give it one place, and do not grant a tree around it", place = place(.origin), path = .path.display(), first = .first.display(), second = .second.display())]
    MapTwice {
        path: PathBuf,
        first: PathBuf,
        second: PathBuf,
        origin: Origin,
    },
    /// Another granted path lies at or beneath the place of a mapped tree.
    #[error("{place}: the jail cannot have {path} at {at}, because {other} is there; choose another place", place = place(.origin), path = .path.display(), at = .at.display(), other = .other.display())]
    MapOverlap {
        path: PathBuf,
        at: PathBuf,
        other: PathBuf,
        origin: Origin,
    },
    /// A place in another granted tree that has no mount point. `point`: its path on the host.
    #[error("{place}: the jail cannot have {path} at {at}, which lies in another granted tree, without a mount point there; make an empty directory or file of the same kind, {point}, or choose a place outside of granted trees", place = place(.origin), path = .path.display(), at = .at.display(), point = .point.display())]
    MapNoMountPoint {
        path: PathBuf,
        at: PathBuf,
        point: PathBuf,
        origin: Origin,
    },
    /// A denied or protected path of the host has the name of a place in the jail, or is hidden by it.
    /// `tree`: the mapped tree; `map`: the rule that maps it.
    #[error("{place}: a rule denies or protects {path}, a path of the host, and {map} puts {tree} at {at} in the jail; if a file of {tree} is meant, name it as on the host, else choose another place", place = place(.origin), map = place(.map), path = .path.display(), tree = .tree.display(), at = .at.display())]
    MapHidesRule {
        path: PathBuf,
        at: PathBuf,
        tree: PathBuf,
        map: Origin,
        origin: Origin,
    },
    /// `--exec`, although the policy lists programs.
    #[error("--exec {path}: the policy lists the programs that may be executed, and a flag cannot add to the list; add it to `tools.exec.commands` in the policy", path = .path.display())]
    ExecByName { path: PathBuf },
    /// `~` in a path, although the caller has no home. `uid`: the caller.
    #[error("{place}: `~` cannot be expanded: user {uid} is not in /etc/passwd, and HOME is ignored or is not a directory that this user owns; add the account, set HOME to a directory that this user owns, or write the path in full", place = place(.origin))]
    NoHome { uid: u32, origin: Origin },
    /// The jail could replace a link that leads to a protected path.
    #[error("{place}: {path} cannot be protected, because the jail could change the symbolic link {link}, through which it leads to {real}; protect {real}, or remove the link: rm {link}", place = place(.origin), path = .path.display(), real = .real.display(), link = .link.display())]
    ProtectLink {
        path: PathBuf,
        link: PathBuf,
        real: PathBuf,
        origin: Origin,
    },
    /// The jail could replace a link that leads to a path that the host's git obeys.
    #[error("{place}: git on the host obeys {real}, and the jail could change the symbolic link {link} that leads to it; name the file without the link, remove the link, or write `unprotect = [\"{real}\"]` if the jail may control the file", place = place(.origin), real = .real.display(), link = .link.display())]
    ObeyedLink {
        link: PathBuf,
        real: PathBuf,
        origin: Origin,
    },
    /// A directory in a list of programs.
    #[error("{place}: {path} is a directory; name the programs in it that may be executed", place = place(.origin), path = .path.display())]
    ProgramDirectory { path: PathBuf, origin: Origin },
    /// A file in a list of programs that is neither a 64-bit ELF program nor a script.
    #[error("{place}: {path} is neither a 64-bit ELF program nor a script, so creel cannot find the files that it loads; name a program", place = place(.origin), path = .path.display())]
    NotProgram { path: PathBuf, origin: Origin },
    /// A script in a list of programs without its interpreter.
    #[error("{place}: {path} is a script, and its interpreter {interpreter} may not be executed; name the interpreter too, or start it with the script as its argument", place = place(.origin), path = .path.display(), interpreter = .interpreter.display())]
    Interpreter {
        path: PathBuf,
        interpreter: PathBuf,
        origin: Origin,
    },
    /// A protected file or a program has another hard link, and the jail can write to `tree`.
    #[error("{place}: {path} cannot be protected, because it has a second name (a hard link, as `cp -l` and a local `git clone` make them), through which the jail may be able to write to it; give it an inode of its own (cp -p FILE NEW && mv NEW FILE; `find {tree} -samefile {path}` lists its names), or move it out of {tree}, which the jail may write to", place = place(.origin), path = .path.display(), tree = .tree.display())]
    HardLink {
        path: PathBuf,
        tree: PathBuf,
        origin: Origin,
    },
    /// A protected tree has too many entries to search them for hard links.
    #[error("{place}: {path} has too many files to search for hard links, through which the jail could write to them; protect the directories in it that matter, or mark it `optional = true` to skip the search", place = place(.origin), path = .path.display())]
    ProtectLarge { path: PathBuf, origin: Origin },
    /// A tree to load from lies in a writable tree.
    #[error("{place}: {path} cannot be granted under `load`: it lies in {tree}, which the jail can write to; name a read-only tree", place = place(.origin), path = .path.display(), tree = .tree.display())]
    LoadWritable {
        path: PathBuf,
        tree: PathBuf,
        origin: Origin,
    },
    /// A tree to load from has a program in it.
    #[error("{place}: {path} cannot be granted under `load`: {program} in it is a program, which a loader would execute; name a directory that has only libraries", place = place(.origin), path = .path.display(), program = .program.display())]
    LoadProgram {
        path: PathBuf,
        program: PathBuf,
        origin: Origin,
    },
    /// A tree to load from has more than `most` files.
    #[error("{place}: {path} cannot be granted under `load`: it has more than {most} files; name the directories in it that have the libraries", place = place(.origin), path = .path.display())]
    LoadLarge {
        path: PathBuf,
        most: usize,
        origin: Origin,
    },
    /// A tree to load from, on a kernel without Landlock.
    #[error("{place}: {path} cannot be granted under `load`: this needs Landlock, which the kernel does not have, to separate loading from executing; boot a kernel with Landlock, or remove the grant", place = place(.origin), path = .path.display())]
    LoadNoLandlock { path: PathBuf, origin: Origin },
    /// A denied or protected path is absent, and the jail could create it by another name.
    #[error("{place}: {path} is absent, and the jail could create it by its real name; name it so: {real}", place = place(.origin), path = .path.display(), real = .real.display())]
    AbsentElsewhere {
        path: PathBuf,
        real: PathBuf,
        origin: Origin,
    },
    /// A denied path is absent or cannot be looked up, and lies in a granted tree.
    #[error("{place}: {path} does not exist yet, and a mount cannot cover what does not exist; create it, or mark it `optional = true`", place = place(.origin), path = .path.display())]
    DenyAbsent { path: PathBuf, origin: Origin },
    /// The jail could replace a link that leads to a denied path.
    #[error("{place}: {path} leads through a symbolic link that the jail could change; deny its target, {real}, or remove the link", place = place(.origin), path = .path.display(), real = .real.display())]
    DenyLink {
        path: PathBuf,
        real: PathBuf,
        origin: Origin,
    },
    /// The jail could create a name that a pattern denies or protects. `pattern`: as written, escaped.
    #[error("{place}: the jail could create a name that matches {pattern} in {tree}, which it may write to; name the directory that contains the files, or mark the pattern `optional = true` to cover only names that exist at the start", place = place(.origin), tree = .tree.display())]
    PatternLater {
        pattern: String,
        tree: PathBuf,
        origin: Origin,
    },
    /// The workspace is absent.
    #[error("the workspace {0} does not exist; create it, or name another with --workspace DIR")]
    NoWorkspace(String),
    /// The workspace is not a directory.
    #[error("the workspace {0} is not a directory; name one with --workspace DIR")]
    WorkspaceNotDirectory(String),
    /// The jail could replace a link that leads from a writable tree to a granted path outside of it.
    #[error("{path} leads through a symbolic link out of the writable tree {tree}, and the jail could change that link; grant its target, {real}", path = .path.display(), tree = .tree.display(), real = .real.display())]
    LinkOut {
        path: PathBuf,
        real: PathBuf,
        tree: PathBuf,
    },
    /// The jail could replace a link that leads to a policy search directory, `seat`.
    #[error("{link} is a symbolic link in the writable tree {tree} and leads to the policy search directory {seat}: the jail could change the link and with it the policy of the next run; replace it with a directory, or grant a tree that does not contain it", link = .link.display(), tree = .tree.display(), seat = .seat.display())]
    SearchDirLink {
        link: PathBuf,
        seat: PathBuf,
        tree: PathBuf,
    },
    /// The workspace is a symbolic link.
    #[error("the workspace {link} is a symbolic link; name its target: --workspace {real}")]
    WorkspaceLink { link: String, real: String },
    /// The workspace contains too much of the host.
    #[error(
        "the workspace {0} is too wide to be granted to a jail; go into a project directory, name one with --workspace DIR, or use --workspace none"
    )]
    WorkspaceTooWide(String),
    /// The caller may not open the workspace.
    #[error("you may not open the workspace {0}; name another with --workspace DIR")]
    WorkspaceDenied(String),
    /// A workspace that no jail can have.
    #[error("the workspace {path} cannot be used: {why}")]
    WorkspaceNever { path: String, why: &'static str },
    /// A grant beneath an overlay workspace has another access than the overlay.
    #[error("{path} is granted in its own way beneath the overlay workspace {workspace}, and its mount would show the host's files beside the session's changes; leave that grant out, or use the mode rw or ro", path = .path.display(), workspace = .workspace.display())]
    OverlayNested { path: PathBuf, workspace: PathBuf },
    /// The jail may write to a tree around an overlay workspace, and so to the host's files.
    #[error("the overlay workspace {workspace} lies in {tree}, which is granted for writing: the host could move the workspace there, and the jail would write to it; leave that grant out, or use the mode rw", workspace = .workspace.display(), tree = .tree.display())]
    OverlayInside { workspace: PathBuf, tree: PathBuf },
    /// An ordinary user's jail has one user and one group, and overlayfs must give a copied file the owner that it had.
    #[error("the overlay workspace {path} belongs to {uid}:{gid}, and the jail has the ids {own_uid}:{own_gid} alone, so nothing in it could be changed; change its owner and group (chown -R {own_uid}:{own_gid}), or use the mode rw", path = .path.display())]
    OverlayOwner {
        path: PathBuf,
        uid: u32,
        gid: u32,
        own_uid: u32,
        own_gid: u32,
    },
    /// The working directory does not exist in the jail.
    #[error(
        "the working directory {0} is not in the jail; name the workspace, /tmp, your home or a granted directory"
    )]
    WorkdirOutside(String),
    /// The filesystem of a writable tree cannot be idmapped.
    #[error(
        "the id layer needs idmapped mounts, which the filesystem of {path} does not have on kernel {kernel}; move it to ext4, xfs or btrfs, grant it for reading (--workspace DIR:ro), run as an ordinary user, or go on with --allow-degraded idmap"
    )]
    NoIdmap { path: String, kernel: String },
    /// A filesystem mounted in a writable tree cannot be idmapped. `kind`: its type.
    #[error(
        "the id layer needs idmapped mounts, which the {kind} filesystem on {mount} does not have on kernel {kernel}, and {tree} is granted for writing with what is mounted in it; grant {mount} for reading (--read {mount}), unmount it, or go on with --allow-degraded idmap, which makes it read-only",
        mount = .mount.display(), tree = .tree.display()
    )]
    NoIdmapBelow {
        mount: PathBuf,
        kind: String,
        tree: PathBuf,
        kernel: String,
    },
    /// The jail would run as the owner of a writable tree, and that is root.
    #[error(
        "the id layer cannot share the owner of {0}, who is root: give the directory to an ordinary user, move it to a filesystem with idmapped mounts (ext4, xfs, btrfs; tmpfs from Linux 6.3), or grant it for reading (--workspace DIR:ro)"
    )]
    SharedRoot(String),
    /// The kernel has no Landlock, and the policy does not let the run go on without it.
    #[error(
        "the kernel {kernel} has no Landlock, which the file layer needs, or a seccomp filter around creel hides it; take that filter away, boot a kernel with CONFIG_SECURITY_LANDLOCK and `landlock` in lsm=, or go on with --allow-degraded landlock"
    )]
    NoLandlock { kernel: String },
    /// No cgroup can be used, and the policy does not let the run go on without it.
    #[error(
        "no cgroup can be used for the limits: {why}; {remedy}, or go on without memory and cpu limits with --allow-degraded cgroup"
    )]
    NoCgroup { why: String, remedy: &'static str },
    /// A variable whose name begins with `CREEL`.
    #[error("the environment variable {0} is reserved for creel")]
    Reserved(String),
    /// The host description lacks a path.
    #[error(transparent)]
    Unasked(#[from] Unasked),
}

creel_policy::codes!(ResolveError {
    Self::NoCommand => "plan-no-command",
    Self::Listeners { .. } => "plan-listeners",
    Self::Nul(_) => "plan-nul",
    Self::Missing { .. } => "plan-missing",
    Self::Unreadable { .. } => "plan-unreadable",
    Self::Unlooked { .. } => "plan-unlooked",
    Self::Special { .. } => "plan-special",
    Self::Never { .. } => "plan-never",
    Self::TooWide { .. } => "plan-too-wide",
    Self::LeadsOut { .. } => "plan-leads-out",
    Self::Parent { .. } => "plan-parent",
    Self::MapPlace { .. } => "plan-map-place",
    Self::MapTwice { .. } => "plan-map-twice",
    Self::MapOverlap { .. } => "plan-map-overlap",
    Self::MapNoMountPoint { .. } => "plan-map-no-mount-point",
    Self::MapHidesRule { .. } => "plan-map-hides-rule",
    Self::ExecByName { .. } => "plan-exec-by-name",
    Self::NoHome { .. } => "plan-no-home",
    Self::ProtectLink { .. } => "plan-protect-link",
    Self::ObeyedLink { .. } => "plan-obeyed-link",
    Self::ProgramDirectory { .. } => "plan-program-directory",
    Self::NotProgram { .. } => "plan-not-program",
    Self::Interpreter { .. } => "plan-interpreter",
    Self::HardLink { .. } => "plan-hard-link",
    Self::ProtectLarge { .. } => "plan-protect-large",
    Self::LoadWritable { .. } => "plan-load-writable",
    Self::LoadProgram { .. } => "plan-load-program",
    Self::LoadLarge { .. } => "plan-load-large",
    Self::LoadNoLandlock { .. } => "plan-load-no-landlock",
    Self::DenyAbsent { .. } => "plan-deny-absent",
    Self::AbsentElsewhere { .. } => "plan-absent-elsewhere",
    Self::DenyLink { .. } => "plan-deny-link",
    Self::PatternLater { .. } => "plan-pattern-later",
    Self::NoWorkspace(_) => "plan-no-workspace",
    Self::WorkspaceNotDirectory(_) => "plan-workspace-not-directory",
    Self::LinkOut { .. } => "plan-link-out",
    Self::SearchDirLink { .. } => "plan-seat-link",
    Self::WorkspaceLink { .. } => "plan-workspace-link",
    Self::WorkspaceTooWide(_) => "plan-workspace-too-wide",
    Self::WorkspaceDenied(_) => "plan-workspace-denied",
    Self::WorkspaceNever { .. } => "plan-workspace-never",
    Self::OverlayNested { .. } => "plan-overlay-nested",
    Self::OverlayInside { .. } => "plan-overlay-inside",
    Self::OverlayOwner { .. } => "plan-overlay-owner",
    Self::WorkdirOutside(_) => "plan-workdir-outside",
    Self::NoIdmap { .. } => "plan-no-idmap",
    Self::NoIdmapBelow { .. } => "plan-no-idmap-below",
    Self::SharedRoot(_) => "plan-shared-root",
    Self::NoLandlock { .. } => "plan-no-landlock",
    Self::NoCgroup { .. } => "plan-no-cgroup",
    Self::Reserved(_) => "plan-reserved",
    Self::Unasked(_) => "plan-unasked",
});

impl ResolveError {
    /// The rule of a policy, or the flag, that the error is about; `None` if it is about none.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            Self::Missing { origin, .. }
            | Self::Unreadable { origin, .. }
            | Self::Unlooked { origin, .. }
            | Self::Special { origin, .. }
            | Self::Never { origin, .. }
            | Self::TooWide { origin, .. }
            | Self::LeadsOut { origin, .. }
            | Self::Parent { origin, .. }
            | Self::NoHome { origin, .. }
            | Self::ProtectLink { origin, .. }
            | Self::ObeyedLink { origin, .. }
            | Self::ProgramDirectory { origin, .. }
            | Self::NotProgram { origin, .. }
            | Self::Interpreter { origin, .. }
            | Self::HardLink { origin, .. }
            | Self::ProtectLarge { origin, .. }
            | Self::LoadWritable { origin, .. }
            | Self::LoadProgram { origin, .. }
            | Self::LoadLarge { origin, .. }
            | Self::LoadNoLandlock { origin, .. }
            | Self::DenyAbsent { origin, .. }
            | Self::AbsentElsewhere { origin, .. }
            | Self::DenyLink { origin, .. }
            | Self::MapPlace { origin, .. }
            | Self::MapTwice { origin, .. }
            | Self::MapOverlap { origin, .. }
            | Self::MapNoMountPoint { origin, .. }
            | Self::MapHidesRule { origin, .. }
            | Self::PatternLater { origin, .. } => Some(origin),
            _ => None,
        }
    }
}

/// How to make an absent path optional at the place that asks for it.
fn leave(origin: &Origin) -> &'static str {
    match origin.is_flag() {
        true => "leave the flag out",
        false => "mark it `optional = true`",
    }
}

impl ResolveError {
    /// The missing layer, if a run may go on without it.
    pub fn lacks(&self) -> Option<Degradable> {
        match self {
            Self::NoIdmap { .. } => Some(Degradable::Idmap),
            Self::NoLandlock { .. } => Some(Degradable::Landlock),
            Self::NoCgroup { .. } => Some(Degradable::Cgroup),
            _ => None,
        }
    }

    /// Whether the state of the file itself prevents its protection.
    pub(super) fn is_of_the_file(&self) -> bool {
        matches!(
            self,
            Self::ProtectLink { .. } | Self::HardLink { .. } | Self::Unlooked { .. }
        )
    }
}

fn place(origin: &Origin) -> String {
    match origin.line {
        0 => origin.source.to_string(),
        line => format!("{}:{line}", origin.source),
    }
}
