//! `--policy FILE|NAME`: reading what the pure parser parses.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::policy::{Policy, PolicyError, file, preset};

/// A name is a preset; anything with a slash or an extension is a file.
pub fn load(source: Option<&Path>) -> Result<Policy, PolicyError> {
    let Some(source) = source else {
        return preset::default();
    };
    let text = source.to_string_lossy();
    if !text.contains('/') && source.extension().is_none() {
        return preset::named(&text);
    }
    let unreadable = |source: std::io::Error, path: &str| PolicyError::Unreadable {
        path: path.into(),
        source,
    };
    let opened = File::open(source).map_err(|e| unreadable(e, &text))?;
    if opened.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(PolicyError::IsDirectory {
            path: source.into(),
        });
    }
    let mut bytes = vec![];
    // One byte more than is allowed, so that too much is seen without reading all of it.
    opened
        .take(file::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(e, &text))?;
    let decoded = file::decode(&text, &bytes)?;
    file::parse(&text, decoded, &preset::default()?.limits)
}
