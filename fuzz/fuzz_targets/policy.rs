//! The readers of TOML, YAML and JSON5 and the file form above them: any bytes get an answer, in one
//! line, with a place in the text, and in time.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

use creel_policy::tree::{Format, Table, Value, excerpt, parse};
use creel_policy::{file, preset};

/// Processor time that 64 KiB may take, twice over: the counters of coverage cost.
const MOST: Duration = Duration::from_millis(100);

fuzz_target!(|bytes: &[u8]| {
    let Ok(limits) = preset::default().map(|preset| preset.limits) else {
        panic!("the default preset does not parse")
    };
    for (format, name) in [
        (Format::Toml, "p.toml"),
        (Format::Yaml, "p.yaml"),
        (Format::Json5, "p.json5"),
    ] {
        let start = spent();
        let text = match file::decode(name, bytes) {
            Ok(text) => text,
            Err(error) => return one_line(&error.to_string()),
        };
        if let Ok(table) = parse(format, name, text) {
            spans(text, &table);
        }
        if let Err(error) = file::parse(name, text, &limits) {
            one_line(&error.to_string());
            if let Some(at) = error.place() {
                let lines = text.split('\n').count();
                assert!(at.line as usize <= lines, "{error}");
                assert!(at.line == 0 || excerpt(text, at).is_some(), "{error}");
            }
        }
        let took = spent().saturating_sub(start);
        assert!(
            took < MOST || bytes.len() > 64 << 10,
            "{format:?}: {took:?}"
        );
    }
});

fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

fn one_line(message: &str) {
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// Every span is a piece of the text.
fn spans(text: &str, table: &Table) {
    for (key, value) in table.entries() {
        assert!(text.get(key.span.clone()).is_some(), "{key:?}");
        node(text, value);
    }
}

fn node(text: &str, of: &creel_policy::tree::Node) {
    assert!(text.get(of.span.clone()).is_some(), "{of:?}");
    match &of.value {
        Value::Array(nodes) => nodes.iter().for_each(|inner| node(text, inner)),
        Value::Table(table) => spans(text, table),
        _ => {}
    }
}
