//! The constraints on one tool that is allowed, from one layer or several.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::grant::Absent;
use super::lattice::{Bound, DenySet, Lattice, Names, Shared, lattice};
use super::layer::{Arguments, Ask, Command, Security, Settings, Target};
use super::lists::{names, places, trees};
use super::path_set::{AbsPath, PathRule, PathSet};
use super::roots::Roots;
use super::units::{Count, Span};

lattice! {
    /// The constraints on one tool that is allowed.
    pub struct Constraints {
        security: Bound<Security>,
        ask: Bound<Ask>,
        allowed: PathSet,
        denied: DenySet,
        commands: Option<BTreeMap<AbsPath, Allowed>>,
        timeout: Bound<Span>,
        /// Calls a minute.
        rate: Bound<Count>,
        max_iterations: Bound<Count>,
        channels: Names<String>,
        target: Bound<Target>,
    }
}

/// A program by its path, and what its arguments must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Lists of alternatives; the arguments must match one of each list. If empty, any arguments are
    /// allowed.
    pub args: BTreeSet<BTreeSet<Arguments>>,
    /// Its `absent` is `Skip` if the path is one of several that a bare name can mean.
    pub rule: PathRule,
}

impl Constraints {
    pub(super) fn of(settings: &Settings, roots: &Roots) -> Constraints {
        let listed = settings.commands.as_ref().map(|commands| {
            let mut all = BTreeMap::new();
            commands
                .iter()
                .for_each(|command| add_command(&mut all, command, roots));
            all
        });
        let spoken = settings.languages.as_ref().map(|languages| {
            let mut all = BTreeMap::new();
            for language in languages {
                for program in language.value.programs() {
                    let command = Command {
                        program: (*program).into(),
                        args: BTreeSet::new(),
                        origin: language.origin.clone(),
                    };
                    add_command(&mut all, &command, roots);
                }
            }
            all
        });
        Constraints {
            security: settings.security.clone(),
            ask: settings.ask.clone(),
            allowed: trees(&settings.allowed_paths, roots),
            denied: places(&settings.denied_paths, roots),
            // In one layer, commands and languages add up.
            commands: match (listed, spoken) {
                (Some(mut listed), Some(spoken)) => {
                    for (program, allowed) in spoken {
                        listed.insert(program, allowed);
                    }
                    Some(listed)
                }
                (listed, spoken) => listed.or(spoken),
            },
            timeout: settings.timeout.clone(),
            rate: settings.rate.clone(),
            max_iterations: settings.max_iterations.clone(),
            channels: settings.channels.as_deref().map(names),
            target: settings.target.clone(),
        }
    }
}

impl Shared for Allowed {
    fn shared(self, other: Allowed) -> Allowed {
        Allowed {
            args: self.args.met(other.args),
            rule: self.rule.merge(&other.rule),
        }
    }
}

impl Allowed {
    /// Whether these arguments, without the program name, are allowed.
    pub fn accepts(&self, args: &[String]) -> bool {
        let some =
            |alternatives: &BTreeSet<Arguments>| alternatives.iter().any(|a| a.matches(args));
        self.args.iter().all(some)
    }
}

/// Adds the program under each path that its name can mean. If one layer lists it twice, either entry may
/// match.
fn add_command(all: &mut BTreeMap<AbsPath, Allowed>, command: &Command, roots: &Roots) {
    let absent = match command.is_path() {
        true => Absent::Refuse,
        false => Absent::Skip,
    };
    for rule in command.rules(absent, roots) {
        let mut own = Allowed {
            args: match command.args.is_empty() {
                true => BTreeSet::new(),
                false => BTreeSet::from([command.args.clone()]),
            },
            rule,
        };
        match all.entry(own.rule.path.clone()) {
            Entry::Vacant(place) => drop(place.insert(own)),
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                own.rule.absent = known.rule.absent.stricter(absent);
                let before = std::mem::take(&mut known.args);
                own.args = match before.is_empty() || own.args.is_empty() {
                    // One of the two entries allows any arguments.
                    true => BTreeSet::new(),
                    false => {
                        let either = before.into_iter().chain(own.args).flatten();
                        BTreeSet::from([either.collect()])
                    }
                };
                *known = own;
            }
        }
    }
}
