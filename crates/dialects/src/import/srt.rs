//! Settings of Anthropic's sandbox-runtime (`~/.srt-settings.json`).
//!
//! In sandbox-runtime everything is readable unless denied, and nothing is writable unless allowed. Here
//! only granted paths are present: the system's programs, the workspace, and the allowed paths.

use super::paths::{self, Denial, Spelling};
use super::report::Fate::{Enforced, NotHonoured, Translated};
use super::source::{
    Element, Item, Source, Standing, Taken, elements, entries, join, stricter, table,
};
use creel_policy::error::PolicyError;
use creel_policy::glob::is_pattern;
use creel_policy::layer::Layer;
use creel_policy::path_set::within;
use creel_policy::tools::Tool;
use creel_policy::tree::{Node, Table, Value};
use creel_policy::{Absent, Grant, WorkspaceMode, net};

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    for (key, entry) in entries(top, "") {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("network", Some(of)) => network(into, of, node, "network")?,
            ("filesystem", Some(of)) => filesystem(into, of, "filesystem", Cwd::Listed)?,
            ("credentials", Some(of)) => credentials(into, of, "credentials")?,
            ("network" | "filesystem" | "credentials", None) => {
                return Err(into.wrong_type(item, "a table"));
            }
            ("ignoreViolations", _) => into.not(item, "denials are always reported"),
            ("allowPty", _) => into.translated(item, "a jail has its own terminals"),
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
            ) => into.not(
                item,
                "a component of that program, which creel does not have",
            ),
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

/// Whether the working directory is writable only if it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cwd {
    Listed,
    Writable,
}

/// Reads the network section; `above` is its name.
pub fn network(
    into: &mut Source,
    of: &Table,
    section: &Node,
    above: &str,
) -> Result<(), PolicyError> {
    into.layer.network.mode = Some(into.sourced(section, net::Mode::None));
    into.layer.network.allow = Some(vec![]);
    for (key, entry) in entries(of, above) {
        let (item, node) = (entry.item(), entry.node);
        let empty = match &node.value {
            Value::Array(nodes) => nodes.is_empty(),
            Value::Bool(value) => !value,
            _ => false,
        };
        match key {
            "allowedDomains" if empty => into.enforced(item, "network.mode = \"none\""),
            "allowedDomains" => {
                let rules = destinations(into, item);
                if !rules.is_empty() {
                    let mode = into.sourced(node, net::Mode::Allowlist);
                    into.layer.network.mode = Some(mode);
                }
                into.layer.network.allow = Some(rules);
            }
            "deniedDomains" | "deniedResolvedAddresses" => {
                let rules = denied(into, item)?;
                into.layer.network.deny.extend(rules);
            }
            "strictAllowlist" => into.enforced(item, "everything without a rule is denied"),
            "deniedDomainReasons" => into.not(item, "denials name their rule"),
            "allowUnixSockets" | "allowAllUnixSockets" if empty => {
                into.enforced(item, "the jail has no sockets of the host");
            }
            "allowUnixSockets" | "allowAllUnixSockets" => {
                into.not(item, "the jail has no sockets of the host");
            }
            "allowLocalBinding" => into.translated(item, "the jail has its own loopback"),
            "allowMachLookup" => into.not(item, "exists on macOS only"),
            _ => into.not(item, "the jail's only network access is creel's relay"),
        }
    }
    Ok(())
}

/// The hosts of a list of denials.
fn denied(into: &mut Source, item: Item) -> Result<Vec<net::Rule>, PolicyError> {
    let Value::Array(_) = &item.node.value else {
        return Err(into.wrong_type(item, "an array of domains or addresses"));
    };
    into.if_empty(item, "denies nothing");
    let mut rules = vec![];
    for word in into.strict_words(item)? {
        rules.push(into.denied_host(item.key, word.text(), word.node.span.start)?);
        into.enforced(word.item(), "network.deny");
    }
    Ok(rules)
}

/// The hosts of a list of grants; an invalid one is reported, and grants nothing.
fn destinations(into: &mut Source, item: Item) -> Vec<net::Rule> {
    let Value::Array(_) = &item.node.value else {
        into.other_type(item, "an array of domains");
        return vec![];
    };
    let mut rules = vec![];
    for word in elements(item) {
        match net::Rule::of_text(word.text(), into.origin(word.node)) {
            Ok(rule) if rule.to != net::To::Any => {
                rules.push(rule);
                into.translated(word.item(), "network.allow, at ports 80 and 443");
            }
            Ok(_) => into.not(word.item(), "a rule for every name is wider than a list"),
            Err(fault) => into.not(word.item(), fault.to_string()),
        }
    }
    rules
}

