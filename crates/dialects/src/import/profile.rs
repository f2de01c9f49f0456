//! Codex's permission profiles, `[permissions.NAME]`: what they deny.
//!
//! Grants of a profile are not converted: read-only applies. Its denials always apply; a denial that
//! cannot be read is an error.

use super::paths::Denial;
use super::source::{Item, Source, entries, inner, table, text};
use creel_policy::error::PolicyError;
use creel_policy::tree::{Node, Table, Value};
use creel_policy::{WorkspaceMode, net};

/// The longest chain of profiles that extend one another.
const MOST: usize = 32;
/// Names of the workspace among the keys of `filesystem`.
const WORKSPACE: [&str; 4] = [
    ":project_roots",
    ":workspace_roots",
    ":cwd",
    ":current_working_directory",
];
const ACCESS: &str = "\"read\", \"write\" or \"deny\"";

/// Reads `[permissions]`. `chosen`: the profiles that are selected.
pub fn read(into: &mut Source, all: &Table, chosen: &[&str]) -> Result<(), PolicyError> {
    let mut selected: Vec<&str> = chosen.to_vec();
    let mut at = 0;
    while let Some(name) = selected.get(at).filter(|_| at < MOST) {
        let more = inner(all, &[name]).and_then(|of| text(of, "extends"));
        selected.extend(more.filter(|more| !selected.contains(more)));
        at += 1;
    }
    for (profile, entry) in entries(all, "permissions") {
        let item = entry.item();
        let of = into.strict_table(item)?;
        match profile {
            chosen if selected.contains(&chosen) => whole(into, item, of)?,
            // An administrator's requirements have these keys directly, for every profile.
            "filesystem" => filesystem(into, item, of, &[])?,
            "network" => network(into, item, of)?,
            _ => into.translated(item, "is not the profile that is selected"),
        }
    }
    Ok(())
}

fn whole(into: &mut Source, above: Item, of: &Table) -> Result<(), PolicyError> {
    // A denial relative to the workspace roots applies in each of them.
    let roots: Vec<&str> = inner(of, &["workspace_roots"])
        .map(|roots| {
            roots
                .entries()
                .iter()
                .map(|(key, _)| key.name.as_str())
                .collect()
        })
        .unwrap_or_default();
    for (key, entry) in entries(of, above.key) {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("filesystem", Some(of)) => filesystem(into, item, of, &roots)?,
            ("network", Some(of)) => network(into, item, of)?,
            ("filesystem" | "network", None) => return Err(into.wrong_type(item, "a table")),
            ("extends", _) if node.as_str().is_none() => {
                return Err(into.wrong_type(item, "a string"));
            }
            ("extends", _) => into.translated(item, "the denials of that profile are added"),
            ("description", _) => into.translated(item, "has no equivalent in the kernel"),
            ("workspace_roots", _) => into.not(item, "grants of a profile are not converted"),
            _ => into.not(item, "affects neither tools nor the sandbox"),
        }
    }
    Ok(())
}

fn filesystem(
    into: &mut Source,
    above: Item,
    of: &Table,
    roots: &[&str],
) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, above.key) {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("glob_scan_max_depth", None) => match &node.value {
                Value::Integer(_) => into.translated(item, "the pattern matches at every depth"),
                _ => return Err(into.wrong_type(item, "a number")),
            },
            ("deny_read", _) => {
                let denials = into.denials(item, Denial::Sight, "filesystem.deny", |_| None)?;
                into.layer.filesystem.deny.extend(denials);
            }
            (place, Some(beneath)) => {
                for (key, beneath) in entries(beneath, item.key) {
                    one(into, beneath.item(), place, key, roots)?;
                }
                if beneath.entries().is_empty() {
                    into.translated(item, "denies nothing");
                }
            }
            (place, None) => one(into, item, place, ".", roots)?,
        }
    }
    Ok(())
}

