//! Paths as text: expanding what a policy wrote, and the lists of places that are never granted.

use std::path::{Component, Path, PathBuf};

use super::egress::{USUAL, terminates};
use super::host::Host;
use super::request::Request;
use super::resolve::command_places;
use crate::policy::glob::Pattern;
use crate::policy::{Execution, Policy, WorkspaceMode};

/// Where a fresh workspace (`none`) is mounted.
pub const FRESH_WORKSPACE: &str = "/workspace";
/// The home in the jail of an account that has none.
const FALLBACK_HOME: &str = "/home/agent";

/// Paths that are the jail's own. A grant of one of these changes how the jail's own is mounted
/// (`exec = ["/tmp"]`), never brings the host's in.
pub const OWN_TMPFS: [&str; 2] = ["/tmp", "/dev/shm"];

/// Trees that no grant may name, exactly or beneath, with the reason.
pub const NEVER_BELOW: &[(&str, &str)] = &[
    ("/proc", "the jail has a /proc of its own"),
    ("/sys", "it is the host's kernel, not files"),
    ("/dev", "the jail has devices of its own"),
    (
        "/run",
        "the host's sockets live there, and a read-only mount does not stop connect(2)",
    ),
    (
        "/var/run",
        "the host's sockets live there, and a read-only mount does not stop connect(2)",
    ),
];

/// Directories too wide to be a workspace or a writable grant; what is beneath them may be one.
pub const TOO_WIDE: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/tmp",
];

/// Whether `path` is `tree` or beneath it. Both are absolute and have no `.`, `..` or double slash in
/// them, so that bytes decide: `Path::starts_with` takes both apart at every call.
pub fn within(path: &Path, tree: &Path) -> bool {
    let (path, tree) = (
        path.as_os_str().as_encoded_bytes(),
        tree.as_os_str().as_encoded_bytes(),
    );
    match path.strip_prefix(tree) {
        Some(rest) => rest.is_empty() || rest[0] == b'/' || tree == b"/",
        None => false,
    }
}

/// As [`within`], for a path as somebody wrote it: where it has what bytes cannot decide, its components
/// do.
pub fn beneath(path: &Path) -> impl Fn(&Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let odd = |pair: &[u8]| pair == b"//" || pair == b"/.";
    let odd = text.windows(2).any(odd);
    move |tree| match odd {
        true => path.starts_with(tree),
        false => within(path, tree),
    }
}

/// Trees of the system's own configuration and programs, in which nothing is writable.
pub const NEVER_WRITABLE: &[&str] = &["/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin"];

/// The home directory in the jail: the caller's own path, so that `~` means the same on both sides.
pub fn home(host: &Host) -> PathBuf {
    jail_home(host.home.as_deref())
}

/// The same, from what the account database says.
pub fn jail_home(home: Option<&Path>) -> PathBuf {
    match home {
        Some(home) if home.components().count() > 1 && !never(home) => home.to_path_buf(),
        _ => PathBuf::from(FALLBACK_HOME),
    }
}

fn never(path: &Path) -> bool {
    NEVER_BELOW.iter().any(|(tree, _)| path.starts_with(tree))
}

/// The workspace's mode: the request's, else the policy's, else `rw`.
pub fn workspace_mode(policy: &Policy, request: &Request) -> WorkspaceMode {
    request
        .workspace_mode
        .or(policy.filesystem.workspace.as_ref().map(|w| w.value))
        .unwrap_or(WorkspaceMode::ReadWrite)
}

/// The workspace as the caller named it, made absolute.
pub fn workspace(policy: &Policy, request: &Request, host: &Host) -> PathBuf {
    match (workspace_mode(policy, request), &request.workspace) {
        (WorkspaceMode::None, _) => PathBuf::from(FRESH_WORKSPACE),
        (_, Some(named)) => absolute(named, host),
        (_, None) => host.cwd.clone(),
    }
}

/// `path` made absolute against the caller's working directory, `.` removed. `..` stays: only the
/// kernel can say what it means behind a symbolic link.
pub fn absolute(path: &Path, host: &Host) -> PathBuf {
    host.cwd
        .join(path)
        .components()
        .filter(|c| *c != Component::CurDir)
        .collect()
}

/// Expands `~` and `$WORKSPACE`. `None`: it begins with `~` and the caller has no account.
pub fn expand(text: &str, host: &Host, workspace: &Path) -> Option<PathBuf> {
    let under = |base: &Path, rest: &str| match rest.trim_start_matches('/') {
        "" => base.to_path_buf(),
        rest => base.join(rest),
    };
    if let Some(rest) = text.strip_prefix("$WORKSPACE") {
        Some(under(workspace, rest))
    } else if let Some(rest) = text.strip_prefix('~') {
        host.home.as_deref().map(|home| under(home, rest))
    } else {
        Some(PathBuf::from(text))
    }
}

/// Expands `~` at the start of a value and after each `:` in it.
pub fn expand_value(value: &str, home: &Path) -> String {
    let home = home.to_string_lossy();
    let parts: Vec<String> = value
        .split(':')
        .map(|part| match part.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
            _ => part.to_owned(),
        })
        .collect();
    parts.join(":")
}

