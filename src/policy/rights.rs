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

use std::collections::{BTreeMap, BTreeSet};

use super::layer::{
    Arguments, Ask, Command, Layer, Limits, Mode, PROGRAM_DIRECTORIES, Rank, Scope, Security,
    Settings, Target,
};
use super::tools::{Filter, Pattern, Tool};
use super::trees::{Leaf, Trees, clean, within};
use super::{Count, Degradable, Grant, Network, Origin, Sourced, Span, WorkspaceMode};

/// The smallest, or the strictest, that was named; `None` is the top.
pub type Bound<T> = Option<Sourced<T>>;
/// Names that all layers have which speak of them; `None` is the top.
pub type Names<T> = Option<BTreeMap<T, Origin>>;
/// Paths that any layer named.
pub type Places = BTreeMap<String, Leaf>;

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
    pub exec: Trees,
    pub deny: Places,
    pub protect: Places,
    /// Trust paths that need no protection.
    pub unprotect: Names<String>,
    pub workspace: Bound<WorkspaceMode>,
    pub network: Bound<Network>,
    /// Variables with their values; where two differ, neither is set.
    pub set: Option<BTreeMap<String, Sourced<String>>>,
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
        let under = |root: &str, rest: &str| clean(&format!("{root}/{rest}"));
        match (text.strip_prefix("$WORKSPACE"), text.strip_prefix('~')) {
            (Some(rest), _) => under(&self.workspace, rest),
            (_, Some(rest)) => under(&self.home, rest),
            _ => clean(text),
        }
    }

    /// The reverse, so that what was written with a root is shown with it.
    pub fn shorten(&self, path: &str) -> String {
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
            exec: Trees::All,
            deny: Places::new(),
            protect: Places::new(),
            unprotect: None,
            workspace: None,
            network: None,
            set: None,
            pass: None,
            limits: Limits::default(),
            allow_degraded: None,
            mode: None,
            scope: None,
        }
    }
}

impl Default for Constraints {
    fn default() -> Constraints {
        Constraints {
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
        }
    }
}

impl Rights {
    /// What a layer's text means on a machine with these roots. What its rank may not say
    /// (`unprotect`, `elevated = true`) is left out; [`super::clip`] reports it.
    pub fn of(layer: &Layer, rank: Rank, roots: &Roots) -> Rights {
        let files = &layer.filesystem;
        let trees = |grants: &Option<Vec<Grant>>| match grants {
            Some(grants) => Trees::of(expanded(grants, roots)),
            None => Trees::All,
        };
        let (write, exec) = (trees(&files.write), trees(&files.exec));
        // Without a word about reading, what the layers above let be read stays readable. With one,
        // what may be written or executed is readable as well.
        let read = match &files.read {
            None => Trees::All,
            Some(_) => {
                let named = |trees: &Trees| match trees {
                    Trees::All => Trees::none(),
                    trees => trees.clone(),
                };
                trees(&files.read).join(&named(&write)).join(&named(&exec))
            }
        };
        let mut rights = Rights {
            read,
            write,
            exec,
            deny: places(&files.deny, roots),
            protect: places(&files.protect, roots),
            unprotect: (rank <= Rank::Operator && !files.unprotect.is_empty()).then(|| {
                expanded(&files.unprotect, roots)
                    .map(|grant| (grant.path, grant.origin))
                    .collect()
            }),
            workspace: files.workspace.clone(),
            network: layer.network.clone(),
            set: layer.environment.set.clone(),
            pass: layer.environment.pass.as_deref().map(names),
            limits: layer.limits.clone(),
            allow_degraded: layer.allow_degraded.clone(),
            mode: layer.session.mode.clone(),
            scope: layer.session.scope.clone(),
            max_iterations: layer.tools.max_iterations.clone(),
            ..Rights::default()
        };
        rights.tools_of(layer, rank, roots);
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
        self.elevated = least(&self.elevated, &heard);
    }

    /// What both allow.
    pub fn meet(&self, other: &Rights) -> Rights {
        let mut each = self.each.clone();
        for (tool, theirs) in &other.each {
            let both = each
                .get(tool)
                .map_or(theirs.clone(), |ours| ours.meet(theirs));
            each.insert(*tool, both);
        }
        Rights {
            tools: self.tools.meet(&other.tools),
            elevated: least(&self.elevated, &other.elevated),
            max_iterations: least(&self.max_iterations, &other.max_iterations),
            each,
            read: self.read.meet(&other.read),
            write: self.write.meet(&other.write),
            exec: self.exec.meet(&other.exec),
            deny: union(&self.deny, &other.deny),
            protect: union(&self.protect, &other.protect),
            unprotect: common(&self.unprotect, &other.unprotect),
            workspace: least(&self.workspace, &other.workspace),
            network: least(&self.network, &other.network),
            set: agreed(&self.set, &other.set),
            pass: common(&self.pass, &other.pass),
            limits: self.limits.meet(&other.limits),
            allow_degraded: common(&self.allow_degraded, &other.allow_degraded),
            mode: least(&self.mode, &other.mode),
            scope: least(&self.scope, &other.scope),
        }
    }

