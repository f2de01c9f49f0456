//! Derives verdicts from outcomes.

use std::collections::BTreeSet;

use super::report::{Judged, State};
use super::{Answer, Attempt, Layer, Outcome, Site, Work, spend};
use creel_plan::{Act, Host, Plan, Resource};
use creel_session::{Kind, Verdict};
use creel_sys::attempt::errno_name;

/// Facts of the host and the plan on which the verdicts depend.
#[derive(Debug, Clone)]
pub struct Facts {
    pub kernel: String,
    pub landlock_abi: u32,
    pub cgroup: bool,
    /// `RLIMIT_NPROC` is set, because there is no cgroup.
    nproc: bool,
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
    fn not_applicable(&self, row: &Attempt, without: Option<Layer>) -> Option<String> {
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
            return Some("the host is called as every jail is".into());
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

/// Judges an attempt. `outcome` is `None` if the inner half did not report it.
pub fn judge_attempt(
    row: &Attempt,
    outcome: Option<&Outcome>,
    facts: &Facts,
    without: Option<Layer>,
) -> Judged {
    let stops: Vec<_> = row
        .stops
        .iter()
        .filter(|s| facts.in_force(s.layer, s.since))
        .collect();
    let judged = |state, got: String| Judged {
        group: row.group,
        name: row.name,
        state,
        got,
        layers: stops.iter().map(|stop| stop.layer).collect(),
        why: row.why,
    };
    if let Some(why) = facts.not_applicable(row, without) {
        return judged(State::NotApplicable, why);
    }
    let gone = without.map_or(&[][..], Layer::gone);
    let Some(outcome) = outcome else {
        return judged(State::Failed, "never attempted".into());
    };
    let text = describe(outcome);
    if let Outcome::CouldNotRun(_) = outcome {
        return judged(State::Failed, text);
    }
    let answered = stops
        .first()
        .is_some_and(|stop| stop.answers.iter().any(|a| is(*a, outcome)));
    // Past the layers that are gone: success, or any answer from behind them.
    if stops.iter().all(|stop| gone.contains(&stop.layer)) {
        return match answered {
            true => judged(
                State::Held,
                format!("{text}, although nothing should stop it"),
            ),
            false => judged(State::Through, text),
        };
    }
    let denied = *outcome != Outcome::GotThrough;
    match without {
        // Exactly the first layer's answer: another one would mean that the first did nothing.
        None if answered => judged(State::Ok, text),
        None => judged(
            State::Failed,
            format!("{text}, expected {}", expected(row, facts)),
        ),
        // Any layer that is left may answer.
        Some(_) if denied => judged(State::Ok, text),
        Some(_) => judged(State::Failed, text),
    }
}

/// Judges ordinary work.
pub fn judge_work(row: &Work, outcome: Option<&Outcome>, without: Option<Layer>) -> Judged {
    let no_proc = without == Some(Layer::PidNamespace) && row.group == "proc";
    let (state, got) = match outcome {
        _ if no_proc => (
            State::NotApplicable,
            "a jail without a pid namespace has no /proc".into(),
        ),
        Some(Outcome::GotThrough) => (State::Ok, "works".to_owned()),
        Some(other) => (State::Failed, describe(other)),
        None => (State::Failed, "never attempted".into()),
    };
    Judged {
        group: row.group,
        name: row.name,
        state,
        got,
        layers: vec![],
        why: "ordinary work",
    }
}

/// Judges an exhaustion by its verdict.
pub fn judge_spend(
    row: &spend::Row,
    verdict: &Verdict,
    facts: &Facts,
    without: Option<Layer>,
) -> Judged {
    let mut layers: Vec<Layer> = row
        .layers
        .iter()
        .copied()
        .filter(|layer| facts.in_force(*layer, 0))
        .collect();
    let instead = row.instead.filter(|_| layers.is_empty() && facts.nproc);
    layers.extend(instead);
    let gone = without.map_or(&[][..], Layer::gone);
    let through = verdict.kind == Kind::Exited && verdict.code == Some(0);
    let stopped = match instead {
        // The program itself reports that it was refused.
        Some(_) => verdict.kind == Kind::Exited && verdict.code == Some(1),
        None => {
            let hit = |name| verdict.limits_hit.iter().any(|limit| limit.name == name);
            verdict.kind == row.kind && row.reached.is_none_or(hit)
        }
    };
    let open = layers.iter().all(|layer| gone.contains(layer));
    let state = match (layers.is_empty(), open) {
        (true, _) => State::NotApplicable,
        (_, true) if through => State::Through,
        (_, true) => State::Held,
        _ if stopped => State::Ok,
        _ => State::Failed,
    };
    let got = match state {
        State::NotApplicable => "needs the cgroup layer, the receipt says so".into(),
        _ if through => "got through".into(),
        _ if stopped && instead.is_some() => "refused".into(),
        _ if stopped && let Some(name) = row.reached => name.into(),
        _ => kind(verdict.kind),
    };
    Judged {
        group: "limits",
        name: row.name,
        state,
        got,
        layers,
        why: "one jail must not starve the host",
    }
}

fn kind(kind: Kind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn is(answer: Answer, outcome: &Outcome) -> bool {
    match (answer, outcome) {
        (Answer::Errno(errno), Outcome::Denied(number)) => errno.raw_os_error() == *number,
        (Answer::Absent, Outcome::Absent) => true,
        (Answer::Signal(signal), Outcome::Killed(number)) => signal == *number,
        _ => false,
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::GotThrough => "got through".into(),
        Outcome::Denied(errno) => errno_name(*errno),
        Outcome::Absent => "nothing there".into(),
        Outcome::CouldNotRun(why) => format!("could not run: {why}"),
        Outcome::Killed(signal) => {
            creel_sys::signal::name(*signal).map_or(format!("signal {signal}"), str::to_owned)
        }
    }
}

fn expected(row: &Attempt, facts: &Facts) -> String {
    let stop = row
        .stops
        .iter()
        .find(|stop| facts.in_force(stop.layer, stop.since));
    let answers = stop.map_or(&[][..], |stop| stop.answers);
    let names: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Errno(errno) => errno_name(errno.raw_os_error()),
            Answer::Absent => "nothing".into(),
            Answer::Signal(signal) => describe(&Outcome::Killed(*signal)),
        })
        .collect();
    names.join(" or ")
}
