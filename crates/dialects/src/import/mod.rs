//! Importing policies of other programs: each key is enforced, translated or not honoured, and reported.
//!
//! | dialect | file |
//! |---|---|
//! | [`Dialect::Openclaw`] | `openclaw.json`, and the shape of it with `sandbox` at the top |
//! | [`Dialect::Approvals`] | OpenClaw's `exec-approvals.json` |
//! | [`Dialect::Simple`] | `tools.file_system`, `code_execution`, `confirm_actions` |
//! | [`Dialect::Srt`] | settings of Anthropic's sandbox-runtime |
//! | [`Dialect::Claude`] | Claude Code's `.claude/settings.json` |
//! | [`Dialect::Codex`] | Codex's `config.toml` |
//! | [`Dialect::Rules`] | Codex's `.rules` |
//!
//! One rule holds for all dialects: what the source denies is denied. If creel has no exact equivalent,
//! it denies more; a denial that it cannot express at all is an error. A grant that it cannot express is
//! left out and reported. Pure: a file's text in, a layer and a report out.

mod approvals;
mod claude;
mod claude_rules;
mod codex;
mod defaults;
mod lists;
mod names;
mod native;
mod openclaw;
mod paths;
mod profile;
pub mod report;
mod rules;
mod sandbox;
mod shell;
mod simple;
mod source;
mod srt;
mod starlark;

pub use report::{Entry, Fate};
pub use source::Standing;

use std::collections::BTreeSet;

use creel_policy::error::{Place, PolicyError};
use creel_policy::layer::Layer;
use creel_policy::tree::{self, Format, Table, Text, Value};
use creel_policy::words::{NameList, words};
use creel_policy::{Sourced, digest, preset};
use source::{Source, inner};

words! {
    /// The dialect of a file, as named on the command line.
    Dialect {
        Native = "native",
        Openclaw = "openclaw",
        Approvals = "openclaw-approvals",
        Simple = "simple",
        Srt = "srt",
        Claude = "claude-code",
        Codex = "codex",
        Rules = "codex-rules",
    }
}

/// The options of an import.
#[derive(Debug, Clone)]
pub struct Choice<'c> {
    /// `None`: detected from the file's keys.
    pub dialect: Option<Dialect>,
    /// The agent whose layer is imported; `None` for what applies to all.
    pub agent: Option<&'c str>,
    /// The use of the layer: to grant, or to narrow other layers.
    pub standing: Standing,
}

/// The result of an import.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The dialect that was asked for or detected.
    pub dialect: Dialect,
    /// The converted rules, as a layer of a policy.
    pub layer: Layer,
    /// In the order of the file.
    pub report: Vec<Entry>,
    /// The agents that the file names.
    pub agents: Vec<String>,
}

/// Imports `text`. `source` is the file's path as the operator named it.
pub fn read(source: &str, text: &str, choice: &Choice) -> Result<Imported, PolicyError> {
    tree::check_length(source, text.as_bytes())?;
    let lines = Text::new(source, text);
    let mut into = Source::new(&lines, choice.standing);
    let mut agents = vec![];
    let named = choice.dialect.or_else(|| of_name(source));
    let dialect = if named == Some(Dialect::Rules) {
        rules::read(&mut into)?;
        Dialect::Rules
    } else {
        let top = tree::read(Format::of(source), &lines)?;
        let dialect = named.unwrap_or_else(|| of_keys(&top));
        match dialect {
            Dialect::Native => native::read(&mut into, &top)?,
            Dialect::Openclaw => agents = openclaw::read(&mut into, &top, choice.agent)?,
            Dialect::Approvals => agents = approvals::read(&mut into, &top, choice.agent)?,
            Dialect::Simple => simple::read(&mut into, &top)?,
            Dialect::Srt => srt::read(&mut into, &top)?,
            Dialect::Claude => claude::read(&mut into, &top)?,
            Dialect::Codex => codex::read(&mut into, &top)?,
            Dialect::Rules => {}
        }
        dialect
    };
    if let Some(agent) = choice.agent
        && !agents.iter().any(|known| known == agent)
    {
        return Err(PolicyError::MissingAgent {
            at: Place::whole(source),
            name: agent.to_owned(),
            known: agents,
        });
    }
    let Source {
        mut layer,
        mut report,
        whole,
        ..
    } = into;
    layer.name = source.to_owned();
    layer.digest = digest(text.as_bytes());
    if dialect != Dialect::Native && choice.standing == Standing::Grants && !whole {
        // The system's programs, which other programs grant implicitly.
        layer.extends.push(Sourced::new(
            preset::DEFAULT.to_owned(),
            creel_policy::Origin::creel(),
        ));
    }
    let mut known = BTreeSet::new();
    layer
        .tools
        .deny
        .retain(|denied| known.insert(denied.value.clone()));
    report.sort_by_key(|entry| entry.origin.line);
    Ok(Imported {
        dialect,
        layer,
        report,
        agents,
    })
}

