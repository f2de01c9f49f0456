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

use std::collections::btree_map::{BTreeMap, Entry};

use super::constraints::SILENT;
pub use super::constraints::{Allowed, Constraints};
use super::layer::{Layer, Limits, Mode, Rank, Scope};
use super::net;
pub use super::roots::{GROUPS, OWN, Roots};
use super::tools::{Filter, Pattern, Tool};
use super::trees::{Leaf, Trees};
pub use super::values::{Others, Values};
use super::{Count, Degradable, Grant, Origin, Sourced, WorkspaceMode};

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
    /// Whether the name and the address of the operator's git come in.
    pub git_identity: Bound<bool>,
    pub limits: Limits,
    /// Whether debuggers may trace.
    pub debug: Bound<bool>,
    pub allow_degraded: Names<Degradable>,
    pub mode: Bound<Mode>,
    pub scope: Bound<Scope>,
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
            git_identity: None,
            limits: Limits::default(),
            debug: None,
            allow_degraded: None,
            mode: None,
            scope: None,
        }
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
            git_identity: layer.environment.git_identity.clone(),
            limits: layer.limits.clone(),
            debug: layer.process.debug.clone(),
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
            git_identity: least(self.git_identity, other.git_identity),
            limits: self.limits.met(other.limits),
            debug: least(self.debug, other.debug),
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

fn expanded<'g>(grants: &'g [Grant], roots: &'g Roots) -> impl Iterator<Item = Grant> + 'g {
    grants.iter().map(|grant| Grant {
        path: roots.expand(&grant.path),
        ..grant.clone()
    })
}

/// The trees of a list of grants. The jail's own directories are none of the host's, and hold none.
pub(super) fn trees(grants: &Option<Vec<Grant>>, roots: &Roots) -> Trees {
    let Some(grants) = grants else {
        return Trees::All;
    };
    Trees::of(expanded(grants, roots).map(|grant| Grant {
        path: roots.own(&grant.path).unwrap_or(grant.path),
        ..grant
    }))
}

pub(super) fn places(grants: &[Grant], roots: &Roots) -> Places {
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

pub(super) fn names(list: &[Sourced<String>]) -> BTreeMap<String, Origin> {
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
