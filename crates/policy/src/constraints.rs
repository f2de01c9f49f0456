//! What binds one tool beside its being allowed, of one layer or of several.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::layer::{Arguments, Ask, Command, PROGRAM_DIRECTORIES, Security, Settings, Target};
use super::rights::{Bound, Names, Places, Roots, common, least, names, places, trees, union};
use super::trees::Trees;
use super::{Absent, Count, Origin, Span};

/// What binds one tool beside its being allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    pub security: Bound<Security>,
    pub ask: Bound<Ask>,
    pub allowed: Trees,
    pub denied: Places,
    pub commands: Option<BTreeMap<String, Allowed>>,
    pub timeout: Bound<Span>,
    /// Calls a minute.
    pub rate: Bound<Count>,
    pub max_iterations: Bound<Count>,
    pub channels: Names<String>,
    pub target: Bound<Target>,
}

/// A program by its path, and what its arguments must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Lists of alternatives, one of each must match; none: any arguments.
    pub args: BTreeSet<BTreeSet<Arguments>>,
    /// Skip: the path is one of those that a bare name may mean.
    pub absent: Absent,
    pub origin: Origin,
}

/// Of a tool of which nobody speaks.
pub(super) static SILENT: Constraints = Constraints {
    security: None,
    ask: None,
    allowed: Trees::All,
    denied: Places::new(),
    commands: None,
    timeout: None,
    rate: None,
    max_iterations: None,
    channels: None,
    target: None,
};

impl Default for Constraints {
    fn default() -> Constraints {
        SILENT.clone()
    }
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

    pub(super) fn met(self, other: Constraints) -> Constraints {
        let commands = match (self.commands, other.commands) {
            (None, commands) | (commands, None) => commands,
            (Some(ours), Some(mut theirs)) => Some(
                ours.into_iter()
                    .filter_map(|(path, ours)| {
                        let both = ours.met(theirs.remove(&path)?);
                        Some((path, both))
                    })
                    .collect(),
            ),
        };
        Constraints {
            security: least(self.security, other.security),
            ask: least(self.ask, other.ask),
            allowed: self.allowed.met(other.allowed),
            denied: union(self.denied, other.denied),
            commands,
            timeout: least(self.timeout, other.timeout),
            rate: least(self.rate, other.rate),
            max_iterations: least(self.max_iterations, other.max_iterations),
            channels: common(self.channels, other.channels),
            target: least(self.target, other.target),
        }
    }
}

impl Allowed {
    fn met(mut self, mut other: Allowed) -> Allowed {
        self.args.append(&mut other.args);
        Allowed {
            args: self.args,
            absent: self.absent.stricter(other.absent),
            origin: self.origin.min(other.origin),
        }
    }

    /// Whether these arguments, without the program's own name, are allowed.
    pub fn accepts(&self, args: &[String]) -> bool {
        let some =
            |alternatives: &BTreeSet<Arguments>| alternatives.iter().any(|a| a.matches(args));
        self.args.iter().all(some)
    }
}

/// The program under each path that its name may mean. Twice in one layer: either may match.
fn add_command(all: &mut BTreeMap<String, Allowed>, command: &Command, roots: &Roots) {
    let (paths, absent) = match command.program.contains('/') || command.program == "~" {
        true => (vec![roots.expand(&command.program)], Absent::Refuse),
        false => {
            let paths = PROGRAM_DIRECTORIES.iter();
            let paths = paths.map(|dir| [dir, "/", &command.program].concat());
            (paths.collect(), Absent::Skip)
        }
    };
    for path in paths {
        let mut own = Allowed {
            args: match command.args.is_empty() {
                true => BTreeSet::new(),
                false => BTreeSet::from([command.args.clone()]),
            },
            absent,
            origin: command.origin.clone(),
        };
        match all.entry(path) {
            Entry::Vacant(place) => drop(place.insert(own)),
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                own.absent = known.absent.stricter(absent);
                let before = std::mem::take(&mut known.args);
                own.args = match before.is_empty() || own.args.is_empty() {
                    // One of the two takes any arguments.
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
