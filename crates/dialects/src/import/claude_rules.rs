//! Rules of Claude Code: `TOOL` or `TOOL(WHAT)`, under `allow`, `ask` or `deny`.
//!
//! Paths follow gitignore: `//x` is from the root, `~/x` from the home, `/x` from the project, `./x` and
//! `a/x` from the working directory, and a bare `x` matches at any depth below it. A denial of `/x` is
//! applied in both readings, because users often mean a path from the root.

use super::names;
use super::paths::{self, Denial, Denied, Spelling};
use super::report::Fate::{self, Enforced, NotHonoured, Translated};
use super::source::{Element, Item, Source, stricter};
use creel_policy::error::PolicyError;
use creel_policy::layer::Ask;
use creel_policy::net;
use creel_policy::tools::{PatternFault, Tool};
use creel_policy::tree::Node;
use creel_policy::{Absent, Sourced};

/// The most paths that the braces of one rule may expand to.
const MOST: usize = 64;

/// The list that contains a rule, from the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    Deny,
    Ask,
    Allow,
}

/// A rule of `Bash`, without the tool's name; an empty `line` means every command.
pub struct Command {
    pub key: String,
    pub node: Node,
    pub word: Word,
    pub line: String,
}

/// Rules that are decided after all are read.
#[derive(Default)]
pub struct Rules {
    pub commands: Vec<Command>,
    pub hosts: Vec<net::Rule>,
}

impl Rules {
    pub fn read(&mut self, into: &mut Source, item: Item, word: Word) -> Result<(), PolicyError> {
        into.if_empty(item, "names no rule");
        let all = match word {
            Word::Allow => into.words(item),
            Word::Ask | Word::Deny => into.strict_words(item)?,
        };
        for element in &all {
            self.rule(into, element, word)?;
        }
        Ok(())
    }

    fn rule(&mut self, into: &mut Source, rule: &Element, word: Word) -> Result<(), PolicyError> {
        let item = rule.item();
        let Some((tool, what)) = parse(rule.text()) else {
            return match word {
                Word::Allow => {
                    into.not(item, "is not a rule; write `TOOL` or `TOOL(WHAT)`");
                    Ok(())
                }
                Word::Ask | Word::Deny => Err(into.wrong_type(item, "`TOOL` or `TOOL(WHAT)`")),
            };
        };
        match (tool.as_str(), what) {
            ("bash", what) => {
                self.commands.push(Command {
                    key: item.key.to_owned(),
                    node: item.node.clone(),
                    word,
                    line: what.unwrap_or_default().to_owned(),
                });
                Ok(())
            }
            ("read" | "glob" | "grep" | "ls" | "notebookread", Some(path)) => {
                files(into, item, path, word, Denial::Sight)
            }
            ("edit" | "write" | "multiedit" | "notebookedit", Some(path)) => {
                files(into, item, path, word, Denial::Change)
            }
            ("webfetch", Some(what)) => self.host(into, item, what, word),
            (tool, what) => whole(into, item, tool, what, word),
        }
    }

    /// `domain:HOST`.
    fn host(
        &mut self,
        into: &mut Source,
        item: Item,
        what: &str,
        word: Word,
    ) -> Result<(), PolicyError> {
        let host = what.strip_prefix("domain:").map(str::trim);
        let Some(host) = host.filter(|host| !matches!(*host, "" | "*")) else {
            return whole(into, item, "webfetch", Some(what), word);
        };
        if word != Word::Allow {
            let rule = into.denied_host(item.key, host, item.node.span.start)?;
            into.layer.network.deny.push(rule);
            into.say(item, fate(word), asked(word, "network.deny"));
            return Ok(());
        }
        match net::Rule::of_text(host, into.origin(item.node)) {
            Ok(rule) if rule.to != net::To::Any => {
                self.hosts.push(rule);
                into.translated(item, "network.allow, at ports 80 and 443");
            }
            Ok(_) => into.not(item, "a rule for every name is wider than a list"),
            Err(fault) => into.not(item, fault.to_string()),
        }
        Ok(())
    }
}

