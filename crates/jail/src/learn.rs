//! Answers one question of a plan: examines a path as its purpose requires.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::JailError;
use super::loads::{MOST_PROTECTED, Search, below};
use super::pins::{Pins, look_closely};
use creel_plan::wanted::{Purpose, Wanted};
use creel_plan::{Fact, Host};
use creel_sys::fd::{self, Kind};

/// Examines one path as its purpose requires. Returns the symbolic links in a protected tree.
pub(super) fn learn(
    want: Wanted,
    search: &mut Search,
    host: &mut Host,
    pins: &mut Pins,
) -> Result<Vec<PathBuf>, JailError> {
    let (fact, stood) = look_closely(&want.path, want.purpose, host.id_mode, pins)?;
    if let Some(stood) = stood {
        host.found.stood.insert(want.path.clone(), stood);
    }
    let mut links = vec![];
    if let Fact::Present { real, .. } = &fact {
        let real = real.clone();
        host.paths.insert(want.path.clone(), fact.clone());
        match want.purpose {
            Purpose::Program => {
                let image = search.image(&real, host, pins);
                host.found.programs.insert(real.clone(), image);
            }
            Purpose::Load => {
                let tree = search.tree(&real, host, pins);
                host.found.load_trees.insert(real.clone(), tree);
            }
            Purpose::Protect => {
                let all = below(&real, MOST_PROTECTED);
                if all.is_none() {
                    host.found.too_many.insert(real.clone());
                }
                let (files, inside) = all.unwrap_or_default();
                links = inside;
                // Placeholders of another run are links of one socket; nothing can be written to a socket's inode.
                let linked =
                    |meta: std::fs::Metadata| meta.nlink() > 1 && !meta.file_type().is_socket();
                for file in files {
                    if std::fs::symlink_metadata(&file).is_ok_and(linked) {
                        host.found.hard_linked.insert(file);
                    }
                }
            }
            Purpose::Read | Purpose::Write => {}
        }
        if pins
            .get(&real)
            .is_some_and(|pin| pin.stat.kind == Kind::File && pin.stat.links > 1)
        {
            host.found.hard_linked.insert(real);
        }
    }
    if want.path == host.cwd {
        still_here(&want.path, &fact, pins)?;
    }
    host.paths.insert(want.path, fact);
    Ok(links)
}

/// Checks that the path still leads to this process's directory: a process that can write above it could hand
/// the jail another directory.
fn still_here(path: &Path, fact: &Fact, pins: &Pins) -> Result<(), JailError> {
    let Fact::Present { real, .. } = fact else {
        return Ok(());
    };
    let fault = |source| JailError::Open {
        path: path.into(),
        source,
    };
    let here = fd::stat(fd::pin(Path::new(".")).map_err(fault)?.as_fd()).map_err(fault)?;
    match pins.get(real) {
        Some(pin) if (pin.stat.dev, pin.stat.ino) == (here.dev, here.ino) => Ok(()),
        _ => Err(JailError::Changed(path.into())),
    }
}
