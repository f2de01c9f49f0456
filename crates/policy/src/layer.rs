//! The settings of one layer, before it meets the others: every key is optional, every value has its
//! place.
//!
//! An absent key leaves the decision to the layers above; an empty list grants nothing. Each section is
//! described here, once: a key with its type and its form (`file/form.rs`), which read, print and explain
//! it to editors. [`super::rights`] defines its meaning.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

pub use super::command::{
    Arguments, Ask, Case, Command, Language, Mode, PROGRAM_DIRECTORIES, Scope, Security, Target,
};
use super::degradable::Degradable;
use super::digest::digest;
use super::error::PolicyError;
use super::file::form::{Beside, List, Section, Sub, section};
use super::file::grants::{Name, Path, Place, Tree};
use super::file::plain::{Any, Flag, Word};
use super::file::sections::{Degraded, Set, Variable, Workspace};
use super::file::tools::{self, CaseText, Extends, Patterns, Program, ToolList};
use super::file::walk::File;
use super::grant::{Grant, WorkspaceMode};
pub use super::limits::LayerLimits as Limits;
use super::net::meet::Said;
use super::origin::{Origin, Sourced};
use super::printer::Printer;
pub use super::rank::Rank;
use super::tools::{Pattern, Profile, Tool};
use super::tree::Table;
use super::units::{Count, Span};

section! {
    /// One layer's text, read.
    pub struct Layer: more "", "at the top level" {
        filesystem: Files = Sub<Files>,
        tools: Tools = Sub<Tools>,
        network: Said = Sub<Said>,
        environment: Variables = Sub<Variables>,
        limits: Limits = Sub<Limits>,
        process: Process = Sub<Process>,
        session: Session = Sub<Session>,
        /// Cases that `creel policy test` runs.
        tests: Cases = Sub<Cases>,
        /// Presets or files whose text this one reuses. Values here override theirs, and lists add up.
        extends: Vec<Sourced<String>> = Extends,
        allow_degraded: Option<BTreeMap<Degradable, Origin>> = Degraded,
        ;
        /// The preset's name or the file's path.
        name: String,
        /// SHA-256 of the source text, lower-case hex.
        digest: String,
    }
}

impl Beside for Layer {
    fn over_beside(&mut self, base: &mut Layer) {
        self.digest = digest(format!("{} {}", base.digest, self.digest).as_bytes());
        // Tests of the base need not hold for a layer that extends it.
        base.tests = Cases::default();
        base.extends.clear();
        self.extends.clear();
    }
}

impl Layer {
    /// This layer on top of `base`, both by one author: lists are concatenated, and a single value
    /// replaces the base's. [`super::rights`] combines layers of different authors.
    pub fn over(self, base: Layer) -> Layer {
        Section::over(self, base)
    }

    /// The number of paths and path patterns in the layer.
    pub fn paths(&self) -> usize {
        let files = &self.filesystem;
        let lists = files
            .lists()
            .into_iter()
            .filter_map(|(_, list)| list.as_ref());
        let listed: usize = lists.map(Vec::len).sum();
        let tools = self.tools.each.values().map(Settings::paths);
        listed
            + files.deny.len()
            + files.protect.len()
            + files.unprotect.len()
            + tools.sum::<usize>()
    }
}

section! {
    /// The tools that a layer allows, and its settings for each.
    pub struct Tools: more "tools", "in [tools]" {
        profile: Option<Sourced<Profile>> = Word<Profile>,
        /// A list of patterns; the list has its own place.
        allow: Option<Sourced<Vec<Pattern>>> = ToolList,
        deny: Vec<Sourced<Pattern>> = Patterns,
        elevated: Option<Sourced<bool>> = Flag,
        max_iterations: Option<Sourced<Count>> = Count,
        ;
        /// The settings of each tool, under its name.
        each: BTreeMap<Tool, Settings>,
    }
}

impl Beside for Tools {
    fn known_beside() -> Vec<&'static str> {
        Tool::WORDS.to_vec()
    }

    fn read_beside(&mut self, file: &File, of: &Table) -> Result<(), PolicyError> {
        self.each = tools::each(file, of)?;
        Ok(())
    }

    fn properties_beside() -> Map<String, Json> {
        tools::properties::<Settings>()
    }

    fn print_beside(&self, out: &mut Printer) {
        for (tool, settings) in &self.each {
            out.open(&format!("tools.{tool}"));
            settings.print(out);
        }
    }

    fn over_beside(&mut self, base: &mut Tools) {
        for (tool, settings) in std::mem::take(&mut base.each) {
            let own = self.each.remove(&tool).unwrap_or_default();
            self.each.insert(tool, Section::over(own, settings));
        }
    }
}

