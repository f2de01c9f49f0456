//! Places of the jail's own in its view of the filesystem: its control groups and its tmpfs mounts.

use std::path::{Path, PathBuf};

use super::GroupView;
use super::host::CgroupLayout;
use super::paths::within;
use super::view::View;
use creel_policy::PathRule;
use creel_policy::rights::GROUPS;

impl View<'_> {
    /// The control groups at their usual paths, except denied ones.
    pub(super) fn groups(&mut self, denied: &[PathRule]) {
        let denied: Vec<_> = denied
            .iter()
            .filter_map(|rule| self.on_host.at(&rule.path))
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
}