/// `place` is a path or a name with a colon, `beneath` a path relative to it.
fn one(
    into: &mut Source,
    item: Item,
    place: &str,
    beneath: &str,
    roots: &[&str],
) -> Result<(), PolicyError> {
    match item.node.as_str() {
        Some("none" | "deny") => {}
        Some("read" | "write") => {
            into.not(
                item,
                "grants of a profile are not converted; name them under filesystem",
            );
            return Ok(());
        }
        _ => return Err(into.wrong_type(item, ACCESS)),
    }
    let below = |root: &str| match (root.trim_end_matches('/'), beneath.trim_start_matches("./")) {
        (root, "." | "") => root.to_owned(),
        (root, beneath) => format!("{root}/{}", beneath.trim_start_matches('/')),
    };
    match place {
        _ if WORKSPACE.contains(&place) => {
            if matches!(beneath, "." | "" | "./" | "**") {
                let none = into.sourced(item.node, WorkspaceMode::None);
                into.layer.filesystem.workspace = Some(none);
                into.enforced(item, "filesystem.workspace = \"none\"");
            } else {
                deny(into, item, &below("$WORKSPACE"))?;
            }
            roots
                .iter()
                .try_for_each(|root| deny(into, item, &below(root)))
        }
        ":tmpdir" | ":slash_tmp" => {
            into.translated(item, "the jail has its own /tmp and never the host's");
            Ok(())
        }
        ":root" => deny(
            into,
            item,
            &match below("/") {
                whole if whole.is_empty() => "/".to_owned(),
                path => path,
            },
        ),
        special if special.starts_with(':') => {
            Err(into.wrong_type(item, "a path that creel knows"))
        }
        path => deny(into, item, &below(path)),
    }
}

fn deny(into: &mut Source, item: Item, path: &str) -> Result<(), PolicyError> {
    let node = Node {
        value: Value::String(path.to_owned()),
        ..item.node.clone()
    };
    let denials = into.denials(
        Item {
            node: &node,
            ..item
        },
        Denial::Sight,
        "filesystem.deny",
        |_| None,
    )?;
    into.layer.filesystem.deny.extend(denials);
    Ok(())
}

fn network(into: &mut Source, above: Item, of: &Table) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, above.key) {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("enabled", _) if into.strict_switch(item)? => {
                into.not(item, "this mode has no network")
            }
            ("enabled", _) => no_network(into, item),
            ("domains", Some(domains)) => {
                for (domain, entry) in entries(domains, item.key) {
                    host(into, entry.item(), domain)?;
                }
            }
            ("denied_domains", None) => {
                into.if_empty(item, "denies nothing");
                for word in into.strict_words(item)? {
                    let rule = into.denied_host(item.key, word.text(), word.node.span.start)?;
                    into.layer.network.deny.push(rule);
                    into.enforced(word.item(), "network.deny");
                }
            }
            ("domains", None) | ("denied_domains", Some(_)) => {
                return Err(into.wrong_type(item, "a table of domains"));
            }
            ("unix_sockets" | "allow_unix_sockets", _) => {
                into.not(item, "the jail has no sockets of the host");
            }
            _ => into.not(item, "the jail's only network access is creel's relay"),
        }
    }
    Ok(())
}

fn no_network(into: &mut Source, item: Item) {
    into.layer.network.mode = Some(into.sourced(item.node, net::Mode::None));
    into.enforced(item, "network.mode = \"none\"");
}

fn host(into: &mut Source, item: Item, domain: &str) -> Result<(), PolicyError> {
    match item.node.as_str() {
        Some("allow") => into.not(
            item,
            "grants of a profile are not converted; see network.allow",
        ),
        Some("none" | "deny") if domain == "*" => no_network(into, item),
        Some("none" | "deny") => {
            let rule = into.denied_host(item.key, domain, item.node.span.start)?;
            into.layer.network.deny.push(rule);
            into.enforced(item, "network.deny");
        }
        _ => return Err(into.wrong_type(item, "\"allow\" or \"deny\"")),
    }
    Ok(())
}
