//! Forms of `[network]`: destinations, credentials, resolvers.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::form::{Form, defined};
use super::grants::plain;
use super::keys;
use super::plain::Word;
use super::sections::is_variable_name;
use super::walk::{At, File};
use crate::error::PolicyError;
use crate::fault::NameFault;
use crate::net::credential::{Credential, Secret};
use crate::net::fault::{NetworkFault, RuleError};
use crate::net::host::{Host, Name};
use crate::net::http::Http;
use crate::net::rule::{self, Protocol, Rule, Tls, To, parse_ports, ports_text};
use crate::origin::Sourced;
use crate::printer::{Printer, quoted};
use crate::tree::{Node, Table, Value};

const LISTED: &str = "an array of destinations, for example [\"github.com\"]";

/// A destination, with the protocols and requests that are allowed there.
pub struct Destination;

impl Form for Destination {
    type Value = Rule;
    const LISTED: &'static str = LISTED;

    fn read(at: At) -> Result<Rule, PolicyError> {
        let Some(table) = at.keyed(&keys::DESTINATION)? else {
            let text = at.string("a destination, or { host = \"github.com\", ports = [443] }")?;
            return Rule::of_text(text, at.origin()).map_err(|fault| bad(at, text, fault));
        };
        let host = at.need(table, "host")?;
        let text = At {
            key: "host",
            ..host
        }
        .string("a host, for example \"github.com\"")?;
        let fault = |fault| bad(host, text, fault);
        let (to, own) = rule::parse(text).map_err(fault)?;
        let ports = match (own, ports(at, table)?) {
            (Some(_), Some(_)) => return Err(fault(RuleError::PortsTwice)),
            (own, named) => own.or(named),
        };
        let protocol = at.inner(table, "protocol").map(Word::read).transpose()?;
        let tls = at.inner(table, "tls").map(Word::read).transpose()?;
        let http = match (
            requests(at, table, "methods")?,
            requests(at, table, "paths")?,
        ) {
            (None, None) => None,
            (methods, paths) => Some(
                Http::new(methods.unwrap_or_default(), paths.unwrap_or_default()).map_err(fault)?,
            ),
        };
        let protocol = protocol
            .map(|p: Sourced<Protocol>| p.value)
            .unwrap_or_default();
        let tls = tls.map(|tls: Sourced<Tls>| tls.value).unwrap_or_default();
        Rule::new(to, ports, protocol, tls, http, host.origin()).map_err(fault)
    }

    fn schema() -> Json {
        defined("destination")
    }

    fn text(rule: &Rule) -> String {
        rule_text(rule)
    }
}

/// A destination that is denied.
pub struct Denial;

impl Form for Denial {
    type Value = Rule;
    const LISTED: &'static str = LISTED;

    fn read(at: At) -> Result<Rule, PolicyError> {
        let text = at.string("each destination as a string")?;
        Rule::denial(text, at.origin()).map_err(|fault| bad(at, text, fault))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }

    fn text(rule: &Rule) -> String {
        quoted(&rule.destination())
    }
}

fn bad(at: At, text: &str, fault: RuleError) -> PolicyError {
    let (key, text) = (at.key.to_owned(), text.to_owned());
    network(at, NetworkFault::Destination { key, text, fault })
}

fn network(at: At, fault: NetworkFault) -> PolicyError {
    let at = at.place();
    PolicyError::Network { at, fault }
}

