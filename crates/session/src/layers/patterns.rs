//! The expansion of patterns in layers.

use std::collections::BTreeMap;

use super::error::LayerError;
use creel_jail::globs::Finder;
use creel_policy::Absent;
use creel_policy::expand::Unmet;
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;

/// The result of expanding the layers' patterns.
#[derive(Debug, Default)]
pub struct Expanded {
    /// The names that each pattern matches, by [`creel_policy::expand::Wanted::key`].
    pub met: BTreeMap<String, Vec<String>>,
    /// Patterns of grants that match nothing.
    pub unmet: Vec<Unmet>,
    /// The number of directory entries that were read; none for another machine.
    pub entries: usize,
}

/// The source of the names that patterns match.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// On this machine.
    Here,
    /// In the description of another machine.
    Given(&'a BTreeMap<String, Vec<String>>),
}

impl Names<'_> {
    /// Replaces the patterns of the layers by the names that they match.
    pub fn expand(self, stack: &mut Stack, roots: &Roots) -> Result<Expanded, LayerError> {
        let mut finder = match self {
            Names::Here => Finder::of(&stack.wanted(roots))?,
            Names::Given(_) => Finder::default(),
        };
        let mut met: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let unmet = stack.expand(roots, |wanted| {
            let key = wanted.key();
            let names = match self {
                Names::Here => finder.find(wanted)?,
                Names::Given(given) => match given.get(&key) {
                    Some(names) => names.clone(),
                    None => {
                        return Err(LayerError::NotLookedUp {
                            written: wanted.written.clone(),
                            origin: wanted.origin.clone(),
                        });
                    }
                },
            };
            met.insert(key, names.clone());
            Ok(names)
        })?;
        let entries = finder.entries();
        Ok(Expanded {
            met,
            unmet,
            entries,
        })
    }
}

impl Expanded {
    /// Returns an error if the pattern of a grant that is not optional matches nothing.
    pub fn all_met(&self) -> Result<(), LayerError> {
        match self.unmet.iter().find(|one| one.absent == Absent::Refuse) {
            None => Ok(()),
            Some(one) => Err(LayerError::MeetsNothing {
                written: one.written.clone(),
                origin: one.origin.clone(),
            }),
        }
    }
}
