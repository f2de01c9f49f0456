//! Records: a line for each decision with all that is promised of it, and the sum in the verdict.

use serde_json::{Value, json};

use super::Jail;
use crate::support::Who;

const NETWORK: &str = "mode = \"allowlist\"\nallow = [\"web.test\", \
    { host = \"web.test\", ports = 7, protocol = \"tcp\" }]";

/// A thousand bytes by each way that has bytes, a request, and two refusals.
const CLIENT: &str = r#"
import socket, time
def to(port, *said):
    s = socket.create_connection(('198.18.0.1', port), 5)
    for text in said: s.sendall(text); last = s.recv(4096)
    return s, last
def carry(s):
    s.sendall(bytes(1000)); time.sleep(0.3); s.shutdown(1)
    said = b''
    while more := s.recv(100): said += more
    print(said.decode())
carry(socket.create_connection(('web.test', 7), 5))
carry(to(3128, b'CONNECT WEB.test.:7 HTTP/1.1\r\n\r\n')[0])
carry(to(1080, b'\5\1\0', b'\5\1\0\3\x08web.test\0\7')[0])
get = b'GET http://web.test/a%20path?token=hush HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n'
print(to(3128, get)[1][9:12].decode())
print(to(3128, b'CONNECT other.test:443 HTTP/1.1\r\n\r\n')[1][9:12].decode())
print(to(3128, b'CONNECT evilweb.test:443 HTTP/1.1\r\n\r\n')[1][9:12].decode())
time.sleep(0.5)
"#;

each!(each_decision_has_a_line_with_what_became_of_it);
fn each_decision_has_a_line_with_what_became_of_it(who: Who) {
    let Some(jail) = Jail::new(who, NETWORK) else {
        return;
    };
    jail.outside.serve(7, |mut client, _| {
        client.read_to_end(&mut vec![])?;
        client.write_all(b"taken")
    });
    let jail = jail.logged().flags(&["--allow-net", "other.test"]);
    let ran = jail.python(CLIENT).ok();
    assert_eq!(
        ran.stdout, "taken\ntaken\ntaken\n200\n200\n403\n",
        "{ran:#?}"
    );
    let log = jail.log();
    let lines: Vec<Line> = log.iter().map(Line::of).collect();
    let rule = |line: u32| format!("network.toml:{line}");
    let mut expected = vec![];
    for way in ["transparent", "connect", "socks5"] {
        expected.push(Line::new("open", way, "web.test:7").rule(&rule(5)));
        expected.push(
            Line::new("close", way, "web.test:7")
                .rule(&rule(5))
                .bytes(1000, 5),
        );
    }
    let get = |event| Line::new(event, "absolute", "web.test:80").rule(&rule(5));
    expected.push(get("open"));
    expected.push(Line {
        request: "GET /a%20path".into(),
        ..get("request")
    });
    expected.push(get("close"));
    let other = |event| Line::new(event, "connect", "other.test:443").rule("command line");
    expected.push(other("open"));
    expected.push(other("close"));
    let refused = Line::new("refused", "connect", "evilweb.test:443");
    expected.push(Line {
        refused: "no rule allows it".into(),
        ..refused
    });
    for line in &expected {
        let same = |other: &&Line| other.is(line);
        assert_eq!(lines.iter().filter(same).count(), 1, "{line:?}: {log:#?}");
    }
    assert_eq!(lines.len(), expected.len(), "{log:#?}");
    let number = |line: &Value, key: &str| line[key].as_u64().expect("a number");
    let times: Vec<u64> = log.iter().map(|line| number(line, "time_us")).collect();
    assert!(times.is_sorted(), "{times:?}");
    for line in &log {
        let carried = line["event"] == "close" && line["port"] == 7;
        let took = number(line, "duration_ms");
        assert!(!carried || (100..20_000).contains(&took), "{line}");
        // Known from the dial on.
        let dialled = line["event"] == "close";
        let address = if dialled {
            json!("93.184.216.34")
        } else {
            Value::Null
        };
        assert_eq!(line["address"], address, "{line}");
    }
    let text = std::fs::read_to_string(jail.elsewhere("net.jsonl")).expect("a log");
    assert!(!text.contains("hush"), "{text}");

    let sums = &ran.verdict["network"]["destinations"];
    let sum = |at: usize, key: &str| sums[at][key].clone();
    let known = ["evilweb.test", "other.test", "web.test", "web.test"];
    assert_eq!(sums.as_array().map(Vec::len), Some(4), "{sums:#}");
    for (at, name) in known.into_iter().enumerate() {
        assert_eq!(sum(at, "host"), name, "{sums:#}");
    }
    let seven = ["port", "allowed", "refused", "bytes_in", "bytes_out"].map(|key| sum(2, key));
    assert_eq!(seven, [7, 3, 0, 15, 3000].map(Value::from), "{sums:#}");
    assert_eq!(
        (sum(2, "why"), sum(0, "why")),
        (
            Value::Null,
            json!({
                "way": "connect",
                "reason": { "code": "net-unlisted", "rule": null },
                "text": "no rule allows it",
            })
        )
    );
    assert_eq!((sum(0, "allowed"), sum(0, "refused")), (0.into(), 1.into()));
}

