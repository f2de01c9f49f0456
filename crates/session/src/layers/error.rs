//! Errors of finding and reading layers. The messages name the file and the remedy.

use std::io;
use std::path::PathBuf;

use creel_jail::JailError;
use creel_policy::{Origin, PolicyError};

/// Errors of finding and reading layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    #[error("--agent '{}' is no name; names are letters, digits, `-`, `_` and `.`", name.escape_debug())]
    AgentName { name: String },
    #[error("agent {name} has no layer; write {}", path.display())]
    NoAgent { name: String, path: PathBuf },
    /// An unreadable directory may have a policy that the user relies on.
    #[error("whether {} has a policy cannot be seen: {source}; let yourself read it, take it away, or set XDG_CONFIG_HOME to a directory of yours", directory.display())]
    Unseen {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is read as no policy: name it {name}.toml, or {name}. and one of {}; or take it away", path.display(), known[1..].join(", "))]
    Extension {
        path: PathBuf,
        name: String,
        known: &'static [&'static str],
    },
    #[error("{} is no file; make it one, or take it away", path.display())]
    NoFile { path: PathBuf },
    #[error("{} and {} are both there, and only one can be meant; remove one", one.display(), other.display())]
    Two { one: PathBuf, other: PathBuf },
    #[error("{} is no plain file in a plain directory; make it one, or leave it aside with --no-project", path.display())]
    NotPlain { path: PathBuf },
    #[error("{} names {paths} paths, and a project's policy may name {most}; name directories or patterns, or leave it aside with --no-project", path.display())]
    TooManyPaths {
        path: PathBuf,
        paths: usize,
        most: usize,
    },
    #[error("{}:{}: {whose} can extend presets only, not {}", origin.source, origin.line, name.escape_debug())]
    ExtendsFile {
        whose: &'static str,
        name: String,
        origin: Origin,
    },
    #[error("--host: {origin}: {} was not looked up there; write the file anew with --print-host, under the same policies", written.escape_debug())]
    NotLookedUp { written: String, origin: Origin },
    #[error("{origin}: {} meets nothing here; correct it, or mark it `optional = true`", written.escape_debug())]
    MeetsNothing { written: String, origin: Origin },
    #[error("{}: the path of a policy must be UTF-8, or the jail could not be kept from it; rename it", .0.display())]
    NotUtf8(PathBuf),
    #[error(transparent)]
    Policy(#[from] PolicyError),
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