/// `443`, `"443,8000-8010"`, or an array of these.
fn ports(above: At, table: &Table) -> Result<Option<BTreeSet<u16>>, PolicyError> {
    let Some(at) = above.inner(table, "ports") else {
        return Ok(None);
    };
    let mut ports = BTreeSet::new();
    for at in at.one_or_more() {
        let text = match &at.node.value {
            Value::Integer(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return Err(at.wrong_type("ports, for example [443, \"8000-8010\"]")),
        };
        ports.extend(parse_ports(&text).map_err(|fault| bad(above.of(at.node), &text, fault))?);
    }
    match ports.is_empty() {
        true => Err(at.empty_list("leave it out for the usual ports, or name some")),
        false => Ok(Some(ports)),
    }
}

fn requests(at: At, table: &Table, key: &str) -> Result<Option<BTreeSet<String>>, PolicyError> {
    let Some(node) = table.get(key) else {
        return Ok(None);
    };
    let at = At { node, key, ..at };
    let mut words = BTreeSet::new();
    for at in at.elements("an array of strings")? {
        words.insert(at.string("a string")?.to_owned());
    }
    match words.is_empty() {
        true => Err(at.empty_list("leave it out for any, or take the destination out")),
        false => Ok(Some(words)),
    }
}

/// Headers that creel adds to requests.
pub struct Credentials;

impl Form for Credentials {
    type Value = Vec<Credential>;
    const RANK: u8 = 3;

    fn read(at: At) -> Result<Vec<Credential>, PolicyError> {
        let nodes = at.elements("an array of tables: [[network.credentials]]")?;
        nodes.map(credential).collect()
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": defined("credential") })
    }

    fn print(all: &Vec<Credential>, _: &str, out: &mut Printer) {
        for one in all {
            out.open("[network.credentials]");
            out.line("host", &quoted(one.host.as_str()), Some(&one.origin));
            out.line("header", &quoted(&one.header), None);
            out.line("variable", &quoted(&one.variable), None);
            out.line("secret", &secret_text(&one.secret), None);
        }
    }

    fn over(own: Vec<Credential>, mut base: Vec<Credential>) -> Vec<Credential> {
        base.extend(own);
        base
    }
}

fn credential(at: At) -> Result<Credential, PolicyError> {
    let Some(table) = at.keyed(&keys::CREDENTIAL)? else {
        return Err(at.wrong_type("a table: its keys with their values"));
    };
    let text = |key: &'static str| -> Result<(At, &str), PolicyError> {
        let at = at.need(table, key)?;
        Ok((at, At { key, ..at }.string("a string")?))
    };
    let (host_at, host) = text("host")?;
    let host = Name::parse(host.as_bytes()).map_err(|e| bad(host_at, host, RuleError::Host(e)))?;
    let (header_at, header) = text("header")?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if header.is_empty() || !header.bytes().all(token) {
        return Err(network(header_at, NetworkFault::Header(header.to_owned())));
    }
    let (variable_at, variable) = text("variable")?;
    Ok(Credential {
        host,
        header: header.to_ascii_lowercase(),
        variable: variable_name(variable_at, variable)?,
        secret: secret(at.need(table, "secret")?)?,
        origin: at.origin(),
    })
}

fn variable_name(at: At, name: &str) -> Result<String, PolicyError> {
    match is_variable_name(name) {
        true => Ok(name.to_owned()),
        false => Err(PolicyError::BadName {
            at: at.place(),
            name: name.to_owned(),
            fault: NameFault::Malformed,
        }),
    }
}

fn secret(at: At) -> Result<Secret, PolicyError> {
    let at = At {
        key: "network.credentials.secret",
        ..at
    };
    let Some(table) = at.keyed(&keys::SECRET)? else {
        return Err(at.wrong_type("a table, for example { env = \"API_KEY\" }"));
    };
    match (table.get("env"), table.get("file")) {
        (Some(env), None) => {
            let at = at.of(env);
            variable_name(at, at.string("a variable's name")?).map(Secret::Variable)
        }
        (None, Some(file)) => {
            let at = at.of(file);
            plain(at, at.string("a path")?).map(Secret::File)
        }
        _ => Err(network(at, NetworkFault::Secret)),
    }
}

/// The resolvers for names. A layer's own list replaces that of a file that it extends.
pub struct Resolvers;

impl Form for Resolvers {
    type Value = Vec<Sourced<SocketAddr>>;

    fn read(at: At) -> Result<Self::Value, PolicyError> {
        let mut all = vec![];
        for at in at.elements("an array, for example [\"9.9.9.9:53\"]")? {
            let text = at.string("each resolver as a string")?;
            let address = text.parse().ok().filter(|a: &SocketAddr| a.port() > 0);
            let bad = || network(at, NetworkFault::Resolver(text.to_owned()));
            all.push(at.sourced(address.ok_or_else(bad)?));
        }
        match all.is_empty() {
            true => Err(at.empty_list("leave it out for the machine's resolvers, or name one")),
            false => Ok(all),
        }
    }

