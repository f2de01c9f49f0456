//! The vocabulary of tools: names, aliases, groups, profiles and patterns, and what each tool means to
//! the kernel.
//!
//! The names are those that agent runtimes already use (OpenClaw's, August 2026). A runtime may have
//! tools that creel does not know: their names are data, matched by the same patterns, and no kernel rule
//! depends on them. A pattern matches the whole name: lower case, aliases replaced, `*` for any run of
//! characters.

use std::collections::BTreeMap;
use std::fmt;

use super::glob::stars;
use super::origin::Origin;
use super::spelling::nearest;
use super::words::{NameList, words};

words! {
    /// The tools that the kernel enforces.
    Tool {
        Read = "read",
        Write = "write",
        Edit = "edit",
        ApplyPatch = "apply_patch",
        Exec = "exec",
        Process = "process",
        Browser = "browser",
        Message = "message",
        Fetch = "fetch",
    }
}

impl Tool {
    /// The tool of that name or alias.
    pub fn named(name: &str) -> Option<Tool> {
        let name = canonical(name);
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// The tools that this one requires, because the kernel cannot distinguish them or because it uses
    /// them: a process that may change one file of the workspace may change any.
    pub fn needs(self) -> &'static [Tool] {
        match self {
            Self::Write => &[Self::Read],
            Self::Edit | Self::ApplyPatch => &[Self::Write, Self::Read],
            Self::Process => &[Self::Exec],
            _ => &[],
        }
    }

    /// The access of every process of the jail if the tool is allowed.
    pub fn with(self) -> &'static str {
        match self {
            Self::Read => {
                "the workspace and every read grant are readable, within `allowed_paths` and without `denied_paths`"
            }
            Self::Write => {
                "the workspace (if `workspace = \"rw\"`) and every write grant are writable, within `allowed_paths` and without `denied_paths`; needs read"
            }
            Self::Edit | Self::ApplyPatch => {
                "the same access as write, within the tool's own `allowed_paths` and without its `denied_paths`; needs write and read"
            }
            Self::Exec => {
                "programs in executable grants may execute: all of them, those of `commands` and `languages`, or with `security = \"deny\"` none; for at most `timeout`"
            }
            Self::Process => {
                "no further access: the tool manages the processes that exec started; needs exec"
            }
            Self::Browser | Self::Message | Self::Fetch => {
                "the access that `[network]` grants; without that section, the jail's loopback only"
            }
        }
    }

    /// The kernel's enforcement if the tool is not allowed.
    pub fn without(self) -> &'static str {
        match self {
            Self::Read => {
                "no workspace: a fresh, empty directory takes its place, and read grants have no effect"
            }
            Self::Write => "the workspace and every write grant are read-only for every process",
            Self::Edit | Self::ApplyPatch => {
                "the tool is not offered; a process may still write where `write` may"
            }
            Self::Exec => "the worker runs and cannot execute other programs",
            Self::Process => {
                "the tool is not offered; processes that the worker starts end with it"
            }
            Self::Browser | Self::Message | Self::Fetch => {
                "no network, unless another of browser, message and fetch is allowed"
            }
        }
    }
}

/// Other names for the same tool.
const ALIASES: [(&str, &str); 13] = [
    ("bash", "exec"),
    ("shell", "exec"),
    ("code_execution", "exec"),
    ("apply-patch", "apply_patch"),
    ("patch", "apply_patch"),
    ("web_fetch", "fetch"),
    ("web_search", "fetch"),
    ("x_search", "fetch"),
    ("api_calls", "fetch"),
    ("http", "fetch"),
    ("web_browsing", "browser"),
    ("multi_edit", "edit"),
    ("send_message", "message"),
];

/// Groups, as of August 2026. A group that is missing here is an error, never an empty set.
const GROUPS: [(&str, NameList); 13] = [
    ("fs", NameList("read write edit apply_patch")),
    ("runtime", NameList("exec process")),
    ("web", NameList("fetch")),
    ("ui", NameList("browser canvas")),
    ("messaging", NameList("message")),
    ("memory", NameList("memory_search memory_get")),
    ("sessions", NameList("sessions_* session_status subagents")),
    ("automation", NameList("heartbeat_respond cron gateway")),
    ("nodes", NameList("nodes computer")),
    ("agents", NameList("agents_list")),
    ("media", NameList("image image_generate tts")),
    (
        "openclaw",
        NameList("gateway cron nodes canvas sessions_* session_status subagents agents_list"),
    ),
    ("plugins", NameList("*__* bundle-mcp")),
];