    /// What binds this tool.
    pub fn constraints(&self, tool: Tool) -> Constraints {
        self.each.get(&tool).cloned().unwrap_or_default()
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
            allowed: match &settings.allowed_paths {
                Some(grants) => Trees::of(expanded(grants, roots)),
                None => Trees::All,
            },
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

    fn meet(&self, other: &Constraints) -> Constraints {
        let commands = match (&self.commands, &other.commands) {
            (None, commands) | (commands, None) => commands.clone(),
            (Some(ours), Some(theirs)) => Some(
                ours.iter()
                    .filter_map(|(path, a)| Some((path.clone(), a.meet(theirs.get(path)?))))
                    .collect(),
            ),
        };
        Constraints {
            security: least(&self.security, &other.security),
            ask: least(&self.ask, &other.ask),
            allowed: self.allowed.meet(&other.allowed),
            denied: union(&self.denied, &other.denied),
            commands,
            timeout: least(&self.timeout, &other.timeout),
            rate: least(&self.rate, &other.rate),
            max_iterations: least(&self.max_iterations, &other.max_iterations),
            channels: common(&self.channels, &other.channels),
            target: least(&self.target, &other.target),
        }
    }
}

impl Allowed {
    fn meet(&self, other: &Allowed) -> Allowed {
        Allowed {
            args: self.args.union(&other.args).cloned().collect(),
            origin: self.origin.clone().min(other.origin.clone()),
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
    pub fn meet(&self, other: &Limits) -> Limits {
        Limits {
            memory: least(&self.memory, &other.memory),
            memory_high: least(&self.memory_high, &other.memory_high),
            cpus: least(&self.cpus, &other.cpus),
            pids: least(&self.pids, &other.pids),
            timeout: least(&self.timeout, &other.timeout),
            cpu_time: least(&self.cpu_time, &other.cpu_time),
            disk: least(&self.disk, &other.disk),
            inodes: least(&self.inodes, &other.inodes),
            file_size: least(&self.file_size, &other.file_size),
            open_files: least(&self.open_files, &other.open_files),
            output: least(&self.output, &other.output),
            grace: least(&self.grace, &other.grace),
        }
    }
}

/// The program under each path that its name may mean. Twice in one layer: either may match.
fn add_command(all: &mut BTreeMap<String, Allowed>, command: &Command, roots: &Roots) {
    let paths: Vec<String> = match command.program.contains('/') || command.program == "~" {
        true => vec![roots.expand(&command.program)],
        false => PROGRAM_DIRECTORIES
            .iter()
            .map(|dir| format!("{dir}/{}", command.program))
            .collect(),
    };
    for path in paths {
        let alternatives = match all.remove(&path) {
            // One of the two takes any arguments.
            Some(known) if known.args.is_empty() || command.args.is_empty() => BTreeSet::new(),
            Some(known) => known
                .args
                .into_iter()
                .flatten()
                .chain(command.args.clone())
                .collect(),
            None => command.args.clone(),
        };
        let args = match alternatives.is_empty() {
            true => BTreeSet::new(),
            false => BTreeSet::from([alternatives]),
        };
        let origin = command.origin.clone();
        all.insert(path, Allowed { args, origin });
    }
}

fn expanded<'g>(grants: &'g [Grant], roots: &'g Roots) -> impl Iterator<Item = Grant> + 'g {
    grants.iter().map(|grant| Grant {
        path: roots.expand(&grant.path),
        ..grant.clone()
    })
}

fn places(grants: &[Grant], roots: &Roots) -> Places {
    let mut places = Places::new();
    for grant in expanded(grants, roots) {
        let leaf = Leaf {
            absent: grant.absent,
            origin: grant.origin,
        };
        place(&mut places, &grant.path, &leaf);
    }
    places
}

fn place(places: &mut Places, path: &str, leaf: &Leaf) {
    let known = places.get(path);
    let merged = known.map_or(leaf.clone(), |known| known.merge(leaf));
    places.insert(path.to_owned(), merged);
}

fn names(list: &[Sourced<String>]) -> BTreeMap<String, Origin> {
    let mut all: BTreeMap<String, Origin> = BTreeMap::new();
    for name in list {
        let origin = all.get(&name.value).cloned().unwrap_or(name.origin.clone());
        all.insert(name.value.clone(), origin.min(name.origin.clone()));
    }
    all
}

/// The smaller of two bounds; of equals, the one whose origin sorts first.
fn least<T: Ord + Clone>(a: &Bound<T>, b: &Bound<T>) -> Bound<T> {
    match (a, b) {
        (None, bound) | (bound, None) => bound.clone(),
        (Some(a), Some(b)) => Some(match (&a.value, &a.origin).cmp(&(&b.value, &b.origin)) {
            std::cmp::Ordering::Greater => b.clone(),
            _ => a.clone(),
        }),
    }
}

/// The names that both have.
fn common<T: Ord + Clone>(a: &Names<T>, b: &Names<T>) -> Names<T> {
    match (a, b) {
        (None, names) | (names, None) => names.clone(),
        (Some(a), Some(b)) => Some(
            a.iter()
                .filter_map(|(name, origin)| {
                    Some((name.clone(), origin.clone().min(b.get(name)?.clone())))
                })
                .collect(),
        ),
    }
}

/// The variables that both set to the same value.
fn agreed(
    a: &Option<BTreeMap<String, Sourced<String>>>,
    b: &Option<BTreeMap<String, Sourced<String>>>,
) -> Option<BTreeMap<String, Sourced<String>>> {
    match (a, b) {
        (None, set) | (set, None) => set.clone(),
        (Some(a), Some(b)) => Some(
            a.iter()
                .filter_map(|(name, ours)| {
                    let theirs = b.get(name).filter(|theirs| theirs.value == ours.value)?;
                    let first = ours.origin <= theirs.origin;
                    Some((name.clone(), if first { ours } else { theirs }.clone()))
                })
                .collect(),
        ),
    }
}

/// The places of both.
fn union(a: &Places, b: &Places) -> Places {
    let mut all = a.clone();
    b.iter()
        .for_each(|(path, leaf)| place(&mut all, path, leaf));
    all
}
