//! Where policies come from: the layers' places, `--policy FILE|NAME`, and the reading of both.
//!
//! | rank | place | may |
//! |---|---|---|
//! | platform | `/etc/creel/policy.*` | grant |
//! | operator | `$XDG_CONFIG_HOME/creel/policy.*`, else the first `--policy`, else the default preset | grant |
//! | agent | `$XDG_CONFIG_HOME/creel/agents/NAME.*`, by `--agent NAME` | narrow |
//! | renter | `--renter FILE` | narrow |
//! | project | `.creel/policy.*` in the workspace | narrow |
//! | command line | every further `--policy` | narrow |
//!
//! The extension is one of [`EXTENSIONS`]; two files of one place are an error, and so is one of another
//! extension, or a place that cannot be looked at: nobody's policy is out of force without a word.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

use clap::ValueHint;

use super::hint::Failure;
use super::source;
use creel_dialects::import::{self, Choice, Entry, Fate, Standing};
use creel_jail::globs::Finder;
use creel_policy::effective::{Note, Weight};
use creel_policy::error::Place;
use creel_policy::expand::Unmet;
use creel_policy::layer::{Layer, Rank};
use creel_policy::rights::Roots;
use creel_policy::stack::{Outcome, Stack};
use creel_policy::trees;
use creel_policy::{
    Absent, Grant, Limits, Origin, Policy, PolicyError, Sourced, WorkspaceMode, file, preset,
};
use creel_sys::host::PLATFORM;

/// The operator's directory, among those of other programs.
const OWN: &str = "creel";
/// The directory of a project's file, in its workspace.
const PROJECT: &str = ".creel";
const EXTENSIONS: [&str; 6] = ["toml", "yaml", "yml", "json", "json5", "jsonc"];
/// Files that one file may lead through by `extends`.
const MOST_EXTENDS: usize = 16;

/// Paths that a project's file may name: each costs a look and perhaps a mount, and what a checkout asks for
/// must not hold up a start (1024 take a tenth of a second).
const MOST_FOUND: usize = 1024;

/// The policies of a run
#[derive(clap::Args, Debug, Clone, Default)]
pub struct PolicyArgs {
    /// Policy file, or name of a shipped policy; further ones narrow the first
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub policy: Vec<PathBuf>,

    /// Also apply this agent's layer, from the operator's directory
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,

    /// Also apply a renter's layer, from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub renter: Option<PathBuf>,

    /// Ignore the workspace's own `.creel/policy.*`
    #[arg(long)]
    pub no_project: bool,

    /// Read no layer at all: the default preset is the policy
    #[arg(skip)]
    pub none: bool,
}

/// The layers of one command, read.
pub struct Layers {
    pub stack: Stack,
    /// The platform or the operator has spoken: what the command line asks must lie within.
    pub ceiling: bool,
    pub read: Read,
    pub expanded: Expanded,
}

/// What reading the layers brought up besides what they say.
#[derive(Debug, Default)]
pub struct Read {
    /// Every file of them, with those that they extend.
    files: Vec<PathBuf>,
    /// Keys of other programs' policies that were not honoured.
    pub lost: Vec<Entry>,
}