words! {
    /// A named set of tools to start from.
    Profile {
        Minimal = "minimal",
        Readonly = "readonly",
        Messaging = "messaging",
        Coding = "coding",
        Full = "full",
    }
}

impl Profile {
    /// The tools that the profile allows, as patterns.
    pub fn allows(self) -> NameList {
        NameList(match self {
            Self::Minimal => "session_status",
            Self::Readonly => "read session_status",
            Self::Messaging => "message sessions_* session_status",
            Self::Coding => {
                "read write edit apply_patch exec process fetch image sessions_* session_status subagents memory_search memory_get"
            }
            Self::Full => "*",
        })
    }
}

/// A tool's name or a glob over names: lower case, aliases replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// The text is empty.
    #[error("is empty; remove it, or write the tool's name")]
    Empty,
    /// Names of tools do not have such a character.
    #[error(
        "has a character that is not allowed in a tool's name; use letters, digits, `_`, `-`, `.` and `*`"
    )]
    Character,
    /// `group:NAME` with an unknown name.
    #[error("is not a group; groups: {}", group_names().join(", "))]
    Group,
}

impl Pattern {
    /// The patterns of several texts; invalid ones are left out.
    pub fn of_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<Pattern> {
        let all = texts.into_iter();
        all.flat_map(|text| Pattern::parse(text).unwrap_or_default())
            .collect()
    }

    /// The known tool that an unknown name probably means.
    pub fn meant(&self) -> Option<&'static str> {
        let unknown = !self.is_wild() && !is_known(self.text());
        unknown
            .then(|| nearest(self.text(), &Tool::ALL.map(Tool::name)))
            .flatten()
    }

    /// The patterns for a text: the members of a group, or one pattern.
    pub fn parse(text: &str) -> Result<Vec<Pattern>, PatternFault> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(group) = text.strip_prefix("group:") {
            let (_, members) = GROUPS
                .iter()
                .find(|(name, _)| *name == group)
                .ok_or(PatternFault::Group)?;
            return Ok(members.iter().map(|name| Pattern(name.into())).collect());
        }
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "_-.*".contains(c);
        if !text.chars().all(known) {
            return Err(PatternFault::Character);
        }
        Ok(vec![Pattern(canonical(&text))])
    }

    /// Whether the pattern matches this canonical name.
    pub fn matches(&self, name: &str) -> bool {
        stars(&self.0, name)
    }

    /// Whether it matches this tool under any of its names: a denial of `web_*` denies `fetch`, whose
    /// alias is `web_fetch`.
    pub fn covers(&self, name: &str) -> bool {
        // An alias without a wildcard was already replaced.
        if !self.is_wild() {
            return self.0 == name;
        }
        let mut aliases = ALIASES.iter().filter(|(_, tool)| *tool == name);
        self.matches(name) || aliases.any(|(alias, _)| self.matches(alias))
    }

    /// The pattern: lower case, aliases replaced.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it names more than one tool.
    pub fn is_wild(&self) -> bool {
        self.0.contains('*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The groups' names, with their prefix.
pub fn group_names() -> Vec<String> {
    GROUPS
        .iter()
        .map(|(name, _)| format!("group:{name}"))
        .collect()
}

/// Whether creel knows a tool: its own, and those in the groups and profiles.
pub fn is_known(name: &str) -> bool {
    let name = canonical(name);
    let mut profiles = Profile::ALL.into_iter().filter(|p| *p != Profile::Full);
    Tool::named(&name).is_some()
        || GROUPS.iter().any(|(_, members)| members.meet(&name))
        || profiles.any(|profile| profile.allows().meet(&name))
}

/// Aliases, each with the tool that it stands for.
pub fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALIASES.into_iter()
}

/// Lower case, with aliases replaced.
pub fn canonical(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match ALIASES.iter().find(|(alias, _)| *alias == name) {
        Some((_, tool)) => (*tool).into(),
        None => name,
    }
}

/// The tools that the layers allow: those on every list and in no denial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Lists of alternatives; a tool must be in each. An empty list allows nothing.
    pub allow: BTreeMap<Vec<Pattern>, Origin>,
    /// Patterns of denied tools.
    pub deny: BTreeMap<Pattern, Origin>,
}

