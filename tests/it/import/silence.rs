//! Nothing is dropped in silence: each value of a document, and each element of its lists, has a line of
//! the report.
//!
//! The documents are the samples and those of `parts.txt`, as they stand and with values put in that a
//! dialect may not expect. A line speaks of a value where it has the value's own key; where it has the
//! key of what is around it, only if it is not honoured, or says one of [`OF_ALL`].

use std::sync::LazyLock;

use creel_dialects::import::{Choice, Dialect, Entry, Fate, Standing, detect, read};
use creel_policy::tree::{self, Format, Table};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{folder, sample};

/// Texts that hold for everything in a table or a list.
const OF_ALL: [&str; 23] = [
    "a separate layer: --agent",
    "is not the profile that is selected",
    "has no effect: the mode is read-only",
    "the agent's own value applies instead",
    "under the shared scope, an agent's own container is ignored",
    "has an effect only under security = \"allowlist\"",
    "the jail never has capabilities",
    "/tmp, /var/tmp and the home are tmpfs",
    "the environment has only the variables of [environment]",
    "`mode` is set too",
    // A single value is meant, and whatever stands there is taken for the strictest.
    "tools.exec.ask = \"always\"",
    "is not a profile that creel knows",
    "filesystem.deny: creel does not create a mask",
    "its modes apply together with the file's own",
    "the jail has its own /tmp",
    "read as if it were version 1",
    "the soft limit applies",
    "everything without a rule is denied",
    "the jail is the backend",
    "a jail has its own terminals",
    "the jail has its own loopback",
    "has no equivalent in the kernel",
    "has no effect: no mode of creel lifts a rule",
];

fn value(node: &tree::Node) -> Value {
    match &node.value {
        tree::Value::Table(table) => object(table),
        tree::Value::Array(nodes) => nodes.iter().map(value).collect(),
        tree::Value::Bool(value) => json!(value),
        tree::Value::Integer(number) => json!(number.to_u64().unwrap_or(1)),
        tree::Value::String(text) => json!(text),
        _ => json!(1.5),
    }
}

fn object(table: &Table) -> Value {
    let entries = table.entries().iter();
    entries
        .map(|(key, node)| (key.name.clone(), value(node)))
        .collect::<Map<_, _>>()
        .into()
}

/// The documents of all dialects that have keys.
static DOCUMENTS: LazyLock<Vec<(Dialect, Value)>> = LazyLock::new(documents);

fn documents() -> Vec<(Dialect, Value)> {
    let samples = [
        "shape2.json",
        "shape3.yaml",
        "openclaw.json",
        "exec-approvals.json",
        "srt.json",
        "codex.toml",
    ];
    let mut texts: Vec<(String, String)> = samples
        .iter()
        .map(|name| ((*name).to_owned(), sample(name)))
        .collect();
    let parts = std::fs::read_to_string(folder("parts.txt")).expect("it is there");
    for block in parts.split("=== ").skip(1) {
        let (head, rest) = block.split_once('\n').expect("a head");
        let name = head.split(' ').next().unwrap_or_default();
        let text = rest.split("--- ").next().unwrap_or_default();
        texts.push((name.into(), text.into()));
    }
    let mut all = vec![];
    for (name, text) in texts {
        let dialect = detect(&name, &text).filter(|dialect| *dialect != Dialect::Rules);
        if let Some(dialect) = dialect
            && let Ok(top) = tree::parse(Format::of(&name), &name, &text)
        {
            all.push((dialect, object(&top)));
        }
    }
    all
}

/// The keys of all values, with the lists that are empty.
fn leaves(value: &Value, key: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (part, value) in entries {
                let key = match key.is_empty() {
                    true => part.clone(),
                    false => format!("{key}.{part}"),
                };
                leaves(value, &key, all);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (at, value) in values.iter().enumerate() {
                leaves(value, &format!("{key}[{at}]"), all);
            }
        }
        _ => all.push(key.to_owned()),
    }
}

fn speaks_of(entry: &Entry, leaf: &str) -> bool {
    let Some(rest) = leaf.strip_prefix(&entry.key) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    // Keys inside that the text names are covered by it.
    let named = rest.strip_prefix('.').is_some_and(|key| {
        let key = key.split(['.', '[']).next().unwrap_or_default();
        let rule = matches!(key, "pattern" | "argPattern");
        rule && entry.text.starts_with("tools.exec.commands")
            || entry
                .text
                .split_once("a record, not a rule: ")
                .is_some_and(|(_, names)| names.split(", ").any(|name| name == key))
    });
    let all = OF_ALL.iter().any(|said| entry.text.starts_with(said));
    rest.starts_with(['.', '[']) && (entry.fate == Fate::NotHonoured || all || named)
}

/// Panics where a value of the document has no line; says whether the document was taken at all.
fn is_told(dialect: Dialect, document: &Value) -> bool {
    let text = document.to_string();
    let mut all = vec![];
    leaves(document, "", &mut all);
    let mut taken = false;
    for standing in [Standing::Grants, Standing::Narrows] {
        let mut agents = vec![None];
        let mut at = 0;
        while let Some(agent) = agents.get(at).cloned() {
            at += 1;
            let choice = Choice {
                dialect: Some(dialect),
                agent: agent.as_deref(),
                standing,
            };
            let Ok(imported) = read("d.json", &text, &choice) else {
                continue;
            };
            taken = true;
            if agent.is_none() {
                agents.extend(imported.agents.into_iter().map(Some));
            }
            let untold: Vec<&String> = all
                .iter()
                .filter(|leaf| !imported.report.iter().any(|entry| speaks_of(entry, leaf)))
                .collect();
            assert!(
                untold.is_empty(),
                "{untold:?} of {agent:?}\n{text}\n{:#?}",
                imported.report
            );
        }
    }
    taken
}

