//! OpenClaw's `openclaw.json`: scopes of tools, `exec`, `elevated`, agents.
//!
//! Its scopes narrow one another (profile, global list, provider's, agent's, sandbox's), and so do lists
//! here: a tool must be on each. Its empty `allow` allows all, while creel's would allow nothing, so it
//! is left out. Rules for one model provider apply to every model, because creel does not know the model.

use super::lists::Lists;
use super::report::Fate;
use super::sandbox;
use super::source::{Item, Source, entries, inner, join, stricter, table, text};
use creel_policy::Sourced;
use creel_policy::error::PolicyError;
use creel_policy::layer::{Ask, Security};
use creel_policy::tools::{Pattern, Profile, Tool};
use creel_policy::tree::{Node, Table, Value};

const OWN_SETTING: &str = "a setting of the tool, which the kernel cannot see";

/// An agent's table, and its key.
struct Agent<'t> {
    id: String,
    key: String,
    node: &'t Node,
    table: &'t Table,
}

pub fn read(
    into: &mut Source,
    top: &Table,
    chosen: Option<&str>,
) -> Result<Vec<String>, PolicyError> {
    let agents = agents(into, top);
    let agent = agents
        .iter()
        .find(|agent| Some(agent.id.as_str()) == chosen);
    let mut lists = Lists::default();
    let mut boxes: Vec<(String, &Table)> = vec![];
    for (key, entry) in entries(top, "") {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "tools" => scope(into, &mut lists, into.strict_table(item)?, "tools")?,
            "sandbox" => match table(node) {
                Some(of) => boxes.push(("sandbox".into(), of)),
                None => return Err(into.wrong_type(item, "a table")),
            },
            "agents" => {}
            "approvals" => into.not(
                item,
                "the runtime decides where approvals are sent; see --approvals",
            ),
            _ => into.not(item, "affects neither tools nor the sandbox"),
        }
    }
    if let Some(defaults) = inner(top, &["agents", "defaults"]) {
        for (key, entry) in entries(defaults, "agents.defaults") {
            let (item, node) = (entry.item(), entry.node);
            match (key, table(node)) {
                ("sandbox", Some(of)) => boxes.push((item.key.to_owned(), of)),
                ("tools", Some(tools)) => scope(into, &mut lists, tools, item.key)?,
                ("sandbox" | "tools", None) => return Err(into.wrong_type(item, "a table")),
                _ => into.not(item, "affects neither tools nor the sandbox"),
            }
        }
    }
    for other in agents
        .iter()
        .filter(|other| Some(other.id.as_str()) != chosen)
    {
        let item = Item {
            key: &other.key,
            node: other.node,
        };
        into.translated(item, format!("a separate layer: --agent {}", other.id));
    }
    if let Some(agent) = agent {
        one_agent(into, &mut lists, &mut boxes, agent)?;
    }
    sandbox::read(into, &mut lists, &boxes, top)?;
    finish(into, lists);
    Ok(agents.into_iter().map(|agent| agent.id).collect())
}

/// The agents of `agents.list[]` and of `agents.entries.<id>`.
fn agents<'t>(into: &mut Source, top: &'t Table) -> Vec<Agent<'t>> {
    let mut all = vec![];
    let Some(section) = inner(top, &["agents"]) else {
        if let Some(node) = top.get("agents") {
            into.other_type(
                Item {
                    key: "agents",
                    node,
                },
                "a table",
            );
        }
        return all;
    };
    for (key, entry) in entries(section, "agents") {
        let (item, node) = (entry.item(), entry.node);
        match (key, &node.value) {
            ("defaults", Value::Table(_)) => {}
            ("list", Value::Array(nodes)) => {
                into.if_empty(item, "names no agent");
                for (at, node) in nodes.iter().enumerate() {
                    let key = format!("{}[{at}]", item.key);
                    match table(node).and_then(|of| Some((of, text(of, "id")?))) {
                        Some((table, id)) => all.push(Agent {
                            id: id.into(),
                            key,
                            node,
                            table,
                        }),
                        None => into.not(Item { key: &key, node }, "has no `id` to select it"),
                    }
                }
            }
            ("entries", Value::Table(entries)) => {
                for (id, node) in entries.entries() {
                    let key = join(item.key, &id.name);
                    match table(node) {
                        Some(table) => all.push(Agent {
                            id: id.name.clone(),
                            key,
                            node,
                            table,
                        }),
                        None => into.other_type(Item { key: &key, node }, "a table"),
                    }
                }
            }
            _ => into.not(item, "is not `defaults`, `list` or `entries`"),
        }
    }
    all
}

