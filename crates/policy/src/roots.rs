//! The paths that `~` and `$WORKSPACE` stand for.

use super::path_set::{clean, within};

/// The path at which a jail sees its cgroups, as on a host, unless a policy denies it.
pub const GROUPS: &str = "/sys/fs/cgroup";

/// The jail's own directories, in addition to its home.
pub const OWN: [&str; 2] = ["/tmp", "/dev/shm"];
/// Prefix for a path of the jail's own instead of the host's. No path in a policy begins so.
const OWN_PREFIX: &str = "own:";

/// The paths that `~` and `$WORKSPACE` stand for: absolute and clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The path of `~`.
    pub home: String,
    /// The path of `$WORKSPACE`.
    pub workspace: String,
}

impl Roots {
    /// `text` with a leading root replaced, then cleaned.
    pub fn expand(&self, text: &str) -> String {
        let rooted = [("$WORKSPACE", &self.workspace), ("~", &self.home)];
        for (name, root) in rooted {
            // `~backup` is an ordinary name.
            if within(text, name) {
                return clean(&format!("{root}/{}", &text[name.len()..]));
            }
        }
        clean(text)
    }

    /// Roots that stand for themselves, for results that must not depend on the machine.
    pub fn symbolic() -> Roots {
        Roots {
            home: "/~".into(),
            workspace: "/$WORKSPACE".into(),
        }
    }

    /// The internal name of `path` if it is a directory that every jail has of its own. A grant of it
    /// changes that directory and grants no host path beneath it.
    pub fn own(&self, path: &str) -> Option<String> {
        (path == self.home || OWN.contains(&path)).then(|| format!("{OWN_PREFIX}{path}"))
    }

    /// The reverse of [`Self::expand`], so that a path written with a root is shown with it.
    pub fn shorten(&self, path: &str) -> String {
        let path = path.strip_prefix(OWN_PREFIX).unwrap_or(path);
        for (root, name) in [(&self.workspace, "$WORKSPACE"), (&self.home, "~")] {
            if within(path, root) && root != "/" {
                return format!("{name}{}", &path[root.len()..]);
            }
        }
        path.to_owned()
    }
}
