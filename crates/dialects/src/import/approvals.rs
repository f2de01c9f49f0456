//! OpenClaw's approvals document: the commands that run without approval.
//!
//! Combines the entries of `*` with those of the agent. An entry whose pattern or arguments creel cannot
//! express is left out: the command is then refused, or needs approval.

use super::source::{Item, Source, entries, inner, join, table, text};
use creel_policy::Sourced;
use creel_policy::error::PolicyError;
use creel_policy::file::path_fault;
use creel_policy::layer::{Arguments, Ask, Command, Security};
use creel_policy::tools::Tool;
use creel_policy::tree::{Node, Table, Value};
use std::collections::BTreeSet;

pub fn read(
    into: &mut Source,
    top: &Table,
    chosen: Option<&str>,
) -> Result<Vec<String>, PolicyError> {
    let mut security = None;
    let mut ask = None;
    for (key, entry) in entries(top, "") {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("defaults", Some(of)) => posture(into, of, "defaults", &mut security, &mut ask)?,
            ("agents", Some(_)) => {}
            ("defaults" | "agents", None) => return Err(into.wrong_type(item, "a table")),
            ("version", _) => into.translated(item, "read as if it were version 1"),
            ("socket", _) => into.not(item, "approvals are asked for through creel's own socket"),
            _ => into.not(item, "creel does not know this key"),
        }
    }
    let mut ids = vec![];
    let mut commands = vec![];
    let mut lists = vec![];
    let agents = inner(top, &["agents"])
        .map(Table::entries)
        .unwrap_or_default();
    // The entry for all agents first, wherever it is, because the agent's own values override it.
    let mut sorted: Vec<_> = agents.iter().collect();
    sorted.sort_by_key(|(key, _)| key.name != "*");
    for (id, node) in sorted {
        let key = join("agents", &id.name);
        let item = Item { key: &key, node };
        if id.name != "*" {
            ids.push(id.name.clone());
        }
        if id.name != "*" && Some(id.name.as_str()) != chosen {
            into.translated(item, format!("a separate layer: --agent {}", id.name));
            continue;
        }
        let Some(of) = table(node) else {
            return Err(into.wrong_type(item, "a table"));
        };
        posture(into, of, &key, &mut security, &mut ask)?;
        if let Some(node) = of.get("allowlist") {
            lists.push((join(&key, "allowlist"), node));
        }
    }
    let listed = security
        .as_ref()
        .is_some_and(|s: &Sourced<Security>| s.value == Security::Allowlist);
    for (key, node) in &lists {
        let item = Item { key, node };
        match listed {
            true => list(into, item, &mut commands)?,
            false => into.translated(item, "has an effect only under security = \"allowlist\""),
        }
    }
    let tool = into.tool(Tool::Exec);
    tool.security = security;
    tool.ask = ask;
    if listed {
        tool.commands = Some(commands);
    }
    Ok(ids)
}