each!(what_cannot_be_recorded_is_not_done_and_said);
/// A file that takes no line: nothing is reached, and the verdict says so.
fn what_cannot_be_recorded_is_not_done_and_said(who: Who) {
    let Some(jail) = Jail::new(who, NETWORK) else {
        return;
    };
    jail.outside
        .serve(7, |mut client, _| client.write_all(b"taken"));
    let script = r#"
import socket
try: print(socket.create_connection(('web.test', 7), 5).recv(9))
except OSError as e: print('refused')
"#;
    let run = |log| jail.run().flags(["--log-net", log]).python(script).ok();
    let ran = run("/dev/full");
    assert_ne!(ran.stdout, "b'taken'\n", "{ran:#?}");
    assert_eq!(jail.outside.connections(), []);
    let network = &ran.verdict["network"];
    let web = &network["destinations"][0];
    // Once for each of its addresses that the client tries.
    let refused = web["refused"].as_u64().expect("a number");
    assert!(web["allowed"] == 0 && (1..=2).contains(&refused), "{web}");
    let why = &web["why"];
    assert_eq!(why["text"], "closed by creel: its record cannot be written");
    assert_eq!(why["reason"]["code"], "net-unrecorded");
    let missing = json!({ "unwritten": refused, "dropped": 0 });
    assert_eq!(network["log"], missing);
    assert!(
        ran.stderr.contains("--log-net could not be written"),
        "{ran:#?}"
    );
    // Control: a file that takes it.
    let ran = run("/dev/null");
    assert_eq!(ran.stdout, "b'taken'\n", "{ran:#?}");
    assert_eq!(jail.outside.connections().len(), 1);
    let network = &ran.verdict["network"];
    assert_eq!(network["destinations"][0]["allowed"], 1);
    assert_eq!(network["log"], json!({ "unwritten": 0, "dropped": 0 }));
}

/// Fields of a line that are the same in every run.
#[derive(Debug, Default)]
struct Line {
    event: String,
    way: String,
    to: String,
    rule: String,
    refused: String,
    request: String,
    /// From the jail and to it, where that is of interest.
    bytes: Option<(u64, u64)>,
}

impl Line {
    fn new(event: &str, way: &str, to: &str) -> Line {
        let (event, way, to) = (event.into(), way.into(), to.into());
        Line {
            event,
            way,
            to,
            ..Line::default()
        }
    }

    fn rule(self, rule: &str) -> Line {
        Line {
            rule: rule.into(),
            ..self
        }
    }

    fn bytes(self, out: u64, back: u64) -> Line {
        Line {
            bytes: Some((out, back)),
            ..self
        }
    }

    fn of(line: &Value) -> Line {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let rule = text("rule");
        Line {
            event: text("event"),
            way: text("way"),
            to: format!("{}:{}", text("host"), line["port"]),
            rule: rule.rsplit('/').next().unwrap_or_default().into(),
            refused: text("refused"),
            request: format!("{} {}", text("method"), text("path")).trim().into(),
            bytes: line["bytes_out"].as_u64().zip(line["bytes_in"].as_u64()),
        }
    }

    fn is(&self, other: &Line) -> bool {
        let words = |line: &Line| {
            let Line {
                event,
                way,
                to,
                rule,
                refused,
                request,
                ..
            } = line;
            [event, way, to, rule, refused, request].map(Clone::clone)
        };
        words(self) == words(other) && (other.bytes.is_none() || self.bytes == other.bytes)
    }
}

each!(what_was_refused_is_told_where_the_command_failed);
/// The caller of a failing command sees the refused destinations.
fn what_was_refused_is_told_where_the_command_failed(who: Who) {
    let Some(jail) = Jail::new(who, NETWORK) else {
        return;
    };
    let names = "for n in a b c d e f g; do curl -sS -m 5 http://$n.test/ 2>/dev/null; done; ";
    let failed = jail.sh(&format!("{names} exit 3"));
    let denials = failed.verdict["denials"].as_array().expect("a list");
    assert_eq!(denials.len(), 7, "{failed:#?}");
    let first = json!({
        "layer": "network",
        "host": "a.test",
        "port": 80,
        "way": "absolute",
        "reason": { "code": "net-unlisted", "rule": null },
        "text": "no rule allows it",
        "count": 1,
    });
    assert_eq!(denials[0], first, "{failed:#?}");
    let line = "refused: a.test:80: no rule allows it";
    assert!(failed.stderr.contains(line), "{failed:#?}");
    let told = failed.stderr.matches("refused: ").count();
    assert_eq!(told, 5, "{failed:#?}");
    assert!(
        failed.stderr.contains("2 more destinations were refused"),
        "{failed:#?}"
    );
    // The control: a command that did not fail is not told, and its verdict has them all the same.
    let passed = jail.sh(&format!("{names} exit 0")).ok();
    assert!(!passed.stderr.contains("refused: "), "{passed:#?}");
    assert_eq!(passed.verdict["denials"].as_array().map(Vec::len), Some(7));
}
