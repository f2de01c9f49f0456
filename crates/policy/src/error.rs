//! Policy errors, one line each.
//!
//! Owns [`PolicyError`]: `FILE:LINE:COL: what is wrong; what to do about it`. A policy may come from an
//! unreviewed checkout, so its text is escaped and shortened before it reaches a terminal or a log.

use std::borrow::Cow;
use std::path::PathBuf;

pub use super::escape::{escape, escaped, escaped_json, shown};
pub use super::fault::{NameFault, PathFault, Remedy, RulesFault};
use super::net::fault::NetworkFault;
use super::origin::Origin;
pub use super::place::Place;
use super::quantity::UnitError;
use super::tools::PatternFault;
use super::tree::fault::Fault;
use super::tree::format::Format;

/// Why a policy was rejected. `Display` prints one line, whatever the policy's text contains.
///
/// In every variant, `at` is the place in the text, and `key` is the key as messages show it:
/// `filesystem.read`. `name`, `word`, `value`, `text` and `path` are as written. `remedy` and `fault` end the
/// sentence of the message, and `known` lists the names to choose from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum PolicyError {
    /// The read itself failed; the reason is the [`source`](std::error::Error::source).
    #[error(
        "{}: cannot read the policy; check the path and its permissions",
        path_text(path)
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The path is a directory.
    #[error("{}: is a directory; name a policy file in it", path_text(path))]
    IsDirectory { path: PathBuf },
    /// No preset has this name.
    #[error("no preset is named '{}'; {}presets: {}", shown(name), did_you_mean(*suggestion), known.join(", "))]
    MissingPreset {
        name: String,
        known: Vec<&'static str>,
        suggestion: Option<&'static str>,
    },

    /// A bare name, which means a preset, used for a file of that name.
    #[error(
        "no preset is named '{0}'; for the file of that name write './{0}'",
        shown(name)
    )]
    BareFile { name: String },

    /// `most` in bytes.
    #[error("{at}: the file is larger than {most} bytes; list directories, not files")]
    TooLarge { at: Place, most: usize },
    /// The bytes of a file are not UTF-8.
    #[error("{at}: the file is not UTF-8; save it as UTF-8")]
    NotUtf8 { at: Place },
    /// U+FEFF at the start of a file.
    #[error("{at}: the file begins with a byte order mark; save it as UTF-8 without one")]
    ByteOrderMark { at: Place },
    /// `message` is the parser's. It is not a source, because its `Display` takes several lines and
    /// quotes the file unescaped.
    #[error("{at}: {}; {}see {} for the syntax", sentence(message), repair(message), format.reference())]
    Syntax {
        at: Place,
        message: String,
        format: Format,
    },
    /// The document uses a feature that policies do not support.
    #[error("{at}: {fault}")]
    Document { at: Place, fault: Fault },

    /// `section` continues the sentence after the key: `in [limits]`, `at the top level`.
    #[error("{at}: unknown key '{}' {section}; {remedy}", shown(key))]
    UnknownKey {
        at: Place,
        key: String,
        section: &'static str,
        remedy: Remedy,
    },
    /// A table has no value for a required key.
    #[error("{at}: '{}' is missing; add it", shown(key))]
    MissingKey { at: Place, key: String },
    /// A value has another type than its key takes; `expected` continues the sentence after `write`.
    #[error("{at}: '{}' is {found}; write {expected}", shown(key))]
    WrongType {
        at: Place,
        key: String,
        found: &'static str,
        expected: String,
    },
    /// A size, a time, a count or a share is not valid.
    #[error("{at}: '{key}' is '{}': {reason}", shown(value))]
    BadUnit {
        at: Place,
        key: Cow<'static, str>,
        value: String,
        // In the message, so not a source: a chain would print it twice.
        reason: UnitError,
    },
    /// A value that is not one of the known words.
    #[error("{at}: '{key}' does not have the value '{}'; {remedy}", shown(word))]
    UnknownWord {
        at: Place,
        key: Cow<'static, str>,
        word: String,
        remedy: Remedy,
    },
    /// A path or a pattern of paths is not valid.
    #[error("{at}: path '{}' in '{key}' {fault}", shown(path))]
    BadPath {
        at: Place,
        key: Cow<'static, str>,
        path: String,
        fault: PathFault,
    },
    /// A tool's name or pattern is not valid.
    #[error("{at}: tool '{}' in '{key}' {fault}", shown(text))]
    BadPattern {
        at: Place,
        key: String,
        text: String,
        // In the message, so not a source.
        fault: PatternFault,
    },
    /// A command is not the name or the path of a program.
    #[error(
        "{at}: command '{}' in '{key}' is not a program; write its bare name or its path, without arguments or globs",
        shown(text)
    )]
    BadProgram {
        at: Place,
        key: String,
        text: String,
    },
    /// A list that must have elements is empty.
    #[error("{at}: '{key}' is an empty list; {remedy}")]
    EmptyList {
        at: Place,
        key: String,
        remedy: &'static str,
    },
    /// A file that extends itself, or a chain of `extends` that is too long.
    #[error(
        "{at}: 'extends' includes '{}' twice, or is nested too deeply; remove the entry",
        shown(name)
    )]
    Extends { at: Place, name: String },
    /// The base that `extends` names cannot be loaded.
    #[error("{at}: 'extends': {reason}")]
    Base { at: Place, reason: Box<PolicyError> },
    /// A file of another program has agents, but not this one.
    #[error("{at}: no agent is called '{}'; agents: {}", shown(name), shown(&known.join(", ")))]
    MissingAgent {
        at: Place,
        name: String,
        known: Vec<String>,
    },
    /// A value of `[network]` is not valid.
    #[error("{at}: {fault}")]
    Network { at: Place, fault: NetworkFault },
    /// Text of rules that ends early or does not start a rule.
    #[error("{at}: {fault}")]
    Rules { at: Place, fault: RulesFault },
    /// The name of an environment variable is not valid.
    #[error("{at}: variable name '{}' {fault}", shown(name))]
    BadName {
        at: Place,
        name: String,
        fault: NameFault,
    },
    /// The value of an environment variable contains a NUL byte.
    #[error(
        "{at}: the value of '{}' contains a NUL byte, which no variable can contain; remove it",
        shown(name)
    )]
    NulInValue { at: Place, name: String },
}

