//! What no document may hold, in whatever format: each a way to mean something else than it says.

use std::fmt;

use crate::error::shown;

/// Why a document that its parser would take is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) arrays and tables in one another.
    TooDeep,
    /// A control character, a lone carriage return, or a mark that readers disagree about.
    Character(char),
    /// A string in quotes runs over the end of its line (JSON5).
    OpenString,
    /// `first` is the line of the other.
    Duplicate {
        key: String,
        first: u32,
    },
    KeyNotString,
    /// A bare key with characters for which JSON5 wants quotes.
    KeyNeedsQuotes(String),
    /// The top is no table; reads on from `is`.
    NotTable(&'static str),
    /// JSON5 without any value.
    Nothing,
    /// Infinity, not a number, or so large that it would become infinity.
    NotFinite(String),
    Alias,
    Anchor,
    MergeKey,
    Tag,
    Directive,
    SecondDocument,
    /// Before a key of a block.
    Tab,
    /// A word that is true or false in YAML 1.1 and a string in YAML 1.2.
    Boolean(String),
    /// A number that YAML 1.1 and YAML 1.2 read differently.
    Number(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(
                f,
                "nested deeper than {} levels; a policy needs five",
                super::MAX_DEPTH
            ),
            Self::Character(c) => write!(
                f,
                "holds the character U+{:04X}, which cannot be seen; remove it, or write it as an \
                 escape in double quotes",
                u32::from(*c)
            ),
            Self::OpenString => write!(
                f,
                "a string runs over the end of its line; close it, or write \\n for the line end"
            ),
            Self::Duplicate { key, first } => write!(
                f,
                "key '{}' is there already, on line {first}; remove one of them",
                shown(key)
            ),
            Self::KeyNotString => write!(f, "a key is not a string; put it in quotes"),
            Self::KeyNeedsQuotes(key) => write!(
                f,
                "key '{}' is not made of letters, digits, '_' and '$' alone; put it in quotes",
                shown(key)
            ),
            Self::NotTable(kind) => write!(
                f,
                "the document is {kind}; write a table: keys with their values"
            ),
            Self::Nothing => write!(
                f,
                "the document holds nothing; write {{}} for a policy that grants nothing"
            ),
            Self::NotFinite(number) => {
                write!(f, "'{}' is not finite; write a number", shown(number))
            }
            Self::Alias => write!(f, "an alias (*name) is not taken; write the value out"),
            Self::Anchor => write!(
                f,
                "an anchor (&name) is not taken; remove it, or put the value in quotes"
            ),
            Self::MergeKey => write!(f, "a merge key (<<) is not taken; write the keys out"),
            Self::Tag => write!(
                f,
                "a tag (!name) is not taken; remove it, or put the value in quotes"
            ),
            Self::Directive => write!(f, "a directive (%NAME) is not taken; remove it"),
            Self::SecondDocument => write!(
                f,
                "a second document begins here; keep one document in one file"
            ),
            Self::Tab => write!(f, "a tab indents this key; indent with spaces"),
            Self::Boolean(word) => write!(
                f,
                "'{}' is a boolean in YAML 1.1 and a string in YAML 1.2; put it in quotes, or write \
                 true or false",
                shown(word)
            ),
            Self::Number(word) => write!(
                f,
                "'{}' is one number in YAML 1.1 and something else in YAML 1.2; put it in quotes, or \
                 write it in plain digits",
                shown(word)
            ),
        }
    }
}
