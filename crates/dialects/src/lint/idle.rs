//! Rules without effect: a tool or a mode removes what they grant, or what they deny was never granted.
//!
//! Reports only rules that a file's author wrote. The rules of a preset are not reported: they serve the
//! files that extend it.

use std::collections::BTreeSet;

use super::Lint;
use super::checks::*;
use creel_policy::effective_access::{reach, usable, why_not};
use creel_policy::layer::{Layer, Rank};
use creel_policy::net::decide::{Answer, Transport};
use creel_policy::net::host::Host;
use creel_policy::net::{Credential, Mode, Tls};
use creel_policy::path_set::{PathSet, within};
use creel_policy::stack::Stack;
use creel_policy::tools::{Ruling, Tool};
use creel_policy::{Grant, Origin, WorkspaceMode, protected_defaults};

const REACHING: [Tool; 3] = [Tool::Fetch, Tool::Browser, Tool::Message];

impl Lint<'_> {
    /// A layer that narrows the layers above does not make their rules mistakes. So each layer is checked
    /// against the result of itself and the layers above.
    pub(super) fn idle(&mut self) {
        let ranks: BTreeSet<Rank> = self.layers.iter().map(|(rank, _)| *rank).collect();
        for rank in ranks {
            let above = self.layers.iter().filter(|(other, _)| *other <= rank);
            let stack = Stack {
                layers: above.cloned().collect(),
            };
            let limits = &self.outcome.effective.policy.limits;
            let outcome = stack.resolve(limits, self.roots);
            let mut lint = Lint {
                layers: self.layers,
                outcome: &outcome,
                reach: reach(&outcome.rights, self.roots),
                roots: self.roots,
                facts: self.facts,
                found: vec![],
            };
            lint.idle_in(rank);
            self.found.extend(lint.found);
        }
    }

    fn idle_in(&mut self, rank: Rank) {
        let network = self.outcome.rights.network.mode() != Mode::None;
        let tool = REACHING.iter().any(|t| usable(&self.outcome.rights, *t));
        for (_, layer) in self.layers.iter().filter(|(other, _)| *other == rank) {
            match (network, tool) {
                (true, false) => self.unreached(layer),
                (true, true) => self.unused_credentials(layer),
                (false, _) => self.settings_of_no_network(layer),
            }
            self.idle_grants(layer);
            self.idle_protections(layer);
            if rank <= Rank::Operator {
                self.idle_exceptions(layer);
            }
        }
    }

    /// Network rules, if no tool can use the network.
    fn unreached(&mut self, layer: &Layer) {
        let said = &layer.network;
        let rules = said.allow.iter().flatten().map(|rule| &rule.origin);
        let mode = said.mode.iter().filter(|mode| mode.value != Mode::None);
        let mut places = rules.chain(mode.map(|mode| &mode.origin));
        let Some(origin) = places.next().cloned() else {
            return;
        };
        let cause = why_not(&self.outcome.rights, Tool::Fetch);
        let reason = format!(
            "no host can be reached: none of fetch, browser and message is allowed ({cause})"
        );
        let fix = self.remedy(Tool::Fetch, layer);
        self.add(&NETWORK_NO_TOOL, Some(&origin), reason, fix);
    }

    /// The fix that would allow the tool, for the author of this layer.
    fn remedy(&self, tool: Tool, layer: &Layer) -> String {
        let name = tool.name();
        let cause = why_not(&self.outcome.rights, tool);
        let by = |layer: &Layer| {
            let tools = &layer.tools;
            let listed = tools.allow.as_ref().is_some_and(|l| l.origin == cause);
            let profile = tools.profile.as_ref().is_some_and(|p| p.origin == cause);
            (listed, profile)
        };
        match by(layer) {
            // An extended file is part of the layer: the lists add up.
            (true, _) => format!("add \"{name}\" to tools.allow of this file"),
            (_, true) => format!("choose a tools.profile that has {name}"),
            _ => match self.outcome.rights.tools.rule_tool(tool) {
                Ruling::Denied(pattern, origin) => {
                    format!("remove \"{pattern}\" from tools.deny at {origin}")
                }
                _ => format!("allow {name} at {cause}"),
            },
        }
    }

    fn settings_of_no_network(&mut self, layer: &Layer) {
        let said = &layer.network;
        if said.allow.iter().flatten().next().is_some() {
            // Already reported for the rules.
            return;
        }
        let resolvers = said.resolvers.iter().flatten().map(|r| &r.origin);
        let found = [
            ("limits", said.limits.first()),
            ("deny", said.deny.first().map(|rule| &rule.origin)),
            ("resolvers", resolvers.min()),
        ];
        for (key, origin) in found {
            if let Some(origin) = origin.filter(|origin| is_authors(origin)) {
                let reason =
                    format!("'network.{key}' has no effect, because the jail has no network");
                self.say(&NETWORK_SETTINGS_IDLE, Some(origin), reason);
            }
        }
    }

    /// Credentials for hosts that another layer makes unreachable.
    fn unused_credentials(&mut self, layer: &Layer) {
        let network = self.outcome.rights.network.judged();
        let used = |credential: &Credential| {
            let host = Host::Name(credential.host.clone());
            network.ports().into_iter().any(|port| {
                let answer = network.judge(&host, port, Transport::Tcp);
                let ended = network.tls_of(&host, port) == Tls::Terminate;
                !matches!(answer, Answer::Deny(_)) && ended
            })
        };
        for credential in &layer.network.credentials {
            if !used(credential) {
                let reason = format!(
                    "the credential is for {}, which the policy does not allow",
                    credential.host
                );
                self.say(&NETWORK_CREDENTIAL_IDLE, Some(&credential.origin), reason);
            }
        }
    }

    /// Grants to read or write that the tools or the workspace's mode remove entirely.
    fn idle_grants(&mut self, layer: &Layer) {
        let files = &layer.filesystem;
        let lists = [
            ("read", Tool::Read, &files.read),
            ("write", Tool::Write, &files.write),
        ];
        for (key, tool, list) in lists {
            let (given, left) = match tool {
                Tool::Read => (&self.outcome.rights.read, &self.reach.read),
                _ => (&self.outcome.rights.write, &self.reach.write),
            };
            let mut found = vec![];
            for grant in list.iter().flatten().filter(|g| is_authors(&g.origin)) {
                let path = self.roots.expand(&grant.path);
                if self.roots.is_own(&path) {
                    if key == "write" {
                        let shown = &grant.path;
                        let reason = format!(
                            "the jail always has its own {shown}, which is empty and writable"
                        );
                        found.push((&GRANT_OWN, grant.origin.clone(), reason, None));
                    }
                    continue;
                }
                if !touched(given, &path) || touched(left, &path) {
                    continue;
                }
                let (why, fix) = self.taken(tool, &path, layer);
                let reason = format!("'filesystem.{key}' grants {}, but {why}", grant.path);
                found.push((&GRANT_IDLE, grant.origin.clone(), reason, Some(fix)));
            }
            for (check, origin, reason, fix) in found {
                let fix = fix.unwrap_or_else(|| check.fix.to_owned());
                self.add(check, Some(&origin), reason, fix);
            }
        }
    }

    /// The reason that a grant has no effect, and the remedy.
    fn taken(&self, tool: Tool, path: &str, layer: &Layer) -> (String, String) {
        let rights = &self.outcome.rights;
        let lacks = [Tool::Read, tool].into_iter().find(|t| !usable(rights, *t));
        if let Some(tool) = lacks {
            let cause = why_not(rights, tool);
            let name = tool.name();
            let why = format!("the tool {name} is not allowed ({cause})");
            return (why, self.remedy(tool, layer));
        }
        if within(path, &self.roots.workspace) && !self.reach.shows_workspace() {
            let none = WorkspaceMode::None.name();
            let why = format!("the workspace is \"{none}\"");
            return (why, "write workspace = \"ro\", or remove it".into());
        }
        let why = "the tools' allowed_paths or a denial cancel it";
        (why.into(), "add it to the tools' allowed_paths".into())
    }

    /// Protections of paths that nothing can change.
    fn idle_protections(&mut self, layer: &Layer) {
        let idle = |grant: &&Grant| {
            let path = self.roots.expand(&grant.path);
            let mut around = self.reach.write.host();
            let workspace = &self.roots.workspace;
            let whole = within(workspace, &path) && self.reach.writes_at(workspace, self.roots);
            let changed = whole
                || self.reach.writes_at(&path, self.roots)
                || around.any(|rule| within(&rule.path, &path));
            is_authors(&grant.origin) && !changed
        };
        let found: Vec<Grant> = layer
            .filesystem
            .protect
            .iter()
            .filter(idle)
            .cloned()
            .collect();
        for grant in found {
            let reason = format!("the jail may not write to {} anyway", grant.path);
            self.say(&PROTECT_IDLE, Some(&grant.origin), reason);
        }
    }

    /// `unprotect` of paths that are not protected, or stay protected.
    fn idle_exceptions(&mut self, layer: &Layer) {
        let workspace = &self.roots.workspace;
        let written = layer.filesystem.unprotect.iter();
        for grant in written.filter(|grant| is_authors(&grant.origin)) {
            let path = self.roots.expand(&grant.path);
            let trusted =
                |row: &&protected_defaults::Row| path == format!("{workspace}/{}", row.path);
            let around = |row: &&protected_defaults::Row| {
                within(&path, &format!("{workspace}/{}", row.path))
            };
            let held = self.outcome.rights.protect.get(&path);
            let held = held.filter(|leaf| leaf.origin != Origin::creel());
            let shown = &grant.path;
            let out = "remove the line";
            let (reason, fix) = if let Some(leaf) = held {
                let reason = format!("{shown} is protected at {}, which wins", leaf.origin);
                (reason, "remove one of the two")
            } else if !self.reach.writes_at(&path, self.roots) {
                (format!("the jail may not write to {shown} anyway"), out)
            } else if protected_defaults::PATHS.iter().any(|row| trusted(&row)) {
                continue;
            } else if let Some(row) = protected_defaults::PATHS.iter().find(around) {
                let row = format!("$WORKSPACE/{}", row.path);
                let reason = format!("{shown} lies in {row}, which stays protected");
                self.add(
                    &UNPROTECT_IDLE,
                    Some(&grant.origin),
                    reason,
                    format!("name {row}"),
                );
                continue;
            } else {
                let reason = format!(
                    "{shown} is not a trust path: only git's configuration could protect it"
                );
                (reason, out)
            };
            self.add(&UNPROTECT_IDLE, Some(&grant.origin), reason, fix.to_owned());
        }
    }
}

/// Whether a file's author wrote the rule, rather than a preset.
fn is_authors(origin: &Origin) -> bool {
    !origin.source.starts_with("preset:")
}

/// Whether the trees contain anything at, beneath or above the path.
fn touched(trees: &PathSet, path: &str) -> bool {
    trees.cover(path) || trees.host().any(|rule| within(&rule.path, path))
}
