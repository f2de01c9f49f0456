//! Trust paths: files of a workspace that programs on the host later run or obey without asking.
//!
//! An agent that can write its workspace could place code there that runs outside the jail
//! (CVE-2026-25725, CVE-2026-26268, CVE-2025-59536). Every policy protects these paths, present or
//! absent, unless the platform or the operator sets `unprotect`. If the parent directory of a path does
//! not exist (`.git` before `git init`), the path cannot be protected, and the plan says so.

use std::path::Path;

use super::grant::Absent;
use super::origin::Origin;
use super::rights::{Rights, Roots};

/// A trust path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Relative to the workspace.
    pub path: &'static str,
    /// When the path is protected.
    pub when: When,
    /// The users of the path.
    pub by: By,
    /// The program that uses it, and the purpose.
    pub why: &'static str,
}

/// When a path is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Even if absent: its program is common and uses the file without asking. Each absent name costs a
    /// placeholder at the start.
    Always,
    /// Only if present. Its program asks first, must be configured to use it, or is used only in projects
    /// that already have the file; or the name has no leading dot, and a placeholder would appear in
    /// every listing. The verdict reports new files.
    Present,
}

/// The users of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// git, and programs that read its files.
    Git,
    /// A program that a user starts in the workspace, or a shell that enters it.
    Program,
    /// A user who builds the project or works on it: an agent has to edit such files. This list cannot be
    /// complete; a policy that needs more of them protected must name them.
    Work,
}

/// Each row: by whom, when, the path, and what it is used for.
macro_rules! rows {
    ($($by:ident $when:ident $path:literal: $why:literal;)+) => {
        &[$(Row { path: $path, when: When::$when, by: By::$by, why: $why }),+]
    };
}

/// All trust paths; docs/policy.md has the list.
pub const PATHS: &[Row] = rows! {
    Git Always ".git/hooks": "git runs them at the next commit, merge or checkout";
    Git Always ".git/config": "git runs the programs that it names: fsmonitor, pagers, filters, aliases";
    Git Always ".git/commondir": "git takes configuration and hooks from the directory that it names";
    Git Always ".git/config.worktree": "like .git/config, if extensions.worktreeConfig is set";
    Git Always ".git/info": "attributes there choose filters that git runs";
    Git Always ".git/modules": "configuration and hooks of submodules";
    Git Always ".git/worktrees": "configuration of worktrees";
    Git Always ".gitattributes": "chooses filters and merge drivers that git runs";
    Git Always ".gitmodules": "the URLs from which git fetches submodules";
    Program Always ".envrc": "direnv runs it when a shell enters";
    Program Always ".vscode": "tasks and settings that an editor runs";
    Program Always ".idea": "run configurations of an editor";
    Program Always ".mcp.json": "servers that an agent starts";
    Program Always ".claude": "hooks and settings of an agent";
    Program Always ".cursor": "rules and servers of an agent";
    Program Always ".codex": "configuration of an agent";
    Program Always ".gemini": "configuration of an agent";
    Program Always ".amazonq": "configuration of an agent";
    Program Always ".openclaw": "configuration of an agent";
    Program Always ".creel": "the project's policy, which creel reads at the next run";
    Work Always "CLAUDE.md": "instructions that an agent outside the jail follows";
    Work Always "AGENTS.md": "instructions that an agent outside the jail follows";
    Work Always "CLAUDE.local.md": "instructions that an agent outside the jail follows";
    Work Always "Makefile": "make runs it";
    Work Always "makefile": "make runs it rather than Makefile";
    Work Always "GNUmakefile": "make runs it rather than the other two";
    Work Always "package.json": "npm runs its scripts";
    Work Always ".npmrc": "npm takes its registry and its scripts' shell from it";
    Work Always ".yarnrc.yml": "yarn runs the program that it names";
    Work Always "conftest.py": "pytest runs it";
    Work Always "build.rs": "cargo runs it";
    Work Always ".cargo": "cargo runs the compiler and the runner that it names";
    Program Always ".husky": "hooks that git runs if core.hooksPath names this directory";
    Work Always ".pre-commit-config.yaml": "a hook of git runs the programs that it names";
    Program Always ".windsurf": "rules and hooks of an agent, which runs them without asking";
    Program Always ".opencode": "plugins of an agent, which loads them without asking";
    Program Present "opencode.json": "servers and commands of an agent, which starts them without asking";
    Work Always "GEMINI.md": "instructions that an agent outside the jail follows";
    Program Always ".hg/hgrc": "hooks and extensions that Mercurial runs";
    Program Always ".jj/repo/config.toml": "tools and aliases that Jujutsu runs";
    Program Present ".devcontainer": "commands of a container, for which an editor asks first";
    Program Present ".devcontainer.json": "commands of a container, for which an editor asks first";
    Program Present ".zed": "tasks and servers of an editor, which asks whether the project is trusted";
    Program Present ".cursorrules": "instructions that an agent outside the jail follows";
    Program Present ".windsurfrules": "instructions that an agent outside the jail follows";
    Program Present ".clinerules": "instructions that an agent outside the jail follows";
    Program Present ".aider.conf.yml": "commands of an agent, in projects that use it";
    Program Present "mise.toml": "hooks that mise runs when a shell enters, in projects that were trusted";
    Program Present ".mise.toml": "hooks that mise runs when a shell enters, in projects that were trusted";
    Program Present ".gdbinit": "gdb runs it if the user allowed its directory";
    Program Present ".lldbinit": "lldb runs it if the user allowed such files";
    Program Present ".exrc": "vim runs it if the user set exrc";
    Program Present ".vimrc": "vim runs it if the user set exrc";
    Program Present ".nvimrc": "Neovim runs it if the user set exrc, and asks first";
    Program Present ".nvim.lua": "Neovim runs it if the user set exrc, and asks first";
    Program Present ".dir-locals.el": "Emacs applies it, and asks before dangerous settings";
};

