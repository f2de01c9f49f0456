//! `extends`: a layer that begins with the text of another.
//!
//! It is reuse within one layer, by one author, so it may add: lists are put together, and a single
//! value of the extending layer replaces the other's. What layers of different authors mean together
//! is [`super::rights`]' business.

use super::layer::{Files, Layer, Process, Session, Settings, Tools, Variables};
use super::{Sourced, digest};

impl Layer {
    /// This layer on top of `base`.
    pub fn over(self, base: Layer) -> Layer {
        Layer {
            name: self.name,
            digest: digest(format!("{} {}", base.digest, self.digest).as_bytes()),
            extends: vec![],
            tools: self.tools.over(base.tools),
            filesystem: self.filesystem.over(base.filesystem),
            network: self.network.over(base.network),
            environment: self.environment.over(base.environment),
            limits: self.limits.over(base.limits),
            allow_degraded: both(self.allow_degraded, base.allow_degraded, |mut all, more| {
                for (layer, origin) in more {
                    all.entry(layer).or_insert(origin);
                }
                all
            }),
            process: Process {
                debug: self.process.debug.or(base.process.debug),
            },
            session: Session {
                mode: self.session.mode.or(base.session.mode),
                scope: self.session.scope.or(base.session.scope),
            },
            // What a policy promises of itself need not hold for what is made of it.
            tests: self.tests,
        }
    }
}

impl Tools {
    fn over(self, base: Tools) -> Tools {
        let mut each = base.each;
        for (tool, settings) in self.each {
            let settings = match each.remove(&tool) {
                Some(base) => settings.over(base),
                None => settings,
            };
            each.insert(tool, settings);
        }
        Tools {
            profile: self.profile.or(base.profile),
            allow: both(self.allow, base.allow, |own, base| Sourced {
                value: joined(base.value, own.value),
                origin: own.origin,
            }),
            deny: joined(base.deny, self.deny),
            elevated: self.elevated.or(base.elevated),
            max_iterations: self.max_iterations.or(base.max_iterations),
            each,
        }
    }
}

impl Settings {
    fn over(self, base: Settings) -> Settings {
        Settings {
            enabled: self.enabled.or(base.enabled),
            elevated: self.elevated.or(base.elevated),
            security: self.security.or(base.security),
            ask: self.ask.or(base.ask),
            allowed_paths: lists(self.allowed_paths, base.allowed_paths),
            denied_paths: joined(base.denied_paths, self.denied_paths),
            commands: lists(self.commands, base.commands),
            languages: lists(self.languages, base.languages),
            timeout: self.timeout.or(base.timeout),
            rate: self.rate.or(base.rate),
            max_iterations: self.max_iterations.or(base.max_iterations),
            channels: lists(self.channels, base.channels),
            target: self.target.or(base.target),
        }
    }
}

impl Files {
    fn over(self, base: Files) -> Files {
        Files {
            read: lists(self.read, base.read),
            write: lists(self.write, base.write),
            load: lists(self.load, base.load),
            exec: lists(self.exec, base.exec),
            deny: joined(base.deny, self.deny),
            protect: joined(base.protect, self.protect),
            unprotect: joined(base.unprotect, self.unprotect),
            deny_patterns: joined(base.deny_patterns, self.deny_patterns),
            protect_patterns: joined(base.protect_patterns, self.protect_patterns),
            met: joined(base.met, self.met),
            workspace: self.workspace.or(base.workspace),
        }
    }
}

impl Variables {
    fn over(self, base: Variables) -> Variables {
        Variables {
            set: both(self.set, base.set, |own, mut all| {
                all.extend(own);
                all
            }),
            pass: lists(self.pass, base.pass),
            git_identity: self.git_identity.or(base.git_identity),
        }
    }
}

fn lists<T>(own: Option<Vec<T>>, base: Option<Vec<T>>) -> Option<Vec<T>> {
    both(own, base, |own, base| joined(base, own))
}

fn joined<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    first.extend(second);
    first
}

fn both<T>(own: Option<T>, base: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    match (own, base) {
        (Some(own), Some(base)) => Some(join(own, base)),
        (own, base) => own.or(base),
    }
}
