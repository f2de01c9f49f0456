//! Why a command did not start, or would not: the lookup of execve(2) in the plan's tree, with the host's
//! files. It only explains the kernel's decision: if the two differ, the caller's own message stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use creel_jail::elf::Form;
use creel_jail::loads;
use creel_plan::{Act, Code, Plan};
use creel_policy::decide::{Decision, Why, decide};
use creel_policy::layer::Case;
use creel_policy::rights::Roots;
use creel_policy::stack::Outcome;
use creel_policy::tools::Tool;
use creel_sys::Errno;

/// path_resolution(7)
const MOST_LINKS: usize = 40;
/// Nested scripts as interpreters, execve(2).
const MOST_SCRIPTS: usize = 5;

/// The result of an attempt to start the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// This file is executed: its path in the jail.
    Runs(PathBuf),
    /// A sentence with the missing file and the grant that would add it.
    Lacks(String),
    /// The file exists and is not a program.
    Refused(String),
    /// No candidate path has a file.
    Nowhere(String),
}

/// Why the kernel did not execute the command, if the files explain this errno.
pub fn why_not(plan: &Plan, errno: Errno) -> Option<String> {
    match (errno, of(plan)) {
        (Errno::NOENT | Errno::NOTDIR, Start::Lacks(text) | Start::Nowhere(text))
        | (Errno::ACCESS | Errno::PERM, Start::Refused(text)) => Some(text),
        _ => None,
    }
}

/// The rule of the policy that refuses the command, although its files would let it start.
pub fn ruled_out(outcome: &Outcome, roots: &Roots, argv: &[OsString]) -> Option<String> {
    let words = argv.iter().map(|word| word.to_string_lossy().into_owned());
    let case = Case {
        tool: Tool::Exec,
        words: words.collect(),
    };
    match decide(&outcome.rights, roots, &case) {
        Decision::Denied { why } => told(&why),
        Decision::Allowed { .. } => None,
    }
}

/// The reason as text; `None` if no rule grants it: the files then explain the cause better.
pub fn told(why: &Why) -> Option<String> {
    (*why != Why::NotGranted).then(|| why.reason())
}

/// Tries each candidate path of the command in turn, as execvp(3) does.
pub fn of(plan: &Plan) -> Start {
    let tree = Tree::of(plan);
    let command = &plan.command;
    let name = String::from_utf8_lossy(command.argv.first().map_or(b"", Vec::as_slice));
    if command.candidates.is_empty() {
        return Start::Nowhere(format!(
            "{name} is a name without a slash, and the policy gives the jail no PATH to look it up in: `extends = \"default\"`, or `set = {{ PATH = \"/usr/bin:/bin\" }}` in [environment]"
        ));
    }
    let mut answer = None;
    for path in &command.candidates {
        let path = Path::new(OsStr::from_bytes(path));
        match tree.start(path) {
            Start::Nowhere(_) => {}
            // As in execvp(3): a refused file is remembered, and the search goes on.
            refused @ Start::Refused(_) => answer = answer.or(Some(refused)),
            found => return found,
        }
    }
    let nowhere = || {
        let text = match command.candidates.as_slice() {
            [only] => format!(
                "{} is not in the jail: the policy does not grant it, or it does not exist",
                String::from_utf8_lossy(only)
            ),
            _ => format!("{name} is in no directory of the jail's PATH"),
        };
        let bare = match tree.binds.values().any(|bind| bind.code == Code::Execute) {
            true => "",
            false => {
                "; the policy grants no programs at all: `extends = \"default\"` grants the system's"
            }
        };
        Start::Nowhere(text + bare)
    };
    answer.unwrap_or_else(nowhere)
}

/// The parts of the jail's tree that matter for programs.
struct Tree<'p> {
    binds: BTreeMap<&'p Path, Bind<'p>>,
    links: BTreeMap<&'p Path, &'p Path>,
    /// The policy names each program that may be executed.
    by_name: bool,
}

struct Bind<'p> {
    /// `None` for the jail's own mounts, which are empty at the start.
    source: Option<&'p Path>,
    code: Code,
}

/// A file of the jail: its path in the jail and on the host.
struct Place {
    path: PathBuf,
    host: PathBuf,
    code: Code,
}

