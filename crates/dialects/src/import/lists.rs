//! The lists of OpenClaw that a tool must be in.

use super::names;
use creel_policy::tools::{Pattern, Profile};
use creel_policy::{Origin, Sourced};

/// The lists that a tool must be in, as they are found.
#[derive(Default)]
pub struct Lists {
    pub profile: Option<Sourced<Profile>>,
    pub also: Vec<Pattern>,
    pub allow: Option<Sourced<Vec<Pattern>>>,
    /// An empty list of the source, which allows all.
    pub open: Option<Origin>,
}

impl Lists {
    /// A further list.
    pub fn narrow(&mut self, list: Sourced<Vec<Pattern>>) {
        self.allow = Some(match self.allow.take() {
            None => list,
            Some(known) => Sourced {
                value: names::common(&known.value, &list.value),
                origin: known.origin,
            },
        });
    }

    /// The lists of a scope that stands beside these.
    pub fn narrow_by(&mut self, own: Lists) {
        if let Some(profile) = own.profile {
            let mut value = expanded(profile.value);
            value.extend(own.also);
            let origin = profile.origin;
            self.narrow(Sourced { value, origin });
        }
        if let Some(list) = own.allow {
            self.narrow(list);
        }
    }
}

pub fn expanded(profile: Profile) -> Vec<Pattern> {
    let words = profile.allows().iter();
    words
        .flat_map(|word| Pattern::parse(word).unwrap_or_default())
        .collect()
}
