//! Finds the files that a program loads before its own first instruction: repeats the loader's search, ld.so(8), on the
//! host's files without running any of them.
//!
//! The search uses the loader's order. It takes each file that the loader may choose (one for each kind of
//! processor), no more, and what glibc opens by itself later ([`glibc`]). What a program opens with dlopen(3)
//! cannot be known: a policy names such trees in `load`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::elf::{self, Elf, Form};
use super::glibc::{self, Libc};
use super::pins::{Pin, Pins, look};
use creel_plan::host::{Image, LoadTree, NamedBy, Piece, Role};
use creel_plan::wanted::Purpose;
use creel_plan::{Fact, Host};
use creel_sys::fd;

/// The default directories of glibc and musl, in all layouts of x86_64 systems.
const SYSTEM: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];
const CACHE: &str = "/etc/ld.so.cache";
/// Libraries of one program, at most.
const MOST_LIBRARIES: usize = 1024;
/// Entries of one `load` tree, at most.
pub const MOST_FILES: usize = 4096;
/// Entries of one protected tree that is searched for hard links, at most: half a second's work with cold
/// kernel caches.
pub const MOST_PROTECTED: usize = 131_072;

/// The search, with what it has already read from this host.
#[derive(Default)]
pub struct Search {
    cache: Option<Vec<u8>>,
    forms: BTreeMap<PathBuf, Form>,
}

/// An object whose libraries are searched.
struct Object {
    elf: Elf,
    /// Its directory, for `$ORIGIN`.
    origin: PathBuf,
    /// The search paths of the objects that loaded it, unless its own replace them.
    inherited: Vec<PathBuf>,
}

/// The search result for a program or a tree.
#[derive(Default)]
struct Found {
    loads: Vec<Piece>,
    missing: Vec<String>,
    /// The names searched so far.
    seen: BTreeSet<Vec<u8>>,
    libc: Option<Libc>,
}

impl Search {
    /// Determines what the pinned program at `real` is and loads. Adds the facts of all files that it names
    /// to `host`, their pins to `pins`.
    pub fn image(&mut self, real: &Path, host: &mut Host, pins: &mut Pins) -> Image {
        let elf = match self.form(real, pins) {
            None => return Image::Unreadable,
            Some(Form::Other) => return Image::Other,
            Some(Form::Script(name)) => {
                let interpreter = PathBuf::from(OsStr::from_bytes(&name));
                if self.real(&interpreter, host, pins).is_none() {
                    let fact = Fact::Absent;
                    host.paths.entry(interpreter.clone()).or_insert(fact);
                }
                return Image::Script { interpreter };
            }
            Some(Form::Elf(elf)) => *elf,
        };
        let mut found = Found::default();
        let loader = elf.loader.clone();
        if let Some(name) = &loader {
            let name = PathBuf::from(OsStr::from_bytes(name));
            let named_by = match SYSTEM.iter().any(|dir| name.starts_with(dir)) {
                true => NamedBy::System,
                false => NamedBy::Program,
            };
            match self.real(&name, host, pins) {
                Some(real) if matches!(self.form(&real, pins), Some(Form::Elf(_))) => {
                    found.loads.push(Piece {
                        name,
                        role: Role::Loader,
                        named_by,
                    });
                }
                _ => found.missing.push(name.display().to_string()),
            }
        }
        let musl = loader.is_some_and(|l| l.windows(7).any(|w| w == b"ld-musl"));
        let first = Object {
            elf,
            origin: parent(real),
            inherited: vec![],
        };
        self.libraries(vec![first], musl, host, pins, &mut found);
        self.by_itself(host, pins, &mut found);
        let Found {
            mut loads, missing, ..
        } = found;
        let name = PathBuf::from(CACHE);
        if !loads.is_empty() && !musl && self.real(&name, host, pins).is_some() {
            loads.push(Piece {
                name,
                role: Role::Cache,
                named_by: NamedBy::System,
            });
        }
        Image::Elf { loads, missing }
    }

