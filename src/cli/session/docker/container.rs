//! Containers: sessions with what docker says about them. A container outlives its session, which `start` makes.
//!
//! ```text
//! STATE/containers/NAME     how it was created, as JSON; the session has the same name
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::session::{failure, store};
use creel_plan::lossless;
use creel_session::keep::client::Client;
use creel_session::keep::store::{Life, Store, check, state_dir};
use creel_session::keep::wire::{Ask, Tell};
use creel_sys::host;

/// The label of the session that has the container's id.
pub const LABEL: &str = "creel-docker.id";
/// Digits of an id that stand for the whole one.
const SHORT: usize = 12;

/// A container, as it was created.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Container {
    /// Sixty-four hexadecimal digits.
    pub id: String,
    /// The name of the session.
    pub name: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// As the caller named it. It is not used.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// `NAME=VALUE`.
    #[serde(with = "lossless::list")]
    pub env: Vec<Vec<u8>>,
    pub workdir: String,
    pub user: String,
    pub network: String,
    pub mounts: Vec<Mount>,
    /// The flags of `creel create`.
    #[serde(with = "lossless::list")]
    pub flags: Vec<Vec<u8>>,
    /// The directory of the caller, for relative paths.
    #[serde(with = "lossless")]
    pub directory: PathBuf,
}

/// A directory or a file of the host's in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: String,
    pub destination: String,
    pub write: bool,
}

/// The session of a container.
pub enum State {
    /// It was not started.
    Created,
    /// It lives: its keeper, and its description as of `creel inspect`.
    Alive(Client, Value),
    Ended,
}

impl Container {
    /// A new id.
    pub fn new_id(name: &str) -> String {
        let random = host::random_id() + &host::random_id();
        creel_policy::digest(format!("{random}\0{name}").as_bytes())
    }

    /// The container of a name, an id, or the first digits of an id.
    pub fn find(word: &str) -> Result<Container, Failure> {
        Container::lookup(word)?.ok_or_else(|| none(word))
    }

    /// The same; `None` if there is none.
    pub fn lookup(word: &str) -> Result<Option<Container>, Failure> {
        if check(word).is_ok()
            && let Some(container) = read(&place(word)?)?
        {
            return Ok(Some(container));
        }
        let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        let is_id = word.len() >= SHORT && word.bytes().all(hex);
        let all = all()?.into_iter();
        let mut found = all.filter(|one| is_id && one.id.starts_with(word));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Failure::new(format!(
                "several containers have ids that begin with {word}"
            ))),
            (found, _) => Ok(found),
        }
    }

    /// Keeps a new one. The name must be free.
    pub fn keep(&self) -> Result<(), Failure> {
        check(&self.name).map_err(|e| failure(&e))?;
        let path = place(&self.name)?;
        let taken = || {
            Failure::new(format!(
                "Conflict. The container name {0} is already in use; `creel-docker rm -f {0}` removes it",
                self.name
            ))
        };
        if store()?
            .life(&self.name)
            .map_err(|e| failure(&e))?
            .is_some()
        {
            return Err(taken());
        }
        // Under another name first: nobody reads half of it.
        let new = directory()?.join(format!(".{}", self.id));
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        let text = serde_json::to_vec(self)?;
        let written = options
            .open(&new)
            .and_then(|mut file| file.write_all(&text));
        let kept = written.and_then(|()| fs::hard_link(&new, &path));
        let _ = fs::remove_file(&new);
        match kept {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
            other => other.map_err(|error| Failure::new(format!("{}: {error}", path.display()))),
        }
    }

    /// Forgets it.
    pub fn forget(&self) -> Result<(), Failure> {
        match fs::remove_file(place(&self.name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Its session. Another session of this name is not its own.
    pub fn state(&self, store: &Store) -> Result<State, Failure> {
        match store.life(&self.name).map_err(|e| failure(&e))? {
            None => return Ok(State::Created),
            Some(Life::Over) => return Ok(State::Ended),
            Some(Life::Alive) => {}
        }
        let Ok(client) = Client::connect(store, &self.name) else {
            return Ok(State::Ended);
        };
        match client.ask(&Ask::Inspect) {
            Ok(Tell::Inspected { session }) if session["record"]["labels"][LABEL] == *self.id => {
                Ok(State::Alive(client, session))
            }
            Ok(_) => Err(Failure::new(format!(
                "the session {0} is none of creel-docker's; `creel rm --force {0}` ends it",
                self.name
            ))),
            Err(_) => Ok(State::Ended),
        }
    }
}

/// All containers, by name.
pub fn all() -> Result<Vec<Container>, Failure> {
    let mut paths = vec![];
    for entry in fs::read_dir(directory()?)?.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| check(name).is_ok()) {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    let mut all = vec![];
    for path in paths {
        all.extend(read(&path)?);
    }
    Ok(all)
}

/// As docker says it, since callers look for these words.
pub fn none(word: &str) -> Failure {
    Failure::new(format!("No such container: {word}")).with_status(1)
}

fn place(name: &str) -> Result<PathBuf, Failure> {
    Ok(directory()?.join(name))
}

/// The directory of containers, in the state directory: the user's alone, as the store is.
fn directory() -> Result<PathBuf, Failure> {
    store()?;
    let path = state_dir().join("containers");
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let meta = fs::symlink_metadata(&path)?;
    match meta.is_dir() && meta.uid() == host::ids().0 && meta.mode() & 0o022 == 0 {
        true => Ok(path),
        false => Err(Failure::new(format!(
            "{} is no directory of this user's alone; remove it",
            path.display()
        ))),
    }
}

fn read(path: &Path) -> Result<Option<Container>, Failure> {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let container = serde_json::from_reader(io::BufReader::new(file)).map_err(|error| {
        Failure::new(format!(
            "{} is no container of creel-docker's: {error}; remove it",
            path.display()
        ))
    })?;
    Ok(Some(container))
}