/// Like [`network`], for the section of paths.
pub fn filesystem(into: &mut Source, of: &Table, above: &str, cwd: Cwd) -> Result<(), PolicyError> {
    let listed = |key: &str| listed(of, key);
    let open = Open {
        read: listed("allowRead"),
        write: listed("allowWrite"),
    };
    let mut spared = vec![];
    // First, because what is allowed again depends on it.
    if let Some(node) = of.get("denyRead") {
        let key = &join(above, "denyRead");
        spared = deny_read(into, Item { key, node }, &open)?;
    }
    for (key, entry) in entries(of, above) {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "denyRead" => {}
            "allowRead" if into.whole => {
                into.grants(
                    item,
                    exec_list,
                    "filesystem.exec: nothing else exists in the jail",
                );
            }
            "allowRead" => into.grants(item, read_list, "filesystem.read; a denial still wins"),
            "allowWrite" => allow_write(into, item, cwd, |path| open.leaves(&spared, path)),
            "denyWrite" => {
                let list = "filesystem.protect";
                let places = into.denials(item, Denial::AtStart, list, |_| None)?;
                into.layer.filesystem.protect.extend(places);
            }
            "allowGitConfig" => match node.value {
                Value::Bool(false) => into.enforced(item, "trust paths are protected"),
                _ => into.not(item, "trust paths are protected; see filesystem.unprotect"),
            },
            "disabled" => match node.value {
                Value::Bool(false) => into.enforced(item, "the grants hold, always"),
                _ => into.not(item, "the grants hold, always"),
            },
            _ => into.not(item, "creel does not know this key"),
        }
    }
    if of.get("allowWrite").is_none() && cwd == Cwd::Listed {
        // Nothing is writable unless allowed.
        let Some((_, node)) = of.entries().first() else {
            return Ok(());
        };
        into.deny_tool(node, "write");
    }
    Ok(())
}

/// In sandbox-runtime, readable files are executable.
fn exec_list(layer: &mut Layer) -> &mut Option<Vec<Grant>> {
    &mut layer.filesystem.exec
}

fn read_list(layer: &mut Layer) -> &mut Option<Vec<Grant>> {
    &mut layer.filesystem.read
}

/// Directories that contain homes, and a home.
const ROOTS: [&str; 4] = ["~", "/home", "/root", "/Users"];

/// The paths in a list of grants.
fn listed(of: &Table, key: &str) -> Vec<String> {
    let words = of.get(key).map(|node| elements(Item { key, node }));
    let words = words.unwrap_or_default();
    let text = |word: &Element| {
        let of = table(word.node);
        let path = of.map_or(Some(word.node), |of| of.get("path"))?;
        paths::granted(path.as_str()?, Spelling::Globs).ok()
    };
    words.iter().filter_map(text).collect()
}

/// Paths that a file allows in spite of its denials.
struct Open {
    read: Vec<String>,
    write: Vec<String>,
}

impl Open {
    /// Whether a path may lie in a directory that is denied by not being granted, without being allowed
    /// again. A path from `/` may lie in the home.
    fn leaves(&self, spared: &[String], path: &str) -> bool {
        let holds = |denied: &String| {
            within(path, denied) || path.starts_with('/') != denied.starts_with('/')
        };
        spared.iter().any(holds)
            && !path.starts_with('$')
            && !self.read.iter().any(|open| within(path, open))
    }

    /// Whether a directory can be denied by not granting it: `allowRead` allows a part of it again, and
    /// nothing else in it is granted. The workspace may lie in any directory, and is itself allowed.
    fn spares(&self, denied: &str) -> bool {
        let again = |path: &str| self.read.iter().any(|open| within(path, open));
        let part = |path: &&String| within(path, denied);
        let plain = [
            "~/", "/home/", "/root/", "/srv/", "/opt/", "/mnt/", "/data/",
        ];
        again("$WORKSPACE")
            && !is_pattern(denied)
            && plain.iter().any(|root| denied.starts_with(root))
            && self.read.iter().any(|path| path != denied && part(&path))
            // A path from `/` may lie in the home.
            && self.write.iter().all(|path| {
                again(path) || !part(&path) && (path.starts_with('/') == denied.starts_with('/'))
            })
            && self.read.iter().all(|path| {
                within(path, denied) || path.starts_with('$') || path.starts_with('/') == denied.starts_with('/')
            })
    }
}

