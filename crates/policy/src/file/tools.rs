//! `[tools]`, `[process]`, `[session]` and `[tests]`: which tools there are, what binds each, what
//! processes may do to each other, and cases to check.

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use super::walk::{File, Section, get};
use crate::Sourced;
use crate::error::{PolicyError, Remedy};
use crate::layer::{
    Arguments, Ask, Case, Cases, Command, Language, Mode, Process, Scope, Security, Session,
    Settings, Target, Tools,
};
use crate::tools::{Pattern, PatternFault, Profile, Tool};
use crate::tree::{Node, Table, Value};

impl File<'_> {
    pub fn tools(&self, top: &Table) -> Result<Tools, PolicyError> {
        let section = self.section(top, &keys::TOOLS)?;
        let mut each = BTreeMap::new();
        for tool in Tool::ALL {
            if let Some(node) = get(section, tool.name()) {
                each.insert(tool, self.settings(tool, node)?);
            }
        }
        let profiles = Profile::ALL.map(Profile::name);
        Ok(Tools {
            profile: self.word(section, "tools.profile", &profiles, Profile::parse)?,
            allow: self.allowed_tools(section)?,
            deny: self.patterns(section, "tools.deny")?,
            elevated: self.boolean(section, "tools.elevated")?,
            max_iterations: self.count(section, "tools.max_iterations")?,
            each,
        })
    }

    fn allowed_tools(
        &self,
        section: Section,
    ) -> Result<Option<Sourced<Vec<Pattern>>>, PolicyError> {
        const KEY: &str = "tools.allow";
        let Some(node) = get(section, KEY) else {
            return Ok(None);
        };
        let patterns = self.patterns(section, KEY)?;
        let patterns = patterns.into_iter().map(|pattern| pattern.value).collect();
        Ok(Some(self.sourced(node, patterns)))
    }

    fn patterns(&self, section: Section, key: &str) -> Result<Vec<Sourced<Pattern>>, PolicyError> {
        let mut patterns = vec![];
        for node in self.array(
            section,
            key,
            "an array of tools, for example [\"group:fs\"]",
        )? {
            let text = self.string(node, key, "each tool as a string, for example \"exec\"")?;
            let fault = |fault: PatternFault| PolicyError::BadPattern {
                at: self.place_of(node),
                key: key.to_owned(),
                text: text.to_owned(),
                fault,
            };
            for pattern in Pattern::parse(text).map_err(fault)? {
                patterns.push(self.sourced(node, pattern));
            }
        }
        Ok(patterns)
    }

    fn settings(&self, tool: Tool, node: &Node) -> Result<Settings, PolicyError> {
        let name = tool.name();
        let key = |key: &str| format!("tools.{name}.{key}");
        let Value::Table(table) = &node.value else {
            let example = "a table, for example { enabled = true }";
            return Err(self.wrong_type(node, &format!("tools.{name}"), example));
        };
        self.check_keys(table, keys::of_tool(tool))?;
        let section = Some(table);
        let grants = |name: &str| self.listed(section, &key(name));
        Ok(Settings {
            enabled: self.boolean(section, &key("enabled"))?,
            elevated: self.boolean(section, &key("elevated"))?,
            security: self.word(section, &key("security"), Security::WORDS, Security::parse)?,
            ask: self.word(section, &key("ask"), Ask::WORDS, Ask::parse)?,
            allowed_paths: grants("allowed_paths")?,
            denied_paths: grants("denied_paths")?.unwrap_or_default(),
            commands: self.commands(section, &key("commands"))?,
            languages: self.words(section, &key("languages"), Language::WORDS, Language::parse)?,
            timeout: self.span(section, &key("timeout"))?,
            rate: self.count(section, &key("rate"))?,
            max_iterations: self.count(section, &key("max_iterations"))?,
            channels: self.strings(section, &key("channels"))?,
            target: self.word(section, &key("target"), Target::WORDS, Target::parse)?,
        })
    }

    /// `commands = ["git", { command = "cargo", args = ["test ...", "build"] }]`
    fn commands(&self, section: Section, key: &str) -> Result<Option<Vec<Command>>, PolicyError> {
        if get(section, key).is_none() {
            return Ok(None);
        }
        let mut commands = vec![];
        for node in self.array(section, key, "an array of commands, for example [\"git\"]")? {
            let (program, args) = match &node.value {
                Value::Table(table) => {
                    self.check_keys(table, &keys::COMMAND)?;
                    let program = table
                        .get("command")
                        .ok_or_else(|| PolicyError::MissingKey {
                            at: self.place_of(node),
                            key: format!("{key}: command"),
                        })?;
                    (program, self.arguments(table, key)?)
                }
                _ => (node, BTreeSet::new()),
            };
            commands.push(Command {
                program: self.program(program, key)?,
                args,
                origin: self.origin(program),
            });
        }
        Ok(Some(commands))
    }

    fn arguments(&self, table: &Table, key: &str) -> Result<BTreeSet<Arguments>, PolicyError> {
        let key = format!("{key}.args");
        let example = "an array of patterns, for example [\"status\", \"diff ...\"]";
        let mut all = BTreeSet::new();
        for node in self.array(Some(table), &key, example)? {
            let text = self.string(
                node,
                &key,
                "each pattern as a string, for example \"diff ...\"",
            )?;
            all.insert(Arguments::parse(text));
        }
        match table.get("args") {
            // No alternative would match, and no list at all means any arguments.
            Some(node) if all.is_empty() => Err(PolicyError::EmptyList {
                at: self.place_of(node),
                key,
                remedy: "leave it out for any arguments, or write [\"\"] for none",
            }),
            _ => Ok(all),
        }
    }

    /// A bare name or a path.
    fn program(&self, node: &Node, key: &str) -> Result<String, PolicyError> {
        let text = self.string(
            node,
            key,
            "a command, or { command = \"git\", args = [\"status\"] }",
        )?;
        if text.contains('/') || text.starts_with(['~', '$']) {
            return self.path(node, text, key).map(str::to_owned);
        }
        if text.is_empty()
            || text == "."
            || text == ".."
            || text.contains(['*', '?', '[', '\0', ' '])
        {
            return Err(PolicyError::BadProgram {
                at: self.place_of(node),
                key: key.to_owned(),
                text: text.to_owned(),
            });
        }
        Ok(text.to_owned())
    }

    pub fn extends(&self, top: &Table) -> Result<Vec<Sourced<String>>, PolicyError> {
        const KEY: &str = "extends";
        let Some(node) = top.get(KEY) else {
            return Ok(vec![]);
        };
        let one = std::slice::from_ref(node);
        let nodes = match &node.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => one,
        };
        let names = nodes.iter().map(|node| {
            let name = self.string(node, KEY, "a policy's name or file, for example \"coding\"")?;
            Ok(self.sourced(node, name.to_owned()))
        });
        names.collect()
    }

    pub fn process(&self, top: &Table) -> Result<Process, PolicyError> {
        let section = self.section(top, &keys::PROCESS)?;
        Ok(Process {
            debug: self.boolean(section, "process.debug")?,
        })
    }

    pub fn session(&self, top: &Table) -> Result<Session, PolicyError> {
        let section = self.section(top, &keys::SESSION)?;
        Ok(Session {
            mode: self.word(section, "session.mode", Mode::WORDS, Mode::parse)?,
            scope: self.word(section, "session.scope", Scope::WORDS, Scope::parse)?,
        })
    }

    pub fn tests(&self, top: &Table) -> Result<Cases, PolicyError> {
        let section = self.section(top, &keys::TESTS)?;
        Ok(Cases {
            allow: self.cases(section, "tests.allow")?,
            deny: self.cases(section, "tests.deny")?,
        })
    }

    fn cases(&self, section: Section, key: &str) -> Result<Vec<Sourced<Case>>, PolicyError> {
        let mut cases = vec![];
        for node in self.array(
            section,
            key,
            "an array of cases, for example [\"read src/main.rs\"]",
        )? {
            let text = self.string(
                node,
                key,
                "each case as a string, for example \"exec git status\"",
            )?;
            let mut words = text.split_ascii_whitespace();
            let first = words.next().ok_or_else(|| PolicyError::BadPattern {
                at: self.place_of(node),
                key: key.to_owned(),
                text: text.to_owned(),
                fault: PatternFault::Empty,
            })?;
            let tool = Tool::named(first).ok_or_else(|| PolicyError::UnknownWord {
                at: self.place_of(node),
                key: key.to_owned().into(),
                word: first.to_owned(),
                remedy: Remedy::among(first, &Tool::ALL.map(Tool::name)),
            })?;
            let words = words.map(str::to_owned).collect();
            cases.push(self.sourced(node, Case { tool, words }));
        }
        Ok(cases)
    }
}

