//! The access that a layer allows, as an element of a lattice, and the meet of two.
//!
//! Every field is a set of permissions, and the top of each restricts nothing. [`Rights::meet`] takes the
//! smaller number, the stricter word, the common trees, names and commands, and all denials of both. It
//! is idempotent, associative and commutative, and its result is within either side, for each field
//! separately. So layers may be met in any order and none can widen another. If a value has several
//! origins, the one that sorts first is kept.
//!
//! Paths must be expanded before they can be compared: [`Rights::of`] takes the places that `~` and
//! `$WORKSPACE` stand for, and no other fact of the machine.

use std::collections::{BTreeMap, BTreeSet};

pub use super::constraints::{Allowed, Constraints};
use super::degradable::Degradable;
use super::grant::WorkspaceMode;
use super::lattice::lattice;
pub use super::lattice::{Bound, DenySet, Lattice, Names};
use super::layer::{Layer, Limits, Mode, Rank, Scope};
use super::lists::{names, patterns, places, trees};
use super::mapping::{self, Mapping};
use super::net;
use super::origin::Sourced;
use super::path_set::{AbsPath, PathSet};
pub use super::roots::{FRESH_WORKSPACE, GROUPS, OWN, Roots};
use super::tools::{Filter, Pattern, Tool};
use super::units::Count;
pub use super::values::{Others, Values};

lattice! {
    /// The access that one layer allows, or several together.
    pub struct Rights {
        tools: Filter,
        elevated: Bound<bool>,
        max_iterations: Bound<Count>,
        /// A tool that is not a key has no constraints of its own.
        each: BTreeMap<Tool, Constraints>,
        /// Readable. If the layer sets `read`, its writable, loadable and executable trees are included.
        read: PathSet,
        write: PathSet,
        /// Mapped as code, as libraries are, if a `load` grant allows it; see [`Rights::loadable`].
        load: PathSet,
        /// The bound of `load`: a layer with an `exec` list lets code be mapped only from its `exec` and
        /// `load` trees.
        mapped: PathSet,
        exec: PathSet,
        deny: DenySet,
        protect: DenySet,
        /// Absolute patterns of denials; the names that they met are in `deny`.
        deny_patterns: DenySet,
        /// The same for `protect`.
        protect_patterns: DenySet,
        /// The places of granted trees in the jail.
        places: BTreeSet<Mapping>,
        /// Trust paths without protection.
        unprotect: Names<AbsPath>,
        workspace: Bound<WorkspaceMode>,
        network: net::Bounds,
        /// Variables with their values; if two layers differ, the variable is not set.
        set: Values,
        pass: Names<String>,
        /// Whether the jail gets the operator's git name and address.
        git_identity: Bound<bool>,
        limits: Limits,
        /// Whether debuggers may trace.
        debug: Bound<bool>,
        allow_degraded: Names<Degradable>,
        mode: Bound<Mode>,
        scope: Bound<Scope>,
    }
}

impl Rights {
    /// The rights of a layer on a machine with these roots. Settings that its rank may not make
    /// (`unprotect`, `elevated = true`) are left out; [`clipped`](super::compare::clipped) reports them.
    pub fn of(layer: &Layer, rank: Rank, roots: &Roots) -> Rights {
        let files = &layer.filesystem;
        let (write, exec) = (trees(&files.write, roots), trees(&files.exec, roots));
        let named = |trees: &PathSet| match trees {
            PathSet::All => PathSet::none(),
            trees => trees.clone(),
        };
        let load = trees(&files.load, roots);
        let mapped = match exec {
            PathSet::All => PathSet::All,
            _ => named(&load).join(&exec),
        };
        // Without a `read` list, what the layers above make readable stays readable. With one, writable,
        // loadable and executable trees are readable as well.
        let read = match &files.read {
            None => PathSet::All,
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
            deny_patterns: patterns(&files.deny_patterns, roots),
            protect_patterns: patterns(&files.protect_patterns, roots),
            places: mapping::of(files, roots),
            unprotect: (rank <= Rank::Operator && !files.unprotect.is_empty()).then(|| {
                let places = places(&files.unprotect, roots).into_iter();
                places.map(|(path, rule)| (path, rule.origin)).collect()
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
            let patterns = Pattern::of_texts(profile.value.allows().iter());
            self.tools.allow(patterns, profile.origin.clone());
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

    /// Any layer may set `false`; only the platform and the operator may set `true`.
    fn elevate(&mut self, said: &Bound<bool>, rank: Rank) {
        let heard = said
            .clone()
            .filter(|said| !said.value || rank <= Rank::Operator);
        self.elevated = self.elevated.take().met(heard);
    }

    /// The meet: what both allow.
    pub fn meet(&self, other: &Rights) -> Rights {
        self.clone().met(other.clone())
    }

    /// The trees that may be mapped as code without being executable: granted by every layer with a
    /// `load` list, within the bounds of every layer with an `exec` list.
    pub fn loadable(&self) -> PathSet {
        self.load.meet(&self.mapped)
    }

    /// The constraints on this tool.
    pub fn constraints(&self, tool: Tool) -> &Constraints {
        self.each.get(&tool).unwrap_or(const { &Constraints::TOP })
    }
}
