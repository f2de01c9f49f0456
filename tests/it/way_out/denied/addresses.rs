//! E4, E5: addresses in every spelling, and names that lead to what is not for the jail.

use serde_json::json;

use super::super::{Jail, PLAIN, SOCKS};
use super::{Answers, NO_ADDRESS, REACHED, Row, by_every_way};
use crate::support::outside::{PUBLIC, ip};
use crate::support::{Who, need};

const WEB: &str = "mode = \"allowlist\"\nallow = [\"web.test\"]";

/// A granted name that leads to an address that is not.
pub const SPECIAL: Answers = [
    "0",
    "403 creel",
    "ECONNRESET",
    "403 creel",
    "403 creel",
    "2",
];

/// One address, however it is written, is one address, and no rule has it.
#[test]
fn e4_an_address_in_every_spelling_is_refused_by_every_way() {
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let jail = jail.logged();
    // As it is written, and the key that it has on record.
    let spellings = [
        ("93.184.216.34", "93.184.216.34"),
        ("0x5db8d822", "93.184.216.34"),
        ("1572395042", "93.184.216.34"),
        ("0135.0270.0330.042", "93.184.216.34"),
        ("93.12113954", "93.184.216.34"),
        ("[::ffff:93.184.216.34]", "93.184.216.34"),
        ("[::ffff:5db8:d822]", "93.184.216.34"),
        ("[64:ff9b::5db8:d822]", "93.184.216.34"),
        ("[2002:5db8:d822::1]", "2002:5db8:d822::1"),
        ("169.254.169.254", "169.254.169.254"),
        ("[::ffff:169.254.169.254]", "169.254.169.254"),
        ("10.0.0.1", "10.0.0.1"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
    ];
    let rows: Vec<Row> = spellings
        .iter()
        .flat_map(|(text, _)| by_every_way(text, NO_ADDRESS))
        .collect();
    jail.holds_in_silence(&rows);
    let log = jail.log();
    for (text, key) in spellings {
        for way in ["transparent", "connect", "absolute", "socks5"] {
            let of = |line: &&serde_json::Value| line["way"] == way && line["host"] == key;
            let line = log.iter().find(of);
            let line = line.unwrap_or_else(|| panic!("{text} {way}: {log:#?}"));
            assert_eq!(line["event"], "refused", "{text} {way}");
        }
    }
    let keys: Vec<&str> = spellings.iter().map(|(_, key)| *key).collect();
    for line in log.iter().filter(|line| line["way"] != "dns") {
        assert!(
            keys.contains(&line["host"].as_str().expect("a host")),
            "{line}"
        );
    }
    // A denial of the address has each of its spellings, however wide the grant is.
    let wide =
        "mode = \"allowlist\"\nallow = [\"0.0.0.0/0\", \"[::]/0\"]\ndeny = [\"93.184.216.34/32\"]";
    let Some(jail) = Jail::new(Who::User, wide) else {
        return;
    };
    let same = || spellings.iter().filter(|(_, key)| *key == "93.184.216.34");
    let rows: Vec<Row> = same()
        .flat_map(|(text, _)| by_every_way(text, NO_ADDRESS))
        .collect();
    jail.holds_in_silence(&rows);
    // The controls: where the range is granted, each spelling of it is reached.
    let granted = "mode = \"allowlist\"\nallow = [\"93.184.216.34/32\"]";
    let Some(jail) = Jail::new(Who::Root, granted) else {
        return;
    };
    let mut rows = vec![];
    for (text, _) in same() {
        let ways = by_every_way(text, REACHED).into_iter();
        rows.extend(ways.filter(|(attempt, _)| attempt["way"] != "dns"));
    }
    jail.holds(&rows);
}

/// Addresses that no host outside has are refused too: this host, the jail's own loopback, a zone.
#[test]
fn e4_addresses_that_mean_something_else_to_somebody_are_refused() {
    let Some(jail) = Jail::new(Who::User, WEB) else {
        return;
    };
    let mut rows: Vec<Row> = vec![];
    for (host, connect, absolute) in [
        ("127.0.0.1", "403 creel", "403 creel"),
        ("127.0.0.53", "403 creel", "403 creel"),
        ("0.0.0.0", "403 creel", "403 creel"),
        ("[::1]", "403 creel", "403 creel"),
        ("[::]", "403 creel", "403 creel"),
        ("0x7f.1", "403 creel", "403 creel"),
        ("[fe80::1%25lo]", "400 creel", "400 creel"),
        ("93.184.216.34.", "403 creel", "403 creel"),
        ("0", "403 creel", "403 creel"),
        ("127.1", "403 creel", "403 creel"),
        ("2130706433", "403 creel", "403 creel"),
        ("[::127.0.0.1]", "403 creel", "403 creel"),
        ("[::ffff:0:127.0.0.1]", "403 creel", "403 creel"),
        ("[64:ff9b:1::7f00:1]", "403 creel", "403 creel"),
        ("[2002:7f00:1::]", "403 creel", "403 creel"),
        ("[2001:0:7f00:1::]", "403 creel", "403 creel"),
        ("[fe80::1]", "403 creel", "403 creel"),
        ("[ff02::1]", "403 creel", "403 creel"),
        ("224.0.0.1", "403 creel", "403 creel"),
        ("255.255.255.255", "403 creel", "403 creel"),
        ("100.64.0.1", "403 creel", "403 creel"),
        // Neither address nor name.
        ("256.1", "400 creel", "400 creel"),
        ("1.2.3.4.5", "400 creel", "400 creel"),
        ("a.0x7f", "400 creel", "400 creel"),
        ("09", "400 creel", "400 creel"),
    ] {
        rows.push((json!({ "way": "connect", "host": host }), connect));
        rows.push((json!({ "way": "absolute", "host": host }), absolute));
        rows.push((json!({ "way": "socks", "host": host }), "2"));
    }
    for host in ["127.0.0.1", "127.0.0.53", "0.0.0.0", "::1", "::"] {
        for way in ["plain", "tls"] {
            rows.push((json!({ "way": way, "host": host }), "ECONNRESET"));
        }
    }
    jail.holds_in_silence(&rows);
    jail.holds(&by_every_way("web.test", REACHED));
}

/// Only an address that was checked is dialled, though the name was granted.
#[test]
fn e5_an_answer_that_turns_private_is_not_dialled() {
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::ffff:10.0.0.1",
        "fd00::1",
        "64:ff9b::a00:1",
    ] {
        let lead = |to: &[&str]| {
            let to: Vec<_> = to.iter().map(|a| a.parse().expect("an address")).collect();
            jail.outside.lead("web.test", &to);
        };
        lead(&[address]);
        let ran = jail.holds(&by_every_way("web.test", SPECIAL));
        assert!(
            ran.stderr.contains("no rule names its range"),
            "{address}: {ran:#?}"
        );
    }
    assert_eq!(jail.outside.connections(), []);
    // Of several addresses, creel dials the one that it may.
    jail.outside.lead(
        "web.test",
        &["10.0.0.1".parse().expect("an address"), PUBLIC.into()],
    );
    jail.holds(&by_every_way("web.test", REACHED));
    let dialled = jail.outside.connections();
    assert!(dialled.iter().all(|to| to.ip() == PUBLIC), "{dialled:?}");
}

