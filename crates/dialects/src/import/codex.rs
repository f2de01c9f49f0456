//! Codex's `config.toml`: the sandbox mode and its settings.

use super::paths::{self, Spelling};
use super::profile;
use super::report::Fate::{Enforced, NotHonoured};
use super::source::{Item, Source, Standing, Taken, entries, inner, join, stricter, table, text};
use creel_policy::error::PolicyError;
use creel_policy::file::{is_reserved, is_variable_name};
use creel_policy::layer::Ask;
use creel_policy::tools::Tool;
use creel_policy::tree::{Node, Table, Value};
use creel_policy::{WorkspaceMode, net};

/// From the strictest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    ReadOnly,
    WorkspaceWrite,
    FullAccess,
}

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    let mut modes = vec![];
    for (key, entry) in entries(top, "") {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("sandbox_mode" | "default_permissions", _) => modes.push(mode(into, item)),
            ("approval_policy", _) => approval(into, item),
            ("sandbox_workspace_write", Some(_)) => {}
            ("shell_environment_policy", Some(of)) => environment(into, of),
            ("profile", _) => into.translated(
                item,
                "its modes apply together with the file's own; the stricter one wins",
            ),
            ("profiles", Some(of)) => profiles(into, of, text(top, "profile"), &mut modes),
            ("sandbox_workspace_write", None) => return Err(into.wrong_type(item, "a table")),
            ("projects", _) => into.not(item, "creel does not use trust in directories"),
            ("mcp_servers", _) => into.not(
                item,
                "servers that the runtime starts run outside of the jail",
            ),
            ("permissions", Some(of)) => {
                let profile = text(top, "profile").and_then(|name| inner(top, &["profiles", name]));
                let named = [Some(top), profile].into_iter().flatten();
                let chosen: Vec<&str> = named
                    .filter_map(|keys| text(keys, "default_permissions"))
                    .collect();
                profile::read(into, of, &chosen)?;
            }
            ("permissions", None) => return Err(into.wrong_type(item, "a table")),
            ("web_search", _) if node.as_str() == Some("disabled") => no_search(into, item),
            ("tools", Some(of)) => tools(into, of),
            ("features", Some(of)) => features(into, of),
            ("rules" | "experimental_network", _) => {
                return Err(into.wrong_type(item, "the rules are in a separate file, `.rules`"));
            }
            _ => into.not(item, "affects neither tools nor the sandbox"),
        }
    }
    // Codex's own default for a directory that the user has not trusted.
    let mode = modes.into_iter().min().unwrap_or(Mode::ReadOnly);
    if let Some(of) = inner(top, &["sandbox_workspace_write"]) {
        workspace_write(into, of, mode)?;
    }
    let Some((_, node)) = top.entries().first() else {
        return Ok(());
    };
    let none = into.sourced(node, net::Mode::None);
    into.layer.network.mode.get_or_insert(none);
    let workspace = match mode {
        Mode::ReadOnly => {
            into.deny_tool(node, "write");
            WorkspaceMode::ReadOnly
        }
        Mode::WorkspaceWrite | Mode::FullAccess => WorkspaceMode::ReadWrite,
    };
    // A profile may already have denied it.
    let workspace = into.sourced(node, workspace);
    into.layer.filesystem.workspace.get_or_insert(workspace);
    Ok(())
}

/// A setting that turns a tool off denies it.
fn tools(into: &mut Source, of: &Table) {
    for (key, entry) in entries(of, "tools") {
        let (item, node) = (entry.item(), entry.node);
        match (key, &node.value) {
            ("web_search", Value::Bool(false)) => no_search(into, item),
            _ => into.not(item, "grants no tool by itself"),
        }
    }
}

fn no_search(into: &mut Source, item: Item) {
    into.deny_tool(item.node, "web_search");
    into.translated(item, "tools.deny, with every tool that creel joins with it");
}

fn features(into: &mut Source, of: &Table) {
    for (key, entry) in entries(of, "features") {
        let (item, node) = (entry.item(), entry.node);
        match (key, &node.value) {
            ("shell_tool", Value::Bool(false)) => {
                into.deny_tool(node, "exec");
                into.enforced(item, "tools.deny");
            }
            ("web_search_request" | "web_search_cached", Value::Bool(false)) => {
                no_search(into, item)
            }
            _ => into.not(item, "affects neither tools nor the sandbox"),
        }
    }
}

fn mode(into: &mut Source, item: Item) -> Mode {
    match item.node.as_str() {
        Some("read-only" | ":read-only") => {
            into.enforced(
                item,
                "tools.deny = [\"write\"], filesystem.workspace = \"ro\"",
            );
            Mode::ReadOnly
        }
        Some("workspace-write" | ":workspace") => {
            into.enforced(item, "filesystem.workspace = \"rw\"");
            Mode::WorkspaceWrite
        }
        Some("danger-full-access" | ":danger-full-access") => {
            into.not(
                item,
                "every command runs in the jail; the workspace is writable",
            );
            Mode::FullAccess
        }
        _ => {
            into.not(item, "is not a mode that creel knows; read-only applies");
            Mode::ReadOnly
        }
    }
}

