//! What a layer allows, as an element of a lattice, and the meet of two.
//!
//! Every field is a set of permissions, and the top of each is "says nothing". [`Rights::meet`] takes
//! the smaller number, the stricter word, the common trees, names and commands, and all denials of
//! both. It is idempotent, associative and commutative, and its result is within either side, for
//! each field by itself: layers may be met in any order and none can widen another. Provenance
//! follows: what came of several origins names the one that sorts first.
//!
//! Paths must be expanded before they can be compared: [`Rights::of`] takes the places that `~` and
//! `$WORKSPACE` stand for, and nothing else of the machine.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::layer::{
    Arguments, Ask, Command, Layer, Limits, Mode, PROGRAM_DIRECTORIES, Rank, Scope, Security,
    Settings, Target,
};
use super::net;
use super::tools::{Filter, Pattern, Tool};
use super::trees::{Leaf, Trees, clean, within};
use super::{Absent, Count, Degradable, Grant, Origin, Sourced, Span, WorkspaceMode};

/// The smallest, or the strictest, that was named; `None` is the top.
pub type Bound<T> = Option<Sourced<T>>;
/// Names that all layers have which speak of them; `None` is the top.
pub type Names<T> = Option<BTreeMap<T, Origin>>;
/// Variables with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// What a layer does not name: with `Open` it has no opinion, with `Closed` it is not set.
    pub others: Others,
    /// `None`: two layers set it to different values, so it is not set.
    pub named: BTreeMap<String, Option<Sourced<String>>>,
}

/// What is said of the names that are not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Others {
    #[default]
    Open,
    Closed,
}

impl Values {
    /// The variables that are set, for good.
    pub fn set(&self) -> impl Iterator<Item = (&String, &Sourced<String>)> {
        self.named
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    fn meet(&self, other: &Values) -> Values {
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
                // The side that is closed does not set it.
                _ => {}
            }
        }
        let others = match (self.others, other.others) {
            (Others::Open, Others::Open) => Others::Open,
            _ => Others::Closed,
        };
        if others == Others::Closed {
            // Not set either way.
            named.retain(|_, value: &mut Option<_>| value.is_some());
        }
        Values { others, named }
    }
}
/// Paths that any layer named.
pub type Places = BTreeMap<String, Leaf>;

/// The jail's own directories, beside its home.
pub const OWN: [&str; 2] = ["/tmp", "/dev/shm"];
/// Before a path: the jail's own, not the host's. No path of a policy begins so.
const OWN_PREFIX: &str = "own:";

/// What one layer allows, or several together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    pub tools: Filter,
    pub elevated: Bound<bool>,
    pub max_iterations: Bound<Count>,
    /// A tool that is not in here is bound by nothing of its own.
    pub each: BTreeMap<Tool, Constraints>,
    /// Readable; where a layer names all kinds of grants, what it lets be written or executed too.
    pub read: Trees,
    pub write: Trees,
    /// Mapped as code by a program that loads it, as libraries are, where a grant of loading says so;
    /// see [`Rights::loadable`].
    pub load: Trees,
    /// The bound of that: who names executable trees lets be mapped as code what lies in these or in
    /// what they let be loaded.
    pub mapped: Trees,
    pub exec: Trees,
    pub deny: Places,
    pub protect: Places,
    /// Absolute patterns of denials; the names that they met are in `deny`.
    pub deny_patterns: Places,
    /// The same of `protect`.
    pub protect_patterns: Places,
    /// Trust paths that need no protection.
    pub unprotect: Names<String>,
    pub workspace: Bound<WorkspaceMode>,
    pub network: net::Bounds,
    /// Variables with their values; where two differ, neither is set.
    pub set: Values,
    pub pass: Names<String>,
    pub limits: Limits,
    pub allow_degraded: Names<Degradable>,
    pub mode: Bound<Mode>,
    pub scope: Bound<Scope>,
}

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

/// What `~` and `$WORKSPACE` stand for: absolute, clean paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    pub home: String,
    pub workspace: String,
}

impl Roots {
    /// `text` with its beginning replaced, cleaned.
    pub fn expand(&self, text: &str) -> String {
        let rooted = [("$WORKSPACE", &self.workspace), ("~", &self.home)];
        for (name, root) in rooted {
            // `~backup` is a name of its own.
            if within(text, name) {
                return clean(&format!("{root}/{}", &text[name.len()..]));
            }
        }
        clean(text)
    }

