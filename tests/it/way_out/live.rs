//! Connections that stay: WebSocket, server-sent events, and HTTP/2.

use serde_json::Value;

use super::{Jail, PLAIN};
use crate::support::{Who, need};

const PEER: &str = "mode = \"allowlist\"\nallow = [\"web.test\", \"web.test:8443\"]";

each!(websocket_and_events_go_both_ways_while_they_last);
fn websocket_and_events_go_both_ways_while_they_last(who: Who) {
    need("node");
    let Some(jail) = Jail::new(who, PEER) else {
        return;
    };
    let (_peer, _) = jail.peer(8443);
    jail.write("live.mjs", LIVE);
    let live = "NODE_EXTRA_CA_CERTS=ca.pem node --experimental-websocket live.mjs";
    let ran = jail.sh(&format!("{live} web.test:8443")).ok();
    let said = "\"data: 0\\n\\ndata: 1\\n\\ndata: 2\\n\\n\"\nin parts\n5\n5000\nclosed\n";
    assert_eq!(ran.stdout, said, "{who:?}: {ran:#?}");
    let ran = jail.sh(&format!("{live} other.test:8443"));
    assert_eq!(ran.stdout, "no: ENOTFOUND\n", "{who:?}: {ran:#?}");
}

/// Events, which come one by one, then a WebSocket that says two things and hears them again.
const LIVE: &str = r#"
const [origin] = process.argv.slice(2);
const events = await fetch(`https://${origin}/events`).catch((e) => {
  console.log(`no: ${e.cause.code}`);
  process.exit(1);
});
let parts = 0, text = '';
for await (const part of events.body) { parts += 1; text += Buffer.from(part).toString(); }
console.log(JSON.stringify(text));
console.log(parts > 1 ? 'in parts' : 'at once');
const socket = new WebSocket(`wss://${origin}/socket`);
socket.binaryType = 'arraybuffer';
socket.onopen = () => { socket.send('hello'); socket.send('x'.repeat(5000)); };
let heard = 0;
socket.onmessage = ({ data }) => { console.log(data.length); if (++heard === 2) socket.close(); };
socket.onclose = () => console.log('closed');
socket.onerror = (e) => console.log('error', e.message);
"#;

#[test]
fn http_2_is_spoken_end_to_end() {
    need("node");
    need("curl");
    let Some(jail) = Jail::new(Who::Root, PEER) else {
        return;
    };
    let (_peer, log) = jail.peer(8443);
    for (way, plain) in [("transparent", PLAIN), ("CONNECT", "")] {
        for (version, flag) in [("2", "--http2"), ("1.1", "--http1.1")] {
            let curl = format!("curl -sS --cacert ca.pem {flag} -w '\\n%{{http_version}}'");
            let ran = jail
                .sh(&format!("{plain} {curl} https://web.test:8443/{version}"))
                .ok();
            assert!(
                ran.stdout.ends_with(&format!("\n{version}")),
                "{way}: {ran:#?}"
            );
            let ran = jail.sh(&format!("{plain} {curl} https://other.test:8443/"));
            assert_ne!(ran.status, 0, "{way}: {ran:#?}");
        }
    }
    let seen = std::fs::read_to_string(log).expect("a log");
    let seen: Vec<Value> = seen
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect();
    let spoken: Vec<_> = seen.iter().map(|line| &line["httpVersion"]).collect();
    assert_eq!(spoken, ["2.0", "1.1", "2.0", "1.1"]);
}
