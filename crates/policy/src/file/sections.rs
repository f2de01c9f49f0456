//! Forms of `[environment]`, of the workspace's mode and of `allow_degraded`: words and names.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::form::{Form, defined};
use super::plain::{Any, Word};
use super::walk::At;
use crate::degradable::Degradable;
use crate::error::PolicyError;
use crate::fault::NameFault;
use crate::grant::WorkspaceMode;
use crate::origin::{Origin, Sourced};
use crate::printer::quoted;

/// The workspace's mode.
pub struct Workspace;

impl Form for Workspace {
    type Value = Sourced<WorkspaceMode>;
    const RANK: u8 = 0;

    fn read(at: At) -> Result<Sourced<WorkspaceMode>, PolicyError> {
        at.string("\"none\", \"ro\", \"overlay\" or \"rw\"")?;
        Word::read(at)
    }

    fn schema() -> Json {
        Word::<WorkspaceMode>::schema()
    }

    fn text(mode: &Sourced<WorkspaceMode>) -> String {
        Word::text(mode)
    }
}

/// Variables with their values.
pub struct Set;

impl Form for Set {
    type Value = BTreeMap<String, Sourced<String>>;

    fn read(at: At) -> Result<Self::Value, PolicyError> {
        let variables = at.table("a table, for example { LANG = \"C.UTF-8\" }")?;
        let mut set = BTreeMap::new();
        for (key, node) in variables.entries() {
            let name = &key.name;
            check_name(at, key.span.start, name)?;
            let (at, key) = (at.of(node), format!("{}.{name}", at.key));
            let value = Any::read(At { key: &key, ..at })?;
            if value.value.contains('\0') {
                let (at, name) = (at.place(), name.clone());
                return Err(PolicyError::NulInValue { at, name });
            }
            set.insert(name.clone(), value);
        }
        Ok(set)
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": defined("variable"),
            "additionalProperties": { "type": "string" },
        })
    }

    /// In one line: inline tables cannot span lines before TOML 1.1.
    fn text(set: &Self::Value) -> String {
        let pair = |(name, value)| format!("{name} = {}", Any::text(value));
        let pairs: Vec<String> = set.iter().map(pair).collect();
        match pairs.is_empty() {
            true => "{}".into(),
            false => format!("{{ {} }}", pairs.join(", ")),
        }
    }

    fn over(own: Self::Value, mut base: Self::Value) -> Self::Value {
        base.extend(own);
        base
    }
}

/// The name of a variable.
pub struct Variable;

impl Form for Variable {
    type Value = Sourced<String>;
    const LISTED: &'static str = "an array of names, for example [\"TERM\"]";

    fn read(at: At) -> Result<Sourced<String>, PolicyError> {
        let name = at.string("each name as a string, for example \"TERM\"")?;
        check_name(at, at.node.span.start, name)?;
        Ok(at.sourced(name.to_owned()))
    }

    fn schema() -> Json {
        defined("variable")
    }

    fn text(name: &Sourced<String>) -> String {
        Any::text(name)
    }
}

/// Layers of the jail that are allowed to be missing.
pub struct Degraded;

impl Form for Degraded {
    type Value = BTreeMap<Degradable, Origin>;

    fn read(at: At) -> Result<Self::Value, PolicyError> {
        let mut allowed = BTreeMap::new();
        for at in at.elements("an array of layers, for example [\"cgroup\"]")? {
            at.string("each layer as a string, for example \"cgroup\"")?;
            let Sourced { value, origin } = Word::read(at)?;
            allowed.entry(value).or_insert(origin);
        }
        Ok(allowed)
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": Word::<Degradable>::schema() })
    }

    fn text(allowed: &Self::Value) -> String {
        let words: Vec<String> = allowed.keys().map(|word| quoted(word.name())).collect();
        format!("[{}]", words.join(", "))
    }

    fn over(mut own: Self::Value, base: Self::Value) -> Self::Value {
        for (word, origin) in base {
            own.entry(word).or_insert(origin);
        }
        own
    }
}

fn check_name(at: At, start: usize, text: &str) -> Result<(), PolicyError> {
    let fault = match text {
        _ if !is_variable_name(text) => NameFault::Malformed,
        _ if is_reserved(text) => NameFault::Reserved,
        _ => return Ok(()),
    };
    Err(PolicyError::BadName {
        at: at.file.text.place(start),
        name: text.to_owned(),
        fault,
    })
}

/// Whether creel itself sets the variable.
pub fn is_reserved(name: &str) -> bool {
    name == "CREEL" || name.starts_with("CREEL_")
}

/// Whether a text is the name of an environment variable: letters, digits and `_`, no digit first.
pub fn is_variable_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::tests::{base, good, refused};
    use super::*;

    #[test]
    fn environments() {
        for name in ["A", "_", "a9_B", "CREELS", "creel"] {
            good(&format!(
                "environment.set = {{ {name} = '' }}\nenvironment.pass = ['{name}']"
            ));
        }
        for name in [
            "", "9A", "A-B", "A=B", "A B", "Ä", "A\\u0000", "A.B", "CREEL", "CREEL_ID",
        ] {
            for text in [
                format!("environment.set = {{ \"{name}\" = '' }}"),
                format!("environment.pass = [\"{name}\"]"),
            ] {
                match parse("p", &text, &base(), &crate::Roots::symbolic()) {
                    Err(PolicyError::BadName { fault, .. }) => {
                        assert_eq!(fault == NameFault::Reserved, name.starts_with("CREEL"));
                    }
                    other => panic!("{text}: {other:?}"),
                }
            }
        }
        refused(
            r#"
            [environment.set]|A = "x\u0000"
            2:5: the value of 'A' contains a NUL byte, which no variable can contain; remove it
            [environment]|pass = ['TERM', 'CREEL_ID']
            2:17: variable name 'CREEL_ID' is reserved: creel sets CREEL and CREEL_* itself; leave it out
            "#,
        );
    }

    #[test]
    fn words() {
        refused(
            r#"
            [filesystem]|workspace = 'rx'
            2:13: 'filesystem.workspace' does not have the value 'rx'; known: none, ro, overlay, rw
            [filesystem]|workspace = 'row'
            2:13: 'filesystem.workspace' does not have the value 'row'; known: none, ro, overlay, rw
            allow_degraded = ['seccomp']
            1:19: 'allow_degraded' does not have the value 'seccomp'; known: cgroup, landlock, idmap
            allow_degraded = ['cgroups']
            1:19: 'allow_degraded' does not have the value 'cgroups'; did you mean 'cgroup'?
            "#,
        );
    }
}