    /// Adds to `all` what the objects in `queue` load, recursively.
    fn libraries(
        &mut self,
        mut queue: Vec<Object>,
        musl: bool,
        host: &mut Host,
        pins: &mut Pins,
        all: &mut Found,
    ) {
        while let Some(object) = queue.pop() {
            let paths = object.paths();
            for name in &object.elf.needed {
                // musl's loader is its libc, under any name.
                let itself = musl && (name == b"libc.so" || name.starts_with(b"libc.musl"));
                if itself || all.seen.len() >= MOST_LIBRARIES || !all.seen.insert(name.clone()) {
                    continue;
                }
                let found = self.find(name, &paths, host, pins);
                if found.is_empty() {
                    let name = String::from_utf8_lossy(name).into_owned();
                    all.missing.push(name);
                }
                for (path, real, elf, named_by) in found {
                    if name == glibc::NAME.as_bytes() {
                        all.libc.get_or_insert_with(|| Libc {
                            real: real.clone(),
                            inherited: paths.clone(),
                            named_by,
                        });
                    }
                    all.loads.push(Piece {
                        name: path,
                        role: Role::Library,
                        named_by,
                    });
                    queue.push(Object {
                        elf,
                        origin: parent(&real),
                        inherited: paths.clone(),
                    });
                }
            }
        }
    }

    /// Adds what glibc opens later by itself, as far as this host has it.
    fn by_itself(&mut self, host: &mut Host, pins: &mut Pins, all: &mut Found) {
        let Some(libc) = all.libc.take() else {
            return;
        };
        let object = Object {
            elf: Elf {
                needed: libc.opens(),
                ..Elf::default()
            },
            origin: parent(&libc.real),
            inherited: libc.inherited.clone(),
        };
        let missing = all.missing.len();
        self.libraries(vec![object], false, host, pins, all);
        all.missing.truncate(missing);
        for name in libc.converters() {
            let Some(real) = self.real(&name, host, pins) else {
                continue;
            };
            // The converters must have the same owner as libc.
            let owner = |path: &Path| pins.get(path).map(|pin| pin.stat.uid);
            if owner(&real) == owner(&libc.real) {
                all.loads.push(Piece {
                    name,
                    role: Role::Converters,
                    named_by: libc.named_by,
                });
                break;
            }
        }
    }

    /// Searches a tree of libraries for a program, which a loader would execute like any other file that it
    /// can map; else returns what the libraries need from outside of the tree.
    pub fn tree(&mut self, root: &Path, host: &mut Host, pins: &mut Pins) -> LoadTree {
        let Some(files) = files_below(root, MOST_FILES) else {
            return LoadTree::TooLarge { most: MOST_FILES };
        };
        let mut queue = vec![];
        for path in files {
            let Some(Form::Elf(elf)) = File::open(&path).ok().map(|file| form_in(&file)) else {
                continue;
            };
            if elf.program {
                return LoadTree::Holds { program: path };
            }
            queue.push(Object {
                elf: *elf,
                origin: parent(&path),
                inherited: vec![],
            });
        }
        let mut found = Found::default();
        self.libraries(queue, false, host, pins, &mut found);
        let mut loads = found.loads;
        loads.retain(|piece| !piece.name.starts_with(root));
        LoadTree::Libraries { loads }
    }

    /// Every file that the loader may take for `name`.
    fn find(
        &mut self,
        name: &[u8],
        paths: &[PathBuf],
        host: &mut Host,
        pins: &mut Pins,
    ) -> Vec<(PathBuf, PathBuf, Elf, NamedBy)> {
        let file = Path::new(OsStr::from_bytes(name));
        if name.contains(&b'/') {
            let found = self.library(file.to_path_buf(), NamedBy::Program, host, pins);
            return found.into_iter().collect();
        }
        for dir in paths {
            if let Some(found) = self.library(dir.join(file), NamedBy::Program, host, pins) {
                return vec![found];
            }
        }
        let cache = self
            .cache
            .get_or_insert_with(|| std::fs::read(CACHE).unwrap_or_default());
        let cached = elf::cached(cache, name);
        let mut all: Vec<_> = cached
            .iter()
            .map(|path| PathBuf::from(OsStr::from_bytes(path)))
            .filter_map(|path| self.library(path, NamedBy::System, host, pins))
            .collect();
        if all.is_empty() {
            all = SYSTEM
                .iter()
                .find_map(|dir| {
                    self.library(Path::new(dir).join(file), NamedBy::System, host, pins)
                })
                .into_iter()
                .collect();
        }
        all
    }

