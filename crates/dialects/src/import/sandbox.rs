//! OpenClaw's `sandbox`: converts the settings of its container to those of the jail.
//!
//! If several tables have a key, the last one counts; environments and binds add up. If sandboxing is on,
//! its defaults apply too: no workspace, and the sandbox's default tools.

use std::collections::BTreeSet;

use super::defaults;
use super::lists::Lists;
use super::paths::{self, Spelling};
use super::source::{Item, Source, entries, table};
use creel_policy::error::PolicyError;
use creel_policy::file::{is_reserved, is_variable_name};
use creel_policy::layer::Limits;
use creel_policy::path_set::within;
use creel_policy::tools::Pattern;
use creel_policy::tree::{Node, Table, Value};
use creel_policy::units::{Bytes, Count, CpuShare};
use creel_policy::words::NameList;
use creel_policy::{Absent, Grant, SYSTEM_TREES, Sourced, WorkspaceMode, is_place, net};

/// Suffixes of variable names that OpenClaw keeps out of a sandbox.
const SECRET: [&str; 5] = ["API_KEY", "TOKEN", "PASSWORD", "PRIVATE_KEY", "SECRET"];
/// Paths that OpenClaw refuses to bind, with everything beneath them.
const NEVER: NameList = NameList(
    "/ /etc /proc /sys /dev /boot /root /run /var/run ~/.aws ~/.cargo ~/.config ~/.docker
     ~/.gnupg ~/.netrc ~/.npm ~/.ssh",
);

/// The directory that the sandbox has as its workspace.
#[derive(Clone, Copy)]
enum Shown {
    Workspace,
    Fresh,
}

pub fn read(
    into: &mut Source,
    lists: &mut Lists,
    boxes: &[(String, &Table)],
    top: &Table,
) -> Result<(), PolicyError> {
    let last = |key: &str| boxes.iter().rev().find_map(|(_, of)| of.get(key));
    let mode = last("mode");
    let on = mode.is_some_and(|node| node.as_str() != Some("off"));
    let shared = last("scope").and_then(Node::as_str) == Some("shared");
    let shown = match last("workspaceAccess").and_then(Node::as_str) {
        None if on => Shown::Fresh,
        Some("none") => Shown::Fresh,
        _ => Shown::Workspace,
    };
    let aside = |above: &str| {
        shared && above.starts_with("agents.") && !above.starts_with("agents.defaults.")
    };
    for (at, (above, of)) in boxes.iter().enumerate() {
        let later = boxes.get(at + 1..).unwrap_or_default();
        for (key, entry) in entries(of, above) {
            let (item, node) = (entry.item(), entry.node);
            let adds_up = matches!(key, "docker" | "browser");
            if !adds_up && later.iter().any(|(_, of)| of.get(key).is_some()) {
                into.translated(item, "the agent's own value applies instead");
                continue;
            }
            match (key, table(node)) {
                ("docker", Some(_)) if aside(above) => into.translated(
                    item,
                    "under the shared scope, an agent's own container is ignored",
                ),
                ("docker", Some(docker)) => {
                    let later = later.iter().filter(|(above, _)| !aside(above));
                    let later: Vec<&Table> = later
                        .filter_map(|(_, of)| table(of.get("docker")?))
                        .collect();
                    container(into, docker, item.key, &later, shown)?;
                }
                _ => one(into, item, key)?,
            }
        }
    }
    let Some(mode) = mode.filter(|_| on) else {
        return Ok(());
    };
    if last("workspaceAccess").is_none() {
        into.layer.filesystem.workspace = Some(into.sourced(mode, WorkspaceMode::None));
        let key = "sandbox.workspaceAccess";
        into.translated(Item { key, node: mode }, "is \"none\" if it is omitted");
    }
    let own = |into: &Source, list: &str| {
        let key = format!("tools.sandbox.tools.{list}");
        into.report.iter().any(|entry| entry.key.contains(&key))
    };
    let (tables, version) = defaults::of(top);
    // A configured list replaces only the default list of the same name.
    if !own(into, "allow") {
        for table in tables {
            let words = table.allow.iter();
            let words = words.flat_map(|name| Pattern::parse(name).unwrap_or_default());
            let list = into.sourced(mode, words.collect());
            lists.narrow(list);
        }
        let key = "tools.sandbox.tools.allow";
        let how = format!("the sandbox's default list of tools {version}, if it is omitted");
        into.translated(Item { key, node: mode }, how);
    }
    if !own(into, "deny") {
        let names: BTreeSet<&str> = tables.iter().flat_map(|t| t.deny.iter()).collect();
        names.iter().for_each(|name| into.deny_tool(mode, name));
        let key = "tools.sandbox.tools.deny";
        let how = format!("the sandbox's default denials {version}, if it is omitted");
        into.translated(Item { key, node: mode }, how);
    }
    Ok(())
}

