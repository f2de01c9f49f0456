//! The result for each key of a foreign file.

use std::fmt;

use creel_policy::Origin;
use creel_policy::error::{escape, shown};
use creel_policy::words::words;

/// The limit for the text about a key, which is longer than a name and may quote one.
const MOST: usize = 240;

words! {
    /// The result for one key.
    Fate {
        /// Creel has the same rule, and enforces it.
        Enforced = "enforced",
        /// Converted to rules of creel that mean nearly the same and never more.
        Translated = "translated",
        /// Not converted.
        NotHonoured = "not honoured",
    }
}

/// One key and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As in the source: `tools.exec.ask`, `agents.list[2].id`.
    pub key: String,
    /// The file and line of the key.
    pub origin: Origin,
    /// How closely creel follows it.
    pub fate: Fate,
    /// The converted rule, or the reason that there is none.
    pub text: String,
}

/// `FILE:LINE: KEY: translated: HOW`, in one line for any source text.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { source, line } = &self.origin;
        let source: String = source.chars().map(escape).collect();
        write!(
            f,
            "{source}:{line}: {}: {}: {}",
            shown(&self.key),
            self.fate.name(),
            self.text.chars().take(MOST).map(escape).collect::<String>()
        )
    }
}