    fn schema() -> Json {
        json!({ "type": "array", "minItems": 1, "items": { "type": "string", "pattern": ":[0-9]+$" } })
    }

    fn print(all: &Self::Value, key: &str, out: &mut Printer) {
        let text = |one: &Sourced<SocketAddr>| quoted(&one.value.to_string());
        out.list(key, all.iter().map(|one| (text(one), Some(&one.origin))));
    }
}

/// Checks the rules of a section together: `*` needs mode `open`, and credentials need a rule with which
/// creel sees the requests.
pub fn check(
    file: &File,
    of: &Table,
    is_open: bool,
    allow: &[Rule],
    credentials: &[Credential],
) -> Result<(), PolicyError> {
    let nodes = |key| match of.get(key).map(|node| &node.value) {
        Some(Value::Array(nodes)) => nodes.as_slice(),
        _ => &[],
    };
    let at = |node: &'_ Node| file.text.place(node.span.start);
    let any = allow.iter().position(|rule| rule.to == To::Any && !is_open);
    if let Some(node) = any.and_then(|at| nodes("allow").get(at)) {
        return Err(bad(
            At {
                file,
                node,
                key: "network.allow",
            },
            "*",
            RuleError::Any,
        ));
    }
    for (one, node) in credentials.iter().zip(nodes("credentials")) {
        let host = Host::Name(one.host.clone());
        let ended = |rule: &Rule| rule.tls == Tls::Terminate && rule.to.has(&host);
        if !allow.iter().any(ended) {
            let fault = NetworkFault::Forwarded(one.host.to_string());
            return Err(PolicyError::Network {
                at: at(node),
                fault,
            });
        }
    }
    Ok(())
}

pub fn secret_text(secret: &Secret) -> String {
    match secret {
        Secret::Variable(name) => format!("{{ env = {} }}", quoted(name)),
        Secret::File(path) => format!("{{ file = {} }}", quoted(path)),
    }
}

