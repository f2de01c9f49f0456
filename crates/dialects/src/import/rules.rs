//! Codex's `.rules`: prefixes of commands, and the verdict on each.
//!
//! Creel lists the commands that may run, without exceptions. So a rule that allows applies only if no
//! stricter rule matches any of its commands. A statement that is not understood may contain a stricter
//! rule, so then none applies.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Entry;
use super::report::Fate::{self, Enforced, NotHonoured, Translated};
use super::source::Source;
use super::starlark::{self, Literal, Statement, What};
use creel_policy::Sourced;
use creel_policy::error::PolicyError;
use creel_policy::file::path_fault;
use creel_policy::layer::{Arguments, Ask, Command, Security};
use creel_policy::net;
use creel_policy::tools::Tool;

/// The most commands that one rule may expand to.
const MOST: usize = 256;

/// From the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Forbidden,
    Prompt,
    Allow,
}

struct Rule {
    start: usize,
    /// The alternatives for each argument position.
    pattern: Vec<Vec<String>>,
    verdict: Verdict,
}

pub fn read(into: &mut Source) -> Result<(), PolicyError> {
    let statements = starlark::read(into.text)?;
    let mut rules = vec![];
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut dark = false;
    for statement in &statements {
        match rule(statement) {
            Read::Rule(rule) => {
                beside(into, statement, &rule);
                rules.push(rule);
            }
            Read::Paths(name, all) => {
                paths.entry(name).or_default().extend(all);
                say(
                    into,
                    statement.start,
                    Enforced,
                    "host_executable",
                    "the paths of tools.exec.commands",
                );
            }
            Read::Network(host, verdict) => network(into, statement.start, &host, verdict)?,
            Read::Not => {
                dark = true;
                say(
                    into,
                    statement.start,
                    NotHonoured,
                    "statement",
                    "is not a rule with literal arguments; it may forbid something, so no allow rule is converted, and network.mode = \"none\"",
                );
            }
        }
    }
    let mut commands = vec![];
    for rule in &rules {
        let key = format!("prefix_rule {}", shown(&rule.pattern));
        let met = rules
            .iter()
            .any(|other| other.verdict < rule.verdict && meets(other, rule));
        let (fate, text) = match rule.verdict {
            Verdict::Forbidden => (Enforced, "is not among tools.exec.commands"),
            Verdict::Prompt => (
                Translated,
                "is not among tools.exec.commands: needs an approval, and is refused if creel cannot ask",
            ),
            Verdict::Allow if dark => (
                NotHonoured,
                "creel does not understand a statement of the file",
            ),
            Verdict::Allow if met => (
                NotHonoured,
                "a stricter rule matches some of its commands, and creel's list has no exceptions",
            ),
            Verdict::Allow => match allowed(into, rule, &paths) {
                Ok(more) => {
                    commands.extend(more);
                    (Enforced, "tools.exec.commands")
                }
                Err(why) => (NotHonoured, why),
            },
        };
        say(into, rule.start, fate, &key, text);
    }
    let origin = into.text.origin(0);
    if dark {
        into.layer.network.mode = Some(Sourced::new(net::Mode::None, origin.clone()));
    }
    let tool = into.tool(Tool::Exec);
    tool.security = Some(Sourced::new(Security::Allowlist, origin.clone()));
    tool.ask = Some(Sourced::new(Ask::OnMiss, origin));
    tool.commands = Some(commands);
    Ok(())
}

/// A host that is not allowed is denied, even if another layer grants it.
fn network(
    into: &mut Source,
    start: usize,
    host: &str,
    verdict: Verdict,
) -> Result<(), PolicyError> {
    let (fate, text) = match verdict {
        Verdict::Allow => (
            NotHonoured,
            "network grants are not converted: name the host under network.allow",
        ),
        Verdict::Prompt => (
            Translated,
            "network.deny: creel does not ask about hosts of a list",
        ),
        Verdict::Forbidden => (Enforced, "network.deny, at every port and protocol"),
    };
    if verdict != Verdict::Allow {
        let rule = into.denied_host("network_rule", host, start)?;
        into.layer.network.deny.push(rule);
    }
    say(into, start, fate, &format!("network_rule {host}"), text);
    Ok(())
}

/// Additional arguments in a rule.
fn beside(into: &mut Source, statement: &Statement, rule: &Rule) {
    let What::Call(_, arguments) = &statement.what else {
        return;
    };
    for (key, _) in arguments {
        let (fate, text) = match key.as_str() {
            "justification" => (Translated, "has no equivalent in the kernel"),
            "match" | "not_match" => (
                NotHonoured,
                "its examples are not tested; write them as cases under [tests]",
            ),
            _ => continue,
        };
        let key = format!("prefix_rule {}: {key}", shown(&rule.pattern));
        say(into, statement.start, fate, &key, text);
    }
}

/// The kind of a statement.
enum Read {
    Rule(Rule),
    Paths(String, Vec<String>),
    Network(String, Verdict),
    Not,
}

