//! Policies of other programs: what each becomes, and that nothing denied is granted by it.
//!
//! `samples/` holds files as they circulate, `goldens/` what they become and the report of each. A
//! golden that has to change is written anew with `CREEL_WRITE=1`.

mod hostile;
mod law;
mod parts;
mod silence;
mod verb;

use std::path::{Path, PathBuf};

use creel_dialects::import::{Choice, Imported, Standing, read};
use creel_policy::layer::Layer;
use creel_policy::{file, write};

use crate::golden;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/import")
        .join(name)
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(folder("samples").join(name)).expect(name)
}

fn take(name: &str, text: &str, agent: Option<&str>) -> Imported {
    let choice = Choice {
        dialect: None,
        agent,
        standing: Standing::Grants,
    };
    read(name, text, &choice).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// All of a layer but where it was written.
fn bare(layer: &Layer) -> String {
    let layer = Layer {
        name: String::new(),
        digest: String::new(),
        ..layer.clone()
    };
    let text = format!("{layer:?}");
    let mut parts = text.split("Origin {");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += part.split_once(" }").expect("an origin ends").1;
    }
    out
}

/// The written policy reads as the same layer.
fn reads_as_written(layer: &Layer) {
    let text = write::toml(layer);
    let again = file::read("p.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(bare(&again), bare(layer), "{text}");
}

#[test]
fn samples_become_what_they_became() {
    let mut broken = vec![];
    for (name, agent) in [
        ("shape1.yaml", None),
        ("shape2.json", None),
        ("shape2.json", Some("public")),
        ("shape3.yaml", None),
        ("openclaw.json", None),
        ("openclaw.json", Some("public")),
        ("openclaw.json", Some("main")),
        ("exec-approvals.json", None),
        ("exec-approvals.json", Some("main")),
        ("srt.json", None),
        ("codex.toml", None),
        ("default.rules", None),
    ] {
        let imported = take(name, &sample(name), agent);
        reads_as_written(&imported.layer);
        let report: String = imported
            .report
            .iter()
            .map(|entry| format!("{entry}\n"))
            .collect();
        let name = match agent {
            Some(agent) => format!("{name}-{agent}"),
            None => name.to_owned(),
        };
        for (kind, found) in [("toml", write::toml(&imported.layer)), ("report", report)] {
            let path = format!("tests/it/import/goldens/{name}.{kind}");
            if !golden::holds(&path, &found) {
                broken.push(format!("{path}:\n{found}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
