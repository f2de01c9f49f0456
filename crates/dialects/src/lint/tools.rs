//! Tools: unknown names, lines that cancel each other, tools that need another.

use super::Lint;
use super::checks::*;
use creel_policy::layer::{Ask, Layer};
use creel_policy::net;
use creel_policy::tools::{self, Pattern, Profile, Tool};
use creel_policy::{Origin, Sourced};

impl Lint<'_> {
    pub(super) fn tools(&mut self) {
        for (_, layer) in self.layers {
            self.patterns(layer);
            self.cancelled(layer);
            self.settings(layer);
            self.empty_lists(layer);
        }
    }

    fn patterns(&mut self, layer: &Layer) {
        let allowed = layer.tools.allow.iter().flat_map(|list| {
            let origin = &list.origin;
            list.value.iter().map(move |pattern| (pattern, origin))
        });
        let denied = layer.tools.deny.iter().map(|d| (&d.value, &d.origin));
        for (pattern, origin) in allowed.clone().chain(denied) {
            if pattern.is_wild() || tools::is_known(pattern.text()) {
                continue;
            }
            let fix = match pattern.meant() {
                Some(near) => format!("write \"{near}\""),
                None => TOOL_UNKNOWN.fix.to_owned(),
            };
            let reason = format!("creel does not know the tool '{pattern}'");
            self.add(&TOOL_UNKNOWN, Some(origin), reason, fix);
        }
        let everything = |pattern: &Pattern| {
            let met = Tool::ALL.iter().filter(|t| pattern.matches(t.name()));
            pattern.is_wild() && met.count() > 0
        };
        for (pattern, origin) in allowed.filter(|(pattern, _)| everything(pattern)) {
            let reason = format!(
                "'{pattern}' allows every tool that it matches, in this version and later ones"
            );
            self.say(&TOOL_WILDCARD, Some(origin), reason);
        }
        if let Some(profile) = &layer.tools.profile
            && profile.value == Profile::Full
        {
            let reason =
                "the profile 'full' allows every tool, in this version and later ones".to_owned();
            self.say(&TOOL_WILDCARD, Some(&profile.origin), reason);
        }
    }

    /// Pairs of lines of which one cancels the other.
    fn cancelled(&mut self, layer: &Layer) {
        let tools = &layer.tools;
        let listed: &[Pattern] = tools.allow.as_ref().map_or(&[], |list| &list.value);
        for deny in &tools.deny {
            if let Some(both) = listed
                .iter()
                .find(|p| !p.is_wild() && deny.value.matches(p.text()))
            {
                let reason = format!("'{both}' is allowed and denied; the denial applies");
                self.say(&TOOL_BOTH, Some(&deny.origin), reason);
                continue;
            }
            let lists = &self.outcome.rights.tools.allow;
            let meant = |tool: &&Tool| deny.value.matches(tool.name());
            let idle = |tool: &Tool| {
                lists
                    .keys()
                    .any(|list| !list.iter().any(|p| p.matches(tool.name())))
            };
            let mut meant = Tool::ALL.iter().filter(meant).peekable();
            if meant.peek().is_some() && meant.all(idle) {
                let reason = format!("no list allows '{}' anyway", deny.value);
                self.say(&TOOL_DENY_IDLE, Some(&deny.origin), reason);
            }
        }
        if let (Some(list), Some(profile)) = (&tools.allow, &tools.profile) {
            let patterns = Pattern::of_texts(profile.value.allows().iter());
            let outside = |p: &&Pattern| !p.is_wild() && !meets(&patterns, p.text());
            if let Some(outside) = list.value.iter().find(outside) {
                let profile = profile.value.name();
                let reason = format!("the profile '{profile}' does not have '{outside}'");
                self.say(&TOOL_OUTSIDE_PROFILE, Some(&list.origin), reason);
            }
        }
        if let Some(list) = &tools.allow {
            self.lacking(list);
        }
    }

    /// Listed tools that require another tool.
    fn lacking(&mut self, list: &Sourced<Vec<Pattern>>) {
        for tool in Tool::ALL {
            let named = list.value.iter().any(|p| p.text() == tool.name());
            let need = tool.needs().iter().find(|t| !self.allows(**t));
            let Some(need) = need.filter(|_| named) else {
                continue;
            };
            let check = match tool {
                Tool::Process => &TOOL_PROCESS_WITHOUT_EXEC,
                _ => &TOOL_EDIT_WITHOUT_WRITE,
            };
            let (tool, need) = (tool.name(), need.name());
            let reason = format!("{tool} needs {need}, which is not allowed");
            let fix = format!("add \"{need}\" to tools.allow, or take \"{tool}\" out");
            self.add(check, Some(&list.origin), reason, fix);
        }
        for tool in [Tool::Browser, Tool::Message, Tool::Fetch] {
            if list.value.iter().any(|p| p.text() == tool.name()) {
                self.offline(tool, &list.origin);
            }
        }
    }

    fn offline(&mut self, tool: Tool, origin: &Origin) {
        if self.allows(tool) && self.outcome.rights.network.mode() == net::Mode::None {
            let reason = format!("{} needs a network, and the policy has none", tool.name());
            self.say(&TOOL_NO_NETWORK, Some(origin), reason);
        }
    }

    fn settings(&mut self, layer: &Layer) {
        let elevated = std::iter::once(&layer.tools.elevated)
            .chain(layer.tools.each.values().map(|s| &s.elevated))
            .flatten()
            .filter(|said| said.value);
        for said in elevated {
            let reason = "elevated = true keeps a way around the sandbox".to_owned();
            self.say(&TOOL_ELEVATED, Some(&said.origin), reason);
        }
        for (tool, settings) in &layer.tools.each {
            let name = tool.name();
            let allowed = self.allows(*tool);
            if let Some(ask) = &settings.ask
                && ask.value == Ask::Always
                && allowed
            {
                let reason = format!("{name} has ask = \"always\", and `creel run` cannot ask");
                self.say(&TOOL_ASK_NOBODY, Some(&ask.origin), reason);
            }
            match &settings.enabled {
                Some(said) if said.value && !allowed => {
                    let reason = format!("{name} is enabled, but no list allows it");
                    self.say(&TOOL_ENABLED_IDLE, Some(&said.origin), reason);
                }
                None if !allowed => {
                    let reason = format!("{name} is not allowed, so its settings have no effect");
                    self.say(&TOOL_SETTINGS_IDLE, a_place(settings).as_ref(), reason);
                }
                _ => {}
            }
        }
    }

    fn empty_lists(&mut self, layer: &Layer) {
        let mut empty: Vec<(String, Option<&Origin>)> = vec![];
        if let Some(list) = &layer.tools.allow
            && list.value.is_empty()
        {
            empty.push(("tools.allow".into(), Some(&list.origin)));
        }
        for (tool, settings) in &layer.tools.each {
            let key = |name: &str| format!("tools.{}.{name}", tool.name());
            if settings.commands.as_ref().is_some_and(Vec::is_empty) {
                empty.push((key("commands"), None));
            }
            if settings.languages.as_ref().is_some_and(Vec::is_empty) {
                empty.push((key("languages"), None));
            }
            if settings.allowed_paths.as_ref().is_some_and(Vec::is_empty) {
                empty.push((key("allowed_paths"), None));
            }
            if settings.channels.as_ref().is_some_and(Vec::is_empty) {
                empty.push((key("channels"), None));
            }
        }
        let files = &layer.filesystem;
        for (key, list) in [
            ("filesystem.exec", &files.exec),
            ("filesystem.read", &files.read),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                empty.push((key.into(), None));
            }
        }
        for (key, origin) in empty {
            // An empty list keeps no line of its own.
            let whole = Origin {
                source: layer.name.as_str().into(),
                line: 0,
            };
            let reason = format!("'{key}' is empty, which allows nothing");
            let fix = format!("remove '{key}', unless the list is meant to allow nothing");
            self.add(&EMPTY_LIST, Some(origin.unwrap_or(&whole)), reason, fix);
        }
    }

    fn allows(&self, tool: Tool) -> bool {
        self.outcome.rights.tools.allows(tool)
    }
}

fn meets(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// The first origin in a tool's section.
fn a_place(settings: &creel_policy::layer::Settings) -> Option<Origin> {
    let s = settings;
    [
        s.security.as_ref().map(|said| &said.origin),
        s.ask.as_ref().map(|said| &said.origin),
        s.timeout.as_ref().map(|said| &said.origin),
        s.rate.as_ref().map(|said| &said.origin),
        s.max_iterations.as_ref().map(|said| &said.origin),
        s.target.as_ref().map(|said| &said.origin),
        s.allowed_paths.iter().flatten().map(|g| &g.origin).next(),
        s.denied_paths.first().map(|g| &g.origin),
        s.commands.iter().flatten().map(|c| &c.origin).next(),
        s.languages.iter().flatten().map(|l| &l.origin).next(),
        s.channels.iter().flatten().map(|c| &c.origin).next(),
    ]
    .into_iter()
    .flatten()
    .min()
    .cloned()
}