/// Why a tool is allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling<'f> {
    /// On every list and in no denial.
    Allowed,
    /// By this deny rule.
    Denied(&'f Pattern, &'f Origin),
    /// Not in this list.
    Unlisted(&'f Origin),
    /// A tool that it requires is not allowed.
    Needs(Tool),
}

impl Filter {
    /// Adds a list that a tool must be on.
    pub fn allow(&mut self, mut patterns: Vec<Pattern>, origin: Origin) {
        patterns.sort();
        patterns.dedup();
        keep_earlier(&mut self.allow, patterns, origin);
    }

    /// Adds a denial.
    pub fn deny(&mut self, pattern: Pattern, origin: Origin) {
        keep_earlier(&mut self.deny, pattern, origin);
    }

    /// The meet: what both allow.
    pub fn meet(mut self, other: Filter) -> Filter {
        for (patterns, origin) in other.allow {
            keep_earlier(&mut self.allow, patterns, origin);
        }
        for (pattern, origin) in other.deny {
            keep_earlier(&mut self.deny, pattern, origin);
        }
        self
    }

    /// The ruling on a tool by its name alone.
    pub fn rule(&self, name: &str) -> Ruling<'_> {
        self.rule_canonical(&canonical(name))
    }

    fn rule_canonical(&self, name: &str) -> Ruling<'_> {
        if let Some((pattern, origin)) = self.deny.iter().find(|(p, _)| p.covers(name)) {
            return Ruling::Denied(pattern, origin);
        }
        let misses = |patterns: &Vec<Pattern>| !patterns.iter().any(|p| p.matches(name));
        match self.allow.iter().find(|(patterns, _)| misses(patterns)) {
            Some((_, origin)) => Ruling::Unlisted(origin),
            None => Ruling::Allowed,
        }
    }

    /// The ruling on a tool and on the tools that it requires.
    pub fn rule_tool(&self, tool: Tool) -> Ruling<'_> {
        match self.rule_canonical(tool.name()) {
            Ruling::Allowed => {}
            ruling => return ruling,
        }
        let lacking = tool.needs().iter().find(|t| !self.allows(**t));
        lacking.map_or(Ruling::Allowed, |tool| Ruling::Needs(*tool))
    }

    /// Whether the tool and the tools that it requires are allowed.
    pub fn allows(&self, tool: Tool) -> bool {
        self.rule_tool(tool) == Ruling::Allowed
    }
}

/// Keeps the origin that sorts first of two equal keys: the order of layers must not matter.
fn keep_earlier<K: Ord>(map: &mut BTreeMap<K, Origin>, key: K, origin: Origin) {
    match map.get_mut(&key) {
        Some(known) if *known <= origin => {}
        Some(known) => *known = origin,
        None => drop(map.insert(key, origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(allow: Option<&[&str]>, deny: &[&str]) -> Filter {
        let origin = || Origin {
            source: "test".into(),
            line: 1,
        };
        let mut filter = Filter::default();
        if let Some(allow) = allow {
            let patterns = allow.iter().flat_map(|t| Pattern::parse(t).unwrap());
            filter.allow(patterns.collect(), origin());
        }
        for text in deny {
            for pattern in Pattern::parse(text).unwrap() {
                filter.deny(pattern, origin());
            }
        }
        filter
    }

    #[test]
    fn deny_wins_and_an_empty_list_allows_nothing() {
        let all = filter(Some(&["*"]), &["write"]);
        assert!(all.allows(Tool::Exec) && !all.allows(Tool::Write));
        // No process that may edit can be kept from writing.
        assert!(!all.allows(Tool::Edit) && !all.allows(Tool::ApplyPatch));
        assert!(Tool::ALL.iter().all(|t| !filter(Some(&[]), &[]).allows(*t)));
    }

    #[test]
    fn names_are_matched_whole_and_by_alias() {
        let bash = filter(Some(&["Bash "]), &[]);
        assert!(bash.allows(Tool::Exec));
        assert_eq!(bash.rule("execute"), bash.rule("nothing"));
        assert!(filter(Some(&["group:fs"]), &[]).allows(Tool::ApplyPatch));
        assert_eq!(Pattern::parse("group:nonsense"), Err(PatternFault::Group));
        assert_eq!(Pattern::parse("a b"), Err(PatternFault::Character));
    }

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("sessions_*", "sessions_send", true),
            ("sessions_*", "session", false),
            ("*__*", "server__tool", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbbd", false),
            ("", "a", false),
        ] {
            assert_eq!(stars(pattern, text), matches, "{pattern} {text}");
        }
    }
}
