//! Grants: which paths can be named, and which would mean something else than they say.

use super::keys::GRANT;
use super::walk::{File, Section, get};
use crate::error::{PathFault, PolicyError};
use crate::glob;
use crate::tree::{Node, Table, Value};
use crate::{Absent, Grant};

impl File<'_> {
    /// The grants under `key`; `None` where the key is absent.
    pub fn listed(&self, table: Section, key: &str) -> Result<Option<Vec<Grant>>, PolicyError> {
        match get(table, key) {
            Some(_) => self.grants(table, key).map(Some),
            None => Ok(None),
        }
    }

    pub fn grants(&self, table: Section, key: &str) -> Result<Vec<Grant>, PolicyError> {
        self.array(table, key, "an array of paths, for example [\"/usr\"]")?
            .iter()
            .map(|value| self.grant(value, key))
            .collect()
    }

    /// As [`Self::grants`], where a pattern would mean less than it says; none where the key is absent.
    pub fn named(&self, key: &str, table: Section) -> Result<Vec<Grant>, PolicyError> {
        if get(table, key).is_none() {
            return Ok(vec![]);
        }
        let nodes = self.array(
            table,
            key,
            "an array of paths, for example [\"$WORKSPACE/Makefile\"]",
        )?;
        let grants = nodes.iter().map(|node| {
            let grant = self.grant(node, key)?;
            self.path(node, &grant.path, key)?;
            Ok(grant)
        });
        grants.collect()
    }

    fn grant(&self, value: &Node, key: &str) -> Result<Grant, PolicyError> {
        let (path, absent) = match &value.value {
            Value::Table(table) => {
                self.check_keys(table, &GRANT)?;
                let path = table.get("path").ok_or_else(|| PolicyError::MissingKey {
                    at: self.place_of(value),
                    key: format!("{key}: path"),
                })?;
                (path, self.absent(table)?)
            }
            _ => (value, Absent::Refuse),
        };
        let text = self.string(path, key, "a path, or { path = \"/usr\", optional = true }")?;
        Ok(Grant {
            path: self.sound(path, text, key, path_fault(text))?.to_owned(),
            absent,
            origin: self.origin(path),
        })
    }

    /// `text`, which stands at `node`, where it is the path of one thing.
    pub fn path<'t>(&self, node: &Node, text: &'t str, key: &str) -> Result<&'t str, PolicyError> {
        let pattern = glob::is_pattern(text).then_some(PathFault::Glob);
        self.sound(node, text, key, path_fault(text).or(pattern))
    }

    fn sound<'t>(
        &self,
        node: &Node,
        text: &'t str,
        key: &str,
        fault: Option<PathFault>,
    ) -> Result<&'t str, PolicyError> {
        match fault {
            Some(fault) => Err(PolicyError::BadPath {
                at: self.place_of(node),
                key: key.to_owned().into(),
                path: text.to_owned(),
                fault,
            }),
            None => Ok(text),
        }
    }

    fn absent(&self, table: &Table) -> Result<Absent, PolicyError> {
        match table.get("optional") {
            None => Ok(Absent::Refuse),
            Some(value) => match &value.value {
                Value::Bool(true) => Ok(Absent::Skip),
                Value::Bool(false) => Ok(Absent::Refuse),
                _ => Err(self.wrong_type(value, "optional", "true or false")),
            },
        }
    }
}

/// Why a path cannot be granted, if it cannot.
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
        // `$WORKSPACES`: another variable.
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
            let shown = &good(&text).filesystem.deny[0].path;
            assert_eq!(
                *shown,
                path.replace("//", "/").trim_end_matches('/').to_owned()
                    + if path == "/" { "/" } else { "" }
            );
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
            match parse("p", &format!("filesystem.read = [\"{path}\"]"), &base()) {
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
            2:14: path '$WORKSPACE/*' in 'filesystem.unprotect' is a pattern, which cannot stand here; write the paths out, and '[*]' for a star",
        );
    }
}
