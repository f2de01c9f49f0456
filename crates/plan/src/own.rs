//! Places of the jail's own in its view of the filesystem: its control groups, its tmpfs mounts and the
//! working directory.

use std::path::{Path, PathBuf};

use super::GroupView;
use super::host::CgroupLayout;
use super::paths::{OWN_TMPFS, within};
use super::refusal::ResolveError;
use super::request::Request;
use super::view::View;
use creel_policy::PathRule;
use creel_policy::rights::GROUPS;

impl View<'_> {
    /// The control groups at their usual paths, except denied ones.
    pub(super) fn groups(&mut self, denied: &[PathRule]) {
        let denied: Vec<_> = denied
            .iter()
            .filter_map(|rule| self.on_host.of_rule(rule))
            .collect();
        let place = |controller: &str| Path::new(GROUPS).join(controller);
        let views: Vec<(PathBuf, GroupView)> = match &self.host.cgroups {
            CgroupLayout::V2 { .. } | CgroupLayout::OnRequest { .. } => {
                vec![(GROUPS.into(), GroupView::V2)]
            }
            CgroupLayout::V1 { beside, .. } => {
                let own = ["memory", "cpu", "pids"].map(|name| {
                    let controller = name.into();
                    (place(name), GroupView::V1 { controller })
                });
                let shared = beside.iter().map(|name| {
                    let controller = name.clone();
                    (place(name), GroupView::Shared { controller })
                });
                own.into_iter().chain(shared).collect()
            }
            CgroupLayout::Unusable { .. } => vec![],
        };
        let open = |path: &Path| {
            let meets = |deny: &Path| within(path, deny) || within(deny, path);
            !denied.iter().any(|deny| meets(deny))
        };
        self.groups = views.into_iter().filter(|(path, _)| open(path)).collect();
    }

    pub(super) fn own_tmpfs(&self) -> Vec<PathBuf> {
        let mut own = vec![
            PathBuf::from("/tmp"),
            PathBuf::from("/dev/shm"),
            self.home.clone(),
        ];
        if self.workspace.fresh {
            own.push(self.workspace.path.clone());
        }
        own
    }

    /// The links by which grants are named, in the jail; a mapped tree has none.
    fn links_made(&self) -> impl Iterator<Item = &PathBuf> {
        let links = self.links.iter();
        let links = links.filter(|(_, target)| !self.mapped.moves(target));
        links.map(|(link, _)| link)
    }

    /// Whether the jail has a directory of its own at this path.
    pub(super) fn own_place(&self, path: &Path) -> bool {
        OWN_TMPFS.iter().any(|own| path == Path::new(own)) || path == self.home
    }

    /// Whether a grant names a tmpfs of the jail's own.
    pub(super) fn is_own(&self, path: Option<&Path>) -> bool {
        path.is_some_and(|path| self.own_tmpfs().iter().any(|own| own == path))
    }

    /// The working directory in the jail: the requested one, else the workspace.
    pub(super) fn workdir(&self, request: &Request) -> Result<PathBuf, ResolveError> {
        let Some(asked) = &request.workdir else {
            return Ok(self.inside(&self.workspace.path).into_owned());
        };
        let path = self.inside(&self.workspace.path).join(asked);
        // A path of the host in a tree that the jail has elsewhere.
        let path = match self.mapped.on_host(&path) {
            None => self.inside(&path).into_owned(),
            Some(_) => path,
        };
        let plain = !path
            .components()
            .any(|c| c == std::path::Component::ParentDir);
        let inside = self.own_tmpfs().iter().any(|own| path.starts_with(own))
            || self
                .mapped
                .on_host(&path)
                .is_some_and(|path| self.bind_above(&path).is_some())
            || self.links_made().any(|link| path.starts_with(link))
            || path == Path::new("/");
        match plain && inside {
            true => Ok(path),
            false => Err(ResolveError::WorkdirOutside(path.display().to_string())),
        }
    }
}
