//! From what layers allow to the policy that the kernel enforces.
//!
//! [`close`] replaces every unspecified field: access that no layer granted is denied, and limits that no
//! layer set are the default policy's. [`enforce`] then applies the table of tools: which grants,
//! workspace and programs remain if a tool is not allowed. A [`Note`] reports what the kernel cannot
//! enforce (a rate, a channel, a count of turns); it is kept as data. A rule of a tool that needs a person's
//! approval is refused: nobody is there to approve.

use std::collections::BTreeMap;

use super::effective_access::{EffectiveAccess, reach, usable, why_not};
use super::grant::Absent;
use super::layer::{Ask, Command, Security};
use super::limits::Limits;
use super::net::Mode;
use super::net::network::Network;
use super::origin::{Origin, Sourced};
use super::path_set::{AbsPath, PathRule, PathSet, Whose, within};
use super::policy::{Environment, Execution, Filesystem, Policy};
use super::rights::{Allowed, Bound, DenySet, Others, Rights, Roots};
use super::tools::Tool;

/// The policy in force for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The policy that `plan` resolves.
    pub policy: Policy,
    /// Rules of the layers that the kernel does not enforce, or enforces in another way.
    pub notes: Vec<Note>,
}

/// One such rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The key, as written: `tools.exec.ask`.
    pub key: String,
    /// The sentence after the key.
    pub text: String,
    /// The place of the rule; `None` if it has none.
    pub origin: Option<Origin>,
    /// How much the note matters to the user who runs a command.
    pub weight: Weight,
}

/// The weight of a note for the user who runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Kept, or enforced in another way: no command fails because of it.
    Told,
    /// The rules seem to allow something that is refused: a command may fail because of it.
    Refused,
    /// A denial that denies nothing, or a grant that grants nothing: reported before every run.
    Open,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Replaces unspecified fields with deny or, for limits, with the values of `limits`.
pub fn close(rights: &Rights, limits: &Limits) -> Rights {
    ended(rights.clone(), limits)
}

/// Like [`close`], but consumes the rights.
pub(super) fn ended(rights: Rights, limits: &Limits) -> Rights {
    let mut closed = rights;
    if let Some(exec) = closed.each.get_mut(&Tool::Exec)
        && exec
            .security
            .as_ref()
            .is_some_and(|said| said.value == Security::Allowlist)
    {
        // An allowlist without `commands` in a granting layer is empty: no further layer may fill it.
        exec.commands.get_or_insert_default();
    }
    if let (PathSet::All, Some(commands)) = (&closed.exec, &closed.constraints(Tool::Exec).commands)
    {
        // Commands without executable trees mean these programs, in any directory.
        closed.exec = PathSet::of(commands.values().map(|allowed| PathRule {
            absent: Absent::Skip,
            ..allowed.rule.clone()
        }));
    }
    for trees in [&mut closed.write, &mut closed.load, &mut closed.exec] {
        if *trees == PathSet::All {
            *trees = PathSet::none();
        }
    }
    if closed.read == PathSet::All {
        closed.read = closed.loadable().join(&closed.write).join(&closed.exec);
    }
    closed.network.close();
    closed.set.others = Others::Closed;
    closed.set.named.retain(|_, value| value.is_some());
    closed.elevated.get_or_insert(Sourced::creel(false));
    closed.git_identity.get_or_insert(Sourced::creel(false));
    closed.debug.get_or_insert(Sourced::creel(false));
    closed.pass.get_or_insert_default();
    closed.unprotect.get_or_insert_default();
    closed.allow_degraded.get_or_insert_default();
    let own = std::mem::take(&mut closed.limits);
    closed.limits = own.closed(limits.clone()).into();
    closed
}

