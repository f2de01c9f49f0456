//! The declaration of one run: the policy that results from all layers, and the caller's request in
//! addition to it.
//!
//! Returns an error if the caller asks for more than a platform's or operator's policy grants. Nothing is
//! passed to the kernel yet.

mod error;
mod flags;
mod place;
mod publish;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

pub use error::DeclareError;
pub(crate) use flags::within_network;
pub use place::Place;
pub(crate) use publish::check as publish_below_ceiling;
pub use publish::{PublishOn, only_loopback};

use flags::Flags;

use super::layers::{self, Layers};
use creel_plan::paths::workspace_mode;
use creel_plan::request::Publish;
use creel_plan::{Clocks, Request, Terminal};
use creel_policy::effective::{self, Note, Weight};
use creel_policy::layer::Limits;
use creel_policy::net::{Bounds, Rule};
use creel_policy::rights::Roots;
use creel_policy::stack::Outcome;
use creel_policy::{Degradable, Policy, WorkspaceMode, preset};

/// The caller's request for one run, in addition to the policy. Paths are absolute or relative to the
/// caller's working directory.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Whether the jail is a session, which is made without a command.
    pub stays: bool,
    /// The workspace; by default the current directory.
    pub workspace: Option<PathBuf>,
    /// The path of the workspace in the jail; by default that of the host.
    pub workspace_at: Option<PathBuf>,
    /// The mode of the workspace; by default the policy's.
    pub workspace_mode: Option<WorkspaceMode>,
    /// Files and directories to read.
    pub read: Vec<AskedPath>,
    /// To read and write.
    pub write: Vec<AskedPath>,
    /// To read and execute.
    pub exec: Vec<AskedPath>,
    /// Destinations to connect to.
    pub allow_net: Vec<Rule>,
    /// Variables, by name and value.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory of the command; by default the workspace.
    pub workdir: Option<PathBuf>,
    /// Limits, each of which replaces the policy's. Their origin names the flag.
    pub limits: Limits,
    /// Layers that may be missing if the machine lacks them.
    pub allow_degraded: Vec<Degradable>,
    /// Whether the command has a terminal of its own.
    pub terminal: Terminal,
    /// The zero point of the jail's clocks.
    pub clocks: Clocks,
    /// Servers in the jail that the host can connect to.
    pub publish: Vec<Publish>,
    /// The addresses that they may be published on.
    pub publish_on: PublishOn,
}

/// A path of the host that a flag grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPath {
    /// On the host: absolute, or relative to the caller's working directory.
    pub path: PathBuf,
    /// In the jail, absolute; `None` for the path on the host.
    pub at: Option<PathBuf>,
}

impl<P: Into<PathBuf>> From<P> for AskedPath {
    fn from(path: P) -> AskedPath {
        AskedPath {
            path: path.into(),
            at: None,
        }
    }
}

/// The declared run: the policy of all layers and flags, and the caller's request.
#[derive(Debug)]
pub struct Declared {
    /// The policy that results from all layers and flags.
    pub policy: Policy,
    /// The request for one command under it.
    pub request: Request,
    /// The values of `~` and `$WORKSPACE` in it.
    pub roots: Roots,
    /// The result of the layers without flags; `None` for the default preset, which is not read.
    pub outcome: Option<Outcome>,
    /// The network of all layers together, if a platform or an operator has a policy: more is granted to nobody.
    pub(crate) ceiling: Option<Bounds>,
}

