//! E1, E2, E3, E9: which name is meant, and by whom it is seen.

use serde_json::json;

use super::super::Jail;
use super::{NO_NAME, REACHED, Row, WAYS, by_every_way};
use crate::support::outside::PUBLIC;
use crate::support::{Run, Who, Workspace};

/// Without a network there is nobody who could answer.
const NO_NETWORK: [&str; 6] = [
    "ENETUNREACH",
    "EAI_AGAIN",
    "EAI_AGAIN",
    "ENETUNREACH",
    "ENETUNREACH",
    "ENETUNREACH",
];

#[test]
fn e1_an_empty_or_absent_list_allows_nothing() {
    for (network, answers) in [
        ("mode = \"allowlist\"", NO_NAME),
        ("mode = \"allowlist\"\nallow = []", NO_NAME),
        ("allow = []", NO_NETWORK),
        ("", NO_NETWORK),
        ("mode = \"none\"", NO_NETWORK),
        ("mode = \"none\"\nallow = [\"web.test\"]", NO_NETWORK),
        ("mode = \"allowlist\"\nallow = [\"other.test\"]", NO_NAME),
    ] {
        let Some(jail) = Jail::new(Who::Root, network) else {
            return;
        };
        jail.holds_in_silence(&by_every_way("web.test", answers));
    }
    let granted = "mode = \"allowlist\"\nallow = [\"web.test\"]";
    let Some(jail) = Jail::new(Who::Root, granted) else {
        return;
    };
    jail.holds(&by_every_way("web.test", REACHED));
}

#[test]
fn e1_a_list_of_nothing_that_is_written_oddly_is_an_error() {
    let workspace = Workspace::new(Who::User);
    for (name, text) in [
        (
            "a.toml",
            "[network]\nmode = \"allowlist\"\nallow = [\"\"]\n",
        ),
        (
            "b.toml",
            "[network]\nmode = \"allowlist\"\nallow = [\",\"]\n",
        ),
        (
            "c.toml",
            "[network]\nmode = \"allowlist\"\nallow = [\" \"]\n",
        ),
        ("d.toml", "[network]\nmode = \"allowlist\"\nallow = \"\"\n"),
        (
            "e.json",
            "{\"network\": {\"mode\": \"allowlist\", \"allow\": null}}",
        ),
        ("f.yaml", "network:\n  mode: allowlist\n  allow:\n"),
        ("g.yaml", "network:\n  mode: allowlist\n  allow: [~]\n"),
    ] {
        let path = workspace.outside().join(name);
        std::fs::write(&path, text).expect("write");
        let ran = Run::new(Who::User, &workspace).policy(&path).sh("true");
        assert_eq!(ran.status, 125, "{name}: {ran:#?}");
        assert!(ran.stderr.contains("network.allow"), "{name}: {ran:#?}");
    }
}

/// Names that a matcher and a resolver could read differently are refused before they are matched.
#[test]
fn e2_what_is_no_host_name_is_refused_by_every_parser() {
    let network = "mode = \"allowlist\"\nallow = [\"web.test\", \"*.wild.test\"]";
    let Some(jail) = Jail::new(Who::Root, network) else {
        return;
    };
    let long = "x".repeat(64) + ".wild.test";
    let longer = "abcdefghi.".repeat(25) + "wild.test";
    // Host, and the answers of dns, CONNECT, absolute form, SOCKS5, a server name to web.test, a Host
    // field on a connection to web.test.
    // The HTTP library's own 400: no URL has such an authority, no field such a value.
    let (bad, own, not, alert) = ("400 creel", "400", "2", "alert 112");
    let table: Vec<(&str, [&str; 6])> = vec![
        ("other.test\0.wild.test", ["3", bad, bad, not, alert, own]),
        ("a.wild.test\0.other.test", ["3", bad, bad, not, alert, own]),
        ("a.wild.test\r\nx", ["3", bad, bad, not, alert, own]),
        ("a.wild.test\nx", ["3", bad, bad, not, alert, own]),
        ("a%2ewild.test", ["3", bad, own, not, alert, bad]),
        ("a%00.wild.test", ["3", bad, own, not, alert, bad]),
        ("a .wild.test", ["3", bad, bad, not, alert, bad]),
        // White space before a field's value is none of it (RFC 9110, 5.5).
        (" a.wild.test", ["3", bad, bad, not, alert, "403 creel"]),
        ("a.wild.test\t.x", ["3", bad, bad, not, alert, bad]),
        ("a\u{7f}.wild.test", ["3", bad, bad, not, alert, own]),
        ("me@a.wild.test", ["3", bad, bad, not, alert, bad]),
        ("a.wild.test#.other.test", ["3", bad, bad, not, alert, bad]),
        ("a.wild.test/.other.test", ["3", bad, bad, not, alert, bad]),
        ("a.wild.test\\.other.test", ["3", bad, own, not, alert, bad]),
        ("a..wild.test", ["5", bad, bad, not, alert, bad]),
        // No label that IDNA makes, and a character that it has none for.
        ("xn--a.wild.test", ["3", bad, bad, not, alert, bad]),
        ("a\u{202e}.wild.test", ["3", bad, own, not, alert, bad]),
        (&long, ["1", bad, bad, not, alert, bad]),
        (&longer, ["1", bad, bad, not, alert, bad]),
    ];
    let mut rows: Vec<Row> = vec![];
    for (host, answers) in &table {
        let ways = ["dns", "connect", "absolute", "socks"];
        for (way, answer) in ways.iter().zip(answers) {
            rows.push((json!({ "way": way, "host": host }), *answer));
        }
        let sni = json!({ "way": "tls", "host": "web.test", "hello": true, "sni": host });
        rows.push((sni, answers[4]));
        let field = json!({ "way": "plain", "host": "web.test", "host_field": host });
        rows.push((field, answers[5]));
    }
    // The granted name as only some servers read it.
    let wide = json!({ "way": "tls", "host": "web.test", "hello": true, "sni": "\u{ff57}eb.test" });
    rows.push((wide, alert));
    jail.holds_in_silence(&rows);
    // The controls: names in another spelling, of which DNS has but the one, and a URL none but ASCII.
    let name = "xn--bcher-kva.wild.test";
    jail.outside.lead(name, &[PUBLIC.into()]);
    let bucher = "B\u{fc}cher.Wild.test.";
    let mut rows = by_every_way("A.wild.test.", REACHED);
    rows.extend(by_every_way(name, REACHED));
    rows.push((json!({ "way": "connect", "host": bucher }), "200"));
    rows.push((json!({ "way": "socks", "host": bucher }), "200"));
    jail.holds(&rows);
}

