//! Forms of tools: their names, the constraints on each, and test cases.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::form::{Form, List, Section, defined, object};
use super::grants::plain;
use super::keys;
use super::plain::Any;
use super::walk::{At, File};
use crate::command::{Arguments, Case, Command};
use crate::error::PolicyError;
use crate::fault::Remedy;
use crate::origin::Sourced;
use crate::printer::{Printer, quoted};
use crate::tools::{Pattern, PatternFault, Tool};
use crate::tree::Table;

/// Tools by name, pattern or group; a group expands to several patterns.
pub struct Patterns;

impl Form for Patterns {
    type Value = Vec<Sourced<Pattern>>;

    fn read(at: At) -> Result<Self::Value, PolicyError> {
        let mut patterns = vec![];
        for at in at.elements("an array of tools, for example [\"group:fs\"]")? {
            let text = at.string("each tool as a string, for example \"exec\"")?;
            let all = Pattern::parse(text).map_err(|fault| bad_pattern(at, text, fault))?;
            patterns.extend(all.into_iter().map(|pattern| at.sourced(pattern)));
        }
        Ok(patterns)
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": defined("tool") })
    }

    fn print(patterns: &Self::Value, key: &str, out: &mut Printer) {
        let text = |p: &Sourced<Pattern>| quoted(p.value.text());
        out.list(key, patterns.iter().map(|p| (text(p), Some(&p.origin))));
    }

    fn over(own: Self::Value, mut base: Self::Value) -> Self::Value {
        base.extend(own);
        base
    }
}

/// The same as one list, which has its own place.
pub struct ToolList;

impl Form for ToolList {
    type Value = Sourced<Vec<Pattern>>;

    fn read(at: At) -> Result<Self::Value, PolicyError> {
        let patterns = Patterns::read(at)?.into_iter();
        Ok(at.sourced(patterns.map(|pattern| pattern.value).collect()))
    }

    fn schema() -> Json {
        Patterns::schema()
    }

    fn print(list: &Self::Value, key: &str, out: &mut Printer) {
        out.list(key, list.value.iter().map(|p| (quoted(p.text()), None)));
    }

    fn over(own: Self::Value, mut base: Self::Value) -> Self::Value {
        base.value.extend(own.value);
        Sourced::new(base.value, own.origin)
    }
}

fn bad_pattern(at: At, text: &str, fault: PatternFault) -> PolicyError {
    PolicyError::BadPattern {
        at: at.place(),
        key: at.key.to_owned(),
        text: text.to_owned(),
        fault,
    }
}

/// The settings of each tool, under its name; the tool determines which keys it has.
pub fn each<S: Section>(file: &File, of: &Table) -> Result<BTreeMap<Tool, S>, PolicyError> {
    let mut each = BTreeMap::new();
    for tool in Tool::ALL {
        if let Some(node) = of.get(tool.name()) {
            let key = format!("tools.{}", tool.name());
            let at = At {
                file,
                node,
                key: &key,
            };
            let table = at.table("a table, for example { enabled = true }")?;
            at.keyed(keys::of_tool(tool))?;
            each.insert(tool, S::read(file, table, &key, &mut Err)?);
        }
    }
    Ok(each)
}

/// The schemas of these settings.
pub fn properties<S: Section>() -> Map<String, Json> {
    let of = |tool: Tool| {
        let known = keys::of_tool(tool).known();
        let all = S::properties().into_iter();
        object(
            all.filter(|(key, _)| known.contains(&key.as_str()))
                .collect(),
        )
    };
    let all = Tool::ALL.into_iter();
    all.map(|tool| (tool.name().to_owned(), of(tool))).collect()
}

/// `"git"`, or `{ command = "cargo", args = ["test ...", "build"] }`.
pub struct Program;

impl Form for Program {
    type Value = Command;
    const LISTED: &'static str = "an array of commands, for example [\"git\"]";

    fn read(at: At) -> Result<Command, PolicyError> {
        let (program, args) = match at.keyed(&keys::COMMAND)? {
            Some(table) => (at.need(table, "command")?, arguments(at, table)?),
            None => (at, BTreeSet::new()),
        };
        Ok(Command {
            program: name(program)?,
            args,
            origin: program.origin(),
        })
    }

    fn schema() -> Json {
        defined("command")
    }

    fn text(command: &Command) -> String {
        command_text(quoted(&command.program), &command.args)
    }
}

/// The text of a command; `program` is already quoted.
pub fn command_text(program: String, args: &BTreeSet<Arguments>) -> String {
    let args: Vec<String> = args.iter().map(|a| quoted(&a.to_string())).collect();
    match args.is_empty() {
        true => program,
        false => format!("{{ command = {program}, args = [{}] }}", args.join(", ")),
    }
}

fn arguments(at: At, table: &Table) -> Result<BTreeSet<Arguments>, PolicyError> {
    let key = format!("{}.args", at.key);
    let Some(node) = table.get("args") else {
        return Ok(BTreeSet::new());
    };
    let at = At {
        node,
        key: &key,
        ..at
    };
    let mut all = BTreeSet::new();
    for at in at.elements("an array of patterns, for example [\"status\", \"diff ...\"]")? {
        let text = at.string("each pattern as a string, for example \"diff ...\"")?;
        all.insert(Arguments::parse(text));
    }
    match all.is_empty() {
        true => Err(at.empty_list("leave it out for any arguments, or write [\"\"] for none")),
        false => Ok(all),
    }
}

/// A bare name or a path.
fn name(at: At) -> Result<String, PolicyError> {
    let text = at.string("a command, or { command = \"git\", args = [\"status\"] }")?;
    if text.contains('/') || text.starts_with(['~', '$']) {
        return plain(at, text);
    }
    if matches!(text, "" | "." | "..") || text.contains(['*', '?', '[', '\0', ' ']) {
        return Err(PolicyError::BadProgram {
            at: at.place(),
            key: at.key.to_owned(),
            text: text.to_owned(),
        });
    }
    Ok(text.to_owned())
}

/// One name or several.
pub struct Extends;

impl Form for Extends {
    type Value = Vec<Sourced<String>>;

    fn read(at: At) -> Result<Self::Value, PolicyError> {
        let one = |at: At| {
            let name = at.string("a policy's name or file, for example \"coding\"")?;
            Ok(at.sourced(name.to_owned()))
        };
        at.one_or_more().map(one).collect()
    }

    fn schema() -> Json {
        json!({ "anyOf": [Any::schema(), List::<Any>::schema()] })
    }

    fn print(names: &Self::Value, key: &str, out: &mut Printer) {
        List::<Any>::print(names, key, out);
    }
}

/// `"read src/main.rs"`.
pub struct CaseText;

impl Form for CaseText {
    type Value = Sourced<Case>;
    const LISTED: &'static str = "an array of cases, for example [\"read src/main.rs\"]";

    fn read(at: At) -> Result<Sourced<Case>, PolicyError> {
        let text = at.string("each case as a string, for example \"exec git status\"")?;
        let mut words = text.split_ascii_whitespace();
        let first = words
            .next()
            .ok_or_else(|| bad_pattern(at, text, PatternFault::Empty))?;
        let tool = Tool::named(first).ok_or_else(|| PolicyError::UnknownWord {
            at: at.place(),
            key: at.key.to_owned().into(),
            word: first.to_owned(),
            remedy: Remedy::among(first, Tool::WORDS),
        })?;
        let words = words.map(str::to_owned).collect();
        Ok(at.sourced(Case { tool, words }))
    }

    fn schema() -> Json {
        Any::schema()
    }

    fn text(case: &Sourced<Case>) -> String {
        quoted(&case.value.to_string())
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