/// Single values.
impl File<'_> {
    pub fn word<T>(
        &self,
        section: Section,
        key: &str,
        known: &[&'static str],
        parse: fn(&str) -> Option<T>,
    ) -> Result<Option<Sourced<T>>, PolicyError> {
        let Some(node) = get(section, key) else {
            return Ok(None);
        };
        self.one_word(node, key, known, parse).map(Some)
    }

    fn words<T>(
        &self,
        section: Section,
        key: &str,
        known: &[&'static str],
        parse: fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<Sourced<T>>>, PolicyError> {
        if get(section, key).is_none() {
            return Ok(None);
        }
        let nodes = self.array(section, key, "an array of words")?;
        let words = nodes
            .iter()
            .map(|node| self.one_word(node, key, known, parse));
        words.collect::<Result<_, _>>().map(Some)
    }

    fn one_word<T>(
        &self,
        node: &Node,
        key: &str,
        known: &[&'static str],
        parse: fn(&str) -> Option<T>,
    ) -> Result<Sourced<T>, PolicyError> {
        let word = self.string(node, key, "a word in quotes")?;
        match parse(word) {
            Some(value) => Ok(self.sourced(node, value)),
            None => Err(PolicyError::UnknownWord {
                at: self.place_of(node),
                key: key.to_owned().into(),
                word: word.to_owned(),
                remedy: Remedy::among(word, known),
            }),
        }
    }

    fn strings(
        &self,
        section: Section,
        key: &str,
    ) -> Result<Option<Vec<Sourced<String>>>, PolicyError> {
        if get(section, key).is_none() {
            return Ok(None);
        }
        let nodes = self.array(section, key, "an array of strings")?;
        let strings = nodes.iter().map(|node| {
            let text = self.string(node, key, "a string")?;
            Ok(self.sourced(node, text.to_owned()))
        });
        strings.collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn boolean(
        &self,
        section: Section,
        key: &str,
    ) -> Result<Option<Sourced<bool>>, PolicyError> {
        match get(section, key) {
            None => Ok(None),
            Some(node) => match node.value {
                Value::Bool(value) => Ok(Some(self.sourced(node, value))),
                _ => Err(self.wrong_type(node, key, "true or false")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::tests::refused;
    use super::*;

    #[test]
    fn commands_have_arguments() {
        let text = "tools.exec.commands = ['ls', { command = 'git', args = ['status', ''] }]";
        let layer = read("p", text).unwrap();
        let commands = layer.tools.each[&Tool::Exec].commands.as_ref().unwrap();
        assert!(commands[0].args.is_empty());
        let args = ["status", ""].map(Arguments::parse);
        assert_eq!(commands[1].args, BTreeSet::from(args));
        refused(
            r#"
            tools.exec.commands = [{ command = 'git', args = [] }]
            1:50: 'tools.exec.commands.args' is an empty list; leave it out for any arguments, or write [""] for none
            tools.exec.commands = [{ command = 'git', args = 'status' }]
            1:50: 'tools.exec.commands.args' is a string; write an array of patterns, for example ["status", "diff ..."]
            "#,
        );
    }
}
