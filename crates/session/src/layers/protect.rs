//! The files that were read, and their protection: a jail that writes to one would rule the next run.

use std::path::{Component, Path, PathBuf};

use super::error::LayerError;
use creel_dialects::import::Entry;
use creel_policy::{Absent, Grant, Origin, Policy, trees};

/// What reading the layers brought up besides what they say.
#[derive(Debug, Default)]
pub struct Read {
    /// Every file of them, with those that they extend.
    pub(super) files: Vec<PathBuf>,
    /// Keys of other programs' policies that were not honoured.
    pub lost: Vec<Entry>,
}

impl Read {
    /// Keeps the files as they are in the jail: what may be written there would else rule the next run.
    pub fn protect(&self, policy: &mut Policy) -> Result<(), LayerError> {
        for file in &self.files {
            let named = std::path::absolute(file).ok().map(|path| plain(&path));
            // Also where links lead.
            for path in [named, file.canonicalize().ok()].into_iter().flatten() {
                let Some(path) = path.to_str().map(trees::clean) else {
                    return Err(LayerError::NotUtf8(file.clone()));
                };
                let protect = &mut policy.filesystem.protect;
                if protect.iter().all(|grant| grant.path != path) {
                    protect.push(Grant {
                        path,
                        absent: Absent::Skip,
                        origin: Origin::creel(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// A path without `..`, but behind a link, where it leads elsewhere.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        let behind = plain.is_symlink() || plain.ends_with("..");
        match part {
            Component::ParentDir if !behind => drop(plain.pop()),
            part => plain.push(part),
        }
        plain
    })
}
