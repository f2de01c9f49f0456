//! Claude Code's settings (`.claude/settings.json`): its sandbox, its modes, and where its rules are.
//!
//! Claude Code prompts for what no rule covers; creel does not. So what would prompt is not granted, and
//! if rules name commands, only those that they allow run. The sandbox has the sections of
//! sandbox-runtime, except that the working directory is writable without being listed.

use super::claude_rules::{self as rules, Rules, Word};
use super::paths;
use super::report::Fate;
use super::shell::{self, Bash};
use super::source::{Item, Source, elements, entries, inner, stricter, table};
use super::srt::{self, Cwd};
use creel_policy::error::PolicyError;
use creel_policy::layer::Ask;
use creel_policy::tools::Tool;
use creel_policy::tree::{Node, Table, Value};
use creel_policy::words::NameList;
use creel_policy::{Absent, Sourced, WorkspaceMode, net};

/// Keys of `permissions` that other programs' tables of that name do not have.
pub const PERMISSIONS: NameList =
    NameList("allow ask deny defaultMode additionalDirectories disableBypassPermissionsMode");
/// Keys of `sandbox` that OpenClaw's does not have.
pub const SANDBOX: NameList = NameList(
    "enabled filesystem network excludedCommands autoAllowBashIfSandboxed
     allowUnsandboxedCommands failIfUnavailable enableWeakerNestedSandbox ignoreViolations",
);
/// Top-level keys that no other program's file has.
pub const TOP: NameList = NameList(
    "allowedTools disallowedTools apiKeyHelper cleanupPeriodDays deniedMcpServers
     allowedMcpServers disableAllHooks disabledMcpjsonServers enableAllProjectMcpServers
     enabledMcpjsonServers enabledPlugins extraKnownMarketplaces includeCoAuthoredBy outputStyle
     statusLine alwaysThinkingEnabled",
);

const ELSEWHERE: &str = "affects neither tools nor the sandbox";

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    let mut rules = Rules::default();
    let mut bash = Bash::default();
    // First, because a domain that a rule allows is added to the sandbox's list.
    if let Some((of, node)) = top
        .get("sandbox")
        .and_then(|node| Some((table(node)?, node)))
    {
        sandbox(into, of, node, &mut bash)?;
    }
    for (key, entry) in entries(top, "") {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("sandbox", Some(_)) => {}
            ("permissions", Some(of)) => permissions(into, of, &mut rules, &mut bash)?,
            ("sandbox" | "permissions", None) => return Err(into.wrong_type(item, "a table")),
            ("allowedTools", _) => rules.read(into, item, Word::Allow)?,
            ("disallowedTools", _) => rules.read(into, item, Word::Deny)?,
            ("disabledMcpjsonServers", _) => servers(into, item)?,
            ("deniedMcpServers", _) => denied_servers(into, item)?,
            _ => into.not(item, ELSEWHERE),
        }
    }
    if inner(top, &["permissions"]).is_some_and(|of| of.get("defaultMode").is_none())
        && !bash.is_unasked
        && let Some(node) = top.get("permissions")
    {
        let ask = into.sourced(node, Ask::OnMiss);
        stricter(&mut into.tool(Tool::Exec).ask, ask);
    }
    hosts(into, &mut rules);
    shell::read(into, &rules.commands, &bash)
}

/// The hosts that rules allow, in addition to the sandbox's own.
fn hosts(into: &mut Source, rules: &mut Rules) {
    let Some(first) = rules.hosts.first() else {
        return;
    };
    let origin = first.origin.clone();
    let network = &mut into.layer.network;
    let hosts = rules.hosts.drain(..);
    network.allow.get_or_insert_default().extend(hosts);
    network.mode = Some(Sourced::new(net::Mode::Allowlist, origin));
}

