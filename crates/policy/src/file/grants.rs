//! Forms of paths: which are valid, and which would not mean what they say.

use serde_json::{Value as Json, json};

use super::form::{Form, defined};
use super::keys::GRANT;
use super::plain::Flag;
use super::walk::At;
use crate::error::PolicyError;
use crate::fault::PathFault;
use crate::glob;
use crate::grant::{Absent, Grant};
use crate::mapping::is_place;
use crate::origin::Sourced;
use crate::printer::quoted;

/// A grant: a path or a pattern, or a table that says whether it may be absent, and where the jail has it.
pub struct Tree;

impl Form for Tree {
    type Value = Grant;
    const LISTED: &'static str = "an array of paths, for example [\"/usr\"]";

    fn read(at: At) -> Result<Grant, PolicyError> {
        let (mut absent, mut place) = (Absent::Refuse, None);
        let path = match at.keyed(&GRANT)? {
            None => at,
            Some(table) => {
                let path = at.need(table, "path")?;
                let optional = at.inner(table, "optional").map(Flag::read).transpose()?;
                if optional.is_some_and(|optional| optional.value) {
                    absent = Absent::Skip;
                }
                place = at.inner(table, "at").map(Place::read).transpose()?;
                path
            }
        };
        let text = path.string("a path, or { path = \"/usr\", optional = true }")?;
        sound(path, text, path_fault(text))?;
        let literal = || glob::Pattern::parse(text).literal().is_some();
        if place.is_some() && glob::is_pattern(text) && !literal() {
            sound(path, text, Some(PathFault::MappedGlob))?;
        }
        Ok(Grant {
            at: place.map(|place| place.value),
            ..Grant::new(text, absent, path.origin())
        })
    }

    fn schema() -> Json {
        defined("grant")
    }

    fn text(grant: &Grant) -> String {
        entry(quoted(&grant.path), grant.absent, grant.at.as_deref())
    }
}

/// The same for a rule that grants nothing, which has no place of its own.
pub struct Path;

impl Form for Path {
    type Value = Grant;
    const LISTED: &'static str = Tree::LISTED;

    fn read(at: At) -> Result<Grant, PolicyError> {
        let grant = Tree::read(at)?;
        sound(
            at,
            &grant.path,
            grant.at.as_ref().map(|_| PathFault::MappedRule),
        )?;
        Ok(grant)
    }

    fn schema() -> Json {
        Tree::schema()
    }

    fn text(grant: &Grant) -> String {
        Tree::text(grant)
    }
}

/// A path in the jail.
pub struct Place;

impl Form for Place {
    type Value = Sourced<String>;
    const RANK: u8 = 0;

    fn read(at: At) -> Result<Sourced<String>, PolicyError> {
        let text = at.string("a path in the jail, for example \"/workspace\"")?;
        sound(at, text, (!is_place(text)).then_some(PathFault::Place))?;
        Ok(at.sourced(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(/|~/)" })
    }

    fn text(place: &Sourced<String>) -> String {
        quoted(&place.value)
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

/// The text of a rule for `path`, which is already quoted.
pub fn optional(path: String, absent: Absent) -> String {
    entry(path, absent, None)
}

/// The text of a grant for `path`, which is already quoted; `at` is not.
pub fn entry(path: String, absent: Absent, at: Option<&str>) -> String {
    let optional = match absent {
        Absent::Refuse => "",
        Absent::Skip => ", optional = true",
    };
    match at {
        None if optional.is_empty() => path,
        None => format!("{{ path = {path}{optional} }}"),
        Some(at) => format!("{{ path = {path}{optional}, at = {} }}", quoted(at)),
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
