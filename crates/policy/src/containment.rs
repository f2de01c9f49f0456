//! Grants that must not lead out of a directory: those whose name another author can influence.
//!
//! A process that can create files in a directory controls what a glob in it matches. If one layer grants a tree
//! and another layer names a path in it, the second layer chose that path: it could be a link out of the
//! granted tree. Owns the list of both cases. It resolves no link and refuses nothing; the plan does,
//! with what the name led to when it was opened.

use std::collections::BTreeSet;

use super::grant::Grant;
use super::layer::{Layer, Rank};
use super::path_set::{AbsPath, PathRule, within};
use super::policy::Filesystem;
use super::rights::{Rights, Roots};
use super::tools::Tool;

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

/// The directories that grants must not lead out of.
pub(super) struct Bases<'a> {
    /// Names that patterns matched, and the directory of each pattern.
    met: Vec<(AbsPath, &'a str)>,
    words: Vec<Words>,
    roots: &'a Roots,
}

impl<'a> Bases<'a> {
    pub(super) fn of(layers: &[&'a (Rank, Layer)], roots: &'a Roots) -> Bases<'a> {
        let lists = layers.iter().flat_map(|(_, layer)| {
            let tools = layer.tools.each.values();
            let own = layer.filesystem.lists().map(|(_, list)| list);
            own.into_iter()
                .chain(tools.map(|settings| &settings.allowed_paths))
        });
        let met = |grant: &'a Grant| {
            let base = grant.base.as_deref()?;
            Some((roots.expand(&grant.path), base))
        };
        Bases {
            met: lists.flatten().flatten().filter_map(met).collect(),
            // A single author may name anything within their own grants.
            words: match layers {
                [_] => vec![],
                layers => layers.iter().map(|one| Words::of(one, roots)).collect(),
            },
            roots,
        }
    }

    /// Marks the programs by name: those that the policy has, and those that it may have once the command
    /// is known.
    pub(super) fn mark_programs(&self, rights: &mut Rights) {
        let exec = rights.each.get_mut(&Tool::Exec);
        let Some(commands) = exec.and_then(|exec| exec.commands.as_mut()) else {
            return;
        };
        let rules = commands.values_mut().map(|allowed| &mut allowed.rule);
        rules.for_each(|rule| self.mark(rule, Way::Program));
    }

    /// Marks the grants that the layers resolved to.
    pub(super) fn mark_grants(&self, files: &mut Filesystem) {
        for (rules, way) in [
            (&mut files.read, Way::Read),
            (&mut files.write, Way::Write),
            (&mut files.load, Way::Load),
            (&mut files.exec, Way::Exec),
        ] {
            rules.iter_mut().for_each(|rule| self.mark(rule, way));
        }
    }

    fn mark(&self, rule: &mut PathRule, way: Way) {
        let place = &*self.roots.workspace;
        let path = &rule.path;
        // A path of another layer beneath such a name is reached through that name.
        let through = self.met.iter().filter(|(name, _)| within(path, name));
        let through = through.map(|(_, base)| self.roots.expand(base));
        let walls = self.words.iter().flat_map(|words| words.around(path, way));
        let mut bases: BTreeSet<AbsPath> = through.chain(walls.cloned()).collect();
        let own = |words: &Words| words.rank <= Rank::Operator && words.name(path, way);
        let by_callers = !self.words.is_empty()
            && !self.words.iter().any(own)
            && *path != place
            && within(path, place);
        // Files of the workspace are not the policy's author's: a link there could lead a writable grant anywhere.
        let written = rule.written.as_deref().unwrap_or_default();
        if by_callers || way == Way::Write && written.starts_with("$WORKSPACE/") {
            bases.insert(self.roots.expand("$WORKSPACE"));
        }
        rule.within = bases.into_iter().collect();
    }
}

/// The directories that a path of the caller must not lead out of, if these lists of the layers grant it: for
/// each layer the widest tree around it, and the directory of a pattern that matched it. A layer that names
/// the path itself adds none.
pub fn walls(
    layers: &[(Rank, Layer)],
    lists: &[&str],
    path: &str,
    roots: &Roots,
) -> BTreeSet<AbsPath> {
    let mut walls = BTreeSet::new();
    for (_, layer) in layers {
        let named = layer.filesystem.lists().into_iter();
        let named = named.filter(|(key, _)| lists.contains(key));
        let grants: Vec<(AbsPath, &Grant)> = named
            .flat_map(|(_, list)| list.iter().flatten())
            .map(|grant| (roots.expand(&grant.path), grant))
            .filter(|(tree, _)| within(path, tree))
            .collect();
        let bases = grants.iter().filter_map(|(_, grant)| grant.base.as_deref());
        walls.extend(bases.map(|base| roots.expand(base)));
        if grants.iter().all(|(tree, _)| **tree != *path) {
            let widest = grants.into_iter().min_by_key(|(tree, _)| tree.len());
            walls.extend(widest.map(|(tree, _)| tree));
        }
    }
    walls
}

/// The paths of a layer.
struct Words {
    rank: Rank,
    names: BTreeSet<AbsPath>,
    /// Bounds: for the listed kinds of access, paths must lie in one of these trees.
    walls: Vec<(&'static [Way], Vec<AbsPath>)>,
    programs: bool,
}

impl Words {
    fn of((rank, layer): &(Rank, Layer), roots: &Roots) -> Words {
        const READ: &[Way] = &[Way::Read, Way::Write, Way::Load, Way::Exec, Way::Program];
        let list = |grants: &Option<Vec<Grant>>| -> Option<Vec<AbsPath>> {
            let grants = grants.as_ref()?;
            Some(grants.iter().map(|g| roots.expand(&g.path)).collect())
        };
        let named = layer.filesystem.lists().map(|(_, grants)| list(grants));
        let all: Vec<AbsPath> = named.iter().flatten().flatten().cloned().collect();
        let [read, write, load, exec] = named;
        let mut walls: Vec<(&'static [Way], Vec<AbsPath>)> = vec![];
        let bounds: [(&'static [Way], _); 4] = [
            // A layer that sets `read` also makes its other grants readable.
            (&[Way::Read], read.map(|_| all.clone())),
            (&[Way::Write], write),
            (&[Way::Load], load),
            (&[Way::Exec, Way::Program], exec),
        ];
        let bounds = bounds.into_iter();
        walls.extend(bounds.filter_map(|(ways, list)| Some((ways, list?))));
        let mut names: BTreeSet<AbsPath> = all.into_iter().collect();
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
    fn name(&self, path: &AbsPath, way: Way) -> bool {
        self.names.contains(path) || way == Way::Program && self.programs
    }

    /// The trees of this layer that contain a path which the layer does not name itself.
    fn around(&self, path: &AbsPath, way: Way) -> Vec<&AbsPath> {
        if self.name(path, way) {
            return vec![];
        }
        let walls = self.walls.iter().filter(|(ways, _)| ways.contains(&way));
        let outer = walls.filter_map(|(_, trees)| {
            let around = trees.iter().filter(|tree| within(path, tree));
            around.min_by_key(|tree| tree.len())
        });
        outer.collect()
    }
}