/// The tool in lower case, and the part in parentheses; `None` means all of the tool.
fn parse(rule: &str) -> Option<(String, Option<&str>)> {
    let rule = rule.trim();
    let (tool, what) = match rule.split_once('(') {
        None => (rule, None),
        Some((tool, rest)) => (tool.trim(), Some(rest.strip_suffix(')')?.trim())),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.*".contains(c);
    let what = what.filter(|what| !matches!(*what, "" | "*"));
    (!tool.is_empty() && tool.chars().all(known)).then(|| (tool.to_ascii_lowercase(), what))
}

/// Claude Code's names of tools, and creel's.
const TOOLS: [(&str, &str); 7] = [
    ("notebookread", "read"),
    ("multiedit", "write"),
    ("notebookedit", "write"),
    ("edit", "write"),
    ("webfetch", "web_fetch"),
    ("websearch", "web_search"),
    ("powershell", "exec"),
];

/// A rule for a tool as a whole, or for a part of it that creel cannot express.
fn whole(
    into: &mut Source,
    item: Item,
    tool: &str,
    what: Option<&str>,
    word: Word,
) -> Result<(), PolicyError> {
    let name = TOOLS.iter().find(|(known, _)| *known == tool);
    let name = name.map_or(tool, |(_, name)| name);
    let known = Tool::named(name);
    match word {
        Word::Allow => {
            match known {
                Some(Tool::Read | Tool::Write | Tool::Edit) => {
                    into.translated(
                        item,
                        "the workspace and the grants decide which files exist in the jail",
                    );
                }
                Some(Tool::Fetch) => {
                    into.not(item, "grants no host; name it: WebFetch(domain:HOST)")
                }
                _ => into.not(item, "is a tool of the runtime, which creel does not grant"),
            }
            return Ok(());
        }
        Word::Ask if known.is_some() && what.is_none() => {
            if let Some(tool) = known {
                let ask = into.sourced(item.node, Ask::Always);
                stricter(&mut into.tool(tool).ask, ask);
                let how = format!(
                    "tools.{}.ask = \"always\"; refused if creel cannot ask",
                    tool.name()
                );
                into.translated(item, how);
            }
            return Ok(());
        }
        Word::Ask | Word::Deny => {}
    }
    deny(into, item, name)?;
    if let Some(server) = name.strip_prefix("mcp__")
        && !server.contains("__")
    {
        deny(into, item, &format!("{name}__*"))?;
    }
    match what {
        None => into.say(item, fate(word), asked(word, "tools.deny")),
        Some(_) => into.translated(item, format!("tools.deny: all of {name}")),
    }
    Ok(())
}

/// Denies all tools of a server.
pub fn deny_server(into: &mut Source, item: Item, server: &str) -> Result<(), PolicyError> {
    deny(into, item, &format!("mcp__{server}__*"))?;
    into.enforced(item, "tools.deny");
    Ok(())
}

fn deny(into: &mut Source, item: Item, name: &str) -> Result<(), PolicyError> {
    let bad = |fault: PatternFault| PolicyError::BadPattern {
        at: into.text.place(item.node.span.start),
        key: item.key.to_owned(),
        text: name.to_owned(),
        fault,
    };
    for value in names::denied(name).map_err(bad)? {
        let origin = into.origin(item.node);
        into.layer.tools.deny.push(Sourced { value, origin });
    }
    Ok(())
}

fn fate(word: Word) -> Fate {
    match word {
        Word::Ask => Translated,
        Word::Allow | Word::Deny => Enforced,
    }
}

/// Actions that prompt in Claude Code are denied here.
fn asked(word: Word, how: &str) -> String {
    match word {
        Word::Ask => format!("{how}: Claude Code asks the user about it, and creel cannot ask"),
        Word::Allow | Word::Deny => how.to_owned(),
    }
}

fn files(
    into: &mut Source,
    item: Item,
    path: &str,
    word: Word,
    denial: Denial,
) -> Result<(), PolicyError> {
    if word == Word::Allow {
        grant(into, item, path, denial);
        return Ok(());
    }
    let list = match denial {
        Denial::Change => "filesystem.protect",
        Denial::Sight | Denial::AtStart => "filesystem.deny",
    };
    let mut said = vec![];
    for place in alternatives(path).iter().flat_map(|path| places(path)) {
        let denied = paths::denied(&place, Denial::AtStart)
            .map_err(|fault| into.bad_path(item, path, fault))?;
        let inside = denied.path().starts_with("$WORKSPACE");
        let absent = match (&denied, denial) {
            (Denied::Path(_) | Denied::Tree(_), Denial::Change) if inside => Absent::Refuse,
            // An absent path cannot be read.
            _ => Absent::Skip,
        };
        said.push(denied.path().to_owned());
        let grant = into.grant(item.node, denied.path().to_owned(), absent);
        match denial {
            Denial::Change => into.layer.filesystem.protect.push(grant),
            Denial::Sight | Denial::AtStart => into.layer.filesystem.deny.push(grant),
        }
    }
    into.translated(item, asked(word, &format!("{list}: {}", said.join(", "))));
    Ok(())
}

/// The paths of a denied path, in the syntax of sandbox-runtime.
fn places(path: &str) -> Vec<String> {
    let path = path.trim();
    if path.starts_with("//") {
        return vec![format!("/{}", path.trim_start_matches('/'))];
    }
    if let Some(inside) = path.strip_prefix('/') {
        return vec![inside.to_owned(), path.to_owned()];
    }
    let plain = path.trim_end_matches('/');
    match plain.contains('/') || matches!(plain, "~" | "." | ".." | "**") {
        true => vec![path.to_owned()],
        false => vec![format!("**/{plain}")],
    }
}

/// The paths that `{a,b}` expands to: users write it, although gitignore does not have it.
fn alternatives(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    while let Some(at) = all.iter().position(|path| split(path).is_some()) {
        let Some((head, words, tail)) = split(&all[at]) else {
            break;
        };
        let more: Vec<String> = words
            .split(',')
            .map(|word| [head, word, tail].concat())
            .collect();
        all.splice(at..=at, more);
        if all.len() > MOST {
            // Too many to list: the glob stays, and its directory is denied.
            return vec![path.to_owned()];
        }
    }
    all
}

fn split(path: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = path.rsplit_once('{')?;
    let (words, tail) = rest.split_once('}')?;
    words.contains(',').then_some((head, words, tail))
}

fn grant(into: &mut Source, item: Item, path: &str, denial: Denial) {
    if into.narrows(item) {
        return;
    }
    let place = match path.strip_prefix("//") {
        Some(rest) => format!("/{rest}"),
        None if path.starts_with('~') => path.to_owned(),
        None => {
            return match path.split('/').any(|part| part == "..") {
                true => into.not(item, format!("path '{path}' has a '..'")),
                false => {
                    into.translated(item, "lies in the workspace, which is granted as a whole")
                }
            };
        }
    };
    match granted(&place, Spelling::Globs) {
        Ok(path) => into.give(item, path, Absent::Skip, denial == Denial::Change),
        Err((fate, why)) => into.say(item, fate, why),
    }
}

/// The path of a grant outside the workspace, or the reason that it is not granted.
pub fn granted(path: &str, spelling: Spelling) -> Result<String, (Fate, String)> {
    let not = |why: String| Err((NotHonoured, why));
    match paths::granted(path, spelling) {
        Ok(path) if path.starts_with("$WORKSPACE") => {
            let why = "lies in the workspace, which is granted as a whole";
            Err((Translated, why.into()))
        }
        Ok(path) if paths::is_own(&path) => Err((
            Translated,
            format!("the jail has its own {path}, which is writable and removed at its end"),
        )),
        Ok(path) if paths::is_whole(&path) || paths::is_never(&path) => {
            not(format!("{path} is too wide to be granted"))
        }
        Ok(path) => Ok(path),
        Err(why) => not(format!("path '{path}' {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_a_tool_and_what_of_it() {
        for (rule, parsed) in [
            ("Read", Some(("read", None))),
            ("Bash(*)", Some(("bash", None))),
            ("Bash(git push:*)", Some(("bash", Some("git push:*")))),
            (" Bash (f(x)) ", Some(("bash", Some("f(x)")))),
            ("mcp__a__*", Some(("mcp__a__*", None))),
            ("Read(x", None),
            ("a b", None),
            ("", None),
        ] {
            let parsed = parsed.map(|(tool, what): (&str, _)| (tool.to_owned(), what));
            assert_eq!(parse(rule), parsed, "{rule}");
        }
    }

    #[test]
    fn a_path_is_denied_in_each_of_its_readings() {
        for (path, read) in [
            ("//etc/x", &["/etc/x"][..]),
            ("/src/**", &["src/**", "/src/**"]),
            ("~/.ssh/**", &["~/.ssh/**"]),
            ("./.env", &["./.env"]),
            (".env", &["**/.env"]),
            ("*.pem", &["**/*.pem"]),
            ("secrets/", &["**/secrets"]),
            ("a/b", &["a/b"]),
            ("**", &["**"]),
            (".", &["."]),
        ] {
            assert_eq!(places(path), read, "{path}");
        }
        assert_eq!(alternatives("a.{b,c}/{d,e}").len(), 4);
        assert_eq!(alternatives("a{b}"), ["a{b}"]);
    }
}