impl Read {
    /// Keeps the files as they are in the jail: what may be written there would else rule the next run.
    pub fn protect(&self, policy: &mut Policy) -> Result<(), Failure> {
        for file in &self.files {
            let named = std::path::absolute(file).ok().map(|path| plain(&path));
            // Also where links lead.
            for path in [named, file.canonicalize().ok()].into_iter().flatten() {
                let Some(path) = path.to_str().map(trees::clean) else {
                    return Err(Failure::new(format!(
                        "{}: the path of a policy must be UTF-8, or the jail could not be kept from it; rename it",
                        file.display()
                    )));
                };
                let protect = &mut policy.filesystem.protect;
                if protect.iter().all(|grant| grant.path != path) {
                    protect.push(Grant {
                        path,
                        absent: Absent::Skip,
                        origin: Origin::creel(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// A path without `..`, but behind a link, where it leads elsewhere.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        let behind = plain.is_symlink() || plain.ends_with("..");
        match part {
            Component::ParentDir if !behind => drop(plain.pop()),
            part => plain.push(part),
        }
        plain
    })
}

/// What became of the layers' patterns.
#[derive(Debug, Default)]
pub struct Expanded {
    /// The names that each met, by [`creel_policy::expand::Wanted::key`].
    pub met: BTreeMap<String, Vec<String>>,
    /// Those of grants that met nothing.
    pub unmet: Vec<Unmet>,
}

/// Where the names are looked for that patterns meet.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// On this machine.
    Here,
    /// In the description of another.
    Given(&'a BTreeMap<String, Vec<String>>),
}

impl Names<'_> {
    /// Replaces the patterns of the layers by the names that they meet.
    pub fn expand(self, stack: &mut Stack, roots: &Roots) -> Result<Expanded, Failure> {
        let mut finder = Finder::default();
        let mut met: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let unmet = stack.expand(roots, |wanted| {
            let key = wanted.key();
            let known = match self {
                Names::Here => met.get(&key),
                Names::Given(given) => given.get(&key),
            };
            let names = match (known, self) {
                (Some(names), _) => names.clone(),
                (None, Names::Here) => finder.find(wanted)?,
                (None, Names::Given(_)) => {
                    return Err(Failure::new(format!(
                        "--host: {}: {} was not looked up there; write the file anew with --print-host, under the same policies",
                        wanted.origin,
                        wanted.written.escape_debug()
                    )));
                }
            };
            met.insert(key, names.clone());
            Ok(names)
        })?;
        Ok(Expanded { met, unmet })
    }
}

impl Expanded {
    /// A run needs what it was promised, unless that is optional.
    pub fn all_met(&self) -> Result<(), Failure> {
        match self.unmet.iter().find(|one| one.absent == Absent::Refuse) {
            None => Ok(()),
            Some(one) => Err(Failure::new(format!(
                "{}: {} meets nothing here; correct it, or mark it `optional = true`",
                one.origin,
                one.written.escape_debug()
            ))),
        }
    }
}

/// Where a layer is written, before it is read.
pub struct Source {
    pub rank: Rank,
    /// A file, or a preset's name.
    pub path: PathBuf,
    pub put: Put,
}

/// Who put a source where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The platform or the operator, in their own directory.
    Placed,
    /// Whoever runs creel, on the command line.
    Named,
    /// Whoever wrote the project.
    Found,
}

impl Source {
    pub fn read(&self, read: &mut Read) -> Result<Layer, Failure> {
        match self.put {
            Put::Placed | Put::Named => Ok(ranked(&self.path, self.rank, read)?),
            Put::Found => read_found(&self.path, read),
        }
    }
}

/// The layers of this place and of this command line, in the order of their ranks. With none, the
/// default preset is the operator's.
pub fn sources(args: &PolicyArgs, roots: &Roots) -> Result<Vec<Source>, Failure> {
    let mut all = vec![];
    let mut add = |rank, path: PathBuf, put| all.push(Source { rank, path, put });
    if let Some(path) = find(Path::new(PLATFORM), "policy")? {
        add(Rank::Platform, path, Put::Placed);
    }
    let config = config_dir(roots);
    let operator = find(&config, "policy")?;
    let mut rank = match operator {
        Some(_) => Rank::CommandLine,
        None => Rank::Operator,
    };
    if let Some(path) = operator {
        add(Rank::Operator, path, Put::Placed);
    }
    if let Some(name) = &args.agent {
        add(Rank::Agent, agent(&config, name)?, Put::Placed);
    }
    if let Some(path) = &args.renter {
        add(Rank::Renter, path.clone(), Put::Named);
    }
    let project = Path::new(&roots.workspace).join(PROJECT);
    if !args.no_project
        && let Some(path) = find(&project, "policy")?
    {
        add(Rank::Project, path, Put::Found);
    }
    for path in &args.policy {
        add(rank, path.clone(), Put::Named);
        rank = Rank::CommandLine;
    }
    if rank == Rank::Operator {
        add(rank, preset::DEFAULT.into(), Put::Named);
    }
    all.sort_by_key(|source| source.rank);
    Ok(all)
}

impl Layers {
    /// Reads every layer that there is. `None`: only the default preset, which need not be read.
    pub fn load(args: &PolicyArgs, roots: &Roots) -> Result<Option<Layers>, Failure> {
        if args.none {
            return Ok(None);
        }
        let sources = sources(args, roots)?;
        if let [only] = sources.as_slice()
            && args.policy.is_empty()
            && only.path == Path::new(preset::DEFAULT)
        {
            return Ok(None);
        }
        Layers::of(&sources, roots, Names::Here).map(Some)
    }

    /// Reads these, and expands their patterns.
    pub fn of(sources: &[Source], roots: &Roots, names: Names<'_>) -> Result<Layers, Failure> {
        let mut layers = vec![];
        let mut read = Read::default();
        for source in sources {
            layers.push((source.rank, source.read(&mut read)?));
        }
        let ceiling = sources
            .iter()
            .any(|source| source.rank <= Rank::Operator && source.put == Put::Placed);
        let mut stack = Stack { layers };
        let expanded = names.expand(&mut stack, roots)?;
        Ok(Layers {
            stack,
            ceiling,
            read,
            expanded,
        })
    }

    pub fn resolve(&self, roots: &Roots) -> Result<Outcome, Failure> {
        self.resolve_in(roots, None)
    }

    /// The same, in a workspace of the mode that the command line names.
    pub fn resolve_in(
        &self,
        roots: &Roots,
        workspace: Option<WorkspaceMode>,
    ) -> Result<Outcome, Failure> {
        let mut outcome = self.stack.resolve_in(&limits()?, roots, workspace);
        let unmet = self.expanded.unmet.iter().map(|one| Note {
            key: one.written.clone(),
            text: "meets nothing here, and grants nothing".into(),
            origin: Some(one.origin.clone()),
            weight: Weight::Told,
        });
        outcome.effective.notes.extend(unmet);
        let denials = self
            .stack
            .layers
            .iter()
            .flat_map(|(_, layer)| &layer.tools.deny);
        let misspelt = denials.filter_map(|deny| {
            let (name, near) = (&deny.value, deny.value.meant()?);
            Some(Note {
                key: "tools.deny".into(),
                text: format!(
                    "creel knows no tool '{name}', and this denies nothing; did you mean '{near}'?"
                ),
                origin: Some(deny.origin.clone()),
                weight: Weight::Open,
            })
        });
        outcome.effective.notes.extend(misspelt);
        Ok(outcome)
    }
}

/// The limits of who names none.
pub fn limits() -> Result<Limits, PolicyError> {
    Ok(preset::default()?.limits)
}

/// The operator's directory.
fn config_dir(roots: &Roots) -> PathBuf {
    let named = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = match named {
        Some(dir) if dir.is_absolute() => dir,
        _ => Path::new(&roots.home).join(".config"),
    };
    base.join(OWN)
}

/// Where the next run would look for policies that grant, or that stand between those and a command:
/// whatever the variable is then. A project's own only narrows.
pub fn seats(roots: &Roots) -> Vec<PathBuf> {
    let home = Path::new(&roots.home).join(".config").join(OWN);
    let mut all = vec![PathBuf::from(PLATFORM), home, config_dir(roots)];
    all.dedup();
    all
}

fn agent(config: &Path, name: &str) -> Result<PathBuf, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Failure::new(format!(
            "--agent '{}' is no name; names are letters, digits, `-`, `_` and `.`",
            name.escape_debug()
        )));
    }
    let dir = config.join("agents");
    find(&dir, name)?.ok_or_else(|| {
        Failure::new(format!(
            "agent {name} has no layer; write {}",
            dir.join(format!("{name}.toml")).display()
        ))
    })
}

