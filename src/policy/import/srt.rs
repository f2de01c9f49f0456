//! Settings of Anthropic's sandbox-runtime (`~/.srt-settings.json`).
//!
//! There everything is readable that is not denied, and nothing is writable that is not allowed. Here
//! nothing is there that is not granted: the system's programs, the workspace, and what is allowed.

use super::paths;
use super::source::{Item, Source, Standing, join, stricter, table};
use crate::policy::error::PolicyError;
use crate::policy::layer::Layer;
use crate::policy::tools::Tool;
use crate::policy::tree::{Node, Table, Value};
use crate::policy::{Absent, Grant, WorkspaceMode, net};

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    for (key, node) in top.entries() {
        let item = Item {
            key: &key.name,
            node,
        };
        match (key.name.as_str(), table(node)) {
            ("network", Some(of)) => network(into, of, node)?,
            ("filesystem", Some(of)) => filesystem(into, of)?,
            ("credentials", Some(of)) => credentials(into, of)?,
            ("network" | "filesystem" | "credentials", None) => {
                return Err(into.wrong_type(item, "a table"));
            }
            ("ignoreViolations", _) => into.not(item, "a denial is always told"),
            ("allowPty", _) => into.translated(item, "a jail has terminals of its own"),
            (
                "enableWeakerNestedSandbox" | "enableWeakerNetworkIsolation" | "allowAppleEvents",
                _,
            ) => match node.value {
                Value::Bool(false) => into.enforced(item, "nothing is weakened"),
                _ => into.not(item, "nothing is weakened; see allow_degraded"),
            },
            (
                "ripgrep"
                | "mandatoryDenySearchDepth"
                | "seccomp"
                | "bwrapPath"
                | "socatPath"
                | "javaAgentJarPath"
                | "windows"
                | "git",
                _,
            ) => into.not(item, "a part of that program, which creel does not have"),
            _ => into.not(item, "creel knows no such key"),
        }
    }
    Ok(())
}

fn network(into: &mut Source, of: &Table, section: &Node) -> Result<(), PolicyError> {
    into.layer.network.mode = Some(into.sourced(section, net::Mode::None));
    into.layer.network.allow = Some(vec![]);
    for (key, node) in of.entries() {
        let name = join("network", &key.name);
        let item = Item { key: &name, node };
        let empty = match &node.value {
            Value::Array(nodes) => nodes.is_empty(),
            Value::Bool(value) => !value,
            _ => false,
        };
        match key.name.as_str() {
            "allowedDomains" if empty => into.enforced(item, "network.mode = \"none\""),
            "allowedDomains" => {
                let rules = destinations(into, item);
                if !rules.is_empty() {
                    let mode = into.sourced(node, net::Mode::Allowlist);
                    into.layer.network.mode = Some(mode);
                    into.translated(item, "network.allow, at ports 80 and 443");
                }
                into.layer.network.allow = Some(rules);
            }
            "deniedDomains" => {
                into.layer.network.deny = denied(into, item)?;
                into.enforced(item, "network.deny");
            }
            "strictAllowlist" => into.enforced(item, "what no list has is denied"),
            "deniedDomainReasons" => into.not(item, "a denial names its rule"),
            "allowUnixSockets" | "allowAllUnixSockets" if empty => {
                into.enforced(item, "no socket of the host is in the jail");
            }
            "allowUnixSockets" | "allowAllUnixSockets" => {
                into.not(item, "no socket of the host is in the jail");
            }
            "allowLocalBinding" => into.translated(item, "the jail's loopback is its own"),
            "allowMachLookup" => into.not(item, "macOS alone has it"),
            _ => into.not(item, "the way out is creel's own"),
        }
    }
    Ok(())
}

/// The hosts of a list that denies.
fn denied(into: &Source, item: Item) -> Result<Vec<net::Rule>, PolicyError> {
    let Value::Array(_) = &item.node.value else {
        return Err(into.wrong_type(item, "an array of domains"));
    };
    let one = |word: Item| {
        let text = word.node.as_str().unwrap_or_default();
        let rule = net::Rule::denial(text, into.origin(word.node));
        rule.map_err(|fault| PolicyError::Network {
            at: into.text.place(word.node.span.start),
            fault: net::NetworkFault::Destination {
                key: item.key.to_owned(),
                text: text.to_owned(),
                fault,
            },
        })
    };
    into.strict_words(item)?.into_iter().map(one).collect()
}

/// The hosts of a list that grants; one that cannot be read is told, and grants nothing.
fn destinations(into: &mut Source, item: Item) -> Vec<net::Rule> {
    let Value::Array(nodes) = &item.node.value else {
        into.other_type(item, "an array of domains");
        return vec![];
    };
    let mut rules = vec![];
    for node in nodes {
        let text = node.as_str().unwrap_or_default();
        match net::Rule::of_text(text, into.origin(node)) {
            Ok(rule) if rule.to != net::To::Any => rules.push(rule),
            Ok(_) => into.not(Item { node, ..item }, "every name is more than a list"),
            Err(fault) => into.not(Item { node, ..item }, fault.to_string()),
        }
    }
    rules
}

