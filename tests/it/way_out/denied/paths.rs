//! E7: the path that was judged is the path that is sent, by every way that has requests in it.

use serde_json::json;

use super::super::Jail;
use super::Row;
use crate::support::Who;

/// Requests in the clear, and in TLS that creel ends.
const NETWORK: &str = "mode = \"allowlist\"\nallow = [{ host = \"web.test\", tls = \"terminate\", \
    methods = [\"GET\"], paths = [\"/public/*\"] }, { host = \"web.test\", protocol = \"http\", \
    methods = [\"GET\"], paths = [\"/public/*\"] }]";

fn by_every_way(method: &str, path: &str, answer: &'static str) -> Vec<Row> {
    let ways = [
        ("plain", 80),
        ("tls", 443),
        ("connect", 80),
        ("connect", 443),
        ("absolute", 80),
        ("socks", 80),
        ("socks", 443),
    ];
    let row = |(way, port)| {
        let attempt =
            json!({ "way": way, "host": "web.test", "port": port, "path": path, "method": method });
        (attempt, answer)
    };
    ways.into_iter().map(row).collect()
}

#[test]
fn e7_a_path_with_two_readings_is_refused_by_every_way() {
    let Some(jail) = Jail::new(Who::Root, NETWORK) else {
        return;
    };
    jail.outside.trust();
    let rows: Vec<Row> = [
        ("GET", "/private", "403 creel"),
        ("GET", "/publicly", "403 creel"),
        ("POST", "/public/a", "403 creel"),
        ("GET", "/public/../private", "400 creel"),
        ("GET", "/public/%2e%2e/private", "400 creel"),
        ("GET", "/public/.%2E/private", "400 creel"),
        ("GET", "/public/..%2fprivate", "400 creel"),
        ("GET", "/public%2f..%2fprivate", "400 creel"),
        ("GET", "/public//private", "400 creel"),
        ("GET", "//public/a", "400 creel"),
        ("GET", "/public/..;/private", "400 creel"),
        ("GET", "/public/%00", "400 creel"),
        ("GET", "/public/%0d%0aX:", "400 creel"),
        ("GET", "/public/a\\..\\private", "400 creel"),
        ("GET", "/public/%zz", "400 creel"),
    ]
    .into_iter()
    .flat_map(|(method, path, answer)| by_every_way(method, path, answer))
    .collect();
    let ran = jail.holds(&rows);
    assert_eq!(ran.refusals(), rows.len() as u64, "{ran:#?}");
    assert_eq!(jail.outside.requests(), Vec::<String>::new());
    // The controls: what was judged is what arrives, to the byte.
    for path in ["/public/a", "/public/%C3%A4?q=../x", "/public/a.b/..c"] {
        let before = jail.outside.requests().len();
        let rows = by_every_way("GET", path, "200");
        jail.holds(&rows);
        let requests = jail.outside.requests();
        assert_eq!(requests.len() - before, rows.len(), "{path}");
        for request in &requests[before..] {
            assert!(
                request.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
                "{request}"
            );
        }
    }
}
