//! Commits and discards.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, mkdirat, syncfs};

use super::apply;
use super::diff::{Change, Entry, Kind, diff};
use super::error::WorkspaceError;
use super::fault;
use super::record::{Act, Attributes, Journal, Step};
use super::stage::Staging;
use super::upper::{Changes, STAGING};
use super::{sweep, tree};
use creel_plan::paths::within;
use creel_sys::{Errno, host};

type Result<T> = std::result::Result<T, WorkspaceError>;

/// The treatment of files that the host changed, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// Nothing is committed.
    Refuse,
    /// The session's files replace the host's.
    Replace,
}

/// The treatment of protected names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protected {
    /// They are held back.
    Hold,
    /// They are committed. Denied names, set-id files, and pipes, sockets and devices never are.
    Include,
}

/// The result of a commit.
#[derive(Debug)]
pub struct Committed {
    /// The changes that the host has now.
    pub done: Vec<Entry>,
    /// The changes that were held back.
    pub held: Vec<Entry>,
    /// The changes whose place the host took while they were committed. They stay uncommitted.
    pub skipped: Vec<PathBuf>,
}

/// Commits the changes at these paths, relative to the workspace, or all. Nothing happens if one of them is in
/// conflict; a commit that was cut off before is finished first.
pub fn commit(
    changes: &mut Changes,
    paths: &[PathBuf],
    conflicts: Conflicts,
    protected: Protected,
) -> Result<Committed> {
    let _lock = changes.lock()?;
    changes.refresh()?;
    apply::recover(changes)?;
    let begun = tree::clock();
    let entries = named(changes, diff(changes)?, paths)?;
    let is_held = |entry: &Entry| {
        let included =
            |why: super::held::Why| protected == Protected::Include && why.may_be_included();
        entry.held.is_some_and(|why| !included(why))
    };
    let (held, done): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_held);
    if conflicts == Conflicts::Refuse {
        let mut all = done.iter().filter(|entry| entry.conflict);
        if let Some(first) = all.next() {
            return Err(WorkspaceError::Conflict {
                name: changes.name.clone(),
                first: first.path.clone(),
                more: all.count(),
            });
        }
    }
    let mut committed = Committed {
        done,
        held,
        skipped: vec![],
    };
    if !committed.done.is_empty() {
        let journal = prepare(changes, &committed.done, begun)?;
        committed.skipped = apply::carry_out(changes, &journal)?;
        let skipped = &committed.skipped;
        committed
            .done
            .retain(|entry| !skipped.contains(&entry.path));
    }
    if let Ok(_live) = changes.try_live() {
        sweep::committed(changes)?;
    }
    Ok(committed)
}

/// Discards the changes at these paths, or all.
pub fn discard(changes: &mut Changes, paths: &[PathBuf]) -> Result<usize> {
    let _live = changes.claim_live()?;
    let _lock = changes.lock()?;
    changes.refresh()?;
    // A commit that is under way is carried out: some of it is in the workspace already.
    apply::recover(changes)?;
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WorkspaceError::Apply { path, source }
    };
    if paths.is_empty() {
        let upper = changes.upper()?;
        let names = tree::names(&upper).map_err(fault(Path::new("")))?;
        for name in &names {
            sweep::clear(upper.as_fd(), name).map_err(fault(name))?;
        }
        changes.record.committed.clear();
        changes.write_record()?;
        return Ok(names.len());
    }
    let (upper, host) = (changes.upper()?, changes.workspace()?);
    for path in paths {
        let found = tree::status_of(upper.as_fd(), path).map_err(fault(path))?;
        if found.is_none() {
            return Err(WorkspaceError::Unchanged {
                name: changes.name.clone(),
                path: path.clone(),
            });
        }
    }
    for path in paths {
        sweep::drop_change(upper.as_fd(), host.as_fd(), path).map_err(fault(path))?;
    }
    Ok(paths.len())
}

/// The entries at these paths, with the new directories above them.
fn named(changes: &Changes, entries: Vec<Entry>, paths: &[PathBuf]) -> Result<Vec<Entry>> {
    if paths.is_empty() {
        return Ok(entries);
    }
    let mut wanted: BTreeSet<&Path> = BTreeSet::new();
    for path in paths {
        let below = entries.iter().filter(|entry| within(&entry.path, path));
        let below: Vec<&Path> = below.map(|entry| entry.path.as_path()).collect();
        if below.is_empty() {
            return Err(WorkspaceError::Unchanged {
                name: changes.name.clone(),
                path: path.clone(),
            });
        }
        wanted.extend(below);
        let above = |entry: &&Entry| {
            matches!(entry.change, Change::Added | Change::Retyped) && path.starts_with(&entry.path)
        };
        wanted.extend(
            entries
                .iter()
                .filter(above)
                .map(|entry| entry.path.as_path()),
        );
    }
    let wanted: BTreeSet<PathBuf> = wanted.into_iter().map(Path::to_path_buf).collect();
    let mut entries = entries;
    entries.retain(|entry| wanted.contains(&entry.path));
    Ok(entries)
}