/// The one file of that name in `dir`, whatever its format. Nothing where `dir` is not there: what cannot be
/// looked at, or has the name and an extension of no format, may be a policy that somebody counts on.
fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>, Failure> {
    let unseen = |error: &io::Error| {
        Failure::new(format!(
            "whether {} has a policy cannot be seen: {error}; let yourself read it, take it away, or set XDG_CONFIG_HOME to a directory of yours",
            dir.display()
        ))
    };
    match dir.symlink_metadata() {
        // Of a path through what is no directory (XDG_CONFIG_HOME=/dev/null) there is nothing.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unseen(&error)),
        // By which another run keeps it absent.
        Ok(found) if found.file_type().is_socket() => return Ok(None),
        Ok(_) => {}
    }
    let mut found = vec![];
    for entry in std::fs::read_dir(dir).map_err(|error| unseen(&error))? {
        let file = entry.map_err(|error| unseen(&error))?.file_name();
        let parts = file
            .to_str()
            .and_then(|text| text.split_at_checked(name.len()));
        let Some((stem, rest)) = parts.filter(|(stem, _)| stem.eq_ignore_ascii_case(name)) else {
            continue;
        };
        let extension = match rest.strip_prefix('.') {
            Some(extension) if is_meant(extension) => extension,
            None if rest.is_empty() => "",
            _ => continue,
        };
        if stem != name || !EXTENSIONS.contains(&extension) {
            return Err(Failure::new(format!(
                "{} is read as no policy: name it {name}.toml, or {name}. and one of {}; or take it away",
                dir.join(&file).display(),
                EXTENSIONS[1..].join(", ")
            )));
        }
        let path = dir.join(file);
        // Of a pipe the other end may never come; a link that leads nowhere may have led to a policy.
        if !path.metadata().map_err(|error| unseen(&error))?.is_file() {
            return Err(Failure::new(format!(
                "{} is no file; make it one, or take it away",
                path.display()
            )));
        }
        found.push(path);
    }
    found.sort();
    match (found.pop(), found.pop()) {
        (Some(one), Some(other)) => Err(Failure::new(format!(
            "{} and {} are both there, and only one can be meant; remove one",
            other.display(),
            one.display()
        ))),
        (one, _) => Ok(one),
    }
}

