//! The changes that a commit holds back: names that the policy denies or protects, and files that the host would
//! execute or obey later.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::diff::{Change, Entry, Kind};
use super::record::Rules;
use super::tree;
use super::upper::Changes;
use crate::execute::walk;
use crate::left::names::OF_REPOSITORY;
use creel_plan::paths::within;
use creel_policy::glob::{Pattern, Sense};
use creel_policy::protected_defaults;

/// Files of a directory that is looked at for names that must stay, at most.
const MOST: usize = 100_000;
/// Beneath a repository: commands that git executes when an operation goes on.
const UNFINISHED: [&str; 3] = ["rebase-merge", "rebase-apply", "sequencer"];
/// The directories in which a version control system keeps its own files.
const SYSTEMS: [&str; 3] = [".git", ".hg", ".jj"];

/// Why a change is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The policy denies the name.
    Denied,
    /// The policy protects the name, or git's configuration makes the host obey it.
    Protected,
    /// A repository, with configuration and hooks that the session made.
    Repository,
    /// A file or directory that an editor, a shell or an agent obeys.
    Settings,
    /// The file would run as its owner.
    SetId,
    /// A link or a pipe in the workspace's repository, through which git would write.
    Link,
    /// A pipe, a socket or a device.
    Special,
    /// Its mode keeps the caller from reading it; a command in the session can change that.
    Unreadable,
    /// A removed directory has a name in it that is denied or protected, or more files than are looked at.
    Contains,
}

impl Why {
    /// The word in JSON and in lines for people.
    pub fn word(self) -> &'static str {
        match self {
            Why::Denied => "denied",
            Why::Protected => "protected",
            Why::Repository => "repository",
            Why::Settings => "settings",
            Why::SetId => "set-id",
            Why::Link => "link",
            Why::Special => "special",
            Why::Unreadable => "unreadable",
            Why::Contains => "contains-protected",
        }
    }

    /// Whether `--include-protected` commits it.
    pub fn may_be_included(self) -> bool {
        matches!(self, Why::Protected | Why::Repository | Why::Settings)
    }
}

/// The rules of the policy, and the names that git's configuration makes the host obey.
struct Names<'a> {
    workspace: &'a Path,
    rules: &'a Rules,
    patterns: Vec<Pattern>,
    /// Behind links of denied names.
    denied: Vec<PathBuf>,
    /// Also behind links of protected names, such as a hook that leads to a script.
    obeyed: Vec<PathBuf>,
    /// Whether the caller is root, whom no mode keeps out.
    reads_all: bool,
}

/// The bits without which an ordinary user cannot copy a file or a directory of its own.
pub(super) fn is_readable(kind: Kind, mode: u32) -> bool {
    match kind {
        Kind::Directory => mode & 0o500 == 0o500,
        Kind::File => mode & 0o400 != 0,
        Kind::Link | Kind::Special => true,
    }
}

/// Finds out which changes are held back. A removed directory that the host changed inside is a conflict.
pub(super) fn hold(
    entries: &mut [Entry],
    changes: &Changes,
    upper: BorrowedFd<'_>,
    host: BorrowedFd<'_>,
) {
    let record = &changes.record;
    let (uid, _) = creel_sys::host::ids();
    let home = creel_sys::host::home_of(uid);
    let found = creel_jail::gitnames::obeyed(&record.workspace, home.as_deref());
    let obeyed: Vec<PathBuf> = found.named.into_iter().map(|named| named.path).collect();
    let protected = record.rules.protect.iter().chain(&obeyed);
    let protected = protected.flat_map(|path| std::iter::once(path.clone()).chain(within_it(path)));
    let patterns = record.rules.patterns.iter();
    let names = Names {
        workspace: &record.workspace,
        rules: &record.rules,
        patterns: patterns.map(|text| Pattern::parse(text)).collect(),
        denied: behind_links(record.rules.deny.iter().cloned()),
        obeyed: [behind_links(protected), obeyed.clone()].concat(),
        reads_all: uid == 0,
    };
    let listed = entries.iter();
    let listed = listed.filter(|entry| entry.change != Change::Deleted);
    let listed: BTreeSet<PathBuf> = listed.map(|entry| entry.path.clone()).collect();
    let trees = Trees {
        upper,
        host,
        listed,
    };
    for entry in entries {
        entry.held = of_entry(entry, &names, &trees);
        if entry.held.is_none() && entry.whole {
            let inside = inside(host, &entry.path, &names, record.started);
            entry.held = inside.0;
            entry.conflict |= inside.1;
        }
    }
}

/// The names in a directory of the host, if it is one.
fn within_it(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(path).into_iter().flatten();
    entries.take(MOST).flatten().map(|entry| entry.path())
}

/// The ends of the host's links at these paths, and every link on the way: a change of one of them changes what the
/// host finds.
fn behind_links(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = paths.flat_map(|path| chain(&path)).collect();
    found.sort();
    found.dedup();
    found
}

/// The links on the way to a path, and its end; nothing if there is none.
fn chain(path: &Path) -> Vec<PathBuf> {
    let (mut here, mut links) = (PathBuf::from("/"), vec![]);
    let mut rest = walk::names(path);
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(name);
        match std::fs::read_link(&next) {
            Ok(target) if links.len() < walk::MOST_LINKS => {
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                rest.extend(walk::names(&target));
                links.push(next);
            }
            _ => here = next,
        }
    }
    if !links.is_empty() {
        links.push(here);
    }
    links
}

