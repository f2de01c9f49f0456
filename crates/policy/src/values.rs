//! Variables of several layers, and the meet of two.

use std::collections::BTreeMap;

use super::origin::Sourced;

/// Variables with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// Names not listed: `Open` leaves them to other layers, `Closed` leaves them unset.
    pub others: Others,
    /// `None` if two layers set different values: the variable is then not set.
    pub named: BTreeMap<String, Option<Sourced<String>>>,
}

/// The treatment of names that are not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Others {
    /// Other layers decide on them.
    #[default]
    Open,
    /// They are not set.
    Closed,
}

impl Values {
    /// The variables that are set.
    pub fn set(&self) -> impl Iterator<Item = (&String, &Sourced<String>)> {
        let named = self.named.iter();
        named.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// Restricts nothing.
    pub(super) const OPEN: Values = Values {
        others: Others::Open,
        named: BTreeMap::new(),
    };

    pub(super) fn met(self, other: Values) -> Values {
        let mut named = BTreeMap::new();
        for name in self.named.keys().chain(other.named.keys()) {
            match (self.named.get(name), other.named.get(name)) {
                (Some(ours), Some(theirs)) => {
                    named.insert(name.clone(), agreed(ours, theirs));
                }
                (Some(value), None) if other.others == Others::Open => {
                    named.insert(name.clone(), value.clone());
                }
                (None, Some(value)) if self.others == Others::Open => {
                    named.insert(name.clone(), value.clone());
                }
                // The other side is closed and does not set it.
                _ => {}
            }
        }
        let others = self.others.max(other.others);
        if others == Others::Closed {
            // Not set in either case.
            named.retain(|_, value: &mut Option<_>| value.is_some());
        }
        Values { others, named }
    }
}

/// The value of both, if they are equal.
fn agreed(
    ours: &Option<Sourced<String>>,
    theirs: &Option<Sourced<String>>,
) -> Option<Sourced<String>> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.value == theirs.value => Some(Sourced::new(
            ours.value.clone(),
            ours.origin.clone().min(theirs.origin.clone()),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    #[test]
    fn a_closed_side_sets_what_it_names_and_no_more() {
        let values = |others, names: &[&str]| {
            let origin = Origin::creel();
            let value = |name: &&str| {
                let value = Sourced::new("v".to_owned(), origin.clone());
                ((*name).to_owned(), Some(value))
            };
            Values {
                others,
                named: names.iter().map(value).collect(),
            }
        };
        let open = values(Others::Open, &["A", "B"]);
        let closed = values(Others::Closed, &["B", "C"]);
        let names = |values: Values| values.named.into_keys().collect::<Vec<_>>();
        assert_eq!(names(open.clone().met(closed.clone())), ["B", "C"]);
        assert_eq!(names(closed.clone().met(open.clone())), ["B", "C"]);
        assert_eq!(
            names(open.clone().met(values(Others::Open, &["C"]))),
            ["A", "B", "C"]
        );
        assert_eq!(
            names(closed.clone().met(values(Others::Closed, &["B"]))),
            ["B"]
        );
        // Two values of one name are none, and that is remembered only where a name may still come.
        let unset = |others| Values {
            others,
            named: BTreeMap::from([("A".to_owned(), None)]),
        };
        assert_eq!(names(open.clone().met(unset(Others::Open))), ["A", "B"]);
        assert_eq!(open.clone().met(unset(Others::Open)).set().count(), 1);
        assert_eq!(names(open.clone().met(unset(Others::Closed))), [""; 0]);
    }
}