fn filesystem(into: &mut Source, of: &Table) -> Result<(), PolicyError> {
    let reopened: Vec<String> = match of.get("allowRead") {
        Some(node) => into
            .words(Item {
                key: "filesystem.allowRead",
                node,
            })
            .iter()
            .filter_map(|word| paths::granted(word.node.as_str()?).ok())
            .collect(),
        None => vec![],
    };
    // Said once, beside the key itself.
    into.report
        .retain(|entry| entry.key != "filesystem.allowRead");
    // First: what is opened again depends on it.
    if let Some(node) = of.get("denyRead") {
        let key = "filesystem.denyRead";
        deny_read(into, Item { key, node }, &reopened)?;
    }
    for (key, node) in of.entries() {
        let name = join("filesystem", &key.name);
        let item = Item { key: &name, node };
        match key.name.as_str() {
            "denyRead" => {}
            "allowRead" if into.whole => {
                into.grants(item, exec_list, "filesystem.exec: nothing else is there");
            }
            "allowRead" => into.grants(item, read_list, "filesystem.read; a denial still wins"),
            "allowWrite" => allow_write(into, item),
            "denyWrite" => {
                let places = into.denials(item)?;
                into.layer.filesystem.protect.extend(places);
                into.enforced(item, "filesystem.protect");
            }
            "allowGitConfig" => match node.value {
                Value::Bool(false) => into.enforced(item, "trust paths are protected"),
                _ => into.not(item, "trust paths are protected; see filesystem.unprotect"),
            },
            "disabled" => match node.value {
                Value::Bool(false) => into.enforced(item, "the grants hold, always"),
                _ => into.not(item, "the grants hold, always"),
            },
            _ => into.not(item, "creel knows no such key"),
        }
    }
    if of.get("allowWrite").is_none() {
        // Nothing is writable that is not allowed.
        let Some((_, node)) = of.entries().first() else {
            return Ok(());
        };
        into.deny_tool(node, "write");
    }
    Ok(())
}

/// There what may be read may be executed.
fn exec_list(layer: &mut Layer) -> &mut Option<Vec<Grant>> {
    &mut layer.filesystem.exec
}

fn read_list(layer: &mut Layer) -> &mut Option<Vec<Grant>> {
    &mut layer.filesystem.read
}

/// A root that is denied as a whole and opened again in parts is not granted in the first place.
fn deny_read(into: &mut Source, item: Item, reopened: &[String]) -> Result<(), PolicyError> {
    let workspace = reopened.iter().any(|path| path == "$WORKSPACE");
    for denial in into.denials(item)? {
        match denial.path.as_str() {
            "/" if into.standing == Standing::Grants && !reopened.is_empty() => {
                into.whole = true;
                if !workspace {
                    let none = into.sourced(item.node, WorkspaceMode::None);
                    into.layer.filesystem.workspace = Some(none);
                }
                into.translated(
                    item,
                    "/ is denied: there is what allowRead opens, and nothing else",
                );
            }
            path @ ("~" | "/home" | "/root" | "/Users") if workspace => into.translated(
                item,
                format!("{path} is denied by not being granted; what allowRead opens is"),
            ),
            _ => into.layer.filesystem.deny.push(denial),
        }
    }
    into.enforced(item, "filesystem.deny");
    Ok(())
}

fn allow_write(into: &mut Source, item: Item) {
    let mut mode = WorkspaceMode::ReadOnly;
    let mut grants = vec![];
    for grant in into.listed(item) {
        match grant.path.as_str() {
            "$WORKSPACE" => mode = WorkspaceMode::ReadWrite,
            // The jail's own.
            "/tmp" | "/dev/shm" | "~" | "/var/tmp" => {}
            path if paths::is_whole(path) => {
                into.not(item, format!("{path} is too wide to be writable"));
            }
            _ => grants.push(grant),
        }
    }
    if mode == WorkspaceMode::ReadWrite {
        grants.retain(|grant| !grant.path.starts_with("$WORKSPACE/"));
    }
    let mode = into.sourced(item.node, mode);
    stricter(&mut into.layer.filesystem.workspace, mode.clone());
    let mode = mode.value;
    let nothing = matches!(&item.node.value, Value::Array(nodes) if nodes.is_empty());
    if nothing {
        into.deny_tool(item.node, "write");
    }
    match into.standing {
        Standing::Grants => {
            into.layer.filesystem.write = Some(grants);
            into.enforced(item, "filesystem.write and filesystem.workspace");
        }
        Standing::Narrows => {
            let workspace = into.grant(item.node, "$WORKSPACE".into(), Absent::Refuse);
            if mode == WorkspaceMode::ReadWrite {
                grants.push(workspace);
            }
            into.tool(Tool::Write).allowed_paths = Some(grants);
            into.enforced(item, "tools.write.allowed_paths and filesystem.workspace");
        }
    }
}

fn credentials(into: &mut Source, of: &Table) -> Result<(), PolicyError> {
    for (key, node) in of.entries() {
        let name = join("credentials", &key.name);
        let item = Item { key: &name, node };
        let Value::Array(entries) = &node.value else {
            into.not(item, "creel gives no credential to a jail");
            continue;
        };
        if key.name == "envVars" {
            into.enforced(item, "the environment has only what [environment] names");
            continue;
        }
        if key.name != "files" {
            into.not(item, "creel gives no credential to a jail");
            continue;
        }
        for entry in entries {
            let of = Item {
                key: &name,
                node: entry,
            };
            let path = table(entry).and_then(|entry| entry.get("path"));
            let Some(path) = path else {
                return Err(into.wrong_type(of, "a table with a `path`"));
            };
            let denials = into.denials(Item {
                key: &name,
                node: path,
            })?;
            into.layer.filesystem.deny.extend(denials);
            let mode = table(entry)
                .and_then(|entry| entry.get("mode"))
                .and_then(Node::as_str);
            match mode {
                Some("deny") => into.enforced(of, "filesystem.deny"),
                _ => into.translated(of, "filesystem.deny: a mask is not made"),
            }
        }
    }
    Ok(())
}