    /// The library at `path`, if it is one.
    fn library(
        &mut self,
        path: PathBuf,
        named_by: NamedBy,
        host: &mut Host,
        pins: &mut Pins,
    ) -> Option<(PathBuf, PathBuf, Elf, NamedBy)> {
        let path: PathBuf = path.components().collect();
        let real = self.real(&path, host, pins)?;
        match self.form(&real, pins)? {
            Form::Elf(elf) => Some((path, real, *elf, named_by)),
            Form::Script(_) | Form::Other => None,
        }
    }

    /// Looks a name up and pins its target; `None` if there is no file.
    fn real(&mut self, name: &Path, host: &mut Host, pins: &mut Pins) -> Option<PathBuf> {
        if !name.is_absolute() {
            return None;
        }
        if !host.paths.contains_key(name) {
            let fact = look(name, Purpose::Read, host.id_mode, pins).ok()?;
            if let Fact::Present { real, .. } = &fact
                && pins.get(real).is_some_and(|pin| pin.stat.links > 1)
            {
                host.found.hard_linked.insert(real.clone());
            }
            // Absent files are not part of the plan.
            if !matches!(fact, Fact::Present { .. }) {
                return None;
            }
            host.paths.insert(name.into(), fact);
        }
        match host.paths.get(name) {
            Some(Fact::Present { real, .. }) => Some(real.clone()),
            _ => None,
        }
    }

    /// Reads a pinned file's form once; `None` if it cannot be read.
    fn form(&mut self, real: &Path, pins: &Pins) -> Option<Form> {
        if let Some(known) = self.forms.get(real) {
            return Some(known.clone());
        }
        let form = form_of(pins.get(real)?)?;
        self.forms.insert(real.into(), form.clone());
        Some(form)
    }
}

impl Object {
    /// The directories that are searched before the system's. DT_RUNPATH replaces DT_RPATH, which an object
    /// inherits from those that loaded it.
    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![];
        match (&self.elf.runpath, &self.elf.rpath) {
            (Some(list), _) => self.expand(list, &mut paths),
            (None, Some(list)) => {
                self.expand(list, &mut paths);
                paths.extend(self.inherited.iter().cloned());
            }
            (None, None) => paths.extend(self.inherited.iter().cloned()),
        }
        paths
    }

    /// Expands dynamic string tokens, ld.so(8); `$LIB` differs between systems, so all values are taken.
    fn expand(&self, list: &[u8], to: &mut Vec<PathBuf>) {
        let list = String::from_utf8_lossy(list);
        let origin = self.origin.to_string_lossy();
        for entry in list.split(':').filter(|entry| !entry.is_empty()) {
            let entry = entry.replace("${", "$").replace('}', "");
            let entry = entry
                .replace("$ORIGIN", &origin)
                .replace("$PLATFORM", "x86_64");
            for lib in ["lib64", "lib/x86_64-linux-gnu", "lib"] {
                let path = PathBuf::from(entry.replace("$LIB", lib));
                if !to.contains(&path) {
                    to.push(path);
                }
            }
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_path_buf()
}

fn form_of(pin: &Pin) -> Option<Form> {
    let file = fd::reopen(pin.fd.as_fd()).ok().map(File::from)?;
    Some(form_in(&file))
}

/// Reads the form of an opened file: a program, a library, a script, or none of them.
pub fn form_in(file: &File) -> Form {
    elf::form(&|at, length| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    })
}

/// The regular files in a tree, or `root` itself; `None` if it has more than `most` entries. Links are not
/// followed: the target is in the tree, or is not granted.
pub fn files_below(root: &Path, most: usize) -> Option<Vec<PathBuf>> {
    below(root, most).map(|(files, _)| files)
}

/// The regular files in a tree, or `root` itself, and the symbolic links in it.
pub fn below(root: &Path, most: usize) -> Option<(Vec<PathBuf>, Vec<PathBuf>)> {
    if root.is_file() {
        return Some((vec![root.to_path_buf()], vec![]));
    }
    let (mut files, mut links) = (vec![], vec![]);
    let mut seen = 0;
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        // The jail cannot list a directory that the caller cannot list.
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            seen += 1;
            if seen > most {
                return None;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                Ok(kind) if kind.is_symlink() => links.push(entry.path()),
                _ => {}
            }
        }
    }
    Some((files, links))
}
