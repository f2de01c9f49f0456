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
            return Ok(self.workspace.path.clone());
        };
        let path = match asked.is_absolute() {
            true => asked.clone(),
            false => self.workspace.path.join(asked),
        };
        let plain = !path
            .components()
            .any(|c| c == std::path::Component::ParentDir);
        let inside = self.own_tmpfs().iter().any(|own| path.starts_with(own))
            || self.bind_above(&path).is_some()
            || self.links.keys().any(|link| path.starts_with(link))
            || path == Path::new("/");
        match plain && inside {
            true => Ok(path),
            false => Err(ResolveError::WorkdirOutside(path.display().to_string())),
        }
    }
}
