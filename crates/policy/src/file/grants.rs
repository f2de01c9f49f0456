//! Forms of paths: which are valid, and which would not mean what they say.

use serde_json::Value as Json;

use super::form::{Form, defined};
use super::keys::GRANT;
use super::plain::Flag;
use super::walk::At;
use crate::error::PolicyError;
use crate::fault::PathFault;
use crate::glob;
use crate::grant::{Absent, Grant};
use crate::printer::quoted;

/// A grant: a path or a pattern, or a table that says whether it may be absent.
pub struct Path;

impl Form for Path {
    type Value = Grant;
    const LISTED: &'static str = "an array of paths, for example [\"/usr\"]";

    fn read(at: At) -> Result<Grant, PolicyError> {
        let mut absent = Absent::Refuse;
        let path = match at.keyed(&GRANT)? {
            None => at,
            Some(table) => {
                let path = at.need(table, "path")?;
                let optional = at.inner(table, "optional").map(Flag::read).transpose()?;
                if optional.is_some_and(|optional| optional.value) {
                    absent = Absent::Skip;
                }
                path
            }
        };
        let text = path.string("a path, or { path = \"/usr\", optional = true }")?;
        sound(path, text, path_fault(text))?;
        Ok(Grant::new(text, absent, path.origin()))
    }

    fn schema() -> Json {
        defined("grant")
    }

    fn text(grant: &Grant) -> String {
        optional(quoted(&grant.path), grant.absent)
    }
}

/// Like [`Path`], without patterns, which would cover less than they seem to.
pub struct Name;

impl Form for Name {
    type Value = Grant;
    const LISTED: &'static str = "an array of paths, for example [\"$WORKSPACE/Makefile\"]";

    fn read(at: At) -> Result<Grant, PolicyError> {
        let grant = Path::read(at)?;
        plain(at, &grant.path)?;
        Ok(grant)
    }

    fn schema() -> Json {
        Path::schema()
    }

    fn text(grant: &Grant) -> String {
        Path::text(grant)
    }
}

/// The text of a grant for `path`, which is already quoted.
pub fn optional(path: String, absent: Absent) -> String {
    match absent {
        Absent::Refuse => path,
        Absent::Skip => format!("{{ path = {path}, optional = true }}"),
    }
}

/// The text, if it is a valid path without wildcards.
pub fn plain(at: At, text: &str) -> Result<String, PolicyError> {
    let pattern = glob::is_pattern(text).then_some(PathFault::Glob);
    sound(at, text, path_fault(text).or(pattern))?;
    Ok(text.to_owned())
}

fn sound(at: At, text: &str, fault: Option<PathFault>) -> Result<(), PolicyError> {
    match fault {
        None => Ok(()),
        Some(fault) => Err(PolicyError::BadPath {
            at: at.place(),
            key: at.key.to_owned().into(),
            path: text.to_owned(),
            fault,
        }),
    }
}

/// Why a path cannot be granted; `None` if it can.
pub fn path_fault(path: &str) -> Option<PathFault> {
    if path.is_empty() {
        return Some(PathFault::Empty);
    }
    if path.contains('\0') {
        return Some(PathFault::Nul);
    }
    let rest = path.strip_prefix("$WORKSPACE").unwrap_or(path);
    if rest.contains('$') {
        return Some(PathFault::Variable);
    }
    match path.as_bytes().first() {
        Some(b'/') => {}
        Some(b'$') if rest.is_empty() || rest.starts_with('/') => {}
        // `$WORKSPACES` is another variable.
        Some(b'$') => return Some(PathFault::Variable),
        Some(b'~') if path == "~" || path.starts_with("~/") => {}
        Some(b'~') => return Some(PathFault::User),
        _ => return Some(PathFault::Relative),
    }
    if path.split('/').any(|component| component == "..") {
        return Some(PathFault::Parent);
    }
    glob::fault(path)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{base, good, refused};
    use super::super::{parse, read};
    use super::*;

    #[test]
    fn paths() {
        for path in [
            "/",
            "/usr",
            "//usr//lib/",
            "/a b",
            "/a~",
            "/a/.../b",
            "/a..",
            "/…",
            "/a\\nb",
            "~",
            "~/",
            "~/.x",
            "$WORKSPACE",
            "$WORKSPACE/",
            "$WORKSPACE/a",
            "/a{b}",
            "/a/*",
            "~/**/[a-z]?",
            "$WORKSPACE/*.pem",
        ] {
            let text = format!("filesystem.deny = [\"{}\"]", path.replace('\\', "\\\\"));
            assert_eq!(read("p", &text).unwrap().filesystem.deny[0].path, path);
            let policy = good(&text);
            let shown = policy.filesystem.deny[0].shown();
            let clean = path.replace("//", "/");
            match path {
                "/" => assert_eq!(shown, path),
                _ if path.starts_with('/') => assert_eq!(shown, clean.trim_end_matches('/')),
                _ => assert_eq!(shown, path),
            }
        }
        for (path, fault) in [
            ("", PathFault::Empty),
            ("/a\\u0000", PathFault::Nul),
            ("usr", PathFault::Relative),
            ("./a", PathFault::Relative),
            (" /a", PathFault::Relative),
            ("..", PathFault::Relative),
            ("/..", PathFault::Parent),
            ("/a/../b", PathFault::Parent),
            ("~/..", PathFault::Parent),
            ("$WORKSPACE/..", PathFault::Parent),
            ("$HOME/a", PathFault::Variable),
            ("$WORKSPACES", PathFault::Variable),
            ("${WORKSPACE}", PathFault::Variable),
            ("/a/$WORKSPACE", PathFault::Variable),
            ("$WORKSPACE$X", PathFault::Variable),
            ("~root", PathFault::User),
            ("~root/a", PathFault::User),
            ("/a/**b", PathFault::Stars),
            ("/a?/[", PathFault::Bracket),
            ("~/[b/c]", PathFault::Bracket),
        ] {
            match parse(
                "p",
                &format!("filesystem.read = [\"{path}\"]"),
                &base(),
                &crate::Roots::symbolic(),
            ) {
                Err(PolicyError::BadPath { fault: found, .. }) => {
                    assert_eq!(found, fault, "{path}")
                }
                other => panic!("{path}: {other:?}"),
            }
        }
        refused(
            "[filesystem]|exec = ['/usr', '/opt/a**']
            2:17: path '/opt/a**' in 'filesystem.exec' has a '**' beside other characters; write it between slashes, or one '*' within a name
            [filesystem]|unprotect = ['$WORKSPACE/*']
            2:14: path '$WORKSPACE/*' in 'filesystem.unprotect' is a pattern, which this key does not allow; list the paths, and write '[*]' for a literal star",
        );
    }
}