fn approval(into: &mut Source, item: Item) {
    let (ask, how) = match item.node.as_str() {
        Some("never") => (Ask::Off, "tools.exec.ask = \"off\""),
        Some("on-request" | "on-failure") => (
            Ask::OnMiss,
            "tools.exec.ask = \"on-miss\": nothing runs outside the jail",
        ),
        _ => (
            Ask::Always,
            "tools.exec.ask = \"always\"; refused if creel cannot ask",
        ),
    };
    let said = into.sourced(item.node, ask);
    stricter(&mut into.tool(Tool::Exec).ask, said);
    into.translated(item, how);
}

fn profiles(into: &mut Source, of: &Table, selected: Option<&str>, modes: &mut Vec<Mode>) {
    for (profile, node) in of.entries() {
        let above = join("profiles", &profile.name);
        let keys = table(node).filter(|_| Some(profile.name.as_str()) == selected);
        let Some(keys) = keys else {
            into.translated(
                Item { key: &above, node },
                "is not the profile that is selected",
            );
            continue;
        };
        for (key, entry) in entries(keys, &above) {
            let item = entry.item();
            match key {
                "sandbox_mode" | "default_permissions" => modes.push(mode(into, item)),
                "sandbox_workspace_write" => offline(into, item),
                "approval_policy" => approval(into, item),
                _ => into.not(item, "affects neither tools nor the sandbox"),
            }
        }
    }
}

/// The denials in a profile's write settings.
fn offline(into: &mut Source, above: Item) {
    let Some(of) = table(above.node) else {
        return into.not(above, "grants nothing");
    };
    for (key, entry) in entries(of, above.key) {
        let (item, node) = (entry.item(), entry.node);
        match (key, &node.value) {
            ("network_access", Value::Bool(true)) => into.not(item, "the file's own value applies"),
            ("network_access", Value::Bool(false)) => {
                into.layer.network.mode = Some(into.sourced(node, net::Mode::None));
                into.enforced(item, "network.mode = \"none\"");
            }
            _ => into.not(item, "the file's own value applies"),
        }
    }
}

fn workspace_write(into: &mut Source, of: &Table, mode: Mode) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, "sandbox_workspace_write") {
        let (item, node) = (entry.item(), entry.node);
        if mode == Mode::ReadOnly {
            into.translated(item, "has no effect: the mode is read-only");
            continue;
        }
        let on = matches!(node.value, Value::Bool(true));
        match key {
            "writable_roots" if into.standing == Standing::Narrows => {
                into.not(item, "a layer that narrows grants no paths");
            }
            "writable_roots" => {
                into.layer.filesystem.write =
                    Some(into.listed(item, Spelling::Plain, writable_root));
            }
            "network_access" if on && into.layer.network.mode.is_some() => {
                into.translated(item, "has no effect: a profile denies the network");
            }
            "network_access" if on && mode == Mode::WorkspaceWrite => {
                into.layer.network.mode = Some(into.sourced(node, net::Mode::Open));
                into.translated(item, "network.mode = \"open\": public names at ports 80 and 443; Codex allows every address and port");
            }
            "network_access" if on => into.not(item, "this mode has no network"),
            "network_access" if node.value == Value::Bool(false) => {
                into.enforced(item, "network.mode = \"none\"");
            }
            "network_access" => into.other_type(item, "true or false"),
            "exclude_slash_tmp" | "exclude_tmpdir_env_var" => {
                into.translated(item, "the jail has its own /tmp and never the host's");
            }
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn writable_root(path: &str) -> Taken {
    match path {
        "$WORKSPACE" => Taken::Left(Enforced, "filesystem.workspace = \"rw\"".into()),
        _ if paths::is_whole(path) => {
            Taken::Left(NotHonoured, format!("{path} is too wide to be writable"))
        }
        _ => Taken::As(Enforced, "filesystem.write".into()),
    }
}

fn environment(into: &mut Source, of: &Table) {
    for (key, entry) in entries(of, "shell_environment_policy") {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("set", Some(variables)) => {
                for (variable, entry) in entries(variables, item.key) {
                    set(into, entry.item(), variable);
                }
            }
            ("exclude", _) => into.enforced(
                item,
                "the environment has only the variables of [environment]",
            ),
            ("inherit", _) if node.as_str() == Some("none") => {
                into.enforced(
                    item,
                    "the environment has only the variables of [environment]",
                );
            }
            _ => into.not(
                item,
                "the environment has only the variables of [environment]",
            ),
        }
    }
}

fn set(into: &mut Source, item: Item, variable: &str) {
    let value = Node::as_str(item.node).filter(|value| !value.contains('\0'));
    match value {
        Some(value) if is_variable_name(variable) && !is_reserved(variable) => {
            let value = into.sourced(item.node, value.to_owned());
            into.layer
                .environment
                .set
                .get_or_insert_default()
                .insert(variable.to_owned(), value);
            into.enforced(item, "environment.set");
        }
        _ => into.not(item, "is not a variable that a policy may set"),
    }
}