/// Whether somebody may have meant a file of this extension to be in force: not the copy that an editor or a
/// package manager left beside it, and no text about it.
fn is_meant(extension: &str) -> bool {
    let aside = [
        "bak", "old", "orig", "save", "swp", "md", "txt", "example", "sample",
    ];
    !extension.contains('.') && !extension.ends_with('~') && !aside.contains(&extension)
}

/// A layer with what it extends. A name is a preset; anything with a slash or an extension is a file.
pub fn read(source: &Path) -> Result<Layer, PolicyError> {
    ranked(source, Rank::Operator, &mut Read::default())
}

/// As [`read`]; another program's policy is taken over as one of that rank.
fn ranked(source: &Path, rank: Rank, read: &mut Read) -> Result<Layer, PolicyError> {
    extended(source, rank, read, &mut 0)
}

/// A layer that whoever wrote the project put there: a regular file, reached through no link, which
/// reuses presets only. What it names could else be any file of the caller's, and an error would quote
/// it.
fn read_found(source: &Path, read: &mut Read) -> Result<Layer, Failure> {
    if !is_plain(source) {
        return Err(Failure::new(format!(
            "{} is no plain file in a plain directory; make it one, or leave it aside with --no-project",
            source.display()
        )));
    }
    let mut layer = one(source, Rank::Project, read)?;
    let paths = layer.paths();
    if paths > MOST_FOUND {
        return Err(Failure::new(format!(
            "{} names {paths} paths, and a project's policy may name {MOST_FOUND}; name directories or patterns, or leave it aside with --no-project",
            source.display()
        )));
    }
    for base in std::mem::take(&mut layer.extends) {
        if !is_preset(Path::new(&base.value)) {
            return Err(Failure::new(format!(
                "{}:{}: a project's policy can extend presets only, not {}",
                base.origin.source,
                base.origin.line,
                base.value.escape_debug()
            )));
        }
        let reused = preset::layer(&base.value).map_err(|error| unfollowed(&base, error))?;
        layer = layer.over(reused);
    }
    Ok(layer)
}

/// A regular file in a directory, neither of them a link.
pub fn is_plain(source: &Path) -> bool {
    let is = |path: &Path, kind: fn(&std::fs::Metadata) -> bool| {
        path.symlink_metadata().is_ok_and(|found| kind(&found))
    };
    let directory = source.parent().unwrap_or(source);
    is(directory, std::fs::Metadata::is_dir) && is(source, std::fs::Metadata::is_file)
}

