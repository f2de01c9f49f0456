//! Files that git on the host obeys because of its configuration: hooks, programs and files named by the
//! configuration of the workspace's repository and of the caller.
//!
//! This module reads configuration files within a budget; it never runs git. It returns names, which
//! [`probe`](mod@super::probe) looks up. [`super::repositories`] finds the repositories.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::gitfile::{MOST_BYTES, contents, path};
use super::repositories::{self, MARKS, Repository};
use super::search_dirs;
use creel_plan::Node;
use creel_plan::identity::Identity;
use creel_policy::gitconfig::{self, Entry, Names, Role, beneath_home, words};

/// Configuration files that are read for a repository, at most.
const MOST_FILES: usize = 64;

/// Depth of includes; git's own bound.
const MOST_DEPTH: usize = 10;
/// Bytes of a name or an address, at most.
const MOST_IDENTITY: usize = 256;

/// Names in a repository's own directory that lead git to programs. Absent ones stay absent.
const LEADING: [&str; 6] = [
    "config",
    "config.worktree",
    "commondir",
    "hooks",
    "info",
    "modules",
];
/// The system's configuration file of a packaged git, and of one built locally.
const SYSTEMS: [&str; 2] = ["/etc/gitconfig", "/usr/local/etc/gitconfig"];
/// Variables that name a command, each with the configuration key of the same meaning.
const VARIABLES: [(&str, &str); 13] = [
    ("GIT_EXTERNAL_DIFF", "diff.external"),
    ("GIT_SSH_COMMAND", "core.sshcommand"),
    ("GIT_SSH", "core.sshcommand"),
    ("GIT_PROXY_COMMAND", "core.gitproxy"),
    ("GIT_ASKPASS", "core.askpass"),
    ("SSH_ASKPASS", "core.askpass"),
    ("GIT_EDITOR", "core.editor"),
    ("GIT_SEQUENCE_EDITOR", "sequence.editor"),
    ("VISUAL", "core.editor"),
    ("EDITOR", "core.editor"),
    ("GIT_PAGER", "core.pager"),
    ("PAGER", "core.pager"),
    ("GIT_TEMPLATE_DIR", "init.templatedir"),
];

/// A path that git obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// On the host; may contain `..` and links.
    pub path: PathBuf,
    /// The configuration key or file that names it.
    pub by: String,
    /// Whether creel holds the name if it is absent.
    pub when: When,
    /// The type that git expects there.
    pub node: Node,
}

/// Whether an absent name is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// An absent name is held too, because git runs or reads the file as soon as it exists.
    Always,
    /// Arguments of commands may be anything: only existing files count.
    Present,
}

/// The result of a search.
#[derive(Debug, Default)]
pub struct Obeyed {
    /// The paths that git obeys, each once.
    pub named: Vec<Named>,
    /// Directories that must stay where they are.
    pub pinned: Vec<PathBuf>,
    /// Files that were not read, with the reason.
    pub unread: Vec<String>,
}

/// Finds the files that git obeys in each repository that it may find from `workspace`; empty if none. `home`: the
/// caller's.
pub fn obeyed(workspace: &Path, home: Option<&Path>) -> Obeyed {
    let (repositories, more) = repositories::candidates(workspace);
    let mut reader = Reader {
        home,
        found: Obeyed::default(),
        entries: vec![],
        files: 0,
        bytes: 0,
    };
    if more {
        let why = "too many repositories lie above it to read all of them";
        reader.unread(workspace, why);
    }
    for repository in &repositories {
        // Each repository has its own budget: a jail may have made the nearest one.
        (reader.files, reader.bytes) = (0, 0);
        reader.repository(repository, workspace);
        reader.configuration(repository);
        reader.values(repository);
    }
    reader.found
}

/// The system's and the caller's configuration files, in the order in which git reads them. The system's file
/// is fixed when git is built; that of each git in PATH counts.
pub fn callers(home: Option<&Path>) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let mut all = match variable("GIT_CONFIG_SYSTEM") {
        Some(system) => vec![system],
        None => systems(),
    };
    match variable("GIT_CONFIG_GLOBAL") {
        Some(global) => all.push(global),
        None => {
            let home = variable("HOME").or(home.map(Path::to_path_buf));
            let settings = variable("XDG_CONFIG_HOME").filter(|dir| dir.is_absolute());
            let settings = settings.or(home.as_ref().map(|home| home.join(".config")));
            all.extend(settings.map(|dir| dir.join("git/config")));
            all.extend(home.map(|home| home.join(".gitconfig")));
        }
    }
    all
}