fn permissions(
    into: &mut Source,
    of: &Table,
    rules: &mut Rules,
    bash: &mut Bash,
) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, "permissions") {
        let item = entry.item();
        match key {
            "allow" => rules.read(into, item, Word::Allow)?,
            "ask" => rules.read(into, item, Word::Ask)?,
            "deny" => rules.read(into, item, Word::Deny)?,
            "defaultMode" => mode(into, item, bash),
            "additionalDirectories" => directories(into, item, of),
            "disableBypassPermissionsMode" | "disableAutoMode" => {
                into.translated(item, "has no effect: no mode of creel lifts a rule");
            }
            // A further restriction must not be ignored.
            "blockReadsOutsideWorkingDirectories" => {
                into.translated(item, "paths without a grant do not exist in the jail");
            }
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn mode(into: &mut Source, item: Item, bash: &mut Bash) {
    match item.node.as_str() {
        Some("default" | "acceptEdits" | "auto" | "manual") => {
            let ask = into.sourced(item.node, Ask::OnMiss);
            stricter(&mut into.tool(Tool::Exec).ask, ask);
            into.translated(item, "tools.exec.ask = \"on-miss\"");
        }
        Some("bypassPermissions") => {
            bash.is_unasked = true;
            into.translated(
                item,
                "every granted program may execute; denials still apply",
            );
        }
        Some("dontAsk") => {
            bash.is_closed = true;
            into.translated(
                item,
                "tools.exec.security = \"allowlist\": everything without a rule is denied",
            );
        }
        known => {
            into.deny_tool(item.node, "write");
            let mode = into.sourced(item.node, WorkspaceMode::ReadOnly);
            stricter(&mut into.layer.filesystem.workspace, mode);
            let how = "tools.deny = [\"write\"], and a read-only workspace";
            match known {
                Some("plan") => into.translated(item, how),
                Some(_) => into.translated(item, format!("is not a mode that creel knows: {how}")),
                None => into.not(item, format!("is not a mode: {how}")),
            }
        }
    }
}

/// Additional working directories: writable like the first one.
fn directories(into: &mut Source, item: Item, permissions: &Table) {
    if into.narrows(item) {
        return;
    }
    let is_plan = permissions
        .get("defaultMode")
        .is_some_and(|node| node.as_str() == Some("plan"));
    into.if_empty(item, "grants nothing");
    for word in into.words(item) {
        match rules::granted(word.text(), paths::Spelling::Plain) {
            Ok(path) => into.give(word.item(), path, Absent::Skip, !is_plan),
            Err((fate, why)) => into.say(word.item(), fate, why),
        }
    }
}

fn sandbox(into: &mut Source, of: &Table, node: &Node, bash: &mut Bash) -> Result<(), PolicyError> {
    let is = |key: &str, value: bool| {
        of.get(key)
            .is_some_and(|node| matches!(node.value, Value::Bool(found) if found == value))
    };
    let is_enabled = is("enabled", true);
    if is_enabled {
        // Claude Code prompts for each host that is not on a list.
        let none = into.sourced(node, net::Mode::None);
        into.layer.network.mode = Some(none);
    }
    let asks =
        of.get("autoAllowBashIfSandboxed").is_some() && !is("autoAllowBashIfSandboxed", true);
    bash.is_unasked |= is_enabled && !asks;
    for (key, entry) in entries(of, "sandbox") {
        let (item, node) = (entry.item(), entry.node);
        let on = matches!(node.value, Value::Bool(true));
        match (key, table(node)) {
            ("filesystem", Some(of)) => srt::filesystem(into, of, item.key, Cwd::Writable)?,
            ("network", Some(of)) => srt::network(into, of, node, item.key)?,
            ("credentials", Some(of)) => srt::credentials(into, of, item.key)?,
            ("filesystem" | "network" | "credentials", None) => {
                return Err(into.wrong_type(item, "a table"));
            }
            ("enabled" | "failIfUnavailable", _) => match node.value {
                Value::Bool(_) => into.translated(item, "every command runs in the jail, always"),
                _ => into.other_type(item, "true or false"),
            },
            ("autoAllowBashIfSandboxed", _) => match node.value {
                Value::Bool(true) => into.translated(item, "every granted program may execute"),
                Value::Bool(false) => into.translated(item, "tools.exec.ask = \"on-miss\""),
                _ => into.other_type(item, "true or false"),
            },
            ("excludedCommands", _) => into.not(item, "nothing runs outside the jail"),
            ("allowUnsandboxedCommands", _) => match on {
                true => into.not(item, "nothing runs outside the jail"),
                false => into.say(item, switch(node), "nothing runs outside the jail"),
            },
            ("enableWeakerNestedSandbox" | "enableWeakerNetworkIsolation", _) => match on {
                true => into.not(item, "nothing is weakened; see allow_degraded"),
                false => into.say(item, switch(node), "nothing is weakened"),
            },
            ("ignoreViolations", _) => into.not(item, "denials are always reported"),
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

/// The result for a switch that is off, or for a value that is not a switch.
fn switch(node: &Node) -> Fate {
    match node.value {
        Value::Bool(_) => Fate::Enforced,
        _ => Fate::NotHonoured,
    }
}

/// Server names whose tools are all denied.
fn servers(into: &mut Source, item: Item) -> Result<(), PolicyError> {
    into.if_empty(item, "denies nothing");
    for word in into.strict_words(item)? {
        rules::deny_server(into, word.item(), word.text())?;
    }
    Ok(())
}

/// Like [`servers`], with a table for each server.
fn denied_servers(into: &mut Source, item: Item) -> Result<(), PolicyError> {
    into.if_empty(item, "denies nothing");
    for element in elements(item) {
        let of = table(element.node);
        let Some((of, name)) = of.and_then(|of| Some((of, of.get("serverName")?))) else {
            into.not(
                element.item(),
                "servers that the runtime starts run outside of the jail",
            );
            continue;
        };
        for (key, entry) in entries(of, element.item().key) {
            let item = entry.item();
            match (key, name.as_str()) {
                ("serverName", Some(server)) => rules::deny_server(into, item, server)?,
                ("serverName", None) => return Err(into.wrong_type(item, "a string")),
                _ => into.not(
                    item,
                    "servers that the runtime starts run outside of the jail",
                ),
            }
        }
    }
    Ok(())
}