fn rule(statement: &Statement) -> Read {
    let What::Call(name, arguments) = &statement.what else {
        return Read::Not;
    };
    let get = |key: &str| {
        arguments
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    };
    let known = |keys: &[&str]| {
        arguments
            .iter()
            .all(|(key, _)| keys.contains(&key.as_str()))
    };
    match name.as_str() {
        "prefix_rule" if known(&["pattern", "decision", "justification", "match", "not_match"]) => {
            let verdict = match get("decision") {
                None => Some(Verdict::Allow),
                Some(word) => decision(word),
            };
            match (verdict, get("pattern").and_then(pattern)) {
                (Some(verdict), Some(pattern)) => Read::Rule(Rule {
                    start: statement.start,
                    pattern,
                    verdict,
                }),
                _ => Read::Not,
            }
        }
        "host_executable" if known(&["name", "paths"]) => {
            match (get("name"), get("paths").and_then(texts)) {
                (Some(Literal::Text(name)), Some(paths)) => Read::Paths(name.clone(), paths),
                _ => Read::Not,
            }
        }
        "network_rule" if known(&["host", "protocol", "decision", "justification"]) => {
            match (get("host"), get("decision").and_then(decision)) {
                (Some(Literal::Text(host)), Some(verdict)) => Read::Network(host.clone(), verdict),
                _ => Read::Not,
            }
        }
        _ => Read::Not,
    }
}

fn decision(literal: &Literal) -> Option<Verdict> {
    match literal {
        Literal::Text(word) => match word.as_str() {
            "allow" => Some(Verdict::Allow),
            "prompt" => Some(Verdict::Prompt),
            // Both values are used for hosts.
            "forbidden" | "deny" => Some(Verdict::Forbidden),
            _ => None,
        },
        Literal::List(_) => None,
    }
}

/// A word or a list of alternatives for each position; at least one position.
fn pattern(literal: &Literal) -> Option<Vec<Vec<String>>> {
    let Literal::List(places) = literal else {
        return None;
    };
    let place = |literal: &Literal| match literal {
        Literal::Text(word) => Some(vec![word.clone()]),
        list => texts(list).filter(|words| !words.is_empty()),
    };
    let places: Option<Vec<Vec<String>>> = places.iter().map(place).collect();
    places.filter(|places| !places.is_empty())
}

fn texts(literal: &Literal) -> Option<Vec<String>> {
    let Literal::List(all) = literal else {
        return None;
    };
    let text = |literal: &Literal| match literal {
        Literal::Text(text) => Some(text.clone()),
        Literal::List(_) => None,
    };
    all.iter().map(text).collect()
}

/// Whether both rules match some command. Programs are equal if their file names are: creel checks the
/// file that is executed, by whichever path.
fn meets(a: &Rule, b: &Rule) -> bool {
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    a.pattern
        .iter()
        .zip(&b.pattern)
        .enumerate()
        .all(|(at, (ours, theirs))| {
            ours.iter().any(|ours| {
                theirs.iter().any(|theirs| match at {
                    0 => name(ours) == name(theirs),
                    _ => ours == theirs,
                })
            })
        })
}

/// The commands that a rule allows.
fn allowed(
    into: &Source,
    rule: &Rule,
    paths: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<Command>, &'static str> {
    let Some((programs, places)) = rule.pattern.split_first() else {
        return Err("names no program");
    };
    let mut tails: Vec<Vec<String>> = vec![vec![]];
    for alternatives in places {
        let longer = |tail: &Vec<String>| -> Vec<Vec<String>> {
            let one = |word: &String| tail.iter().chain([word]).cloned().collect();
            alternatives.iter().map(one).collect()
        };
        tails = tails.iter().flat_map(longer).collect();
        if tails.len() > MOST {
            return Err("stands for more commands than creel lists");
        }
    }
    let odd = |word: &String| {
        word.is_empty()
            || word.contains('*')
            || word.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if tails.iter().flatten().any(odd) {
        return Err("has a word with a star or a blank, which creel's patterns cannot express");
    }
    let args: BTreeSet<Arguments> = match places.is_empty() {
        true => BTreeSet::new(),
        false => tails
            .into_iter()
            .map(|tail| Arguments(tail.into_iter().chain(["...".to_owned()]).collect()))
            .collect(),
    };
    let mut commands = vec![];
    for program in programs.iter().flat_map(|name| match paths.get(name) {
        Some(paths) => paths.clone(),
        None => vec![name.clone()],
    }) {
        let plain = match program.contains('/') || program.starts_with(['~', '$']) {
            true => path_fault(&program).is_none() && !program.starts_with('$'),
            false => !matches!(program.as_str(), "" | "." | ".."),
        };
        if !plain || program.contains(['*', '?', '[', '\0', ' ']) {
            return Err("names a program that is neither a bare name nor a full path");
        }
        commands.push(Command {
            program,
            args: args.clone(),
            origin: into.text.origin(rule.start),
        });
    }
    Ok(commands)
}

fn shown(pattern: &[Vec<String>]) -> String {
    let words: Vec<String> = pattern.iter().map(|words| words.join("|")).collect();
    words.join(" ")
}

fn say(into: &mut Source, start: usize, fate: Fate, key: &str, text: &str) {
    let origin = into.text.origin(start);
    into.report.push(Entry {
        key: key.to_owned(),
        origin,
        fate,
        text: text.to_owned(),
    });
}
