//! Each refusal has its code and the rule behind it, the same in the log and in the verdict.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Jail;
use crate::support::{Ran, Who};

/// `network.toml` has three lines before it.
const NETWORK: &str = r#"mode = "allowlist"
allow = [
  "web.test",
  "other.test:82",
  "gone.test:81",
  { host = "*.wild.test", ports = 443, protocol = "tls" },
  { host = "api.test", tls = "terminate", methods = ["GET"], paths = ["/v1/*"] },
  { host = "web.test.evil.test", tls = "terminate" },
]
deny = ["evilweb.test", "10.9.0.0/16"]"#;

/// The lines of these rules.
const WEB: Option<u64> = Some(6);
const API: Option<u64> = Some(10);
const DENY: Option<u64> = Some(13);

/// Attempts with raw sockets; nothing is printed, the records are compared.
const CLIENT: &str = r#"
import socket, ssl
def send(to, *said):
    try:
        s = socket.create_connection(to, 8); s.settimeout(8)
        for text in said: s.sendall(text); s.recv(4096)
        while s.recv(4096): pass
    except OSError: pass
def proxy(*said): send(('198.18.0.1', 3128), *said)
def socks(*said): send(('198.18.0.1', 1080), *said)
def connect(to, more=b''): proxy(b'CONNECT ' + to + b' HTTP/1.1\r\n' + more + b'\r\n')
def tls(to, sni, said=b'', alpn=None, verify=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if not verify: context.verify_mode = ssl.CERT_NONE
    if alpn: context.set_alpn_protocols(alpn)
    try:
        s = socket.create_connection(to, 8)
        s = context.wrap_socket(s, server_hostname=sni)
        s.sendall(said)
        while s.recv(4096): pass
    except OSError: pass
def get(path, host=b'api.test', method=b'GET'):
    return method + b' ' + path + b' HTTP/1.1\r\nHost: ' + host + b'\r\nConnection: close\r\n\r\n'
"#;

/// An attempt, the code of its refusal, and the line of the rule.
type Row = (&'static str, &'static str, Option<u64>);

/// By the proxy for HTTP.
const PROXIED: [Row; 15] = [
    ("connect(b'none.test:443')", "net-unlisted", None),
    ("connect(b'evilweb.test:443')", "net-denied", DENY),
    ("connect(b'10.1.2.3:443')", "net-special-address", None),
    (
        "connect(b'host.creel.internal:443')",
        "net-host-loopback",
        None,
    ),
    ("connect(b'me@web.test:443')", "net-no-host", None),
    (
        "connect(b'web.test:443', b'Host: other.test\\r\\n')",
        "http-host",
        None,
    ),
    (
        "connect(b'web.test:443', b'Host: web.test\\r\\n' * 2)",
        "http-hosts",
        None,
    ),
    (
        "connect(b'web.test:443', b'Content-Length: 5\\r\\n')",
        "http-body",
        None,
    ),
    (
        "proxy(b'CONNECT \\0:1\\r\\n\\r\\n')",
        "http-malformed",
        None,
    ),
    ("proxy(b'\\x16\\3\\1')", "http-tls", None),
    (
        "connect(b'web.test:443', b'A: b\\r\\n' * 101)",
        "http-too-long",
        None,
    ),
    ("connect(b'gone.test:81')", "dns-no-name", None),
    ("connect(b'other.test:82')", "net-connection-refused", None),
    ("connect(b'a.wild.test:443')", "net-resolved-special", None),
    (
        "proxy(get(b'http://web.test/', b'other.test'))",
        "net-http-request",
        None,
    ),
];

/// By the proxy for SOCKS.
const SOCKS: [Row; 8] = [
    ("socks(b'\\4\\1')", "socks-four", None),
    ("socks(b'\\x09')", "socks-version", None),
    ("socks(b'\\5\\1\\7')", "socks-no-method", None),
    (
        "socks(b'\\5\\1\\2', b'\\5\\1a\\1b')",
        "socks-password",
        None,
    ),
    (
        "socks(b'\\5\\1\\0', b'\\5\\2\\0\\1\\1\\2\\3\\4\\0\\x50')",
        "socks-command",
        None,
    ),
    (
        "socks(b'\\5\\1\\0', b'\\5\\1\\0\\x09\\1\\2\\3\\4\\0\\x50')",
        "socks-address-type",
        None,
    ),
    (
        "socks(b'\\5\\1\\0', b'\\5\\1\\1\\1\\1\\2\\3\\4\\0\\x50')",
        "socks-reserved",
        None,
    ),
    (
        "socks(b'\\5\\1\\0', b'\\5\\1\\0\\1\\1\\2\\3\\4\\0\\0')",
        "socks-port",
        None,
    ),
];

/// On connections to the destinations themselves.
const DIRECT: [Row; 13] = [
    ("send(('127.0.0.1', 443))", "net-jail-loopback", None),
    (
        "send(('web.test', 80), get(b'/', b'other.test'))",
        "net-http-host",
        None,
    ),
    (
        "send(('web.test', 80), b'\\0\\1\\2\\r\\n')",
        "net-protocol",
        WEB,
    ),
    ("tls(('web.test', 80), 'web.test')", "net-tls", WEB),
    (
        "send(('web.test', 443), get(b'/', b'web.test:443'))",
        "net-request",
        WEB,
    ),
    (
        "send(('web.test', 443), b'\\x16\\3\\1\\0\\5\\1\\0\\0\\1\\0')",
        "net-hello",
        None,
    ),
    (
        "tls(('web.test', 443), 'other.test')",
        "net-server-name-other",
        None,
    ),
    (
        "tls(('web.test', 443), None)",
        "net-server-name-missing",
        None,
    ),
    (
        "tls(('api.test', 443), 'api.test', get(b'/v2'))",
        "net-request",
        API,
    ),
    (
        "tls(('api.test', 443), 'api.test', get(b'/v1/../x'))",
        "net-ambiguous-path",
        API,
    ),
    (
        "tls(('api.test', 443), 'api.test', alpn=['spdy/3'])",
        "net-tls-no-http",
        None,
    ),
    (
        "tls(('api.test', 443), 'api.test', verify=True)",
        "net-client-tls",
        None,
    ),
    (
        "tls(('web.test.evil.test', 443), 'web.test.evil.test', get(b'/', b'web.test.evil.test'))",
        "net-host-tls",
        None,
    ),
];

/// The code and the line of a reason; the file must be the policy.
fn read(reason: &Value) -> (String, Option<u64>) {
    let rule = &reason["rule"];
    let file = rule["file"].as_str();
    assert!(
        rule.is_null() || file.is_some_and(|file| file.ends_with("/network.toml")),
        "{reason}"
    );
    let code = reason["code"].as_str().expect("a code");
    (code.into(), rule["line"].as_u64())
}

/// What a jail was refused: the codes and lines of its log, which its verdict has too.
fn reasons(jail: &Jail, ran: &Ran) -> BTreeSet<(String, Option<u64>)> {
    let mut found = BTreeSet::new();
    for line in jail.log() {
        assert_eq!(
            line["refused"].is_null(),
            line["reason"].is_null(),
            "{line}"
        );
        if !line["reason"].is_null() {
            found.insert(read(&line["reason"]));
        }
    }
    let denials = ran.verdict["denials"].as_array().expect("a list");
    for denial in denials {
        let reason = read(&denial["reason"]);
        assert!(found.contains(&reason), "{denial}: {found:?}");
        assert_eq!(denial["layer"], "network");
        let count = denial["count"].as_u64();
        assert!(count.is_some_and(|count| count > 0), "{denial}");
    }
    assert!(!denials.is_empty(), "{ran:#?}");
    found
}

#[track_caller]
fn hold(who: Who, rows: &[Row]) {
    for (attempt, code, line) in rows {
        let Some(jail) = Jail::new(who, NETWORK) else {
            return;
        };
        jail.outside.lead("a.wild.test", &[[10, 1, 1, 1].into()]);
        let jail = jail.logged();
        let ran = jail.python(&format!("{CLIENT}{attempt}")).ok();
        let expected = BTreeSet::from([((*code).to_owned(), *line)]);
        assert_eq!(reasons(&jail, &ran), expected, "{attempt}: {ran:#?}");
    }
}

#[test]
fn a_refusal_of_the_proxy_for_http_has_its_code_and_its_rule() {
    hold(Who::Root, &PROXIED);
}

#[test]
fn a_refusal_of_the_proxy_for_socks_has_its_code() {
    hold(Who::User, &SOCKS);
}

each!(a_refusal_of_a_connection_has_its_code_and_its_rule);
fn a_refusal_of_a_connection_has_its_code_and_its_rule(who: Who) {
    hold(who, &DIRECT);
}

/// A limit is a rule too, with its own line. The control is the connection that it ends or lets be.
#[test]
fn a_limit_has_its_code_and_its_line() {
    let open = "def open():\n\
        \x20   s = socket.create_connection(('web.test', 7), 8); s.sendall(b'x'); s.recv(1); return s\n";
    for (limit, attempt, code) in [
        (
            "connections = 1",
            "a, b = open(), None\ntry: b = open()\nexcept OSError: pass",
            "net-limit-connections",
        ),
        (
            "rate = 1",
            "for _ in range(9):\n    try: open()\n    except OSError: pass",
            "net-limit-rate",
        ),
        ("idle = \"1s\"", "open().recv(1)", "net-idle"),
    ] {
        let allow = "mode = \"allowlist\"\nallow = [{ host = \"web.test\", ports = 7, protocol = \"tcp\" }]";
        let network = format!("{allow}\n[network.limits]\n{limit}");
        let Some(jail) = Jail::new(Who::User, &network) else {
            return;
        };
        jail.outside.serve(7, |mut client, _| {
            let mut byte = [0];
            while client.read(&mut byte)? > 0 {
                client.write_all(&byte)?;
            }
            Ok(())
        });
        let jail = jail.logged();
        let script = format!(
            "{CLIENT}{open}open_all = '''{attempt}'''\ntry: exec(open_all)\nexcept OSError: pass"
        );
        let ran = jail.python(&script).ok();
        let expected = BTreeSet::from([(code.to_owned(), Some(7))]);
        assert_eq!(reasons(&jail, &ran), expected, "{limit}: {ran:#?}");
        assert_ne!(jail.outside.connections(), [], "{limit}");
    }
}

/// A flag has no line, and its file is what other messages call it.
#[test]
fn a_flag_is_a_rule_without_a_line() {
    let Some(jail) = Jail::new(Who::User, "mode = \"none\"") else {
        return;
    };
    let jail = jail.flags(&["--allow-net", "web.test"]);
    let script = "send(('web.test', 80), b'\\0\\1\\2\\r\\n')";
    let ran = jail.python(&format!("{CLIENT}{script}")).ok();
    let reason = &ran.verdict["denials"][0]["reason"];
    assert_eq!(reason["code"], "net-protocol", "{ran:#?}");
    let rule = &reason["rule"];
    assert!(rule["file"].is_string() && rule["line"].is_null(), "{rule}");
}
