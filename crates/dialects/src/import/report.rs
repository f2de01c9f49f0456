//! The result for each key of a foreign file.

use std::fmt;

use creel_policy::Origin;
use creel_policy::error::{escape, shown};
use creel_policy::words::words;

/// The text about a key is longer than a name, and may quote one.
const MOST: usize = 240;

words! {
    /// The result for one key.
    Fate {
        /// Creel has the same rule, and it holds.
        Enforced = "enforced",
        /// Said in creel's own words, which mean nearly the same and never more.
        Translated = "translated",
        /// Not taken over.
        NotHonoured = "not honoured",
    }
}

/// One key and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As the source has it: `tools.exec.ask`, `agents.list[2].id`.
    pub key: String,
    pub origin: Origin,
    pub fate: Fate,
    /// As what, or why not.
    pub text: String,
}

/// `FILE:LINE: KEY: translated: HOW`, one line whatever the source holds.
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
