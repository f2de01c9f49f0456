//! The file form as a JSON Schema (2020-12), so that editors complete it.
//!
//! Made from the tables of keys and the words of the types by which files are read, so that neither
//! can have what the other has not; a test holds both against each other. It refuses what a reader
//! would refuse where a schema can say so; what a number or a path may be in the end, the reader says.

use serde_json::{Map, Value, json};

use super::keys::{self, Keys};
use crate::layer::{Ask, Language, Mode, Scope, Security, Target};
use crate::net::{self, Protocol, Tls};
use crate::tools::{Profile, Tool};
use crate::{Degradable, WorkspaceMode};

/// The schema of a policy file.
pub fn schema() -> Value {
    let mut top = object(&keys::TOP);
    if let Value::Object(map) = &mut top {
        map.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        map.insert("title".into(), "A policy of creel".into());
        map.insert("$defs".into(), definitions());
    }
    top
}

/// What a table may hold, and nothing else.
fn object(keys: &Keys) -> Value {
    let properties: Map<String, Value> = keys
        .known
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), shape(keys.section, key)?)))
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// What a key of a section holds; `None`: the schema does not know the key, which a test refuses.
fn shape(section: &str, key: &str) -> Option<Value> {
    Some(match (section, key) {
        ("", "filesystem") => object(&keys::FILESYSTEM),
        ("", "tools") => object(&keys::TOOLS),
        ("", "network") => object(&keys::NETWORK),
        ("", "environment") => object(&keys::ENVIRONMENT),
        ("", "limits") => object(&keys::LIMITS),
        ("", "process") => object(&keys::PROCESS),
        ("", "session") => object(&keys::SESSION),
        ("", "tests") => object(&keys::TESTS),
        ("", "extends") => {
            json!({ "anyOf": [{ "type": "string" }, list(json!({ "type": "string" }))] })
        }
        ("", "allow_degraded") => list(words(&Degradable::ALL.map(Degradable::name))),
        ("filesystem", "workspace") => words(&WorkspaceMode::ALL.map(WorkspaceMode::name)),
        ("filesystem", _) => list(of("grant")),
        ("network", "mode") => words(net::Mode::WORDS),
        ("network", "allow") => list(of("destination")),
        ("network", "deny") => list(json!({ "type": "string", "minLength": 1 })),
        ("network", "limits") => object(&keys::NETWORK_LIMITS),
        ("network", "credentials") => list(of("credential")),
        ("network", "resolvers") => {
            json!({ "type": "array", "minItems": 1, "items": { "type": "string", "pattern": ":[0-9]+$" } })
        }
        ("network.limits", "connections" | "rate") => of("count"),
        ("network.limits", "idle") => of("time"),
        ("network.limits", _) => of("size"),
        ("environment", "set") => json!({
            "type": "object",
            "propertyNames": of("variable"),
            "additionalProperties": { "type": "string" },
        }),
        ("environment", "pass") => list(of("variable")),
        ("environment", "git_identity") => json!({ "type": "boolean" }),
        ("limits", "memory" | "disk" | "file_size" | "output") => of("size"),
        ("limits", "memory_high") => of("percent"),
        ("limits", "cpus") => of("processors"),
        ("limits", "pids" | "inodes" | "open_files") => of("count"),
        ("limits", "timeout" | "cpu_time" | "grace") => of("time"),
        ("tools", "profile") => words(&Profile::ALL.map(Profile::name)),
        ("tools", "allow" | "deny") => list(of("tool")),
        ("tools", "elevated") => json!({ "type": "boolean" }),
        ("tools", "max_iterations") => of("count"),
        ("tools", name) => return of_tool(name),
        ("process", "debug") => json!({ "type": "boolean" }),
        ("session", "mode") => words(Mode::WORDS),
        ("session", "scope") => words(Scope::WORDS),
        ("tests", "allow" | "deny") => list(json!({ "type": "string" })),
        _ => return None,
    })
}

/// What may be said of the tool of that name.
fn of_tool(name: &str) -> Option<Value> {
    let tool = Tool::ALL.into_iter().find(|tool| tool.name() == name)?;
    let known = keys::of_tool(tool).known;
    let properties: Map<String, Value> = known
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), setting(key)?)))
        .collect();
    Some(json!({ "type": "object", "properties": properties, "additionalProperties": false }))
}

fn setting(key: &str) -> Option<Value> {
    Some(match key {
        "enabled" | "elevated" => json!({ "type": "boolean" }),
        "security" => words(Security::WORDS),
        "ask" => words(Ask::WORDS),
        "target" => words(Target::WORDS),
        "allowed_paths" | "denied_paths" => list(of("grant")),
        "commands" => list(of("command")),
        "languages" => list(words(Language::WORDS)),
        "timeout" => of("time"),
        "rate" | "max_iterations" => of("count"),
        "channels" => list(json!({ "type": "string" })),
        _ => return None,
    })
}