fn systems() -> Vec<PathBuf> {
    let mut all = SYSTEMS.map(PathBuf::from).to_vec();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for dir in
        std::env::split_paths(&path).filter(|dir| dir.is_absolute() && dir.join("git").is_file())
    {
        // `--prefix=/opt/git` makes it /opt/git/etc/gitconfig.
        let system = dir.parent().map(|prefix| prefix.join("etc/gitconfig"));
        let system =
            system.filter(|file| !all.contains(file) && file != Path::new("/usr/etc/gitconfig"));
        all.extend(system);
    }
    all
}

/// The entries of git's configuration in the environment, git-config(1), and the commands that variables
/// name, git(1); each with its variable.
fn environment() -> Vec<(PathBuf, Entry)> {
    let variable = |name: &str| std::env::var_os(name).map(OsString::into_vec);
    let mut all = vec![];
    let mut add = |from: String, entry: Option<Entry>| {
        all.extend(entry.map(|entry| (PathBuf::from(from), entry)));
    };
    let count = variable("GIT_CONFIG_COUNT")
        .and_then(|text| str::from_utf8(&text).ok()?.trim().parse().ok());
    // If one of them is missing, git stops.
    for at in 0..count.unwrap_or(0_u32) {
        let key = format!("GIT_CONFIG_KEY_{at}");
        let (Some(name), Some(value)) =
            (variable(&key), variable(&format!("GIT_CONFIG_VALUE_{at}")))
        else {
            break;
        };
        add(key, gitconfig::variable(&name, &value, at + 1));
    }
    for entry in gitconfig::parameters(&variable("GIT_CONFIG_PARAMETERS").unwrap_or_default()) {
        add("GIT_CONFIG_PARAMETERS".into(), Some(entry));
    }
    for (name, key) in VARIABLES {
        if let Some(value) = variable(name) {
            add(name.into(), gitconfig::variable(key.as_bytes(), &value, 1));
        }
    }
    all
}

/// The last value of `key` (`safe.barerepository`) in the caller's own configuration; included files are not
/// read.
pub fn setting(home: Option<&Path>, key: &str) -> Option<Vec<u8>> {
    let files = callers(home).into_iter();
    let texts = files.filter_map(|file| contents(&file, MOST_BYTES).ok().flatten());
    let entries = texts.flat_map(|text| gitconfig::parse(&text));
    let mut said = entries.filter(|entry| entry.name() == key);
    said.next_back().map(|entry| entry.value)
}

/// The name and the address in the caller's own configuration and the files that it includes unconditionally;
/// and what of it is not passed on, with the reason.
pub fn identity(home: Option<&Path>) -> (Identity, Vec<String>) {
    use std::os::unix::fs::PermissionsExt;
    let mut reader = Reader {
        home,
        found: Obeyed::default(),
        entries: vec![],
        files: 0,
        bytes: 0,
    };
    for file in callers(home) {
        reader.plainly(&file, 0);
    }
    let mut refused = vec![];
    let mut said = |key: &str| {
        let mut said = reader.entries.iter().rev();
        let (file, entry) = said.find(|(_, entry)| entry.name() == key)?;
        let text = str::from_utf8(&entry.value).map(str::trim);
        match text {
            Ok("") => None,
            Ok(text) if text.len() <= MOST_IDENTITY && !text.chars().any(char::is_control) => {
                Some(text.to_owned())
            }
            _ => {
                let why =
                    "is not passed on: it is too long, is not UTF-8, or has control characters";
                refused.push(format!("{key} in {}:{} {why}", file.display(), entry.line));
                None
            }
        }
    };
    let (name, email) = (said("user.name"), said("user.email"));
    let mut others = systems();
    others.retain(|file| {
        let open = |meta: std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o4 != 0;
        let text = |name: &str| !name.chars().any(char::is_control);
        file != Path::new(SYSTEMS[0])
            && file.to_str().is_some_and(text)
            && file.metadata().is_ok_and(open)
    });
    let identity = Identity {
        name,
        email,
        systems: others,
    };
    (identity, refused)
}

struct Reader<'a> {
    home: Option<&'a Path>,
    found: Obeyed,
    /// Each with the file it comes from.
    entries: Vec<(PathBuf, Entry)>,
    files: usize,
    bytes: u64,
}

