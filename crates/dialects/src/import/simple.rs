//! The dialect used in articles: `tools.file_system`, `code_execution`, `web_browsing`, `api_calls`.
//!
//! Its paths limit the access of every process. Actions that need confirmation always prompt; without a
//! prompt they are refused.

use super::paths::{self, Denial, Spelling};
use super::report::Fate;
use super::source::{Item, Source, Standing, Taken, entries, table};
use creel_policy::Sourced;
use creel_policy::error::PolicyError;
use creel_policy::layer::{Ask, Language};
use creel_policy::tools::Tool;
use creel_policy::tree::{Node, Table};
use creel_policy::units::Count;

/// The tools that change something, and so need confirmation.
const ACTING: [Tool; 7] = [
    Tool::Write,
    Tool::Edit,
    Tool::ApplyPatch,
    Tool::Exec,
    Tool::Browser,
    Tool::Message,
    Tool::Fetch,
];

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    for (key, entry) in entries(top, "") {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "tools" => tools_of(into, into.strict_table(item)?)?,
            "confirm_actions" => {
                if into.strict_switch(item)? {
                    for tool in ACTING {
                        confirm(into, node, tool);
                    }
                    into.translated(
                        item,
                        "ask = \"always\" of every tool that acts; refused if creel cannot ask",
                    );
                } else {
                    into.translated(item, "creel does not ask");
                }
            }
            "sandbox" => match into.switch(item) {
                Some(true) => into.enforced(item, "every command runs in the jail"),
                Some(false) => into.not(item, "every command runs in the jail"),
                None => {}
            },
            "max_iterations" => {
                let count: Option<Sourced<Count>> = into.count(item);
                if count.is_some() {
                    into.layer.tools.max_iterations = count;
                    into.translated(item, "tools.max_iterations, kept as data for the runtime");
                }
            }
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn tools_of(into: &mut Source, tools: &Table) -> Result<(), PolicyError> {
    for (key, entry) in entries(tools, "tools") {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("file_system", Some(of)) => file_system(into, of, item.key)?,
            ("deny", _) => into.deny_tools(item)?,
            ("allow", _) => {
                let patterns = into.allowed_tools(item, Fate::Enforced, "tools.allow");
                into.layer.tools.allow = Some(into.sourced(node, patterns));
            }
            (word, Some(of)) => match Tool::named(word) {
                Some(tool) => one_tool(into, tool, of, item.key)?,
                None => into.not(item, "is not a tool that creel knows"),
            },
            (_, None) => return Err(into.wrong_type(item, "a table")),
        }
    }
    Ok(())
}

fn file_system(into: &mut Source, of: &Table, above: &str) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, above) {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "enabled" => {
                if into.strict_switch(item)? {
                    into.enforced(item, "the paths say which files");
                } else {
                    into.deny_tool(node, "group:fs");
                    into.enforced(item, "tools.deny: read, write, edit and apply_patch");
                }
            }
            "allowed_paths" => allowed_paths(into, item),
            "denied_paths" => {
                let list = "filesystem.deny, for every process";
                let denials = into.denials(item, Denial::Sight, list, |_| None)?;
                into.layer.filesystem.deny.extend(denials);
            }
            "require_confirmation" => {
                if into.strict_switch(item)? {
                    [Tool::Write, Tool::Edit, Tool::ApplyPatch]
                        .into_iter()
                        .for_each(|tool| confirm(into, node, tool));
                    into.translated(item, "tools.write.ask = \"always\"");
                } else {
                    into.translated(item, "creel does not ask");
                }
            }
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

/// A list of allowed paths excludes all other files.
fn allowed_paths(into: &mut Source, item: Item) {
    let standing = into.standing;
    let grants = into.listed(item, Spelling::Globs, |path| {
        let how = match standing {
            Standing::Grants if !paths::is_whole(path) => {
                "filesystem.write, and no other file of the workspace; programs stay readable"
            }
            Standing::Grants if path != "$WORKSPACE" => {
                "allowed_paths of read and write, and too wide to be a grant by itself"
            }
            _ => "allowed_paths of read and write; programs stay readable",
        };
        Taken::As(Fate::Translated, how.into())
    });
    into.tool(Tool::Read).allowed_paths = Some(grants.clone());
    into.tool(Tool::Write).allowed_paths = Some(grants.clone());
    if standing == Standing::Grants {
        let narrow = grants
            .into_iter()
            .filter(|grant| !paths::is_whole(&grant.path));
        into.layer.filesystem.write = Some(narrow.collect());
    }
}

fn one_tool(into: &mut Source, tool: Tool, of: &Table, above: &str) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, above) {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "enabled" => {
                if into.strict_switch(item)? {
                    into.enforced(item, format!("{} is not denied", tool.name()));
                } else {
                    into.deny_tool(node, tool.name());
                    into.enforced(item, format!("tools.deny: {}", tool.name()));
                }
            }
            "require_confirmation" => {
                if into.strict_switch(item)? {
                    confirm(into, node, tool);
                    let how = "ask = \"always\"; refused if creel cannot ask";
                    into.translated(item, format!("tools.{}.{how}", tool.name()));
                } else {
                    into.translated(item, "creel does not ask");
                }
            }
            "languages" if tool == Tool::Exec => languages(into, item),
            "timeout" | "timeout_seconds" => {
                if let Some(span) = into.seconds(item) {
                    into.tool(tool).timeout = Some(span);
                    match tool {
                        Tool::Exec => into.enforced(item, "tools.exec.timeout, of the whole run"),
                        _ => into.translated(item, "kept as data for the tool"),
                    }
                }
            }
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn languages(into: &mut Source, item: Item) {
    let how = "tools.exec.languages: their interpreters, and no other program";
    let mut known = vec![];
    for word in into.words(item) {
        let name = match word.text().trim().to_ascii_lowercase().as_str() {
            "js" | "node" | "nodejs" => "javascript".to_owned(),
            "python3" | "py" => "python".to_owned(),
            other => other.to_owned(),
        };
        match Language::parse(&name) {
            Some(language) => {
                known.push(into.sourced(word.node, language));
                into.translated(word.item(), how);
            }
            None => into.not(
                word.item(),
                format!("'{name}' is not a language that creel has an interpreter for"),
            ),
        }
    }
    into.if_empty(item, how);
    into.tool(Tool::Exec).languages = Some(known);
}

fn confirm(into: &mut Source, node: &Node, tool: Tool) {
    let always = into.sourced(node, Ask::Always);
    into.tool(tool).ask = Some(always);
}