crate::codes!(PolicyError {
    Self::Unreadable { .. } => "unreadable",
    Self::IsDirectory { .. } => "is-directory",
    Self::MissingPreset { .. } => "missing-preset",
    Self::BareFile { .. } => "bare-file",
    Self::TooLarge { .. } => "too-large",
    Self::NotUtf8 { .. } => "not-utf8",
    Self::ByteOrderMark { .. } => "byte-order-mark",
    Self::Syntax { .. } => "syntax",
    Self::Document { .. } => "document",
    Self::UnknownKey { .. } => "unknown-key",
    Self::MissingKey { .. } => "missing-key",
    Self::WrongType { .. } => "wrong-type",
    Self::BadUnit { .. } => "bad-unit",
    Self::UnknownWord { .. } => "unknown-word",
    Self::BadPath { .. } => "bad-path",
    Self::BadPattern { .. } => "bad-pattern",
    Self::BadProgram { .. } => "bad-program",
    Self::EmptyList { .. } => "empty-list",
    Self::Extends { .. } => "extends",
    Self::Base { .. } => "base",
    Self::MissingAgent { .. } => "missing-agent",
    Self::Network { .. } => "network",
    Self::Rules { .. } => "rules",
    Self::BadName { .. } => "bad-name",
    Self::NulInValue { .. } => "nul-in-value",
});

macro_rules! placed {
    ($($at:ident)+; unplaced $($bare:ident)+) => {
        /// The place of the error in a text; `None` if it has no text.
        pub fn place(&self) -> Option<&Place> {
            match self { $(Self::$at { at, .. } => Some(at),)+ $(Self::$bare { .. } => None,)+ }
        }
    };
}

impl PolicyError {
    placed! {
        TooLarge NotUtf8 ByteOrderMark Syntax Document UnknownKey MissingKey WrongType BadUnit UnknownWord
        BadPath BadPattern BadProgram EmptyList Extends Base MissingAgent Network Rules BadName NulInValue;
        unplaced Unreadable IsDirectory MissingPreset BareFile
    }