each!(e3_only_the_named_host_by_whole_labels);
fn e3_only_the_named_host_by_whole_labels(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [\"web.test\", \"*.wild.test\"]";
    let Some(jail) = Jail::new(who, network) else {
        return;
    };
    let denied = [
        "other.test",
        "evilweb.test",
        "web.test.evil.test",
        "web.testing",
        "b.test",
        "wild.test",
        "evilwild.test",
        "a.wild.test.evil.test",
        "test",
        "www.web.test",
    ];
    let rows: Vec<Row> = denied
        .iter()
        .flat_map(|host| by_every_way(host, NO_NAME))
        .collect();
    jail.holds_in_silence(&rows);
    for host in ["web.test", "WEB.test.", "a.wild.test"] {
        jail.holds(&by_every_way(host, REACHED));
    }
}

#[test]
fn e3_a_denial_wins_over_a_wildcard() {
    let network =
        "mode = \"allowlist\"\nallow = [\"*.wild.test\", \"web.test\"]\ndeny = [\"a.wild.test\"]";
    let Some(jail) = Jail::new(Who::User, network) else {
        return;
    };
    jail.holds_in_silence(&by_every_way("a.wild.test", NO_NAME));
    jail.holds(&by_every_way("web.test", REACHED));
}

/// Nothing that the jail can vary is asked outside.
#[test]
fn e9_a_name_with_encoded_data_never_leaves() {
    let secret = "c2VjcmV0";
    let names = [
        format!("{secret}.evil.test"),
        format!("{secret}.web.test"),
        format!("{}.evil.test", "x".repeat(63)),
        "evil.test".into(),
    ];
    let kinds = ["A", "AAAA", "TXT", "HTTPS"];
    for (network, answers) in [
        ("mode = \"none\"", NO_NETWORK),
        ("mode = \"allowlist\"\nallow = [\"web.test\"]", NO_NAME),
    ] {
        let Some(jail) = Jail::new(Who::Root, network) else {
            return;
        };
        let mut rows: Vec<Row> = vec![];
        for name in &names {
            rows.extend(by_every_way(name, answers));
            for kind in kinds {
                for server in ["127.0.0.53", "8.8.8.8", "192.0.2.1"] {
                    let ask = json!({ "way": "dns", "host": name, "type": kind, "server": server });
                    let here = server == "127.0.0.53" && answers == NO_NETWORK;
                    rows.push((ask, if here { "ECONNREFUSED" } else { answers[0] }));
                }
            }
        }
        jail.holds_in_silence(&rows);
    }
    let granted = "mode = \"allowlist\"\nallow = [\"web.test\"]";
    let Some(jail) = Jail::new(Who::Root, granted) else {
        return;
    };
    let ask = |host: &str, kind: &str| json!({ "way": "dns", "host": host, "type": kind });
    jail.holds_in_silence(&[
        (ask("wEb.TeSt", "A"), "0"),
        (ask("wEb.TeSt", "AAAA"), "0"),
        (ask("web.test", "HTTPS"), "0"),
        (ask("web.test", "TXT"), "0"),
    ]);
    // A connection asks outside for the canonical name, and for nothing else.
    jail.holds(&by_every_way("wEb.TeSt", REACHED));
    let asked = jail.outside.questions();
    assert!(
        !asked.is_empty() && asked.iter().all(|name| name == "web.test"),
        "{asked:?}"
    );
}

/// Each refusal is on record, by the way that it was asked for.
#[test]
fn every_refusal_is_recorded() {
    let Some(jail) = Jail::new(Who::User, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let jail = jail.logged();
    let ran = jail.holds_in_silence(&by_every_way("other.test", NO_NAME));
    let log = jail.log();
    for way in ["dns", "connect", "absolute", "socks5"] {
        let of = |line: &&serde_json::Value| line["way"] == way && line["host"] == "other.test";
        let line = log.iter().find(of);
        let line = line.unwrap_or_else(|| panic!("{way}: {log:#?}"));
        assert_eq!(line["event"], "refused", "{way}");
        assert_eq!(line["refused"], "no rule allows it", "{way}");
    }
    let summary = &ran.verdict["network"]["destinations"];
    assert!(
        summary
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["allowed"] == 0)),
        "{summary:#}"
    );
    assert_eq!(WAYS.len(), 6);
}