fn one(into: &mut Source, item: Item, name: &str) -> Result<(), PolicyError> {
    match name {
        "mode" => {
            let mode = into.word(item, "\"off\", \"non-main\" or \"all\"")?;
            into.layer.session.mode = Some(mode);
            into.translated(
                item,
                "session.mode, kept as data: every command gets a jail",
            );
        }
        "scope" => {
            let scope = into.word(item, "\"session\", \"agent\" or \"shared\"")?;
            into.layer.session.scope = Some(scope);
            into.translated(
                item,
                "session.scope, kept as data: every command gets a jail",
            );
        }
        "workspaceAccess" => {
            let mode = into.word(item, "\"none\", \"ro\" or \"rw\"")?;
            into.layer.filesystem.workspace = Some(mode);
            into.enforced(item, "filesystem.workspace");
        }
        "backend" => into.translated(item, "the jail is the backend"),
        "workspaceRoot" => into.not(
            item,
            "the workspace is --workspace or the current directory",
        ),
        "docker" => return Err(into.wrong_type(item, "a table")),
        "ssh" | "browser" | "prune" => into.not(item, "belongs to a backend other than creel"),
        _ => into.not(item, "creel does not know this key"),
    }
    Ok(())
}

fn container(
    into: &mut Source,
    docker: &Table,
    above: &str,
    later: &[&Table],
    shown: Shown,
) -> Result<(), PolicyError> {
    for (key, entry) in entries(docker, above) {
        let (item, node) = (entry.item(), entry.node);
        let adds_up = matches!(key, "env" | "binds" | "ulimits");
        if !adds_up && later.iter().any(|of| of.get(key).is_some()) {
            into.translated(item, "the agent's own value applies instead");
            continue;
        }
        match key {
            "network" => {
                into.layer.network.mode = Some(into.sourced(node, net::Mode::None));
                match node.as_str() {
                    Some("none") => into.enforced(item, "network.mode"),
                    _ => into.not(
                        item,
                        "networks are not converted: name the hosts under network.allow",
                    ),
                }
            }
            "memory" => {
                let limit = number(node).and_then(|text| Bytes::parse_foreign(&text).ok());
                limit_of(into, item, limit, |l| &mut l.memory, "limits.memory");
            }
            "cpus" => {
                let limit = number(node).and_then(|text| CpuShare::parse(&text).ok());
                limit_of(into, item, limit, |l| &mut l.cpus, "limits.cpus");
            }
            "pidsLimit" => {
                let limit = number(node).and_then(|text| Count::parse(&text).ok());
                limit_of(into, item, limit, |l| &mut l.pids, "limits.pids");
            }
            "memorySwap" => into.not(item, "a jail has no swap"),
            "env" => environment(into, item),
            "binds" => binds(into, item),
            "readOnlyRoot" => match node.value {
                Value::Bool(true) => into.enforced(item, "the root is read-only, always"),
                _ => into.not(item, "the root is read-only, always"),
            },
            "capDrop" => into.enforced(item, "the jail never has capabilities"),
            "tmpfs" => into.translated(item, "/tmp, /var/tmp and the home are tmpfs, always"),
            "ulimits" => ulimits(into, item),
            "seccompProfile" | "apparmorProfile" => into.not(item, "creel's own filter applies"),
            "image" | "containerPrefix" | "setupCommand" => {
                into.not(
                    item,
                    "creel uses no container: programs come from the host, as granted",
                );
            }
            "workdir" => workdir(into, item, shown),
            "user" => into.not(item, "the jail's user is the workspace's owner"),
            "gpus" => into.not(item, "the jail has no devices of the host"),
            "dns" | "extraHosts" => into.not(item, "names are resolved outside of the jail"),
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

/// The path of the workspace, unless it is a fresh one.
fn workdir(into: &mut Source, item: Item, shown: Shown) {
    match (item.node.as_str().filter(|path| is_place(path)), shown) {
        (Some(path), Shown::Workspace) => {
            let at = into.sourced(item.node, path.to_owned());
            into.layer.filesystem.workspace_at = Some(at);
            into.enforced(item, "filesystem.workspace_at");
        }
        (Some("/workspace"), Shown::Fresh) => into.enforced(item, "a fresh workspace is there"),
        (Some(_), Shown::Fresh) => into.not(item, "a fresh workspace is at /workspace"),
        (None, _) => into.not(item, "is not an absolute path"),
    }
}

/// A number or a text, in the notation of creel's units.
fn number(node: &Node) -> Option<String> {
    match &node.value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(text) | Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn limit_of<T>(
    into: &mut Source,
    item: Item,
    limit: Option<T>,
    slot: fn(&mut Limits) -> &mut Option<Sourced<T>>,
    name: &str,
) {
    match limit {
        Some(limit) => {
            into.enforced(item, name);
            *slot(&mut into.layer.limits) = Some(into.sourced(item.node, limit));
        }
        None => into.not(
            item,
            "is not a limit that creel accepts; creel's default applies",
        ),
    }
}

fn environment(into: &mut Source, item: Item) {
    let Some(variables) = table(item.node) else {
        return into.other_type(item, "a table");
    };
    for (key, entry) in entries(variables, item.key) {
        let (item, node) = (entry.item(), entry.node);
        let upper = key.to_ascii_uppercase();
        if SECRET.iter().any(|end| upper.ends_with(end)) {
            into.not(
                item,
                "looks like a credential, which OpenClaw leaves out too",
            );
        } else if !is_variable_name(key) || is_reserved(key) {
            into.not(item, "is not a name that a policy may set");
        } else if let Some(value) = node.as_str().filter(|value| !value.contains('\0')) {
            let value = into.sourced(node, value.to_owned());
            into.layer
                .environment
                .set
                .get_or_insert_default()
                .insert(key.to_owned(), value);
            into.enforced(item, "environment.set");
        } else {
            into.other_type(item, "a string without NUL");
        }
    }
}

/// `source:target:mode`.
fn binds(into: &mut Source, item: Item) {
    if into.narrows(item) {
        return;
    }
    into.if_empty(item, "grants nothing");
    for word in into.words(item) {
        let bind = word.text();
        let mut parts = bind.split(':');
        let source = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or(source);
        let options = parts.next().unwrap_or_default();
        let granted = paths::granted(source, Spelling::Plain);
        let never = |tree: &str| {
            granted
                .as_deref()
                .is_ok_and(|path| path == tree || tree != "/" && within(path, tree))
        };
        if NEVER.iter().any(never) {
            into.not(
                word.item(),
                format!("'{bind}': OpenClaw and creel refuse that path"),
            );
            continue;
        }
        let path = match granted {
            Ok(path) if parts.next().is_none() => path,
            Ok(_) => {
                into.not(
                    word.item(),
                    format!("'{bind}' is not SOURCE:TARGET:OPTIONS"),
                );
                continue;
            }
            Err(fault) => {
                into.not(word.item(), format!("path '{source}' {fault}"));
                continue;
            }
        };
        let at = (source != target).then(|| target.to_owned());
        if let Some(at) = &at {
            let own = ["/workspace", "/agent"].contains(&at.as_str());
            let system = SYSTEM_TREES.iter().any(|tree| within(at, tree));
            if own || system || !is_place(at) || paths::is_never(at) {
                into.not(
                    word.item(),
                    format!("'{bind}': OpenClaw or creel has no place for it at {at}"),
                );
                continue;
            }
        }
        let written = !options.split(',').any(|option| option == "ro");
        let grant = into.grant(word.item().node, path, Absent::Refuse);
        into.give_grant(word.item(), Grant { at, ..grant }, written);
    }
}

fn ulimits(into: &mut Source, item: Item) {
    let Some(all) = table(item.node) else {
        return into.other_type(item, "a table");
    };
    for (key, entry) in entries(all, item.key) {
        let (item, node) = (entry.item(), entry.node);
        let (Some(of), "nofile" | "fsize") = (table(node), key) else {
            ulimit(into, item, key);
            continue;
        };
        let counts = ["soft", "hard"]
            .into_iter()
            .find(|key| of.get(key).is_some());
        for (part, entry) in entries(of, item.key) {
            let item = entry.item();
            match part {
                part if Some(part) == counts => ulimit(into, item, key),
                "hard" => into.translated(item, "the soft limit applies and cannot be raised"),
                _ => into.not(item, "creel does not know this key"),
            }
        }
    }
}

fn ulimit(into: &mut Source, item: Item, name: &str) {
    let text = number(item.node);
    match name {
        "nofile" => {
            let limit = text.and_then(|text| Count::parse(&text).ok());
            limit_of(
                into,
                item,
                limit,
                |l| &mut l.open_files,
                "limits.open_files",
            );
        }
        "fsize" => {
            let limit = text.and_then(|text| Bytes::parse_foreign(&text).ok());
            limit_of(into, item, limit, |l| &mut l.file_size, "limits.file_size");
        }
        _ => into.not(
            item,
            "creel does not limit it, or limits it through the jail's cgroup",
        ),
    }
}
