//! What `~` and `$WORKSPACE` stand for.

use super::trees::{clean, within};

/// Where a jail sees its control groups, as a host does, unless a policy denies it.
pub const GROUPS: &str = "/sys/fs/cgroup";

/// The jail's own directories, beside its home.
pub const OWN: [&str; 2] = ["/tmp", "/dev/shm"];
/// Before a path: the jail's own, not the host's. No path of a policy begins so.
const OWN_PREFIX: &str = "own:";

/// What `~` and `$WORKSPACE` stand for: absolute, clean paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    pub home: String,
    pub workspace: String,
}

impl Roots {
    /// `text` with its beginning replaced, cleaned.
    pub fn expand(&self, text: &str) -> String {
        let rooted = [("$WORKSPACE", &self.workspace), ("~", &self.home)];
        for (name, root) in rooted {
            // `~backup` is a name of its own.
            if within(text, name) {
                return clean(&format!("{root}/{}", &text[name.len()..]));
            }
        }
        clean(text)
    }

    /// Roots that stand for themselves, for what is the same on every machine.
    pub fn symbolic() -> Roots {
        Roots {
            home: "/~".into(),
            workspace: "/$WORKSPACE".into(),
        }
    }

    /// A name for one of the directories that every jail has of its own, if `path` is one: a grant of
    /// it changes that directory and grants nothing of the host's beneath it.
    pub fn own(&self, path: &str) -> Option<String> {
        (path == self.home || OWN.contains(&path)).then(|| format!("{OWN_PREFIX}{path}"))
    }

    /// The reverse, so that what was written with a root is shown with it.
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
