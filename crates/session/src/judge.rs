//! From the observed facts to the verdict; a pure function.

use std::collections::BTreeMap;
use std::path::Path;

use super::egress::Traffic;
use super::exit::{self, NOT_EXECUTABLE, NOT_FOUND, OWN_FAILURE, TIME_LIMIT};
use super::verdict::{Kind, Limit, Receipt, Uncovered, Usage, VERSION, Verdict};
use super::{Cause, Detail, Ended, Exited};
use creel_egress::record::Destination;
use creel_jail::covers::Fate;
use creel_jail::janitor::Unguarded;
use creel_plan::{Act, CgroupLimits, Plan, Resource};
use creel_policy::{Bytes, Span};
use creel_sys::Errno;
use creel_sys::process::Change;
use creel_sys::signal;

/// A tmpfs this full (per mille) at the end has reached its limit.
const FULL: u32 = 999;

/// The most names in a verdict whose deny mounts were removed.
const MOST_UNCOVERED: usize = 64;
/// The most directories that are named if the opening of denied names in them is not blocked.
const MOST_UNGUARDED: usize = 3;
/// Prefix of [`Verdict::unwatched`] if names are watched and the opening of some is not blocked.
pub const UNGUARDED: &str = "opens of denied names are not blocked";

/// The verdict on a run that ended.
pub fn judge(id: String, plan: &Plan, kernel: &str, exited: &Exited, detail: Detail) -> Verdict {
    let mut verdict = Verdict {
        version: VERSION,
        id,
        kind: Kind::Exited,
        code: None,
        signal: None,
        limit: None,
        limits_hit: vec![],
        exit_status: 0,
        error: None,
        usage: usage(plan, exited),
        denials: vec![],
        network: exited.traffic.clone(),
        uncovered: vec![],
        unwatched: None,
        left: None,
        receipt: (detail == Detail::Full).then(|| Receipt::of(plan, kernel)),
    };
    verdict.denials = refusals(exited.traffic.as_ref());
    match &exited.end {
        Ended::Command(change) => command(&mut verdict, *change),
        Ended::Silent => {
            command(&mut verdict, Change::Signaled(signal::KILL));
            if exited.cause.is_none() && exited.counters.oom_kills == 0 {
                verdict.error =
                    Some("the jail's first process was killed, and not by creel".into());
            }
        }
        Ended::NotExecuted(errno) => not_executed(&mut verdict, *errno, plan, exited),
        Ended::Setup(error) => {
            verdict.kind = Kind::SetupFailed;
            verdict.exit_status = OWN_FAILURE;
            verdict.error = Some(error.to_string());
            return verdict;
        }
    }
    limits(&mut verdict, plan, exited);
    uncovered(&mut verdict, exited);
    if let Some(lost) = &exited.lost {
        verdict.error = Some(format!("the output could not be delivered: {lost}"));
    }
    // A run with a lost stream is never a success.
    if verdict.exit_status == 0 && (exited.lost.is_some() || exited.cause == Some(Cause::Output)) {
        verdict.exit_status = OWN_FAILURE;
    }
    verdict
}

fn command(verdict: &mut Verdict, change: Change) {
    match change {
        Change::Exited(code) => {
            verdict.kind = Kind::Exited;
            verdict.code = Some(code);
            verdict.exit_status = code as u8;
        }
        Change::Signaled(number) | Change::Stopped(number) => {
            verdict.kind = Kind::Signaled;
            verdict.signal =
                Some(signal::name(number).map_or(format!("SIG{number}"), str::to_owned));
            verdict.exit_status = exit::of_signal(number);
        }
        Change::Continued => {}
    }
}

/// Connections that the relay refused, one per line: `HOST:PORT: WHY`.
fn refusals(traffic: Option<&Traffic>) -> Vec<String> {
    let all = traffic.map_or(&[][..], |traffic| &traffic.destinations);
    let refused = all.iter().filter(|to| to.refused > 0);
    let line = |to: &Destination| {
        let place = match to.port {
            0 => to.host.clone(),
            port => format!("{}:{port}", to.host),
        };
        format!("{place}: {}", to.why.as_deref().unwrap_or("refused"))
    };
    refused.map(line).collect()
}

