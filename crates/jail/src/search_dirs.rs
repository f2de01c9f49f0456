//! Resolves a policy search directory: its real path, and the links on the way, whether it exists or not.
//!
//! It refuses nothing: the plan decides what of it the jail could change.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use creel_plan::host::SearchDir;
use creel_plan::search_dirs::MOST_LINKS;
use creel_sys::{Errno, fd};

/// Resolves an absolute name. One call if no existing part of it is a link.
pub fn of(name: &Path) -> SearchDir {
    let parts = || name.components();
    let plain = !parts().any(|part| part == Component::ParentDir);
    match fd::pin_exact(name) {
        Err(Errno::LOOP) => walked(name),
        _ if plain => SearchDir {
            path: parts().collect(),
            links: vec![],
        },
        _ => walked(name),
    }
}

/// The same, one component at a time.
fn walked(name: &Path) -> SearchDir {
    let mut links = vec![];
    let mut path = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = VecDeque::new();
    ahead(&mut rest, name);
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            path.pop();
            continue;
        }
        path.push(part);
        let Ok(meta) = path.symlink_metadata() else {
            // Nothing exists below a missing name.
            path.extend(rest.iter().take_while(|part| *part != ".."));
            break;
        };
        if !meta.is_symlink() {
            continue;
        }
        links.push(path.clone());
        let Ok(target) = path.read_link() else { break };
        if links.len() == MOST_LINKS {
            break;
        }
        path.pop();
        if target.is_absolute() {
            path = PathBuf::from("/");
        }
        ahead(&mut rest, &target);
    }
    SearchDir { path, links }
}

/// Puts the components of `path` in front of `rest`.
fn ahead(rest: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => rest.push_front(name.into()),
            Component::ParentDir => rest.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_seat_is_where_its_name_leads_with_the_links_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("real/conf/creel")).unwrap();
        std::fs::create_dir(dir.join("sub")).unwrap();
        symlink("real", dir.join("one")).unwrap();
        symlink(dir.join("one"), dir.join("sub/two")).unwrap();
        symlink("nowhere/x", dir.join("dangling")).unwrap();
        symlink("round", dir.join("round")).unwrap();
        for (name, path, links) in [
            ("real/conf/creel", "real/conf/creel", &[][..]),
            ("real/conf/none/creel", "real/conf/none/creel", &[]),
            ("real/./conf//creel/", "real/conf/creel", &[]),
            ("sub/../real/conf/creel", "real/conf/creel", &[]),
            ("one/conf/creel", "real/conf/creel", &["one"]),
            ("one/none/creel", "real/none/creel", &["one"]),
            ("sub/two/conf/creel", "real/conf/creel", &["sub/two", "one"]),
            ("sub/two/../conf", "conf", &["sub/two", "one"]),
            ("dangling/creel", "nowhere/x/creel", &["dangling"]),
            ("one/none/../conf", "real/none", &["one"]),
        ] {
            let seat = of(&dir.join(name));
            assert_eq!(seat.path, dir.join(path), "{name}");
            let all: Vec<PathBuf> = links.iter().map(|link| dir.join(link)).collect();
            assert_eq!(seat.links, all, "{name}");
        }
        assert_eq!(of(&dir.join("round/creel")).links.len(), MOST_LINKS);
    }
}
