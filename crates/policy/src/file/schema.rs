//! The file form as a JSON Schema (2020-12), for completion in editors.
//!
//! Generated from the forms that read the files, so that the two agree; a test checks them against each
//! other. It rejects what a reader rejects, as far as a schema can express that; final checks of numbers
//! and paths are the reader's.

use serde_json::{Map, Value, json};

use super::form::{Form, Section, defined as of, object};
use super::keys::{self, Keys};
use super::plain::{Any, Flag, Word};
use crate::layer::Layer;
use crate::net::{Protocol, Tls};

/// The schema of a policy file.
pub fn schema() -> Value {
    let mut top = object(Layer::properties());
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "A policy of creel".into();
    top["$defs"] = definitions();
    top
}

/// A table that is not a section, with the schemas of its keys; the first `needed` are required.
fn table<const N: usize>(keys: &Keys, needed: usize, shapes: [Value; N]) -> Value {
    let known = keys.known();
    let names = known.iter().map(|key| (*key).to_owned());
    let mut table = object(names.zip(shapes).collect::<Map<_, _>>());
    table["required"] = known.iter().take(needed).copied().collect();
    table
}

/// The schema of a non-empty text.
fn some() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn definitions() -> Value {
    let list = json!({ "type": "array", "minItems": 1, "items": Any::schema() });
    let command = table(&keys::COMMAND, 1, [some(), list.clone()]);
    let place = json!({ "type": "string", "pattern": "^(/|~/)" });
    let grant = table(&keys::GRANT, 1, [of("path"), Flag::schema(), place]);
    let port = of("port");
    let ports = json!({ "anyOf": [port, { "type": "array", "minItems": 1, "items": port }] });
    let (protocol, tls) = (Word::<Protocol>::schema(), Word::<Tls>::schema());
    let destination = [some(), ports, protocol, tls, list.clone(), list];
    let destination = table(&keys::DESTINATION, 1, destination);
    let name = json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" });
    let secret = table(&keys::SECRET, 0, [Any::schema(), of("path")]);
    let credential = table(&keys::CREDENTIAL, 4, [some(), some(), name, secret]);
    json!({
        "path": {
            "description": "Absolute, or beginning with ~/ or $WORKSPACE/; *, ?, [..] and ** are patterns; no other variable, no ..",
            "type": "string",
            "pattern": "^(/|~$|~/|\\$WORKSPACE$|\\$WORKSPACE/)",
        },
        "destination": {
            "description": "HOST[:PORTS]: a name, *.NAME, an address or ADDRESS/BITS",
            "anyOf": [some(), destination],
        },
        "port": {
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$" },
            ],
        },
        "credential": credential,
        "grant": { "anyOf": [of("path"), grant] },
        "command": { "anyOf": [some(), command] },
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

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::preset;
    use crate::tools::Tool;

    /// The keys of an object's schema.
    fn known(schema: &Value) -> Vec<&str> {
        let map = schema["properties"].as_object().expect("properties");
        map.keys().map(String::as_str).collect()
    }

    fn same(schema: &Value, keys: &Keys) {
        let mut table = keys.known();
        table.sort_unstable();
        assert_eq!(known(schema), table, "{}", keys.place);
    }

    #[test]
    fn the_schema_has_the_readers_keys_and_no_other() {
        let schema = schema();
        let tools = &schema["properties"]["tools"]["properties"];
        for tool in Tool::ALL {
            same(&tools[tool.name()], keys::of_tool(tool));
        }
        same(&schema["$defs"]["command"]["anyOf"][1], &keys::COMMAND);
        same(&schema["$defs"]["grant"]["anyOf"][1], &keys::GRANT);
        let destination = &schema["$defs"]["destination"]["anyOf"][1];
        same(destination, &keys::DESTINATION);
        let credential = &schema["$defs"]["credential"];
        same(credential, &keys::CREDENTIAL);
        same(&credential["properties"]["secret"], &keys::SECRET);
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
            "filesystem.workspace = 'over'",
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
