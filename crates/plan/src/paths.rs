//! Paths as text: where a policy's paths are on the host, and the lists of paths that are never granted.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use super::host::{Fact, Host};
use super::request::Request;
use creel_policy::rights::FRESH_WORKSPACE;
use creel_policy::{AbsPath, PathRule, Policy, Roots, WorkspaceMode, path_set};

/// The home in the jail if the account has none.
const FALLBACK_HOME: &str = "/home/agent";

/// Tmpfs mounts of the jail itself. A grant of one of these changes how the tmpfs is mounted (`exec =
/// ["/tmp"]`) and never mounts the host's directory.
pub const OWN_TMPFS: [&str; 2] = ["/tmp", "/dev/shm"];

/// Trees that no grant may name, exactly or beneath, with the reason.
pub const NEVER_BELOW: &[(&str, &str)] = &[
    ("/proc", "the jail has a /proc of its own"),
    ("/sys", "it is an interface to the host's kernel"),
    ("/dev", "the jail has devices of its own"),
    (
        "/run",
        "it has the host's sockets, and a read-only mount does not stop connect(2)",
    ),
    (
        "/var/run",
        "it has the host's sockets, and a read-only mount does not stop connect(2)",
    ),
];

/// Directories too wide to be a workspace or a writable grant; directories beneath them may be one.
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

/// Whether `path` is `tree` or beneath it. Both are absolute and contain no `.`, `..` or double slash, so a
/// comparison of bytes suffices: `Path::starts_with` parses both paths at every call.
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

/// Whether two paths in one spelling are the same: their bytes are compared, and not their components, as
/// `==` does.
pub fn same(one: &Path, other: &Path) -> bool {
    one.as_os_str() == other.as_os_str()
}

/// As [`within`], for a path as the user wrote it: if it contains `//` or `/.`, the components are compared
/// instead of the bytes.
pub fn beneath(path: &Path) -> impl Fn(&Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let odd = |pair: &[u8]| pair == b"//" || pair == b"/.";
    let odd = text.windows(2).any(odd);
    move |tree| match odd {
        true => path.starts_with(tree),
        false => within(path, tree),
    }
}

/// System trees of configuration and programs, in which nothing can be granted as writable.
pub const NEVER_WRITABLE: &[&str] = &["/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin"];

/// The home directory in the jail: the caller's own path, so that `~` means the same on both sides.
pub fn home(host: &Host) -> PathBuf {
    jail_home(host.home.as_deref())
}

/// The same, from the home in the account database.
pub fn jail_home(home: Option<&Path>) -> PathBuf {
    match home {
        Some(home) if home.components().count() > 1 && !never(home) => home.to_path_buf(),
        _ => PathBuf::from(FALLBACK_HOME),
    }
}

fn never(path: &Path) -> bool {
    NEVER_BELOW.iter().any(|(tree, _)| path.starts_with(tree))
}

/// The workspace's mode: the policy's, else `rw`.
pub fn workspace_mode(policy: &Policy) -> WorkspaceMode {
    let mode = policy.filesystem.workspace.as_ref();
    mode.map_or(WorkspaceMode::ReadWrite, |mode| mode.value)
}

/// The workspace as the caller named it, made absolute.
pub fn workspace(policy: &Policy, request: &Request, host: &Host) -> PathBuf {
    match workspace_mode(policy) {
        WorkspaceMode::None => PathBuf::from(FRESH_WORKSPACE),
        _ => callers_workspace(request, host),
    }
}

/// The caller's directory that is the workspace, unless the mode is `none`.
pub fn callers_workspace(request: &Request, host: &Host) -> PathBuf {
    match &request.workspace {
        Some(named) => absolute(named, host),
        None => host.cwd.clone(),
    }
}

