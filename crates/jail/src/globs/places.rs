//! The patterns of a walk, and the positions in them.

use std::path::{Path, PathBuf};

use creel_policy::expand::Wanted;
use creel_policy::glob::{Part, Pattern, Sense};
use creel_policy::matcher::Matcher;

/// A pattern to look for.
pub(super) struct Sought<'a> {
    pub wanted: &'a Wanted,
    pub parts: Vec<Step>,
    /// The directory before the first wildcard.
    pub base: PathBuf,
    /// The number of parts in `base`.
    pub start: usize,
    /// The real path of the directory that a grant must not lead out of.
    pub real: Option<PathBuf>,
}

/// A part of a pattern.
pub(super) enum Step {
    Name(String),
    Wild(Matcher),
    /// `**`
    Deep,
}

impl<'a> Sought<'a> {
    pub fn new(wanted: &'a Wanted, pattern: &Pattern) -> Sought<'a> {
        let steps = pattern.parts().iter().map(|part| match part {
            Part::Name(name) => Step::Name(name.clone()),
            Part::Wild(tokens) => Step::Wild(Matcher::new(tokens, wanted.sense)),
            Part::Deep => Step::Deep,
        });
        let parts: Vec<Step> = steps.collect();
        let names = parts.iter().map_while(|step| match step {
            Step::Name(name) => Some(name),
            _ => None,
        });
        // The last part is looked for, whatever it is.
        let names: Vec<&String> = names.take(parts.len().saturating_sub(1)).collect();
        let real = match wanted.sense {
            Sense::Grant => Path::new(&pattern.base()).canonicalize().ok(),
            Sense::Denial => None,
        };
        Sought {
            wanted,
            base: Path::new("/").join(names.iter().collect::<PathBuf>()),
            start: names.len(),
            real,
            parts,
        }
    }

    /// Whether this part is the pattern's last one.
    pub fn is_last(&self, part: usize) -> bool {
        part + 1 == self.parts.len()
    }
}

/// A position in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The index of the pattern.
    pub pattern: usize,
    /// The index of the part that is looked for.
    pub part: usize,
    /// Directories that the `**` here has matched so far.
    pub level: usize,
}

impl Place {
    /// The place of the next part.
    pub fn after(self) -> Place {
        Place {
            part: self.part + 1,
            level: 0,
            ..self
        }
    }

    /// The place of a `**` that matches one directory more.
    pub fn deeper(self) -> Place {
        Place {
            level: self.level + 1,
            ..self
        }
    }
}