/// Files that lead the same programs to settings elsewhere, in addition to the trust paths.
const DEEPER: [(&str, &str); 4] = [
    (".hg", "hgrc-not-shared"),
    // Names another repository's directory, with its hgrc.
    (".hg", "sharedpath"),
    (".jj", "workspace-config.toml"),
    // As a directory it is the repository; as a file it names another one.
    (".jj", "repo"),
];

/// Whether a program in this directory uses a file of this name, wherever the directory lies.
pub fn is_settings(directory: &Path, name: &str) -> bool {
    let mut rows = PATHS.iter().filter(|row| row.by == By::Program);
    rows.any(|row| match row.path.rsplit_once('/') {
        None => row.path == name,
        Some((above, last)) => last == name && directory.ends_with(above),
    })
}

/// The same for the names in `DEEPER`, which count only if they are not directories.
pub fn is_deeper(directory: &Path, name: &str) -> bool {
    let mut all = DEEPER.iter();
    all.any(|(above, last)| *last == name && directory.ends_with(above))
}

/// Whether a file of this name can be settings, depending on its directory.
pub fn is_name(name: &str) -> bool {
    names().any(|known| known == name)
}

/// All names of settings.
pub fn names() -> impl Iterator<Item = &'static str> {
    let rows = PATHS.iter().filter(|row| row.by == By::Program);
    let last = rows.map(|row| row.path.rsplit_once('/').map_or(row.path, |(_, last)| last));
    last.chain(DEEPER.iter().map(|(_, last)| *last))
}

