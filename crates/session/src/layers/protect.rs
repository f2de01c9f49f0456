//! The policy files that were read, and their protection: a jail that writes to one would control the next
//! run.

use std::path::{Component, Path, PathBuf};

use super::error::LayerError;
use creel_dialects::import::Entry;
use creel_policy::{Absent, Origin, Policy, Roots};

/// Results of reading the layers in addition to their rules.
#[derive(Debug, Default)]
pub struct Read {
    /// Every file of the layers, including those that they extend.
    pub(super) files: Vec<PathBuf>,
    /// Keys of other programs' policies that were not honoured.
    pub lost: Vec<Entry>,
}

impl Read {
    /// Makes the files read-only in the jail; otherwise the jail could control the next run.
    pub fn protect(&self, policy: &mut Policy, roots: &Roots) -> Result<(), LayerError> {
        for file in &self.files {
            let named = std::path::absolute(file).ok().map(|path| plain(&path));
            // The targets of links, too.
            for path in [named, file.canonicalize().ok()].into_iter().flatten() {
                let Some(path) = path.to_str().map(str::to_owned) else {
                    return Err(LayerError::NotUtf8(file.clone()));
                };
                let rule = roots.rule(path, Absent::Skip, Origin::creel());
                let protect = &mut policy.filesystem.protect;
                if protect.iter().all(|known| known.path != rule.path) {
                    protect.push(rule);
                }
            }
        }
        Ok(())
    }
}

/// A path without `..`, except after a link, where `..` leads elsewhere.
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
