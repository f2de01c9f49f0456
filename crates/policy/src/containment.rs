//! Grants that must not lead out of a directory: those whose name another author can influence.
//!
//! Whoever can create files in a directory controls what a glob in it matches. If one layer grants a tree
//! and another layer names a path in it, the second layer chose that path: it could be a link out of the
//! granted tree. Owns the list of both cases. It resolves no link and refuses nothing; the plan does,
//! with what the name led to when it was opened.

use std::collections::BTreeSet;

use super::layer::{Layer, Rank};
use super::path_set::within;
use super::rights::{Rights, Roots};
use super::tools::Tool;
use super::{Contained, Grant, Origin, Policy};

/// The contained grants of the policy that these layers resolved to.
pub(super) fn contained(
    layers: &[&(Rank, Layer)],
    rights: &Rights,
    policy: &Policy,
    roots: &Roots,
) -> Vec<Contained> {
    let met: Vec<_> = layers
        .iter()
        .flat_map(|(_, layer)| &layer.filesystem.met)
        .collect();
    // A single author may name anything within their own grants.
    let words: Vec<Words> = match layers {
        [_] => vec![],
        layers => layers.iter().map(|one| Words::of(one, roots)).collect(),
    };
    if met.is_empty() && words.is_empty() {
        return vec![];
    }
    let mut all = vec![];
    for one in granted(rights, policy, roots) {
        // A path of another layer beneath such a name is reached through that name.
        let through = met.iter().filter(|met| within(&one.path, &met.name));
        let mut bases: Vec<&str> = through.map(|met| met.base.as_str()).collect();
        bases.extend(words.iter().flat_map(|words| words.around(&one)));
        let own = |words: &Words| words.rank <= Rank::Operator && words.name(&one);
        if !words.is_empty()
            && !words.iter().any(own)
            && one.path != roots.workspace
            && within(&one.path, &roots.workspace)
        {
            bases.push(&roots.workspace);
        }
        all.extend(bases.into_iter().map(|base| Contained {
            path: one.path.clone(),
            base: base.to_owned(),
            origin: one.origin.clone(),
        }));
    }
    all.sort();
    all.dedup();
    all
}

/// The kind of access that a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
    Load,
    Exec,
    /// Executed by name.
    Program,
}

struct Granted {
    /// Absolute.
    path: String,
    way: Way,
    origin: Origin,
}

/// Every path that the policy grants, or may grant once the command is known.
fn granted(rights: &Rights, policy: &Policy, roots: &Roots) -> Vec<Granted> {
    let files = &policy.filesystem;
    let lists = [
        (&files.read, Way::Read),
        (&files.write, Way::Write),
        (&files.load, Way::Load),
        (&files.exec, Way::Exec),
    ];
    let trees = lists.into_iter().flat_map(|(list, way)| {
        list.iter().map(move |grant| Granted {
            path: roots.expand(&grant.path),
            way,
            origin: grant.origin.clone(),
        })
    });
    let commands = rights.constraints(Tool::Exec).commands.iter().flatten();
    let programs = commands.map(|(path, allowed)| Granted {
        path: path.clone(),
        way: Way::Program,
        origin: allowed.origin.clone(),
    });
    trees.chain(programs).collect()
}

/// The paths of a layer.
struct Words {
    rank: Rank,
    names: BTreeSet<String>,
    /// Bounds: for the listed kinds of access, paths must lie in one of these trees.
    walls: Vec<(&'static [Way], Vec<String>)>,
    programs: bool,
}

impl Words {
    fn of((rank, layer): &(Rank, Layer), roots: &Roots) -> Words {
        const READ: &[Way] = &[Way::Read, Way::Write, Way::Load, Way::Exec, Way::Program];
        let list = |grants: &Option<Vec<Grant>>| -> Option<Vec<String>> {
            let grants = grants.as_ref()?;
            Some(grants.iter().map(|g| roots.expand(&g.path)).collect())
        };
        let named = layer.filesystem.lists().map(|(_, grants)| list(grants));
        let all: Vec<String> = named.iter().flatten().flatten().cloned().collect();
        let [read, write, load, exec] = named;
        let mut walls: Vec<(&'static [Way], Vec<String>)> = vec![];
        let bounds: [(&'static [Way], _); 4] = [
            // A layer that sets `read` also makes its other grants readable.
            (&[Way::Read], read.map(|_| all.clone())),
            (&[Way::Write], write),
            (&[Way::Load], load),
            (&[Way::Exec, Way::Program], exec),
        ];
        let bounds = bounds.into_iter();
        walls.extend(bounds.filter_map(|(ways, list)| Some((ways, list?))));
        let mut names: BTreeSet<String> = all.into_iter().collect();
        for (tool, settings) in &layer.tools.each {
            let ways: &'static [Way] = match tool {
                Tool::Read => READ,
                Tool::Write | Tool::Edit | Tool::ApplyPatch => &[Way::Write],
                Tool::Exec => &[Way::Exec, Way::Program],
                _ => continue,
            };
            if let Some(allowed) = list(&settings.allowed_paths) {
                names.extend(allowed.iter().cloned());
                walls.push((ways, allowed));
            }
        }
        let exec = layer.tools.each.get(&Tool::Exec);
        Words {
            rank: *rank,
            names,
            walls,
            programs: exec.is_some_and(|s| s.commands.is_some() || s.languages.is_some()),
        }
    }

    /// Whether this layer names the path itself. A program counts as named by every layer that lists
    /// programs, since all of them list the remaining ones.
    fn name(&self, one: &Granted) -> bool {
        self.names.contains(&one.path) || one.way == Way::Program && self.programs
    }

    /// The trees of this layer that contain a path which the layer does not name itself.
    fn around<'w>(&'w self, one: &Granted) -> Vec<&'w str> {
        if self.name(one) {
            return vec![];
        }
        let walls = self
            .walls
            .iter()
            .filter(|(ways, _)| ways.contains(&one.way));
        let outer = walls.filter_map(|(_, trees)| {
            let around = trees.iter().filter(|tree| within(&one.path, tree));
            around.min_by_key(|tree| tree.len())
        });
        outer.map(String::as_str).collect()
    }
}
