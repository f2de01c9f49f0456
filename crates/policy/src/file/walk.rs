//! Taking a tree apart: sections, arrays, strings, and what to say where the type is another.

use super::keys::Keys;
use crate::error::{Place, PolicyError};
use crate::tree::{Format, Node, Table, Text, Value};
use crate::{Origin, Sourced};

/// A section's table; none where the file does not have it.
pub type Section<'t> = Option<&'t Table>;

/// The file that is walked: what its places are taken from.
pub struct File<'a> {
    pub text: &'a Text<'a>,
    pub format: Format,
}

impl File<'_> {
    pub fn section<'t>(&self, top: &'t Table, keys: &Keys) -> Result<Section<'t>, PolicyError> {
        let Some(value) = top.get(keys.section) else {
            return Ok(None);
        };
        match &value.value {
            Value::Table(table) => {
                self.check_keys(table, keys)?;
                Ok(Some(table))
            }
            _ => {
                let expected = match self.format {
                    Format::Toml => "a section: its name in single brackets",
                    Format::Yaml | Format::Json5 => "a table: its keys with their values",
                };
                Err(self.wrong_type(value, keys.section, expected))
            }
        }
    }

    /// The elements under `key`; none where there is no such key.
    pub fn array<'t>(
        &self,
        table: Section<'t>,
        key: &str,
        expected: &'static str,
    ) -> Result<&'t [Node], PolicyError> {
        match get(table, key).map(|node| (node, &node.value)) {
            None => Ok(&[]),
            Some((_, Value::Array(array))) => Ok(array),
            Some((value, _)) => Err(self.wrong_type(value, key, expected)),
        }
    }

    pub fn string<'t>(
        &self,
        value: &'t Node,
        key: &str,
        expected: &'static str,
    ) -> Result<&'t str, PolicyError> {
        value
            .as_str()
            .ok_or_else(|| self.wrong_type(value, key, expected))
    }

    /// `expected` has its examples in TOML; they are shown in the file's own format.
    pub fn wrong_type(&self, value: &Node, key: &str, expected: &'static str) -> PolicyError {
        PolicyError::WrongType {
            at: self.place_of(value),
            key: key.to_owned(),
            found: value.kind(),
            expected: match self.format {
                Format::Toml => expected.to_owned(),
                Format::Yaml | Format::Json5 => expected.replace(" = ", ": "),
            },
        }
    }

    pub fn sourced<T>(&self, value: &Node, inner: T) -> Sourced<T> {
        Sourced {
            value: inner,
            origin: self.origin(value),
        }
    }

    pub fn origin(&self, value: &Node) -> Origin {
        self.text.origin(value.span.start)
    }

    pub fn place_of(&self, value: &Node) -> Place {
        self.text.place(value.span.start)
    }
}

/// The value of the last part of a dotted key.
pub fn get<'t>(table: Section<'t>, key: &str) -> Option<&'t Node> {
    let name = key.rsplit('.').next().unwrap_or(key);
    table?.get(name)
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
            2:13: 'filesystem.workspace' is a boolean; write "none", "ro" or "rw"
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
