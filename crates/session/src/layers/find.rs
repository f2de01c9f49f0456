//! Where layers lie: the places of this machine, and what the command line names.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::error::LayerError;
use super::protect::Read;
use super::read;
use creel_policy::layer::{Layer, Rank};
use creel_policy::preset;
use creel_policy::rights::Roots;
use creel_sys::host::PLATFORM;

/// The operator's directory, among those of other programs.
const OWN: &str = "creel";
/// The directory of a project's file, in its workspace.
const PROJECT: &str = ".creel";
static EXTENSIONS: [&str; 6] = ["toml", "yaml", "yml", "json", "json5", "jsonc"];

/// The policies that a caller names beside those of this place.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// Files, or names of shipped policies; each further one narrows the first.
    pub policies: Vec<PathBuf>,
    /// The agent whose layer counts too.
    pub agent: Option<String>,
    /// The file of a renter's layer.
    pub renter: Option<PathBuf>,
    /// Leaves the workspace's own `.creel/policy.*` aside.
    pub no_project: bool,
    /// Reads no layer at all: the default preset is the policy.
    pub none: bool,
}

/// Where a layer is written, before it is read.
pub struct Source {
    /// Whose layer it is.
    pub rank: Rank,
    /// A file, or a preset's name.
    pub path: PathBuf,
    /// Who put it there.
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
    /// Reads the layer with what it extends.
    pub fn read(&self, read: &mut Read) -> Result<Layer, LayerError> {
        match self.put {
            Put::Placed | Put::Named => Ok(read::ranked(&self.path, self.rank, read)?),
            Put::Found => read::found(&self.path, read),
        }
    }
}

/// The layers of this place and of this command line, in the order of their ranks. With none, the
/// default preset is the operator's.
pub fn sources(named: &Named, roots: &Roots) -> Result<Vec<Source>, LayerError> {
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
    if let Some(name) = &named.agent {
        add(Rank::Agent, agent(&config, name)?, Put::Placed);
    }
    if let Some(path) = &named.renter {
        add(Rank::Renter, path.clone(), Put::Named);
    }
    let project = Path::new(&roots.workspace).join(PROJECT);
    if !named.no_project
        && let Some(path) = find(&project, "policy")?
    {
        add(Rank::Project, path, Put::Found);
    }
    for path in &named.policies {
        add(rank, path.clone(), Put::Named);
        rank = Rank::CommandLine;
    }
    if rank == Rank::Operator {
        add(rank, preset::DEFAULT.into(), Put::Named);
    }
    all.sort_by_key(|source| source.rank);
    Ok(all)
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

fn agent(config: &Path, name: &str) -> Result<PathBuf, LayerError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(LayerError::AgentName { name: name.into() });
    }
    let dir = config.join("agents");
    find(&dir, name)?.ok_or_else(|| {
        let path = dir.join(format!("{name}.toml"));
        LayerError::NoAgent {
            name: name.into(),
            path,
        }
    })
}

/// The one file of that name in `dir`, whatever its format. Nothing where `dir` is not there: what cannot be
/// looked at, or has the name and an extension of no format, may be a policy that somebody counts on.
fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>, LayerError> {
    let unseen = |source: io::Error| LayerError::Unseen {
        directory: dir.into(),
        source,
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
        Err(error) => return Err(unseen(error)),
        // By which another run keeps it absent.
        Ok(found) if found.file_type().is_socket() => return Ok(None),
        Ok(_) => {}
    }
    let mut found = vec![];
    for entry in std::fs::read_dir(dir).map_err(unseen)? {
        let file = entry.map_err(unseen)?.file_name();
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
            return Err(LayerError::Extension {
                path: dir.join(&file),
                name: name.into(),
                known: &EXTENSIONS,
            });
        }
        let path = dir.join(file);
        // Of a pipe the other end may never come; a link that leads nowhere may have led to a policy.
        if !path.metadata().map_err(unseen)?.is_file() {
            return Err(LayerError::NoFile { path });
        }
        found.push(path);
    }
    found.sort();
    match (found.pop(), found.pop()) {
        (Some(one), Some(other)) => Err(LayerError::Two {
            one: other,
            other: one,
        }),
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
