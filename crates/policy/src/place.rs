//! A position in a policy's text, as errors name it.

use std::fmt;

use super::escape::escaped;

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
