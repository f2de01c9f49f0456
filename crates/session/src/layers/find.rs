//! The paths of layers: those of this machine, and those that the command line names.

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

/// The name of the operator's directory in the configuration directory.
const OWN: &str = "creel";
/// The name of the directory with a project's policy, in its workspace.
const PROJECT: &str = ".creel";
static EXTENSIONS: [&str; 6] = ["toml", "yaml", "yml", "json", "json5", "jsonc"];

/// The policies that a caller names in addition to those at the standard paths.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// Files or names of shipped policies; each further one narrows the first.
    pub policies: Vec<PathBuf>,
    /// The agent whose layer applies too.
    pub agent: Option<String>,
    /// The file of a renter's layer.
    pub renter: Option<PathBuf>,
    /// Ignores the workspace's own `.creel/policy.*`.
    pub no_project: bool,
    /// Reads no layer at all: the default preset is the policy.
    pub none: bool,
}

/// The source of a layer, before it is read.
pub struct Source {
    /// The rank of the layer.
    pub rank: Rank,
    /// A file, or a preset's name.
    pub path: PathBuf,
    /// How the source was chosen.
    pub put: Put,
}

/// How a source was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The platform or the operator, in their own directory.
    Placed,
    /// The caller of creel, on the command line.
    Named,
    /// The author of the project.
    Found,
}

impl Source {
    /// Reads the layer and the policies that it extends.
    pub fn read(&self, read: &mut Read) -> Result<Layer, LayerError> {
        match self.put {
            Put::Placed | Put::Named => Ok(read::ranked(&self.path, self.rank, read)?),
            Put::Found => read::found(&self.path, read),
        }
    }
}

/// The layers at the standard paths and on this command line, in the order of their ranks. Without any, the
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

/// The directories in which the next run would look for policies that grant, or that narrow those, whether
/// or not `XDG_CONFIG_HOME` is still set as it is now. A project's directory is not included, because its
/// policy only narrows.
pub fn search_dirs(roots: &Roots) -> Vec<PathBuf> {
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

/// The file of that name in `dir`, in any format. `None` if `dir` does not exist. An unreadable directory,
/// and a file of the name with an unknown extension, are errors: each may be a policy that the user relies
/// on.
fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>, LayerError> {
    let remedy = match dir.parent().filter(|_| dir.ends_with(PROJECT)) {
        Some(workspace) if workspace.read_dir().is_err() => {
            "make the workspace readable, or name another with --workspace DIR"
        }
        Some(_) => "make it readable, or ignore it with --no-project",
        None if dir == Path::new(PLATFORM) => "make it readable, or remove it",
        None => "make it readable, remove it, or set XDG_CONFIG_HOME to a directory that you own",
    };
    let unseen = |source: io::Error| LayerError::Unseen {
        directory: dir.into(),
        remedy,
        source,
    };
    match dir.symlink_metadata() {
        // A path through a file (XDG_CONFIG_HOME=/dev/null) contains no policy.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unseen(error)),
        // Another run blocks the creation of the directory with this placeholder.
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
        // A pipe may never get a writer; a dangling link may have led to a policy.
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

/// Whether a file with this extension may be meant as a policy: not the copy of an editor or a package
/// manager, and no documentation.
fn is_meant(extension: &str) -> bool {
    let aside = [
        "bak", "old", "orig", "save", "swp", "md", "txt", "example", "sample",
    ];
    !extension.contains('.') && !extension.ends_with('~') && !aside.contains(&extension)
}