fn definitions() -> Value {
    let whole = |keys: &Keys, required: &[&str], properties: Value| {
        let known = keys.known.iter().map(|key| (*key).to_owned());
        let all: Map<String, Value> = known
            .filter_map(|key| Some((key.clone(), properties.get(&key)?.clone())))
            .collect();
        json!({
            "type": "object",
            "properties": all,
            "required": required,
            "additionalProperties": false,
        })
    };
    let command = whole(
        &keys::COMMAND,
        &["command"],
        json!({
            "command": { "type": "string", "minLength": 1 },
            "args": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        }),
    );
    let grant = whole(
        &keys::GRANT,
        &["path"],
        json!({ "path": of("path"), "optional": { "type": "boolean" } }),
    );
    let some = json!({ "type": "array", "minItems": 1, "items": { "type": "string" } });
    let destination = whole(
        &keys::DESTINATION,
        &["host"],
        json!({
            "host": { "type": "string", "minLength": 1 },
            "ports": { "anyOf": [of("port"), { "type": "array", "minItems": 1, "items": of("port") }] },
            "protocol": words(Protocol::WORDS),
            "tls": words(Tls::WORDS),
            "methods": some,
            "paths": some,
        }),
    );
    let secret = whole(
        &keys::SECRET,
        &[],
        json!({ "env": { "type": "string" }, "file": of("path") }),
    );
    let credential = whole(
        &keys::CREDENTIAL,
        keys::CREDENTIAL.known,
        json!({
            "host": { "type": "string", "minLength": 1 },
            "header": { "type": "string", "minLength": 1 },
            "variable": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "secret": secret,
        }),
    );
    json!({
        "path": {
            "description": "Absolute, or beginning with ~/ or $WORKSPACE/; *, ?, [..] and ** are patterns; no other variable, no ..",
            "type": "string",
            "pattern": "^(/|~$|~/|\\$WORKSPACE$|\\$WORKSPACE/)",
        },
        "destination": {
            "description": "HOST[:PORTS]: a name, *.NAME, an address or ADDRESS/BITS",
            "anyOf": [{ "type": "string", "minLength": 1 }, destination],
        },
        "port": {
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$" },
            ],
        },
        "credential": credential,
        "grant": { "anyOf": [of("path"), grant] },
        "command": { "anyOf": [{ "type": "string", "minLength": 1 }, command] },
        "tool": {
            "description": "A tool's name, a pattern with *, or a group: group:fs",
            "type": "string",
            "minLength": 1,
        },
        "variable": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "not": { "pattern": "^CREEL(_|$)" },
        },
        "size": {
            "description": "A whole number with a unit: \"512MiB\"",
            "type": "string",
            "pattern": "^[0-9]+ *([A-Za-z]+)?$",
        },
        "percent": { "type": "string", "pattern": "^[0-9]{1,3} *%$" },
        "time": {
            "description": "The largest unit first: \"1h30m\"",
            "type": "string",
            "pattern": "^([0-9]+ *[a-z]+ *)+$",
        },
        "count": { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32 },
        "processors": {
            "description": "At most three decimals: 1.5",
            "anyOf": [
                { "type": "number", "minimum": 0.01, "maximum": 4096 },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,3})?$" },
            ],
        },
    })
}

