//! Executable programs: allowlists that allow more than they suggest, or nothing.

use super::checks::*;
use super::suspects::{INTERPRETERS, LAUNCHERS, SENSITIVE, SHELLS};
use super::{Found, Lint};
use creel_policy::layer::{Arguments, Command, Security, Settings};
use creel_policy::path_set::within;
use creel_policy::tools::Tool;
use creel_policy::{AbsPath, PathRule, WorkspaceMode};

impl Lint<'_> {
    pub(super) fn programs(&mut self) {
        for (_, layer) in self.layers {
            let Some(settings) = layer.tools.each.get(&Tool::Exec) else {
                continue;
            };
            for command in settings.commands.iter().flatten() {
                self.command(command);
                self.matches_never(command);
            }
            for language in settings.languages.iter().flatten() {
                let reason = format!(
                    "'{}' stands for {}, which runs any program in it",
                    language.value,
                    language.value.programs().join(", ")
                );
                self.say(&EXEC_LANGUAGES, Some(&language.origin), reason);
            }
            self.security(settings);
        }
        self.writable_code();
        self.written_by_programs();
    }

    fn command(&mut self, command: &Command) {
        let name = command.program.rsplit('/').next().unwrap_or_default();
        let open = is_open(command);
        let origin = Some(&command.origin);
        if SHELLS.meet(name) && open {
            let reason = format!("{name} is a shell: it runs any text");
            self.say(&EXEC_SHELL, origin, reason);
        } else if LAUNCHERS.meet(name) {
            let reason = format!("{name} starts the program that its arguments name");
            self.say(&EXEC_LAUNCHER, origin, reason);
        } else if INTERPRETERS.meet(name) && open {
            let reason = format!("{name} runs any program in its language");
            self.say(&EXEC_INTERPRETER, origin, reason);
        } else if let Some((_, option)) = SENSITIVE.iter().find(|(program, _)| *program == name)
            && open
        {
            let reason = format!("{name} executes or writes by its options ({option})");
            let fix = match command.args.is_empty() {
                true => format!(
                    "write {{ command = \"{}\", args = [...] }} with the forms that are needed",
                    command.program
                ),
                false => EXEC_ARGUMENTS.fix.to_owned(),
            };
            self.add(&EXEC_ARGUMENTS, origin, reason, fix);
        }
    }

    fn matches_never(&mut self, command: &Command) {
        let paths = Command::paths(&command.program, self.roots);
        let rights = &self.outcome.rights;
        let covered: Vec<&AbsPath> = paths
            .iter()
            .filter(|path| rights.exec.cover(path))
            .filter(|path| !self.reach.deny.keys().any(|place| within(path, place)))
            .collect();
        let absent = |path: &&AbsPath| self.found_at(path) == Some(Found::Absent);
        let (reason, fix) = match covered.as_slice() {
            [] => (
                format!("no executable grant covers {}", command.program),
                format!(
                    "add {} to filesystem.exec, or remove the entry",
                    paths
                        .get(1)
                        .map_or(command.program.as_str(), AbsPath::as_str)
                ),
            ),
            covered if covered.iter().all(absent) => (
                format!("no program exists at {}", command.program),
                "correct the name, or remove the entry".to_owned(),
            ),
            _ => return,
        };
        self.add(&EXEC_NEVER, Some(&command.origin), reason, fix);
    }

    fn security(&mut self, settings: &Settings) {
        let Some(security) = &settings.security else {
            return;
        };
        let listed = settings.commands.is_some() || settings.languages.is_some();
        match security.value {
            Security::Allowlist if !listed => {
                let reason = "an allowlist without commands allows none".to_owned();
                self.say(&EXEC_ALLOWLIST_EMPTY, Some(&security.origin), reason);
            }
            Security::Full if listed => {
                let reason = "the list of commands applies, not \"full\"".to_owned();
                self.say(&EXEC_FULL_LISTED, Some(&security.origin), reason);
            }
            _ => {}
        }
    }

    /// Host trees that are executable and either writable in the jail or writable by other users. The
    /// jail's own directories are temporary, and the agent may build and run programs in the workspace.
    fn writable_code(&mut self) {
        let exec: Vec<PathRule> = self.reach.exec.host().cloned().collect();
        for grant in exec {
            let path = &grant.path;
            if self.found_at(path) == Some(Found::WritableByOthers) {
                let reason =
                    format!("{path} is executable, and others on the host may write to it");
                self.say(&EXEC_BY_OTHERS, Some(&grant.origin), reason);
            }
            let host = *path != self.roots.workspace;
            let overlaps = self
                .reach
                .write
                .host()
                .any(|other| within(path, &other.path) || within(&other.path, path));
            if host && overlaps {
                let reason = format!("{} is writable and executable", self.roots.shorten(path));
                self.say(&EXEC_WRITABLE, Some(&grant.origin), reason);
            }
        }
    }

    /// A tool that changes files is not allowed, but programs can change them anyway.
    fn written_by_programs(&mut self) {
        let rights = &self.outcome.rights;
        let has = |tool: Tool| rights.tools.allows(tool);
        let workspace = self.reach.workspace.as_ref();
        let writable = workspace.is_none_or(|mode| mode.value == WorkspaceMode::ReadWrite);
        if !has(Tool::Exec) || !has(Tool::Write) || !writable {
            return;
        }
        let denied = [Tool::Edit, Tool::ApplyPatch].into_iter().find_map(|tool| {
            match rights.tools.rule(tool.name()) {
                creel_policy::tools::Ruling::Denied(_, origin) => Some((tool, origin.clone())),
                _ => None,
            }
        });
        if let Some((tool, origin)) = denied {
            let reason = format!(
                "{} is denied, but programs may still change the workspace",
                tool.name()
            );
            self.say(&EXEC_WRITES, Some(&origin), reason);
        }
    }
}

/// Whether the caller may choose arguments freely.
fn is_open(command: &Command) -> bool {
    let ends_open = |args: &Arguments| {
        let last = args.0.last().map(String::as_str);
        matches!(last, Some("..." | "*"))
    };
    command.args.is_empty() || command.args.iter().any(ends_open)
}