/// Combines the layers with the caller's request. `id` is the jail's id; `layers` are those that
/// [`Layers::load`] found, or those of a text ([`Layers::of_text`]). `tell` gets a line for each policy key
/// without effect.
pub fn declare(
    asked: &Asked,
    id: &str,
    layers: Option<&Layers>,
    place: &Place,
    tell: &mut dyn FnMut(&str),
) -> Result<Declared, DeclareError> {
    if asked.publish_on == PublishOn::Loopback {
        only_loopback(&asked.publish)?;
    }
    let roots = place.roots(asked.workspace.as_deref());
    let mut flags = Flags::of(asked, place)?;
    let Some(layers) = layers else {
        return by_default(asked, flags, id, roots);
    };
    let lost = layers.read.lost.iter();
    lost.for_each(|key| tell(&key.to_string()));
    layers.expanded.all_met()?;
    let mode = asked.workspace_mode;
    let mut most = None;
    if let (true, Some(mode)) = (layers.ceiling, mode) {
        let alone = layers.resolve(&roots)?;
        flags::check_workspace(mode, &alone.effective.policy)?;
        most = Some(alone);
    }
    let outcome = layers.resolve_in(&roots, mode)?;
    let open = |note: &&Note| note.weight == Weight::Open;
    for note in outcome.effective.notes.iter().filter(open) {
        tell(&note.to_string());
    }
    let mut policy = outcome.effective.policy.clone();
    let words = asked.command.iter().map(|word| word.to_string_lossy());
    let argv: Vec<String> = words.map(|word| word.into_owned()).collect();
    effective::admit(&mut policy, &outcome.rights, &roots, &argv);
    layers.read.protect(&mut policy, &roots)?;
    match layers.ceiling {
        true => {
            let most = most.as_ref().unwrap_or(&outcome);
            let fresh = workspace_mode(&policy) == WorkspaceMode::None;
            // In a jail with a fresh workspace `$WORKSPACE` is that directory. The caller's must not lie in a
            // grant of it: the caller alone would choose what the other layers grant.
            let apart = match fresh && flags.name_paths() {
                true => Some(roots.without_workspace()),
                false => None,
            };
            let most = match &apart {
                Some(apart) => &layers.resolve(apart)?,
                None => most,
            };
            let (rights, granted) = (&most.rights, &most.effective.policy);
            let roots = apart.as_ref().unwrap_or(&roots);
            flags.check(rights, granted, &layers.stack.layers, roots)?;
        }
        false => policy.network.grant(asked.allow_net.iter()),
    }
    let mut request = request(asked, flags, id, &mut policy, &roots);
    request.search_dirs = layers::search_dirs(&roots);
    let excepted = outcome.rights.unprotect.iter().flatten();
    request.unprotected = excepted.map(|(path, _)| path.as_str().into()).collect();
    let ceiling = layers.ceiling.then(|| outcome.rights.network.clone());
    let notes = outcome.effective.notes.iter().map(ToString::to_string);
    request.notes = notes
        .chain(outcome.clips.iter().map(ToString::to_string))
        .collect();
    Ok(Declared {
        policy,
        request,
        roots,
        outcome: Some(outcome),
        ceiling,
    })
}

/// The declaration for the compiled-in default preset.
fn by_default(
    asked: &Asked,
    flags: Flags<'_>,
    id: &str,
    roots: Roots,
) -> Result<Declared, DeclareError> {
    let mut policy = preset::default_in(&roots, asked.workspace_mode)?;
    policy.network.grant(asked.allow_net.iter());
    let mut request = request(asked, flags, id, &mut policy, &roots);
    request.search_dirs = layers::search_dirs(&roots);
    Ok(Declared {
        policy,
        request,
        roots,
        outcome: None,
        ceiling: None,
    })
}

/// The request for one command under `policy`, to which the flags are added.
fn request(
    asked: &Asked,
    flags: Flags<'_>,
    id: &str,
    policy: &mut Policy,
    roots: &Roots,
) -> Request {
    let (words, mapped) = (flags.words(), flags.mapped());
    let raw = flags.apply(policy, roots);
    let passed = &policy.environment.pass;
    let caller_env = passed
        .iter()
        .filter_map(|name| Some((name.value.clone().into(), std::env::var_os(&name.value)?)))
        .collect();
    Request {
        command: asked.command.clone(),
        stays: asked.stays,
        workspace: asked.workspace.clone(),
        mapped,
        raw,
        env: asked.env.clone(),
        caller_env,
        workdir: asked.workdir.clone(),
        terminal: asked.terminal,
        clocks: asked.clocks,
        unprotected: BTreeSet::new(),
        search_dirs: vec![],
        flags: words,
        notes: vec![],
        publish: asked.publish.clone(),
        changes: None,
        id: id.to_owned(),
    }
}