/// A path that somebody has to look up before a plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub path: PathBuf,
    pub purpose: Purpose,
}

/// What has to be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// What it is and what it loads.
    Program,
    /// Whether programs lie in it.
    Load,
    /// Whether files in it have other names.
    Protect,
    Read,
    /// Whether idmapped mounts of it work.
    Write,
}

/// Every path that [`resolve`](super::resolve) will ask the host about.
pub fn wanted(policy: &Policy, request: &Request, host: &Host) -> Vec<Wanted> {
    let workspace = workspace(policy, request, host);
    let fs = &policy.filesystem;
    let mut all = vec![];
    if workspace_mode(policy, request) != WorkspaceMode::None {
        // Also where it is read-only: its owner is to be the jail's user.
        all.push(Wanted {
            path: workspace.clone(),
            purpose: Purpose::Write,
        });
    }
    // Whoever looks one path up for two purposes keeps the later answer, which knows more.
    if let Execution::Only(programs) = &policy.exec.value {
        for grant in programs {
            if let Some(path) = expand(&grant.path, host, &workspace) {
                let purpose = Purpose::Program;
                all.insert(0, Wanted { path, purpose });
            }
        }
    }
    if policy.exec.value == Execution::Worker {
        for path in command_places(policy, request, host) {
            let purpose = Purpose::Program;
            all.insert(0, Wanted { path, purpose });
        }
    }
    for grant in &fs.load {
        if let Some(path) = expand(&grant.path, host, &workspace) {
            let purpose = Purpose::Load;
            all.insert(0, Wanted { path, purpose });
        }
    }
    // Whoever asks for what is absent has to know what there is above it, in trees that are looked
    // at anyway.
    let exact = fs.protect.iter().map(|p| &p.path);
    let mut above = vec![];
    let bases: Vec<PathBuf> = std::iter::once(workspace.clone())
        .chain(
            fs.write
                .iter()
                .filter_map(|g| expand(&g.path, host, &workspace)),
        )
        .chain(request.write.iter().map(|p| absolute(p, host)))
        .collect();
    for text in exact.chain(fs.deny.iter().map(|g| &g.path)) {
        let Some(path) = expand(text, host, &workspace) else {
            continue;
        };
        if let Some(base) = bases
            .iter()
            .filter(|base| within(&path, base))
            .min_by_key(|base| base.components().count())
        {
            for parent in path.ancestors().skip(1).take_while(|p| *p != base) {
                if !above.iter().any(|known: &PathBuf| known == parent) {
                    above.push(parent.to_path_buf());
                }
            }
        }
    }
    all.extend(above.into_iter().map(|path| Wanted {
        path,
        purpose: Purpose::Read,
    }));
    for protect in &fs.protect {
        if let Some(path) = expand(&protect.path, host, &workspace) {
            let purpose = Purpose::Protect;
            all.insert(0, Wanted { path, purpose });
        }
    }
    // Where a pattern's names would be created.
    for grant in fs.deny_patterns.iter().chain(&fs.protect_patterns) {
        let path = PathBuf::from(Pattern::parse(&grant.path).base());
        let purpose = Purpose::Read;
        if path != Path::new("/") && !all.iter().any(|w| w.path == path) {
            all.push(Wanted { path, purpose });
        }
    }
    let lists = [
        (&fs.read, Purpose::Read),
        (&fs.exec, Purpose::Read),
        (&fs.deny, Purpose::Read),
        (&fs.write, Purpose::Write),
    ];
    for (grants, purpose) in lists {
        for grant in grants {
            if let Some(path) = expand(&grant.path, host, &workspace)
                && !all.iter().any(|w| w.path == path && w.purpose >= purpose)
            {
                all.push(Wanted { path, purpose });
            }
        }
    }
    let requested = request
        .read
        .iter()
        .map(|p| (p, Purpose::Read))
        .chain(request.write.iter().map(|p| (p, Purpose::Write)));
    for (path, purpose) in requested {
        all.push(Wanted {
            path: absolute(path, host),
            purpose,
        });
    }
    if terminates(&policy.network) {
        all.extend(USUAL.iter().map(|(path, _)| Wanted {
            path: path.into(),
            purpose: Purpose::Read,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_components_agree_on_what_is_beneath() {
        let trees = ["/", "/a", "/a/b", "/a/.b", "/ab"];
        let paths = [
            "/",
            "/a",
            "/a/",
            "/a//",
            "/ab",
            "/a/b",
            "/a//b",
            "/a/./b",
            "/./a/b",
            "//a/b",
            "/a/b/",
            "/a/.b",
            "/a/.b/c",
            "/a/..",
            "/a/../a/b",
            "/ab/a",
            "",
        ];
        for tree in trees {
            for path in paths {
                let (path, tree) = (Path::new(path), Path::new(tree));
                assert_eq!(
                    beneath(path)(tree),
                    path.starts_with(tree),
                    "{path:?} {tree:?}"
                );
            }
        }
    }
}
