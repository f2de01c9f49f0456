//! The environment: credentials, loader variables, and the directories on PATH.

use super::checks::*;
use super::suspects::{is_loader_variable, is_secret_variable};
use super::{Found, Lint};
use creel_policy::path_set::within;
use creel_policy::{Origin, WorkspaceMode};

impl Lint<'_> {
    pub(super) fn environment(&mut self) {
        let environment = &self.outcome.effective.policy.environment;
        for passed in &environment.pass {
            let name = &passed.value;
            let origin = Some(&passed.origin);
            let credentials = &self.outcome.effective.policy.network.credentials;
            // The jail gets a placeholder instead.
            let stood_for = credentials.iter().any(|one| one.variable == *name);
            if is_secret_variable(name) && !stood_for {
                let reason = format!(
                    "{name} looks like a credential, and every process of the jail gets it"
                );
                let fix = format!("remove \"{name}\" from environment.pass");
                self.add(&ENV_CREDENTIAL, origin, reason, fix);
            }
            if is_loader_variable(name) {
                let reason = format!("the caller's {name} makes programs load or run code");
                let fix = format!("remove \"{name}\" from environment.pass");
                self.add(&ENV_LOADER, origin, reason, fix);
            }
            if environment.set.contains_key(name) {
                let reason = format!("{name} is set and passed");
                self.say(&ENV_TWICE, origin, reason);
            }
        }
        for (name, value) in &environment.set {
            let origin = Some(&value.origin);
            if is_secret_variable(name) && !value.value.is_empty() {
                let reason = format!("{name} looks like a credential, written in a policy file");
                self.say(&ENV_SECRET, origin, reason);
            }
            if is_loader_variable(name) {
                let reason = format!("{name} makes programs load or run code");
                let fix = format!("remove {name} from environment.set");
                self.add(&ENV_LOADER, origin, reason, fix);
            }
        }
        match environment.set.get("PATH") {
            Some(path) => {
                for entry in entries(&path.value) {
                    self.on_path(entry, &path.origin);
                }
            }
            None if environment.pass.iter().any(|p| p.value == "PATH") => {}
            None => {
                let reason = "no layer sets PATH".to_owned();
                self.say(&PATH_ABSENT, None, reason);
            }
        }
    }

    fn on_path(&mut self, entry: &str, origin: &Origin) {
        if !entry.starts_with('/') && entry != "~" && !entry.starts_with("~/") {
            let reason = match entry {
                "" => "PATH has an empty entry, which is the current directory".to_owned(),
                entry => format!("PATH has the relative entry '{entry}'"),
            };
            return self.say(&PATH_RELATIVE, Some(origin), reason);
        }
        let path = self.roots.expand(entry);
        let mode = self.reach.workspace.as_ref().map(|mode| mode.value);
        let in_workspace = within(&path, &self.roots.workspace)
            && mode.is_none_or(|mode| mode == WorkspaceMode::ReadWrite);
        let granted = self
            .reach
            .write
            .host()
            .any(|rule| within(&path, &rule.path));
        if in_workspace || granted {
            let reason = format!("{entry} is on PATH and writable in the jail");
            self.say(&PATH_WRITABLE, Some(origin), reason);
        }
        if self.found_at(&path) == Some(Found::WritableByOthers) && self.reach.exec.cover(&path) {
            let reason = format!("{entry} is on PATH, and others on the host may write to it");
            self.say(&PATH_BY_OTHERS, Some(origin), reason);
        }
    }
}

/// The directories of a PATH.
pub(super) fn entries(path: &str) -> impl Iterator<Item = &str> {
    path.split(':')
}
