//! The evaluator: may this tool do this? It answers from the rights alone, with the rule that decides.
//!
//! It predicts what the kernel will do under the policy that [`super::effective`] derives from the same
//! rights. A path rule holds for every process, so the answer for `write src/x` applies to any program in
//! the jail. Links, mounts and existing files are not considered; a path is its text.

use super::effective_access::{EffectiveAccess, reach, usable};
use super::grant::WorkspaceMode;
use super::layer::{Ask, Case, Command, Security};
use super::net::decide::{Carried, Spoken, Transport};
use super::net::{Answer, Host, HostError, Mode, Tls, Why as Refused};
use super::origin::Origin;
use super::path_set::{AbsPath, PathSet, within};
use super::rights::{DenySet, Rights, Roots};
use super::tools::{Ruling, Tool};

/// The answer, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// `by` is the grant; `None` if no single rule grants it.
    Allowed {
        /// The place of the grant.
        by: Option<Origin>,
    },
    /// The case is denied.
    Denied {
        /// The rule that denies it, or the grant that is missing.
        why: Why,
    },
}

/// Why the case is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A deny rule names the tool.
    ToolDenied(Origin),
    /// A list of allowed tools does not contain it.
    ToolUnlisted(Origin),
    /// The tool depends on another tool, which is not allowed.
    ToolNeeds(Tool),
    /// A person would have to approve it.
    Asks(Origin),
    /// The case names no path or command.
    Nothing,
    /// A path has `..`, which the kernel resolves; the text alone does not say where it leads.
    Parent,
    /// No grant covers the path or program.
    NotGranted,
    /// A `deny` covers it.
    Denied(Origin),
    /// A `protect` covers it.
    Protected(Origin),
    /// The workspace is read-only, or absent.
    Workspace(Option<Origin>),
    /// `security = "deny"`.
    Security(Origin),
    /// The list of commands does not contain the program.
    Unlisted,
    /// The list contains the program, with other arguments.
    Arguments(Origin),
    /// There is no network.
    NoNetwork,
    /// The destination is not a valid host.
    NoHost(HostError),
    /// The address is of this special kind, and no rule names its range.
    Special(&'static str),
    /// The request or protocol is not granted at this destination.
    Spoken(String),
}

impl Why {
    /// The rule that denies it; `None` if no single rule does.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            Why::ToolDenied(rule)
            | Why::ToolUnlisted(rule)
            | Why::Asks(rule)
            | Why::Denied(rule)
            | Why::Protected(rule)
            | Why::Security(rule)
            | Why::Arguments(rule) => Some(rule),
            Why::Workspace(rule) => rule.as_ref(),
            _ => None,
        }
    }
}

impl Decision {
    /// Whether the case is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed { .. })
    }
}

/// Decides one case under finalized rights.
pub fn decide(rights: &Rights, roots: &Roots, case: &Case) -> Decision {
    match judge(rights, roots, case) {
        Ok(by) => Decision::Allowed { by },
        Err(why) => Decision::Denied { why },
    }
}

fn judge(rights: &Rights, roots: &Roots, case: &Case) -> Result<Option<Origin>, Why> {
    tool(rights, case.tool)?;
    let subject = || case.words.first().ok_or(Why::Nothing);
    match case.tool {
        Tool::Read => readable(rights, roots, &path(roots, subject()?)?),
        Tool::Write | Tool::Edit | Tool::ApplyPatch => {
            writable(rights, roots, &path(roots, subject()?)?)
        }
        Tool::Exec => executable(rights, roots, subject()?, &case.words[1..]),
        Tool::Process => Ok(None),
        Tool::Browser | Tool::Message | Tool::Fetch => reachable(rights, &case.words),
    }
}

