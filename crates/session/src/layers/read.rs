//! Reading of one layer and the policies that it extends. A project's policy is restricted more than its
//! operator's.

use std::io;
use std::path::Path;

use super::error::LayerError;
use super::protect::Read;
use super::source;
use creel_dialects::import::{self, Choice, Fate, Standing};
use creel_policy::error::Place;
use creel_policy::layer::{Layer, Rank};
use creel_policy::{PolicyError, Sourced, file, preset};

/// The most files that one file may include by `extends`.
const MOST_EXTENDS: usize = 16;

/// The most paths that a project's file may name: each costs a lookup and perhaps a mount, and a checkout
/// must not delay a start (1024 take a tenth of a second).
const MOST_FOUND: usize = 1024;

/// Reads a layer and the policies that it extends. A name is a preset; a source with a slash or an
/// extension is a file.
pub fn read(source: &Path) -> Result<Layer, PolicyError> {
    ranked(source, Rank::Operator, &mut Read::default())
}

/// As [`read`]; another program's policy is imported with that rank.
pub(super) fn ranked(source: &Path, rank: Rank, read: &mut Read) -> Result<Layer, PolicyError> {
    extended(source, rank, read, &mut 0)
}

/// Reads the layer of a project: a regular file, reached through no link, which extends presets only.
/// Otherwise it could name any file of the caller's, and an error would quote it.
pub(super) fn found(source: &Path, read: &mut Read) -> Result<Layer, LayerError> {
    if !is_plain(source) {
        return Err(LayerError::NotPlain {
            path: source.into(),
        });
    }
    let layer = one(source, Rank::Project, read)?;
    let paths = layer.paths();
    if paths > MOST_FOUND {
        return Err(LayerError::TooManyPaths {
            path: source.into(),
            paths,
            most: MOST_FOUND,
        });
    }
    over_presets(layer, "a project's policy")
}

/// Merges the layer with the presets that it extends. Returns an error if it extends a file.
pub(super) fn over_presets(mut layer: Layer, whose: &'static str) -> Result<Layer, LayerError> {
    for base in std::mem::take(&mut layer.extends) {
        if !is_preset(Path::new(&base.value)) {
            return Err(LayerError::ExtendsFile {
                whose,
                name: base.value,
                origin: base.origin,
            });
        }
        let reused = preset::layer(&base.value).map_err(|error| unfollowed(&base, error))?;
        layer = layer.over(reused);
    }
    Ok(layer)
}

/// Whether `source` is a regular file in a directory and neither is a link.
pub fn is_plain(source: &Path) -> bool {
    let is = |path: &Path, kind: fn(&std::fs::Metadata) -> bool| {
        path.symlink_metadata().is_ok_and(|found| kind(&found))
    };
    let directory = source.parent().unwrap_or(source);
    is(directory, std::fs::Metadata::is_dir) && is(source, std::fs::Metadata::is_file)
}

fn extended(
    source: &Path,
    rank: Rank,
    read: &mut Read,
    depth: &mut usize,
) -> Result<Layer, PolicyError> {
    let mut layer = one(source, rank, read)?;
    for base in std::mem::take(&mut layer.extends) {
        *depth += 1;
        if *depth > MOST_EXTENDS {
            return Err(PolicyError::Extends {
                at: place(&base),
                name: base.value,
            });
        }
        let named = Path::new(&base.value);
        let beside = match is_preset(named) {
            true => named.to_path_buf(),
            // Without the `.` of `./base.toml`.
            false => {
                let beside = source.parent().unwrap_or(Path::new("")).join(named);
                beside.components().collect()
            }
        };
        let reused = extended(&beside, rank, read, depth)
            .map_err(|error| unfollowed(&base, meant(source, named, error)))?;
        layer = layer.over(reused);
    }
    Ok(layer)
}

/// As [`bare`], for a name in `extends`: the file is looked up beside the policy that names it.
fn meant(source: &Path, named: &Path, error: PolicyError) -> PolicyError {
    let file = source.parent().unwrap_or(Path::new("")).join(named);
    match error {
        PolicyError::MissingPreset { name, .. } | PolicyError::BareFile { name } => {
            match preset::text(&name) {
                Err(error) if !file.is_file() => error,
                _ => PolicyError::BareFile { name },
            }
        }
        error => error,
    }
}

/// A missing policy has no line of its own, so the error points to the line that names it.
fn unfollowed(base: &Sourced<String>, error: PolicyError) -> PolicyError {
    match error {
        PolicyError::Unreadable { .. }
        | PolicyError::IsDirectory { .. }
        | PolicyError::BareFile { .. }
        | PolicyError::MissingPreset { .. } => PolicyError::Base {
            at: place(base),
            reason: Box::new(error),
        },
        error => error,
    }
}

fn place(base: &Sourced<String>) -> Place {
    Place {
        file: base.origin.source.to_string(),
        line: base.origin.line,
        column: 1,
    }
}

/// Whether `source` names a preset: it has no slash and no extension.
pub fn is_preset(source: &Path) -> bool {
    source.extension().is_none() && !source.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// Changes the error if the name of no preset is the name of a file.
fn bare(source: &Path, error: PolicyError) -> PolicyError {
    match error {
        PolicyError::MissingPreset { name, .. } if source.is_file() => {
            PolicyError::BareFile { name }
        }
        error => error,
    }
}

/// The text of a preset or a file.
pub fn text(source: &Path) -> Result<String, PolicyError> {
    let name = source.to_string_lossy();
    if is_preset(source) {
        let text = preset::text(&name).map(str::to_owned);
        return text.map_err(|error| bare(source, error));
    }
    let bytes = bytes(source)?;
    Ok(file::decode(&name, &bytes)?.to_owned())
}

/// Reads one file. Its keys show whether it is another program's policy, which is then imported.
fn one(source: &Path, rank: Rank, read: &mut Read) -> Result<Layer, PolicyError> {
    let name = source.to_string_lossy();
    if is_preset(source) {
        return preset::layer(&name).map_err(|error| bare(source, error));
    }
    let document = text(source)?;
    read.files.push(source.into());
    if !import::is_named(&name)
        && let Some(layer) = file::read_own(&name, &document, import::is_foreign)?
    {
        return Ok(layer);
    }
    let choice = Choice {
        dialect: None,
        agent: None,
        standing: match rank <= Rank::Operator {
            true => Standing::Grants,
            false => Standing::Narrows,
        },
    };
    let imported = import::read(&name, &document, &choice)?;
    let mut report = imported.report;
    report.retain(|entry| entry.fate == Fate::NotHonoured);
    read.lost.extend(report);
    Ok(imported.layer)
}

/// A policy's bytes; up to one more than allowed, which shows the excess without reading all of it.
pub fn bytes(source: &Path) -> Result<Vec<u8>, PolicyError> {
    source::read(source, file::MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => PolicyError::IsDirectory {
            path: source.into(),
        },
        _ => PolicyError::Unreadable {
            path: source.into(),
            source: error,
        },
    })
}