impl Reader<'_> {
    /// Adds what leads git to programs in a repository's own directory, which may lie anywhere.
    fn repository(&mut self, repository: &Repository, workspace: &Path) {
        let own = [&repository.common, &repository.git];
        let different = repository.common != repository.git;
        // The protected defaults cover that directory.
        let usual = workspace.join(".git");
        let own = own.into_iter().take(if different { 2 } else { 1 });
        for dir in own.filter(|dir| **dir != usual) {
            for name in LEADING {
                let by = format!("{}, git's own", dir.display());
                self.name(dir.join(name), by, When::Always, Node::Directory);
            }
        }
        let marks = MARKS.map(|name| repository.common.join(name));
        self.found.pinned.extend(marks);
        if different {
            self.found.pinned.push(repository.git.clone());
        }
    }

    fn name(&mut self, path: PathBuf, by: String, when: When, node: Node) {
        if self.found.named.iter().all(|known| known.path != path) {
            self.found.named.push(Named {
                path,
                by,
                when,
                node,
            });
        }
    }

    /// Reads every configuration file and what it includes.
    fn configuration(&mut self, repository: &Repository) {
        let mut first = vec![repository.common.join("config")];
        first.push(repository.git.join("config.worktree"));
        first.extend(callers(self.home));
        let mut queue: VecDeque<(PathBuf, usize)> =
            first.into_iter().map(|file| (file, 0)).collect();
        for (from, entry) in environment() {
            match entry.names() {
                // The entry is in no file, so git accepts no relative path.
                Some(Names::Include)
                    if entry.value.starts_with(b"/") || beneath_home(&entry.value).is_some() =>
                {
                    if let Some(path) = self.resolve(&entry.value, Path::new("/")) {
                        self.name(path.clone(), said(&entry, &from), When::Always, Node::File);
                        queue.push_back((path, 1));
                    }
                }
                Some(Names::Include) | None => {}
                Some(_) => self.entries.push((from, entry)),
            }
        }
        let mut seen: Vec<PathBuf> = vec![];
        while let Some((file, depth)) = queue.pop_front() {
            // A relative include uses the file's path as written; a file is identified by its real path.
            let place = match depth {
                0 => file.clone(),
                _ => search_dirs::of(&file).path,
            };
            if seen.contains(&place) {
                continue;
            }
            if self.files == MOST_FILES || depth > MOST_DEPTH {
                self.unread(
                    &file,
                    "git's configuration has too many files to read all of them",
                );
                break;
            }
            seen.push(place);
            self.files += 1;
            let text = match contents(&file, MOST_BYTES - self.bytes) {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(()) => {
                    self.unread(&file, "git's configuration is too large to read it whole");
                    continue;
                }
            };
            // The repository's own is a protected default, or was named above.
            if depth == 0 && !file.starts_with(&repository.common) {
                // The caller's own may lie in the workspace, or be a link into it.
                let by = "git's configuration".into();
                self.name(file.clone(), by, When::Always, Node::File);
            }
            self.bytes += text.len() as u64;
            for entry in gitconfig::parse(&text) {
                match entry.names() {
                    Some(Names::Include) => {
                        let beside = file.parent().unwrap_or(&file);
                        if let Some(path) = self.resolve(&entry.value, beside) {
                            let by = said(&entry, &file);
                            self.name(path.clone(), by, When::Always, Node::File);
                            queue.push_back((path, depth + 1));
                        }
                    }
                    Some(_) => self.entries.push((file.clone(), entry)),
                    None => {}
                }
            }
        }
    }

    fn unread(&mut self, file: &Path, why: &str) {
        let text = format!(
            "{}: {why}, and paths that the rest names are not protected",
            file.display()
        );
        // The caller's own is read once for each repository.
        if !self.found.unread.contains(&text) {
            self.found.unread.push(text);
        }
    }

    /// Adds the paths that the entries name, now that their base directories are known.
    fn values(&mut self, repository: &Repository) {
        let entries = std::mem::take(&mut self.entries);
        let mut worktrees = vec![repository.worktree.clone()];
        for (_, entry) in &entries {
            if entry.names() == Some(Names::Worktree) {
                worktrees.extend(self.resolve(&entry.value, &repository.git));
            }
        }
        for (file, entry) in &entries {
            let by = said(entry, file);
            for base in &worktrees {
                match entry.names() {
                    Some(Names::Hooks) => {
                        // Hooks of a push start in the repository's own directory.
                        for base in [base, &repository.git] {
                            if let Some(path) = self.resolve(&entry.value, base) {
                                self.name(path, by.clone(), When::Always, Node::Directory);
                            }
                        }
                    }
                    Some(Names::Path) => {
                        if let Some(path) = self.resolve(&entry.value, base) {
                            self.name(path, by.clone(), When::Always, Node::File);
                        }
                    }
                    Some(Names::Command) => self.command(&entry.value, base, &by, When::Always),
                    Some(Names::Marked)
                        if entry.value.starts_with(b"!") || entry.value.contains(&b'/') =>
                    {
                        // An alias runs only when the user types it, so an absent name is not held for it.
                        let when = match entry.section.as_str() {
                            "alias" => When::Present,
                            _ => When::Always,
                        };
                        self.command(&entry.value, base, &by, when);
                    }
                    Some(Names::Marked | Names::Include | Names::Worktree) | None => {}
                }
            }
        }
    }

    fn command(&mut self, command: &[u8], base: &Path, by: &str, programs: When) {
        for word in words(command) {
            let when = match word.role {
                // A name without a slash is searched in PATH.
                Role::Program if !word.text.contains(&b'/') => continue,
                Role::Program | Role::Script => programs,
                Role::Argument if word.text.starts_with(b"-") => continue,
                Role::Argument => When::Present,
            };
            let Some(path) = self.resolve(&word.text, base) else {
                continue;
            };
            let counts = match when {
                When::Always => !path.is_dir(),
                When::Present => path.is_file(),
            };
            if counts {
                self.name(path, by.into(), when, Node::File);
            }
        }
    }

    /// Reads a file and its unconditional includes, in git's order.
    fn plainly(&mut self, file: &Path, depth: usize) {
        if self.files == MOST_FILES || depth > MOST_DEPTH {
            return;
        }
        self.files += 1;
        let left = MOST_BYTES.saturating_sub(self.bytes);
        let Ok(Some(text)) = contents(file, left) else {
            return;
        };
        self.bytes += text.len() as u64;
        for entry in gitconfig::parse(&text) {
            if entry.name() == "include.path" {
                let base = file.parent().unwrap_or(Path::new("/"));
                if let Some(included) = self.resolve(&entry.value, base) {
                    self.plainly(&included, depth + 1);
                }
            } else if entry.name().starts_with("user.") {
                self.entries.push((file.into(), entry));
            }
        }
    }

    /// A path as git reads one: beneath a home, absolute, or relative to `base`.
    fn resolve(&self, value: &[u8], base: &Path) -> Option<PathBuf> {
        let value = value.strip_prefix(b":(optional)").unwrap_or(value);
        // A name that is too long for the kernel leads to no file.
        let longest = value.split(|b| *b == b'/').map(<[u8]>::len).max();
        if value.is_empty() || value.contains(&0) || longest > Some(255) || value.len() > 2048 {
            return None;
        }
        match beneath_home(value) {
            Some(rest) => {
                let home = std::env::var_os("HOME").map(PathBuf::from);
                Some(home.or(self.home.map(Path::to_path_buf))?.join(path(rest)))
            }
            // Another user's home, or git's own prefix.
            None if value.starts_with(b"~") || value.starts_with(b"%(") => None,
            None => Some(base.join(path(value))),
        }
    }
}

