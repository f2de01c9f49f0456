//! Effective access of every process in the jail: the grants and the workspace after the tools' rules.
//!
//! Owns the table of file tools as an operation on rights. Without `read` there is no workspace, without
//! `write` nothing is writable, and a tool's own paths bind every process, because the kernel cannot tell
//! which tool makes a system call. It refuses nothing; [`super::decide`] and [`super::effective`] use it.

use std::borrow::Cow;

use super::grant::WorkspaceMode;
use super::layer::Ask;
use super::origin::{Origin, Sourced};
use super::path_set::{PathRule, PathSet, Whose, within};
use super::rights::{Constraints, DenySet, Lattice, Rights, Roots};
use super::tools::{Ruling, Tool};

/// Whether a tool may be used without approval: no session can answer a prompt yet.
pub fn usable(rights: &Rights, tool: Tool) -> bool {
    let asks = |tool: Tool| {
        let ask = &rights.constraints(tool).ask;
        ask.as_ref().is_some_and(|ask| ask.value == Ask::Always)
    };
    rights.tools.allows(tool) && !asks(tool) && !tool.needs().iter().any(|needed| asks(*needed))
}

/// The granted trees that a tool's own paths leave.
fn bounded(trees: &PathSet, constraints: &Constraints) -> PathSet {
    trees.meet(&constraints.allowed)
}

/// The workspace's mode and the grants after the tools' rules.
pub struct EffectiveAccess {
    /// The mode of the workspace; `None` if no layer sets it.
    pub workspace: Option<Sourced<WorkspaceMode>>,
    /// Readable trees, without those that other lists make readable.
    pub read: PathSet,
    /// Writable trees.
    pub write: PathSet,
    /// Trees whose files may be mapped as code.
    pub load: PathSet,
    /// Executable trees.
    pub exec: PathSet,
    /// Paths that are hidden.
    pub deny: DenySet,
    /// Paths that cannot be changed, although they lie in writable trees.
    pub protect: DenySet,
    parts: Parts,
}

/// The parts of the host's workspace that are present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    All,
    /// The parts that tools' own paths leave.
    Some,
    None,
}

impl EffectiveAccess {
    /// Whether the workspace's mode shows the host's workspace.
    pub fn shows_workspace(&self) -> bool {
        let mode = self.workspace.as_ref().map(|mode| mode.value);
        mode != Some(WorkspaceMode::None)
    }

    /// Whether any part of the host's workspace is present.
    pub fn parts_left(&self) -> bool {
        self.parts != Parts::None
    }

    /// The rule for a path of the host. If only parts of the host's workspace are left, `$WORKSPACE` is the
    /// jail's own directory, so the rule shows its path.
    pub(super) fn on_host(&self, rule: &PathRule) -> PathRule {
        let mut rule = rule.clone();
        let named = |text: &mut Cow<'static, str>| text.starts_with('$');
        if self.parts != Parts::All {
            rule.written.take_if(named);
        }
        rule
    }

    /// The same for an executable path: without the host's workspace, `$WORKSPACE` is the fresh one.
    pub(super) fn program(&self, rule: &PathRule, roots: &Roots) -> PathRule {
        match self.parts {
            Parts::All | Parts::Some => self.on_host(rule),
            Parts::None => PathRule {
                path: roots.fresh(rule),
                ..rule.clone()
            },
        }
    }

    /// Whether a grant or the workspace's mode makes the tree of `rule` writable, ignoring denials.
    pub fn writes(&self, rule: &PathRule, roots: &Roots) -> bool {
        match rule.whose {
            Whose::Host => self.writes_at(&rule.path, roots),
            Whose::Jail => self.write.covers(rule),
        }
    }

    /// The same for a path of the host.
    pub fn writes_at(&self, path: &str, roots: &Roots) -> bool {
        let mode = self.workspace.as_ref().map(|mode| mode.value);
        let by_mode = mode.is_none_or(WorkspaceMode::writes);
        let inside = within(path, &roots.workspace);
        match self.parts {
            Parts::None if inside => false,
            _ => self.write.cover(path) || by_mode && inside,
        }
    }
}

