//! The flags of a run, as the last layer.
//!
//! Without a platform's or an operator's policy the caller is the operator, and each flag grants in addition
//! to the other layers. With such a policy, each flag must lie within the access that all layers together
//! leave ([`Flags::check`]). In both cases the flags become lines of the policy ([`Flags::apply`]), whose
//! origin is the flag, so that a plan has one policy and an explanation shows every line.

use std::fmt::Display;
use std::path::{Component, Path, PathBuf};

use super::error::DeclareError;
use super::{Asked, AskedPath, Place, publish};
use creel_plan::request::{MappedPath, RawGrant, Way};
use creel_policy::containment::walls;
use creel_policy::effective_access::{EffectiveAccess, reach};
use creel_policy::layer::{Layer, Rank};
use creel_policy::net::{Bounds, Mode, Rule};
use creel_policy::path_set::{PathSet, within};
use creel_policy::rights::{Rights, Roots};
use creel_policy::{
    AbsPath, Absent, Execution, Filesystem, Network, Origin, PathRule, Policy, Sourced,
    WorkspaceMode,
};

/// The flags of a request, with absolute paths.
pub(super) struct Flags<'a> {
    asked: &'a Asked,
    /// The workspace and its path in the jail, if that is not the path on the host.
    workspace: Option<(PathBuf, &'a Path)>,
    paths: Vec<Named<'a>>,
}

/// A path that a flag names.
struct Named<'a> {
    flag: &'static str,
    way: Way,
    written: &'a Path,
    /// In the jail, if that is not the path on the host.
    at: Option<&'a Path>,
    /// Absolute; `..` stays in it.
    path: PathBuf,
    /// The trees that the layers grant around it.
    within: Vec<AbsPath>,
}

impl<'a> Flags<'a> {
    /// Makes the paths absolute. Returns an error if one is relative and the current directory was removed.
    pub fn of(asked: &'a Asked, place: &Place) -> Result<Flags<'a>, DeclareError> {
        let mut paths = vec![];
        for (flag, way, list) in [
            ("--read", Way::Read, &asked.read),
            ("--write", Way::Write, &asked.write),
            ("--exec", Way::Exec, &asked.exec),
        ] {
            for AskedPath { path: written, at } in list {
                paths.push(Named {
                    flag,
                    way,
                    written,
                    at: at.as_deref(),
                    path: place.absolute(written)?,
                    within: vec![],
                });
            }
        }
        let own = asked.workspace.as_deref().unwrap_or(".".as_ref());
        let workspace = match &asked.workspace_at {
            Some(at) => Some((place.absolute(own)?, at.as_path())),
            None => None,
        };
        Ok(Flags {
            asked,
            workspace,
            paths,
        })
    }

    /// Whether a flag grants a path.
    pub fn name_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Returns an error if a flag asks for more than the layers leave: `rights` are finalized, and `policy`
    /// results from them. A tool's rules can leave less than a grant says, and bind a flag too. A link must
    /// not lead a path out of the trees that the `layers` grant around it; the plan checks that.
    pub fn check(
        &mut self,
        rights: &Rights,
        policy: &Policy,
        layers: &[(Rank, Layer)],
        roots: &Roots,
    ) -> Result<(), DeclareError> {
        let asked = self.asked;
        let left = reach(rights, roots);
        for named in &mut self.paths {
            let Some(tree) = named.tree(rights, &left) else {
                let written = named.written.to_string_lossy();
                return Err(beyond(named.flag, &written, "filesystem"));
            };
            let text = named.path.ancestors().find_map(Path::to_str);
            let text = text.unwrap_or_default();
            let mut walls = walls(layers, named.way.lists(), text, roots);
            walls.insert(tree);
            let outer = walls.into_iter();
            let outer = outer.filter(|tree| Path::new(tree.as_str()) != named.path);
            named.within.extend(outer);
        }
        for rule in &asked.allow_net {
            within_network("--allow-net", rule, (&rights.network, &policy.network))?;
        }
        publish::check(&asked.publish)?;
        for (name, value) in &asked.env {
            let name = name.to_string_lossy();
            let passed = policy.environment.pass.iter().any(|p| p.value == name);
            let set = policy.environment.set.get(name.as_ref());
            if !passed && set.is_none_or(|set| *set.value != **value) {
                return Err(beyond("--env", &name, "environment.pass"));
            }
        }
        for layer in &asked.allow_degraded {
            if !policy.allow_degraded.contains(layer) {
                return Err(beyond("--allow-degraded", layer.name(), "allow_degraded"));
            }
        }
        match policy.limits.exceeded(&asked.limits) {
            Some([asked, most]) => Err(DeclareError::OverLimit {
                flag: asked.origin.source.to_string(),
                asked: asked.value,
                most: most.value,
                origin: most.origin,
            }),
            None => Ok(()),
        }
    }

    /// The flags as text, for the receipt. The values of variables may be secret and stay out.
    pub fn words(&self) -> Vec<String> {
        let asked = self.asked;
        let mut words = vec![];
        let mut add = |flag: &str, value: &dyn Display| words.push(format!("{flag} {value}"));
        for named in &self.paths {
            match named.at {
                Some(at) => add(named.flag, &Mapped(&named.path, at)),
                None => add(named.flag, &named.path.display()),
            }
        }
        if let Some((path, at)) = &self.workspace {
            add("--workspace", &Mapped(path, at));
        }
        if let Some(mode) = asked.workspace_mode {
            add("--workspace", &format_args!(":{}", mode.name()));
        }
        for rule in &asked.allow_net {
            add("--allow-net", &rule.destination());
        }
        for (name, _) in &asked.env {
            add("--env", &name.display());
        }
        for limit in asked.limits.texts() {
            add(&limit.origin.source, &limit.value);
        }
        for layer in &asked.allow_degraded {
            add("--allow-degraded", &layer.name());
        }
        words
    }

    /// The trees that the flags put at other paths than the host's.
    pub fn mapped(&self) -> Vec<MappedPath> {
        let named = self.paths.iter();
        let named = named.filter_map(|named| Some((&named.path, named.at?, named.flag)));
        let own = self.workspace.iter();
        let own = own.map(|(path, at)| (path, *at, "--workspace"));
        let mapped = |(path, at, flag): (&PathBuf, &Path, _)| MappedPath {
            path: path.clone(),
            at: at.components().collect(),
            origin: Origin::flag(flag),
        };
        named.chain(own).map(mapped).collect()
    }

    /// Adds the flags to the policy. Returns the paths that no line of it can name, since they are not UTF-8.
    pub fn apply(self, policy: &mut Policy, roots: &Roots) -> Vec<RawGrant> {
        let mut raw = vec![];
        let files = &mut policy.filesystem;
        for named in self.paths {
            let Named {
                way, path, within, ..
            } = named;
            let origin = Origin::flag(named.flag);
            let grants = match way {
                Way::Read => &mut files.read,
                Way::Write => &mut files.write,
                Way::Load => &mut files.load,
                Way::Exec => &mut files.exec,
            };
            match path.into_os_string().into_string() {
                Ok(path) => grants.push(PathRule {
                    within,
                    ..roots.rule(path, Absent::Refuse, origin)
                }),
                Err(path) => raw.push(RawGrant {
                    way,
                    path: path.into(),
                    within,
                    origin,
                }),
            }
        }
        if let Some(value) = self.asked.workspace_mode {
            if value != WorkspaceMode::None {
                shown(files, &mut policy.exec.value, roots);
            }
            let origin = Origin::flag("--workspace");
            files.workspace = Some(Sourced { value, origin });
        }
        policy.limits.replace(&self.asked.limits);
        policy.allow_degraded.extend(&self.asked.allow_degraded);
        raw
    }
}

/// A path of the host and its path in the jail, as a flag has them.
struct Mapped<'a>(&'a Path, &'a Path);

impl Display for Mapped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1.display())
    }
}

