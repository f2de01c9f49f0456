//! Collects facts about the host for lint: who may write to policy files and to granted paths, which
//! paths are absent, and which files of the workspace look like credentials.
//!
//! It reads names and modes and opens no file. A path that it may not look at is left out of the facts.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use creel_dialects::lint::{Facts, Found, Keeping, is_secret_file, subjects};
use creel_policy::rights::Roots;
use creel_policy::stack::{Outcome, Stack};

/// Limits of the search of the workspace, in levels and in entries: lint is not an audit.
const DEEPEST: usize = 3;
const MOST_ENTRIES: usize = 20_000;
/// Directories with third-party code, whose test files look like credentials.
const PASSED_BY: [&str; 5] = [".git", "node_modules", "target", ".venv", "vendor"];

/// Looks at the policy files, at the paths that they name and at the workspace.
pub fn gather(stack: &Stack, outcome: &Outcome, roots: &Roots) -> Facts {
    let caller = rustix::process::getuid().as_raw();
    let mut facts = Facts::default();
    for (_, layer) in &stack.layers {
        // The mode of a pipe or a device does not say who wrote the policy.
        if let Ok(meta) = std::fs::metadata(&layer.name)
            && meta.is_file()
        {
            facts
                .files
                .insert(layer.name.clone(), keeping(&meta, caller));
        }
    }
    for path in subjects(stack, outcome, roots) {
        let found = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Absent,
            Err(_) => continue,
            // The sticky bit keeps others from replacing entries, not from adding some.
            Ok(meta) => match keeping(&meta, caller) {
                Keeping::WritableByOthers => Found::WritableByOthers,
                _ => Found::There,
            },
        };
        facts.paths.insert(path, found);
    }
    facts.secrets = secrets(Path::new(&roots.workspace));
    facts
}

/// Users besides the owner who may write to the file. The group counts unless it is the owner's own or root's.
fn keeping(meta: &std::fs::Metadata, caller: u32) -> Keeping {
    let own_group = meta.gid() == 0 || meta.gid() == meta.uid();
    match meta.mode() {
        _ if meta.uid() != 0 && meta.uid() != caller => Keeping::Foreign,
        mode if mode & 0o002 != 0 => Keeping::WritableByOthers,
        mode if mode & 0o020 != 0 && !own_group => Keeping::WritableByOthers,
        _ => Keeping::Own,
    }
}

fn secrets(workspace: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories: Vec<(PathBuf, usize)> = vec![(workspace.to_path_buf(), 1)];
    let mut seen = 0;
    while let Some((directory, depth)) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST_ENTRIES {
                return found;
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth < DEEPEST && !PASSED_BY.contains(&name.as_ref()) {
                directories.push((entry.path(), depth + 1));
            } else if kind.is_file() && is_secret_file(&name) {
                found.insert(entry.path().to_string_lossy().into_owned());
            }
        }
    }
    found
}