/// A root that is denied as a whole and allowed again in parts is never granted. Returns the directories
/// that are denied in this way.
fn deny_read(into: &mut Source, item: Item, open: &Open) -> Result<Vec<String>, PolicyError> {
    let mut spared = vec![];
    let workspace = open.read.iter().any(|path| path == "$WORKSPACE");
    let opens = into.standing == Standing::Grants && !open.read.is_empty();
    let mut whole = false;
    let denials = into.denials(
        item,
        Denial::AtStart,
        "filesystem.deny",
        |denied| match denied.path() {
            "/" if opens => {
                whole = true;
                Some("/ is denied: the jail has the paths of allowRead and nothing else".into())
            }
            path if workspace && ROOTS.contains(&path) || opens && open.spares(path) => {
                spared.push(path.to_owned());
                Some(format!(
                    "{path} is denied because it is not granted; the paths of allowRead are granted"
                ))
            }
            _ => None,
        },
    )?;
    into.layer.filesystem.deny.extend(denials);
    if whole {
        into.whole = true;
        if !workspace {
            let none = into.sourced(item.node, WorkspaceMode::None);
            into.layer.filesystem.workspace = Some(none);
        }
    }
    Ok(spared)
}

fn allow_write(into: &mut Source, item: Item, cwd: Cwd, leaves: impl Fn(&str) -> bool) {
    let is_workspace = |text| paths::granted(text, Spelling::Globs).as_deref() == Ok("$WORKSPACE");
    let all = elements(item);
    let whole = cwd == Cwd::Writable
        || all
            .iter()
            .any(|word| word.node.as_str().is_some_and(is_workspace));
    let mut grants = into.listed(item, Spelling::Globs, |path| match path {
        "$WORKSPACE" => Taken::Left(Enforced, "filesystem.workspace = \"rw\"".into()),
        path if paths::is_own(path) => Taken::Left(
            Translated,
            format!("the jail has its own {path}, which is writable and removed at its end"),
        ),
        path if paths::is_whole(path) => {
            Taken::Left(NotHonoured, format!("{path} is too wide to be writable"))
        }
        path if whole && path.starts_with("$WORKSPACE/") => {
            Taken::Left(Enforced, "lies in the workspace, which is writable".into())
        }
        path if leaves(path) => Taken::Left(
            NotHonoured,
            format!("denyRead may cover {path}; name it in allowRead too"),
        ),
        _ => Taken::As(Enforced, "filesystem.write".into()),
    });
    let mode = match whole {
        true => WorkspaceMode::ReadWrite,
        false => WorkspaceMode::ReadOnly,
    };
    let said = into.sourced(item.node, mode);
    stricter(&mut into.layer.filesystem.workspace, said);
    let nothing = matches!(&item.node.value, Value::Array(nodes) if nodes.is_empty());
    if nothing && cwd == Cwd::Listed {
        into.deny_tool(item.node, "write");
    }
    match into.standing {
        Standing::Grants => into.layer.filesystem.write = Some(grants),
        Standing::Narrows => {
            if whole {
                grants.push(into.grant(item.node, "$WORKSPACE".into(), Absent::Refuse));
            }
            into.tool(Tool::Write).allowed_paths = Some(grants);
        }
    }
}

/// Like [`network`], for the section of credentials.
pub fn credentials(into: &mut Source, of: &Table, above: &str) -> Result<(), PolicyError> {
    for (key, entry) in entries(of, above) {
        let (item, node) = (entry.item(), entry.node);
        let Value::Array(_) = &node.value else {
            into.not(item, "creel gives no credential to a jail");
            continue;
        };
        if key == "envVars" {
            into.enforced(
                item,
                "the environment has only the variables of [environment]",
            );
            continue;
        }
        if key != "files" {
            into.not(item, "creel gives no credential to a jail");
            continue;
        }
        into.if_empty(item, "denies nothing");
        for entry in elements(item) {
            credential(into, entry.item())?;
        }
    }
    Ok(())
}

fn credential(into: &mut Source, entry: Item) -> Result<(), PolicyError> {
    let Some((of, path)) = table(entry.node).and_then(|of| Some((of, of.get("path")?))) else {
        return Err(into.wrong_type(entry, "a table with a `path`"));
    };
    let key = join(entry.key, "path");
    let item = Item {
        key: &key,
        node: path,
    };
    let denials = into.denials(item, Denial::AtStart, "filesystem.deny", |_| None)?;
    into.layer.filesystem.deny.extend(denials);
    for (key, entry) in entries(of, entry.key) {
        let (item, node) = (entry.item(), entry.node);
        match (key, node.as_str()) {
            ("path", _) => {}
            ("mode", Some("deny")) => into.enforced(item, "filesystem.deny"),
            ("mode", _) => into.translated(item, "filesystem.deny: creel does not create a mask"),
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}