/// A rule that allows, printed as an element of `allow`.
pub fn rule_text(rule: &Rule) -> String {
    let to = rule.to.to_string();
    let usual = rule.ports == rule.protocol.ports();
    if (rule.protocol, rule.tls, &rule.http) == (Protocol::Auto, Tls::Forward, &None) {
        return quoted(&if usual { to } else { rule.destination() });
    }
    let mut parts = vec![("host", quoted(&to))];
    if !usual {
        parts.push(("ports", quoted(&ports_text(&rule.ports))));
    }
    if rule.protocol != Protocol::Auto {
        parts.push(("protocol", quoted(rule.protocol.name())));
    }
    if rule.tls != Tls::Forward {
        parts.push(("tls", quoted(rule.tls.name())));
    }
    let http = rule
        .http
        .iter()
        .flat_map(|h| [("methods", &h.methods), ("paths", &h.paths)]);
    for (key, words) in http.filter(|(_, words)| !words.is_empty()) {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        parts.push((key, format!("[{}]", words.join(", "))));
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{{ {} }}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;

    #[test]
    fn networks() {
        refused(
            r#"
            [network]|mode = 'proxy'
            2:8: 'network.mode' does not have the value 'proxy'; known: none, allowlist, ask, open
            [network]|mode = 'opn'
            2:8: 'network.mode' does not have the value 'opn'; did you mean 'open'?
            [network]|allow = 'a.example'
            2:9: 'network.allow' is a string; write an array of destinations, for example ["github.com"]
            [network]|allow = ['']
            2:10: destination '' in 'network.allow' is empty; remove it, or write a host
            [network]|allow = [',']
            2:10: destination ',' in 'network.allow' is not a host: the character ',' is not allowed in a host name; write a name, *.NAME, an address, or ADDRESS/BITS
            [network]|allow = ["a\u0000.example"]
            2:10: destination 'a\0.example' in 'network.allow' is not a host: the character '\0' is not allowed in a host name; write a name, *.NAME, an address, or ADDRESS/BITS
            [network]|allow = ['https://github.com/x']
            2:10: destination 'https://github.com/x' in 'network.allow' is a URL; write its host, and its path under `paths`
            [network]|allow = ['git*.com']
            2:10: destination 'git*.com' in 'network.allow' has a `*` that does not stand for whole labels; write *.NAME for every name below NAME
            [network]|allow = ['*:443']
            2:10: destination '*' in 'network.allow' grants every name, which only `mode = "open"` does; name the hosts, or set that mode
            [network]|allow = ['10.1.2.3/8:5432']
            2:10: destination '10.1.2.3/8:5432' in 'network.allow' is not a range: its address has bits set beyond the prefix length; write 10.0.0.0/8
            [network]|allow = ['a.example:http']
            2:10: destination 'a.example:http' in 'network.allow' has the invalid port 'http'; write numbers from 1 to 65535, as in 443,8000-8010
            [network]|allow = [{ ports = [443] }]
            2:10: 'network.allow: host' is missing; add it
            [network]|allow = [{ host = 'a.example:443', ports = [443] }]
            2:19: destination 'a.example:443' in 'network.allow' has ports twice; write them behind the host or under `ports`
            [network]|allow = [{ host = 'a.example', ports = [] }]
            2:40: 'ports' is an empty list; leave it out for the usual ports, or name some
            [network]|allow = [{ host = 'a.example', ports = [70000] }]
            2:41: destination '70000' in 'network.allow' has the invalid port '70000'; write numbers from 1 to 65535, as in 443,8000-8010
            [network]|allow = [{ host = 'a.example', methods = ['GET'] }]
            2:19: destination 'a.example' in 'network.allow' has methods or paths, which creel sees only in TLS that it terminates or in plain HTTP; add tls = "terminate" or protocol = "http"
            [network]|allow = [{ host = 'a.example', protocol = 'tcp' }]
            2:19: destination 'a.example' in 'network.allow' has no ports, and `protocol = "tcp"` has no default ports; add them
            [network]|allow = [{ host = 'a.example', protocol = 'http', paths = ['/a/../b'] }]
            2:19: destination 'a.example' in 'network.allow' has the path '/a/../b', which is not valid; begin it with '/', and leave out `..`, `//`, `%`, `;`, `?` and `\`
            [network]|allow = [{ host = 'a.example', protocol = 'http', methods = [] }]
            2:61: 'methods' is an empty list; leave it out for any, or take the destination out
            [network]|allow = [{ host = 'a.example', tls = 'end' }]
            2:38: 'tls' does not have the value 'end'; known: forward, terminate
            [network]|allow = [{ host = 'a.example', prots = [443] }]
            2:32: unknown key 'prots' in a destination; did you mean 'ports'?
            [network]|resolvers = ['dns.example']
            2:14: resolver 'dns.example' in 'network.resolvers' is not IP:PORT; write for example "9.9.9.9:53"
            [network]|resolvers = ['9.9.9.9:0']
            2:14: resolver '9.9.9.9:0' in 'network.resolvers' is not IP:PORT; write for example "9.9.9.9:53"
            [network.limits]|conections = 5
            2:1: unknown key 'conections' in [network.limits]; did you mean 'connections'?
            [network.limits]|bytes_in = 5
            2:12: 'network.limits.bytes_in' is an integer; write a size in quotes, for example "2GiB"
            [[network.credentials]]|host = 'a.example'|header = 'x'|variable = 'X'|secret = { env = 'Y' }
            1:1: creel cannot add the credential for 'a.example', because it does not terminate that host's TLS; allow the host with tls = "terminate"
            [[network.credentials]]|host = 'a.example'|header = 'x y'
            3:10: header 'x y' in 'network.credentials' is not the name of a header; write for example "authorization"
            [[network.credentials]]|host = 'a.example'|header = 'x'|variable = 'X'|secret = {}
            5:10: 'network.credentials.secret' needs one of env and file; write { env = "NAME" } or { file = "/path" }
            "#,
        );
    }
}
