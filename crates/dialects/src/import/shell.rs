//! Claude Code's rules of `Bash`: command lines, and the result for each.
//!
//! Creel's list of commands has no exceptions. If rules allow single commands, the list has those that no
//! stricter rule matches. If all commands may run, a denied line denies its program as a file, with any
//! arguments. If a denied line names no program file, only the commands that a rule allows run.

use std::collections::BTreeSet;

use super::claude_rules::{Command as Rule, Word};
use super::report::Fate;
use super::source::{Item, Source, stricter};
use creel_policy::error::PolicyError;
use creel_policy::glob::stars;
use creel_policy::layer::{Arguments, Ask, Command, PROGRAM_DIRECTORIES, Security};
use creel_policy::tools::Tool;
use creel_policy::{Absent, Sourced};

/// Shell words that are not programs, or not only programs.
const BUILTINS: [&str; 26] = [
    ".", "[", "alias", "bg", "builtin", "cd", "command", "declare", "echo", "eval", "exec", "exit",
    "export", "fg", "hash", "kill", "printf", "pwd", "read", "set", "source", "test", "trap",
    "type", "umask", "unset",
];

/// The defaults of the modes for all commands.
#[derive(Debug, Default)]
pub struct Bash {
    /// No prompts: every command runs unless it is denied.
    pub is_unasked: bool,
    /// Commands that no rule allows are denied without a prompt.
    pub is_closed: bool,
}

/// A command line, split into words.
struct Line<'r> {
    rule: &'r Rule,
    words: Vec<&'r str>,
    /// More words may follow.
    is_open: bool,
}

/// `git push:*` and `git push *` are open; other stars match any characters.
fn line(rule: &Rule) -> Line<'_> {
    let text = rule.line.trim();
    let bare = text.strip_suffix(":*").or_else(|| text.strip_suffix(" *"));
    Line {
        rule,
        words: bare.unwrap_or(text).split_whitespace().collect(),
        is_open: bare.is_some(),
    }
}

pub fn read(into: &mut Source, rules: &[Rule], bash: &Bash) -> Result<(), PolicyError> {
    let lines: Vec<Line> = rules.iter().map(line).collect();
    let is_allowed = |line: &Line| line.rule.word == Word::Allow;
    let unasked = bash.is_unasked
        || lines
            .iter()
            .any(|line| is_allowed(line) && line.words.is_empty());
    let listed = lines
        .iter()
        .any(|line| is_allowed(line) && !line.words.is_empty());
    let unsaid = |line: &Line| !is_allowed(line) && !line.words.is_empty() && files(line).is_none();
    let is_closed = bash.is_closed || listed && !unasked || lines.iter().any(unsaid);
    let mut commands = vec![];
    for one in &lines {
        let item = Item {
            key: &one.rule.key,
            node: &one.rule.node,
        };
        match (one.rule.word, one.words.is_empty()) {
            (Word::Deny, true) => {
                into.deny_tool(item.node, "exec");
                into.enforced(item, "tools.deny: exec");
            }
            (Word::Ask, true) => {
                let ask = into.sourced(item.node, Ask::Always);
                stricter(&mut into.tool(Tool::Exec).ask, ask);
                into.translated(item, "tools.exec.ask = \"always\"; refused if creel cannot ask");
            }
            (Word::Deny | Word::Ask, false) if is_closed => {
                into.translated(item, "is not among tools.exec.commands");
            }
            (Word::Deny | Word::Ask, false) => deny(into, item, one),
            (Word::Allow, _) if !is_closed => {
                into.translated(item, "every granted program may execute");
            }
            (Word::Allow, true) => into.not(
                item,
                "a rule denies commands that are not a program's file, so commands that are not named are not allowed",
            ),
            (Word::Allow, false) => {
                let met = lines.iter().any(|other| !is_allowed(other) && meets(other, one));
                match allowed(into, one).filter(|_| !met) {
                    Some(command) => {
                        let how = format!("tools.exec.commands: {}", command.program);
                        commands.push(command);
                        into.enforced(item, how);
                    }
                    None if met => into.not(
                        item,
                        "a stricter rule matches some of its commands, and creel's list has no exceptions",
                    ),
                    None => into.not(
                        item,
                        "is a shell command line, which creel's list cannot express; name a program",
                    ),
                }
            }
        }
    }
    if is_closed {
        let origin = into.text.origin(0);
        let tool = into.tool(Tool::Exec);
        tool.security = Some(Sourced::new(Security::Allowlist, origin.clone()));
        let value = match bash.is_closed {
            true => Ask::Off,
            false => Ask::OnMiss,
        };
        tool.ask.get_or_insert(Sourced { value, origin });
        tool.commands = Some(commands);
    }
    Ok(())
}

