//! Advice for a failed command that names git: which of git's files the policy protects, and where a
//! repository lies that the jail does not have. git itself reports "Device or resource busy" and "not a git
//! repository".
//!
//! The advice comes from the plan and from the host before the run. It grants nothing: a `.git` file is
//! untrusted, since anyone who writes to the workspace can write it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::words::Words;
use crate::cli::hint;
use creel_jail::repositories::{self, Repository};
use creel_plan::paths::{real_workspace, within};
use creel_plan::{Act, Host, IdMode, Plan};
use creel_policy::error::escaped;
use creel_session::Declared;
use creel_session::execute::Prepared;

/// Subcommands that write files of git's that the policy may protect, with the names of these files.
const WRITES: [(&str, &[&str]); 13] = [
    ("config", &["config", "config.worktree"]),
    ("remote", &["config"]),
    ("branch", &["config"]),
    ("checkout", &["config"]),
    ("switch", &["config"]),
    ("push", &["config"]),
    ("init", &["config", "hooks", "info"]),
    ("submodule", &["config", "modules", ".gitmodules"]),
    ("worktree", &["worktrees"]),
    ("lfs", &["config", "hooks"]),
    ("hook", &["hooks"]),
    ("sparse-checkout", &["config", "config.worktree", "info"]),
    ("maintenance", &["config"]),
];

/// The lines to print if the command fails; empty if it does not name git.
pub fn notes(words: &Words, declared: &Declared, prepared: &Prepared) -> Vec<String> {
    let Some(words) = words.since_git() else {
        return vec![];
    };
    let (host, plan) = (&prepared.host, &prepared.plan);
    let workspace = real_workspace(&declared.policy, &declared.request, host);
    if let Some(text) = elsewhere(&workspace, host, plan) {
        return vec![text];
    }
    let used: Vec<&[&str]> = WRITES
        .iter()
        .filter(|(name, _)| words.iter().any(|word| word == name))
        .map(|(_, names)| *names)
        .collect();
    let kept = worktrees(words, plan);
    kept.or_else(|| held(&used, &workspace, plan))
        .into_iter()
        .collect()
}

/// Advice for removing linked worktrees: those from before the run cannot be removed, because their entries
/// below `.git/worktrees` are protected.
fn worktrees(words: &[String], plan: &Plan) -> Option<String> {
    let said = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    let is_held = |act: &Act| match act {
        Act::Bind { target, access, .. } => {
            let mut above = target.ancestors().skip(1);
            !access.write && above.any(|dir| dir.ends_with(".git/worktrees"))
        }
        _ => false,
    };
    (said(&["worktree"]) && said(&["remove", "prune", "move"]) && plan.acts().any(is_held))
        .then(|| {
            "a linked worktree that was there when the jail began stays registered in it: remove it on the host, \
             with git worktree remove or git worktree prune"
                .into()
        })
}

/// Advice for the files that the subcommands write and that are read-only or cannot be created.
fn held(used: &[&[&str]], workspace: &Path, plan: &Plan) -> Option<String> {
    let covered = plan.acts().filter_map(|act| match act {
        Act::Bind { source, access, .. } if !access.write => Some(source.clone()),
        Act::Withhold { path, .. } => plan.jail.on_host(path),
        _ => None,
    });
    let of_git = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let own = path.parent().is_some_and(|above| above.ends_with(".git"))
            || path.ends_with(".gitmodules");
        own && name.is_some_and(|name| used.iter().any(|names| names.contains(&name)))
    };
    let names: BTreeSet<String> = covered
        .filter(of_git)
        .map(|path| match path.strip_prefix(workspace) {
            Ok(beneath) => format!("$WORKSPACE/{}", beneath.display()),
            Err(_) => path.display().to_string(),
        })
        .collect();
    if names.is_empty() {
        return None;
    }
    let shown: Vec<&str> = names
        .iter()
        .map(|name| name.strip_prefix("$WORKSPACE/").unwrap_or(name))
        .collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    Some(format!(
        "the jail cannot change {}, which git on the host obeys: if git tried to, do that step on the host, or write [filesystem] unprotect = [{}] in the operator's policy",
        shown.join(", "),
        quoted.join(", ")
    ))
}