    /// Roots that stand for themselves, for what is the same on every machine.
    pub fn symbolic() -> Roots {
        Roots {
            home: "/~".into(),
            workspace: "/$WORKSPACE".into(),
        }
    }

    /// A name for one of the directories that every jail has of its own, if `path` is one: a grant of
    /// it changes that directory and grants nothing of the host's beneath it.
    pub fn own(&self, path: &str) -> Option<String> {
        (path == self.home || OWN.contains(&path)).then(|| format!("{OWN_PREFIX}{path}"))
    }

    /// The reverse, so that what was written with a root is shown with it.
    pub fn shorten(&self, path: &str) -> String {
        let path = path.strip_prefix(OWN_PREFIX).unwrap_or(path);
        for (root, name) in [(&self.workspace, "$WORKSPACE"), (&self.home, "~")] {
            if within(path, root) && root != "/" {
                return format!("{name}{}", &path[root.len()..]);
            }
        }
        path.to_owned()
    }
}

impl Default for Rights {
    /// The top: says nothing.
    fn default() -> Rights {
        Rights {
            tools: Filter::default(),
            elevated: None,
            max_iterations: None,
            each: BTreeMap::new(),
            read: Trees::All,
            write: Trees::All,
            load: Trees::All,
            mapped: Trees::All,
            exec: Trees::All,
            deny: Places::new(),
            protect: Places::new(),
            deny_patterns: Places::new(),
            protect_patterns: Places::new(),
            unprotect: None,
            workspace: None,
            network: net::Bounds::default(),
            set: Values::default(),
            pass: None,
            limits: Limits::default(),
            allow_degraded: None,
            mode: None,
            scope: None,
        }
    }
}

