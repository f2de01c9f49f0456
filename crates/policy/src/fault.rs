//! What is wrong with one word of a policy, and which word was probably meant.
//!
//! Owns the faults of paths, names and rules, each with its remedy, and the nearness of words. Where in
//! a text they stand is [`super::error`]'s.

use std::fmt;

/// What to do about a word that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The known word that was probably meant.
    Spelling(&'static str),
    /// The section that has this key.
    Section(&'static str),
    /// The key stands before all sections (TOML).
    TopLevel,
    /// The key stands beside the sections.
    Outermost,
    /// All that is known.
    Known(Vec<&'static str>),
}

/// What a grant's path may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    Empty,
    Nul,
    Relative,
    Parent,
    Variable,
    User,
    /// `**` beside other characters.
    Stars,
    /// A `[` that is not closed, or holds nothing.
    Bracket,
    /// Where a pattern cannot stand.
    Glob,
}

/// What the name of a variable may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    Malformed,
    Reserved,
}

/// Why a text is no list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesFault {
    #[error("a string is not closed; close it on its line")]
    OpenString,
    #[error("a bracket is not closed; close it")]
    OpenBracket,
    #[error("brackets are nested deeper than any rule needs; take the inner ones out")]
    TooDeep,
    #[error("a control character stands in the rules; remove it")]
    Character,
}

impl Remedy {
    /// The nearest of `known`, or all of them.
    pub fn among(word: &str, known: &[&'static str]) -> Self {
        match nearest(word, known) {
            Some(near) => Self::Spelling(near),
            None => Self::Known(known.to_vec()),
        }
    }
}

/// The one word of `known` nearest to `word`: at most two edits away (insertions, deletions and
/// replacements of one character), and no more than half of it. Of two equally near, neither.
pub fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    // No known word is near a text this long, and the distance costs length times length.
    if word.len() > 64 {
        return None;
    }
    let mut most = (word.chars().count() / 2).min(2) + 1;
    let mut best = None;
    for &candidate in known {
        let distance = distance(word, candidate);
        if distance < most {
            (most, best) = (distance, Some(candidate));
        } else if distance == most {
            best = None;
        }
    }
    best
}

/// Levenshtein distance, one row of the table at a time.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, cell) in to.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spelling(word) => write!(f, "did you mean '{word}'?"),
            Self::Section(section) => write!(f, "it belongs in [{section}]"),
            Self::TopLevel => write!(f, "move it above the first [section]"),
            Self::Outermost => write!(f, "move it to the top level"),
            Self::Known(words) => write!(f, "known: {}", words.join(", ")),
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty; name a directory or a file",
            Self::Nul => "holds a NUL byte, which no path does; take it out",
            Self::Relative => "is relative; begin it with '/', '~/' or '$WORKSPACE/'",
            Self::Parent => "has a '..'; name the directory that is meant",
            Self::Variable => {
                "has a '$': only a leading $WORKSPACE is expanded; write the path out, \
                 or '~' for the home directory"
            }
            Self::User => "names another home: '~' is the caller's own; write the path out",
            Self::Stars => {
                "has a '**' beside other characters; write it between slashes, or one '*' within a name"
            }
            Self::Bracket => {
                "has a '[' that no ']' closes, or that holds nothing; close it, or write '[[]' for the character"
            }
            Self::Glob => "is a pattern, which cannot stand here; write the paths out, and '[*]' for a star",
        })
    }
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => {
                "is not [A-Za-z_][A-Za-z0-9_]*; use letters, digits and '_', no digit first"
            }
            Self::Reserved => "is reserved: creel sets CREEL and CREEL_* itself; leave it out",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["read", "write", "exec", "deny", "rw", "ro1", "ro2"];
        for (word, expected) in [
            ("raed", Some("read")),
            ("reed", Some("read")),
            ("writes", Some("write")),
            ("wirte", Some("write")),
            ("exe", Some("exec")),
            ("rx", Some("rw")),
            ("rod", None),
            ("rea", Some("read")),
            ("", None),
            ("x", None),
            ("foo", None),
            ("forbid", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word:?}");
        }
        assert_eq!(nearest(&"r".repeat(1_000_000), &known), None);
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("raed", "read", 2),
            ("gräz", "graz", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