/// The possible files of a line's program; `None` if it is not a program file.
fn files(line: &Line) -> Option<Vec<String>> {
    let program = *line.words.first()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+/~".contains(c);
    if !program.chars().all(plain) || BUILTINS.contains(&program) || program.contains("..") {
        return None;
    }
    if program.starts_with('/') || program.starts_with("~/") {
        return Some(vec![program.to_owned()]);
    }
    if let Some(inside) = program.strip_prefix("./") {
        return Some(vec![format!("$WORKSPACE/{inside}")]);
    }
    if program.contains(['/', '~']) {
        return None;
    }
    let file = |directory: &&str| format!("{directory}/{program}");
    Some(PROGRAM_DIRECTORIES.iter().map(file).collect())
}

fn deny(into: &mut Source, item: Item, line: &Line) {
    for file in files(line).unwrap_or_default() {
        let grant = into.grant(item.node, file, Absent::Skip);
        into.layer.filesystem.deny.push(grant);
    }
    let program = line.words.first().copied().unwrap_or_default();
    let whose = match line.rule.word {
        Word::Ask => ", since creel cannot ask",
        Word::Deny | Word::Allow => "",
    };
    into.say(
        item,
        Fate::Translated,
        format!("filesystem.deny: the program {program}, with any arguments{whose}"),
    );
}

/// Whether some command matches both. Programs are equal if their file names are.
fn meets(strict: &Line, line: &Line) -> bool {
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    for (at, (ours, theirs)) in strict.words.iter().zip(&line.words).enumerate() {
        if ours.contains('*') || theirs.contains('*') {
            // A star matches blanks too, so only the text before it can show a difference.
            let before = |word: &str| word.split('*').next().unwrap_or_default().to_owned();
            let (ours, theirs) = (before(ours), before(theirs));
            return at == 0 || ours.starts_with(&theirs) || theirs.starts_with(&ours);
        }
        let same = match at {
            0 => name(ours) == name(theirs),
            _ => ours == theirs || stars(ours, theirs),
        };
        if !same {
            return false;
        }
    }
    true
}

/// The command for a line that allows. Here a star matches characters of one word, which is less than in
/// Claude Code.
fn allowed(into: &Source, line: &Line) -> Option<Command> {
    let (program, words) = line.words.split_first()?;
    let shell = |c: char| "\"'`$;&|<>(){}\\!#?[]~=".contains(c);
    let program = program.strip_prefix("./").map_or_else(
        || (*program).to_owned(),
        |inside| format!("$WORKSPACE/{inside}"),
    );
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+/".contains(c);
    let name = program.strip_prefix("$WORKSPACE").unwrap_or(&program);
    let name = name.strip_prefix('~').unwrap_or(name);
    let is_path = name.starts_with('/') || !name.contains('/');
    let is_odd = !name.chars().all(plain) || !is_path || name.contains("..") || name == ".";
    if is_odd
        || name.is_empty()
        || words
            .iter()
            .any(|word| word.contains(shell) || *word == "...")
    {
        return None;
    }
    let args = match (words.is_empty(), line.is_open) {
        (true, true) => BTreeSet::new(),
        (_, is_open) => {
            let rest = is_open.then_some("...");
            let all = words.iter().copied().chain(rest).map(str::to_owned);
            BTreeSet::from([Arguments(all.collect())])
        }
    };
    Some(Command {
        program,
        args,
        origin: into.origin(&line.rule.node),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_policy::tree::{Node, Value};

    fn rule(text: &str) -> Rule {
        let span = 0..0;
        let value = Value::Bool(true);
        Rule {
            key: String::new(),
            node: Node { span, value },
            word: Word::Deny,
            line: text.into(),
        }
    }

    #[test]
    fn a_stricter_line_meets_what_may_be_the_same_command() {
        for (strict, other, met) in [
            ("git push:*", "git:*", true),
            ("git push:*", "git status:*", false),
            ("git push *", "git push origin", true),
            ("/usr/bin/git push:*", "git push", true),
            ("*rm*", "ls:*", true),
            ("git push --force*", "git push --tags", false),
            ("npm run test*", "npm run *", true),
            ("curl:*", "wget:*", false),
        ] {
            let (strict, other) = (rule(strict), rule(other));
            assert_eq!(
                meets(&line(&strict), &line(&other)),
                met,
                "{} {}",
                strict.line,
                other.line
            );
        }
    }

    #[test]
    fn a_program_is_a_file_or_none() {
        let count = |text: &str| files(&line(&rule(text))).map(|files| files.len());
        assert_eq!(count("curl:*"), Some(PROGRAM_DIRECTORIES.len()));
        assert_eq!(count("/opt/x -a"), Some(1));
        assert_eq!(count("./x"), Some(1));
        for text in ["eval:*", "*x", "A=b c", "$x", "../x"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