#[test]
fn each_value_of_what_circulates_has_its_line() {
    let documents = &*DOCUMENTS;
    let taken = documents.iter().filter(|(d, text)| is_told(*d, text));
    assert!(taken.count() > 40, "of {}", documents.len());
}

/// Roots that are too wide to be granted, under every list of paths.
#[test]
fn a_path_that_is_left_out_is_told() {
    let wide = json!(["/home", "/", "~", "/usr", "/opt/x"]);
    let lists = [
        (
            Dialect::Codex,
            json!({"sandbox_mode": "workspace-write",
            "sandbox_workspace_write": {"writable_roots": wide}}),
            4,
        ),
        (Dialect::Srt, json!({"filesystem": {"allowWrite": wide}}), 3),
    ];
    for (dialect, document, left) in lists {
        let choice = Choice {
            dialect: Some(dialect),
            agent: None,
            standing: Standing::Grants,
        };
        let imported = read("d.json", &document.to_string(), &choice).expect("it is read");
        let not = imported
            .report
            .iter()
            .filter(|e| e.text.ends_with("is too wide to be writable") && e.key.ends_with(']'));
        assert_eq!(not.count(), left, "{:?}", imported.report);
        let write = imported.layer.filesystem.write.unwrap_or_default();
        let granted: Vec<&str> = write.iter().map(|grant| grant.path.as_str()).collect();
        assert_eq!(granted, ["/opt/x"], "{dialect:?}");
        assert!(is_told(dialect, &document));
    }
}

#[test]
fn what_stands_beside_a_rule_is_told() {
    let text =
        "prefix_rule(pattern = ['a'], justification = 'x', match = ['a b'], not_match = ['c'])";
    let choice = Choice {
        dialect: None,
        agent: None,
        standing: Standing::Grants,
    };
    let imported = read("d.rules", text, &choice).expect("it is read");
    let keys: Vec<&str> = imported.report.iter().map(|entry| &*entry.key).collect();
    assert_eq!(
        keys,
        [
            "prefix_rule a: justification",
            "prefix_rule a: match",
            "prefix_rule a: not_match",
            "prefix_rule a"
        ]
    );
}

/// The tables, the lists and the values of a document, in one order.
fn places<'v>(value: &'v mut Value, at: &mut usize, change: &mut dyn FnMut(&'v mut Value)) {
    // The top is none of them: a dialect's document is a table.
    if *at == 1 {
        *at = 0;
        return change(value);
    }
    *at = at.saturating_sub(1);
    match value {
        Value::Object(entries) => entries.values_mut().for_each(|inner| {
            if *at > 0 {
                places(inner, at, change);
            }
        }),
        Value::Array(values) => values.iter_mut().for_each(|inner| {
            if *at > 0 {
                places(inner, at, change);
            }
        }),
        _ => {}
    }
}

/// Values that a dialect may not expect.
fn odd() -> Vec<Value> {
    vec![
        json!(true),
        json!(false),
        json!(7),
        json!(1.5),
        json!("x"),
        json!("/home"),
        json!("~"),
        json!("**/x/**"),
        json!("off"),
        json!([]),
        json!(["/home", "src", 3, "/a/*"]),
        json!({"other": 1, "soft": 2, "hard": [1, "x"]}),
    ]
}

/// Puts `odd` at the place with this number, or `within` the table or list that stands there. False if
/// there is no such place.
fn put(document: &mut Value, at: usize, odd: &Value, within: bool) -> bool {
    let mut there = false;
    places(document, &mut at.clone(), &mut |value| {
        there = true;
        match value {
            Value::Object(entries) if within => drop(entries.insert("other".into(), odd.clone())),
            Value::Array(values) if within => values.push(odd.clone()),
            value => *value = odd.clone(),
        }
    });
    there
}

/// Every place of every document takes every odd value once, in parts that the runner may start at
/// once.
fn every_single_change(part: usize) {
    let mut tried = 0;
    for (dialect, document) in DOCUMENTS.iter().skip(part).step_by(PARTS) {
        for odd in odd() {
            for within in [false, true] {
                for at in 2.. {
                    let mut changed = document.clone();
                    if !put(&mut changed, at, &odd, within) {
                        break;
                    }
                    is_told(*dialect, &changed);
                    tried += 1;
                }
            }
        }
    }
    eprintln!("{tried} documents");
    assert!(tried > 1000, "{tried} documents");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn each_value_of_what_does_not_circulate_has_its_line(
        which in 0..1000usize,
        changes in prop::collection::vec((2..60usize, prop::sample::select(odd()), any::<bool>()), 1..4),
    ) {
        let (dialect, mut document) = DOCUMENTS[which % DOCUMENTS.len()].clone();
        for (at, odd, within) in changes {
            put(&mut document, at, &odd, within);
        }
        is_told(dialect, &document);
    }
}

/// Documents for the test of every single change.
const PARTS: usize = 2;

#[test]
fn each_value_beside_one_change_has_its_line_in_one_half() {
    every_single_change(0);
}

#[test]
fn each_value_beside_one_change_has_its_line_in_the_other_half() {
    every_single_change(1);
}