/// The effective access of every process in the jail under these rights.
pub fn reach(rights: &Rights, roots: &Roots) -> EffectiveAccess {
    let (reader, writer, runner) = (
        rights.constraints(Tool::Read),
        rights.constraints(Tool::Write),
        rights.constraints(Tool::Exec),
    );
    let mut reach = EffectiveAccess {
        workspace: rights.workspace.clone(),
        read: bounded(&rights.read, reader),
        write: bounded(&bounded(&rights.write, writer), reader),
        load: rights.loadable(),
        exec: bounded(&rights.exec, runner),
        deny: rights.deny.clone(),
        protect: rights.protect.clone(),
        parts: Parts::All,
    };
    for denied in [&reader.denied, &runner.denied] {
        extend(&mut reach.deny, denied);
    }
    extend(&mut reach.protect, &writer.denied);
    for tool in [Tool::Edit, Tool::ApplyPatch] {
        let constraints = rights.constraints(tool);
        extend(&mut reach.protect, &constraints.denied);
        reach.write = bounded(&reach.write, constraints);
    }
    if !usable(rights, Tool::Read) {
        let origin = why_not(rights, Tool::Read);
        narrow(&mut reach.workspace, WorkspaceMode::None, &origin);
        (reach.read, reach.write) = (PathSet::none(), PathSet::none());
    } else if !usable(rights, Tool::Write) {
        let origin = why_not(rights, Tool::Write);
        narrow(&mut reach.workspace, WorkspaceMode::ReadOnly, &origin);
        reach.write = PathSet::none();
    }
    match reach.shows_workspace() {
        true => confine_workspace(&mut reach, rights, roots),
        false => hide_workspace(&mut reach, roots),
    }
    reach
}

/// Without the host's workspace nothing inside it is present, even if a grant includes it.
/// `exec = ["$WORKSPACE"]` stays: it means the fresh directory. Denials stay too: the name in a grant may
/// be a link into the workspace, and a flag may grant a path there.
fn hide_workspace(reach: &mut EffectiveAccess, roots: &Roots) {
    let place = &*roots.workspace;
    reach.parts = Parts::None;
    let outside = |path: &str| !within(path, place);
    for trees in [&mut reach.read, &mut reach.write, &mut reach.load] {
        trees.retain(outside);
    }
    reach.exec.retain(|path| path == place || outside(path));
    let mut around = [&reach.read, &reach.write, &reach.load, &reach.exec]
        .into_iter()
        .flat_map(PathSet::host);
    if around.any(|rule| rule.path != *place && within(place, &rule.path)) {
        let origin = Origin::of(reach.workspace.as_ref());
        let rule = roots.workspace_rule(origin);
        reach.deny.insert(rule.path.clone(), rule);
    }
}

/// If tools' own paths leave only parts of the workspace, turns those parts into grants: readable where
/// `read` allows it, and writable where every writing tool also does.
fn confine_workspace(reach: &mut EffectiveAccess, rights: &Rights, roots: &Roots) {
    let place = &roots.workspace;
    let mut left = PathSet::of([roots.workspace_rule(Origin::creel())]);
    let mode = reach.workspace.as_ref().map(|mode| mode.value);
    for (tool, most) in [
        (Tool::Read, WorkspaceMode::None),
        (Tool::Write, WorkspaceMode::ReadOnly),
        (Tool::Edit, WorkspaceMode::ReadOnly),
        (Tool::ApplyPatch, WorkspaceMode::ReadOnly),
    ] {
        let constraints = rights.constraints(tool);
        if mode.is_some_and(|mode| mode <= most) {
            break;
        }
        left = bounded(&left, constraints);
        if !constraints.allowed.cover(place) {
            let first = constraints.allowed.rules().next();
            let origin = first.map_or_else(Origin::creel, |rule| rule.origin.clone());
            narrow(&mut reach.workspace, most, &origin);
        }
        if tool == Tool::Read && !left.cover(place) {
            reach.parts = Parts::Some;
            reach.read = reach.read.join(&left);
            // Executable and loadable paths are readable too.
            for trees in [&mut reach.exec, &mut reach.load] {
                let mut inner = trees.clone();
                inner.retain(|path| within(path, place));
                trees.retain(|path| !within(path, place));
                *trees = trees.join(&inner.meet(&left));
            }
        }
    }
    let written = mode.is_none_or(|mode| mode == WorkspaceMode::ReadWrite);
    if written && !left.cover(place) {
        reach.write = reach.write.join(&left);
    }
}

fn narrow(mode: &mut Option<Sourced<WorkspaceMode>>, most: WorkspaceMode, origin: &Origin) {
    if mode.as_ref().is_none_or(|mode| mode.value > most) {
        *mode = Some(Sourced::new(most, origin.clone()));
    }
}

fn extend(places: &mut DenySet, more: &DenySet) {
    *places = std::mem::take(places).met(more.clone());
}

/// The origin of the rule that prevents the use of a tool.
pub fn why_not(rights: &Rights, tool: Tool) -> Origin {
    match rights.tools.rule_tool(tool) {
        Ruling::Denied(_, origin) | Ruling::Unlisted(origin) => origin.clone(),
        Ruling::Needs(needed) => why_not(rights, needed),
        Ruling::Allowed => Origin::of(rights.constraints(tool).ask.as_ref()),
    }
}