fn not_executed(verdict: &mut Verdict, errno: Errno, plan: &Plan, exited: &Exited) {
    let counted = plan.acts().any(|act| matches!(act, Act::Cgroup(_)));
    let name =
        String::from_utf8_lossy(plan.command.argv.first().map_or(b"", Vec::as_slice)).into_owned();
    let place = match plan.command.candidates.as_slice() {
        [only] => String::from_utf8_lossy(only).into_owned(),
        _ => name.clone(),
    };
    (verdict.kind, verdict.exit_status, verdict.error) = match errno {
        Errno::NOENT | Errno::NOTDIR => (
            Kind::SetupFailed,
            NOT_FOUND,
            Some(match plan.command.candidates.len() {
                1 => format!("{place} is not in the jail, or its interpreter is not"),
                _ => format!("{name} is in no directory of the jail's PATH"),
            }),
        ),
        Errno::ACCESS | Errno::PERM => (
            Kind::Denied,
            NOT_EXECUTABLE,
            Some(format!(
                "{place} may not be executed: it lacks the x bit, or the policy does not grant that; grant it with --exec PATH or `filesystem.exec`, and in `tools.exec.commands` if the policy lists programs and arguments there"
            )),
        ),
        Errno::AGAIN if counted && exited.counters.pids_refused == 0 => (
            Kind::SetupFailed,
            OWN_FAILURE,
            Some(
                "the host refused to create a process for the command: the process limit of creel's user or cgroup is reached".into(),
            ),
        ),
        Errno::AGAIN => (
            Kind::Pids,
            OWN_FAILURE,
            Some("the pids limit leaves no room for the command; raise it with --pids".into()),
        ),
        errno => (
            Kind::SetupFailed,
            NOT_EXECUTABLE,
            Some(format!("{place} cannot be executed: {errno}")),
        ),
    };
}

/// Records the limit that ended the run, and other limits that were reached. A limit counts as the cause if
/// its own measure shows it or if creel ended the run: the command's own exit status proves nothing.
fn limits(verdict: &mut Verdict, plan: &Plan, exited: &Exited) {
    let cgroup = plan.acts().find_map(|act| match act {
        Act::Cgroup(limits) => Some(*limits),
        _ => None,
    });
    // One of them is creel's pid 1.
    let pids = cgroup.map_or(0, |c| c.pids - 1);
    let signal = match exited.end {
        Ended::Command(Change::Signaled(number)) => Some(number),
        Ended::Silent => Some(signal::KILL),
        _ => None,
    };
    let killed = signal == Some(signal::KILL);
    // RLIMIT_CPU: the kernel sends the signal to a process that used up whole seconds, and kills it a
    // second later.
    let seconds = plan.jail.watch.cpu_time.div_ceil(1000).max(1);
    let computed = (killed || signal == Some(signal::XCPU))
        && u64::from(exited.cpu) >= seconds.saturating_mul(1000);
    let found = match exited.cause {
        Some(Cause::Timeout) => Some((Kind::Timeout, "timeout", plan.command.watch.timeout)),
        Some(Cause::CpuTime) => Some((Kind::CpuTime, "cpu_time", plan.jail.watch.cpu_time)),
        Some(Cause::Output) => Some((Kind::Output, "output", plan.command.watch.output)),
        Some(Cause::Oom) => Some((Kind::Oom, "memory", memory(cgroup))),
        _ if killed && exited.counters.oom_kills > 0 => Some((Kind::Oom, "memory", memory(cgroup))),
        _ if computed => Some((Kind::CpuTime, "cpu_time", plan.jail.watch.cpu_time)),
        _ if verdict.kind == Kind::Pids && cgroup.is_some() => Some((Kind::Pids, "pids", pids)),
        _ => None,
    };
    if let Some((kind, name, value)) = found {
        verdict.kind = kind;
        verdict.limit = Some(Limit { name, value });
        if matches!(kind, Kind::Timeout | Kind::CpuTime) {
            verdict.exit_status = TIME_LIMIT;
        }
        if kind == Kind::Output && verdict.exit_status == 0 {
            verdict.exit_status = OWN_FAILURE;
        }
    } else if signal == Some(signal::XCPU) {
        verdict.error = Some(format!(
            "SIGXCPU ended the command before its {} of processor time were used up",
            Span(plan.jail.watch.cpu_time)
        ));
    } else if signal == Some(signal::XFSZ) {
        verdict.error = Some(format!(
            "SIGXFSZ ended the command: the kernel sends it if a file would grow beyond `file_size` ({} in the policy), and any program may send it",
            Bytes(resource(plan, Resource::FileSize))
        ));
    }
    let full = |which: usize| exited.disks.iter().any(|use_of| use_of[which] >= FULL);
    let reached = [
        ("pids", pids, exited.counters.pids_refused > 0),
        ("disk", disk(plan)[0], full(0)),
        ("inodes", disk(plan)[1], full(1)),
    ];
    verdict.limits_hit = reached
        .into_iter()
        .filter(|(name, _, reached)| *reached && found.is_none_or(|(_, ended, _)| ended != *name))
        .map(|(name, value, _)| Limit { name, value })
        .collect();
}