fn one_agent<'t>(
    into: &mut Source,
    lists: &mut Lists,
    boxes: &mut Vec<(String, &'t Table)>,
    agent: &Agent<'t>,
) -> Result<(), PolicyError> {
    for (key, entry) in entries(agent.table, &agent.key) {
        let (item, node) = (entry.item(), entry.node);
        match (key, table(node)) {
            ("id", _) => into.translated(item, "the layer's agent"),
            ("name" | "default", _) => into.translated(item, "has no equivalent in the kernel"),
            ("tools", Some(tools)) => scope(into, lists, tools, item.key)?,
            ("sandbox", Some(of)) => boxes.push((item.key.to_owned(), of)),
            ("tools" | "sandbox", None) => return Err(into.wrong_type(item, "a table")),
            _ => into.not(item, "affects neither tools nor the sandbox"),
        }
    }
    Ok(())
}

/// Reads one scope of tools; a later profile replaces an earlier one.
fn scope(
    into: &mut Source,
    lists: &mut Lists,
    tools: &Table,
    above: &str,
) -> Result<(), PolicyError> {
    for (key, entry) in entries(tools, above) {
        let item = entry.item();
        match key {
            "profile" => lists.profile = Some(profile(into, item)),
            "allow" => allow(into, lists, item),
            "alsoAllow" => {
                let how = "added to the profile's list, in tools.allow; without a profile it adds nothing";
                lists
                    .also
                    .extend(into.allowed_tools(item, Fate::Translated, how));
            }
            "deny" => into.deny_tools(item)?,
            "byProvider" => providers(into, lists, item)?,
            "exec" => exec(into, into.strict_table(item)?, item.key)?,
            "elevated" => elevated(into, item),
            "fs" => files(into, item)?,
            "sandbox" => sandbox_tools(into, lists, item)?,
            "subagents" => into.not(
                item,
                "the runtime starts subagents; give each its own layer",
            ),
            "toolsBySender" => into.not(item, "only the runtime knows the sender"),
            _ => into.not(item, OWN_SETTING),
        }
    }
    Ok(())
}

fn profile(into: &mut Source, item: Item) -> Sourced<Profile> {
    match item.node.as_str().and_then(Profile::parse) {
        Some(profile) => {
            into.translated(
                item,
                format!("tools.profile = \"{}\", of creel's tools", profile.name()),
            );
            into.sourced(item.node, profile)
        }
        None => {
            into.translated(
                item,
                "is not a profile that creel knows: tools.profile = \"minimal\"",
            );
            into.sourced(item.node, Profile::Minimal)
        }
    }
}

fn allow(into: &mut Source, lists: &mut Lists, item: Item) {
    let empty = matches!(&item.node.value, Value::Array(nodes) if nodes.is_empty());
    if empty {
        lists.open = Some(into.origin(item.node));
        return into.translated(
            item,
            "allows everything that is not denied, as an empty list does in OpenClaw",
        );
    }
    let mut patterns = into.allowed_tools(item, Fate::Enforced, "tools.allow");
    if patterns.iter().any(|pattern| pattern.matches("write")) {
        patterns.extend(Pattern::parse("apply_patch").unwrap_or_default());
    }
    let list = into.sourced(item.node, patterns);
    lists.narrow(list);
}

fn providers(into: &mut Source, lists: &mut Lists, item: Item) -> Result<(), PolicyError> {
    let all = into.strict_table(item)?;
    for (_, entry) in entries(all, item.key) {
        let of = entry.item();
        let tools = into.strict_table(of)?;
        let mut own = Lists::default();
        scope(into, &mut own, tools, of.key)?;
        lists.narrow_by(own);
        into.translated(
            of,
            "applies to every model: creel does not know the provider",
        );
    }
    Ok(())
}