fn extended(
    source: &Path,
    rank: Rank,
    read: &mut Read,
    depth: &mut usize,
) -> Result<Layer, PolicyError> {
    let mut layer = one(source, rank, read)?;
    for base in std::mem::take(&mut layer.extends) {
        *depth += 1;
        if *depth > MOST_EXTENDS {
            return Err(PolicyError::Extends {
                at: place(&base),
                name: base.value,
            });
        }
        let named = Path::new(&base.value);
        let beside = match is_preset(named) {
            true => named.to_path_buf(),
            // Without the `.` of `./base.toml`.
            false => {
                let beside = source.parent().unwrap_or(Path::new("")).join(named);
                beside.components().collect()
            }
        };
        let reused = extended(&beside, rank, read, depth)
            .map_err(|error| unfollowed(&base, meant(source, named, error)))?;
        layer = layer.over(reused);
    }
    Ok(layer)
}

/// As [`bare`], of a word in `extends`: a file is looked for beside the one that says it.
fn meant(source: &Path, named: &Path, error: PolicyError) -> PolicyError {
    let file = source.parent().unwrap_or(Path::new("")).join(named);
    match error {
        PolicyError::MissingPreset { name, .. } | PolicyError::BareFile { name } => {
            match preset::text(&name) {
                Err(error) if !file.is_file() => error,
                _ => PolicyError::BareFile { name },
            }
        }
        error => error,
    }
}

/// What is not there has no place of its own: the line that names it is where to mend it.
fn unfollowed(base: &Sourced<String>, error: PolicyError) -> PolicyError {
    match error {
        PolicyError::Unreadable { .. }
        | PolicyError::IsDirectory { .. }
        | PolicyError::BareFile { .. }
        | PolicyError::MissingPreset { .. } => PolicyError::Base {
            at: place(base),
            reason: Box::new(error),
        },
        error => error,
    }
}

fn place(base: &Sourced<String>) -> Place {
    Place {
        file: base.origin.source.to_string(),
        line: base.origin.line,
        column: 1,
    }
}

/// A word without a slash and an extension names a preset.
pub fn is_preset(source: &Path) -> bool {
    source.extension().is_none() && !source.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// Names the file, where a word that names no preset is one.
fn bare(source: &Path, error: PolicyError) -> PolicyError {
    match error {
        PolicyError::MissingPreset { name, .. } if source.is_file() => {
            PolicyError::BareFile { name }
        }
        error => error,
    }
}

/// A preset's or a file's text.
pub fn text(source: &Path) -> Result<String, PolicyError> {
    let name = source.to_string_lossy();
    if is_preset(source) {
        let text = preset::text(&name).map(str::to_owned);
        return text.map_err(|error| bare(source, error));
    }
    let bytes = bytes(source)?;
    Ok(file::decode(&name, &bytes)?.to_owned())
}

/// Of a file in another program's words, which its keys tell, what they mean in creel's.
fn one(source: &Path, rank: Rank, read: &mut Read) -> Result<Layer, PolicyError> {
    let name = source.to_string_lossy();
    if is_preset(source) {
        return preset::layer(&name).map_err(|error| bare(source, error));
    }
    let document = text(source)?;
    read.files.push(source.into());
    if !import::is_named(&name)
        && let Some(layer) = file::read_own(&name, &document, import::is_foreign)?
    {
        return Ok(layer);
    }
    let choice = Choice {
        dialect: None,
        agent: None,
        standing: match rank <= Rank::Operator {
            true => Standing::Grants,
            false => Standing::Narrows,
        },
    };
    let imported = import::read(&name, &document, &choice)?;
    let mut report = imported.report;
    report.retain(|entry| entry.fate == Fate::NotHonoured);
    read.lost.extend(report);
    Ok(imported.layer)
}

/// A policy's bytes; one more than is allowed, so that too much is seen without reading all of it.
pub fn bytes(source: &Path) -> Result<Vec<u8>, PolicyError> {
    source::read(source, file::MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => PolicyError::IsDirectory {
            path: source.into(),
        },
        _ => PolicyError::Unreadable {
            path: source.into(),
            source: error,
        },
    })
}