fn of(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn words(words: &[&str]) -> Value {
    json!({ "enum": words })
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::preset;

    /// The keys of an object's schema.
    fn known(schema: &Value) -> Vec<&str> {
        let map = schema["properties"].as_object().expect("properties");
        map.keys().map(String::as_str).collect()
    }

    fn same(schema: &Value, keys: &Keys) {
        let mut table = keys.known.to_vec();
        table.sort_unstable();
        assert_eq!(known(schema), table, "{}", keys.place);
    }

    #[test]
    fn the_schema_has_the_readers_keys_and_no_other() {
        let schema = schema();
        same(&schema, &keys::TOP);
        let section = |name: &str| &schema["properties"][name];
        for keys in [
            &keys::FILESYSTEM,
            &keys::NETWORK,
            &keys::ENVIRONMENT,
            &keys::LIMITS,
            &keys::TOOLS,
            &keys::SESSION,
            &keys::TESTS,
        ] {
            same(section(keys.section), keys);
        }
        for tool in Tool::ALL {
            same(
                &section("tools")["properties"][tool.name()],
                keys::of_tool(tool),
            );
        }
        same(&schema["$defs"]["command"]["anyOf"][1], &keys::COMMAND);
        same(&schema["$defs"]["grant"]["anyOf"][1], &keys::GRANT);
        let destination = &schema["$defs"]["destination"]["anyOf"][1];
        same(destination, &keys::DESTINATION);
        let credential = &schema["$defs"]["credential"];
        same(credential, &keys::CREDENTIAL);
        same(&credential["properties"]["secret"], &keys::SECRET);
        let limits = &section("network")["properties"]["limits"];
        same(limits, &keys::NETWORK_LIMITS);
    }

    /// The document as the schema sees it.
    fn data(text: &str) -> Value {
        let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        serde_json::to_value(table).expect("JSON")
    }

    #[test]
    fn what_the_reader_takes_the_schema_takes_and_no_more_words() {
        let validator = jsonschema::validator_for(&schema()).expect("it is a schema");
        let agree = |text: &str, good: bool| {
            assert_eq!(read("p.toml", text).is_ok(), good, "reader: {text}");
            let data = data(text);
            let faults = validator.iter_errors(&data).map(|e| e.to_string());
            let faults: Vec<String> = faults.collect();
            assert_eq!(faults.is_empty(), good, "schema: {text}: {faults:?}");
        };
        for name in preset::names() {
            agree(preset::text(name).expect("a preset"), true);
        }
        for text in [
            "",
            "extends = 'coding'",
            "extends = ['coding', 'x.toml']",
            "allow_degraded = ['cgroup', 'landlock', 'idmap']",
            "filesystem.read = ['/a', '~', '~/b', '$WORKSPACE', { path = '$WORKSPACE/c', optional = true }]",
            "limits = { memory = '1GiB', cpus = 1.5, pids = 5, timeout = '1h30m', memory_high = '90%' }",
            "limits.cpus = '0.125'",
            "environment = { set = { A = '' }, pass = ['_x'] }",
            "tools = { profile = 'coding', allow = ['group:fs', 'a*'], deny = [], elevated = false }",
            "tools.exec = { security = 'allowlist', commands = ['git', { command = 'make', args = ['all'] }], languages = ['python'], ask = 'on-miss' }",
            "tools.message = { channels = ['x'], rate = 5 }",
            "tools.browser.target = 'sandbox'",
            "process.debug = true",
            "environment.git_identity = true",
            "session = { mode = 'non-main', scope = 'agent' }",
            "network = { mode = 'open', allow = ['*:443', { host = 'a.example', ports = [443, '8000-8010'], tls = 'terminate', methods = ['GET'], paths = ['/x*'] }], deny = ['b.example'] }",
            "network = { resolvers = ['9.9.9.9:53'], limits = { connections = 5, bytes_in = '1GiB', idle = '1m' } }",
            "network = { allow = [{ host = 'a.example', tls = 'terminate' }], credentials = [{ host = 'a.example', header = 'x', variable = 'X', secret = { env = 'Y' } }] }",
            "tests = { allow = ['read x'], deny = ['exec curl'] }",
        ] {
            agree(text, true);
        }
        for text in [
            "filesytem = {}",
            "filesystem.raed = []",
            "filesystem.read = '/a'",
            "filesystem.read = ['a']",
            "filesystem.read = [{ optional = true }]",
            "filesystem.read = [{ path = '/a', optoinal = true }]",
            "filesystem.workspace = 'overlay'",
            "network.mode = 'host'",
            "network.allow = 'a.example'",
            "network.allow = ['']",
            "network.allow = [{ ports = [443] }]",
            "network.allow = [{ host = 'a.example', ports = [0] }]",
            "network.allow = [{ host = 'a.example', ports = [] }]",
            "network.allow = [{ host = 'a.example', protocol = 'ftp' }]",
            "network.resolvers = []",
            "network.limits.rate = 0",
            "network.credentials = [{ host = 'a.example' }]",
            "environment.set = { CREEL_ID = 'x' }",
            "environment.pass = ['9']",
            "limits.memory = 5",
            "limits.pids = 0",
            "limits.pids = '5'",
            "limits.timeout = 30",
            "limits.cpus = true",
            "allow_degraded = ['seccomp']",
            "tools.profile = 'codng'",
            "tools.allow = 'exec'",
            "tools.elevated = 'no'",
            "tools.read.security = 'full'",
            "tools.exec.security = 'none'",
            "tools.exec.commands = [{ args = ['x'] }]",
            "tools.exec.commands = [{ command = 'x', args = [] }]",
            "tools.exec.languages = ['cobol']",
            "process.debug = 'yes'",
            "environment.git_identity = 'me'",
            "process.trace = true",
            "session.mode = 'some'",
            "tests.allow = 'read x'",
        ] {
            agree(text, false);
        }
    }
}