fn said(entry: &Entry, file: &Path) -> String {
    format!("{} in {}:{}", entry.name(), file.display(), entry.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let found = obeyed(dir, None).named;
        let beneath = found.iter().filter_map(|n| {
            let name = n.path.strip_prefix(dir).ok()?.display().to_string();
            let own = n.by.ends_with("git's own") || n.by == "git's configuration";
            (!own).then_some(name)
        });
        beneath.collect()
    }

    #[test]
    fn what_the_configuration_names_is_found_through_includes() {
        let dir = made(&[
            (
                ".git/config",
                "[core]\nhooksPath = .githooks\nfsmonitor = ./mon -v\n[include]\npath = ../a.inc\n\
                 [filter \"x\"]\nclean = python3 tools/c.py src/none\n[alias]\ny = !bin/z\nx = !bin/absent\nz = log a/b\n",
            ),
            (
                "a.inc",
                "[includeIf \"onbranch:x\"]\npath = sub/b.inc\n[core]\neditor = vi\n",
            ),
            (
                "sub/b.inc",
                "[diff \"q\"]\ntextconv = t/conv\n[include]\npath = ../a.inc\n",
            ),
            ("tools/c.py", ""),
            ("bin/z", ""),
        ]);
        assert_eq!(
            names(dir.path()),
            [
                ".git/../a.inc",
                ".git/../sub/b.inc",
                ".git/../sub/../a.inc",
                ".githooks",
                ".git/.githooks",
                "mon",
                "tools/c.py",
                "bin/z",
                "t/conv",
            ]
            .map(|name| Path::new(name)
                .components()
                .collect::<PathBuf>()
                .display()
                .to_string())
        );
    }

    #[test]
    fn the_budget_is_said() {
        let many: String = (0..100)
            .map(|at| format!("[include]\npath = {at}\n"))
            .collect();
        let dir = made(&[(".git/config", &many)]);
        let found = obeyed(dir.path(), None);
        assert_eq!(found.unread.len(), 1, "{:?}", found.unread);
        let long = "#".repeat(MOST_BYTES as usize + 1);
        let dir = made(&[(".git/config", &long)]);
        assert_eq!(obeyed(dir.path(), None).unread.len(), 1);
        let empty = tempfile::tempdir().unwrap();
        std::fs::create_dir(empty.path().join(".git")).unwrap();
        assert!(obeyed(empty.path(), None).unread.is_empty());
    }
}