fn of_entry(entry: &Entry, names: &Names<'_>, trees: &Trees<'_>) -> Option<Why> {
    let path = &entry.path;
    if let Some(why) = names.of(path) {
        return Some(why);
    }
    let set_id = entry.mode & 0o6000;
    let had = entry.before.map_or(0, |(mode, _)| mode & 0o6000);
    let in_repository = SYSTEMS.iter().any(|system| path.starts_with(system));
    match entry.kind {
        _ if entry.change == Change::Deleted => {
            return SYSTEMS
                .iter()
                .any(|system| path.as_os_str() == *system)
                .then_some(Why::Repository);
        }
        Kind::Special => return Some(Why::Special),
        kind if !names.reads_all && !is_readable(kind, entry.mode) => {
            return Some(Why::Unreadable);
        }
        Kind::File if set_id & !had != 0 => return Some(Why::SetId),
        Kind::Link if in_repository => return Some(Why::Link),
        _ => {}
    }
    for prefix in path
        .ancestors()
        .filter(|prefix| !prefix.as_os_str().is_empty())
    {
        let name = prefix.file_name().and_then(|name| name.to_str());
        let above = prefix.parent().unwrap_or(Path::new(""));
        let Some(name) = name else { continue };
        let at_top = above.as_os_str().is_empty();
        let is_system = SYSTEMS
            .iter()
            .any(|system| system.eq_ignore_ascii_case(name));
        // The workspace's own repository takes commits; one that is new, or deeper, brings its own hooks. So does
        // something in its place.
        let replaced = path == prefix && entry.change != Change::Mode;
        let own = at_top && !replaced && SYSTEMS.contains(&name) && trees.has_directory(prefix);
        if is_system && !own {
            return Some(Why::Repository);
        }
        if UNFINISHED.contains(&name) && SYSTEMS.iter().any(|system| above.starts_with(system)) {
            return Some(Why::Repository);
        }
        if !at_top
            && (protected_defaults::is_settings(above, name)
                || protected_defaults::is_deeper(above, name))
        {
            return Some(Why::Settings);
        }
        let named = OF_REPOSITORY.contains(&name);
        if named && !in_repository && trees.is_repository(above) {
            return Some(Why::Repository);
        }
    }
    None
}

impl Names<'_> {
    /// The rule about this name, or about one above.
    fn of(&self, path: &Path) -> Option<Why> {
        let path = self.workspace.join(path);
        let covers = |rule: &PathBuf| within(&path, rule);
        if self.rules.deny.iter().chain(&self.denied).any(covers) {
            return Some(Why::Denied);
        }
        let named = self.rules.protect.iter().chain(&self.obeyed).any(covers);
        // A name that is not UTF-8 may be one that a pattern matches.
        let matched = |pattern: &Pattern| {
            path.ancestors()
                .any(|path| pattern.meets(&path.to_string_lossy(), Sense::Denial))
        };
        (named || self.patterns.iter().any(matched)).then_some(Why::Protected)
    }
}

/// The changes and the workspace.
struct Trees<'a> {
    upper: BorrowedFd<'a>,
    host: BorrowedFd<'a>,
    /// The names found in the upper layer, which may have changed since.
    listed: BTreeSet<PathBuf>,
}

impl Trees<'_> {
    fn has_directory(&self, path: &Path) -> bool {
        tree::directory(self.host, path).is_ok()
    }

    /// Whether git would find a repository without a worktree in the directory, as it would be after a commit.
    fn is_repository(&self, directory: &Path) -> bool {
        let has = |name: &str| {
            let path = directory.join(name);
            if self.listed.contains(&path) {
                return true;
            }
            match tree::status_of(self.upper, &path).ok().flatten() {
                Some(stat) => !tree::is_whiteout(&stat),
                None => tree::status_of(self.host, &path).ok().flatten().is_some(),
            }
        };
        has("HEAD") && (has("objects") && has("refs") || has("commondir"))
    }
}

/// Whether a directory of the host that is to be removed has names that stay, and whether the host changed anything in
/// it since the session began.
fn inside(
    host: BorrowedFd<'_>,
    path: &Path,
    names: &Names<'_>,
    started: (i64, i64),
) -> (Option<Why>, bool) {
    let mut waiting = vec![path.to_path_buf()];
    let (mut seen, mut changed) = (0, false);
    while let Some(directory) = waiting.pop() {
        let Ok(dir) = tree::directory(host, &directory) else {
            return (Some(Why::Contains), changed);
        };
        let Ok(found) = tree::names(&dir) else {
            return (Some(Why::Contains), changed);
        };
        for name in found {
            seen += 1;
            let path = directory.join(&name);
            if seen > MOST || names.of(&path).is_some() {
                return (Some(Why::Contains), changed);
            }
            let Ok(Some(stat)) = tree::status(dir.as_fd(), name.as_os_str()) else {
                continue;
            };
            changed |= tree::changed(&stat) >= started;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
            {
                waiting.push(path);
            }
        }
    }
    (None, changed)
}