/// Addresses of a name may be public and still the host's own: by a device's first address or a
/// later one, by a prefix of loopback's, by a route alone.
#[test]
fn e5_an_address_of_the_hosts_own_is_not_dialled() {
    const NAMED: &str = "mode = \"allowlist\"\nallow = [\"web.test\", \"93.184.0.0/16\"]";
    let own = [
        "93.184.217.1",
        "93.184.217.77",
        "93.184.218.1",
        "93.184.218.2",
        "93.184.219.5",
        "2606:2800::1",
        "2606:2801::7",
    ];
    let take = || {
        for words in [
            "addr add 93.184.217.1/24 dev lo",
            "addr add 93.184.218.1/24 dev cable",
            "addr add 93.184.218.2/24 dev cable",
            "route add local 93.184.219.0/24 dev lo",
            "-6 addr add 2606:2800::1/128 dev lo",
            "-6 route add local 2606:2801::/64 dev lo",
        ] {
            ip(words);
        }
    };
    for network in [WEB, "mode = \"open\""] {
        let Some(jail) = Jail::new(Who::Root, network) else {
            return;
        };
        take();
        jail.outside
            .beyond(|| ip("route add 93.184.218.1/32 dev cable table local"));
        for address in own {
            let to = address.parse().expect("an address");
            jail.outside.lead("web.test", &[to]);
            let ran = jail.holds(&by_every_way("web.test", SPECIAL));
            let why =
                format!("the address {address} is this host's own, and no rule names its range");
            assert!(ran.stderr.contains(&why), "{ran:#?}");
            let code = &ran.verdict["denials"][0]["reason"]["code"];
            assert_eq!(code, "net-own-address", "{ran:#?}");
            assert_eq!(jail.outside.connections(), [], "{address}");
        }
        // The control: a neighbour's, and somebody's far away.
        for other in ["93.184.218.3", "93.184.216.34"] {
            let to = other.parse().expect("an address");
            jail.outside.lead("web.test", &[to]);
            jail.holds(&by_every_way("web.test", REACHED));
        }
    }
    // The host's own, where a rule names it.
    let Some(jail) = Jail::new(Who::User, NAMED) else {
        return;
    };
    take();
    for address in own.into_iter().filter(|address| !address.contains(':')) {
        let to = address.parse().expect("an address");
        jail.outside.lead("web.test", &[to]);
        jail.holds(&by_every_way("web.test", REACHED));
        let dialled = jail.outside.connections();
        assert!(dialled.iter().any(|peer| peer.ip() == to), "{dialled:?}");
    }
}

