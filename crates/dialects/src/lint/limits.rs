//! Limits that are missing, extreme, or without effect.

use super::Lint;
use super::checks::*;
use creel_policy::layer::Rank;
use creel_policy::preset::DEFAULT;
use creel_policy::tools::Tool;
use creel_policy::{Bytes, Count, CpuShare, Origin, Sourced, Span};

const GIB: u64 = 1 << 30;
const DAY: u64 = 24 * 3600 * 1000;

impl Lint<'_> {
    pub(super) fn limits(&mut self) {
        self.absent();
        let limits = self.outcome.effective.policy.limits.clone();
        self.range("memory", &limits.memory, Bytes(16 << 20), Bytes(512 * GIB));
        self.range("disk", &limits.disk, Bytes(1 << 20), Bytes(512 * GIB));
        self.range("pids", &limits.pids, Count(4), Count(65_536));
        self.range("cpus", &limits.cpus, CpuShare(10), CpuShare(256_000));
        self.range("timeout", &limits.timeout, Span(100), Span(7 * DAY));
        self.range("cpu_time", &limits.cpu_time, Span(100), Span(256 * DAY));
        self.range("open_files", &limits.open_files, Count(16), Count(1 << 20));
        self.range("output", &limits.output, Bytes(1), Bytes(64 * GIB));
        self.range("inodes", &limits.inodes, Count(16), Count(100_000_000));
        self.range("grace", &limits.grace, Span(0), Span(10 * 60 * 1000));
        let (wall, share) = (limits.timeout.value.0, limits.cpus.value.0);
        let work = wall.saturating_mul(u64::from(share)) / 1000;
        let beyond_memory = limits.disk.value > limits.memory.value;
        let beyond_work = limits.cpu_time.value.0 > work;
        let beyond_wall = limits.grace.value > limits.timeout.value;
        let memory = "memory, which includes tmpfs";
        let idle = [
            (beyond_memory, "disk", &limits.disk.origin, memory),
            (
                beyond_work,
                "cpu_time",
                &limits.cpu_time.origin,
                "timeout on all processors of the host",
            ),
            (beyond_wall, "grace", &limits.grace.origin, "timeout"),
        ];
        for (holds, name, origin, other) in idle {
            // A default value is not the author's mistake.
            if holds && self.is_written(origin) {
                let reason = format!("limits.{name} is beyond {other}");
                self.say(&LIMIT_IDLE, Some(origin), reason);
            }
        }
        if let Some(timeout) = &self.outcome.rights.constraints(Tool::Exec).timeout
            && let Some(run) = &self.outcome.rights.limits.timeout
            && timeout.value > run.value
        {
            let reason = format!("tools.exec.timeout is beyond limits.timeout, {}", run.value);
            let origin = timeout.origin.clone();
            self.say(&LIMIT_IDLE, Some(&origin), reason);
        }
    }

    fn absent(&mut self) {
        let above = self
            .layers
            .iter()
            .filter(|(rank, _)| *rank <= Rank::Operator);
        let above: Vec<_> = above.map(|(_, layer)| &layer.limits).collect();
        let missing: Vec<&str> = [
            ("memory", above.iter().any(|l| l.memory.is_some())),
            ("pids", above.iter().any(|l| l.pids.is_some())),
            ("cpus", above.iter().any(|l| l.cpus.is_some())),
            ("timeout", above.iter().any(|l| l.timeout.is_some())),
        ]
        .into_iter()
        .filter_map(|(name, named)| (!named).then_some(name))
        .collect();
        if !missing.is_empty() {
            let reason = format!(
                "neither the platform nor the operator sets {}",
                missing.join(", ")
            );
            self.say(&LIMIT_ABSENT, None, reason);
        }
    }

    /// Whether a layer set it, rather than the default policy that fills the gaps.
    fn is_written(&self, origin: &Origin) -> bool {
        let text = origin.source.strip_prefix("preset:");
        text != Some(DEFAULT) || self.layers.iter().any(|(_, layer)| layer.name == DEFAULT)
    }

    fn range<T: Ord + std::fmt::Display>(
        &mut self,
        name: &str,
        limit: &Sourced<T>,
        least: T,
        most: T,
    ) {
        let (check, bound) = match &limit.value {
            value if *value < least => (&LIMIT_TINY, format!("less than {least}")),
            value if *value > most => (&LIMIT_HUGE, format!("more than {most}")),
            _ => return,
        };
        let reason = format!("limits.{name} is {}, {bound}", limit.value);
        self.say(check, Some(&limit.origin), reason);
    }
}