/// Of a tool of which nobody speaks.
static SILENT: Constraints = Constraints {
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

impl Rights {
    /// What a layer's text means on a machine with these roots. What its rank may not say
    /// (`unprotect`, `elevated = true`) is left out; [`super::clip`] reports it.
    pub fn of(layer: &Layer, rank: Rank, roots: &Roots) -> Rights {
        let files = &layer.filesystem;
        let (write, exec) = (trees(&files.write, roots), trees(&files.exec, roots));
        let named = |trees: &Trees| match trees {
            Trees::All => Trees::none(),
            trees => trees.clone(),
        };
        let load = trees(&files.load, roots);
        let mapped = match exec {
            Trees::All => Trees::All,
            _ => named(&load).join(&exec),
        };
        // Without a word about reading, what the layers above let be read stays readable. With one,
        // what may be written, loaded or executed is readable as well.
        let read = match &files.read {
            None => Trees::All,
            list => {
                let all = trees(list, roots).join(&named(&write)).join(&named(&exec));
                all.join(&named(&load))
            }
        };
        let mut rights = Rights {
            read,
            write,
            load,
            mapped,
            exec,
            deny: places(&files.deny, roots),
            protect: places(&files.protect, roots),
            deny_patterns: places(&files.deny_patterns, roots),
            protect_patterns: places(&files.protect_patterns, roots),
            unprotect: (rank <= Rank::Operator && !files.unprotect.is_empty()).then(|| {
                let places = places(&files.unprotect, roots).into_iter();
                places.map(|(path, leaf)| (path, leaf.origin)).collect()
            }),
            workspace: files.workspace.clone(),
            network: net::Bounds::of(&layer.network, rank),
            set: Values {
                others: Others::Open,
                named: layer
                    .environment
                    .set
                    .iter()
                    .flatten()
                    .map(|(name, value)| (name.clone(), Some(value.clone())))
                    .collect(),
            },
            pass: layer.environment.pass.as_deref().map(names),
            limits: layer.limits.clone(),
            allow_degraded: layer.allow_degraded.clone(),
            mode: layer.session.mode.clone(),
            scope: layer.session.scope.clone(),
            max_iterations: layer.tools.max_iterations.clone(),
            ..Rights::default()
        };
        rights.tools_of(layer, rank, roots);
        rights.hold(files, roots);
        rights
    }

    fn tools_of(&mut self, layer: &Layer, rank: Rank, roots: &Roots) {
        let tools = &layer.tools;
        if let Some(profile) = &tools.profile {
            let patterns = profile
                .value
                .allows()
                .iter()
                .flat_map(|text| Pattern::parse(text));
            self.tools
                .allow(patterns.flatten().collect(), profile.origin.clone());
        }
        if let Some(list) = &tools.allow {
            self.tools.allow(list.value.clone(), list.origin.clone());
        }
        for pattern in &tools.deny {
            self.tools
                .deny(pattern.value.clone(), pattern.origin.clone());
        }
        self.elevate(&tools.elevated, rank);
        for (tool, settings) in &tools.each {
            self.elevate(&settings.elevated, rank);
            if let Some(Sourced {
                value: false,
                origin,
            }) = &settings.enabled
            {
                for pattern in Pattern::parse(tool.name()).unwrap_or_default() {
                    self.tools.deny(pattern, origin.clone());
                }
            }
            self.each.insert(*tool, Constraints::of(settings, roots));
        }
    }

    /// `false` from anybody; `true` from the platform and the operator alone.
    fn elevate(&mut self, said: &Bound<bool>, rank: Rank) {
        let heard = said
            .clone()
            .filter(|said| !said.value || rank <= Rank::Operator);
        self.elevated = least(self.elevated.take(), heard);
    }

    /// What both allow.
    pub fn meet(&self, other: &Rights) -> Rights {
        self.clone().met(other.clone())
    }

    /// As [`Self::meet`], of rights that nobody needs any longer.
    pub fn met(self, other: Rights) -> Rights {
        let mut each = self.each;
        for (tool, theirs) in other.each {
            let both = match each.remove(&tool) {
                Some(ours) => ours.met(theirs),
                None => theirs,
            };
            each.insert(tool, both);
        }
        Rights {
            tools: self.tools.meet(other.tools),
            elevated: least(self.elevated, other.elevated),
            max_iterations: least(self.max_iterations, other.max_iterations),
            each,
            read: self.read.met(other.read),
            write: self.write.met(other.write),
            load: self.load.met(other.load),
            mapped: self.mapped.met(other.mapped),
            exec: self.exec.met(other.exec),
            deny: union(self.deny, other.deny),
            protect: union(self.protect, other.protect),
            deny_patterns: union(self.deny_patterns, other.deny_patterns),
            protect_patterns: union(self.protect_patterns, other.protect_patterns),
            unprotect: common(self.unprotect, other.unprotect),
            workspace: least(self.workspace, other.workspace),
            network: self.network.meet(&other.network),
            set: self.set.meet(&other.set),
            pass: common(self.pass, other.pass),
            limits: self.limits.met(other.limits),
            allow_degraded: common(self.allow_degraded, other.allow_degraded),
            mode: least(self.mode, other.mode),
            scope: least(self.scope, other.scope),
        }
    }

    /// What may be mapped as code without being executable: what all grant to be loaded who speak of
    /// it, within the bounds of those who name executable trees.
    pub fn loadable(&self) -> Trees {
        self.load.meet(&self.mapped)
    }

    /// What binds this tool.
    pub fn constraints(&self, tool: Tool) -> &Constraints {
        self.each.get(&tool).unwrap_or(&SILENT)
    }
}

impl Constraints {
    fn of(settings: &Settings, roots: &Roots) -> Constraints {
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

    fn met(self, other: Constraints) -> Constraints {
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

impl Limits {
    fn met(self, other: Limits) -> Limits {
        Limits {
            memory: least(self.memory, other.memory),
            memory_high: least(self.memory_high, other.memory_high),
            cpus: least(self.cpus, other.cpus),
            pids: least(self.pids, other.pids),
            timeout: least(self.timeout, other.timeout),
            cpu_time: least(self.cpu_time, other.cpu_time),
            disk: least(self.disk, other.disk),
            inodes: least(self.inodes, other.inodes),
            file_size: least(self.file_size, other.file_size),
            open_files: least(self.open_files, other.open_files),
            output: least(self.output, other.output),
            grace: least(self.grace, other.grace),
        }
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

fn expanded<'g>(grants: &'g [Grant], roots: &'g Roots) -> impl Iterator<Item = Grant> + 'g {
    grants.iter().map(|grant| Grant {
        path: roots.expand(&grant.path),
        ..grant.clone()
    })
}

/// The trees of a list of grants. The jail's own directories are none of the host's, and hold none.
fn trees(grants: &Option<Vec<Grant>>, roots: &Roots) -> Trees {
    let Some(grants) = grants else {
        return Trees::All;
    };
    Trees::of(expanded(grants, roots).map(|grant| Grant {
        path: roots.own(&grant.path).unwrap_or(grant.path),
        ..grant
    }))
}

fn places(grants: &[Grant], roots: &Roots) -> Places {
    let mut places = Places::new();
    for grant in expanded(grants, roots) {
        let leaf = Leaf {
            absent: grant.absent,
            origin: grant.origin,
        };
        place_in(&mut places, &grant.path, &leaf);
    }
    places
}

pub(super) fn place_in(places: &mut Places, path: &str, leaf: &Leaf) {
    match places.get_mut(path) {
        Some(known) => *known = known.merge(leaf),
        None => drop(places.insert(path.to_owned(), leaf.clone())),
    }
}

fn names(list: &[Sourced<String>]) -> BTreeMap<String, Origin> {
    let mut all: BTreeMap<String, Origin> = BTreeMap::new();
    for Sourced { value, origin } in list {
        // Of two, the first: a list is in the order of its lines.
        all.entry(value.clone()).or_insert_with(|| origin.clone());
    }
    all
}

/// The smaller of two bounds; of equals, the one whose origin sorts first.
pub(super) fn least<T: Ord>(a: Bound<T>, b: Bound<T>) -> Bound<T> {
    match (a, b) {
        (None, bound) | (bound, None) => bound,
        (Some(a), Some(b)) => Some(match (&a.value, &a.origin).cmp(&(&b.value, &b.origin)) {
            std::cmp::Ordering::Greater => b,
            _ => a,
        }),
    }
}

/// The names that both have.
pub(super) fn common<T: Ord>(a: Names<T>, b: Names<T>) -> Names<T> {
    match (a, b) {
        (None, names) | (names, None) => names,
        (Some(a), Some(mut b)) => Some(
            a.into_iter()
                .filter_map(|(name, origin)| {
                    let both = origin.min(b.remove(&name)?);
                    Some((name, both))
                })
                .collect(),
        ),
    }
}

/// The value that both have, if it is the same.
fn agreed(
    ours: &Option<Sourced<String>>,
    theirs: &Option<Sourced<String>>,
) -> Option<Sourced<String>> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.value == theirs.value => Some(Sourced {
            value: ours.value.clone(),
            origin: ours.origin.clone().min(theirs.origin.clone()),
        }),
        _ => None,
    }
}

/// The places of both.
pub(super) fn union(a: Places, b: Places) -> Places {
    let (mut all, less) = match a.len() < b.len() {
        true => (b, a),
        false => (a, b),
    };
    for (path, leaf) in less {
        match all.entry(path) {
            Entry::Vacant(place) => drop(place.insert(leaf)),
            Entry::Occupied(mut known) => *known.get_mut() = known.get().merge(&leaf),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_side_sets_what_it_names_and_no_more() {
        let values = |others, names: &[&str]| {
            let origin = Origin::creel();
            let value = |name: &&str| {
                let value = Sourced {
                    value: "v".to_owned(),
                    origin: origin.clone(),
                };
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
        assert_eq!(names(open.meet(&closed)), ["B", "C"]);
        assert_eq!(names(closed.meet(&open)), ["B", "C"]);
        assert_eq!(
            names(open.meet(&values(Others::Open, &["C"]))),
            ["A", "B", "C"]
        );
        assert_eq!(names(closed.meet(&values(Others::Closed, &["B"]))), ["B"]);
        // Two values of one name are none, and that is remembered only where a name may still come.
        let unset = |others| Values {
            others,
            named: BTreeMap::from([("A".to_owned(), None)]),
        };
        assert_eq!(names(open.meet(&unset(Others::Open))), ["A", "B"]);
        assert_eq!(open.meet(&unset(Others::Open)).set().count(), 1);
        assert_eq!(names(open.meet(&unset(Others::Closed))), [""; 0]);
    }
}
