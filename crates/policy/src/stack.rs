//! The layers of one run, from the platform's to the command line's, and their result.
//!
//! The platform and the operator grant. Then the rights are finalized, and every further layer can only
//! remove access. A layer that asks for more than the layers above it have is clipped, and the clip is
//! reported with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::compare::{Excess, clipped};
use super::containment::Bases;
use super::digest::digest;
use super::effective::{self, Effective, Note, Weight, enforce};
use super::grant::{Absent, Grant, WorkspaceMode};
use super::layer::{Layer, Rank};
use super::limits::Limits;
use super::origin::{Origin, Sourced};
use super::path_set::{AbsPath, within};
use super::protected_defaults;
use super::rights::{Lattice, Rights, Roots};

/// The layers in force, in any order of ranks.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    /// Each layer with its rank.
    pub layers: Vec<(Rank, Layer)>,
}

/// The result of a stack on a machine.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Finalized.
    pub rights: Rights,
    /// The policy that is enforced, with notes.
    pub effective: Effective,
    /// The settings that were left out.
    pub clips: Vec<Clip>,
}

/// A setting that a layer may not make, or that exceeds the layers above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The rank of the layer.
    pub rank: Rank,
    /// The setting.
    pub excess: Excess,
}

impl Clip {
    /// The item that is left out, without its place.
    pub fn reason(&self) -> String {
        let Excess { key, item, .. } = &self.excess;
        let item = item.escape_debug();
        let rank = self.rank.name();
        format!(
            "'{key}' asks for {item}, which the layers above the {rank}'s do not grant; it is left out"
        )
    }
}

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.excess.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.reason())
    }
}

impl Stack {
    /// Combines the layers. `limits` are the defaults for limits that no layer sets.
    pub fn resolve(&self, limits: &Limits, roots: &Roots) -> Outcome {
        self.resolve_in(limits, roots, None)
    }

    /// The same with this workspace mode instead of the layers' own: `$WORKSPACE` in the outcome is the
    /// directory that such a jail has.
    pub fn resolve_in(
        &self,
        limits: &Limits,
        roots: &Roots,
        workspace: Option<WorkspaceMode>,
    ) -> Outcome {
        let mut layers: Vec<&(Rank, Layer)> = self.layers.iter().collect();
        layers.sort_by_key(|(rank, _)| *rank);
        let mut clips = vec![];
        let mut above = Rights::default();
        let mut closed = false;
        for (rank, layer) in &layers {
            if *rank > Rank::Operator && !closed {
                above = ended(above, limits, roots);
                closed = true;
            }
            let rights = Rights::of(layer, *rank, roots);
            let mut excess = clipped(&rights, &above);
            told_once(&mut excess);
            let excess = excess
                .into_iter()
                .chain(unheard(layer, *rank, &above, roots));
            clips.extend(excess.map(|excess| Clip {
                rank: *rank,
                excess: excess.shortened(roots),
            }));
            above = above.met(rights);
        }
        let mut rights = match closed {
            true => above,
            false => ended(above, limits, roots),
        };
        if let Some(value) = workspace {
            let origin = Origin::creel();
            rights.workspace = Some(Sourced { value, origin });
        }
        let (name, digest) = name(&layers);
        let bases = Bases::of(&layers, roots);
        bases.mark_programs(&mut rights);
        let mut effective = enforce(&rights, limits, roots, &name, &digest);
        let policy = &mut effective.policy;
        bases.mark_grants(&mut policy.filesystem);
        let mode = policy.filesystem.workspace.as_ref();
        if mode.is_some_and(|mode| mode.value == WorkspaceMode::None) {
            effective.notes.extend(hidden(&layers, roots));
        }
        Outcome {
            rights,
            effective,
            clips,
        }
    }
}