section! {
    /// A layer's settings for one tool; [`super::file`] knows which keys a tool has.
    pub struct Settings: plain "tool", "for a tool" {
        enabled: Option<Sourced<bool>> = Flag,
        elevated: Option<Sourced<bool>> = Flag,
        security: Option<Sourced<Security>> = Word<Security>,
        ask: Option<Sourced<Ask>> = Word<Ask>,
        /// For `browser`: where it runs. Only `sandbox` is known.
        target: Option<Sourced<Target>> = Word<Target>,
        /// For `message`: the allowed channels.
        channels: Option<Vec<Sourced<String>>> = List<Any>,
        /// Languages whose interpreters may run; see [`Language::programs`].
        languages: Option<Vec<Sourced<Language>>> = List<Word<Language>>,
        commands: Option<Vec<Command>> = List<Program>,
        allowed_paths: Option<Vec<Grant>> = List<Path>,
        denied_paths: Vec<Grant> = List<Path>,
        timeout: Option<Sourced<Span>> = Span,
        /// Calls per minute.
        rate: Option<Sourced<Count>> = Count,
        max_iterations: Option<Sourced<Count>> = Count,
    }
}

impl Settings {
    fn paths(&self) -> usize {
        self.allowed_paths.as_ref().map_or(0, Vec::len) + self.denied_paths.len()
    }
}

section! {
    /// The paths that a layer grants, denies and protects.
    pub struct Files: more "filesystem", "in [filesystem]" {
        read: Option<Vec<Grant>> = List<Tree>,
        write: Option<Vec<Grant>> = List<Tree>,
        /// May be mapped as code, as libraries are, but not executed.
        load: Option<Vec<Grant>> = List<Tree>,
        exec: Option<Vec<Grant>> = List<Tree>,
        deny: Vec<Grant> = List<Path>,
        /// Cannot be changed, although it lies in a writable tree.
        protect: Vec<Grant> = List<Path>,
        /// Exceptions from the trust paths that are protected by default; only the operator and the
        /// platform may set them.
        unprotect: Vec<Grant> = List<Name>,
        workspace: Option<Sourced<WorkspaceMode>> = Workspace,
        /// The path of the workspace in the jail, if it is not that of the host.
        workspace_at: Option<Sourced<String>> = Place,
        ;
        /// The patterns of `deny`, before expansion.
        deny_patterns: Vec<Grant>,
        /// The patterns of `protect`, before expansion.
        protect_patterns: Vec<Grant>,
    }
}

impl Beside for Files {
    fn over_beside(&mut self, base: &mut Files) {
        for (own, base) in [
            (&mut self.deny_patterns, &mut base.deny_patterns),
            (&mut self.protect_patterns, &mut base.protect_patterns),
        ] {
            own.splice(0..0, std::mem::take(base));
        }
    }
}

impl Files {
    /// The lists of grants, by their keys.
    pub fn lists(&self) -> [(&'static str, &Option<Vec<Grant>>); 4] {
        [
            ("filesystem.read", &self.read),
            ("filesystem.write", &self.write),
            ("filesystem.load", &self.load),
            ("filesystem.exec", &self.exec),
        ]
    }
}

section! {
    /// The environment variables that a layer sets or passes.
    pub struct Variables: plain "environment", "in [environment]" {
        set: Option<BTreeMap<String, Sourced<String>>> = Set,
        pass: Option<Vec<Sourced<String>>> = List<Variable>,
        /// Whether the jail gets the operator's git name and address.
        git_identity: Option<Sourced<bool>> = Flag,
    }
}

section! {
    /// Rights of the jail's processes over each other.
    pub struct Process: plain "process", "in [process]" {
        /// Debuggers: ptrace(2) and its like, within the jail.
        debug: Option<Sourced<bool>> = Flag,
    }
}

section! {
    /// The sessions that are jailed, and those that share a jail: data for future sessions.
    pub struct Session: plain "session", "in [session]" {
        mode: Option<Sourced<Mode>> = Word<Mode>,
        scope: Option<Sourced<Scope>> = Word<Scope>,
    }
}

section! {
    /// `allow = ["read src/main.rs"]`, `deny = ["exec curl"]`.
    pub struct Cases: plain "tests", "in [tests]" {
        allow: Vec<Sourced<Case>> = List<CaseText>,
        deny: Vec<Sourced<Case>> = List<CaseText>,
    }
}