impl Named<'_> {
    /// The tree in which the layers grant this access to the path. A path that leads upwards is in none.
    fn tree(&self, rights: &Rights, left: &EffectiveAccess) -> Option<AbsPath> {
        let mut parts = self.path.components();
        if parts.any(|part| part == Component::ParentDir) {
            return None;
        }
        // A policy names no path that is not UTF-8, but it can name a directory above one.
        let path = self.path.ancestors().find_map(Path::to_str)?;
        // A file that may be written, loaded or executed may be read.
        let (granted, left) = match self.way {
            Way::Read => (
                &rights.read,
                vec![&left.read, &left.write, &left.load, &left.exec],
            ),
            Way::Write => (&rights.write, vec![&left.write]),
            Way::Load => (&rights.load, vec![&left.load]),
            Way::Exec => (&rights.exec, vec![&left.exec]),
        };
        let mut trees = left.into_iter().flat_map(PathSet::host);
        let around = trees.find(|tree| within(path, &tree.path))?;
        granted.cover(path).then(|| around.path.clone())
    }
}

/// Without a ceiling a flag may show the workspace although a rule of the policy hides it. `$WORKSPACE` of the
/// executable grants is then the caller's directory again, not a fresh one.
fn shown(files: &mut Filesystem, exec: &mut Execution, roots: &Roots) {
    let programs = match exec {
        Execution::Only(programs) => programs.as_mut_slice(),
        Execution::Granted | Execution::Worker => &mut [],
    };
    for rule in files.exec.iter_mut().chain(programs) {
        if let Some(written) = rule.written.as_deref().filter(|text| text.starts_with('$')) {
            rule.path = roots.expand(written);
        }
    }
}

/// Returns an error if the network of all layers together does not grant all of the rule: their bounds, and what
/// results from them.
pub(crate) fn within_network(
    flag: &'static str,
    rule: &Rule,
    (bounds, network): (&Bounds, &Network),
) -> Result<(), DeclareError> {
    if network.mode == Mode::None || !bounds.covers(rule) {
        return Err(DeclareError::Beyond {
            flag,
            asked: rule.destination(),
            key: "network.allow",
        });
    }
    Ok(())
}

/// Returns an error if the requested workspace mode exceeds that of `policy`, which results from the layers
/// alone.
pub(super) fn check_workspace(asked: WorkspaceMode, policy: &Policy) -> Result<(), DeclareError> {
    match &policy.filesystem.workspace {
        Some(most) if most.value < asked => Err(DeclareError::OverWorkspace {
            asked: asked.name(),
            most: most.value.name(),
            origin: most.origin.clone(),
        }),
        _ => Ok(()),
    }
}

fn beyond(flag: &'static str, asked: &str, key: &'static str) -> DeclareError {
    let asked = asked.escape_debug().to_string();
    DeclareError::Beyond { flag, asked, key }
}
