//! The table of decisions in docs/network.md, where the other hazards do not have it: `open`, special
//! addresses whose range is named, the jail's own loopback.

use std::net::IpAddr;

use serde_json::json;

use super::super::Jail;
use super::addresses::SPECIAL;
use super::{NO_ADDRESS, NO_NAME, REACHED, Row, by_every_way};
use crate::support::Who;

each!(open_reaches_public_names_at_the_ports_of_the_web_alone);
/// Without a list every public name is reached, at the web's ports; denials and addresses are as ever.
fn open_reaches_public_names_at_the_ports_of_the_web_alone(who: Who) {
    let network = "mode = \"open\"\ndeny = [\"evilweb.test\", \"*.wild.test\"]";
    let Some(jail) = Jail::new(who, network) else {
        return;
    };
    let denied = [
        by_every_way("evilweb.test", NO_NAME),
        by_every_way("a.wild.test", NO_NAME),
        by_every_way("93.184.216.34", NO_ADDRESS),
        by_every_way("10.0.0.1", NO_ADDRESS),
        by_every_way("169.254.169.254", NO_ADDRESS),
        vec![
            (
                json!({ "way": "plain", "host": "web.test", "port": 22 }),
                "ECONNREFUSED",
            ),
            (
                json!({ "way": "connect", "host": "web.test", "port": 22 }),
                "403 creel",
            ),
            (
                json!({ "way": "absolute", "host": "web.test", "port": 22, "host_field": "web.test:22" }),
                "403 creel",
            ),
            (
                json!({ "way": "socks", "host": "web.test", "port": 22 }),
                "2",
            ),
        ],
    ];
    jail.holds_in_silence(&denied.concat());
    for host in ["web.test", "other.test", "web.test.evil.test"] {
        jail.holds(&by_every_way(host, REACHED));
    }
    lead(&jail, "10.0.0.1");
    jail.holds(&by_every_way("web.test", SPECIAL));
}

each!(a_special_address_is_reached_at_the_ports_of_a_rule_for_its_range);
/// The name is granted at both ports, the range of its address at one of them.
fn a_special_address_is_reached_at_the_ports_of_a_rule_for_its_range(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [\"web.test\", \"10.20.0.0/16:443\"]";
    let Some(jail) = Jail::new(who, network) else {
        return;
    };
    let at_443 = |answers: [&'static str; 3]| -> Vec<Row> {
        let ways = ["tls", "connect", "socks"].into_iter().zip(answers);
        let row = |(way, answer)| (json!({ "way": way, "host": "web.test" }), answer);
        ways.map(row).collect()
    };
    let at_80 = [
        (json!({ "way": "plain", "host": "web.test" }), "403 creel"),
        (
            json!({ "way": "absolute", "host": "web.test" }),
            "403 creel",
        ),
    ];
    let refused = ["ECONNRESET", "403 creel", "2"];
    // Beside the range, and in it at the other port.
    lead(&jail, "10.21.0.1");
    jail.holds(&[at_443(refused), at_80.to_vec()].concat());
    lead(&jail, "10.20.0.1");
    jail.holds(&at_80);
    assert_eq!(jail.outside.connections(), []);
    jail.holds(&at_443(["200"; 3]));
    // The range is granted by itself too.
    let by_number = ["tls", "connect", "socks"];
    jail.holds(&by_number.map(|way| (json!({ "way": way, "host": "10.20.3.4" }), "200")));
}

/// In every mode a jail talks to itself, and not through a proxy; but for the ports at which a rule for
/// more than a name has the relay listen on every address.
#[test]
fn the_jails_own_loopback_is_free() {
    let script = r#"
import errno, http.server, socket, threading, urllib.request
def name(e): return errno.errorcode.get(e.errno, str(e))
class Own(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(204); self.end_headers()
    def log_message(self, *_): pass
class Six(http.server.HTTPServer): address_family = socket.AF_INET6
for make, at in ((http.server.HTTPServer, '127.0.0.1'), (Six, '::1')):
    for port in (8443, 9000):
        try: server = make((at, port), Own)
        except OSError as e: print(at, port, name(e)); continue
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # urllib takes no spelling of ::1 in no_proxy that httpx takes too.
        host, o = ('localhost', urllib.request.build_opener())
        if at == '::1': host, o = ('[::1]', urllib.request.build_opener(urllib.request.ProxyHandler({})))
        print(at, port, o.open('http://%s:%d/' % (host, port), timeout=5).status)
for port in (443, 5000):
    try: s = socket.create_connection(('127.0.0.1', port), 5); s.sendall(b'x'); s.recv(1); print(port, 'REACHED')
    except OSError as e: print(port, name(e))
"#;
    let all = |nine: &str, port: &str| {
        let each = |at: &str| format!("{at} 8443 204\n{at} 9000 {nine}\n");
        format!(
            "{}{}443 {port}\n5000 ECONNREFUSED\n",
            each("127.0.0.1"),
            each("::1")
        )
    };
    let named = "allow = [\"web.test\", { host = \"web.test\", ports = [8443, 9000] }]";
    let wild = "allow = [\"web.test\", \"web.test:8443\", \"*.wild.test:9000\"]";
    for (network, said) in [
        ("mode = \"none\"".to_owned(), all("204", "ECONNREFUSED")),
        (
            format!("mode = \"allowlist\"\n{named}"),
            all("204", "ECONNRESET"),
        ),
        (
            format!("mode = \"allowlist\"\n{wild}"),
            all("EADDRINUSE", "ECONNRESET"),
        ),
        (format!("mode = \"ask\"\n{named}"), all("204", "ECONNRESET")),
        ("mode = \"open\"".to_owned(), all("204", "ECONNRESET")),
    ] {
        let Some(jail) = Jail::new(Who::User, &network) else {
            return;
        };
        let before = jail.outside.packets();
        let ran = jail.python(script).ok();
        assert_eq!(ran.stdout, said, "{network}: {ran:#?}");
        assert_eq!(jail.outside.packets() - before, 0, "{network}");
    }
}

fn lead(jail: &Jail, to: &str) {
    let to: IpAddr = to.parse().expect("an address");
    jail.outside.lead("web.test", &[to]);
}
