//! Broken policies and the message that each gives: `tests/errors/NAME.toml` (`.yaml`, `.json5`) and
//! `NAME.txt`. `CREEL_WRITE=1` writes the messages, for somebody to read.

use std::path::{Path, PathBuf};

use creel_session::layers;

use crate::golden;

const PLACE: &str = "tests/errors";

/// The broken policies, relative to the repository, which is where tests run.
fn broken() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(PLACE).expect("tests run in the repository");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_none_or(|e| e != "txt"))
        .collect();
    found.sort();
    found
}

fn message(path: &Path) -> String {
    match layers::read(path) {
        Ok(layer) => panic!("{} is a good policy: {layer:?}", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn broken_policies_give_the_messages_that_were_read() {
    let broken = broken();
    assert!(broken.len() >= 40, "{}", broken.len());
    let mut wrong = vec![];
    for path in &broken {
        let message = message(path) + "\n";
        let kept = path.with_extension("txt");
        if !golden::holds(&kept.to_string_lossy(), &message) {
            wrong.push(format!("{}: {message}", kept.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "CREEL_WRITE=1 writes them\n{}",
        wrong.concat()
    );
    println!("{} broken policies", broken.len());
}

/// File, line, the mistake, a remedy, in one line of one sentence.
#[test]
fn every_message_names_the_file_the_line_and_a_remedy() {
    let mut wrong = vec![];
    for path in broken() {
        let message = message(&path);
        let rest = message.strip_prefix(&format!("{}:", path.display()));
        let mut parts = rest.unwrap_or_default().splitn(3, ':');
        let mut number = || parts.next().is_some_and(|n| n.parse::<u32>().is_ok());
        let placed = number() && number();
        let said = parts.next().unwrap_or_default();
        let (mistake, remedy) = said.split_once("; ").unwrap_or_default();
        let plain = !message.contains(char::is_control) && !message.ends_with('.');
        let lower = !mistake.trim_start().starts_with(char::is_uppercase);
        if !placed || mistake.len() < 5 || remedy.len() < 5 || !plain || !lower {
            wrong.push(message);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
