//! Changes as lines and as JSON.

use std::path::Path;

use serde_json::{Value, json};

use creel_session::workspace::diff::Entry;
use creel_session::workspace::{Change, Changes};

/// A path for people: control characters are escaped.
pub fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.chars().any(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text.into_owned(),
    }
}

/// A patch for a terminal: control characters that a command wrote are escaped.
pub fn harmless(text: &str) -> String {
    let is_plain = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_default()),
        }
    }
    shown
}

/// `M  src/main.rs`
pub fn line(entry: &Entry) -> String {
    let mark = match (entry.conflict, entry.held) {
        (true, _) => '!',
        (false, Some(_)) => '-',
        (false, None) => ' ',
    };
    let letter = match entry.from {
        Some(_) => 'R',
        None => entry.change.letter(),
    };
    let mut text = format!("{letter}{mark} {}", shown(&entry.path));
    if let Some(from) = &entry.from {
        text += &format!(" (from {})", shown(from));
    }
    if let Some(target) = &entry.target {
        text += &format!(" -> {}", shown(target));
    }
    if let Some(why) = entry.held {
        text += &format!(" (held back: {})", why.word());
    }
    text
}

/// The same with sizes and modes.
pub fn with_sizes(entry: &Entry) -> String {
    let (mode, size) = (entry.mode, entry.size);
    let text = line(entry);
    match (entry.change, entry.before) {
        (Change::Deleted, Some((_, before))) => format!("{text} | {before} -> 0 bytes"),
        (Change::Mode, Some((before, _))) => format!("{text} | mode {before:04o} -> {mode:04o}"),
        (_, Some((before_mode, before))) if before_mode != mode => {
            format!("{text} | {before} -> {size} bytes, mode {before_mode:04o} -> {mode:04o}")
        }
        (_, Some((_, before))) => format!("{text} | {before} -> {size} bytes"),
        (_, None) => format!("{text} | {size} bytes, mode {mode:04o}"),
    }
}

pub fn json(changes: &Changes, entries: &[Entry]) -> Value {
    let one = |entry: &Entry| {
        json!({
            "path": entry.path.to_string_lossy(),
            "change": entry.change.word(),
            "kind": entry.kind.word(),
            "mode": entry.mode,
            "size": entry.size,
            "before": entry.before.map(|(mode, size)| json!({ "mode": mode, "size": size })),
            "target": entry.target.as_ref().map(|target| target.to_string_lossy()),
            "from": entry.from.as_ref().map(|from| from.to_string_lossy()),
            "held": entry.held.map(|why| why.word()),
            "conflict": entry.conflict,
        })
    };
    json!({
        "session": changes.name,
        "workspace": changes.record.workspace.to_string_lossy(),
        "live": changes.is_live(),
        "changes": entries.iter().map(one).collect::<Vec<_>>(),
    })
}
