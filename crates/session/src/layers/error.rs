//! Errors of finding and reading layers. The messages name the file and the remedy.

use std::io;
use std::path::PathBuf;

use creel_jail::JailError;
use creel_policy::{Origin, PolicyError};

/// Errors of finding and reading layers.
///
/// In every variant, paths are those of the host, as found or as the command line names them. `origin` is the
/// line of the rule and `written` its pattern as written. `remedy` ends the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum LayerError {
    /// The name is empty, begins with a dot, or has a character that is no ASCII letter, digit, `-`, `_` or
    /// `.`.
    #[error("--agent '{}' is not a valid name; use letters, digits, `-`, `_` and `.`", name.escape_debug())]
    AgentName { name: String },
    /// The operator's directory has no file for the agent; `path` is the one to write.
    #[error("agent {name} has no layer; write {}", path.display())]
    NoAgent { name: String, path: PathBuf },
    /// A directory of policies, or a file in it, cannot be examined. The user may rely on a policy there.
    #[error("{} may have a policy and cannot be read: {source}; {remedy}", directory.display())]
    Unseen {
        directory: PathBuf,
        remedy: &'static str,
        #[source]
        source: io::Error,
    },
    /// A file has the `name` of a policy in other case, or an extension that is not in `known`.
    #[error("{} does not have the name of a policy file; rename it to {name}.toml, or {name}. with one of {}, or remove it", path.display(), known[1..].join(", "))]
    Extension {
        path: PathBuf,
        name: String,
        known: &'static [&'static str],
    },
    /// A directory or another object has the name of a policy file.
    #[error("{} is not a file; replace it with one, or remove it", path.display())]
    NoFile { path: PathBuf },
    /// A directory has the policy in two formats.
    #[error("{} and {} both exist, and only one of them can be the policy; remove one", one.display(), other.display())]
    Two { one: PathBuf, other: PathBuf },
    /// The file of a project's policy, or its directory, is a link or no regular file.
    #[error("{} is not a regular file in a real directory; replace it with one, or ignore it with --no-project", path.display())]
    NotPlain { path: PathBuf },
    /// A project's policy names more paths than allowed.
    #[error("{} names {paths} paths, and a project's policy may name {most}; name directories or patterns, or ignore it with --no-project", path.display())]
    TooManyPaths {
        path: PathBuf,
        paths: usize,
        most: usize,
    },
    /// A layer that may extend presets only extends a file; `name` is as written, `whose` the subject of the
    /// message.
    #[error("{}:{}: {whose} can extend presets only, not {}", origin.source, origin.line, name.escape_debug())]
    ExtendsFile {
        whose: &'static str,
        name: String,
        origin: Origin,
    },
    /// The description of another host lacks the names that a pattern matches there.
    #[error("--host: {origin}: the file lacks the matches of {}; create it again with --print-host, under the same policies", written.escape_debug())]
    NotLookedUp { written: String, origin: Origin },
    /// The pattern of a grant that is not optional matches no path.
    #[error("{origin}: {} matches no path here; correct it, or mark it `optional = true`", written.escape_debug())]
    MeetsNothing { written: String, origin: Origin },
    /// A policy file, or the target of a link to it, has a path that is not UTF-8; the path as named.
    #[error("{}: the path of a policy file must be UTF-8, so that creel can deny the jail access to it; rename the file", .0.display())]
    NotUtf8(PathBuf),
    /// A policy is invalid or cannot be read.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A pattern cannot be expanded.
    #[error(transparent)]
    Jail(#[from] JailError),
}

impl LayerError {
    /// The place in a policy that the error is about; `None` if it is about none.
    pub fn rule(&self) -> Option<Origin> {
        match self {
            Self::ExtendsFile { origin, .. }
            | Self::NotLookedUp { origin, .. }
            | Self::MeetsNothing { origin, .. } => Some(origin.clone()),
            Self::Policy(error) => error.origin(),
            _ => None,
        }
    }
}

creel_policy::codes!(LayerError {
    Self::AgentName { .. } => "layer-agent-name",
    Self::NoAgent { .. } => "layer-no-agent",
    Self::Unseen { .. } => "layer-unseen",
    Self::Extension { .. } => "layer-extension",
    Self::NoFile { .. } => "layer-no-file",
    Self::Two { .. } => "layer-two-files",
    Self::NotPlain { .. } => "layer-not-plain",
    Self::TooManyPaths { .. } => "layer-too-many-paths",
    Self::ExtendsFile { .. } => "layer-extends-file",
    Self::NotLookedUp { .. } => "layer-not-looked-up",
    Self::MeetsNothing { .. } => "layer-meets-nothing",
    Self::NotUtf8(_) => "layer-not-utf8",
} else {
    Self::Policy(error) => error.code(),
    Self::Jail(error) => error.code(),
});