/// Whether a file of that name is another program's, regardless of its content.
pub fn is_named(source: &str) -> bool {
    of_name(source).is_some()
}

/// Whether a document with these keys is another program's.
pub fn is_foreign(top: &Table) -> bool {
    of_keys(top) != Dialect::Native
}

/// The dialect of a file; `None` if it is creel's own.
pub fn detect(source: &str, text: &str) -> Option<Dialect> {
    let found = of_name(source).or_else(|| {
        let top = tree::parse(Format::of(source), source, text).ok()?;
        Some(of_keys(&top))
    });
    found.filter(|dialect| *dialect != Dialect::Native)
}

fn of_name(source: &str) -> Option<Dialect> {
    let rules = [".rules", ".codexpolicy"];
    let is_rules = rules.iter().any(|extension| source.ends_with(extension));
    let settings = [
        ".claude/settings.json",
        ".claude/settings.local.json",
        "claude-code/managed-settings.json",
    ];
    let is_settings = settings.iter().any(|name| {
        let rest = source.strip_suffix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    });
    match is_rules {
        true => Some(Dialect::Rules),
        false => is_settings.then_some(Dialect::Claude),
    }
}

/// Detects the dialect by keys that creel lacks; one of creel's own sections makes it creel's.
fn of_keys(top: &Table) -> Dialect {
    let has = |path: &[&str], keys: NameList| {
        inner(top, path).is_some_and(|table| keys.iter().any(|key| table.get(key).is_some()))
    };
    let native = NameList("limits environment extends allow_degraded tests");
    if has(&[], native) {
        return Dialect::Native;
    }
    let codex = NameList(
        "sandbox_mode sandbox_workspace_write approval_policy default_permissions mcp_servers
         model_provider model_providers model_reasoning_effort shell_environment_policy",
    );
    if has(&[], codex) {
        return Dialect::Codex;
    }
    let claude = has(&["permissions"], claude::PERMISSIONS)
        || has(&["sandbox"], claude::SANDBOX)
        || has(&[], claude::TOP)
        || source::text(top, "$schema").is_some_and(|schema| schema.contains("claude-code"));
    if claude {
        return Dialect::Claude;
    }
    // A Codex file, if no other program's key is present.
    let word = |key| top.get(key).is_some_and(|node| node.as_str().is_some());
    let features = inner(top, &["features"]).is_some();
    if (word("model") || features) && !has(&[], NameList("tools agents sandbox hooks env")) {
        return Dialect::Codex;
    }
    let network = NameList("allowedDomains deniedDomains allowUnixSockets allowAllUnixSockets");
    let filesystem = NameList("denyRead allowRead allowWrite denyWrite");
    if has(&["network"], network) || has(&["filesystem"], filesystem) {
        return Dialect::Srt;
    }
    let simple = NameList("file_system code_execution web_browsing api_calls");
    let switch = |key| {
        top.get(key)
            .is_some_and(|node| matches!(node.value, Value::Bool(_)))
    };
    if has(&["tools"], simple) || has(&[], NameList("confirm_actions")) || switch("sandbox") {
        return Dialect::Simple;
    }
    if has(&[], NameList("version"))
        && has(&[], NameList("defaults agents"))
        && !has(&[], NameList("tools"))
    {
        return Dialect::Approvals;
    }
    let openclaw =
        NameList("agents sandbox gateway channels models bindings approvals mcp plugins");
    let tools = NameList(
        "byProvider alsoAllow fs sandbox subagents toolsBySender web media codeMode loopDetection
         agentToAgent",
    );
    let exec =
        NameList("host mode timeoutSeconds backgroundMs safeBins applyPatch strictInlineEval");
    let elevated = inner(top, &["tools", "elevated"]).is_some();
    if has(&[], openclaw) || has(&["tools"], tools) || has(&["tools", "exec"], exec) || elevated {
        return Dialect::Openclaw;
    }
    Dialect::Native
}
