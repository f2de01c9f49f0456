//! Each key of each dialect, with the values that it has and some that it must not have: what becomes of
//! it. `parts.txt` has blocks of `=== FILE AGENT STANDING`, the text, `--- report` and what is said, and
//! `--- policy` and what is written, or `--- error`. `CREEL_WRITE=1` writes the answers anew.

use std::fmt::Write as _;

use creel_dialects::import::{Choice, Standing, is_foreign, is_named, read};
use creel_policy::tree::{self, Format};
use creel_policy::write;

use super::reads_as_written;
use crate::golden;

/// Answer to a block.
fn answer(head: &str, text: &str) -> String {
    let mut words = head.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (name, agent, standing) = (word(), word(), word());
    let choice = Choice {
        dialect: None,
        agent: Some(agent).filter(|agent| *agent != "-"),
        standing: match standing {
            "narrows" => Standing::Narrows,
            _ => Standing::Grants,
        },
    };
    let imported = match read(name, text, &choice) {
        Ok(imported) => imported,
        Err(error) => return format!("--- error\n{error}\n"),
    };
    reads_as_written(&imported.layer);
    let mut out = format!("--- report of {}\n", imported.dialect.name());
    for entry in &imported.report {
        let said = entry.to_string();
        let _ = writeln!(
            out,
            "{}",
            said.strip_prefix(&format!("{name}:")).unwrap_or(&said)
        );
    }
    out + "--- policy\n" + &write::toml(&imported.layer)
}

#[test]
fn each_key_becomes_what_it_became() {
    golden::hold_answers("tests/it/import/parts.txt", 50, answer);
}

#[test]
fn another_programs_file_is_told_by_its_name_or_its_keys() {
    assert!(is_named("a.rules") && is_named("a.codexpolicy") && !is_named("a.rules.toml"));
    let foreign = |text: &str| {
        let top = tree::parse(Format::of("p.toml"), "p.toml", text).expect("it parses");
        is_foreign(&top)
    };
    assert!(foreign("sandbox_mode = 'read-only'"));
    assert!(!foreign("[filesystem]\nread = []"));
}
