//! The place where a value was written, kept with the value.

use std::sync::Arc;

/// The place where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// A file's path as the operator named it, `preset:NAME`, or `command line`.
    /// Shared, since every value of a file has it.
    pub source: Arc<str>,
    /// 1-based; 0 where the source has no lines.
    pub line: u32,
}

impl Origin {
    /// The origin of values that creel sets by default.
    pub fn creel() -> Origin {
        Origin {
            source: "creel".into(),
            line: 0,
        }
    }

    /// The origin of a grant or a limit of a flag, named with its dashes.
    pub fn flag(name: &str) -> Origin {
        Origin {
            source: name.into(),
            line: 0,
        }
    }

    /// Whether a flag set the value. A file may have the name of a flag, but its values have lines.
    pub fn is_flag(&self) -> bool {
        self.line == 0 && self.source.starts_with("--")
    }

    /// The origin of a value; creel's own if the value is not set.
    pub fn of<T>(said: Option<&Sourced<T>>) -> Origin {
        said.map_or_else(Origin::creel, |said| said.origin.clone())
    }

    /// Whether the value is built in: set by creel or by a policy that ships with it, not by a user.
    pub fn is_built_in(&self) -> bool {
        *self.source == *"creel" || self.source.starts_with("preset:")
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = self.source.escape_debug();
        match self.line {
            0 => write!(f, "{source}"),
            line => write!(f, "{source}:{line}"),
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The place where it was written.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// A value that was written at `origin`.
    pub fn new(value: T, origin: Origin) -> Sourced<T> {
        Sourced { value, origin }
    }

    /// A value that creel sets by default.
    pub fn creel(value: T) -> Sourced<T> {
        Sourced::new(value, Origin::creel())
    }
}
