//! The one expansion: from a path as a policy has it to an absolute one.
//!
//! Only this file makes an [`AbsPath`]. It reads no file system: `plan` decides what a path leads to on a
//! machine.

use std::borrow::{Borrow, Cow};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use super::glob::escape;
use super::grant::Absent;
use super::origin::Origin;
use super::path_set::{PathRule, Whose, clean, within};

/// The path at which a jail sees its cgroups, as on a host, unless a policy denies it.
pub const GROUPS: &str = "/sys/fs/cgroup";

/// The jail's own directories, in addition to its home.
pub const OWN: [&str; 2] = ["/tmp", "/dev/shm"];

/// The mount point of a fresh workspace (`none`).
pub const FRESH_WORKSPACE: &str = "/workspace";

/// An absolute path as text, without `.`, double or trailing slashes. A policy's own text has no `..`
/// either; the caller's name of the workspace may have one, and then no plan is made with it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsPath(Arc<str>);

impl AbsPath {
    fn of(text: &str) -> AbsPath {
        let idle = |part: &str| part.is_empty() || part == ".";
        match text.strip_prefix('/') {
            Some(rest) if rest.is_empty() || !rest.split('/').any(idle) => AbsPath(text.into()),
            _ => AbsPath(clean(text).into()),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for AbsPath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for AbsPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for AbsPath {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl PartialEq<str> for AbsPath {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for AbsPath {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<String> for AbsPath {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

impl std::fmt::Display for AbsPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

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
    pub fn expand(&self, text: &str) -> AbsPath {
        let rooted = [("$WORKSPACE", &self.workspace), ("~", &self.home)];
        for (name, root) in rooted {
            // `~backup` is an ordinary name.
            if within(text, name) {
                return AbsPath::of(&[root, &text[name.len()..]].concat());
            }
        }
        AbsPath::of(text)
    }

    /// The rule for a path as a policy has it.
    pub fn rule(
        &self,
        written: impl Into<Cow<'static, str>>,
        absent: Absent,
        origin: Origin,
    ) -> PathRule {
        let written = written.into();
        let path = self.expand(&written);
        PathRule {
            whose: match self.is_own(&path) {
                true => Whose::Jail,
                false => Whose::Host,
            },
            path,
            written: written.starts_with(['~', '$']).then_some(written),
            absent,
            origin,
            within: vec![],
        }
    }

    /// The rule for the host's workspace, even if it is the home.
    pub(super) fn workspace_rule(&self, origin: Origin) -> PathRule {
        PathRule {
            whose: Whose::Host,
            ..self.rule("$WORKSPACE", Absent::Skip, origin)
        }
    }

    /// The place of a path of the workspace in a jail with a fresh one; any other path as it is. Every path
    /// lies in the workspace `/`, so there only `$WORKSPACE` itself means the fresh one.
    pub fn fresh(&self, rule: &PathRule) -> AbsPath {
        let path = &rule.path;
        let written = rule.written.as_deref();
        let named = written.is_some_and(|text| within(text, "$WORKSPACE"));
        match named || self.workspace != "/" && within(path, &self.workspace) {
            true => {
                let rest = path.strip_prefix(&*self.workspace).unwrap_or_default();
                AbsPath::of(&[FRESH_WORKSPACE, "/", rest].concat())
            }
            false => path.clone(),
        }
    }

    /// Roots that stand for themselves, for results that must not depend on the machine.
    pub fn symbolic() -> Roots {
        Roots {
            home: "/~".into(),
            workspace: "/$WORKSPACE".into(),
        }
    }

    /// The same roots with a workspace in which no path of the host lies.
    pub fn without_workspace(&self) -> Roots {
        Roots {
            home: self.home.clone(),
            ..Roots::symbolic()
        }
    }

    /// The roots for patterns: wildcard characters in their own paths are escaped.
    pub fn escaped(&self) -> Roots {
        Roots {
            home: escape(&self.home),
            workspace: escape(&self.workspace),
        }
    }

    /// Whether every jail has a directory of its own at `path`. A grant of it changes that directory and
    /// grants no host path beneath it.
    pub fn is_own(&self, path: &str) -> bool {
        path == self.home || OWN.contains(&path)
    }

    /// A path for people: with the root that it lies in.
    pub fn shorten(&self, path: &str) -> String {
        for (root, name) in [(&self.workspace, "$WORKSPACE"), (&self.home, "~")] {
            if within(path, root) && root != "/" {
                return format!("{name}{}", &path[root.len()..]);
            }
        }
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_clean_whatever_was_written() {
        let roots = Roots {
            home: "/home/u".into(),
            workspace: "/".into(),
        };
        for (written, path) in [
            ("/", "/"),
            ("/usr", "/usr"),
            ("//usr/./lib/", "/usr/lib"),
            ("/a/.", "/a"),
            ("/a/.b", "/a/.b"),
            ("~", "/home/u"),
            ("~//x/", "/home/u/x"),
            ("~backup", "/~backup"),
            ("$WORKSPACE", "/"),
            ("$WORKSPACE/x", "/x"),
        ] {
            let rule = roots.rule(written, Absent::Skip, Origin::creel());
            assert_eq!(rule.path, path, "{written}");
            let rooted = written.starts_with(['~', '$']);
            assert_eq!(rule.shown(), if rooted { written } else { path });
            // Expanded again it is the same.
            assert_eq!(roots.expand(&rule.path), rule.path);
        }
    }

    #[test]
    fn a_fresh_workspace_has_the_paths_of_the_workspace_only() {
        let fresh = |roots: &Roots, written: &'static str| {
            let rule = roots.rule(written, Absent::Skip, Origin::creel());
            roots.fresh(&rule).to_string()
        };
        let roots = Roots::symbolic();
        assert_eq!(fresh(&roots, "$WORKSPACE"), FRESH_WORKSPACE);
        assert_eq!(fresh(&roots, "$WORKSPACE/a/b"), "/workspace/a/b");
        assert_eq!(fresh(&roots, "/$WORKSPACE/a"), "/workspace/a");
        assert_eq!(fresh(&roots, "/usr"), "/usr");
        assert_eq!(fresh(&roots, "~"), "/~");
        // `creel doctor` makes its jail in `/`.
        let root = Roots {
            workspace: "/".into(),
            ..roots
        };
        assert_eq!(fresh(&root, "$WORKSPACE"), FRESH_WORKSPACE);
        assert_eq!(fresh(&root, "$WORKSPACE/a"), "/workspace/a");
        assert_eq!(fresh(&root, "/usr"), "/usr");
    }
}
