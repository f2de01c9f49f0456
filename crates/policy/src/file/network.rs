//! `[network]`: destinations, limits, credentials, resolvers.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use super::keys;
use super::sections::is_variable_name;
use super::walk::{File, Section, get};
use crate::error::{NameFault, PolicyError};
use crate::net::rule::{self, parse_ports};
use crate::net::{
    Credential, Http, Limits, Mode, NetworkFault, Protocol, Rule, RuleError, Said, Secret, Tls, To,
};
use crate::tree::{Node, Table, Value};
use crate::{Name, Sourced};

const EXAMPLE: &str = "an array of destinations, for example [\"github.com\"]";
const ONE: &str = "a destination, or { host = \"github.com\", ports = [443] }";

impl File<'_> {
    pub fn network(&self, table: Section) -> Result<Said, PolicyError> {
        let mode = self.word(table, "network.mode", Mode::WORDS, Mode::parse)?;
        let allow = match get(table, "allow") {
            None => None,
            Some(_) => {
                let nodes = self.array(table, "network.allow", EXAMPLE)?;
                let rules = nodes.iter().map(|node| self.rule(node));
                Some(rules.collect::<Result<Vec<_>, _>>()?)
            }
        };
        let deny = self.array(table, "network.deny", EXAMPLE)?.iter();
        let deny = deny.map(|node| self.denial(node));
        let said = Said {
            deny: deny.collect::<Result<_, _>>()?,
            limits: self.network_limits(table)?,
            credentials: self.credentials(table)?,
            resolvers: self.resolvers(table)?,
            mode,
            allow,
        };
        self.check_any(table, &said)?;
        self.check_credentials(table, &said)?;
        Ok(said)
    }

    fn fault(&self, node: &Node, key: &str, text: &str, fault: RuleError) -> PolicyError {
        let fault = NetworkFault::Destination {
            key: key.to_owned(),
            text: text.to_owned(),
            fault,
        };
        self.network_fault(node, fault)
    }

    fn network_fault(&self, node: &Node, fault: NetworkFault) -> PolicyError {
        PolicyError::Network {
            at: self.place_of(node),
            fault,
        }
    }

    fn denial(&self, node: &Node) -> Result<Rule, PolicyError> {
        const KEY: &str = "network.deny";
        let text = self.string(node, KEY, "each destination as a string")?;
        Rule::denial(text, self.origin(node)).map_err(|fault| self.fault(node, KEY, text, fault))
    }

    fn rule(&self, node: &Node) -> Result<Rule, PolicyError> {
        const KEY: &str = "network.allow";
        let Value::Table(table) = &node.value else {
            let text = self.string(node, KEY, ONE)?;
            return Rule::of_text(text, self.origin(node))
                .map_err(|fault| self.fault(node, KEY, text, fault));
        };
        self.check_keys(table, &keys::DESTINATION)?;
        let host = table.get("host").ok_or_else(|| PolicyError::MissingKey {
            at: self.place_of(node),
            key: format!("{KEY}: host"),
        })?;
        let text = self.string(host, "host", "a host, for example \"github.com\"")?;
        let fault = |fault| self.fault(host, KEY, text, fault);
        let (to, own) = rule::parse(text).map_err(fault)?;
        let ports = match (own, self.ports(table)?) {
            (Some(_), Some(_)) => return Err(fault(RuleError::PortsTwice)),
            (own, named) => own.or(named),
        };
        let section = Some(table);
        let protocol = self.word(section, "protocol", Protocol::WORDS, Protocol::parse)?;
        let tls = self.word(section, "tls", Tls::WORDS, Tls::parse)?;
        let http = match (
            self.requests(table, "methods")?,
            self.requests(table, "paths")?,
        ) {
            (None, None) => None,
            (methods, paths) => Some(
                Http::new(methods.unwrap_or_default(), paths.unwrap_or_default()).map_err(fault)?,
            ),
        };
        let protocol = protocol.map(|p| p.value).unwrap_or_default();
        let tls = tls.map(|tls| tls.value).unwrap_or_default();
        Rule::new(to, ports, protocol, tls, http, self.origin(host)).map_err(fault)
    }

    /// `443`, `"443,8000-8010"`, or an array of these.
    fn ports(&self, table: &Table) -> Result<Option<BTreeSet<u16>>, PolicyError> {
        const KEY: &str = "ports";
        const EXPECTED: &str = "ports, for example [443, \"8000-8010\"]";
        let Some(node) = table.get(KEY) else {
            return Ok(None);
        };
        let one = std::slice::from_ref(node);
        let nodes = match &node.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => one,
        };
        let mut ports = BTreeSet::new();
        for node in nodes {
            let text = match &node.value {
                Value::Integer(number) => number.to_string(),
                Value::String(text) => text.to_string(),
                _ => return Err(self.wrong_type(node, KEY, EXPECTED)),
            };
            let found = parse_ports(&text);
            ports.extend(found.map_err(|fault| self.fault(node, "network.allow", &text, fault))?);
        }
        match ports.is_empty() {
            true => Err(PolicyError::EmptyList {
                at: self.place_of(node),
                key: KEY.into(),
                remedy: "leave it out for the usual ports, or name some",
            }),
            false => Ok(Some(ports)),
        }
    }

    fn requests(&self, table: &Table, key: &str) -> Result<Option<BTreeSet<String>>, PolicyError> {
        let Some(node) = table.get(key) else {
            return Ok(None);
        };
        let nodes = self.array(Some(table), key, "an array of strings")?;
        let words = nodes.iter().map(|node| {
            let word = self.string(node, key, "a string")?;
            Ok(word.to_owned())
        });
        let words: BTreeSet<String> = words.collect::<Result<_, _>>()?;
        match words.is_empty() {
            // No request would match, and no list at all means any.
            true => Err(PolicyError::EmptyList {
                at: self.place_of(node),
                key: key.to_owned(),
                remedy: "leave it out for any, or take the destination out",
            }),
            false => Ok(Some(words)),
        }
    }

    fn network_limits(&self, table: Section) -> Result<Limits, PolicyError> {
        let Some(node) = get(table, "limits") else {
            return Ok(Limits::default());
        };
        let Value::Table(limits) = &node.value else {
            return Err(self.wrong_type(
                node,
                "network.limits",
                "a table: its keys with their values",
            ));
        };
        self.check_keys(limits, &keys::NETWORK_LIMITS)?;
        let of = Some(limits);
        Ok(Limits {
            connections: self.count(of, "network.limits.connections")?,
            rate: self.count(of, "network.limits.rate")?,
            bytes_in: self.size(of, "network.limits.bytes_in")?,
            bytes_out: self.size(of, "network.limits.bytes_out")?,
            bandwidth: self.size(of, "network.limits.bandwidth")?,
            idle: self.span(of, "network.limits.idle")?,
        })
    }

    fn credentials(&self, table: Section) -> Result<Vec<Credential>, PolicyError> {
        const KEY: &str = "network.credentials";
        let example = "an array of tables: [[network.credentials]]";
        let nodes = self.array(table, KEY, example)?.iter();
        nodes.map(|node| self.credential(node)).collect()
    }

    fn credential(&self, node: &Node) -> Result<Credential, PolicyError> {
        const KEY: &str = "network.credentials";
        let Value::Table(table) = &node.value else {
            return Err(self.wrong_type(node, KEY, "a table: its keys with their values"));
        };
        self.check_keys(table, &keys::CREDENTIAL)?;
        let need = |name: &str| {
            table.get(name).ok_or_else(|| PolicyError::MissingKey {
                at: self.place_of(node),
                key: format!("{KEY}: {name}"),
            })
        };
        let text = |name: &str| Ok((need(name)?, self.string(need(name)?, name, "a string")?));
        let (at, host): (&Node, &str) = text("host")?;
        let host = Name::parse(host.as_bytes())
            .map_err(|e| self.fault(at, KEY, host, RuleError::Host(e)))?;
        let (at, header): (&Node, &str) = text("header")?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.is_empty() || !header.bytes().all(token) {
            return Err(self.network_fault(at, NetworkFault::Header(header.to_owned())));
        }
        let (at, variable): (&Node, &str) = text("variable")?;
        if !is_variable_name(variable) {
            return Err(PolicyError::BadName {
                at: self.place_of(at),
                name: variable.to_owned(),
                fault: NameFault::Malformed,
            });
        }
        Ok(Credential {
            host,
            header: header.to_ascii_lowercase(),
            variable: variable.to_owned(),
            secret: self.secret(need("secret")?)?,
            origin: self.origin(node),
        })
    }

    fn secret(&self, node: &Node) -> Result<Secret, PolicyError> {
        const KEY: &str = "network.credentials.secret";
        let Value::Table(table) = &node.value else {
            return Err(self.wrong_type(node, KEY, "a table, for example { env = \"API_KEY\" }"));
        };
        self.check_keys(table, &keys::SECRET)?;
        match (table.get("env"), table.get("file")) {
            (Some(env), None) => {
                let name = self.string(env, KEY, "a variable's name")?;
                match is_variable_name(name) {
                    true => Ok(Secret::Variable(name.to_owned())),
                    false => Err(PolicyError::BadName {
                        at: self.place_of(env),
                        name: name.to_owned(),
                        fault: NameFault::Malformed,
                    }),
                }
            }
            (None, Some(file)) => {
                let path = self.string(file, KEY, "a path")?;
                Ok(Secret::File(self.path(file, path, KEY)?.to_owned()))
            }
            _ => Err(self.network_fault(node, NetworkFault::Secret)),
        }
    }

    fn resolvers(&self, table: Section) -> Result<Option<Vec<Sourced<SocketAddr>>>, PolicyError> {
        const KEY: &str = "network.resolvers";
        let Some(node) = get(table, "resolvers") else {
            return Ok(None);
        };
        let mut all = vec![];
        for node in self.array(table, KEY, "an array, for example [\"9.9.9.9:53\"]")? {
            let text = self.string(node, KEY, "each resolver as a string")?;
            let address: Option<SocketAddr> =
                text.parse().ok().filter(|a: &SocketAddr| a.port() > 0);
            let bad = || self.network_fault(node, NetworkFault::Resolver(text.to_owned()));
            all.push(self.sourced(node, address.ok_or_else(bad)?));
        }
        match all.is_empty() {
            true => Err(PolicyError::EmptyList {
                at: self.place_of(node),
                key: KEY.into(),
                remedy: "leave it out for the machine's resolvers, or name one",
            }),
            false => Ok(Some(all)),
        }
    }

    /// `*` is mode `open`'s.
    fn check_any(&self, table: Section, said: &Said) -> Result<(), PolicyError> {
        if said
            .mode
            .as_ref()
            .is_some_and(|mode| mode.value == Mode::Open)
        {
            return Ok(());
        }
        let any = said.allow.iter().flatten();
        let any = any.enumerate().find(|(_, rule)| rule.to == To::Any);
        let nodes = self.array(table, "allow", EXAMPLE)?;
        match any.and_then(|(at, _)| nodes.get(at)) {
            Some(node) => Err(self.fault(node, "network.allow", "*", RuleError::Any)),
            None => Ok(()),
        }
    }

    /// What is put into requests needs requests that creel sees.
    fn check_credentials(&self, table: Section, said: &Said) -> Result<(), PolicyError> {
        for (at, one) in said.credentials.iter().enumerate() {
            let host = crate::net::Host::Name(one.host.clone());
            let ended = |rule: &Rule| rule.tls == Tls::Terminate && rule.to.has(&host);
            if said.allow.iter().flatten().any(ended) {
                continue;
            }
            let nodes = self.array(table, "credentials", EXAMPLE)?;
            if let Some(node) = nodes.get(at) {
                let fault = NetworkFault::Forwarded(one.host.to_string());
                return Err(self.network_fault(node, fault));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;

    #[test]
    fn networks() {
        refused(
            r#"
            [network]|mode = 'proxy'
            2:8: 'network.mode' has no 'proxy'; known: none, allowlist, ask, open
            [network]|mode = 'opn'
            2:8: 'network.mode' has no 'opn'; did you mean 'open'?
            [network]|allow = 'a.example'
            2:9: 'network.allow' is a string; write an array of destinations, for example ["github.com"]
            [network]|allow = ['']
            2:10: destination '' in 'network.allow' is empty; take it out, or write a host
            [network]|allow = [',']
            2:10: destination ',' in 'network.allow' is no host: the character ',' is none of a host name; write a name, *.NAME, an address, or ADDRESS/BITS
            [network]|allow = ["a\u0000.example"]
            2:10: destination 'a\0.example' in 'network.allow' is no host: the character '\0' is none of a host name; write a name, *.NAME, an address, or ADDRESS/BITS
            [network]|allow = ['https://github.com/x']
            2:10: destination 'https://github.com/x' in 'network.allow' is a URL; write its host, and its path under `paths`
            [network]|allow = ['git*.com']
            2:10: destination 'git*.com' in 'network.allow' has a `*` that does not stand for whole labels; write *.NAME for what is beneath NAME
            [network]|allow = ['*:443']
            2:10: destination '*' in 'network.allow' grants every name, which only `mode = "open"` does; name the hosts, or set that mode
            [network]|allow = ['10.1.2.3/8:5432']
            2:10: destination '10.1.2.3/8:5432' in 'network.allow' is no range: its address has bits beyond its length; write 10.0.0.0/8
            [network]|allow = ['a.example:http']
            2:10: destination 'a.example:http' in 'network.allow' has no port 'http'; write numbers from 1 to 65535, as in 443,8000-8010
            [network]|allow = [{ ports = [443] }]
            2:10: 'network.allow: host' is missing; add it
            [network]|allow = [{ host = 'a.example:443', ports = [443] }]
            2:19: destination 'a.example:443' in 'network.allow' has ports twice; write them behind the host or under `ports`
            [network]|allow = [{ host = 'a.example', ports = [] }]
            2:40: 'ports' is an empty list; leave it out for the usual ports, or name some
            [network]|allow = [{ host = 'a.example', ports = [70000] }]
            2:41: destination '70000' in 'network.allow' has no port '70000'; write numbers from 1 to 65535, as in 443,8000-8010
            [network]|allow = [{ host = 'a.example', methods = ['GET'] }]
            2:19: destination 'a.example' in 'network.allow' has methods or paths, which creel sees only in TLS that it ends or in plain HTTP; add tls = "terminate" or protocol = "http"
            [network]|allow = [{ host = 'a.example', protocol = 'tcp' }]
            2:19: destination 'a.example' in 'network.allow' has no ports, and `protocol = "tcp"` goes by none; name them
            [network]|allow = [{ host = 'a.example', protocol = 'http', paths = ['/a/../b'] }]
            2:19: destination 'a.example' in 'network.allow' has the path '/a/../b', which no request has; begin it with '/', and leave out `..`, `//`, `%`, `;`, `?` and `\`
            [network]|allow = [{ host = 'a.example', protocol = 'http', methods = [] }]
            2:61: 'methods' is an empty list; leave it out for any, or take the destination out
            [network]|allow = [{ host = 'a.example', tls = 'end' }]
            2:38: 'tls' has no 'end'; known: forward, terminate
            [network]|allow = [{ host = 'a.example', prots = [443] }]
            2:32: unknown key 'prots' in a destination; did you mean 'ports'?
            [network]|resolvers = ['dns.example']
            2:14: resolver 'dns.example' in 'network.resolvers' is no IP:PORT; write for example "9.9.9.9:53"
            [network]|resolvers = ['9.9.9.9:0']
            2:14: resolver '9.9.9.9:0' in 'network.resolvers' is no IP:PORT; write for example "9.9.9.9:53"
            [network.limits]|conections = 5
            2:1: unknown key 'conections' in [network.limits]; did you mean 'connections'?
            [network.limits]|bytes_in = 5
            2:12: 'network.limits.bytes_in' is an integer; write a size in quotes, for example "2GiB"
            [[network.credentials]]|host = 'a.example'|header = 'x'|variable = 'X'|secret = { env = 'Y' }
            1:1: the credential for 'a.example' has no TLS to be put into; allow that host with tls = "terminate"
            [[network.credentials]]|host = 'a.example'|header = 'x y'
            3:10: header 'x y' in 'network.credentials' is no header's name; write for example "authorization"
            [[network.credentials]]|host = 'a.example'|header = 'x'|variable = 'X'|secret = {}
            5:10: 'network.credentials.secret' needs one of env and file; write { env = "NAME" } or { file = "/path" }
            "#,
        );
    }
}