/// The same by its real path, once that is known. `$WORKSPACE` in a policy means this path.
pub fn real_workspace(policy: &Policy, request: &Request, host: &Host) -> PathBuf {
    let named = workspace(policy, request, host);
    match (workspace_mode(policy), host.paths.get(&named)) {
        (WorkspaceMode::None, _) => named,
        (_, Some(Fact::Present { real, .. })) => real.clone(),
        _ => named,
    }
}

/// `path` made absolute against the caller's working directory, with `.` removed. `..` stays: only the
/// kernel can resolve it behind a symbolic link.
pub fn absolute(path: &Path, host: &Host) -> PathBuf {
    absolute_from(&host.cwd, path)
}

/// The same from a named directory.
pub fn absolute_from(cwd: &Path, path: &Path) -> PathBuf {
    cwd.join(path)
        .components()
        .filter(|c| *c != Component::CurDir)
        .collect()
}

/// The paths that `~` and `$WORKSPACE` stand for in a policy: the home in the jail and the workspace as the
/// caller names it. A path that is not UTF-8 cannot be written in a policy either, and stands for itself.
pub fn roots(home: &Path, workspace: &Path) -> Roots {
    let own = Roots::symbolic();
    let text = |path: &Path, unnamed: String| match path.to_str() {
        Some(text) => path_set::clean(text),
        None => unnamed,
    };
    Roots {
        home: text(home, own.home),
        workspace: text(workspace, own.workspace),
    }
}

/// The places of a policy's paths on the host.
#[derive(Debug)]
pub struct HostPaths<'h> {
    roots: Roots,
    home: Option<&'h Path>,
    /// The workspace by its real path; `None` if the jail has a fresh one.
    workspace: Option<PathBuf>,
}

impl<'h> HostPaths<'h> {
    /// The mapping for one run. The workspace is resolved only if `host` has a fact about it.
    pub fn of(policy: &Policy, request: &Request, host: &'h Host) -> HostPaths<'h> {
        let mode = workspace_mode(policy);
        let real = (mode != WorkspaceMode::None).then(|| real_workspace(policy, request, host));
        HostPaths {
            roots: roots(&home(host), &callers_workspace(request, host)),
            home: host.home.as_deref(),
            workspace: real,
        }
    }

    /// The path of a rule on the host: a flag names it as it is, a policy by its roots. `None` as in
    /// [`Self::at`].
    pub fn of_rule<'p>(&self, rule: &'p PathRule) -> Option<Cow<'p, Path>> {
        match rule.origin.is_flag() {
            true => Some(Cow::Borrowed(rule.path.as_ref())),
            false => self.at(&rule.path),
        }
    }

    /// A path that a flag names, with the workspace by its real path.
    pub(super) fn of_flag(&self, path: &Path) -> PathBuf {
        match (&self.workspace, path.strip_prefix(&self.roots.workspace)) {
            (Some(real), Ok(rest)) => real.join(rest).components().collect(),
            _ => path.to_path_buf(),
        }
    }

    /// The path on the host. `None` if it lies in the home and the caller has no account.
    pub fn at<'p>(&self, path: &'p AbsPath) -> Option<Cow<'p, Path>> {
        let Roots { home, workspace } = &self.roots;
        if let Some(real) = &self.workspace
            && path_set::within(path, workspace)
        {
            return Some(moved(path, workspace, real));
        }
        match path_set::within(path, home) {
            true => Some(moved(path, home, self.home?)),
            false => Some(Cow::Borrowed(path.as_ref())),
        }
    }
}

/// `path` with `to` in place of `from`, in which it lies.
fn moved<'p>(path: &'p AbsPath, from: &str, to: &Path) -> Cow<'p, Path> {
    if Path::new(from).as_os_str() == to.as_os_str() {
        return Cow::Borrowed(path.as_ref());
    }
    let rest = path.strip_prefix(from).unwrap_or_default();
    match rest.trim_start_matches('/') {
        "" => Cow::Owned(to.to_path_buf()),
        rest => Cow::Owned(to.join(rest)),
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
