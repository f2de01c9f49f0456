//! Syntax that is refused in every format, because it may not mean what it says.

use crate::escape::shown;

/// The maximum nesting of arrays and tables, not counting the outermost.
pub const MAX_DEPTH: usize = 80;

/// Why a document that its parser accepts is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More than [`MAX_DEPTH`] arrays and tables in one another.
    #[error(
        "the document is nested deeper than {} levels; a policy needs five",
        MAX_DEPTH
    )]
    TooDeep,
    /// A control character, a lone carriage return, or a mark that readers disagree about.
    #[error("the document contains the character U+{:04X}, which is invisible; remove it, or write it as an escape in double quotes", u32::from(*.0))]
    Character(char),
    /// A string in quotes continues past the end of its line (JSON5).
    #[error("a string continues past the end of its line; close it, or write \\n for the line end")]
    OpenString,
    /// A key stands in one table twice.
    #[error(
        "key '{}' exists already, on line {first}; remove one of them",
        shown(key)
    )]
    Duplicate {
        /// The key, without quotes.
        key: String,
        /// The line of the other key, 1-based.
        first: u32,
    },
    /// A number, a boolean, null, a list or a table as a key.
    #[error("a key is not a string; put it in quotes")]
    KeyNotString,
    /// A bare key with characters that JSON5 allows only in quotes.
    #[error("key '{}' is not made of letters, digits, '_' and '$' alone; put it in quotes", shown(.0))]
    KeyNeedsQuotes(String),
    /// The top-level value is not a table; continues the sentence after `is`.
    #[error("the document is {0}; write a table: keys with their values")]
    NotTable(&'static str),
    /// A JSON5 document without a value.
    #[error("the document is empty; write {{}} for a policy that grants nothing")]
    Nothing,
    /// Infinity, not a number, or so large that it would become infinity.
    #[error("'{}' is not finite; write a number", shown(.0))]
    NotFinite(String),
    /// `*name` (YAML).
    #[error("aliases (*name) are not supported; write the value itself")]
    Alias,
    /// `&name` (YAML).
    #[error("anchors (&name) are not supported; remove the anchor, or put the value in quotes")]
    Anchor,
    /// `<<` (YAML 1.1).
    #[error("merge keys (<<) are not supported; write the keys themselves")]
    MergeKey,
    /// `!name` (YAML).
    #[error("tags (!name) are not supported; remove the tag, or put the value in quotes")]
    Tag,
    /// `%NAME` (YAML).
    #[error("directives (%NAME) are not supported; remove the directive")]
    Directive,
    /// `---` after the first document (YAML).
    #[error("a second document begins here; keep one document in one file")]
    SecondDocument,
    /// A tab before a key of a block.
    #[error("a tab indents this key; indent with spaces")]
    Tab,
    /// A word that is true or false in YAML 1.1 and a string in YAML 1.2.
    #[error("'{}' is a boolean in YAML 1.1 and a string in YAML 1.2; put it in quotes, or write true or false", shown(.0))]
    Boolean(String),
    /// A number that YAML 1.1 and YAML 1.2 read differently.
    #[error("'{}' is one number in YAML 1.1 and something else in YAML 1.2; put it in quotes, or write it in plain digits", shown(.0))]
    Number(String),
}