/// A private address behind a granted name, reached by an alias of the resolver's.
#[test]
fn e5_an_alias_to_a_private_address_is_not_dialled() {
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    jail.outside.alias("web.test", "inside.test");
    jail.outside
        .lead("inside.test", &["10.0.0.1".parse().expect("an address")]);
    jail.holds(&by_every_way("web.test", SPECIAL));
    assert_eq!(jail.outside.connections(), []);
    jail.outside.lead("inside.test", &[PUBLIC.into()]);
    jail.holds(&by_every_way("web.test", REACHED));
}

/// Each hop is decided anew.
#[test]
fn e5_a_redirection_to_a_denied_host_ends_there() {
    need("curl");
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let get = "curl -sS -k -L -m 5 -o /dev/null -w '%{http_code} %{num_redirects}'";
    // Message of curl: its own status, and the HTTP status of the last answer.
    for (way, script, status, said) in [
        (
            "plain",
            format!("{PLAIN} {get} http://web.test/to/http/other.test"),
            6,
            "302 1",
        ),
        (
            "tls",
            format!("{PLAIN} {get} https://web.test/to/https/other.test"),
            6,
            "302 1",
        ),
        (
            "absolute",
            format!("{get} http://web.test/to/http/other.test"),
            0,
            "403 1",
        ),
        (
            "connect",
            format!("{get} https://web.test/to/https/other.test"),
            56,
            "000 1",
        ),
        (
            "socks",
            format!("{get} --proxy {SOCKS} https://web.test/to/https/other.test"),
            97,
            "302 1",
        ),
    ] {
        let ran = jail.sh(&script);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (status, said),
            "{way}: {ran:#?}"
        );
        let refused = &ran.verdict["network"]["destinations"][0];
        assert_eq!(refused["host"], "other.test", "{way}: {ran:#?}");
        // The control: the hop itself is followed where it leads to what is granted.
        let ran = jail.sh(&script.replace("/other.test", "/web.test"));
        assert_eq!(ran.status, 0, "{way}: {ran:#?}");
        assert!(ran.stdout.starts_with("200 1"), "{way}: {ran:#?}");
    }
    let asked = jail.outside.questions();
    assert!(asked.iter().all(|name| name == "web.test"), "{asked:?}");
}

each!(e5_the_range_that_a_name_needs_is_no_way_past_its_rules);
/// Requirements of a name's rule cannot be bypassed by dialling its address, whose range is named so that the
/// name may be there.
fn e5_the_range_that_a_name_needs_is_no_way_past_its_rules(who: Who) {
    const NAME: &str = "{ host = \"web.test\", tls = \"terminate\", methods = [\"GET\"] }";
    let names = |sni: Option<&str>, answer| -> Vec<Row> {
        let row = |way| {
            let attempt = json!({
                "way": way, "host": "93.184.216.34", "port": 443, "hello": true, "sni": sni,
            });
            (attempt, answer)
        };
        ["tls", "connect", "socks"].map(row).into()
    };
    // The range is for names alone.
    let lists = format!(
        "mode = \"allowlist\"\nallow = [{NAME}, {{ host = \"93.184.216.34/32\", protocol = \"none\" }}]"
    );
    let Some(jail) = Jail::new(who, &lists) else {
        return;
    };
    jail.outside.trust();
    jail.holds_in_silence(&by_every_way("93.184.216.34", NO_ADDRESS));
    let by_name = [
        (json!({ "way": "tls", "host": "web.test" }), "200"),
        (
            json!({ "way": "tls", "host": "web.test", "method": "POST" }),
            "403 creel",
        ),
    ];
    jail.holds(&by_name);
    // The range is granted: still no way past the name, by the name.
    let lists = format!("mode = \"allowlist\"\nallow = [{NAME}, \"93.184.216.34/32\"]");
    let Some(jail) = Jail::new(who, &lists) else {
        return;
    };
    jail.holds(&names(Some("web.test"), "alert 112"));
    // The control: the address itself was granted.
    jail.holds(&names(None, "server hello"));
}