/// The policy of a command under rights that [`close`] has finalized. `limits` are those given to
/// [`close`]; `name` and `digest` identify the layers in the receipt.
pub fn enforce(
    rights: &Rights,
    limits: &Limits,
    roots: &Roots,
    name: &str,
    digest: &str,
) -> Effective {
    let mut notes = Notes(vec![]);
    let reach = reach(rights, roots);
    let exec = execution(rights, roots, &reach, &mut notes);
    let debug = debug(rights, &exec.value, &mut notes);
    let files = files(rights, roots, &reach, &exec.value);
    said_only(rights, &mut notes);
    let mut limits = rights.limits.clone().closed(limits.clone());
    if let Some(timeout) = &rights.constraints(Tool::Exec).timeout
        && timeout.value < limits.timeout.value
    {
        limits.timeout = timeout.clone();
    }
    let set = rights.set.set();
    let pass = rights.pass.iter().flatten();
    let degraded = rights.allow_degraded.iter().flatten();
    let policy = Policy {
        name: name.to_owned(),
        digest: digest.to_owned(),
        filesystem: files,
        exec,
        network: network(rights, &mut notes),
        environment: Environment {
            set: set
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            pass: pass
                .map(|(name, origin)| Sourced::new(name.clone(), origin.clone()))
                .collect(),
            git_identity: rights
                .git_identity
                .clone()
                .unwrap_or_else(|| Sourced::creel(false)),
        },
        limits,
        debug,
        allow_degraded: degraded.map(|(layer, _)| *layer).collect(),
    };
    Effective {
        policy,
        notes: notes.0,
    }
}

/// The network policy, or none if no network tool is allowed.
fn network(rights: &Rights, notes: &mut Notes) -> Network {
    let bounds = &rights.network;
    let origin = Origin::of(bounds.mode.as_ref());
    let tools = [Tool::Fetch, Tool::Browser, Tool::Message];
    match bounds.mode() {
        Mode::None => Network::default(),
        _ if !tools.iter().any(|tool| usable(rights, *tool)) => {
            let text = "no network: none of fetch, browser and message is allowed";
            notes.refused("network.mode", text, &origin);
            Network::default()
        }
        _ if bounds.unresolvable() => {
            let text = "no network: the layers name different resolvers";
            notes.refused("network.resolvers", text, &origin);
            Network::default()
        }
        _ => bounds.network(),
    }
}

/// If the list of commands allows this command with these arguments only, makes its program the only one
/// that executes: no kernel filter sees the arguments that another program would pass to it.
pub fn admit(policy: &mut Policy, rights: &Rights, roots: &Roots, argv: &[String]) {
    let bounds = rights.constraints(Tool::Exec);
    let (Execution::Only(programs), Some(commands), Some((program, args))) =
        (&mut policy.exec.value, &bounds.commands, argv.split_first())
    else {
        return;
    };
    let reach = reach(rights, roots);
    let admitted = |path: &AbsPath| {
        let allowed = commands
            .get(path)
            .filter(|allowed| !allowed.args.is_empty())?;
        let within = allowed.accepts(args) && reach.exec.cover(path);
        within.then(|| reach.program(&allowed.rule, roots))
    };
    let admitted: Vec<PathRule> = candidates(program, roots)
        .iter()
        .filter_map(admitted)
        .collect();
    if !admitted.is_empty() {
        *programs = admitted;
    }
}

/// The paths that a program's name can mean; a relative path is resolved in the workspace. A path with
/// `..` matches no listed command, because none has a `..`.
fn candidates(program: &str, roots: &Roots) -> Vec<AbsPath> {
    match program {
        _ if program.starts_with(['/', '~', '$']) => vec![roots.expand(program)],
        _ if program.contains('/') => vec![roots.expand(&format!("$WORKSPACE/{program}"))],
        _ => Command::paths(program, roots),
    }
}

/// Collects what the kernel does not enforce.
struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, key: impl Into<String>, text: impl Into<String>, origin: &Origin) {
        self.weighed(Weight::Told, key.into(), text.into(), Some(origin));
    }

    fn refused(&mut self, key: impl Into<String>, text: impl Into<String>, origin: &Origin) {
        self.weighed(Weight::Refused, key.into(), text.into(), Some(origin));
    }

    fn weighed(&mut self, weight: Weight, key: String, text: String, origin: Option<&Origin>) {
        let origin = origin.cloned();
        let note = Note {
            key,
            text,
            origin,
            weight,
        };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }
}

fn files(rights: &Rights, roots: &Roots, reach: &EffectiveAccess, exec: &Execution) -> Filesystem {
    let shown = |rules: &[PathRule]| rules.iter().map(|rule| reach.on_host(rule)).collect();
    let listed = |places: &DenySet| places.values().map(|rule| reach.on_host(rule)).collect();
    // An executable tree needs no load grant, unless executable grants are only readable now.
    let load = reach.load.rules().filter(|rule| match exec {
        Execution::Granted => !reach.exec.covers(rule),
        Execution::Worker | Execution::Only(_) => true,
    });
    let (read, write, exec) = added_up(reach, roots);
    Filesystem {
        read: shown(&read),
        write: shown(&write),
        load: load.map(|rule| reach.on_host(rule)).collect(),
        exec: exec.iter().map(|rule| reach.program(rule, roots)).collect(),
        deny: listed(&reach.deny),
        // Keep all: a flag may make more writable, and the name in a grant may be a link.
        protect: listed(&reach.protect),
        deny_patterns: rights.deny_patterns.values().cloned().collect(),
        protect_patterns: rights.protect_patterns.values().cloned().collect(),
        mapped: rights.places.clone(),
        workspace: reach.workspace.clone(),
    }
}

