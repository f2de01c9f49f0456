//! The verdict of a command: its end, as the session's plan and its own limits judge it.

use super::One;
use crate::verdict::{Fault, Kind};
use crate::{Detail, Ended, Exited, LEAST_GRACE, Verdict, exit, judge};
use creel_jail::branch::Branch;
use creel_jail::cgroup::Counters;
use creel_jail::protocol::{DISKS, Stumble};
use creel_plan::Act;
use creel_sys::process::Change;
use creel_sys::signal;

impl One<'_> {
    pub(super) fn judge(&self, full: bool) -> Verdict {
        let keeper = self.keeper;
        let mut hits = self.branch.as_ref().map(Branch::hits).unwrap_or_default();
        let killed = Change::Signaled(signal::KILL);
        if self.cause.is_none() && self.end.is_some_and(|end| end.change == killed) {
            hits.oom_kills += keeper.new_oom_kills();
        }
        let end = match (self.not_executed, self.end) {
            (Some((errno, _)), _) => Ended::NotExecuted(errno),
            (None, Some(end)) => Ended::Command(end.change),
            (None, None) => Ended::Silent,
        };
        // The session's own end ended it.
        let cause = match self.end {
            Some(_) => self.cause,
            None => self.cause.or(keeper.jail.cause()),
        };
        let exited = Exited {
            end,
            cause,
            counters: Counters {
                oom_kills: hits.oom_kills,
                pids_refused: hits.pids_refused,
                ..Counters::default()
            },
            cpu: self.end.map_or(0, |end| end.cpu),
            usage: self.end.map(|end| end.usage).unwrap_or_default(),
            wall: self.started.elapsed(),
            output: self.output,
            disks: self.end.map_or([[0; 2]; DISKS], |end| end.disks),
            lost: self.lost.clone().map(std::io::Error::other),
            patience: LEAST_GRACE,
            traffic: None,
            uncovered: vec![],
            unwatched: None,
            unguarded: vec![],
            janitor: None,
        };
        let mut plan = keeper.judged.borrow_mut();
        plan.command = self.plan.clone();
        for act in plan.acts_mut() {
            if let Act::Cgroup(all) = act {
                all.memory = self.limits.memory.unwrap_or(keeper.memory());
                // One of the jail's is pid 1, which the verdict does not count.
                all.pids = self.limits.pids.unwrap_or(keeper.most_processes()) + 1;
            }
        }
        let detail = match full {
            true => Detail::Full,
            false => Detail::OfFailures,
        };
        let mut verdict = judge(
            keeper.record.id.clone(),
            &plan,
            &keeper.kernel,
            &exited,
            detail,
        );
        if let Ended::NotExecuted(errno) = exited.end
            && exited.lost.is_none()
            && let Some(text) = crate::execute::start::why_not(&plan, errno)
        {
            verdict.error = Some(text);
        }
        if let Some((errno, Stumble::Workdir)) = self.not_executed {
            let path = self.plan.workdir.display();
            verdict.fail(
                Fault::NoWorkdir,
                None,
                format!("the working directory {path}: {errno}"),
            );
            verdict.exit_status = exit::OWN_FAILURE;
            verdict.kind = Kind::SetupFailed;
        }
        let was_killed = matches!(
            self.end.map(|end| end.change),
            None | Some(Change::Signaled(_))
        );
        if was_killed && self.cause.is_none() && self.not_executed.is_none() && keeper.is_ending() {
            let text = format!("the session was ended: {}", keeper.why());
            verdict.fail(Fault::SessionEnded, None, text);
        }
        verdict
    }
}