/// Whether a directory of this name in a workspace contains trust paths.
pub fn is_directory(name: &str) -> bool {
    let within = |path: &str| {
        path.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    PATHS.iter().any(|row| within(row.path))
}

/// When `path`, in a workspace and in one spelling, is protected; `Always` if it is not a trust path.
pub fn when(path: &Path) -> When {
    let row = PATHS.iter().find(|row| path.as_os_str() == row.path);
    row.map_or(When::Always, |row| row.when)
}

/// The placeholder for an absent name, which prevents its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandIn {
    /// A socket that nobody can open: git, tar and find skip it.
    Socket,
    /// An empty directory, for paths in `.git`: git lists their contents.
    Directory,
    /// A directory with a `.gitignore` that makes git ignore it. `git clean` removes an empty directory,
    /// and fails if it cannot. For directories that programs search (a name below a socket gives ENOTDIR,
    /// where they expect ENOENT) and for names that git opens (it warns if it cannot open one).
    Ignored,
    /// A file with this content, for names whose presence alone has an effect.
    File(&'static str),
}

/// The content of `commondir` (gitrepository-layout(5)): the repository's own directory.
const COMMON_DIRECTORY: &str = ".\n";

/// A [`StandIn`] while it is deserialised.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Read {
    Socket,
    Directory,
    Ignored,
    File(String),
}

/// Not derived: that would need `'static` text. Accepts only the file contents that [`stand_in`] uses.
impl<'de> serde::Deserialize<'de> for StandIn {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<StandIn, D::Error> {
        Ok(match Read::deserialize(from)? {
            Read::Socket => StandIn::Socket,
            Read::Directory => StandIn::Directory,
            Read::Ignored => StandIn::Ignored,
            Read::File(text) => {
                let mut known = [COMMON_DIRECTORY, ""].into_iter();
                let says = known.find(|known| *known == text);
                StandIn::File(says.ok_or_else(|| serde::de::Error::custom("no such stand-in"))?)
            }
        })
    }
}

/// Trust paths that programs in a jail search, with ENOTDIR as an error but not ENOENT: agents' own
/// settings. Others stay sockets: creating and removing a directory takes three times as long.
const LOOKED_INTO: [&str; 4] = [".claude", ".codex", ".gemini", ".opencode"];

/// Whether programs in a jail search this trust path.
pub fn is_looked_into(path: &Path) -> bool {
    LOOKED_INTO.iter().any(|name| path.ends_with(name))
}

/// The placeholder for a `path` that should be a directory.
pub fn stand_in_directory(path: &Path) -> StandIn {
    match path.components().any(|part| part.as_os_str() == ".git") {
        true => StandIn::Directory,
        false => StandIn::Ignored,
    }
}

/// The placeholder for any other `path`. Git uses the repository's own directory as the common one if
/// `commondir` says so or is absent (gitrepository-layout(5)).
pub fn stand_in(path: &Path) -> StandIn {
    if path.ends_with("commondir") {
        StandIn::File(COMMON_DIRECTORY)
    } else if path.ends_with("config.worktree") {
        StandIn::File("")
    } else if path.ends_with(".gitattributes") {
        StandIn::Ignored
    } else {
        StandIn::Socket
    }
}

/// The content of a file placeholder for `path`; empty if the placeholder is not a file.
pub fn says(path: &Path) -> &'static str {
    match stand_in(path) {
        StandIn::File(says) => says,
        StandIn::Socket | StandIn::Directory | StandIn::Ignored => "",
    }
}

/// Protects the trust paths that finalized rights do not except.
pub fn guard(rights: &mut Rights, roots: &Roots) {
    for row in PATHS {
        let written = format!("$WORKSPACE/{}", row.path);
        let rule = roots.rule(written, Absent::Skip, Origin::creel());
        let excepted = rights
            .unprotect
            .as_ref()
            .is_some_and(|names| names.contains_key(&rule.path));
        if !excepted {
            let path = rule.path.clone();
            rights.protect.entry(path).or_insert(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_into_is_a_trust_path() {
        for name in LOOKED_INTO {
            assert!(PATHS.iter().any(|row| row.path == name), "{name}");
            assert_eq!(stand_in(Path::new(name)), StandIn::Socket, "{name}");
        }
    }
}
