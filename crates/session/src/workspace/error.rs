//! Errors of overlay workspaces.

use std::io;
use std::path::PathBuf;

use creel_sys::Errno;

/// Why the changes of an overlay workspace cannot be used. `name` is that of the session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum WorkspaceError {
    /// No session of this name has an overlay workspace.
    #[error(
        "no changes of a session {name}; only a session with --workspace DIR:overlay has some, and `creel diff` lists them"
    )]
    None { name: String },
    /// A file or directory of the layers cannot be used.
    #[error("{}: {source}", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The directory of the layers belongs to another user, or others may enter it.
    #[error(
        "{} is not the caller's alone, so the changes in it are not trusted; remove it, or set XDG_STATE_HOME to a directory of the caller's",
        path.display()
    )]
    Foreign { path: PathBuf },
    /// The record or the journal cannot be read.
    #[error("{} is damaged: {why}; the changes are in the directory upper beside it", path.display())]
    Damaged { path: PathBuf, why: String },
    /// Changes of a session of this name belong to another workspace.
    #[error(
        "session {name} has changes that are not committed, of the workspace {}; commit or discard them (`creel diff {name}`), or choose another --name", workspace.display()
    )]
    Other { name: String, workspace: PathBuf },
    /// A jail uses the layers.
    #[error("session {name} runs, and its layers cannot be changed; `creel stop {name}` ends it")]
    Live { name: String },
    /// Another commit or discard is at work.
    #[error("another creel commits or discards the changes of session {name}; try again")]
    Busy { name: String },
    /// The workspace is not the directory that it was at the start.
    #[error("the workspace {} was removed or replaced since session {name} began; put it back, or discard the changes", workspace.display())]
    Moved { name: String, workspace: PathBuf },
    /// A path that is named is not in the workspace, or nothing is changed there.
    #[error("{} is not changed in session {name}; `creel diff {name}` lists the changes", path.display())]
    Unchanged { name: String, path: PathBuf },
    /// The host changed these files since the start, too. Nothing was committed.
    #[error(
        "the host changed {} since session {name} began{more}; nothing was committed; name other paths, or --force replaces the host's", first.display(), more = more_text(*.more)
    )]
    Conflict {
        name: String,
        first: PathBuf,
        more: usize,
    },
    /// A file is written while it is copied. Nothing was committed.
    #[error("{} is being written; nothing was committed; try again, or stop session {name} first", path.display())]
    Unstable { name: String, path: PathBuf },
    /// The changes cannot be copied beside the workspace's files. Nothing was committed.
    #[error("{} cannot be prepared in the workspace: {source}; nothing was committed", path.display())]
    Stage {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// A commit cannot be carried out. Its journal stays: the next commit finishes it.
    #[error("{} cannot be committed: {source}; mend that, and `creel commit` goes on where it stopped", path.display())]
    Apply {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// A directory in the changes cannot be read.
    #[error("{} in the changes of session {name} cannot be read: {source}", path.display())]
    Unreadable {
        name: String,
        path: PathBuf,
        #[source]
        source: Errno,
    },
    /// Changes would be lost.
    #[error(
        "session {name} has changes that are not committed, or snapshots (`creel diff {name}`, `creel snapshot {name}`); commit or discard them, or lose them with --force"
    )]
    Uncommitted { name: String },
    /// No snapshot of this name.
    #[error(
        "session {name} has no snapshot {snapshot}; `creel snapshot {name}` lists those that it has"
    )]
    NoSnapshot { name: String, snapshot: String },
    /// A snapshot, or a session with changes, of this name exists.
    #[error("{name} has changes already; choose another name, or remove it first")]
    Taken { name: String },
    /// No name for a session or a snapshot.
    #[error(
        "{name:?} is no name; a name has letters, digits, dots, dashes and underscores, and begins with a letter or a digit"
    )]
    Name { name: String },
    /// A file of the changes cannot be copied. Nothing is changed.
    #[error("{} in the changes of session {name} cannot be copied: {source}", path.display())]
    Copy {
        name: String,
        path: PathBuf,
        #[source]
        source: Errno,
    },
}

creel_policy::codes!(WorkspaceError {
    Self::None { .. } => "workspace-none",
    Self::State { .. } => "workspace-state",
    Self::Foreign { .. } => "workspace-foreign",
    Self::Damaged { .. } => "workspace-damaged",
    Self::Other { .. } => "workspace-other",
    Self::Live { .. } => "workspace-live",
    Self::Busy { .. } => "workspace-busy",
    Self::Moved { .. } => "workspace-moved",
    Self::Unchanged { .. } => "workspace-unchanged",
    Self::Conflict { .. } => "workspace-conflict",
    Self::Unstable { .. } => "workspace-unstable",
    Self::Stage { .. } => "workspace-stage",
    Self::Apply { .. } => "workspace-apply",
    Self::Unreadable { .. } => "workspace-unreadable",
    Self::Uncommitted { .. } => "workspace-uncommitted",
    Self::NoSnapshot { .. } => "workspace-no-snapshot",
    Self::Taken { .. } => "workspace-taken",
    Self::Name { .. } => "workspace-name",
    Self::Copy { .. } => "workspace-copy",
});

fn more_text(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}
