//! The files that may be executed if a policy does not leave that to the grants: the programs by name,
//! their loader, and the libraries that they load. Each is a separate mount in a tree that is noexec.
//!
//! The decision applies to inodes. A loader maps the program that it starts, so a copy, a link or a script
//! made by the jail fails on its noexec mount, under any name and with any loader.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::host::{Fact, Image, LoadTree, NamedBy, Piece, Role};
use super::refusal::ResolveError;
use super::view::{Bound, View, never_below};
use super::*;
use creel_policy::{Absent, Execution, Origin, PathRule, Policy};

impl View<'_> {
    /// Adds the files that may be executed or loaded, after the grants are known. `places`: the paths to
    /// try for the command, in order; `landlock`: the ABI.
    pub(super) fn programs(
        &mut self,
        policy: &Policy,
        places: &[PathBuf],
        landlock: u32,
    ) -> Result<(), ResolveError> {
        let before = self.binds.len();
        let names = match &policy.exec.value {
            Execution::Granted => vec![],
            Execution::Worker => self
                .worker(places)?
                .map(|path| (path.to_path_buf(), Absent::Refuse, &policy.exec.origin))
                .into_iter()
                .collect(),
            Execution::Only(programs) => {
                let names = self.named(programs)?;
                self.startable(names)?
            }
        };
        let mut programs = vec![];
        for (path, absent, origin) in &names {
            if let Some(real) = self.program(path, *absent, origin)? {
                programs.push((real, *origin));
            }
        }
        for (real, origin) in &programs {
            self.interpreter(real, &programs, origin)?;
        }
        let limited = policy.exec.value != Execution::Granted;
        for (name, origin) in self.load_trees(&policy.filesystem.load, landlock)? {
            // Otherwise the grants decide what may be loaded.
            if limited && never_below(&name).is_none() {
                self.piece(&name, Code::Load, &origin)?;
            }
        }
        let more = self.binds.len().saturating_sub(before + programs.len());
        self.execution = match &policy.exec.value {
            Execution::Granted => return self.no_links_out(),
            Execution::Worker => format!("the command alone, with {more} files that it loads"),
            Execution::Only(_) => format!(
                "{} programs by name, with {more} files that they load",
                programs.len()
            ),
        };
        self.no_links_out()
    }

    fn named<'p>(
        &self,
        programs: &'p [PathRule],
    ) -> Result<Vec<(PathBuf, Absent, &'p Origin)>, ResolveError> {
        let mut names = vec![];
        for grant in programs {
            match self.on_host.of_rule(grant) {
                Some(path) => names.push((path.into_owned(), grant.absent, &grant.origin)),
                None if grant.absent == Absent::Skip => {}
                None => {
                    return Err(ResolveError::NoHome {
                        uid: self.host.uid,
                        origin: grant.origin.clone(),
                    });
                }
            }
        }
        Ok(names)
    }

    /// Leaves out, with a note, each script by a bare name whose interpreter is not among the programs: a
    /// bare name stands for whatever file this machine has, and one that cannot start must not stop the
    /// others.
    fn startable<'p>(
        &mut self,
        mut names: Vec<(PathBuf, Absent, &'p Origin)>,
    ) -> Result<Vec<(PathBuf, Absent, &'p Origin)>, ResolveError> {
        loop {
            let reals: BTreeSet<&PathBuf> = names
                .iter()
                .filter_map(|(path, ..)| self.real(path))
                .collect();
            let lacking = names
                .iter()
                .enumerate()
                .find_map(|(at, (path, absent, _))| {
                    let image = self.host.found.programs.get(self.real(path)?)?;
                    let Image::Script { interpreter } = image else {
                        return None;
                    };
                    let allowed = self
                        .real(interpreter)
                        .is_some_and(|real| reals.contains(real));
                    (*absent == Absent::Skip && !allowed).then(|| (at, interpreter.clone()))
                });
            // A script that is left out may itself be an interpreter.
            let Some((at, interpreter)) = lacking else {
                return Ok(names);
            };
            let (path, ..) = names.remove(at);
            self.skipped.push(format!(
                "{} does not execute: its interpreter {} may not be executed; name that too",
                path.display(),
                interpreter.display()
            ));
        }
    }

    /// The real path of an existing file.
    fn real(&self, path: &Path) -> Option<&PathBuf> {
        match self.host.paths.get(path) {
            Some(Fact::Present { real, .. }) => Some(real),
            _ => None,
        }
    }

    /// The first of `places` that is a file in a granted tree: the command itself is not granted by being
    /// the command.
    fn worker<'p>(&self, places: &'p [PathBuf]) -> Result<Option<&'p Path>, ResolveError> {
        for path in places {
            if let Fact::Present { real, node, .. } = self.host.fact(path)?
                && *node == Node::File
                && self.bind_above(real).is_some()
            {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Adds a program and the files that it loads. Returns its real path, or `None` if it is absent and
    /// optional.
    fn program(
        &mut self,
        path: &Path,
        absent: Absent,
        origin: &Origin,
    ) -> Result<Option<PathBuf>, ResolveError> {
        let (path, origin) = (path.to_path_buf(), origin.clone());
        let (real, node) = match self.host.fact(&path)? {
            Fact::Present { real, node, .. } => (real.clone(), *node),
            Fact::Absent | Fact::Denied if absent == Absent::Skip => {
                self.skipped.push(format!("{} is absent", path.display()));
                return Ok(None);
            }
            Fact::Absent => return Err(ResolveError::Missing { path, origin }),
            Fact::Denied => return Err(ResolveError::Unreadable { path, origin }),
            Fact::Special => {
                return self.unfit(absent, ResolveError::Special { path, origin });
            }
        };
        if node == Node::Directory {
            return self.unfit(absent, ResolveError::ProgramDirectory { path, origin });
        }
        for candidate in [&path, &real] {
            if let Some(why) = never_below(candidate) {
                let path = candidate.clone();
                return Err(ResolveError::Never { path, why, origin });
            }
        }
        let (loads, missing) = match self.host.found.programs.get(&real) {
            Some(Image::Elf { loads, missing }) => (loads.clone(), missing.clone()),
            Some(Image::Script { .. }) => (vec![], vec![]),
            Some(Image::Other) => {
                return self.unfit(absent, ResolveError::NotProgram { path, origin });
            }
            Some(Image::Unreadable) | None => {
                return self.unfit(absent, ResolveError::Unreadable { path, origin });
            }
        };
        // A process that can write the program can choose the libraries that it loads.
        let doubted = self.writable_above(&real).is_some();
        self.piece(&path, Code::Execute, &origin)?;
        for name in missing {
            self.skipped
                .push(format!("{} needs {name}, which is absent", path.display()));
        }
        for Piece {
            name,
            role,
            named_by,
        } in loads
        {
            let granted = match self.host.fact(&name)? {
                Fact::Present { real, .. } => self.bind_above(real).is_some(),
                _ => false,
            };
            if doubted && named_by == NamedBy::Program && !granted || never_below(&name).is_some() {
                self.skipped.push(format!(
                    "{} needs {}, which is not granted",
                    path.display(),
                    name.display()
                ));
                continue;
            }
            let code = match role {
                Role::Loader => Code::Execute,
                Role::Library => Code::Load,
                // A loader would execute a program in it, so it must not be writable.
                Role::Converters if self.is_writable(&name)? => {
                    self.skipped.push(format!(
                        "{} cannot load libc's character converters: {} is writable",
                        path.display(),
                        name.display()
                    ));
                    continue;
                }
                Role::Converters => Code::Load,
                Role::Cache => Code::Data,
            };
            self.piece(&name, code, &origin)?;
        }
        Ok(Some(real))
    }

    /// Handles a file that is not a program: an error if the policy names this path, left out if the policy
    /// has a bare name.
    fn unfit(
        &mut self,
        absent: Absent,
        error: ResolveError,
    ) -> Result<Option<PathBuf>, ResolveError> {
        match absent {
            Absent::Skip => {
                self.skipped.push(format!("does not execute: {error}"));
                Ok(None)
            }
            Absent::Refuse => Err(error),
        }
    }

    fn is_writable(&self, name: &Path) -> Result<bool, ResolveError> {
        Ok(match self.host.fact(name)? {
            Fact::Present { real, .. } => self.writable_above(real).is_some(),
            _ => false,
        })
    }

    /// Binds one file of the host at its own path, read-only.
    fn piece(&mut self, name: &Path, code: Code, origin: &Origin) -> Result<(), ResolveError> {
        let Fact::Present {
            real,
            node,
            uid,
            gid,
            idmap,
            ..
        } = self.host.fact(name)?.clone()
        else {
            // Gone since the lookup: the loader will report it.
            return Ok(());
        };
        if let Some(tree) = self.writable_above(&self.behind_links(name))
            && real != name
            && real != self.behind_links(name)
        {
            return Err(ResolveError::LinkOut {
                path: name.into(),
                real,
                tree,
            });
        }
        if let Some(tree) = self.writable_above(&real)
            && self.host.found.hard_linked.contains(&real)
        {
            return Err(ResolveError::HardLink {
                path: real,
                tree,
                origin: origin.clone(),
            });
        }
        let access = Access { write: false, code };
        let entry = self.binds.entry(real.clone()).or_insert_with(|| Bound {
            by: Some(origin.clone()),
            node,
            access,
            uid,
            gid,
            idmap,
        });
        entry.access.write = false;
        if code > entry.access.code {
            (entry.access.code, entry.by) = (code, Some(origin.clone()));
        }
        if real != name && self.bind_above(name).is_none() {
            self.links.insert(name.into(), real);
        }
        Ok(())
    }

    /// The kernel executes a script's interpreter, which must itself be an allowed program.
    fn interpreter(
        &self,
        script: &Path,
        programs: &[(PathBuf, &Origin)],
        origin: &Origin,
    ) -> Result<(), ResolveError> {
        let Some(Image::Script { interpreter }) = self.host.found.programs.get(script) else {
            return Ok(());
        };
        let allowed = match self.host.fact(interpreter)? {
            Fact::Present { real, .. } => programs.iter().any(|(program, _)| program == real),
            _ => false,
        };
        match allowed {
            true => Ok(()),
            false => Err(ResolveError::Interpreter {
                path: script.into(),
                interpreter: interpreter.clone(),
                origin: origin.clone(),
            }),
        }
    }

    /// Checks the library trees that the grants have bound. Returns the files that their libraries need
    /// from elsewhere.
    fn load_trees(
        &self,
        load: &[PathRule],
        landlock: u32,
    ) -> Result<Vec<(PathBuf, Origin)>, ResolveError> {
        let mut needed = vec![];
        for grant in load {
            let path = self.on_host.of_rule(grant).map(Cow::into_owned);
            let Some(path) = path else { continue };
            let Fact::Present { real, .. } = self.host.fact(&path)? else {
                continue;
            };
            let origin = grant.origin.clone();
            if landlock == 0 {
                return Err(ResolveError::LoadNoLandlock { path, origin });
            }
            if let Some(tree) = self.writable_above(real) {
                return Err(ResolveError::LoadWritable { path, tree, origin });
            }
            match self.host.found.load_trees.get(real).cloned() {
                Some(LoadTree::Libraries { loads }) => {
                    needed.extend(loads.into_iter().map(|piece| (piece.name, origin.clone())));
                }
                Some(LoadTree::Holds { program }) => {
                    return Err(ResolveError::LoadProgram {
                        path,
                        program,
                        origin,
                    });
                }
                Some(LoadTree::TooLarge { most }) => {
                    return Err(ResolveError::LoadLarge { path, most, origin });
                }
                None => return Err(ResolveError::Unreadable { path, origin }),
            }
        }
        Ok(needed)
    }

    /// The host's writable tree that contains `path`.
    pub(super) fn writable_above(&self, path: &Path) -> Option<PathBuf> {
        path.ancestors()
            .filter_map(|above| self.binds.get_key_value(above))
            .find(|(_, bound)| bound.access.write)
            .map(|(tree, _)| tree.clone())
    }
}
