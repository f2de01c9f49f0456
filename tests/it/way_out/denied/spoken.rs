//! E6: what is said on a connection must be what was asked for.

use serde_json::{Value, json};

use super::super::Jail;
use super::Row;
use crate::support::Who;

const WEB: &str = "mode = \"allowlist\"\nallow = [\"web.test\"]";
/// A server name that was not granted (RFC 6066).
const UNRECOGNIZED: &str = "alert 112";
const DECODE: &str = "alert 50";
/// TLS's access_denied.
const DENIED: &str = "alert 49";

/// By the ways that have TLS in them.
fn in_tls(more: Value, answer: &'static str) -> Vec<Row> {
    let row = |way| {
        let mut attempt = json!({ "way": way, "host": "web.test", "hello": true });
        let more = more.as_object().expect("a table").clone();
        attempt.as_object_mut().expect("a table").extend(more);
        (attempt, answer)
    };
    ["tls", "connect", "socks"].into_iter().map(row).collect()
}

/// By the ways that have HTTP at port 80 in them.
fn in_http(field: &str, answer: &'static str) -> Vec<Row> {
    let row = |way| {
        let attempt = json!({ "way": way, "host": "web.test", "port": 80, "host_field": field });
        (attempt, answer)
    };
    let ways = ["plain", "connect", "socks"];
    ways.into_iter().map(row).collect()
}

#[test]
fn e6_a_server_name_must_be_the_granted_one_by_every_way() {
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let rows = [
        in_tls(json!({ "sni": "other.test" }), UNRECOGNIZED),
        in_tls(json!({ "sni": "web.test.evil.test" }), UNRECOGNIZED),
        in_tls(json!({ "sni": "93.184.216.34" }), UNRECOGNIZED),
        in_tls(json!({}), UNRECOGNIZED),
        in_tls(json!({ "sni": "" }), DECODE),
        in_tls(json!({ "names": ["web.test", "other.test"] }), DECODE),
        in_tls(json!({ "sni": "web.test", "ech": true }), DENIED),
        // However it is cut, it is read whole.
        in_tls(json!({ "sni": "other.test", "record": 7 }), UNRECOGNIZED),
        in_tls(json!({ "sni": "other.test", "split": true }), UNRECOGNIZED),
    ];
    let jail = jail.logged();
    let rows = rows.concat();
    let ran = jail.holds(&rows);
    assert_eq!(ran.refusals(), rows.len() as u64, "{ran:#?}");
    // A proxy says whether anybody answers before the first byte; none of these got one.
    assert_eq!(jail.outside.requests(), Vec::<String>::new());
    let log = jail.log();
    for (code, why) in [
        (
            "net-server-name-other",
            "the server name is other.test, which was not granted",
        ),
        (
            "net-server-name-missing",
            "the TLS client sends no server name",
        ),
        (
            "net-encrypted-hello",
            "the hello may contain another, encrypted name (ECH); switch ECH off in the client, or set `tls = \"terminate\"` in the rule",
        ),
    ] {
        for way in ["transparent", "connect", "socks5"] {
            let closed = |line: &Value| {
                line["way"] == way && line["refused"] == why && line["reason"]["code"] == code
            };
            assert!(log.iter().any(closed), "{way}: {why}: {log:#?}");
        }
    }
    let controls = [
        in_tls(json!({ "sni": "web.test" }), "server hello"),
        in_tls(json!({ "sni": "WEB.test" }), "server hello"),
        in_tls(json!({ "sni": "web.test", "record": 7 }), "server hello"),
        in_tls(json!({ "sni": "web.test", "split": true }), "server hello"),
    ];
    jail.holds(&controls.concat());
}

/// If creel ends the TLS, nothing of a hello is forwarded: encrypted parts of it are lost.
#[test]
fn e6_an_encrypted_name_is_no_matter_where_tls_is_ended() {
    let network = "mode = \"allowlist\"\nallow = [{ host = \"web.test\", tls = \"terminate\" }]";
    let Some(jail) = Jail::new(Who::Root, network) else {
        return;
    };
    let rows = [
        in_tls(json!({ "sni": "other.test", "ech": true }), UNRECOGNIZED),
        in_tls(json!({ "sni": "web.test", "ech": true }), "server hello"),
    ];
    jail.holds(&rows.concat());
}

#[test]
fn e6_a_host_field_must_be_the_granted_one_by_every_way() {
    let Some(jail) = Jail::new(Who::User, WEB) else {
        return;
    };
    let absolute =
        |field: &str| json!({ "way": "absolute", "host": "web.test", "host_field": field });
    let mut rows = [
        in_http("other.test", "403 creel"),
        in_http("web.test.evil.test", "403 creel"),
        in_http("web.test:81", "403 creel"),
        in_http("web.test, other.test", "400 creel"),
        in_http("", "400 creel"),
    ]
    .concat();
    rows.extend(
        ["other.test", "web.test:81", "web.test, other.test", ""]
            .map(|field| (absolute(field), "400 creel")),
    );
    let ran = jail.holds(&rows);
    assert_eq!(ran.refusals(), rows.len() as u64, "{ran:#?}");
    assert_eq!(jail.outside.requests(), Vec::<String>::new());
    let mut controls = [in_http("web.test", "200"), in_http("WEB.test:80", "200")].concat();
    controls.push((absolute("web.test:80"), "200"));
    jail.holds(&controls);
}

/// TLS to 443 and HTTP to 80, and nothing else there.
#[test]
fn e6_a_protocol_must_be_that_of_its_port() {
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let at = |way: &str, port: u16, more: &str| {
        let mut attempt = json!({ "way": way, "host": "web.test", "port": port });
        attempt[more] = true.into();
        attempt
    };
    let rows = [
        (at("plain", 443, "clear"), "403 creel"),
        (at("connect", 443, "clear"), "403 creel"),
        (at("socks", 443, "clear"), "403 creel"),
        (at("plain", 80, "tls"), "alert TLSV1_ALERT_ACCESS_DENIED"),
        (at("connect", 80, "tls"), "alert TLSV1_ALERT_ACCESS_DENIED"),
        (at("socks", 80, "tls"), "alert TLSV1_ALERT_ACCESS_DENIED"),
    ];
    let ran = jail.holds(&rows);
    assert_eq!(ran.refusals(), rows.len() as u64, "{ran:#?}");
    assert_eq!(jail.outside.requests(), Vec::<String>::new());
    jail.holds(&[
        (at("plain", 80, "clear"), "200"),
        (at("connect", 80, "clear"), "200"),
        (at("socks", 80, "clear"), "200"),
        (at("tls", 443, "tls"), "200"),
        (at("connect", 443, "tls"), "200"),
        (at("socks", 443, "tls"), "200"),
    ]);
}