/// Stages the changes and writes the journal. Until then nothing of the workspace is changed, but for the staging
/// directory.
fn prepare(changes: &Changes, entries: &[Entry], begun: (i64, i64)) -> Result<Journal> {
    let workspace = changes.workspace()?;
    let upper = changes.upper()?;
    let mut journal = Journal {
        stage: format!("{STAGING}{}", host::random_id()),
        begun,
        steps: vec![],
    };
    let place = PathBuf::from(&journal.stage);
    changes.write_staging(&journal.stage)?;
    fault::point();
    mkdirat(&workspace, &place, Mode::RWXU).map_err(|source| WorkspaceError::Stage {
        path: place.clone(),
        source,
    })?;
    let staged = stage(changes, entries, &mut journal, (&workspace, &upper));
    let staged = staged.and_then(|()| {
        fault::point();
        syncfs(&workspace).map_err(|source| WorkspaceError::Stage {
            path: place.clone(),
            source,
        })?;
        fault::point();
        changes.write_journal(&journal)
    });
    if let Err(error) = staged {
        // A journal that may be on disk needs what is staged.
        changes.forget_journal()?;
        // If this fails, whoever comes next does it.
        let _ = sweep::clear(workspace.as_fd(), &place);
        return Err(error);
    }
    Ok(journal)
}

/// Whether a change can be carried out: a commit that stops in the middle is worse than one that does not begin.
fn is_free(workspace: &OwnedFd, entry: &Entry) -> std::result::Result<(), Errno> {
    match tree::parent(workspace.as_fd(), &entry.path) {
        Ok((dir, _)) => tree::is_writable(dir.as_fd())?,
        // It is made by the same commit.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    match entry.whole {
        // A directory that moves gets another parent.
        true => {
            let directory = tree::directory(workspace.as_fd(), &entry.path)?;
            tree::is_writable(directory.as_fd())
        }
        false => Ok(()),
    }
}

/// The steps: removals, directories, files and links, and the attributes of directories at last.
fn stage(
    changes: &Changes,
    entries: &[Entry],
    journal: &mut Journal,
    (workspace, upper): (&OwnedFd, &OwnedFd),
) -> Result<()> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source: Errno| WorkspaceError::Stage { path, source }
    };
    let stage = Path::new(&journal.stage);
    let stage = tree::directory(workspace.as_fd(), stage).map_err(fault(stage))?;
    let staging = Staging {
        name: &changes.name,
        upper: upper.as_fd(),
        stage: stage.as_fd(),
    };
    for entry in entries {
        let path = &entry.path;
        is_free(workspace, entry).map_err(fault(path))?;
    }
    let is_directory = |entry: &&Entry| entry.kind == Kind::Directory;
    let step = |entry: &Entry, act| Step {
        path: entry.path.clone(),
        expected: entry.host,
        upper: entry.upper,
        changed: entry.changed,
        act,
    };
    let steps = &mut journal.steps;
    let gone = |entry: &&Entry| matches!(entry.change, Change::Deleted | Change::Retyped);
    steps.extend(
        entries
            .iter()
            .filter(gone)
            .map(|entry| step(entry, Act::Remove)),
    );
    let left = entries
        .iter()
        .filter(|entry| entry.change != Change::Deleted);
    let made = |entry: &&Entry| matches!(entry.change, Change::Added | Change::Retyped);
    let new = left.clone().filter(is_directory).filter(made);
    steps.extend(new.map(|entry| step(entry, Act::Make)));
    for entry in left.clone().filter(|entry| !is_directory(entry)) {
        fault::point();
        let ident = staging.copy(entry, steps.len())?;
        let mut put = step(entry, Act::Put(ident));
        if entry.change == Change::Retyped {
            put.expected = None;
        }
        steps.push(put);
    }
    for entry in left.filter(is_directory).rev() {
        let found = tree::status_of(upper.as_fd(), &entry.path).map_err(fault(&entry.path))?;
        let Some(stat) = found else { continue };
        let attributes = Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        };
        steps.push(step(entry, Act::Finish(attributes)));
    }
    Ok(())
}
