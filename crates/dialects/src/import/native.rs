//! Creel's own keys, read as they are: the report says which of them the kernel holds.

use super::source::{Item, Source, join, table};
use creel_policy::error::PolicyError;
use creel_policy::file;
use creel_policy::tree::Table;

/// Keys that the tools and the sessions count, and the kernel does not.
const DATA: [&str; 4] = ["channels", "rate", "max_iterations", "target"];

pub fn read(into: &mut Source, top: &Table) -> Result<(), PolicyError> {
    into.layer = file::read(into.text.source(), into.text.as_str())?;
    keys(into, top, "");
    Ok(())
}

fn keys(into: &mut Source, at: &Table, above: &str) {
    for (key, node) in at.entries() {
        let name = join(above, &key.name);
        let item = Item { key: &name, node };
        match table(node) {
            Some(inner) if name != "environment.set" && !inner.entries().is_empty() => {
                keys(into, inner, &name);
            }
            _ if DATA.contains(&key.name.as_str()) || name.starts_with("session.") => {
                into.translated(
                    item,
                    "kept as data for the tool; the kernel does not hold it",
                );
            }
            _ if key.name == "ask" => into.translated(item, "where nobody can be asked, refused"),
            _ => into.enforced(item, "creel's own key"),
        }
    }
}