/// A note for each line that grants host paths inside a workspace that is absent. Paths written with
/// `$WORKSPACE` mean the fresh workspace.
fn hidden(layers: &[&(Rank, Layer)], roots: &Roots) -> Vec<Note> {
    let place = &*roots.workspace;
    let mut lines: BTreeMap<&Origin, BTreeSet<AbsPath>> = BTreeMap::new();
    for (_, layer) in layers {
        let lists = layer.filesystem.lists().into_iter();
        for grant in lists.filter_map(|(_, list)| list.as_ref()).flatten() {
            let path = roots.expand(&grant.path);
            let written = grant.base.is_none() && grant.path.starts_with("$WORKSPACE");
            let named = written || roots.is_own(&path);
            if !named && grant.absent == Absent::Refuse && path != place && within(&path, place) {
                lines.entry(&grant.origin).or_default().insert(path);
            }
        }
    }
    let note = |(origin, paths): (&Origin, BTreeSet<AbsPath>)| {
        let more = match paths.len() {
            0 | 1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        let first = paths.first().map_or("", AbsPath::as_str);
        Note {
            key: "filesystem".into(),
            text: format!(
                "{}{more}: not granted, because the workspace mode `none` hides the caller's directory; start creel in another directory, or use --workspace DIR:ro",
                first.escape_debug()
            ),
            origin: Some(origin.clone()),
            weight: Weight::Open,
        }
    };
    lines.into_iter().map(note).collect()
}

/// Replaces what the granting layers leave unspecified, and adds the protected defaults.
fn ended(rights: Rights, limits: &Limits, roots: &Roots) -> Rights {
    let mut closed = effective::ended(rights, limits);
    protected_defaults::guard(&mut closed, roots);
    closed
}

/// Executable paths are also loadable and readable: report such a path only once.
fn told_once(excess: &mut Vec<Excess>) {
    const IMPLIED: [&str; 2] = ["filesystem.read", "filesystem.load"];
    const IMPLYING: [&str; 3] = ["filesystem.exec", "filesystem.write", "filesystem.load"];
    let all = excess.clone();
    excess.retain(|one| {
        let told = all.iter().any(|other| {
            other.key != one.key
                && IMPLYING.contains(&other.key.as_str())
                && (&other.item, &other.origin) == (&one.item, &one.origin)
        });
        !(IMPLIED.contains(&one.key.as_str()) && told)
    });
}

/// The settings that a layer of this rank may not make. An `unprotect` that the layers above already have
/// is not reported: files that extend a shipped policy repeat it.
fn unheard(layer: &Layer, rank: Rank, above: &Rights, roots: &Roots) -> Vec<Excess> {
    if rank <= Rank::Operator {
        return vec![];
    }
    let known = |grant: &&Grant| {
        let path = roots.expand(&grant.path);
        let names = above.unprotect.as_ref();
        names.is_some_and(|names| names.contains_key(&path))
    };
    let excess = |key: &str, item: String, origin: &Origin| Excess {
        key: key.into(),
        item,
        origin: Some(origin.clone()),
    };
    let said = layer
        .filesystem
        .unprotect
        .iter()
        .filter(|grant| !known(grant));
    let unprotect = said.map(|one| excess("filesystem.unprotect", one.path.clone(), &one.origin));
    let tools = &layer.tools;
    let each = tools.each.values().map(|settings| &settings.elevated);
    let elevated = std::iter::once(&tools.elevated).chain(each).flatten();
    let elevated = elevated.filter(|said| said.value);
    let elevated = elevated.map(|said| excess("tools.elevated", "true".into(), &said.origin));
    let network = &layer.network;
    let secrets = network.credentials.iter().map(|one| {
        let item = format!("{} for {}", one.header, one.host);
        excess("network.credentials", item, &one.origin)
    });
    let resolvers = network.resolvers.iter().flatten();
    let resolvers =
        resolvers.map(|one| excess("network.resolvers", one.value.to_string(), &one.origin));
    let all = unprotect.chain(elevated).chain(secrets).chain(resolvers);
    all.collect()
}

/// The layers' names, and a digest of each layer's rank and digest.
fn name(layers: &[&(Rank, Layer)]) -> (String, String) {
    if let [(_, only)] = layers {
        return (only.name.clone(), only.digest.clone());
    }
    let names: Vec<&str> = layers
        .iter()
        .map(|(_, layer)| layer.name.as_str())
        .collect();
    let lines: String = layers
        .iter()
        .map(|(rank, layer)| format!("{} {}\n", rank.name(), layer.digest))
        .collect();
    (names.join(" & "), digest(lines.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Execution, file, preset};

    fn resolved(layers: &[(Rank, &str)]) -> Outcome {
        let layer = |(rank, text): &(Rank, &str)| {
            let text = text.replace(';', "\n");
            let layer = file::read("p.toml", &text).unwrap_or_else(|e| panic!("{text}: {e}"));
            (*rank, layer)
        };
        let limits = preset::limits().unwrap();
        let stack = Stack {
            layers: layers.iter().map(layer).collect(),
        };
        stack.resolve(&limits, &Roots::symbolic())
    }

    #[test]
    fn an_empty_list_that_the_kernel_does_not_hold_is_noted_too() {
        let notes = |text: &str| {
            let all = resolved(&[(Rank::Operator, text)]).effective.notes;
            all.iter()
                .filter(|note| note.key == "tools.message.channels")
                .count()
        };
        assert_eq!(notes("tools.message.channels = []"), 1);
        assert_eq!(notes("tools.message.channels = ['a']"), 1);
        assert_eq!(notes("tools.message.rate = 1"), 0);
    }

    fn loads(layers: &[(Rank, &str)]) -> Vec<String> {
        let files = resolved(layers).effective.policy.filesystem;
        files
            .load
            .iter()
            .map(|rule| rule.path.to_string())
            .collect()
    }

    #[test]
    fn no_further_layer_lets_be_loaded_what_those_above_did_not() {
        const ASKS: (Rank, &str) = (Rank::Project, "filesystem.load = ['/usr/lib/x']");
        let silent = "filesystem.exec = ['/usr']; tools.exec.commands = ['git']";
        assert!(loads(&[(Rank::Operator, silent), ASKS]).is_empty());
        let clips = resolved(&[(Rank::Operator, silent), ASKS]).clips;
        let clipped = |clip: &Clip| clip.excess.key == "filesystem.load";
        assert!(clips.iter().any(clipped), "{clips:?}");
        let control = format!("{silent}; filesystem.load = ['/usr/lib']");
        assert_eq!(loads(&[(Rank::Operator, &control), ASKS]), ["/usr/lib/x"]);
    }

    #[test]
    fn an_empty_list_of_what_may_be_loaded_is_heard() {
        let operator = (
            Rank::Operator,
            "filesystem.exec = ['/usr']; filesystem.load = ['/opt/l']",
        );
        assert_eq!(loads(&[operator]), ["/opt/l"]);
        assert!(loads(&[operator, (Rank::Project, "filesystem.load = []")]).is_empty());
        // A layer that names executable trees bounds what is mapped as code.
        assert!(loads(&[operator, (Rank::Agent, "filesystem.exec = ['/usr']")]).is_empty());
    }

    #[test]
    fn a_program_out_of_reach_is_not_named_to_the_kernel() {
        let programs = |paths: &str| {
            let policy = format!(
                "filesystem.exec = ['/usr', '$WORKSPACE']; tools.exec.commands = ['$WORKSPACE/a/run']; \
                 tools.read.allowed_paths = [{paths}]"
            );
            match resolved(&[(Rank::Operator, &policy)])
                .effective
                .policy
                .exec
                .value
            {
                Execution::Only(programs) => programs.len(),
                other => panic!("{other:?}"),
            }
        };
        // A program of the workspace that is executed is also read.
        assert_eq!(programs("'$WORKSPACE/b'"), 0);
        assert_eq!(programs("'$WORKSPACE/a'"), 1);
    }

    /// Whether it lies in what is written is for the file system to say: by another spelling, or by a link.
    #[test]
    fn a_protection_stays_whatever_is_written() {
        let held = |written: &str| {
            let policy =
                format!("filesystem.write = ['{written}']; filesystem.protect = ['/a/Dir/x']");
            let outcome = resolved(&[(Rank::Operator, &policy)]);
            let files = outcome.effective.policy.filesystem;
            files.protect.iter().any(|grant| grant.path == "/a/Dir/x")
        };
        assert!(held("/a/dir") && held("/a/DIR/X/y") && held("/A"));
        assert!(held("/a/dirt") && held("/b"));
    }

    #[test]
    fn what_is_loaded_within_what_is_written_is_held() {
        let policy = "filesystem.write = ['/a']; filesystem.load = ['/a/b']";
        let files = resolved(&[(Rank::Operator, policy)])
            .effective
            .policy
            .filesystem;
        let held = |path: &str| files.protect.iter().any(|grant| grant.path == path);
        assert!(held("/a/b") && !held("/a/c"), "{:?}", files.protect);
        let written: Vec<&str> = files
            .write
            .iter()
            .map(|grant| grant.path.as_str())
            .collect();
        assert_eq!(written, ["/a"]);
    }
}