    /// The file and the line of the error, as a rule has them; `None` if it has no text.
    pub fn origin(&self) -> Option<Origin> {
        self.place().map(|at| Origin {
            source: at.file.as_str().into(),
            line: at.line,
        })
    }

    /// The message without the place before it.
    pub fn reason(&self) -> String {
        let text = self.to_string();
        let before = self.place().map(|at| format!("{at}: "));
        let rest = before.and_then(|before| text.strip_prefix(&before).map(str::to_owned));
        rest.unwrap_or(text)
    }
}

fn path_text(path: &std::path::Path) -> String {
    escaped(path.to_string_lossy().chars())
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |word| format!("did you mean '{word}'? "))
}

/// The fix for the most common syntax errors; an empty text for others.
fn repair(message: &str) -> &'static str {
    const REPAIRS: [(&str, &str); 9] = [
        ("duplicate key", "remove one of the two, or "),
        ("unclosed", "close the quote or the bracket, or "),
        ("unterminated", "close the quote or the bracket, or "),
        ("must be quoted", "write a value, text in quotes, or "),
        ("comma", "write a comma, or close the list before, or "),
        ("expected key", "write KEY = VALUE, or "),
        ("tabs", "indent with spaces, or "),
        ("block mapping", "indent the keys of one table alike, or "),
        (
            "block collection",
            "indent the members of one list alike, or ",
        ),
    ];
    let message = message.to_lowercase();
    let found = REPAIRS.iter().find(|(said, _)| message.contains(said));
    match found {
        // For a wrong indent, the YAML parser reports that it expected a key.
        Some((_, "write KEY = VALUE, or ")) if message.contains("block mapping") => {
            "indent the keys of one table alike, or "
        }
        found => found.map_or("", |(_, repair)| repair),
    }
}

/// A parser's message may quote the file, start with a capital and end with a full stop.
fn sentence(message: &str) -> String {
    let mut rest = message.trim_end_matches('.').chars();
    let first = rest.next().map(|c| c.to_ascii_lowercase());
    shown(&first.into_iter().chain(rest).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str) -> Place {
        Place {
            file: file.to_owned(),
            line: 3,
            column: 1,
        }
    }

    #[test]
    fn an_unknown_key_reads_as_promised() {
        let error = PolicyError::UnknownKey {
            at: at("policy.toml"),
            key: "raed".to_owned(),
            section: "in [filesystem]",
            remedy: Remedy::among("raed", &["read", "write", "exec", "deny"]),
        };
        assert_eq!(
            error.to_string(),
            "policy.toml:3:1: unknown key 'raed' in [filesystem]; did you mean 'read'?"
        );
    }

    #[test]
    fn what_the_policy_says_cannot_drive_the_terminal() {
        let key =
            "a\nb\r\0\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2028}é'".to_owned() + &"x".repeat(1_000_000);
        let message = PolicyError::MissingKey {
            at: at("evil\nfile\u{1b}"),
            key,
        }
        .to_string();
        assert!(message.len() < 300, "{}", message.len());
        assert!(!message.contains(|c: char| c.is_control() || "\u{202e}\u{2028}".contains(c)));
        assert!(message.starts_with("evil\\nfile\\u{1b}:3:1: 'a\\nb\\r\\0\\u{1b}[31m"));
        assert!(message.contains("é'"));
    }

    #[test]
    fn a_missing_preset_names_them_all() {
        let error = |name: &str, suggestion| {
            PolicyError::MissingPreset {
                name: name.to_owned(),
                known: vec!["coding", "default"],
                suggestion,
            }
            .to_string()
        };
        assert_eq!(
            error("codng", Some("coding")),
            "no preset is named 'codng'; did you mean 'coding'? presets: coding, default"
        );
        assert_eq!(
            error("x", None),
            "no preset is named 'x'; presets: coding, default"
        );
    }

    #[test]
    fn a_failed_read_keeps_its_cause() {
        let error = PolicyError::Unreadable {
            path: PathBuf::from("p.toml"),
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        };
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("entity not found"));
        assert_eq!(
            error.to_string(),
            "p.toml: cannot read the policy; check the path and its permissions"
        );
    }
}
