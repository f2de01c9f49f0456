//! Access to a tree's values: a value with its key and its place, and the error if its type is wrong.

use super::keys::Keys;
use crate::error::PolicyError;
use crate::fault::Remedy;
use crate::origin::{Origin, Sourced};
use crate::place::Place;
use crate::tree::{Format, Node, Table, Text, Value};

/// The file that is read, for the places of its values.
pub struct File<'a> {
    pub text: &'a Text<'a>,
    pub format: Format,
    /// The correct place of a misplaced key.
    pub elsewhere: fn(&str, Format) -> Option<Remedy>,
}

impl File<'_> {
    /// An error for the first unknown key in the file. `place` continues the sentence after its name.
    pub fn check_keys(
        &self,
        table: &Table,
        place: &'static str,
        known: &[&'static str],
    ) -> Result<(), PolicyError> {
        let unknown = table.keys().find(|key| !known.contains(&key.name.as_str()));
        match unknown {
            None => Ok(()),
            Some(key) => Err(PolicyError::UnknownKey {
                at: self.text.place(key.span.start),
                key: key.name.clone(),
                section: place,
                remedy: (self.elsewhere)(&key.name, self.format)
                    .unwrap_or_else(|| Remedy::among(&key.name, known)),
            }),
        }
    }
}

/// A value under its key.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub file: &'a File<'a>,
    pub node: &'a Node,
    /// The key as messages show it: `filesystem.read`.
    pub key: &'a str,
}

impl<'a> At<'a> {
    /// Another value under the same key.
    pub fn of(self, node: &'a Node) -> At<'a> {
        At { node, ..self }
    }

    /// The value of a key of `table`; messages show that key alone.
    pub fn inner(self, table: &'a Table, key: &'a str) -> Option<At<'a>> {
        table.get(key).map(|node| At { node, key, ..self })
    }

    /// The value of a required key of this table.
    pub fn need(self, table: &'a Table, key: &str) -> Result<At<'a>, PolicyError> {
        let missing = || PolicyError::MissingKey {
            at: self.place(),
            key: format!("{}: {key}", self.key),
        };
        table.get(key).map(|node| self.of(node)).ok_or_else(missing)
    }

    pub fn elements(
        self,
        expected: &'static str,
    ) -> Result<impl Iterator<Item = At<'a>>, PolicyError> {
        match &self.node.value {
            Value::Array(nodes) => Ok(nodes.iter().map(move |node| self.of(node))),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// The elements of an array, or the single value.
    pub fn one_or_more(self) -> impl Iterator<Item = At<'a>> {
        let nodes = match &self.node.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(self.node),
        };
        nodes.iter().map(move |node| self.of(node))
    }

    pub fn table(self, expected: &'static str) -> Result<&'a Table, PolicyError> {
        match &self.node.value {
            Value::Table(table) => Ok(table),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// The table, if the value is one; its keys must be among `keys`.
    pub fn keyed(self, keys: &Keys) -> Result<Option<&'a Table>, PolicyError> {
        let Value::Table(table) = &self.node.value else {
            return Ok(None);
        };
        let known = keys.known();
        self.file.check_keys(table, keys.place, &known)?;
        Ok(Some(table))
    }

    pub fn string(self, expected: &'static str) -> Result<&'a str, PolicyError> {
        self.node.as_str().ok_or_else(|| self.wrong_type(expected))
    }

    /// `expected` has examples in TOML; they are converted to the file's own format.
    pub fn wrong_type(self, expected: &'static str) -> PolicyError {
        PolicyError::WrongType {
            at: self.place(),
            key: self.key.to_owned(),
            found: self.node.kind(),
            expected: match self.file.format {
                Format::Toml => expected.to_owned(),
                Format::Yaml | Format::Json5 => expected.replace(" = ", ": "),
            },
        }
    }

    /// The error for an empty list, which would match nothing, while an absent list means any.
    pub fn empty_list(self, remedy: &'static str) -> PolicyError {
        PolicyError::EmptyList {
            at: self.place(),
            key: self.key.to_owned(),
            remedy,
        }
    }

    pub fn sourced<T>(self, value: T) -> Sourced<T> {
        Sourced::new(value, self.origin())
    }

    pub fn origin(self) -> Origin {
        self.file.text.origin(self.node.span.start)
    }

    pub fn place(self) -> Place {
        self.file.text.place(self.node.span.start)
    }
}
#[cfg(test)]
mod tests {
    use super::super::tests::refused;

    #[test]
    fn wrong_types() {
        refused(
            r#"
            filesystem = '/usr'
            1:14: 'filesystem' is a string; write a section: its name in single brackets
            [[limits]]|pids = 1
            1:1: 'limits' is an array; write a section: its name in single brackets
            [filesystem]|read = '/usr'
            2:8: 'filesystem.read' is a string; write an array of paths, for example ["/usr"]
            [filesystem]|read = ['/usr', 3.5]
            2:17: 'filesystem.read' is a float; write a path, or { path = "/usr", optional = true }
            [filesystem]|read = [{ optional = true }]
            2:9: 'filesystem.read: path' is missing; add it
            [filesystem]|read = [{ path = '/a', optional = 'yes' }]
            2:35: 'optional' is a string; write true or false
            [filesystem]|workspace = true
            2:13: 'filesystem.workspace' is a boolean; write "none", "ro", "overlay" or "rw"
            allow_degraded = 'cgroup'
            1:18: 'allow_degraded' is a string; write an array of layers, for example ["cgroup"]
            [environment]|set = ['A=1']
            2:7: 'environment.set' is an array; write a table, for example { LANG = "C.UTF-8" }
            [environment.set]|A = 1
            2:5: 'environment.set.A' is an integer; write a string
            [environment]|pass = [1979-05-27]
            2:9: 'environment.pass' is a date; write each name as a string, for example "TERM"
            [limits]|memory = 2
            2:10: 'limits.memory' is an integer; write a size in quotes, for example "2GiB"
            [limits]|pids = '512'
            2:8: 'limits.pids' is a string; write a whole number without quotes, for example 512
            [limits]|pids = 5.0
            2:8: 'limits.pids' is a float; write a whole number without quotes, for example 512
            [limits]|timeout = 30
            2:11: 'limits.timeout' is an integer; write a time in quotes, for example "1h"
            [limits]|cpus = true
            2:8: 'limits.cpus' is a boolean; write a number of processors, for example 0.5
            "#,
        );
    }
}