/// The grants to read, write and execute, as the kernel needs them. The kernel applies the innermost
/// grant, while lists add up here. So a grant inside a wider one of another kind is listed under that
/// kind too; otherwise it would remove access that a layer without it would restore.
fn added_up(
    reach: &EffectiveAccess,
    roots: &Roots,
) -> (Vec<PathRule>, Vec<PathRule>, Vec<PathRule>) {
    let place = &roots.workspace;
    let shows = |rule: &PathRule| {
        reach.shows_workspace() && rule.whose == Whose::Host && within(&rule.path, place)
    };
    // Writable and executable trees are readable anyway; keep only the read-only rest.
    let more = [&reach.write, &reach.load, &reach.exec];
    let rest = |rule: &&PathRule| !more.iter().any(|trees| trees.covers(rule)) && !shows(rule);
    let read: Vec<PathRule> = reach.read.rules().filter(rest).cloned().collect();
    let mut points: BTreeMap<(Whose, AbsPath), PathRule> = BTreeMap::new();
    for rule in read.iter().chain(more.into_iter().flat_map(PathSet::rules)) {
        points.insert((rule.whose, rule.path.clone()), rule.clone());
    }
    if reach.shows_workspace() {
        let own = roots.workspace_rule(Origin::creel());
        points.entry((Whose::Host, own.path.clone())).or_insert(own);
    }
    let rules = |trees: &PathSet| trees.rules().cloned().collect::<Vec<_>>();
    let (mut write, mut exec) = (rules(&reach.write), rules(&reach.exec));
    for point in points.into_values() {
        let again = PathRule {
            absent: Absent::Skip,
            ..point
        };
        let (whose, path) = (again.whose, &again.path);
        let same = |rule: &PathRule| (rule.whose, &rule.path) == (whose, path);
        let listed = |rules: &[PathRule]| rules.iter().any(same);
        let held = reach.protect.keys().any(|held| within(path, held));
        // The workspace itself is governed by its mode.
        let itself = whose == Whose::Host && path == place;
        let mode = itself && !reach.write.covers(&again);
        if !listed(&write) && !held && !mode && reach.writes(&again, roots) {
            write.push(again.clone());
        }
        if !listed(&exec) && reach.exec.covers(&again) {
            exec.push(again);
        }
    }
    for rules in [&mut write, &mut exec] {
        rules.sort_by(|a, b| (a.whose, &a.path).cmp(&(b.whose, &b.path)));
    }
    (read, write, exec)
}

/// The programs that may execute. A program listed by name is mounted by itself, so it must lie in the remaining
/// executable trees: nothing else excludes it.
fn execution(
    rights: &Rights,
    roots: &Roots,
    reach: &EffectiveAccess,
    notes: &mut Notes,
) -> Sourced<Execution> {
    let bounds = rights.constraints(Tool::Exec);
    let worker = |origin: Origin| Sourced::new(Execution::Worker, origin);
    if !usable(rights, Tool::Exec) {
        if let Some(ask) = &bounds.ask
            && ask.value == Ask::Always
            && rights.tools.allows(Tool::Exec)
        {
            let text = "refused: `creel run` cannot ask for approval";
            notes.refused("tools.exec.ask", text, &ask.origin);
        }
        return worker(why_not(rights, Tool::Exec));
    }
    if let Some(security) = &bounds.security
        && security.value == Security::Deny
    {
        return worker(security.origin.clone());
    }
    let listed = |commands: &BTreeMap<AbsPath, Allowed>, notes: &mut Notes| {
        let mut programs = vec![];
        for (path, allowed) in commands {
            if !reach.exec.cover(path) {
                if allowed.rule.absent == Absent::Refuse {
                    let text = format!("{path}: left out, because no executable tree contains it");
                    notes.refused("tools.exec.commands", text, &allowed.rule.origin);
                }
            } else if allowed.args.is_empty() {
                programs.push(reach.program(&allowed.rule, roots));
            } else {
                // A bare name stands for many paths, but the policy lists it once.
                let named = match allowed.rule.absent {
                    Absent::Skip => path.rsplit('/').next().unwrap_or(path),
                    Absent::Refuse => path,
                };
                let text = format!(
                    "{named}: the arguments are checked only for the command that creel starts, and no other program can then execute; if another program starts it, it is refused"
                );
                notes.refused("tools.exec.commands", text, &allowed.rule.origin);
            }
        }
        programs
    };
    match (&bounds.commands, &bounds.security) {
        (Some(commands), _) => {
            let first = commands
                .values()
                .map(|allowed| allowed.rule.origin.clone())
                .min();
            Sourced::new(
                Execution::Only(listed(commands, notes)),
                first.unwrap_or_else(Origin::creel),
            )
        }
        (None, Some(said)) if said.value == Security::Allowlist => {
            Sourced::new(Execution::Only(vec![]), said.origin.clone())
        }
        _ => Sourced::new(Execution::Granted, Origin::of(bounds.security.as_ref())),
    }
}

