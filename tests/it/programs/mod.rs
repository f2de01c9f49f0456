//! Real programs under `--policy coding`, as root and as an ordinary user: what an agent uses runs.

mod c;
mod cargo;
mod debuggers;
mod files;
mod git;
mod git_identity;
mod java;
mod node;
mod perl;
mod python;
mod registries;
mod shell;
mod sqlite;
mod tar;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{Ran, Run, Who, Workspace};

/// `sh -e` with `script` under the coding policy; it must exit 0.
#[track_caller]
fn coding(who: Who, workspace: &Workspace, script: &str) -> Ran {
    Run::new(who, workspace)
        .policy("coding")
        .argv(["/bin/sh", "-ec", script])
        .ok()
}

/// Everything in the workspace belongs to its owner on the host, whoever the jail's user was.
#[track_caller]
fn belongs_to_its_owner(who: Who, workspace: &Workspace) {
    let (uid, gid, _) = who.account();
    let mut seen = 0;
    visit(&workspace.path(), &mut |path| {
        let meta = std::fs::symlink_metadata(path).expect("stat");
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{}", path.display());
        seen += 1;
    });
    assert!(seen > 1, "nothing was written");
}

fn visit(dir: &Path, each: &mut impl FnMut(&Path)) {
    each(dir);
    for entry in std::fs::read_dir(dir).expect("readdir") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type").is_dir() {
            true => visit(&entry.path(), each),
            false => each(&entry.path()),
        }
    }
}