impl<'p> Tree<'p> {
    fn of(plan: &'p Plan) -> Tree<'p> {
        let mut tree = Tree {
            binds: BTreeMap::new(),
            links: BTreeMap::new(),
            by_name: plan.has(&Act::NoMemfd),
        };
        for act in plan.acts() {
            match act {
                Act::Bind {
                    source,
                    target,
                    access,
                    ..
                } => {
                    let bind = Bind {
                        source: Some(source),
                        code: access.code,
                    };
                    tree.binds.insert(target, bind);
                }
                Act::Tmpfs { path, .. } | Act::Mask { path, .. } => {
                    let bind = Bind {
                        source: None,
                        code: Code::Data,
                    };
                    tree.binds.insert(path, bind);
                }
                Act::Link { path, target } => {
                    tree.links.insert(path, target);
                }
                _ => {}
            }
        }
        tree
    }

    /// Tries one file.
    fn start(&self, path: &Path) -> Start {
        let shown = path.display();
        let Ok(place) = self.place(path) else {
            return Start::Nowhere(String::new());
        };
        let Ok(meta) = place.host.metadata() else {
            return Start::Nowhere(String::new());
        };
        if meta.is_dir() {
            return Start::Refused(format!("{shown} is a directory, not a program"));
        }
        if !meta.is_file() {
            return Start::Refused(format!("{shown} is not a regular file"));
        }
        if meta.permissions().mode() & 0o111 == 0 {
            return Start::Refused(format!(
                "{shown} may not be executed: its file lacks the x bit (chmod +x), or name its interpreter before it"
            ));
        }
        if place.code != Code::Execute {
            let interpreter = form(&place.host).and_then(|form| match form {
                Form::Script(name) => Some(String::from_utf8_lossy(&name).into_owned()),
                _ => None,
            });
            let grants = match (self.by_name, interpreter) {
                (true, Some(interpreter)) => format!(
                    "its [tools] section lists the programs that may execute, and a script needs its interpreter {interpreter} on that list too"
                ),
                (true, None) => {
                    "its [tools] section lists the programs that may execute, and no flag adds to the list".into()
                }
                (false, _) => "--exec PATH or `filesystem.exec` grants that".to_owned(),
            };
            return Start::Refused(format!(
                "{shown} may not be executed: the policy grants it for reading only; {grants}"
            ));
        }
        let mut file = place.host;
        for _ in 0..MOST_SCRIPTS {
            let (interpreter, what) = match form(&file) {
                Some(Form::Script(name)) => (name, "interpreter"),
                Some(Form::Elf(elf)) => match elf.loader {
                    Some(name) => (name, "loader"),
                    None => break,
                },
                _ => break,
            };
            let interpreter = Path::new(OsStr::from_bytes(&interpreter));
            match self.place(interpreter) {
                // It can start only if its own interpreter can.
                Ok(next) if next.host.is_file() && what == "interpreter" => file = next.host,
                Ok(next) if next.host.is_file() => break,
                _ => return Start::Lacks(self.lacking(path, what, interpreter)),
            }
        }
        Start::Runs(place.path)
    }

    fn lacking(&self, path: &Path, what: &str, interpreter: &Path) -> String {
        let (shown, by) = (path.display(), interpreter.display());
        let missing = self.missing(interpreter);
        if missing.is_empty() || !interpreter.exists() {
            return format!(
                "{shown} is in the jail, but its {what} {by} does not exist on this machine"
            );
        }
        let paths: Vec<String> = missing.iter().map(|p| p.display().to_string()).collect();
        let flags: Vec<String> = paths.iter().map(|p| format!("--exec {p}")).collect();
        format!(
            "{shown} is in the jail, but its {what} {by} is not: the policy does not grant {}; {} grants that, or `extends = \"default\"` all of the system's programs",
            paths.join(" and "),
            flags.join(" ")
        )
    }

    /// Resolves a path of the jail to its file. The error is the first missing path.
    fn place(&self, path: &Path) -> Result<Place, PathBuf> {
        let mut walk = Walk::of(path);
        while let Some(next) = walk.step() {
            if let Some(target) = self.links.get(next.as_path()) {
                walk.follow(target).ok_or(next)?;
                continue;
            }
            match self.on_host(&next).map(|(host, _)| host.read_link()) {
                Some(Ok(target)) => walk.follow(&target).ok_or(next)?,
                _ => walk.at = next,
            }
        }
        match self.on_host(&walk.at) {
            Some((host, code)) => Ok(Place {
                path: walk.at,
                host,
                code,
            }),
            None => Err(walk.at),
        }
    }

    /// The grants with which a path of the host would be the same in the jail: each link on the way that
    /// the jail lacks, and its target.
    fn missing(&self, path: &Path) -> BTreeSet<PathBuf> {
        let mut missing = BTreeSet::new();
        let mut walk = Walk::of(path);
        while let Some(next) = walk.step() {
            let granted = self.links.contains_key(next.as_path()) || self.on_host(&next).is_some();
            match next.read_link() {
                Ok(target) => {
                    if !granted {
                        missing.insert(next.clone());
                    }
                    if walk.follow(&target).is_none() {
                        break;
                    }
                }
                Err(_) => walk.at = next,
            }
        }
        let covered = missing.iter().any(|tree| walk.at.starts_with(tree));
        if self.on_host(&walk.at).is_none() && !covered {
            missing.insert(walk.at);
        }
        missing
    }

    /// The host's file for a path without links.
    fn on_host(&self, path: &Path) -> Option<(PathBuf, Code)> {
        let (target, bind) = path
            .ancestors()
            .find_map(|above| self.binds.get_key_value(above))?;
        let below = path.strip_prefix(target).ok()?;
        let source = bind.source?;
        let host = match below.as_os_str().is_empty() {
            true => source.to_owned(),
            false => source.join(below),
        };
        Some((host, bind.code))
    }
}

/// A path that is resolved name by name.
struct Walk {
    at: PathBuf,
    rest: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn of(path: &Path) -> Walk {
        let mut walk = Walk {
            at: "/".into(),
            rest: VecDeque::new(),
            links: 0,
        };
        walk.push(path);
        walk
    }

    fn push(&mut self, path: &Path) {
        for name in path.iter().rev().filter(|name| *name != "/") {
            self.rest.push_front(name.to_owned());
        }
    }

    /// The next path to look at; the caller enters it or follows it as a link.
    fn step(&mut self) -> Option<PathBuf> {
        loop {
            let name = self.rest.pop_front()?;
            match name.as_bytes() {
                b"." => {}
                b".." => {
                    self.at.pop();
                }
                _ => return Some(self.at.join(name)),
            }
        }
    }

    /// Continues at the target of a link; `None` after too many links.
    fn follow(&mut self, target: &Path) -> Option<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return None;
        }
        if target.is_absolute() {
            self.at = "/".into();
        }
        self.push(target);
        Some(())
    }
}

fn form(file: &Path) -> Option<Form> {
    Some(loads::form_in(&File::open(file).ok()?))
}