/// Records the names that the host uncovered while the jail ran.
fn uncovered(verdict: &mut Verdict, exited: &Exited) {
    for name in &exited.uncovered {
        let path = name.path.display().to_string();
        let restored = name.fate == Fate::Restored;
        let same = |one: &Uncovered| one.restored == restored && one.path == path;
        let known = verdict.uncovered.iter().position(same);
        let all = &mut verdict.uncovered;
        match known {
            // The longest time counts for all entries of a name.
            Some(at) => all[at].after_us = all[at].after_us.max(name.microseconds),
            None if all.len() < MOST_UNCOVERED => all.push(Uncovered {
                path,
                restored,
                after_us: name.microseconds,
            }),
            None => {}
        }
    }
    verdict.unwatched =
        (exited.unwatched.map(|errno| errno.to_string())).or_else(|| unguarded(&exited.unguarded));
    match exited.cause {
        Some(Cause::Uncovered) => {
            let ended = exited
                .uncovered
                .iter()
                .find(|name| name.fate == Fate::Ended);
            let path = ended.map_or(Path::new(""), |name| &name.path);
            verdict.kind = Kind::Denied;
            verdict.exit_status = NOT_EXECUTABLE;
            verdict.error = Some(format!(
                "the jail was ended: a process outside of the jail replaced or removed {}, and creel could not cover it again before the jail may have used it",
                path.display()
            ));
        }
        Some(Cause::JanitorDied) => {
            verdict.exit_status = OWN_FAILURE;
            verdict.error = Some(
                "the jail was ended: creel's janitor was killed, which watches the names that the policy denies or protects"
                    .into(),
            );
        }
        _ => {}
    }
}

/// The places where the opening of denied names is not blocked, and the reason.
fn unguarded(places: &[Unguarded]) -> Option<String> {
    let first = places.iter().find(|place| place.directory.is_none());
    let first = first.or(places.first())?;
    let directories: Option<Vec<&Path>> = places.iter().map(|p| p.directory.as_deref()).collect();
    let mut place = String::new();
    for (number, directory) in directories
        .iter()
        .flatten()
        .enumerate()
        .take(MOST_UNGUARDED)
    {
        place += if number == 0 { " in " } else { ", " };
        place += &directory.to_string_lossy();
    }
    let more = directories.map_or(0, |all| all.len().saturating_sub(MOST_UNGUARDED));
    if more > 0 {
        place += &format!(" and {more} more directories");
    }
    Some(format!("{UNGUARDED}{place}: {}", first.errno))
}

fn memory(cgroup: Option<CgroupLimits>) -> u64 {
    cgroup.map_or(0, |c| c.memory)
}

fn resource(plan: &Plan, wanted: Resource) -> u64 {
    let hard = plan.acts().find_map(|act| match act {
        Act::ResourceLimit { limit, hard, .. } if *limit == wanted => Some(*hard),
        _ => None,
    });
    hard.unwrap_or(0)
}

/// Bytes and inodes of each writable tmpfs.
fn disk(plan: &Plan) -> [u64; 2] {
    let size = plan.acts().find_map(|act| match act {
        Act::Tmpfs { bytes, inodes, .. } => Some([*bytes, *inodes]),
        _ => None,
    });
    size.unwrap_or_default()
}

fn usage(plan: &Plan, exited: &Exited) -> Usage {
    let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let disks: BTreeMap<String, [u32; 2]> = plan
        .jail
        .watch
        .disks
        .iter()
        .zip(exited.disks)
        .map(|(path, use_of)| (path.display().to_string(), use_of))
        .collect();
    Usage {
        wall_us: micros(exited.wall),
        user_us: exited.usage.user,
        system_us: exited.usage.system,
        memory_peak: exited.counters.memory_peak.unwrap_or(exited.usage.peak_rss),
        // getrusage(2) counts in 512-byte blocks.
        io_read: exited.usage.blocks_in * 512,
        io_written: exited.usage.blocks_out * 512,
        pids_peak: exited.counters.pids_peak,
        output: exited.output,
        disks,
    }
}
