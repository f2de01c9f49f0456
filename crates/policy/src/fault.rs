//! Faults in a single value of a policy: in a path, a name or a rule, each with its remedy.
//! [`super::error`] has their positions in a text.

use super::spelling::nearest;

/// The remedy for an unknown word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Remedy {
    /// The known word that was probably meant.
    #[error("did you mean '{0}'?")]
    Spelling(&'static str),
    /// The section that has this key.
    #[error("it belongs in [{0}]")]
    Section(&'static str),
    /// The key belongs before all sections (TOML).
    #[error("move it above the first [section]")]
    TopLevel,
    /// The key belongs beside the sections.
    #[error("move it to the top level")]
    Outermost,
    /// All known words.
    #[error("known: {}", .0.join(", "))]
    Known(Vec<&'static str>),
}

/// Why a grant's path is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// The path is empty.
    #[error("is empty; name a directory or a file")]
    Empty,
    /// A path contains a NUL byte.
    #[error("contains a NUL byte, which no path can contain; remove it")]
    Nul,
    /// The path is neither absolute nor below `~` or `$WORKSPACE`.
    #[error("is relative; begin it with '/', '~/' or '$WORKSPACE/'")]
    Relative,
    /// The path has a component `..`.
    #[error("contains '..'; write the path without it")]
    Parent,
    /// The path contains a `$` elsewhere than in a leading `$WORKSPACE`.
    #[error(
        "has a '$': only a leading $WORKSPACE is expanded; write the full path, or '~' for the home directory"
    )]
    Variable,
    /// The path begins with `~NAME`.
    #[error("names another user's home: '~' is only the caller's own; write the full path")]
    User,
    /// `**` next to other characters.
    #[error(
        "has a '**' beside other characters; write it between slashes, or one '*' within a name"
    )]
    Stars,
    /// A `[` that is not closed, or is empty.
    #[error(
        "has a '[' without a ']', or with nothing between the two; close it, or write '[[]' for a literal '['"
    )]
    Bracket,
    /// A pattern of a grant that has a place in the jail.
    #[error(
        "is a pattern, and a grant with 'at' names one path; leave 'at' out, or name the directory"
    )]
    MappedGlob,
    /// A rule that grants nothing has a place in the jail.
    #[error(
        "has an 'at', which only grants have; rules name paths as the host does, and follow a tree to its place"
    )]
    MappedRule,
    /// A path in the jail that is relative, or has `..`, a root, a wildcard or a control character.
    #[error(
        "is not a place in the jail; write an absolute path, or one that begins with '~/', without '..', '$' and wildcards"
    )]
    Place,
    /// A pattern where none is allowed.
    #[error(
        "is a pattern, which this key does not allow; list the paths, and write '[*]' for a literal star"
    )]
    Glob,
}

/// Why the name of a variable is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// The name is not one that shells accept: letters, digits and `_`, no digit first (POSIX.1, 8.1).
    #[error("is not [A-Za-z_][A-Za-z0-9_]*; use letters, digits and '_', no digit first")]
    Malformed,
    /// creel sets variables of this name itself.
    #[error("is reserved: creel sets CREEL and CREEL_* itself; leave it out")]
    Reserved,
}

/// Why a text is not a list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesFault {
    /// A string has no closing quote on its line.
    #[error("a string is not closed; close it on its line")]
    OpenString,
    /// A bracket is not closed at the end of the text.
    #[error("a bracket is not closed; close it")]
    OpenBracket,
    /// Brackets are nested deeper than the reader follows.
    #[error("brackets are nested too deeply; remove the inner ones")]
    TooDeep,
    /// The text has a control character outside of a string.
    #[error("the rules contain a control character; remove it")]
    Character,
}

impl Remedy {
    /// The nearest of `known`, or all of them if none is near.
    pub fn among(word: &str, known: &[&'static str]) -> Self {
        match nearest(word, known) {
            Some(near) => Self::Spelling(near),
            None => Self::Known(known.to_vec()),
        }
    }
}
