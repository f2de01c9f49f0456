//! Trust paths: files of a workspace that the host executes or obeys later, without being asked.
//!
//! An agent that may write its workspace could else leave there what runs outside the jail
//! (CVE-2026-25725, CVE-2026-26268, CVE-2025-59536). They are protected in every policy, present or
//! absent, unless the platform or the operator says `unprotect`. Where the directory that a path
//! belongs in does not exist (`.git` before `git init`), nothing can be held, and the plan says so.

use std::path::Path;

use super::rights::{Rights, Roots};
use super::trees::Leaf;
use super::{Absent, Origin};

/// Beneath the workspace, with who obeys it.
pub const PATHS: &[(&str, &str)] = &[
    (
        ".git/hooks",
        "git runs them at the next commit, merge or checkout",
    ),
    (
        ".git/config",
        "git runs what it names: fsmonitor, pagers, filters, aliases",
    ),
    (
        ".git/commondir",
        "git takes configuration and hooks from the directory that it names",
    ),
    (
        ".git/config.worktree",
        "as .git/config, where extensions.worktreeConfig is set",
    ),
    (".git/info", "attributes there choose filters that git runs"),
    (".git/modules", "configuration and hooks of submodules"),
    (".git/worktrees", "configuration of worktrees"),
    (
        ".gitattributes",
        "chooses filters and merge drivers that git runs",
    ),
    (".gitmodules", "where git fetches from next"),
    (".envrc", "direnv runs it when a shell enters"),
    (".vscode", "tasks and settings that an editor runs"),
    (".idea", "run configurations of an editor"),
    (".mcp.json", "servers that an agent starts"),
    (".claude", "hooks and settings of an agent"),
    (".cursor", "rules and servers of an agent"),
    (".codex", "configuration of an agent"),
    (".gemini", "configuration of an agent"),
    (".amazonq", "configuration of an agent"),
    (".openclaw", "configuration of an agent"),
    (".creel", "what creel itself reads at the next run"),
    (
        "CLAUDE.md",
        "instructions that an agent outside the jail follows",
    ),
    (
        "AGENTS.md",
        "instructions that an agent outside the jail follows",
    ),
    (
        "CLAUDE.local.md",
        "instructions that an agent outside the jail follows",
    ),
    ("Makefile", "make runs it"),
    ("makefile", "make runs it rather than Makefile"),
    ("GNUmakefile", "make runs it rather than the other two"),
    ("package.json", "npm runs its scripts"),
    (
        ".npmrc",
        "npm takes its registry and its scripts' shell from it",
    ),
    (".yarnrc.yml", "yarn runs the program that it names"),
    ("conftest.py", "pytest runs it"),
    ("build.rs", "cargo runs it"),
    (
        ".cargo",
        "cargo runs the compiler and the runner that it names",
    ),
    (
        ".husky",
        "hooks that git runs where it was told to find them here",
    ),
    (
        ".pre-commit-config.yaml",
        "a hook of git runs what it names",
    ),
];

/// What stands in a file that is only there so that its name is taken, for a reader who stumbles over
/// an empty or unreadable one: the directory of the repository itself is what git takes for common
/// where there is no such file (gitrepository-layout(5)).
pub fn stands_in(path: &Path) -> Option<&'static str> {
    if path.ends_with("commondir") {
        Some(".\n")
    } else if path.ends_with("config.worktree") {
        Some("")
    } else {
        None
    }
}

/// Protects the trust paths that closed rights do not except.
pub fn guard(rights: &mut Rights, roots: &Roots) {
    for (name, _) in PATHS {
        let path = roots.expand(&format!("$WORKSPACE/{name}"));
        let excepted = rights
            .unprotect
            .as_ref()
            .is_some_and(|names| names.contains_key(&path));
        if !excepted {
            let leaf = Leaf {
                absent: Absent::Skip,
                origin: Origin::creel(),
            };
            rights.protect.entry(path).or_insert(leaf);
        }
    }
}