fn sandbox_tools(into: &mut Source, lists: &mut Lists, item: Item) -> Result<(), PolicyError> {
    let of = into.strict_table(item)?;
    for (key, entry) in entries(of, item.key) {
        let item = entry.item();
        match (key, table(item.node)) {
            ("tools", Some(tools)) => {
                let mut own = Lists::default();
                scope(into, &mut own, tools, item.key)?;
                if let Some(list) = &mut own.allow {
                    list.value.extend(own.also.iter().cloned());
                }
                lists.narrow_by(own);
            }
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

/// `mode` supersedes `security` and `ask`; the strictest value of all scopes applies.
fn exec(into: &mut Source, exec: &Table, above: &str) -> Result<(), PolicyError> {
    for (key, entry) in entries(exec, above) {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "security" if exec.get("mode").is_none() => {
                let said = into.word(item, "\"deny\", \"allowlist\" or \"full\"")?;
                stricter(&mut into.tool(Tool::Exec).security, said);
                into.enforced(item, "tools.exec.security");
            }
            "ask" if exec.get("mode").is_none() => {
                let said = into.word(item, "\"off\", \"on-miss\" or \"always\"")?;
                stricter(&mut into.tool(Tool::Exec).ask, said);
                into.enforced(item, "tools.exec.ask; refused if creel cannot ask");
            }
            "security" | "ask" => into.translated(item, "`mode` is set too and takes precedence"),
            "mode" => mode(into, item)?,
            "host" => match node.as_str() {
                Some("auto" | "sandbox") => into.enforced(item, "the jail is the sandbox"),
                _ => into.not(item, "every command runs in the jail, on no other host"),
            },
            "timeoutSeconds" => {
                if let Some(span) = into.seconds(item) {
                    into.tool(Tool::Exec).timeout = Some(span);
                    into.enforced(item, "tools.exec.timeout");
                }
            }
            "applyPatch" => apply_patch(into, item)?,
            "safeBins" | "safeBinProfiles" | "safeBinTrustedDirs" => {
                into.not(
                    item,
                    "allows nothing here; name the program in tools.exec.commands",
                );
            }
            "pathPrepend" => into.not(item, "set PATH in [environment]"),
            "strictInlineEval" => into.not(
                item,
                "creel does not see what an interpreter runs; leave it out of the list",
            ),
            _ => into.not(item, OWN_SETTING),
        }
    }
    Ok(())
}

fn mode(into: &mut Source, item: Item) -> Result<(), PolicyError> {
    let (security, ask) = match item.node.as_str() {
        Some("deny") => (Security::Deny, Ask::Off),
        Some("allowlist") => (Security::Allowlist, Ask::Off),
        Some("ask" | "auto") => (Security::Allowlist, Ask::OnMiss),
        Some("full") => (Security::Full, Ask::Off),
        _ => {
            return Err(into.wrong_type(
                item,
                "\"deny\", \"allowlist\", \"ask\", \"auto\" or \"full\"",
            ));
        }
    };
    let (security, ask) = (
        into.sourced(item.node, security),
        into.sourced(item.node, ask),
    );
    into.translated(
        item,
        format!("security = \"{}\", ask = \"{}\"", security.value, ask.value),
    );
    let tool = into.tool(Tool::Exec);
    stricter(&mut tool.security, security);
    stricter(&mut tool.ask, ask);
    Ok(())
}

fn apply_patch(into: &mut Source, item: Item) -> Result<(), PolicyError> {
    let of = into.strict_table(item)?;
    for (key, entry) in entries(of, item.key) {
        let (item, node) = (entry.item(), entry.node);
        match key {
            "enabled" => {
                if into.strict_switch(item)? {
                    into.enforced(item, "apply_patch is not denied");
                } else {
                    into.deny_tool(node, "apply_patch");
                    into.enforced(item, "tools.deny: apply_patch");
                }
            }
            "workspaceOnly" => workspace_only(into, item, &[Tool::ApplyPatch])?,
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn files(into: &mut Source, item: Item) -> Result<(), PolicyError> {
    const FILES: [Tool; 4] = [Tool::Read, Tool::Write, Tool::Edit, Tool::ApplyPatch];
    let of = into.strict_table(item)?;
    for (key, entry) in entries(of, item.key) {
        let item = entry.item();
        match key {
            "workspaceOnly" => workspace_only(into, item, &FILES)?,
            _ => into.not(item, "creel does not know this key"),
        }
    }
    Ok(())
}

fn workspace_only(into: &mut Source, item: Item, tools: &[Tool]) -> Result<(), PolicyError> {
    if !into.strict_switch(item)? {
        into.translated(item, "only the grants decide which files exist in the jail");
        return Ok(());
    }
    for tool in tools {
        let grant = into.grant(item.node, "$WORKSPACE".into(), creel_policy::Absent::Refuse);
        into.tool(*tool).allowed_paths = Some(vec![grant]);
    }
    into.translated(
        item,
        "allowed_paths = [\"$WORKSPACE\"], for every process; executable files stay readable",
    );
    Ok(())
}

/// Nothing runs outside the jail: a request for it is not honoured.
fn elevated(into: &mut Source, item: Item) {
    into.layer.tools.elevated = Some(into.sourced(item.node, false));
    let Some(of) = table(item.node) else {
        return match item.node.value {
            Value::Bool(false) => into.enforced(item, "tools.elevated = false"),
            _ => into.not(item, "nothing runs outside the jail"),
        };
    };
    for (key, entry) in entries(of, item.key) {
        let (item, node) = (entry.item(), entry.node);
        match (&node.value, key) {
            (Value::Bool(false), "enabled") => into.enforced(item, "tools.elevated = false"),
            _ => into.not(
                item,
                "nothing runs outside the jail: tools.elevated = false",
            ),
        }
    }
}

/// Sets the layer's lists.
fn finish(into: &mut Source, mut lists: Lists) {
    if let Some(profile) = lists.profile.take() {
        if lists.also.is_empty() {
            into.layer.tools.profile = Some(profile);
        } else {
            let mut patterns = Pattern::of_texts(profile.value.allows().iter());
            patterns.append(&mut lists.also);
            lists.narrow(Sourced::new(patterns, profile.origin));
        }
    }
    if let (None, Some(origin)) = (&lists.allow, lists.open.take()) {
        let value = Pattern::parse("*").unwrap_or_default();
        lists.allow = Some(Sourced { value, origin });
    }
    into.layer.tools.allow = lists.allow;
}
