//! Policy errors, one line each.
//!
//! Owns [`PolicyError`]: `FILE:LINE:COL: what is wrong; what to do about it`. A policy may come from an
//! unreviewed checkout, so its text is escaped and shortened before it reaches a terminal or a log.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::Origin;
pub use super::fault::{NameFault, PathFault, Remedy, RulesFault, nearest};
use super::net::NetworkFault;
use super::tools::PatternFault;
use super::tree::{Fault, Format};
use super::units::UnitError;

/// Why a policy was rejected. `Display` prints one line, whatever the policy's text contains.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    #[error("{}: is a directory; name a policy file in it", path_text(path))]
    IsDirectory { path: PathBuf },
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
    #[error("{at}: larger than {most} bytes; a policy lists directories, not files")]
    TooLarge { at: Place, most: usize },
    #[error("{at}: not UTF-8; save the file as UTF-8")]
    NotUtf8 { at: Place },
    #[error("{at}: begins with a byte order mark; save the file as UTF-8 without one")]
    ByteOrderMark { at: Place },
    /// `message` is the parser's. It is not a source, because its `Display` takes several lines and
    /// quotes the file unescaped.
    #[error("{at}: {}; {}see {} for the syntax", sentence(message), repair(message), format.reference())]
    Syntax {
        at: Place,
        message: String,
        format: Format,
    },
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
    #[error("{at}: '{}' is missing; add it", shown(key))]
    MissingKey { at: Place, key: String },
    #[error("{at}: '{}' is {found}; write {expected}", shown(key))]
    WrongType {
        at: Place,
        key: String,
        found: &'static str,
        expected: String,
    },
    #[error("{at}: '{key}' is '{}': {reason}", shown(value))]
    BadUnit {
        at: Place,
        key: Cow<'static, str>,
        value: String,
        // In the message, so not a source: a chain would print it twice.
        reason: UnitError,
    },
    /// A value that is not one of the known words.
    #[error("{at}: '{key}' has no '{}'; {remedy}", shown(word))]
    UnknownWord {
        at: Place,
        key: Cow<'static, str>,
        word: String,
        remedy: Remedy,
    },
    /// A word that the design has and this version does not implement.
    #[error(
        "{at}: '{key}' cannot be '{}' yet: other modes come with a later version; {remedy}",
        shown(word)
    )]
    Later {
        at: Place,
        key: Cow<'static, str>,
        word: String,
        remedy: Remedy,
    },
    #[error("{at}: path '{}' in '{key}' {fault}", shown(path))]
    BadPath {
        at: Place,
        key: Cow<'static, str>,
        path: String,
        fault: PathFault,
    },
    #[error("{at}: tool '{}' in '{key}' {fault}", shown(text))]
    BadPattern {
        at: Place,
        key: String,
        text: String,
        // In the message, so not a source.
        fault: PatternFault,
    },
    #[error(
        "{at}: command '{}' in '{key}' is no program; write its bare name or its path, without arguments or globs",
        shown(text)
    )]
    BadProgram {
        at: Place,
        key: String,
        text: String,
    },
    #[error("{at}: '{key}' is an empty list; {remedy}")]
    EmptyList {
        at: Place,
        key: String,
        remedy: &'static str,
    },
    /// A file that extends itself, or a chain of `extends` that is too long.
    #[error(
        "{at}: 'extends' leads through '{}' a second time, or deeper than anybody follows; take it out",
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
    #[error("{at}: {fault}")]
    Network { at: Place, fault: NetworkFault },
    /// Text of rules that ends early or does not start a rule.
    #[error("{at}: {fault}")]
    Rules { at: Place, fault: RulesFault },
    #[error("{at}: variable name '{}' {fault}", shown(name))]
    BadName {
        at: Place,
        name: String,
        fault: NameFault,
    },
    #[error(
        "{at}: the value of '{}' holds a NUL byte, which no environment carries; take it out",
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
    Self::Later { .. } => "later",
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
        TooLarge NotUtf8 ByteOrderMark Syntax Document UnknownKey MissingKey WrongType BadUnit UnknownWord Later
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

/// A position in a policy's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A file's path as the operator named it, or `preset:NAME`.
    pub file: String,
    /// 1-based; 0 if the error has no position in the text.
    pub line: u32,
    /// 1-based, in characters; 0 for the whole line.
    pub column: u32,
}

impl Place {
    /// The file as a whole, without a line.
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", escaped(self.file.chars()))?;
        match (self.line, self.column) {
            (0, _) => Ok(()),
            (line, 0) => write!(f, ":{line}"),
            (line, column) => write!(f, ":{line}:{column}"),
        }
    }
}

/// Policy text made safe for one line of a terminal: escaped, and shortened if long.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => escaped(text.chars()),
        Some((end, _)) => {
            escaped(text.chars().take(MOST)) + &format!("… ({} more bytes)", text.len() - end)
        }
    }
}

/// Escapes control characters, line ends and text reordering (U+202E and similar) as `\u{..}`.
pub fn escaped(text: impl Iterator<Item = char>) -> String {
    text.map(escape).collect()
}

/// One character, escaped as [`escaped`] does.
pub fn escape(c: char) -> String {
    match c {
        // Quotes need no escape here, and paths with `\` are easier to read without one.
        '\'' | '"' | '\\' => c.to_string(),
        _ => c.escape_debug().collect(),
    }
}

/// Escapes serialised JSON with `\u` where JSON does not require it but a terminal would act on it or a
/// line would end: DEL, the controls of ISO 6429 (U+0080 to U+009F), characters that reorder text, line
/// separators. The values stay the same.
pub fn escaped_json(text: String) -> String {
    use fmt::Write as _;
    let obeyed = |c: char| c >= '\x7f' && escape(c).starts_with('\\');
    if !text.contains(obeyed) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
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
        ("unclosed", "close what was opened (quote, bracket), or "),
        (
            "unterminated",
            "close what was opened (quote, bracket), or ",
        ),
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

    #[test]
    fn json_reads_as_the_same_and_holds_nothing_that_a_terminal_obeys() {
        let text = "a\u{7f}\u{80}\u{9b}31m\u{9f}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}\u{2029}\u{e0001}é\u{1f600}\"\\\n";
        let json = escaped_json(serde_json::to_string(text).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        let left: String = json.chars().filter(|c| !c.is_ascii()).collect();
        assert_eq!(left, "é\u{1f600}");
        assert!(
            json.contains("\\u009b31m") && json.contains("\\udb40\\udc01"),
            "{json}"
        );
        assert!(!json.contains('\x7f'));
    }

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