/// Advice for a repository outside the jail. It proposes a grant only for a repository of the caller's that
/// itself names the workspace as one of its worktrees.
fn elsewhere(workspace: &Path, host: &Host, plan: &Plan) -> Option<String> {
    let granted = |path: &Path| {
        let mut acts = plan.acts();
        acts.any(|act| matches!(act, Act::Bind { source, .. } if within(path, source)))
    };
    // If a `.git` file leads nowhere, git's own message says so.
    let repository = repositories::found(workspace)?;
    if repository.worktree != workspace {
        // git needs the files of its index, which lie below the top of the worktree.
        let top = &repository.worktree;
        return (!granted(top)).then(|| part(&repository, workspace, host));
    }
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let file = repository.worktree.join(".git");
    let back = repositories::leads_back(&repository);
    let repository = Repository {
        git: real(&repository.git),
        common: real(&repository.common),
        ..repository
    };
    if granted(&repository.git) && granted(&repository.common) {
        return None;
    }
    // A jail can forge both ends of the link in trees where it may write.
    let writable = |path: &Path| {
        let written = |act: &Act| matches!(act, Act::Bind { source, access, .. } if access.write && within(path, source));
        within(path, workspace) || plan.acts().any(written)
    };
    let vouched = back
        && file.symlink_metadata().is_ok_and(|meta| meta.is_file())
        && repositories::is_of(&repository, host.uid)
        && !writable(&repository.git)
        && !writable(&repository.common);
    let Some(place) = word(&repository.common).filter(|_| vouched) else {
        return Some(
            "git's repository of the workspace is elsewhere, and the jail does not have it: the target of the workspace's .git does not refer back to the workspace, or others may write to it, so the author of the workspace may have forged it; check both before you grant it"
                .into(),
        );
    };
    Some(match host.id_mode {
        // In a privileged jail a read-only grant has a foreign owner, for which git refuses it.
        IdMode::Privileged => format!(
            "git's repository of the workspace is {place}, which the jail does not have: --write {place} grants it; its configuration and hooks stay as they are"
        ),
        IdMode::Rootless => format!(
            "git's repository of the workspace is {place}, which the jail does not have: --read {place} shows it to git, --write {place} lets git commit; its configuration and hooks stay as they are"
        ),
    })
}

/// Advice for a workspace in a repository whose top lies above it.
fn part(repository: &Repository, workspace: &Path, host: &Host) -> String {
    let top = &repository.worktree;
    let own = std::fs::symlink_metadata(top).is_ok_and(|meta| meta.uid() == host.uid);
    let name = top.join(".git").symlink_metadata();
    let plain = name.is_ok_and(|meta| match meta.is_dir() {
        true => repository.common == repository.git,
        false => meta.is_file() && repositories::leads_back(repository),
    });
    let bare = repository.git == *top;
    // A repository that contains the whole home is too wide to grant.
    let whole = host.home.as_ref().is_some_and(|home| within(home, top)) || top == Path::new("/");
    let vouched = own && plain && !bare && !whole && repositories::is_of(repository, host.uid);
    let beneath = workspace.strip_prefix(top).unwrap_or(workspace);
    match (word(top), word(&plain_word(beneath))) {
        (Some(top), Some(beneath)) if vouched => format!(
            "the workspace is a part of the repository {top}, which the jail does not have: creel run --workspace {top} --workdir {beneath} grants the whole"
        ),
        _ => {
            "the workspace is a part of a repository above it, which the jail does not have".into()
        }
    }
}

/// The path, with `./` in front if it looks like a flag.
fn plain_word(beneath: &Path) -> PathBuf {
    match beneath.as_os_str().as_encoded_bytes().starts_with(b"-") {
        true => Path::new(".").join(beneath),
        false => beneath.into(),
    }
}

/// The path quoted for a shell; `None` if it cannot be shown unchanged.
fn word(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    (escaped(text.chars()) == text).then(|| hint::quoted(text))
}
