//! Paths in a writable tree that the host obeys although no policy names them: paths in git's configuration, and the
//! targets of links in protected directories.
//!
//! Searches before a plan is made. The plan decides what is held, and how.

use std::path::{Path, PathBuf};

use super::gitnames::{self, Named, When};
use super::learn::learn;
use super::loads::Search;
use super::pins::Pins;
use super::{JailError, search_dirs};
use creel_plan::host::Obeyed;
use creel_plan::paths::{within, workspace, workspace_mode};
use creel_plan::search_dirs::MOST_LINKS;
use creel_plan::wanted::{Purpose, Wanted};
use creel_plan::{self as plan, Fact, Host, Node, Request};
use creel_policy::{Policy, WorkspaceMode};

/// Paths that are held for it, at most: each is a mount.
const MOST: usize = 256;

/// Adds what is obeyed to `host`. `links`: the links in protected directories.
pub fn look(
    policy: &Policy,
    request: &Request,
    links: Vec<PathBuf>,
    search: &mut Search,
    host: &mut Host,
    pins: &mut Pins,
) -> Result<(), JailError> {
    let trees = plan::search_dirs::writable(policy, request, host);
    let trees: Vec<PathBuf> = trees.into_iter().map(Path::to_path_buf).collect();
    if trees.is_empty() {
        return Ok(());
    }
    let mut queue: Vec<Named> = links.into_iter().map(led).collect();
    if workspace_mode(policy, request) != WorkspaceMode::None
        && let Some(Fact::Present { real, .. }) = host.paths.get(&workspace(policy, request, host))
    {
        let found = gitnames::obeyed(real, host.home.as_deref());
        host.found.unread = found.unread;
        queue.extend(found.named);
        for path in found.pinned {
            // The jail could change a link to it, but must not move the target.
            let seat = search_dirs::of(&path);
            let inside = trees.iter().any(|tree| within(&seat.path, tree));
            if inside && seat.path.is_dir() {
                host.found.pinned.insert(seat.path);
            }
        }
    }
    // The caller's configuration is obeyed in every repository, even if the workspace is none.
    let inside = |path: &PathBuf| trees.iter().any(|tree| within(path, tree));
    let callers = gitnames::callers(host.home.as_deref());
    queue.extend(callers.into_iter().filter(inside).map(|path| Named {
        path,
        by: "git's configuration".into(),
        when: When::Always,
        node: Node::File,
    }));
    while let Some(name) = queue.pop() {
        let seat = search_dirs::of(&name.path);
        let inside = |path: &Path| trees.iter().find(|tree| within(path, tree));
        let around = inside(&seat.path).cloned();
        if around.is_none() && !seat.links.iter().any(|link| inside(link).is_some()) {
            continue;
        }
        // An earlier jail may have made a path that is held only if it exists. It must not be able to make
        // every later run fail.
        let present = name.when == When::Present;
        if present && seat.links.iter().any(|link| inside(link).is_some()) {
            not_held(
                &name,
                "it leads through a link that the jail could change",
                host,
            );
            continue;
        }
        if let Some(known) = host.found.obeyed.get_mut(&seat.path) {
            // Every link that leads to it must stay.
            known.links.extend(seat.links);
            continue;
        }
        if host.found.obeyed.len() == MOST {
            let why = "git obeys more paths than creel can protect; this one and those after it are not protected";
            host.found
                .unread
                .push(format!("{}: {why}", name.path.display()));
            break;
        }
        // Circular links lead nowhere and are not followed.
        let around = around.filter(|_| seat.links.len() < MOST_LINKS);
        if let Some(tree) = &around {
            for above in seat
                .path
                .ancestors()
                .skip(1)
                .take_while(|path| path != tree)
            {
                if !host.paths.contains_key(above) {
                    let path = above.to_path_buf();
                    let purpose = Purpose::Read;
                    learn(Wanted { path, purpose }, search, host, pins)?;
                }
            }
            if !trees.contains(&seat.path) {
                let path = seat.path.clone();
                let purpose = Purpose::Protect;
                let further = learn(Wanted { path, purpose }, search, host, pins)?;
                queue.extend(further.into_iter().map(led));
            }
        }
        if present {
            match host.paths.get(&seat.path) {
                Some(Fact::Absent) => continue,
                Some(Fact::Denied) => {
                    not_held(&name, "you may not read it", host);
                    continue;
                }
                _ if host.found.hard_linked.contains(&seat.path) => {
                    not_held(
                        &name,
                        "it has another name (a hard link), through which the jail could write to it",
                        host,
                    );
                    continue;
                }
                _ => {}
            }
        }
        let obeyed = Obeyed {
            by: name.by,
            links: seat.links,
            stands: name.node,
        };
        host.found.obeyed.insert(seat.path, obeyed);
    }
    Ok(())
}

fn not_held(name: &Named, why: &str, host: &mut Host) {
    let Named { path, by, .. } = name;
    let text = format!("{} ({by}) is not protected: {why}", path.display());
    host.found.unread.push(text);
}

fn led(link: PathBuf) -> Named {
    Named {
        by: format!("the link {}", link.display()),
        path: link,
        when: When::Always,
        node: Node::Directory,
    }
}
