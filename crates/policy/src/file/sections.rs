//! The sections but `[limits]`, and `allow_degraded`: words and names.

use std::collections::BTreeMap;
use std::ops::Range;

use super::walk::{File, Section, get};
use crate::error::{NameFault, PolicyError, Remedy};
use crate::layer::{Files, Variables};
use crate::tree::{Table, Value};
use crate::{Degradable, Origin, Sourced, WorkspaceMode};

impl File<'_> {
    pub fn filesystem(&self, table: Section) -> Result<Files, PolicyError> {
        let list = |key: &'static str| self.listed(table, key);
        Ok(Files {
            read: list("filesystem.read")?,
            write: list("filesystem.write")?,
            load: list("filesystem.load")?,
            exec: list("filesystem.exec")?,
            deny: list("filesystem.deny")?.unwrap_or_default(),
            protect: list("filesystem.protect")?.unwrap_or_default(),
            unprotect: self.named("filesystem.unprotect", table)?,
            workspace: self.workspace(table)?,
            ..Files::default()
        })
    }

    fn workspace(&self, table: Section) -> Result<Option<Sourced<WorkspaceMode>>, PolicyError> {
        const KEY: &str = "filesystem.workspace";
        let Some(value) = get(table, KEY) else {
            return Ok(None);
        };
        let word = self.string(value, KEY, "\"none\", \"ro\" or \"rw\"")?;
        if let Some(mode) = WorkspaceMode::parse(word) {
            return Ok(Some(self.sourced(value, mode)));
        }
        let (at, word) = (self.place_of(value), word.to_owned());
        let names = WorkspaceMode::ALL.map(WorkspaceMode::name);
        Err(match word.as_str() {
            "overlay" => PolicyError::Later {
                at,
                key: KEY.into(),
                word,
                remedy: Remedy::Known(names.to_vec()),
            },
            _ => PolicyError::UnknownWord {
                at,
                key: KEY.into(),
                remedy: Remedy::among(&word, &names),
                word,
            },
        })
    }

    pub fn environment(&self, table: Section) -> Result<Variables, PolicyError> {
        Ok(Variables {
            set: self.variables(table)?,
            pass: self.passed(table)?,
            git_identity: self.boolean(table, "environment.git_identity")?,
        })
    }

    fn variables(
        &self,
        table: Section,
    ) -> Result<Option<BTreeMap<String, Sourced<String>>>, PolicyError> {
        const KEY: &str = "environment.set";
        let mut set = BTreeMap::new();
        let Some(value) = get(table, KEY) else {
            return Ok(None);
        };
        let Value::Table(variables) = &value.value else {
            return Err(self.wrong_type(value, KEY, "a table, for example { LANG = \"C.UTF-8\" }"));
        };
        for (key, value) in variables.entries() {
            let name = &key.name;
            self.check_name(name, &key.span)?;
            let text = self.string(value, &format!("{KEY}.{name}"), "a string")?;
            if text.contains('\0') {
                return Err(PolicyError::NulInValue {
                    at: self.place_of(value),
                    name: name.clone(),
                });
            }
            set.insert(name.clone(), self.sourced(value, text.to_owned()));
        }
        Ok(Some(set))
    }

    fn passed(&self, table: Section) -> Result<Option<Vec<Sourced<String>>>, PolicyError> {
        const KEY: &str = "environment.pass";
        if get(table, KEY).is_none() {
            return Ok(None);
        }
        let mut pass = Vec::new();
        for value in self.array(table, KEY, "an array of names, for example [\"TERM\"]")? {
            let name = self.string(value, KEY, "each name as a string, for example \"TERM\"")?;
            self.check_name(name, &value.span)?;
            pass.push(self.sourced(value, name.to_owned()));
        }
        Ok(Some(pass))
    }

    pub fn allow_degraded(
        &self,
        top: &Table,
    ) -> Result<Option<BTreeMap<Degradable, Origin>>, PolicyError> {
        const KEY: &str = "allow_degraded";
        if top.get(KEY).is_none() {
            return Ok(None);
        }
        let mut allowed = BTreeMap::new();
        let expected = "an array of layers, for example [\"cgroup\"]";
        for value in self.array(Some(top), KEY, expected)? {
            let word = self.string(value, KEY, "each layer as a string, for example \"cgroup\"")?;
            let layer = Degradable::ALL.into_iter().find(|d| d.name() == word);
            let layer = layer.ok_or_else(|| PolicyError::UnknownWord {
                at: self.place_of(value),
                key: KEY.into(),
                word: word.to_owned(),
                remedy: Remedy::among(word, &Degradable::ALL.map(Degradable::name)),
            })?;
            allowed.entry(layer).or_insert_with(|| self.origin(value));
        }
        Ok(Some(allowed))
    }

    fn check_name(&self, text: &str, span: &Range<usize>) -> Result<(), PolicyError> {
        let fault = if !is_variable_name(text) {
            NameFault::Malformed
        } else if text == "CREEL" || text.starts_with("CREEL_") {
            NameFault::Reserved
        } else {
            return Ok(());
        };
        Err(PolicyError::BadName {
            at: self.text.place(span.start),
            name: text.to_owned(),
            fault,
        })
    }
}

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
                match parse("p", &text, &base()) {
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
            2:5: the value of 'A' holds a NUL byte, which no environment carries; take it out
            [environment]|pass = ['TERM', 'CREEL_ID']
            2:17: variable name 'CREEL_ID' is reserved: creel sets CREEL and CREEL_* itself; leave it out
            "#,
        );
    }

    #[test]
    fn words() {
        refused(
            r#"
            [filesystem]|workspace = 'overlay'
            2:13: 'filesystem.workspace' cannot be 'overlay' yet: other modes come with a later version; known: none, ro, rw
            [filesystem]|workspace = 'rx'
            2:13: 'filesystem.workspace' has no 'rx'; known: none, ro, rw
            [filesystem]|workspace = 'row'
            2:13: 'filesystem.workspace' has no 'row'; known: none, ro, rw
            allow_degraded = ['seccomp']
            1:19: 'allow_degraded' has no 'seccomp'; known: cgroup, landlock, idmap
            allow_degraded = ['cgroups']
            1:19: 'allow_degraded' has no 'cgroups'; did you mean 'cgroup'?
            "#,
        );
    }
}