/// Whether debuggers may trace. A debugger can write into any program of the jail. If programs are listed
/// by name or need approval, a debugger could use another program to do what it may not do itself.
fn debug(rights: &Rights, exec: &Execution, notes: &mut Notes) -> Sourced<bool> {
    let Some(said) = rights.debug.clone().filter(|said| said.value) else {
        return Sourced::new(false, Origin::of(rights.debug.as_ref()));
    };
    let exec_bounds = rights.constraints(Tool::Exec);
    let asked = exec_bounds
        .ask
        .as_ref()
        .is_some_and(|ask| ask.value != Ask::Off);
    let why = match exec {
        _ if asked => {
            "refused: `tools.exec.ask` requires approval for each program, and a debugger could run its own code in an approved one"
        }
        Execution::Worker | Execution::Only(_) => {
            "refused: the policy lists the programs that may execute, and a debugger could run its own code in them"
        }
        Execution::Granted => return said,
    };
    notes.refused("process.debug", why, &said.origin);
    Sourced::new(false, said.origin)
}

/// Notes what is kept as data for the tools and the sessions.
fn said_only(rights: &Rights, notes: &mut Notes) {
    const TOOLS: &str = "kept as data for the tool, which must count; the kernel does not";
    const ALWAYS: &str = "kept as data for sessions: `creel run` always makes a jail";
    const ONE: &str = "kept as data for sessions: `creel run` makes a jail for one command";
    const CHANNELS: &str = "kept as data for the message tool, which must check its channels";
    const CLOCK: &str = "kept as data for the tool, which must measure the time";
    fn at<T>(said: &Bound<T>) -> Option<&Origin> {
        said.as_ref().map(|said| &said.origin)
    }
    for (tool, bounds) in &rights.each {
        let key = |name: &str| format!("tools.{tool}.{name}");
        // An empty list has no place.
        let channels = bounds.channels.as_ref().map(|all| all.values().next());
        let clock = at(&bounds.timeout).filter(|_| *tool != Tool::Exec);
        for (name, text, said) in [
            ("rate", TOOLS, at(&bounds.rate).map(Some)),
            (
                "max_iterations",
                TOOLS,
                at(&bounds.max_iterations).map(Some),
            ),
            ("channels", CHANNELS, channels),
            ("timeout", CLOCK, clock.map(Some)),
        ] {
            if let Some(origin) = said {
                notes.weighed(Weight::Told, key(name), text.into(), origin);
            }
        }
        match &bounds.ask {
            Some(ask) if ask.value == Ask::Always && *tool != Tool::Exec => {
                let text = "refused: `creel run` cannot ask for approval";
                notes.refused(key("ask"), text, &ask.origin);
            }
            Some(ask) if ask.value == Ask::OnMiss => {
                let text = "actions that a rule allows need no approval; all others are refused, because `creel run` cannot ask for it";
                notes.refused(key("ask"), text, &ask.origin);
            }
            _ => {}
        }
    }
    for (key, text, origin) in [
        ("tools.max_iterations", TOOLS, at(&rights.max_iterations)),
        ("session.mode", ALWAYS, at(&rights.mode)),
        ("session.scope", ONE, at(&rights.scope)),
    ] {
        origin
            .into_iter()
            .for_each(|origin| notes.add(key, text, origin));
    }
}