fn posture(
    into: &mut Source,
    of: &Table,
    above: &str,
    security: &mut Option<Sourced<Security>>,
    ask: &mut Option<Sourced<Ask>>,
) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, above) {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "security" => {
                *security = Some(into.word(item, "\"deny\", \"allowlist\" or \"full\"")?);
                into.enforced(item, "tools.exec.security");
            }
            "ask" => {
                *ask = Some(into.word(item, "\"off\", \"on-miss\" or \"always\"")?);
                into.enforced(item, "tools.exec.ask; refused if creel cannot ask");
            }
            "askFallback" => match node.as_str() {
                Some("deny") => into.enforced(item, "a missing answer denies"),
                _ => into.not(item, "a missing answer denies"),
            },
            "autoAllowSkills" => match node.value {
                Value::Bool(false) => into.enforced(item, "nothing is allowed automatically"),
                _ => into.not(item, "nothing is allowed automatically"),
            },
            "allowlist" => {}
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn list(into: &mut Source, item: Item, commands: &mut Vec<Command>) -> Result<(), PolicyError> {
    let Value::Array(entries) = &item.node.value else {
        into.other_type(item, "an array");
        return Ok(());
    };
    into.if_empty(item, "allows nothing");
    for (at, node) in entries.iter().enumerate() {
        let key = format!("{}[{at}]", item.key);
        let item = Item { key: &key, node };
        let Some(of) = table(node) else {
            into.other_type(item, "a table");
            continue;
        };
        match entry(into, of, node) {
            Ok(command) => {
                let mut how = format!("tools.exec.commands: {}", command.program);
                let keys = of.entries().iter().map(|(key, _)| key.name.as_str());
                let record: Vec<&str> = keys
                    .filter(|key| !matches!(*key, "pattern" | "argPattern"))
                    .collect();
                if !record.is_empty() {
                    how += "; a record, not a rule: ";
                    how += &record.join(", ");
                }
                into.translated(item, how);
                commands.push(command);
            }
            Err(why) => into.not(item, why),
        }
    }
    Ok(())
}

fn entry(into: &Source, of: &Table, node: &Node) -> Result<Command, &'static str> {
    let program = text(of, "pattern").ok_or("does not have a string as its pattern")?;
    let args = match of.get("argPattern").map(Node::as_str) {
        None if text(of, "source") == Some("allow-always") => {
            return Err(
                "was created by allow-always and has no argPattern; OpenClaw ignores it too",
            );
        }
        None => BTreeSet::new(),
        Some(None) => return Err("has an argPattern that is not a string"),
        Some(Some(pattern)) => {
            arguments(pattern).ok_or("has an argPattern that creel cannot express")?
        }
    };
    let bare = !program.contains('/') && !program.starts_with('~');
    let plain = match bare {
        true => !program.is_empty() && program != "." && program != "..",
        false => path_fault(program).is_none(),
    };
    if !plain || program.contains(['*', '?', '[', '\0', ' ', '$']) {
        return Err("has a pattern for more than one program; name each");
    }
    Ok(Command {
        program: program.to_owned(),
        args,
        origin: into.origin(node),
    })
}

/// The arguments for a regular expression over the arguments joined by blanks. It must be a literal
/// anchored at both ends, or a literal prefix followed by anything.
fn arguments(pattern: &str) -> Option<BTreeSet<Arguments>> {
    if matches!(pattern, "^.*$" | ".*") {
        return Some(BTreeSet::new());
    }
    let inside = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let (literal, rest) = match inside {
        "" => return Some(BTreeSet::from([Arguments(vec![])])),
        _ if inside.ends_with("( .*)?") => (inside.strip_suffix("( .*)?")?, Some(&["..."][..])),
        _ if inside.ends_with(" .*") => (inside.strip_suffix(" .*")?, Some(&["*", "..."][..])),
        _ => (inside, None),
    };
    let mut plain = String::new();
    let mut chars = literal.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| !c.is_ascii_alphanumeric())?),
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            c => plain.push(c),
        }
    }
    let words: Vec<String> = plain.split(' ').map(str::to_owned).collect();
    // A star and `...` have a meaning here, and an empty word cannot be written.
    let odd = |word: &String| {
        word.is_empty() || word.contains('*') || word == "..." || word.contains(char::is_whitespace)
    };
    if words.iter().any(odd) {
        return None;
    }
    let rest = rest
        .unwrap_or_default()
        .iter()
        .map(|word| (*word).to_owned());
    Some(BTreeSet::from([Arguments(
        words.into_iter().chain(rest).collect(),
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_that_are_words() {
        let shown = |pattern: &str| {
            arguments(pattern).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for (pattern, args) in [
            (r"^safe\.py$", Some(vec!["safe.py"])),
            (r"^status( .*)?$", Some(vec!["status ..."])),
            (r"^run .*$", Some(vec!["run * ..."])),
            (r"^$", Some(vec![""])),
            (r"^.*$", Some(vec![])),
            (r"safe", None),
            (r"^a|b$", None),
            (r"^\d+$", None),
            (r"^a\*$", None),
            (r"^a  b$", None),
        ] {
            let args =
                args.map(|a: Vec<&str>| a.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(shown(pattern), args, "{pattern}");
        }
    }
}
