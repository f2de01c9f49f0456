//! Answers of `decide` agree with the policy that `enforce` makes of the same rights. The policy is
//! read here as the kernel will hold it: the innermost grant decides, a denial covers.

use creel_policy::effective::enforce;
use creel_policy::layer::Case;
use creel_policy::rights::Rights;
use creel_policy::tools::Tool;
use creel_policy::{Execution, PathRule, Policy, WorkspaceMode};

use super::evaluator::Evaluator;
use super::laws::inside;

/// A policy on a machine on which everything named exists and nothing is a link.
pub struct Held<'h> {
    ev: &'h Evaluator,
    policy: Policy,
}

#[derive(Default, Clone, Copy)]
struct Access {
    shown: bool,
    write: bool,
    load: bool,
    exec: bool,
}

impl<'h> Held<'h> {
    pub fn new(ev: &'h Evaluator, rights: &Rights) -> Held<'h> {
        let policy = enforce(rights, &ev.base, &ev.roots, "a test", "").policy;
        Held { ev, policy }
    }

    fn mode(&self) -> WorkspaceMode {
        let mode = self.policy.filesystem.workspace.as_ref();
        mode.map_or(WorkspaceMode::ReadWrite, |mode| mode.value)
    }

    /// All grants of the deepest mount's very path together.
    fn access(&self, path: &str) -> Access {
        let files = &self.policy.filesystem;
        let mut mounts: Vec<(String, Access)> = vec![];
        if self.mode() != WorkspaceMode::None {
            let write = self.mode().writes();
            let access = Access {
                write,
                ..Access::default()
            };
            mounts.push((self.ev.roots.workspace.clone(), access));
        }
        let none = Access::default();
        for (grants, access) in [
            (&files.read, none),
            (&files.load, Access { load: true, ..none }),
            (
                &files.write,
                Access {
                    write: true,
                    ..none
                },
            ),
            (&files.exec, Access { exec: true, ..none }),
        ] {
            mounts.extend(grants.iter().map(|grant| (grant.path.to_string(), access)));
        }
        let above = |tree: &str| inside(path, tree);
        let depth = mounts
            .iter()
            .filter(|(tree, _)| above(tree))
            .map(|(tree, _)| tree.len())
            .max();
        let innermost = mounts
            .iter()
            .filter(|(tree, _)| above(tree) && Some(tree.len()) == depth);
        let mut all = innermost.fold(none, |all, (_, access)| Access {
            shown: true,
            write: all.write || access.write,
            load: all.load || access.load,
            exec: all.exec || access.exec,
        });
        // A program by name is a mount of its own, wherever it lies.
        if self.is_program(path) {
            (all.shown, all.write, all.exec) = (true, false, true);
        }
        let covered = |places: &[PathRule]| places.iter().any(|place| above(&place.path));
        all.write &= !covered(&files.protect);
        match covered(&files.deny) {
            true => none,
            false => all,
        }
    }

    fn is_program(&self, word: &str) -> bool {
        let rooted = word.starts_with(['/', '$', '~']);
        let path = match rooted {
            true => self.ev.roots.expand(word),
            false => self.ev.roots.expand(&format!("$WORKSPACE/{word}")),
        };
        match &self.policy.exec.value {
            Execution::Only(programs) => programs.iter().any(|grant| grant.path == path),
            Execution::Granted | Execution::Worker => false,
        }
    }

    /// Whether a process may map the file as code; programs by name aside.
    pub fn maps(&self, path: &str) -> bool {
        let access = self.access(path);
        match self.policy.exec.value {
            Execution::Granted => access.load || access.exec,
            Execution::Worker | Execution::Only(_) => access.load,
        }
    }

    /// Whether a process of the jail may do this; `None` where the tools count, not the kernel.
    pub fn allows(&self, case: &Case) -> Option<bool> {
        let word = case.words.first()?;
        if word.is_empty() || word.split('/').any(|part| part == "..") {
            return None;
        }
        let rooted = ["/", "~/", "$WORKSPACE/"]
            .iter()
            .any(|root| word.starts_with(root));
        let path = match rooted || word == "~" || word == "$WORKSPACE" {
            true => self.ev.roots.expand(word),
            false => self.ev.roots.expand(&format!("$WORKSPACE/{word}")),
        };
        match case.tool {
            Tool::Read => Some(self.access(&path).shown),
            Tool::Write => Some(self.access(&path).write),
            // With arguments it is the supervisor that counts.
            Tool::Exec if word.starts_with('/') => Some(match &self.policy.exec.value {
                Execution::Worker => false,
                Execution::Granted => self.access(&path).exec,
                Execution::Only(list) => {
                    let listed = list.iter().any(|grant| grant.path == path);
                    listed && self.access(&path).exec
                }
            }),
            _ => None,
        }
    }

    /// Whether the kernel lets through what was denied, or stops what was allowed.
    pub fn disagrees(&self, rights: &Rights, case: &Case) -> bool {
        let answer = self.ev.allows(rights, case);
        let Some(kernel) = self.allows(case) else {
            return false;
        };
        let usable = |tool: Tool| creel_policy::effective_access::usable(rights, tool);
        match case.tool {
            // A program by name is held whoever lets it be written: there the kernel is the stricter.
            Tool::Write if self.is_program(&case.words[0]) => kernel && !answer,
            // Without `read` programs are there to be executed, hence to be read by a process.
            Tool::Read if !usable(Tool::Read) => answer,
            Tool::Exec => {
                let with_args = rights
                    .constraints(Tool::Exec)
                    .commands
                    .as_ref()
                    .is_some_and(|all| {
                        let path = &case.words[0];
                        all.get(path.as_str())
                            .is_some_and(|allowed| !allowed.args.is_empty())
                    });
                // A command that is bound by its arguments is started only by creel.
                if with_args { kernel } else { answer != kernel }
            }
            _ => answer != kernel,
        }
    }
}
