//! Creel's own keys, read unchanged; the report says which of them the kernel enforces.

use super::source::{Source, entries, table};
use creel_policy::error::PolicyError;
use creel_policy::file;
use creel_policy::tree::Table;

/// Keys that the tools and the sessions enforce, not the kernel.
const DATA: [&str; 4] = ["channels", "rate", "max_iterations", "target"];

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    into.layer = file::read(into.text.source(), into.text.as_str())?;
    keys(into, top, "");
    Ok(())
}

fn keys(into: &mut Source, at: &Table, above: &str) {
    for (key, entry) in entries(at, above) {
        let (item, node) = (entry.item(), entry.node);
        match table(node) {
            Some(inner) if item.key != "environment.set" && !inner.entries().is_empty() => {
                keys(into, inner, item.key);
            }
            _ if DATA.contains(&key) || item.key.starts_with("session.") => {
                into.translated(
                    item,
                    "kept as data for the tool; the kernel does not enforce it",
                );
            }
            _ if key == "ask" => into.translated(item, "refused if creel cannot ask"),
            _ => into.enforced(item, "creel's own key"),
        }
    }
}
