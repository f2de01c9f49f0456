//! Allowlists of OpenClaw: a tool must be on each.

use super::names;
use creel_policy::tools::{Pattern, Profile};
use creel_policy::{Origin, Sourced};

/// The lists that a tool must be on, as they are collected.
#[derive(Default)]
pub struct Lists {
    pub profile: Option<Sourced<Profile>>,
    pub also: Vec<Pattern>,
    pub allow: Option<Sourced<Vec<Pattern>>>,
    /// The origin of an empty list in the source, which allows all tools.
    pub open: Option<Origin>,
}

impl Lists {
    /// Adds a list.
    pub fn narrow(&mut self, list: Sourced<Vec<Pattern>>) {
        self.allow = Some(match self.allow.take() {
            None => list,
            Some(known) => Sourced::new(names::common(&known.value, &list.value), known.origin),
        });
    }

    /// Adds the lists of an independent scope.
    pub fn narrow_by(&mut self, own: Lists) {
        if let Some(profile) = own.profile {
            let mut value = Pattern::of_texts(profile.value.allows().iter());
            value.extend(own.also);
            let origin = profile.origin;
            self.narrow(Sourced { value, origin });
        }
        if let Some(list) = own.allow {
            self.narrow(list);
        }
    }
}