/// Decides a network destination: `https://github.com/x`, `POST https://api.example/v1`,
/// `db.example:5432`. Without one, decides whether any network is granted.
fn reachable(rights: &Rights, words: &[String]) -> Result<Option<Origin>, Why> {
    let mode = rights.network.mode.as_ref();
    if mode.is_some_and(|mode| mode.value == Mode::None) {
        return Err(Why::NoNetwork);
    }
    let (method, url) = match words {
        [] => return Ok(None),
        [method, url, ..] if method.bytes().all(|b| b.is_ascii_uppercase()) => (&**method, url),
        [url, ..] => ("GET", url),
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let usual = match scheme {
        "http" | "ws" => 80,
        _ => 443,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let (host, port) = Host::parse_with_port(authority.as_bytes(), usual).map_err(Why::NoHost)?;
    // In rights that are not finalized, an unspecified network allows everything.
    let silent = mode.is_none() && rights.network.lists.is_empty();
    let network = rights.network.judged();
    let by = match network.judge(&host, port, Transport::Tcp) {
        Answer::Allow(rules) => rules.first().map(|rule| rule.origin.clone()),
        Answer::Ask => {
            let origin = mode.map_or_else(Origin::creel, |mode| mode.origin.clone());
            return Err(Why::Asks(origin));
        }
        Answer::Deny(Refused::NoNetwork) => return Err(Why::NoNetwork),
        Answer::Deny(Refused::Denied(origin)) => return Err(Why::Denied(origin)),
        Answer::Deny(Refused::Unlisted) if silent => return Ok(None),
        Answer::Deny(Refused::Unlisted | Refused::Host) => return Err(Why::NotGranted),
        Answer::Deny(Refused::Special(kind)) => return Err(Why::Special(kind)),
    };
    let carried = match scheme {
        "https" | "wss" => Carried::Tls,
        _ => Carried::Plain,
    };
    let request = Spoken::Request {
        method,
        path,
        carried,
    };
    let ended = network.tls_of(&host, port) == Tls::Terminate;
    let spoken: &[Spoken] = match scheme {
        "https" | "wss" if ended => &[Spoken::Tls, request],
        "https" | "wss" => &[Spoken::Tls],
        "http" | "ws" => &[request],
        _ => &[],
    };
    for spoken in spoken {
        let judged = network.judge_spoken(&host, port, spoken);
        judged.map_err(|why| Why::Spoken(why.to_string()))?;
    }
    Ok(by)
}

/// Applies the rules that name the tool.
fn tool(rights: &Rights, tool: Tool) -> Result<(), Why> {
    match rights.tools.rule_tool(tool) {
        Ruling::Denied(_, origin) => return Err(Why::ToolDenied(origin.clone())),
        Ruling::Unlisted(origin) => return Err(Why::ToolUnlisted(origin.clone())),
        Ruling::Needs(needed) => return Err(Why::ToolNeeds(needed)),
        Ruling::Allowed => {}
    }
    for asked in std::iter::once(&tool).chain(tool.needs()) {
        if let Some(ask) = &rights.constraints(*asked).ask
            && ask.value == Ask::Always
        {
            return Err(Why::Asks(ask.origin.clone()));
        }
    }
    debug_assert!(usable(rights, tool));
    Ok(())
}

/// The absolute path for a case's path, which is relative to the workspace.
fn path(roots: &Roots, text: &str) -> Result<AbsPath, Why> {
    if text.split('/').any(|part| part == "..") {
        return Err(Why::Parent);
    }
    if text.is_empty() {
        return Err(Why::Nothing);
    }
    let rooted = text.starts_with('/') || within(text, "~") || within(text, "$WORKSPACE");
    Ok(match rooted {
        true => roots.expand(text),
        false => roots.expand(&format!("$WORKSPACE/{text}")),
    })
}

fn readable(rights: &Rights, roots: &Roots, path: &str) -> Result<Option<Origin>, Why> {
    let reach = reach(rights, roots);
    denied(&reach.deny, path).map_or(Ok(()), |origin| Err(Why::Denied(origin)))?;
    for trees in [&reach.read, &reach.write, &reach.load, &reach.exec] {
        if covered(&reach, roots, trees, path) {
            return Ok(grant(trees, path));
        }
    }
    match &reach.workspace {
        _ if !within(path, &roots.workspace) => Err(Why::NotGranted),
        Some(mode) if mode.value == WorkspaceMode::None => {
            Err(Why::Workspace(Some(mode.origin.clone())))
        }
        mode => Ok(mode.as_ref().map(|mode| mode.origin.clone())),
    }
}

fn writable(rights: &Rights, roots: &Roots, path: &str) -> Result<Option<Origin>, Why> {
    let reach = reach(rights, roots);
    denied(&reach.deny, path).map_or(Ok(()), |origin| Err(Why::Denied(origin)))?;
    denied(&reach.protect, path).map_or(Ok(()), |origin| Err(Why::Protected(origin)))?;
    if covered(&reach, roots, &reach.write, path) {
        return Ok(grant(&reach.write, path));
    }
    match &reach.workspace {
        _ if !within(path, &roots.workspace) => Err(Why::NotGranted),
        Some(mode) if !reach.writes_at(path, roots) => {
            Err(Why::Workspace(Some(mode.origin.clone())))
        }
        mode => Ok(mode.as_ref().map(|mode| mode.origin.clone())),
    }
}

fn executable(
    rights: &Rights,
    roots: &Roots,
    program: &str,
    args: &[String],
) -> Result<Option<Origin>, Why> {
    let bounds = rights.constraints(Tool::Exec);
    if let Some(security) = &bounds.security
        && security.value == Security::Deny
    {
        return Err(Why::Security(security.origin.clone()));
    }
    let candidates: Vec<AbsPath> = match program.contains('/') || program == "~" {
        true => vec![path(roots, program)?],
        false if matches!(program, "" | "." | "..") => return Err(Why::Nothing),
        false => Command::paths(program, roots),
    };
    let mut why = Why::NotGranted;
    for path in &candidates {
        match one_program(rights, roots, path, args) {
            Ok(by) => return Ok(by),
            // Report the most specific reason; "not granted" is the least specific.
            Err(Why::NotGranted) => {}
            Err(other) => why = other,
        }
    }
    Err(why)
}

fn one_program(
    rights: &Rights,
    roots: &Roots,
    path: &str,
    args: &[String],
) -> Result<Option<Origin>, Why> {
    let reach = reach(rights, roots);
    denied(&reach.deny, path).map_or(Ok(()), |origin| Err(Why::Denied(origin)))?;
    if !covered(&reach, roots, &reach.exec, path) {
        return Err(Why::NotGranted);
    }
    let bounds = rights.constraints(Tool::Exec);
    match (&bounds.commands, &bounds.security) {
        (Some(commands), _) => match commands.get(path) {
            None => Err(Why::Unlisted),
            Some(allowed) if !allowed.accepts(args) => {
                Err(Why::Arguments(allowed.rule.origin.clone()))
            }
            Some(allowed) => Ok(Some(allowed.rule.origin.clone())),
        },
        (None, Some(security)) if security.value == Security::Allowlist => Err(Why::Unlisted),
        _ => Ok(grant(&reach.exec, path)),
    }
}

/// The denied path that covers `path` or a parent of it.
fn denied(places: &DenySet, path: &str) -> Option<Origin> {
    let found = places.iter().find(|(place, _)| within(path, place));
    found.map(|(_, leaf)| leaf.origin.clone())
}

/// Whether a grant covers the path on the host. If the jail has its own workspace, a grant of
/// `$WORKSPACE` refers to that one.
fn covered(reach: &EffectiveAccess, roots: &Roots, trees: &PathSet, path: &str) -> bool {
    trees.cover(path) && (reach.parts_left() || !within(path, &roots.workspace))
}

fn grant(trees: &PathSet, path: &str) -> Option<Origin> {
    let rule = trees.host().find(|rule| within(path, &rule.path));
    rule.map(|rule| rule.origin.clone())
}
