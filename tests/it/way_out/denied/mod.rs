//! Destinations without a grant are not reached: hazard by hazard, by every way, with the answer of each way.
//!
//! `client.py` makes the attempts in the jail and says what happened, so that a table holds more than
//! that nothing was reached. Before the control runs nothing at all has left: not one packet is on the
//! network outside. E10, a relay that was taken over, is `tests/it/relay_confined.rs`; its parsers are
//! fuzzed.

mod addresses;
mod modes;
mod names;
mod paths;
mod sockets;
mod spoken;

use serde_json::{Value, json};

use super::Jail;
use crate::support::Ran;

const CLIENT: &str = include_str!("../client.py");

/// One answer for each way: `dns`, transparent to 80 and to 443, CONNECT, absolute form, SOCKS5.
type Answers = [&'static str; 6];
const WAYS: Answers = ["dns", "plain", "tls", "connect", "absolute", "socks"];

/// A granted name.
const REACHED: Answers = ["0", "200", "200", "200", "200", "200"];
/// A name that no rule has does not exist; a proxy says why.
const NO_NAME: Answers = [
    "3",
    "EAI_NONAME",
    "EAI_NONAME",
    "403 creel",
    "403 creel",
    "2",
];
/// An address that no rule has, at a port on which somebody listens, is reset.
const NO_ADDRESS: Answers = [
    "3",
    "ECONNRESET",
    "ECONNRESET",
    "403 creel",
    "403 creel",
    "2",
];

/// A request, and the client's expected message about it.
type Row = (Value, &'static str);

/// Every way to a host.
fn by_every_way(host: &str, answers: Answers) -> Vec<Row> {
    let row = |(way, answer)| (json!({ "way": way, "host": host }), answer);
    WAYS.into_iter().zip(answers).map(row).collect()
}

impl Ran {
    /// How often the verdict says that something was refused.
    fn refusals(&self) -> u64 {
        let all = self.verdict["network"]["destinations"].as_array();
        let refused = |one: &Value| one["refused"].as_u64();
        all.expect("destinations").iter().filter_map(refused).sum()
    }
}

impl Jail {
    /// Makes the attempts in one jail and compares each answer.
    #[track_caller]
    fn holds(&self, rows: &[Row]) -> Ran {
        let attempts: Vec<&Value> = rows.iter().map(|(attempt, _)| attempt).collect();
        let mut text = String::new();
        for unit in serde_json::to_string(&attempts)
            .expect("JSON")
            .encode_utf16()
        {
            match u8::try_from(unit) {
                Ok(printable @ b' '..=b'~') => text.push(printable.into()),
                _ => text += &format!("\\u{unit:04x}"),
            }
        }
        // Printable text in quotes is the same in Rust and Python.
        let ran = self.python(&format!("ATTEMPTS = {text:?}\n{CLIENT}")).ok();
        let said: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(said.len(), rows.len(), "{ran:#?}");
        let wrong: Vec<String> = rows
            .iter()
            .zip(&said)
            .filter_map(|((attempt, expected), said)| {
                let way = attempt["way"].as_str()?;
                let right = *said == format!("{way}: {expected}");
                (!right).then(|| format!("{attempt}: {said}, not {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}\n{}", wrong.join("\n"), ran.stderr);
        ran
    }

    /// The same, while not one packet is seen outside.
    #[track_caller]
    fn holds_in_silence(&self, rows: &[Row]) -> Ran {
        let before = self.outside.packets();
        let ran = self.holds(rows);
        assert_eq!(self.outside.packets() - before, 0, "{ran:#?}");
        assert_eq!(self.outside.questions(), Vec::<String>::new());
        assert_eq!(self.outside.connections(), []);
        ran
    }
}
