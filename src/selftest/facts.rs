//! Facts about the host that the verdicts depend on.

use std::collections::BTreeSet;

use super::{Attempt, Layer, Site};
use creel_plan::{Act, Host, Plan, Resource};

/// Facts of the host and the plan on which the verdicts depend.
#[derive(Debug, Clone)]
pub struct Facts {
    pub kernel: String,
    pub landlock_abi: u32,
    pub cgroup: bool,
    /// `RLIMIT_NPROC` is set, because there is no cgroup.
    pub nproc: bool,
    /// The path of the jail's own v2 group reveals something.
    group_path: bool,
    queues: bool,
    hostname: String,
    /// Paths that rows need and the host has.
    paths: BTreeSet<&'static str>,
}

impl Facts {
    pub fn of(plan: &Plan, host: &Host, site: &Site) -> Facts {
        let landlock_abi = plan.acts().find_map(|act| match act {
            Act::Landlock { abi, .. } => Some(*abi),
            _ => None,
        });
        let cgroup = plan.acts().any(|act| matches!(act, Act::Cgroup(_)));
        let nproc = plan.acts().any(|act| match act {
            Act::ResourceLimit { limit, .. } => *limit == Resource::Processes,
            _ => false,
        });
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let below = own
            .lines()
            .any(|line| line.starts_with("0::/") && line != "0::/");
        let needs = super::rows::all().filter_map(|row| row.needs);
        Facts {
            kernel: host.kernel.clone(),
            landlock_abi: landlock_abi.unwrap_or(0),
            cgroup,
            nproc,
            group_path: below || cgroup && own.lines().any(|line| line.starts_with("0::")),
            queues: site.queue.is_some(),
            hostname: site.hostname.clone(),
            paths: needs.filter(|need| there(need)).collect(),
        }
    }

    /// Whether a jail here has the layer; Landlock with the ABI `since` at least.
    pub fn in_force(&self, layer: Layer, since: u32) -> bool {
        match layer {
            Layer::Landlock => self.landlock_abi > 0 && self.landlock_abi >= since,
            Layer::Cgroup => self.cgroup,
            _ => true,
        }
    }

    /// Why a row does not apply here; `None` if it does.
    pub fn not_applicable(&self, row: &Attempt, without: Option<Layer>) -> Option<String> {
        if without == Some(Layer::PidNamespace) && row.group == "proc" {
            return Some("a jail without a pid namespace has no /proc".into());
        }
        if let Some(path) = row.needs
            && !self.paths.contains(path)
            // If the host has no route, its absence in the jail is no proof, but a jail has none anyway.
            && (without.is_some() || path.starts_with('/'))
        {
            return Some(format!("this host has no {path}"));
        }
        let only = |layer| row.stops.len() == 1 && row.stops[0].layer == layer;
        if only(Layer::IpcNamespace) && !self.queues {
            return Some("this kernel has no message queues".into());
        }
        if only(Layer::UtsNamespace) && self.hostname == "creel" {
            return Some("the host has the same name as every jail".into());
        }
        if only(Layer::CgroupNamespace) && !self.group_path {
            return Some("this host has no v2 group below the root".into());
        }
        if row
            .stops
            .iter()
            .any(|stop| self.in_force(stop.layer, stop.since))
        {
            return None;
        }
        let since = row.stops.iter().map(|stop| stop.since).max().unwrap_or(0);
        Some(format!(
            "needs Landlock ABI {}, the receipt says so",
            since.max(1)
        ))
    }
}

/// Whether the host has what a row needs: a path, or a route.
fn there(need: &str) -> bool {
    // Documentation addresses (RFC 5737, RFC 3849); connecting UDP sends nothing.
    let route = |from, to| {
        std::net::UdpSocket::bind(from)
            .and_then(|s| s.connect(to))
            .is_ok()
    };
    match need {
        "IPv4 route" => route("0.0.0.0:0", "192.0.2.1:9"),
        "IPv6 route" => route("[::]:0", "[2001:db8::1]:9"),
        path => std::path::Path::new(path).exists(),
    }
}
