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
        let mut finder = Finder::default();
        let mut met: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let unmet = stack.expand(roots, |wanted| {
            let key = wanted.key();
            let known = match self {
                Names::Here => met.get(&key),
                Names::Given(given) => given.get(&key),
            };
            let names = match (known, self) {
                (Some(names), _) => names.clone(),
                (None, Names::Here) => finder.find(wanted)?,
                (None, Names::Given(_)) => {
                    return Err(LayerError::NotLookedUp {
                        written: wanted.written.clone(),
                        origin: wanted.origin.clone(),
                    });
                }
            };
            met.insert(key, names.clone());
            Ok(names)
        })?;
        Ok(Expanded { met, unmet })
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
